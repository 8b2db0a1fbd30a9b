//! What a host is told is old, refused, or not to be had: it looks again, waits its turn, and
//! believes nothing that it has not seen.

use crate::scene::*;
use crate::shapes::{SHAPES, assert_ended, calls, resume_until_ended, shape, size};
use agente_engine::fault::FaultKind;
use agente_engine::journal::{DecisionKind, Outcome};

#[test]
fn a_target_that_tells_what_was_a_while_ago_is_not_believed_too_early() {
    for index in 0..SHAPES {
        for late in [200, 1_000, 5_000] {
            let (name, sim, plan) = shape(index);
            sim.inner().observed_late = late;
            let outcome = run(&sim, &plan).unwrap();
            assert_ended(&format!("{name}, {late} ms late"), &sim, &plan, outcome);
        }
        for entry in 0..size(index).0 - 1 {
            for late in [200, 1_000, 5_000] {
                let (name, sim, plan) = shape(index);
                sim.inner().observed_late = late;
                sim.inner().abort_at_entry = Some(entry);
                let outcome = run(&sim, &plan).unwrap();
                let context = format!("{name}, {late} ms late, aborted at {entry}");
                assert_ended(&context, &sim, &plan, outcome);

                let (name, sim, plan) = shape(index);
                sim.inner().observed_late = late;
                sim.inner().die_after_entry = Some(entry);
                if begin(&sim, &plan).is_none() {
                    let outcome = resume_until_ended(&sim);
                    let context = format!("{name}, {late} ms late, dead at {entry}");
                    assert_ended(&context, &sim, &plan, outcome);
                }
            }
        }
    }
}

#[test]
fn a_target_that_would_not_take_the_routes_of_before_gives_the_candidate_nothing() {
    for index in 1..SHAPES {
        let (name, sim, plan) = shape(index);
        sim.inner().plans_are_refused = true;
        let fault = match run(&sim, &plan).unwrap() {
            Outcome::Refused { fault } | Outcome::Unwound { fault, .. } => fault,
            other => panic!("{name}: {other:?}"),
        };
        assert!(fault.message.contains("rollback would not be possible"), "{name}: {fault}");
        assert_clean_slate(&sim, &plan);
        let log = sim.inner().log.clone();
        let nothing = format!("{} 0 %", plan.slot);
        let given = log.iter().any(|line| line.contains(" apply ") && !line.contains(&nothing));
        assert!(!given, "{name}: {}", log.join("\n"));
    }
}

#[test]
fn a_host_waits_for_its_turn_at_the_target_and_no_longer_than_it_may() {
    for index in 0..SHAPES {
        for call in calls(index).into_iter().filter(|call| call.name.starts_with("lock")) {
            for (theirs, aborted) in [500, 10_000, 40_000]
                .into_iter()
                .flat_map(|theirs| [(theirs, false), (theirs, true)])
            {
                let (name, sim, plan) = shape(index);
                sim.inner().lock_theirs_at = Some((call.number, theirs));
                if aborted {
                    sim.inner().decide_at = Some((call.at + 200, DecisionKind::Abort));
                }
                let outcome = run(&sim, &plan).unwrap();
                let context =
                    format!("{name}, call {} theirs for {theirs}, {aborted}", call.number);
                if !aborted && theirs < 15_000 {
                    assert!(matches!(outcome, Outcome::Promoted { .. }), "{context}: {outcome:?}");
                }
                assert_ended(&context, &sim, &plan, outcome);
            }
        }
    }
}

#[test]
fn an_abort_is_heard_as_soon_as_the_mailbox_can_be_read_again() {
    const DEAF: u64 = 3_000;
    let mut heard = 0;
    for index in 0..SHAPES {
        for entry in 0..size(index).0 - 1 {
            let (name, sim, plan) = shape(index);
            sim.inner().abort_at_entry = Some(entry);
            sim.inner().deaf_for = DEAF;
            let outcome = run(&sim, &plan).unwrap();
            let context = format!("{name}, aborted at {entry}");
            let aborted = match &outcome {
                Outcome::Refused { fault } | Outcome::Unwound { fault, .. } => {
                    fault.kind == FaultKind::Aborted
                }
                _ => false,
            };
            if aborted {
                heard += 1;
                let (left, at) = sim.inner().abort_heard.unwrap();
                let after = at - left;
                assert!(after <= DEAF + 250, "{context}: heard after {after} ms");
            }
            assert_ended(&context, &sim, &plan, outcome);
        }
    }
    assert!(heard > 100, "only {heard} aborts were heard");
}
