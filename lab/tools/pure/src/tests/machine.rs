// SPDX-License-Identifier: GPL-2.0

//! Sequences of steps from proptest-state-machine, which shrinks what fails. The reference is the
//! oracle, which knows single pages; what is tested is the kernel's code on modelled tables.
//!
//! proptest writes what has failed to `proptest-regressions/`, and tries that first. To look for
//! longer: `PROPTEST_CASES=10000 lab/cargo test --release -p pure machine`.

use std::{
    fmt::{Debug, Formatter, Result},
    marker::PhantomData,
    ops::Range,
};

use proptest::{
    prelude::*,
    test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner},
};
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest};

use super::unless_miri;
use crate::{
    model::{Mapped, Model, Step, CHANGES},
    oracle::{units, Oracle},
    tables::{Fault, PageSize, Pages16K, Pages4K, Pages64K},
};

/// The configuration for so many cases, unless PROPTEST_CASES asks for others.
pub(super) fn config(cases: u32) -> Config {
    let mut config = Config::default();
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = cases;
    }
    if cfg!(miri) {
        // It has no directory to look for files in.
        config.failure_persistence = None;
    }
    config
}

/// What is mapped: units one after the other, each at the next multiple of its size.
#[derive(Clone)]
pub(super) struct State {
    units: Vec<usize>,
    pages: usize,
    mapped: Vec<Mapped>,
    needs_break: bool,
    oracle: Oracle,
}

/// The oracle follows from the rest, and is long.
impl Debug for State {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.debug_struct("State")
            .field("units", &self.units)
            .field("needs_break", &self.needs_break)
            .finish_non_exhaustive()
    }
}

impl State {
    fn new<P: PageSize>(in_order: Vec<usize>, needs_break: bool) -> Self {
        let sizes = units::<P>();
        let mut end: usize = 0;
        let mapped: Vec<Mapped> = (in_order.iter())
            .map(|&unit| {
                let start = end.next_multiple_of(sizes[unit]);
                end = start + sizes[unit];
                (start, unit, 1)
            })
            .collect();
        let pages = end.next_multiple_of(sizes[2]);
        Self {
            oracle: Model::<P>::new(pages, &mapped, needs_break).oracle,
            units: in_order,
            pages,
            mapped,
            needs_break,
        }
    }
}

/// A range whose start and length are near the sizes of leaves.
fn range(units: [usize; 5], pages: usize) -> impl Strategy<Value = Range<usize>> {
    let near = prop::sample::select(vec![units[0], units[1], units[2]]);
    let length = prop_oneof![
        6 => 1..40_usize,
        2 => Just(units[1]),
        2 => Just(units[2]),
        1 => 1..=units[2] + units[1],
    ];
    (near, any::<prop::sample::Index>(), -2..3_isize, length).prop_map(
        move |(near, index, beside, length)| {
            let start = index.index(pages.div_ceil(near)) * near;
            let start = start.saturating_add_signed(beside).min(pages - 1);
            start..(start + length).min(pages)
        },
    )
}

/// The oracle as a state machine.
pub(super) struct Reference<P>(PhantomData<P>);

impl<P: PageSize> ReferenceStateMachine for Reference<P> {
    type State = State;
    type Transition = Step;

    fn init_state() -> BoxedStrategy<State> {
        // A contiguous run of blocks has 16 GiB with 64K pages: with 4K pages alone.
        let largest: usize = if P::SHIFT == 12 { 3 } else { 2 };
        let units = prop::collection::vec(0..=largest, 1..unless_miri(5, 2));
        (units, any::<bool>())
            .prop_map(|(units, needs_break)| State::new::<P>(units, needs_break))
            .boxed()
    }

    fn transitions(state: &State) -> BoxedStrategy<Step> {
        let pages = state.pages;
        let range = || range(units::<P>(), pages);
        let change = (
            range(),
            0..CHANGES.len(),
            prop::option::weighted(0.2, 0..3_usize),
        );
        prop_oneof![
            12 => change.prop_map(|(pages, change, tables)| Step::Change { pages, change, tables }),
            4 => range().prop_map(|pages| Step::Restore { pages }),
            1 => (0..pages).prop_map(|page| Step::RestoreWidely { page }),
            4 => (0..pages, 1..=2_usize).prop_map(|(page, unit)| Step::CollapseChunk {
                page,
                pages: units::<P>()[unit],
            }),
            2 => Just(Step::CollapsePending),
            1 => (0..pages).prop_map(move |page| Step::MapByPtes {
                pages: page..(page + 3).min(pages),
            }),
            1 => (0..pages, any::<bool>()).prop_map(|(page, global)| Step::Flip { page, global }),
        ]
        .boxed()
    }

    /// When less is mapped, as a sequence shrinks, not all steps are possible.
    fn preconditions(state: &State, step: &Step) -> bool {
        step.end() <= state.pages
    }

    fn apply(mut state: State, step: &Step) -> State {
        state.oracle.apply(step);
        state
    }
}

/// The faults that can be planted.
const FAULTS: [Fault; 6] = [
    Fault::CollapsesUnequal,
    Fault::LosesWasCont,
    Fault::ForgetsChanges,
    Fault::KeepsWalks,
    Fault::LinksEarly,
    Fault::KeepsExecutable,
];
/// No index of a fault.
const SOUND: usize = FAULTS.len();

/// The kernel's code on modelled tables, with a fault of [`FAULTS`] or none.
struct Machine<P, const FAULT: usize>(PhantomData<P>);

impl<P: PageSize, const FAULT: usize> StateMachineTest for Machine<P, FAULT> {
    type SystemUnderTest = Model<P>;
    type Reference = Reference<P>;

    fn init_test(state: &State) -> Model<P> {
        let mut model = Model::new(state.pages, &state.mapped, state.needs_break);
        model.memory.fault = FAULTS.get(FAULT).copied();
        model
    }

    fn apply(mut model: Model<P>, state: &State, step: Step) -> Model<P> {
        model.step(&step);
        // Every page is as the reference has it.
        state.oracle.check_all(&model.memory);
        model
    }

    fn teardown(mut model: Model<P>, _: State) {
        model.check_tables();
        model.check_sizes();
        model.restore_all();
        model.check_sizes();
    }
}

const STEPS: usize = unless_miri(40, 4);

macro_rules! sound {
    ($name:ident, $pages:ty) => {
        proptest! {
            #![proptest_config(config(unless_miri(100, 2) as u32))]

            #[test]
            fn $name((state, steps, seen) in Reference::<$pages>::sequential_strategy(1..STEPS)) {
                Machine::<$pages, SOUND>::test_sequential(Config::default(), state, steps, seen);
            }
        }
    };
}

sound!(sequences_4k, Pages4K);
sound!(sequences_16k, Pages16K);
sound!(sequences_64k, Pages64K);

/// Looks for what is wrong with tables that have a fault, and returns the least sequence of steps
/// that shows it.
fn shrunk<const FAULT: usize>() -> (State, Vec<Step>) {
    let config = Config {
        cases: 2000,
        failure_persistence: None,
        ..Config::default()
    };
    // The same cases each time.
    let random = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let strategy = Reference::<Pages4K>::sequential_strategy(1..STEPS);
    let result = TestRunner::new_with_rng(config, random).run(&strategy, |(state, steps, seen)| {
        // What `check_tables()` and the like say at the end counts as well.
        Machine::<Pages4K, FAULT>::test_sequential(Config::default(), state, steps, seen);
        Ok::<(), TestCaseError>(())
    });
    match result {
        Err(TestError::Fail(_, (state, steps, _))) => (state, steps),
        other => panic!("{:?} is not found: {other:?}", FAULTS[FAULT]),
    }
}

/// Each fault that is planted is found, and shrinks to what anybody can follow.
#[test]
#[cfg_attr(miri, ignore = "thousands of steps")]
fn planted_faults_are_found_and_shrink() {
    fn check<const FAULT: usize>(most: usize) {
        let (state, steps) = shrunk::<FAULT>();
        println!("{:?}: {state:?}, {steps:#?}", FAULTS[FAULT]);
        assert!(steps.len() <= most, "{:?}: {steps:#?}", FAULTS[FAULT]);
    }
    // A change of a part of a leaf, and a collapse of it.
    check::<0>(2);
    // A change of a part of a leaf, which stays split when all is restored.
    check::<1>(2);
    check::<2>(2);
    // A change of a part of a leaf; or that, and a collapse.
    check::<3>(2);
    check::<4>(2);
    // To executable, and back.
    check::<5>(2);
}

/// What was once shown by [`planted_faults_are_found_and_shrink`], kept as it was: with the fault it
/// fails, and without it does not.
#[test]
fn a_kept_sequence_shows_unequal_leaves() {
    fn run(fault: Option<Fault>) -> std::thread::Result<()> {
        std::panic::catch_unwind(|| {
            let state = State::new::<Pages4K>(vec![2], false);
            let mut model = Model::<Pages4K>::new(state.pages, &state.mapped, state.needs_break);
            model.memory.fault = fault;
            model.step(&Step::Change {
                pages: 1..2,
                change: 1,
                tables: None,
            });
            model.step(&Step::CollapsePending);
        })
    }
    assert!(run(None).is_ok());
    assert!(run(Some(Fault::CollapsesUnequal)).is_err());
}
