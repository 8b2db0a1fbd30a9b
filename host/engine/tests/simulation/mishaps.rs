//! Two things that go wrong one after the other: a death and then a refusal, a decision while it
//! unwinds, a journal that is lost on the way back, a clock that is set, a target that is changed
//! while the old side is held.

use crate::canary;
use crate::scene::*;
use crate::shapes::{SHAPES, assert_ended, resume_until_ended, shape, size};
use crate::time::drive;
use crate::world::{Candidate, Sim, Wrong};
use agente_engine::executor::{self, Halt};
use agente_engine::journal::{DecisionKind, Entry, Event, Outcome};
use agente_engine::plan::Plan;
use agente_engine::planner;
use agente_engine::policy::{KeepPrevious, Policy, Strategy};
use agente_engine::route::{Override, OverrideBy, Routes, Slot};
use agente_engine::step::StepEvent;
use agente_engine::steps::StepKind;
use std::collections::BTreeSet;
use std::time::Duration;

/// Whether requests are split alike, wherever the backends are now.
fn alike(one: Option<&Routes>, other: Option<&Routes>) -> bool {
    let (one, other) = (wherever(one), wherever(other));
    one.zip(other).is_some_and(|(one, other)| one.same_traffic(&other))
}

#[test]
fn what_is_refused_to_the_host_after_a_dead_one_may_have_been_done_by_that_and_is_unwound() {
    for index in 0..SHAPES {
        let (_, calls) = size(index);
        for call in 1..=calls {
            // The first calls of the next host are those that look whether the step can be done at
            // all.
            for (wrong, looks) in [(Wrong::DiesBefore, 1), (Wrong::DiesAfter, 3)] {
                for then in 1..=looks {
                    let (name, sim, plan) = shape(index);
                    sim.inner().wrong.insert(call, wrong);
                    assert!(begin(&sim, &plan).is_none());
                    let next = sim.inner().calls + then;
                    sim.inner().wrong.insert(next, Wrong::Refuses);
                    let outcome = resume_until_ended(&sim);
                    assert_ended(
                        &format!("{name}, call {call} {wrong:?}, then {next}"),
                        &sim,
                        &plan,
                        outcome,
                    );
                }
            }
        }
    }
}

#[test]
fn a_candidate_that_is_gone_when_the_host_comes_back_gets_no_requests() {
    for index in 1..SHAPES {
        let (entries, _) = size(index);
        let mut unwound = 0;
        for entry in 1..entries {
            let (name, sim, plan) = shape(index);
            sim.inner().die_after_entry = Some(entry);
            if begin(&sim, &plan).is_some() {
                continue;
            }
            sim.inner().candidate = Candidate::Dies(0);
            let outcome = resume_until_ended(&sim);
            unwound +=
                usize::from(matches!(outcome, Outcome::Unwound { .. } | Outcome::Refused { .. }));
            assert_ended(&format!("{name}, entry {entry}"), &sim, &plan, outcome);
        }
        assert!(unwound > 0, "shape {index}: a dead candidate was never noticed");
    }
}

#[test]
fn a_decision_while_it_unwinds_is_heard_and_changes_nothing() {
    for index in 1..SHAPES {
        let aborted = |second: Option<u64>| {
            let (_, sim, plan) = shape(index);
            sim.inner().candidate = Candidate::TurnsBad(0);
            // A drain that takes its time.
            sim.inner().drain_takes = 6_000;
            if let Some(at) = second {
                sim.inner().decide_at = Some((at, DecisionKind::Abort));
            }
            let outcome = run(&sim, &plan).unwrap();
            (sim, plan, outcome)
        };
        let (sim, _, outcome) = aborted(None);
        let (turned, closed) = {
            let entries = sim.inner().entries();
            let Some(turned) =
                entries.iter().find(|entry| matches!(entry.event, Event::TurnedBack { .. }))
            else {
                continue;
            };
            (turned.at.0, entries.last().unwrap().at.0)
        };
        for at in [turned + 50, (turned + closed) / 2, closed - 150] {
            let (sim, plan, again) = aborted(Some(at));
            assert_eq!(again, outcome, "shape {index}, decided at {at}");
            assert_clean_slate(&sim, &plan);
            let inner = sim.inner();
            let heard = inner
                .entries()
                .iter()
                .find(|entry| matches!(entry.event, Event::Decided(_)))
                .expect("it was written down")
                .at
                .0;
            assert!(
                heard.saturating_sub(at) <= 250,
                "shape {index}: heard after {} ms\n{}",
                heard - at,
                inner.log.join("\n")
            );
        }
    }
}

#[test]
fn a_journal_that_is_lost_on_the_way_back_sends_nothing_to_the_candidate_again() {
    for index in [1, 2, 3, 6, 8] {
        let (_, sim, plan) = shape(index);
        run(&sim, &plan).unwrap();
        let promote = plan.promote_step().unwrap();
        let is_promoted = |event: &Event| has_succeeded(event, promote);
        let promoted =
            sim.inner().entries().iter().position(|entry| is_promoted(&entry.event)).unwrap()
                as u64;
        let (_, sim, plan) = shape(index);
        sim.inner().abort_at_entry = Some(promoted);
        run(&sim, &plan).unwrap();
        let entries = sim.inner().entries();
        let is_shift = |step: usize| matches!(plan.steps[step].kind, StepKind::Shift(_));
        let undo_of_shift = |entry: &Entry| match entry.event {
            Event::Step { step, event: StepEvent::UndoStarted } => is_shift(step),
            _ => false,
        };
        let begun = entries.iter().position(undo_of_shift).unwrap();
        for entry in promoted + 2..entries.len() as u64 {
            let (name, sim, plan) = shape(index);
            sim.inner().abort_at_entry = Some(promoted);
            sim.inner().journal_fails_from = Some(entry);
            let Err(Halt::JournalUnavailable { in_force, .. }) = run(&sim, &plan) else {
                panic!("{name}, entry {entry}: it went on")
            };
            assert!(in_force.is_some(), "{name}, entry {entry}");
            if entry > begun as u64 {
                let inner = sim.inner();
                let loaded = inner.loaded.as_ref().map(|loaded| loaded.routes.clone());
                assert!(
                    alike(plan.routes_before.as_ref(), loaded.as_ref()),
                    "{name}, entry {entry}: {loaded:?}\n{}",
                    inner.log.join("\n")
                );
            }
            sim.inner().journal_fails_from = None;
            assert!(
                matches!(resume_until_ended(&sim), Outcome::Unwound { .. }),
                "{name}, entry {entry}"
            );
            assert_clean_slate(&sim, &plan);
        }
    }
}

#[test]
fn a_journal_that_does_not_take_a_decision_gives_the_targets_lock_back_before_the_routes() {
    let (_, sim, plan) = shape(1);
    // In the middle of the shift, which holds the target's lock.
    sim.inner().load_takes = 2_000;
    run(&sim, &plan).unwrap();
    let shift = plan.steps.iter().position(|step| matches!(step.kind, StepKind::Shift(_))).unwrap();
    let started = |event: &Event| has_started(event, shift);
    let entry =
        sim.inner().entries().iter().position(|entry| started(&entry.event)).unwrap() as u64;
    let (_, sim, plan) = shape(1);
    sim.inner().load_takes = 2_000;
    sim.inner().abort_at_entry = Some(entry);
    sim.inner().journal_fails_from = Some(entry + 1);
    let Err(Halt::JournalUnavailable { in_force, .. }) = run(&sim, &plan) else {
        panic!("it went on")
    };
    assert!(in_force.is_some());
    let loaded = sim.inner().loaded.as_ref().map(|loaded| loaded.routes.clone());
    assert!(alike(plan.routes_before.as_ref(), loaded.as_ref()));
}

#[test]
fn what_was_to_be_removed_for_the_next_release_and_was_not_is_removed_by_the_one_after() {
    let mut left = 0;
    let (_, calls) = size(2);
    for call in 1..=calls {
        for wrong in [Wrong::Refuses, Wrong::FailsBefore, Wrong::FailsAfter, Wrong::HangsAfter] {
            let (_, sim, third) = shape(2);
            sim.inner().wrong.insert(call, wrong);
            if matches!(run(&sim, &third).unwrap(), Outcome::Promoted { .. }) {
                continue;
            }
            let Some(kept) = sim.inner().state().kept.clone() else { continue };
            if kept.partial {
                left += 1;
                let state = sim.inner().state();
                assert!(
                    planner::roll_back_fast(inputs(state, policy(), "back"), release(1)).is_err(),
                    "a part of a side is no way back"
                );
            }
            sim.inner().wrong.clear();
            let fourth = plan(&sim, 4, policy());
            assert!(matches!(run(&sim, &fourth).unwrap(), Outcome::Promoted { .. }));
            assert_promoted(&sim, &fourth);
        }
    }
    assert!(left > 0, "it was never left half-way");
}

#[test]
fn a_candidate_that_a_rule_still_leads_to_is_not_removed() {
    let sim = managed();
    let rules = vec![Override {
        slot: Slot::Blue,
        by: OverrideBy::Header,
        name: "x-canary".into(),
        value: "always".into(),
    }];
    let plan = plan(
        &sim,
        2,
        Policy {
            candidate_overrides: rules,
            ..canary::stages(&[10], agente_engine::policy::SplitBy::Weight)
        },
    );
    let preview =
        plan.steps.iter().position(|step| matches!(step.kind, StepKind::Shift(_))).unwrap();
    let done = |event: &Event| has_succeeded(event, preview);
    // Once to learn which entry it is; then somebody else's mistake keeps the target from taking
    // anything from there on.
    run(&sim, &plan).unwrap();
    let entry = sim.inner().entries().iter().position(|entry| done(&entry.event)).unwrap() as u64;
    let sim = managed();
    sim.inner().target_refuses_from = Some(entry);
    let outcome = begin(&sim, &plan);
    assert!(matches!(outcome, Some(Ok(Outcome::Stuck { .. }))), "{outcome:?}");
    assert!(plan.backends.iter().all(|backend| sim.inner().backends.contains_key(&backend.id)));
    sim.inner().target_refuses = false;
    assert!(matches!(resume_until_ended(&sim), Outcome::Unwound { .. }));
    assert_clean_slate(&sim, &plan);
}

#[test]
fn a_clock_that_is_set_during_a_deployment_neither_shortens_nor_stretches_anything() {
    let shapes: [fn() -> (Sim, Plan); 3] = [
        || {
            let sim = managed();
            let plan = plan(&sim, 2, Policy { bake: Duration::from_secs(20), ..policy() });
            (sim, plan)
        },
        || {
            let sim = managed();
            let plan =
                plan(&sim, 2, canary::stages(&[10, 50], agente_engine::policy::SplitBy::Weight));
            (sim, plan)
        },
        || {
            let sim = managed();
            let strategy = Strategy::Rolling {
                max_surge: 1,
                max_unavailable: 0,
                pause: Duration::from_millis(500),
            };
            let plan =
                plan(&sim, 2, Policy { strategy, keep_previous: KeepPrevious::None, ..policy() });
            (sim, plan)
        },
    ];
    for (index, shape) in shapes.into_iter().enumerate() {
        let (sim, plan) = shape();
        let began = sim.time.now().0;
        run(&sim, &plan).unwrap();
        let took = sim.time.now().0 - began;
        for by in [-3_600_000, 3_600_000] {
            for at in (began..began + took).step_by(700) {
                let (sim, plan) = shape();
                sim.inner().wall_set = Some((at, by));
                let outcome = run(&sim, &plan).unwrap();
                assert!(
                    matches!(outcome, Outcome::Promoted { .. }),
                    "{index}, set by {by} at {at}: {outcome:?}\n{}",
                    sim.inner().log.join("\n")
                );
                assert_promoted(&sim, &plan);
                assert_eq!(
                    sim.time.now().0 - began,
                    took,
                    "{index}, set by {by} at {at}: it took longer or shorter"
                );
                assert!(sim.inner().cut.is_empty());
            }
        }
    }
}

#[test]
fn an_old_side_that_gets_requests_again_while_it_is_held_is_not_removed() {
    let sim = managed();
    let held = KeepPrevious::For { duration: Duration::from_secs(60) };
    let plan = plan(&sim, 2, Policy { keep_previous: held, ..policy() });
    let old = sim.inner().loaded.clone().unwrap();
    // Somebody puts the file of yesterday back.
    let hold = plan.steps.iter().position(|step| matches!(step.kind, StepKind::Hold(_))).unwrap();
    let held = |event: &Event| has_started(event, hold);
    let restoring = async {
        loop {
            sim.time.sleep(Duration::from_secs(1)).await;
            let mut inner = sim.inner();
            if inner.entries().iter().any(|entry| held(&entry.event)) {
                let fence = inner.loaded.as_ref().unwrap().fence;
                let restored = agente_engine::ports::Desired { fence, ..old.clone() };
                inner.applied = Some((restored.clone(), 0));
                inner.loaded = Some(restored);
            }
        }
    };
    let lease = sim.begin(plan.slot);
    let state = sim.inner().state();
    let deployment = executor::begin(sim.world(), &*lease, plan.clone(), state);
    let outcome = drive(&sim.time, || false, async {
        futures_util::pin_mut!(deployment, restoring);
        match futures_util::future::select(deployment, restoring).await {
            futures_util::future::Either::Left((outcome, _)) => outcome,
            futures_util::future::Either::Right(((), _)) => unreachable!(),
        }
    });
    let Some(Ok(Outcome::Promoted { notes })) = outcome else {
        panic!("{outcome:?}\n{}", sim.inner().log.join("\n"))
    };
    assert!(
        notes.iter().any(|note| note.contains("is kept: the target sends requests to")),
        "{notes:?}"
    );
    assert!(
        backends(Slot::Blue, 1)
            .iter()
            .all(|backend| sim.inner().backends.contains_key(&backend.id))
    );
    assert!(sim.inner().state().kept.is_some());
}

#[test]
fn requests_that_end_while_the_old_side_is_held_no_longer_keep_it() {
    let sim = managed();
    let held = KeepPrevious::For { duration: Duration::from_secs(60) };
    // Longer than the drain waits, shorter than the old side is held.
    sim.inner().drain_takes = 40_000;
    let plan = plan(&sim, 2, Policy { keep_previous: held, ..policy() });
    let Outcome::Promoted { notes } = run(&sim, &plan).unwrap() else { panic!("not promoted") };
    assert!(sim.inner().state().kept.is_none(), "{notes:?}");
    assert_promoted(&sim, &plan);
    assert!(sim.inner().cut.is_empty());
}

#[test]
fn a_slow_source_of_numbers_is_heard_in_a_pause() {
    let sim = managed();
    let plan = plan(&sim, 2, canary::measured());
    let analysis =
        plan.steps.iter().position(|step| matches!(step.kind, StepKind::Analyze(_))).unwrap();
    let first = |event: &Event| has_succeeded(event, analysis);
    // Paused as the first stage ends; then the candidate fails, and the source takes five times as
    // long as two looks at the mailbox are apart.
    let mut paused = false;
    let pausing = async {
        loop {
            sim.time.sleep(Duration::from_millis(10)).await;
            let mut inner = sim.inner();
            let began = |event: &Event| has_started(event, analysis);
            if !paused && inner.entries().iter().any(|entry| began(&entry.event)) {
                paused = true;
                inner.leave(DecisionKind::Pause);
            }
            if inner.entries().iter().any(|entry| first(&entry.event)) {
                inner.metrics.takes = 500;
                inner.metrics.candidate_fails = 0.5;
            }
        }
    };
    let lease = sim.begin(plan.slot);
    let state = sim.inner().state();
    let deployment = executor::begin(sim.world(), &*lease, plan.clone(), state);
    let limit = sim.time.sleep(Duration::from_secs(300));
    let outcome = drive(&sim.time, || false, async {
        futures_util::pin_mut!(deployment, pausing, limit);
        let all = futures_util::future::select(pausing, limit);
        match futures_util::future::select(deployment, all).await {
            futures_util::future::Either::Left((outcome, _)) => outcome,
            futures_util::future::Either::Right(_) => {
                panic!("nobody noticed in five minutes\n{}", sim.inner().log.join("\n"))
            }
        }
    });
    assert!(matches!(outcome, Some(Ok(Outcome::Unwound { .. }))), "{outcome:?}");
    assert_clean_slate(&sim, &plan);
}

#[test]
fn a_bake_that_another_host_takes_up_holds_the_release_against_the_one_before() {
    let sim = managed();
    let baked = Policy { bake: Duration::from_secs(60), ..canary::measured() };
    let plan = plan(&sim, 2, Policy { strategy: Strategy::BlueGreen, ..baked });
    let bake = plan.steps.iter().position(|step| matches!(step.kind, StepKind::Bake(_))).unwrap();
    // Once to learn which entry it is.
    run(&sim, &plan).unwrap();
    let started = |event: &Event| has_started(event, bake);
    let entry =
        sim.inner().entries().iter().position(|entry| started(&entry.event)).unwrap() as u64;
    let again = managed();
    let mut plan = plan;
    plan.created = again.time.now();
    again.inner().die_after_entry = Some(entry);
    assert!(begin(&again, &plan).is_none());
    again.inner().metrics.candidate_fails = 0.3;
    let outcome = resume_until_ended(&again);
    let Outcome::Unwound { fault, .. } = outcome else {
        panic!("{outcome:?}\n{}", again.inner().log.join("\n"))
    };
    assert!(fault.message.contains("analysis `errors`"), "{fault}");
    assert_clean_slate(&again, &plan);
}

#[test]
fn the_mishaps_are_what_they_say() {
    // The kinds of shapes that the harnesses above go through hold at least one of each step that
    // can be refused after a death.
    let kinds: BTreeSet<&str> = (0..SHAPES)
        .flat_map(|index| shape(index).2.steps.into_iter().map(|step| step.kind.name()))
        .collect();
    for kind in ["launch", "shift", "shrink", "retire-kept", "retire", "promote"] {
        assert!(kinds.contains(kind), "no shape has a step `{kind}`");
    }
}
