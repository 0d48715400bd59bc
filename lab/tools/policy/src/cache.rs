// SPDX-License-Identifier: GPL-2.0

//! A cache of executable memory: chunks, and which of their pages are handed out.

use std::collections::BTreeMap;

use clap::ValueEnum;

/// Pages of a chunk.
pub const CHUNK: usize = 512;

/// By what a free part is chosen for a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Policy {
    /// The first by address that is large enough.
    FirstFit,
    /// The smallest that is large enough.
    BestFit,
    /// The smallest of the chunk that has the fewest free pages.
    FullestChunk,
    /// The smallest of the first chunk by address that has one: what mm/execmem.c does.
    FirstChunk,
}

/// A vmalloc area of one or more chunks.
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
    /// Chunks of an area, at least.
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

    /// How many chunks the cache holds.
    pub fn chunks(&self) -> usize {
        self.areas.values().map(|area| area.pages / CHUNK).sum()
    }

    /// How many pages are handed out.
    pub fn used(&self) -> usize {
        self.areas
            .values()
            .map(|area| area.pages - area.free_pages())
            .sum()
    }

    /// Takes a part of `pages` pages, from a new area where no chunk has it.
    pub fn alloc(&mut self, pages: usize) -> Part {
        let (slot, page) = self.find(pages).unwrap_or_else(|| (self.fill(pages), 0));
        let area = self.areas.get_mut(&slot).expect("the area was found");
        let length = area.free.remove(&page).expect("the part is free");

        if length > pages {
            area.free.insert(page + pages, length - pages);
        }
        Part { slot, page, pages }
    }

    /// Takes two parts of one chunk: the first as [`Cache::alloc`] does, the other from the end of the
    /// chunk's last part that has it.
    pub fn alloc_two(&mut self, pages: usize, others: usize) -> (Part, Part) {
        let mut kept = Vec::new();

        assert!(pages + others <= CHUNK);
        loop {
            let part = self.alloc(pages);
            let area = self.areas.get_mut(&part.slot).expect("the area was found");
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
            // Not in this chunk.
            kept.push(part);
        }
    }

    pub fn free(&mut self, part: Part) {
        let area = self
            .areas
            .get_mut(&part.slot)
            .expect("a part is in an area");
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
                    Policy::FullestChunk => (area.free_pages(), length),
                    Policy::FirstChunk => (slot, length),
                };
                (key, slot, page)
            })
            .map(|(slot, _, page, _)| (slot, page))
    }

    /// Makes an area at the lowest address that has room for it; returns its address, in chunks.
    fn fill(&mut self, pages: usize) -> usize {
        let chunks = pages.div_ceil(self.area * CHUNK) * self.area;
        let mut slot = 0;

        for (&taken, area) in &self.areas {
            if slot + chunks <= taken {
                break;
            }
            slot = taken + area.pages / CHUNK;
        }
        self.areas.insert(
            slot,
            Area {
                free: BTreeMap::from([(0, chunks * CHUNK)]),
                pages: chunks * CHUNK,
            },
        );
        slot
    }
}
