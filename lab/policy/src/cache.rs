// SPDX-License-Identifier: GPL-2.0

//! A cache of executable memory: blocks, and which of their pages are handed out.

use std::collections::BTreeMap;

use clap::ValueEnum;

/// Pages of a block.
pub const BLOCK: usize = 512;

/// By what a free part is chosen for a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Policy {
    /// The first by address that is large enough.
    FirstFit,
    /// The smallest that is large enough.
    BestFit,
    /// The smallest of the block that has the fewest free pages.
    FullestBlock,
    /// The smallest of the first block by address that has one: what mm/execmem.c does.
    FirstBlock,
}

/// A vmalloc area of one or more blocks.
struct Area {
    /// Free parts: first page and length.
    free: BTreeMap<usize, usize>,
    pages: usize,
}

impl Area {
    fn free_pages(&self) -> usize {
        self.free.values().sum()
    }
}

/// What a request got.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Part {
    slot: usize,
    page: usize,
    pages: usize,
}

impl Part {
    /// Cuts off what is behind the first `pages` pages.
    pub fn split(self, pages: usize) -> (Part, Part) {
        (
            Part { pages, ..self },
            Part {
                page: self.page + pages,
                pages: self.pages - pages,
                ..self
            },
        )
    }
}

pub struct Cache {
    policy: Policy,
    /// Blocks of an area, at least.
    area: usize,
    /// Areas by address.
    areas: BTreeMap<usize, Area>,
}

impl Cache {
    pub fn new(policy: Policy, area: usize) -> Self {
        Self {
            policy,
            area,
            areas: BTreeMap::new(),
        }
    }

    /// How many blocks the cache holds.
    pub fn blocks(&self) -> usize {
        self.areas.values().map(|area| area.pages / BLOCK).sum()
    }

    /// How many pages are handed out.
    pub fn used(&self) -> usize {
        self.areas
            .values()
            .map(|area| area.pages - area.free_pages())
            .sum()
    }

    /// Takes a part of `pages` pages, from a new area where no block has it.
    pub fn alloc(&mut self, pages: usize) -> Part {
        let (slot, page) = self.find(pages).unwrap_or_else(|| (self.fill(pages), 0));
        let area = self.areas.get_mut(&slot).unwrap();
        let length = area.free.remove(&page).unwrap();

        if length > pages {
            area.free.insert(page + pages, length - pages);
        }
        Part { slot, page, pages }
    }

    /// Takes two parts of one block: the first as [`Cache::alloc`] does, the other from the end of the
    /// block's last part that has it.
    pub fn alloc_two(&mut self, pages: usize, others: usize) -> (Part, Part) {
        let mut kept = Vec::new();

        assert!(pages + others <= BLOCK);
        loop {
            let part = self.alloc(pages);
            let area = self.areas.get_mut(&part.slot).unwrap();
            let last = area
                .free
                .iter()
                .rev()
                .find(|&(_, &length)| length >= others);
            if let Some((&page, &length)) = last {
                area.free.remove(&page);
                if length > others {
                    area.free.insert(page, length - others);
                }
                kept.into_iter().for_each(|part| self.free(part));
                let other = Part {
                    page: page + length - others,
                    pages: others,
                    ..part
                };
                return (part, other);
            }
            // Not in this block.
            kept.push(part);
        }
    }

    pub fn free(&mut self, part: Part) {
        let area = self.areas.get_mut(&part.slot).unwrap();
        let (mut start, mut end) = (part.page, part.page + part.pages);

        if let Some((&page, &pages)) = area.free.range(..start).next_back() {
            if page + pages == start {
                area.free.remove(&page);
                start = page;
            }
        }
        if let Some(pages) = area.free.remove(&end) {
            end += pages;
        }
        area.free.insert(start, end - start);
        if area.free_pages() == area.pages {
            self.areas.remove(&part.slot);
        }
    }

    fn find(&self, pages: usize) -> Option<(usize, usize)> {
        let parts = self.areas.iter().flat_map(|(&slot, area)| {
            area.free
                .iter()
                .filter(move |&(_, &length)| length >= pages)
                .map(move |(&page, &length)| (slot, area, page, length))
        });

        parts
            .min_by_key(|&(slot, area, page, length)| {
                let key = match self.policy {
                    Policy::FirstFit => (0, 0),
                    Policy::BestFit => (length, 0),
                    Policy::FullestBlock => (area.free_pages(), length),
                    Policy::FirstBlock => (slot, length),
                };
                (key, slot, page)
            })
            .map(|(slot, _, page, _)| (slot, page))
    }

    /// Makes an area at the lowest address that has room for it; returns its address, in blocks.
    fn fill(&mut self, pages: usize) -> usize {
        let blocks = pages.div_ceil(self.area * BLOCK) * self.area;
        let mut slot = 0;

        for (&taken, area) in &self.areas {
            if slot + blocks <= taken {
                break;
            }
            slot = taken + area.pages / BLOCK;
        }
        self.areas.insert(
            slot,
            Area {
                free: BTreeMap::from([(0, blocks * BLOCK)]),
                pages: blocks * BLOCK,
            },
        );
        slot
    }
}
