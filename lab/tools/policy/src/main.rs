// SPDX-License-Identifier: GPL-2.0

//! Which free part of a ROX cache a request should get, so that few chunks are held for long.
//!
//! Modules, as large as those of the lab's kernel, are loaded and unloaded at random, beside
//! pages of kprobes and 20 modules that stay. A chunk leaves the cache when nothing of it is in use:
//! what counts is how many chunks the 20 keep from that when all else is gone. And a thousand
//! modules are loaded one after the other, each of which gives its init text back while others are
//! loaded.

mod cache;

use std::{collections::VecDeque, convert::Infallible, process::ExitCode};

use cache::{Cache, Part, Policy, CHUNK};
use clap::{Parser, ValueEnum};
use command::Verdict;
use rand::{rngs::SmallRng, Rng, SeedableRng};

/// Text and init text of the modules, in pages: sixteenths of them, as in lab/programs/clones.c.
const TEXT: [usize; 16] = [1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 3, 4, 4, 6, 13, 82];
const INIT_TEXT: usize = 1;
/// How many modules are loaded until the init text of one is free, after a grace period.
const GRACE: usize = 4;

/// How many modules stay.
const STAYING: usize = 20;

/// Where the init text of a module is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Place {
    /// In a part of its own.
    Apart,
    /// Behind the text, in the same part.
    Beside,
    /// At the other end of the text's chunk: what the kernel does.
    OtherEnd,
}

/// Compares orders of free parts by the chunks that are held.
///
/// Exit status 0: none holds fewer for long than that of the kernel; 1: another does.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// How many runs each figure is the mean of
    #[arg(long, default_value_t = 50)]
    runs: u64,
    /// Loads and unloads of a run
    #[arg(long, default_value_t = 10_000)]
    steps: usize,
    /// How many modules there are, of which now a quarter and now three are loaded
    #[arg(long, default_value_t = 300)]
    modules: usize,
    /// Chunks of an area, which are freed together
    #[arg(long, default_value_t = 1)]
    area: usize,
    /// Where random numbers start
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Chunks that were held, or their means.
#[derive(Default)]
struct Held {
    peak: f64,
    mean: f64,
    /// How many as many bytes would fill.
    least: f64,
    /// What those that stay hold in the end.
    left: f64,
    /// What a thousand modules take.
    thousand: f64,
}

/// A cache, and the init text in it that waits for a grace period.
struct Loader {
    cache: Cache,
    place: Place,
    waiting: VecDeque<Part>,
}

impl Loader {
    fn new(policy: Policy, place: Place, area: usize) -> Self {
        Self {
            cache: Cache::new(policy, area),
            place,
            waiting: VecDeque::new(),
        }
    }

    fn load(&mut self, text: usize) -> Part {
        let cache = &mut self.cache;
        let (text, init_text) = match self.place {
            Place::Apart => (cache.alloc(text), cache.alloc(INIT_TEXT)),
            Place::Beside => cache.alloc(text + INIT_TEXT).split(text),
            Place::OtherEnd => cache.alloc_two(text, INIT_TEXT),
        };
        self.waiting.push_back(init_text);
        if self.waiting.len() > GRACE {
            self.settle(GRACE);
        }
        text
    }

    /// Frees init text but that of the last `kept` modules.
    fn settle(&mut self, kept: usize) {
        while self.waiting.len() > kept {
            let part = self.waiting.pop_front().expect("it is not empty");
            self.cache.free(part);
        }
    }
}

/// How many chunks a thousand modules take.
fn thousand(policy: Policy, place: Place, arguments: &Arguments, seed: u64) -> f64 {
    let mut random = SmallRng::seed_from_u64(seed);
    let mut loader = Loader::new(policy, place, arguments.area);

    for _ in 0..1000 {
        let text = text(&mut random);
        loader.load(text);
    }
    loader.settle(0);
    loader.cache.chunks() as f64
}

fn text(random: &mut SmallRng) -> usize {
    TEXT[random.random_range(0..TEXT.len())]
}

fn run(policy: Policy, place: Place, arguments: &Arguments, seed: u64) -> Held {
    let mut random = SmallRng::seed_from_u64(seed);
    let mut loader = Loader::new(policy, place, arguments.area);
    let texts: Vec<usize> = (0..arguments.modules).map(|_| text(&mut random)).collect();
    let mut modules: Vec<Option<Part>> = vec![None; texts.len()];
    let mut probes: Vec<Option<Part>> = vec![None; 40];
    let mut held = Held::default();

    for step in 0..arguments.steps {
        // Those that stay come in the first half.
        if step % (arguments.steps / (2 * STAYING)) == 0 && step < arguments.steps / 2 {
            let text = text(&mut random);
            loader.load(text);
        }
        if random.random_bool(0.1) {
            let index = random.random_range(0..probes.len());
            match probes[index].take() {
                Some(part) => loader.cache.free(part),
                None => probes[index] = Some(loader.cache.alloc(1)),
            }
        }
        let index = random.random_range(0..modules.len());
        let wanted = random.random_bool(if step / 500 % 2 == 0 { 0.75 } else { 0.25 });
        match modules[index] {
            Some(part) if !wanted => {
                loader.cache.free(part);
                modules[index] = None;
            }
            None if wanted => modules[index] = Some(loader.load(texts[index])),
            _ => {}
        }
        held.peak = held.peak.max(loader.cache.chunks() as f64);
        held.mean += loader.cache.chunks() as f64 / arguments.steps as f64;
        held.least += loader.cache.used().div_ceil(CHUNK) as f64 / arguments.steps as f64;
    }
    for part in modules.into_iter().chain(probes).flatten() {
        loader.cache.free(part);
    }
    loader.settle(0);
    held.left = loader.cache.chunks() as f64;
    held.thousand = thousand(policy, place, arguments, seed);
    held
}

fn mean(policy: Policy, place: Place, arguments: &Arguments) -> Held {
    let mut sums = Held::default();

    for seed in arguments.seed..arguments.seed + arguments.runs {
        let held = run(policy, place, arguments, seed);
        sums.peak += held.peak / arguments.runs as f64;
        sums.mean += held.mean / arguments.runs as f64;
        sums.least += held.least / arguments.runs as f64;
        sums.left += held.left / arguments.runs as f64;
        sums.thousand += held.thousand / arguments.runs as f64;
    }
    sums
}

fn main() -> ExitCode {
    let arguments: Arguments = command::parse();
    let kernel = mean(Policy::FirstChunk, Place::OtherEnd, &arguments);
    let mut is_beaten = false;

    println!("order         init text  most  average  if full  by the 20  a thousand");
    for &policy in Policy::value_variants() {
        for &place in Place::value_variants() {
            let held = mean(policy, place, &arguments);
            println!(
                "{:<13} {:<9} {:5.2} {:8.2} {:8.2} {:10.2} {:11.2}",
                format!("{policy:?}"),
                format!("{place:?}"),
                held.peak,
                held.mean,
                held.least,
                held.left,
                held.thousand
            );
            // By more than chance.
            is_beaten |= held.left < 0.9 * kernel.left || held.thousand < 0.95 * kernel.thousand;
        }
    }
    if is_beaten {
        println!("another holds fewer chunks for long than FirstChunk and OtherEnd, the kernel's");
    }
    command::exit("policy", Ok::<Verdict, Infallible>((!is_beaten).into()))
}
