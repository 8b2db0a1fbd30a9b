//! Whoever wants a deployment unwound that another host has left gets that, wherever it was left.

use crate::scene::*;
use crate::shapes::{SHAPES, assert_ended, shape, size};
use crate::world::Wrong;
use agente_engine::journal::Outcome;

#[test]
fn a_deployment_that_was_left_anywhere_is_unwound_until_retiring_began() {
    for index in 0..SHAPES {
        for entry in 0..size(index).0 - 1 {
            let (name, sim, plan) = shape(index);
            sim.inner().die_after_entry = Some(entry);
            assert!(begin(&sim, &plan).is_none());
            let past = sim.inner().attempt().unwrap().past_point_of_no_return();
            let outcome = unwind(&sim).expect("nobody killed the second host").unwrap();
            let context = format!("{name}, entry {entry}: {outcome:?}");
            match &outcome {
                Outcome::Promoted { .. } => assert!(past, "{context}"),
                Outcome::Unwound { fault, .. } => {
                    assert!(!past, "{context}");
                    // Why it had turned back already stays the cause.
                    assert_eq!(*fault, aborted(), "{context}");
                }
                _ => panic!("{context}"),
            }
            assert_ended(&context, &sim, &plan, outcome);
        }
    }
}

#[test]
fn whoever_unwinds_may_fail_and_die_anywhere_too() {
    for index in 0..SHAPES {
        // Left when there is most to undo.
        let left = |sim: &crate::world::Sim, plan: &agente_engine::plan::Plan| {
            let last = plan.point_of_no_return().unwrap_or(plan.steps.len());
            sim.inner().die_before_step = Some(last);
            begin(sim, plan)
        };
        let (_, sim, plan) = shape(index);
        if left(&sim, &plan).is_some() {
            continue;
        }
        let first = sim.inner().calls;
        unwind(&sim).unwrap().unwrap();
        let calls = sim.inner().calls;
        for call in first + 1..=calls {
            for wrong in [
                Wrong::Refuses,
                Wrong::FailsBefore,
                Wrong::FailsAfter,
                Wrong::HangsAfter,
                Wrong::Slow(20_000),
                Wrong::Freezes(5_000),
                Wrong::DiesBefore,
                Wrong::DiesAfter,
                Wrong::DiesMeanwhile(700),
            ] {
                let (name, sim, plan) = shape(index);
                assert!(left(&sim, &plan).is_none());
                sim.inner().wrong.insert(call, wrong);
                let context = format!("{name}, call {call} {wrong:?}");
                let outcome = match unwind(&sim) {
                    Some(outcome) => outcome.unwrap(),
                    None => crate::shapes::resume_until_ended(&sim),
                };
                assert!(matches!(outcome, Outcome::Unwound { .. }), "{context}: {outcome:?}");
                assert_ended(&context, &sim, &plan, outcome);
            }
        }
    }
}
