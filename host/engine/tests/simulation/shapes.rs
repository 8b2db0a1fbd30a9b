//! The shapes of deployment that every harness goes through.

use crate::canary;
use crate::scene::*;
use crate::world::Sim;
use agente_engine::journal::Outcome;
use agente_engine::plan::Plan;
use agente_engine::planner;
use agente_engine::policy::{KeepPrevious, Policy, SplitBy, Strategy};
use agente_engine::route::{Override, OverrideBy, Slot};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

/// How many shapes there are.
pub const SHAPES: usize = 11;

/// One of the shapes: a name, a world, a plan.
pub fn shape(index: usize) -> (&'static str, Sim, Plan) {
    thread_local! {
        static MADE: RefCell<BTreeMap<usize, (&'static str, Sim, Plan)>> = RefCell::default();
    }
    MADE.with_borrow_mut(|made| {
        let (name, sim, plan) = made.entry(index).or_insert_with(|| make(index));
        (*name, sim.fork(), plan.clone())
    })
}

fn make(index: usize) -> (&'static str, Sim, Plan) {
    match index {
        0 => {
            let sim = Sim::new();
            let first = plan(&sim, 1, policy());
            ("first", sim, first)
        }
        1 => {
            let sim = managed();
            let second = plan(&sim, 2, policy());
            ("second", sim, second)
        }
        2 => {
            let sim = managed_with_kept();
            let third = plan(&sim, 3, policy());
            ("third, retires the kept slot", sim, third)
        }
        3 => {
            let sim = managed();
            let none_kept = plan(&sim, 2, Policy { keep_previous: KeepPrevious::None, ..policy() });
            ("retires the old side", sim, none_kept)
        }
        4 => {
            let sim = managed();
            let rules = vec![Override {
                slot: Slot::Blue,
                by: OverrideBy::Header,
                name: "x-canary".into(),
                value: "always".into(),
            }];
            let held = KeepPrevious::For { duration: Duration::from_secs(5) };
            let overridden = plan(
                &sim,
                2,
                Policy { candidate_overrides: rules, keep_previous: held, ..policy() },
            );
            ("override first, retires after a while", sim, overridden)
        }
        6 => {
            let sim = managed_with_kept();
            let canary = plan(&sim, 3, canary::stages(&[10, 50], SplitBy::Weight));
            ("canary", sim, canary)
        }
        7 => {
            let sim = managed();
            let rules = vec![Override {
                slot: Slot::Blue,
                by: OverrideBy::Cookie,
                name: "beta".into(),
                value: "yes".into(),
            }];
            let mixed = plan(
                &sim,
                2,
                Policy { candidate_overrides: rules, ..canary::stages(&[25], SplitBy::Instances) },
            );
            ("canary by number", sim, mixed)
        }
        10 => {
            let sim = managed();
            let measured = plan(&sim, 2, canary::measured());
            ("measured canary", sim, measured)
        }
        8 => {
            let sim = managed();
            sim.inner().least_serving = 2;
            let strategy = Strategy::Rolling {
                max_surge: 1,
                max_unavailable: 0,
                pause: Duration::from_millis(500),
            };
            let rolling = plan(&sim, 2, Policy { strategy, ..policy() });
            ("rolling with surge", sim, rolling)
        }
        9 => {
            let sim = managed();
            sim.inner().least_serving = 1;
            let strategy = Strategy::Rolling {
                max_surge: 0,
                max_unavailable: 1,
                pause: Duration::from_millis(500),
            };
            let rolling = plan(&sim, 2, Policy { strategy, ..policy() });
            ("rolling without surge", sim, rolling)
        }
        _ => {
            let sim = managed_with_kept();
            let state = sim.inner().state();
            let fast =
                planner::roll_back_fast(inputs(state, policy(), "back"), release(1)).unwrap();
            ("fast rollback", sim, fast)
        }
    }
}

/// How many entries and calls a shape has when nothing goes wrong.
pub fn size(index: usize) -> (u64, u64) {
    let (_, sim, plan) = shape(index);
    run(&sim, &plan).unwrap();
    let inner = sim.inner();
    (inner.entries().len() as u64, inner.calls)
}

pub fn resume_until_ended(sim: &Sim) -> Outcome {
    for _ in 0..10 {
        if let Some(result) = resume(sim) {
            return result.unwrap();
        }
    }
    panic!("ten hosts died");
}

/// Asserts that a deployment ended as it should: promoted, or with a clean slate. One that is stuck
/// is so past the point of no return, and the next host brings it to its end.
pub fn assert_ended(context: &str, sim: &Sim, plan: &Plan, outcome: Outcome) {
    match outcome {
        Outcome::Promoted { .. } => assert_promoted(sim, plan),
        Outcome::Unwound { .. } | Outcome::Refused { .. } => assert_clean_slate(sim, plan),
        Outcome::Stuck { fault, .. } => {
            assert!(
                plan.point_of_no_return().is_some(),
                "{context}: stuck on {fault}\n{}",
                sim.inner().log.join("\n")
            );
            assert!(matches!(resume_until_ended(sim), Outcome::Promoted { .. }), "{context}");
            assert_promoted(sim, plan);
        }
    }
}

/// A call that a shape makes when nothing goes wrong.
pub struct Call {
    pub number: u64,
    pub at: u64,
    pub name: String,
}

impl Call {
    /// Whether it changes something.
    pub fn is_effect(&self) -> bool {
        ["apply", "ensure", "retire", "assign"].iter().any(|name| self.name.starts_with(name))
    }
}

/// The calls that a shape makes when nothing goes wrong.
pub fn calls(index: usize) -> Vec<Call> {
    let (_, sim, plan) = shape(index);
    run(&sim, &plan).unwrap();
    calls_of(&sim)
}

/// The calls that were made in a world.
pub fn calls_of(sim: &Sim) -> Vec<Call> {
    let call = |line: &String| {
        let (at, call) = line.split_once(" call ")?;
        let (number, name) = call.split_once(' ')?;
        let at = at.trim().parse().ok()?;
        Some(Call { number: number.parse().ok()?, at, name: name.to_owned() })
    };
    sim.inner().log.iter().filter_map(call).collect()
}
