//! A journal that takes nothing for a while, as on a full disk.

use crate::scene::*;
use crate::shapes::{resume_until_ended, shape, size};
use crate::world::{Candidate, Sim};
use agente_engine::attempt::Attempt;
use agente_engine::executor::Halt;
use agente_engine::journal::{DecisionKind, Event, Outcome};
use agente_engine::step::StepEvent;
use agente_engine::steps::StepKind;

/// Until when the journal is full in these tests.
const ROOM_AGAIN: u64 = 600_000;

#[test]
fn a_journal_that_is_full_for_a_while_is_outlasted_and_the_deployment_goes_on_by_itself() {
    let (entries, _) = size(1);
    for entry in 1..entries {
        let (_, sim, plan) = shape(1);
        sim.inner().journal_fails_from = Some(entry);
        sim.inner().journal_fails_until = Some(ROOM_AGAIN);
        let outcome = run(&sim, &plan).unwrap();
        assert!(matches!(outcome, Outcome::Promoted { .. }), "entry {entry}: {outcome:?}");
        assert!(sim.time.now().0 >= ROOM_AGAIN, "entry {entry}: the journal was never full");
        assert_promoted(&sim, &plan);
    }
}

#[test]
fn a_candidate_that_turns_bad_while_the_journal_is_full_loses_its_requests_at_once() {
    let (entries, _) = size(1);
    let mut bad = 0;
    for entry in 1..entries {
        let (_, sim, plan) = shape(1);
        sim.inner().candidate = Candidate::TurnsBad(30_000);
        sim.inner().journal_fails_from = Some(entry);
        sim.inner().journal_fails_until = Some(ROOM_AGAIN);
        let outcome = run(&sim, &plan).unwrap();
        let inner = sim.inner();
        let is_shift = |step: usize| matches!(plan.steps[step].kind, StepKind::Shift(_));
        let shifted = inner.entries().iter().position(|entry| {
            matches!(entry.event, Event::Step { step, event: StepEvent::Started } if is_shift(step))
        });
        // Its candidate has requests once the shift has begun.
        let full_after_shift = shifted.is_some_and(|shifted| entry > shifted as u64)
            && matches!(outcome, Outcome::Unwound { .. });
        if full_after_shift {
            // Nobody sets what is in force already: these routes were set before there was room.
            let (desired, at) = inner.applied.as_ref().unwrap();
            assert!(plan.routes_before.as_ref().unwrap().same_traffic(&desired.routes));
            assert!(*at < ROOM_AGAIN, "entry {entry}: {at}\n{}", inner.log.join("\n"));
            bad += 1;
        }
    }
    assert!(bad > 3, "{bad}");
}

#[test]
fn whoever_asks_to_stop_while_the_journal_is_full_gets_the_requests_back_and_is_told() {
    let decided = |sim: &Sim| {
        sim.inner().decide_at = Some((ROOM_AGAIN, DecisionKind::Abort));
    };
    // By a signal, which nothing writes down.
    let interrupted = |sim: &Sim| {
        sim.inner().interrupt_at = Some(ROOM_AGAIN);
    };
    for ask in [&decided as &dyn Fn(&Sim), &interrupted] {
        let (entries, _) = size(1);
        for entry in 1..entries {
            let (_, sim, plan) = shape(1);
            sim.inner().journal_fails_from = Some(entry);
            ask(&sim);
            let result = run(&sim, &plan);
            let inner = sim.inner();
            let past = Attempt::fold(&inner.entries()).unwrap().past_point_of_no_return();
            drop(inner);
            let Err(Halt::JournalUnavailable { in_force, .. }) = result else {
                assert!(past, "entry {entry}: {result:?}");
                continue;
            };
            assert!(in_force.is_some(), "entry {entry}");
            let loaded = sim.inner().loaded.as_ref().unwrap().routes.clone();
            assert!(plan.routes_before.as_ref().unwrap().same_traffic(&loaded), "entry {entry}");
            // There is room: what is left is unwound.
            sim.inner().journal_fails_from = None;
            let outcome = resume_until_ended(&sim);
            assert!(
                matches!(outcome, Outcome::Unwound { .. } | Outcome::Refused { .. }),
                "entry {entry}: {outcome:?}"
            );
            assert_clean_slate(&sim, &plan);
        }
    }
}

#[test]
fn room_that_is_kept_for_the_way_back_is_used_for_it_alone() {
    let (entries, _) = size(1);
    let mut back = 0;
    for entry in 1..entries {
        let (_, sim, plan) = shape(1);
        sim.inner().candidate = Candidate::TurnsBad(30_000);
        sim.inner().journal_fails_from = Some(entry);
        sim.inner().journal_fails_until = Some(ROOM_AGAIN);
        sim.inner().room_is_kept = true;
        let outcome = run(&sim, &plan).unwrap();
        let unused = sim.inner().room_is_kept;
        match outcome {
            Outcome::Unwound { .. } if !unused => {
                assert!(sim.time.now().0 < ROOM_AGAIN, "entry {entry}: it waited for room");
                assert_clean_slate(&sim, &plan);
                back += 1;
            }
            // It could go on only when there was room, and turned bad after that or never.
            Outcome::Unwound { .. } | Outcome::Promoted { .. } => {
                assert!(unused, "entry {entry}: {outcome:?}");
                assert!(sim.time.now().0 >= ROOM_AGAIN, "entry {entry}: it used what is kept");
            }
            other => panic!("entry {entry}: {other:?}"),
        }
    }
    assert!(back > 3, "{back}");
}

#[test]
fn a_host_that_unwinds_for_a_dead_one_puts_the_requests_back_before_it_can_write_that() {
    let (entries, _) = size(1);
    let mut back = 0;
    for entry in 1..entries {
        let (_, sim, plan) = shape(1);
        sim.inner().die_after_entry = Some(entry);
        assert!(begin(&sim, &plan).is_none(), "entry {entry}: it must die");
        let left = Attempt::fold(&sim.inner().entries()).unwrap();
        if !left.shift_began() || left.past_point_of_no_return() || left.outcome.is_some() {
            continue;
        }
        sim.inner().journal_fails_from = Some(0);
        let result = unwind(&sim).expect("nobody killed it");
        assert!(
            matches!(result, Err(Halt::JournalUnavailable { .. })),
            "entry {entry}: {result:?}"
        );
        let loaded = sim.inner().loaded.as_ref().unwrap().routes.clone();
        assert!(plan.routes_before.as_ref().unwrap().same_traffic(&loaded), "entry {entry}");
        sim.inner().journal_fails_from = None;
        let outcome = resume_until_ended(&sim);
        back += u32::from(!matches!(outcome, Outcome::Promoted { .. }));
    }
    assert!(back > 0, "{back}");
}
