//! What was asked for comes about late: whoever asked may have left, or died.

use crate::scene::*;
use crate::shapes::{SHAPES, assert_ended, calls, resume_until_ended, shape};
use crate::world::Wrong;
use agente_engine::journal::{DecisionKind, Outcome};

#[test]
fn a_call_that_takes_its_time_anywhere_ends_promoted_or_with_a_clean_slate() {
    for index in 0..SHAPES {
        for call in calls(index) {
            for late in [300, 4_000, 40_000] {
                let (name, sim, plan) = shape(index);
                sim.inner().wrong.insert(call.number, Wrong::Slow(late));
                let outcome = run(&sim, &plan).unwrap();
                assert_ended(&format!("{name}, `{}` {late}", call.name), &sim, &plan, outcome);
            }
        }
    }
}

#[test]
fn what_an_abort_leaves_under_way_never_gives_the_candidate_requests_again() {
    let mut unwound = 0;
    for index in 0..SHAPES {
        for call in calls(index).into_iter().filter(|call| call.is_effect()) {
            for late in [400, 1_000, 10_000] {
                let (name, sim, plan) = shape(index);
                sim.inner().wrong.insert(call.number, Wrong::Slow(late));
                sim.inner().decide_at = Some((call.at + 50, DecisionKind::Abort));
                let outcome = run(&sim, &plan).unwrap();
                unwound += usize::from(matches!(outcome, Outcome::Unwound { .. }));
                assert_ended(&format!("{name}, `{}` {late}", call.name), &sim, &plan, outcome);
            }
        }
    }
    assert!(unwound > 100, "only {unwound} were aborted");
}

#[test]
fn what_a_dead_host_has_asked_of_the_target_comes_too_late_for_the_next_one() {
    let mut dead = 0;
    for index in 0..SHAPES {
        for call in calls(index).into_iter().filter(|call| call.name.starts_with("apply")) {
            for late in [50, 500, 3_000] {
                for turned in [false, true] {
                    let (name, sim, plan) = shape(index);
                    sim.inner().wrong.insert(call.number, Wrong::DiesMeanwhile(late));
                    assert!(begin(&sim, &plan).is_none(), "`{}` was never made", call.name);
                    let outcome = if turned {
                        unwind(&sim).expect("nobody killed the second host").unwrap()
                    } else {
                        resume_until_ended(&sim)
                    };
                    dead += 1;
                    let context = format!("{name}, `{}` {late}, turned: {turned}", call.name);
                    assert_ended(&context, &sim, &plan, outcome);
                }
            }
        }
    }
    assert!(dead > 50, "only {dead} hosts died");
}
