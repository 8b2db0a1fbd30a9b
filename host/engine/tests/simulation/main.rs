//! The engine against fake ports and virtual time: every strategy fails, dies and is aborted
//! everywhere, and the invariants hold throughout.

#![allow(
    clippy::pedantic,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub,
    reason = "a harness: what is not as it should be ends the test, with the log of the simulated \
              world"
)]

mod canary;
mod full_journal;
mod hosts;
mod lease;
mod mishaps;
mod moves;
mod scene;
mod time;
mod trust;
mod world;

use agente_engine::attempt::Attempt;
use agente_engine::deployment::DeploymentKind;
use agente_engine::executor::Halt;
use agente_engine::fault::FaultKind;
use agente_engine::journal::{Event, Outcome};
use agente_engine::names::Timestamp;
use agente_engine::plan::Plan;
use agente_engine::planner;
use agente_engine::policy::{
    FailingBaseline, KeepPrevious, OnDrainTimeout, Policy, SplitBy, Strategy,
};
use agente_engine::route::{Override, OverrideBy, Slot};
use agente_engine::step::StepEvent;
use agente_engine::steps::StepKind;
use scene::*;
use std::collections::BTreeSet;
use std::time::Duration;
use world::{CUT, Candidate, Sim, Wrong};

/// How many shapes of deployment every harness goes through.
const SHAPES: usize = 11;

/// One of the shapes: a name, a world, a plan.
fn shape(index: usize) -> (&'static str, Sim, Plan) {
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
            let state = sim.inner().state.clone();
            let fast =
                planner::roll_back_fast(inputs(state, policy(), "back"), release(1)).unwrap();
            ("fast rollback", sim, fast)
        }
    }
}

/// How many entries and calls a shape has when nothing goes wrong.
fn size(index: usize) -> (u64, u64) {
    let (_, sim, plan) = shape(index);
    run(&sim, &plan).unwrap();
    let inner = sim.inner();
    (inner.entries.len() as u64, inner.calls)
}

fn resume_until_ended(sim: &Sim) -> Outcome {
    for _ in 0..10 {
        if let Some(result) = resume(sim) {
            return result.unwrap();
        }
    }
    panic!("ten hosts died");
}

#[test]
fn every_shape_is_promoted_when_nothing_goes_wrong() {
    for (name, sim, plan) in (0..SHAPES).map(shape) {
        let outcome = run(&sim, &plan).unwrap();
        assert!(matches!(outcome, Outcome::Promoted { .. }), "{name}: {outcome:?}");
        assert_promoted(&sim, &plan);
        assert!(sim.inner().cut.is_empty(), "{name}: requests were cut");
    }
}

#[test]
fn a_host_killed_around_any_entry_is_resumed_to_the_same_end() {
    for index in 0..SHAPES {
        let (entries, _) = size(index);
        for entry in 0..entries {
            for before in [true, false] {
                let (name, sim, plan) = shape(index);
                if before {
                    sim.inner().die_before_entry = Some(entry)
                } else {
                    sim.inner().die_after_entry = Some(entry)
                }
                let begun = begin(&sim, &plan);
                if let Some(result) = begun {
                    // Closing was the last thing the host did.
                    assert!(matches!(result.unwrap(), Outcome::Promoted { .. }));
                    continue;
                }
                if sim.inner().entries.is_empty() {
                    continue; // The plan was never written: nothing began.
                }
                let outcome = resume_until_ended(&sim);
                assert!(
                    matches!(outcome, Outcome::Promoted { .. }),
                    "{name}, entry {entry}: {outcome:?}\n{}",
                    sim.inner().log.join("\n")
                );
                assert_promoted(&sim, &plan);
            }
        }
    }
}

#[test]
fn a_host_killed_at_any_call_before_or_after_its_effect_is_resumed_to_the_same_end() {
    for index in 0..SHAPES {
        let (_, calls) = size(index);
        for call in 1..=calls {
            for wrong in [Wrong::DiesBefore, Wrong::DiesAfter] {
                let (name, sim, plan) = shape(index);
                sim.inner().wrong.insert(call, wrong);
                assert!(begin(&sim, &plan).is_none(), "{name}: call {call} was never made");
                let outcome = resume_until_ended(&sim);
                assert!(
                    matches!(outcome, Outcome::Promoted { .. }),
                    "{name}, call {call} {wrong:?}: {outcome:?}\n{}",
                    sim.inner().log.join("\n")
                );
                assert_promoted(&sim, &plan);
            }
        }
    }
}

#[test]
fn a_failure_of_any_call_ends_promoted_or_with_a_clean_slate() {
    for index in 0..SHAPES {
        let (_, calls) = size(index);
        let mut unwound = 0;
        for call in 1..=calls {
            for wrong in [
                Wrong::Refuses,
                Wrong::FailsBefore,
                Wrong::FailsAfter,
                Wrong::HangsBefore,
                Wrong::HangsAfter,
            ] {
                let (name, sim, plan) = shape(index);
                sim.inner().wrong.insert(call, wrong);
                match run(&sim, &plan).unwrap() {
                    Outcome::Promoted { .. } => assert_promoted(&sim, &plan),
                    Outcome::Unwound { .. } | Outcome::Refused { .. } => {
                        unwound += 1;
                        assert_clean_slate(&sim, &plan);
                    }
                    Outcome::Stuck { fault, .. } => {
                        // Only the removal of the old side has no way back.
                        assert!(
                            plan.point_of_no_return().is_some(),
                            "{name}, call {call} {wrong:?}: stuck on {fault}\n{}",
                            sim.inner().log.join("\n")
                        );
                        let outcome = resume_until_ended(&sim);
                        assert!(
                            matches!(outcome, Outcome::Promoted { .. }),
                            "{name}, call {call}: {outcome:?}"
                        );
                        assert_promoted(&sim, &plan);
                    }
                }
            }
        }
        assert!(unwound > 5, "shape {index}: the harness never made it fail");
    }
}

#[test]
fn an_abort_at_any_entry_leaves_stable_at_full_weight_until_retiring_began() {
    for index in 0..SHAPES {
        let (entries, _) = size(index);
        for entry in 0..entries - 1 {
            let (name, sim, plan) = shape(index);
            sim.inner().abort_at_entry = Some(entry);
            let outcome = run(&sim, &plan).unwrap();
            let retiring = {
                let inner = sim.inner();
                let began = |event: &Event| matches!(event, Event::Step { step, event: StepEvent::Started } if Some(*step) == plan.point_of_no_return());
                inner.entries[..=usize::try_from(entry).unwrap()].iter().any(|e| began(&e.event))
            };
            match outcome {
                Outcome::Promoted { .. } => {
                    assert!(
                        retiring,
                        "{name}: an abort at entry {entry} was not obeyed\n{}",
                        sim.inner().log.join("\n")
                    );
                    assert_promoted(&sim, &plan);
                }
                Outcome::Unwound { fault, .. } | Outcome::Refused { fault } => {
                    assert_eq!(fault.kind, FaultKind::Aborted);
                    assert_clean_slate(&sim, &plan);
                    let inner = sim.inner();
                    let (left, heard) = inner.abort_heard.unwrap();
                    assert!(
                        heard - left <= 250,
                        "{name}: an abort at entry {entry} was heard after {} ms",
                        heard - left
                    );
                }
                Outcome::Stuck { .. } => panic!(
                    "{name}: an abort at entry {entry} got stuck\n{}",
                    sim.inner().log.join("\n")
                ),
            }
        }
    }
}

#[test]
fn unwinding_that_is_killed_anywhere_goes_on_to_the_same_clean_slate() {
    for index in 1..SHAPES {
        // Aborted right after promote, when there is most to undo.
        let (_, sim, plan) = shape(index);
        run(&sim, &plan).unwrap();
        let promoted = {
            let inner = sim.inner();
            let promote = plan.promote_step().unwrap();
            let at = inner.entries.iter().position(|e| matches!(e.event, Event::Step { step, event: StepEvent::Succeeded { .. } } if step == promote));
            at.unwrap() as u64
        };
        let (_, sim, plan) = shape(index);
        sim.inner().abort_at_entry = Some(promoted);
        run(&sim, &plan).unwrap();
        let (entries, calls) = {
            let inner = sim.inner();
            (inner.entries.len() as u64, inner.calls)
        };
        for entry in promoted + 1..entries {
            for before in [true, false] {
                let (_, sim, plan) = shape(index);
                sim.inner().abort_at_entry = Some(promoted);
                if before {
                    sim.inner().die_before_entry = Some(entry)
                } else {
                    sim.inner().die_after_entry = Some(entry)
                }
                if begin(&sim, &plan).is_none() {
                    resume_until_ended(&sim);
                }
                assert_clean_slate(&sim, &plan);
            }
        }
        for call in 1..=calls {
            for wrong in [Wrong::DiesBefore, Wrong::DiesAfter, Wrong::FailsAfter, Wrong::HangsAfter]
            {
                let (name, sim, plan) = shape(index);
                sim.inner().abort_at_entry = Some(promoted);
                sim.inner().wrong.insert(call, wrong);
                let outcome = match begin(&sim, &plan) {
                    Some(result) => result.unwrap(),
                    None => resume_until_ended(&sim),
                };
                match outcome {
                    Outcome::Unwound { .. } | Outcome::Refused { .. } => {
                        assert_clean_slate(&sim, &plan)
                    }
                    other => panic!(
                        "{name}, call {call} {wrong:?}: {other:?}\n{}",
                        sim.inner().log.join("\n")
                    ),
                }
            }
        }
    }
}

#[test]
fn any_mixture_of_faults_deaths_and_aborts_keeps_the_invariants() {
    let mut seed: u64 = 0x5eed;
    let mut random = |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    };
    let sizes: Vec<(u64, u64)> = (0..SHAPES).map(size).collect();
    let mut ends = BTreeSet::new();
    for round in 0..1500 {
        let index = usize::try_from(random(sizes.len() as u64)).unwrap();
        let (name, sim, plan) = shape(index);
        let (entries, calls) = sizes[index];
        {
            let mut inner = sim.inner();
            for _ in 0..random(6) {
                let wrongs = [
                    Wrong::Refuses,
                    Wrong::FailsBefore,
                    Wrong::FailsAfter,
                    Wrong::HangsBefore,
                    Wrong::HangsAfter,
                    Wrong::DiesBefore,
                    Wrong::DiesAfter,
                ];
                let wrong = wrongs[usize::try_from(random(7)).unwrap()];
                inner.wrong.insert(random(calls * 2) + 1, wrong);
            }
            if random(3) == 0 {
                inner.abort_at_entry = Some(random(entries));
            }
            let candidates = [
                Candidate::Good,
                Candidate::Good,
                Candidate::NeverHealthy,
                Candidate::CrashLoops,
                Candidate::TurnsUnhealthy(random(8_000)),
                Candidate::TurnsBad(random(8_000)),
                Candidate::Dies(random(8_000)),
                Candidate::Unanswered,
            ];
            inner.candidate = candidates[usize::try_from(random(8)).unwrap()];
        }
        let mut result = begin(&sim, &plan);
        for _ in 0..30 {
            match &result {
                None => result = resume(&sim),
                Some(Ok(Outcome::Stuck { .. })) => result = resume(&sim),
                Some(_) => break,
            }
        }
        let outcome = result.expect("it ends").unwrap();
        let context = format!("round {round}, {name}: {outcome:?}");
        match outcome {
            Outcome::Promoted { .. } => {
                ends.insert("promoted");
                assert_promoted(&sim, &plan);
            }
            Outcome::Unwound { .. } | Outcome::Refused { .. } => {
                ends.insert("unwound");
                assert_clean_slate(&sim, &plan);
            }
            Outcome::Stuck { .. } => panic!("{context}\n{}", sim.inner().log.join("\n")),
        }
    }
    assert_eq!(ends.len(), 2, "the mixture always ended alike");
}

#[test]
fn a_bad_candidate_is_taken_back_and_the_outcome_says_why() {
    let cases = [
        (Candidate::NeverHealthy, FaultKind::TimedOut),
        (Candidate::CrashLoops, FaultKind::Unhealthy),
        (Candidate::Unanswered, FaultKind::TimedOut),
        (Candidate::TurnsUnhealthy(0), FaultKind::Unhealthy),
        (Candidate::TurnsUnhealthy(2_000), FaultKind::Unhealthy),
        (Candidate::TurnsBad(1_500), FaultKind::BudgetExceeded),
    ];
    for (candidate, kind) in cases {
        let sim = managed();
        let plan = plan(&sim, 2, policy());
        sim.inner().candidate = candidate;
        match run(&sim, &plan).unwrap() {
            Outcome::Unwound { fault, stable, .. } => {
                assert_eq!(fault.kind, kind, "{candidate:?}: {fault}");
                assert_eq!(stable.map(|release| release.0), Some(1));
            }
            other => panic!("{candidate:?}: {other:?}"),
        }
        assert_clean_slate(&sim, &plan);
    }
}

#[test]
fn a_never_healthy_candidate_is_reported_with_its_last_words() {
    let sim = managed();
    let plan = plan(&sim, 2, policy());
    sim.inner().candidate = Candidate::NeverHealthy;
    let Outcome::Unwound { fault, .. } = run(&sim, &plan).unwrap() else { panic!("promoted") };
    assert!(fault.message.contains("check `ready` is unhealthy"), "{fault}");
    assert!(fault.causes.iter().any(|cause| cause.contains("last words")), "{:?}", fault.causes);
}

#[test]
fn a_host_that_lost_its_lease_stops_at_once() {
    let (entries, _) = size(1);
    for entry in 1..entries {
        let (_, sim, plan) = shape(1);
        sim.inner().fenced_from = Some(entry);
        let result = run(&sim, &plan);
        assert!(matches!(result, Err(Halt::LeaseLost { .. })), "entry {entry}: {result:?}");
        assert_eq!(sim.inner().entries.len() as u64, entry);
    }
}

#[test]
fn a_drain_that_does_not_end_keeps_the_old_side_and_says_so() {
    let sim = managed();
    sim.inner().drain_takes = 1_000_000;
    let second = plan(&sim, 2, Policy { keep_previous: KeepPrevious::None, ..policy() });
    let Outcome::Promoted { notes } = run(&sim, &second).unwrap() else { panic!("not promoted") };
    assert!(notes.iter().any(|note| note.contains("the old side is kept")), "{notes:?}");
    assert!(sim.inner().cut.is_empty());
    let kept = sim.inner().state.kept.clone().expect("the old side is kept");
    assert!(!kept.drained);
    assert!(
        kept.standing.backends.iter().all(|backend| sim.inner().backends.contains_key(&backend.id))
    );

    // The next deployment would have to retire it: refused, with the way out.
    let third = plan(&sim, 3, policy());
    let Outcome::Refused { fault } = run(&sim, &third).unwrap() else { panic!("not refused") };
    assert!(
        fault.message.contains("still drains")
            && fault.hint.as_ref().is_some_and(|hint| hint.contains("--cut")),
        "{fault:?}"
    );
    assert_clean_slate(&sim, &third);

    // Unless the operator says cut.
    let mut cutting = policy();
    cutting.drain.on_timeout = CUT;
    let third = plan(&sim, 3, cutting);
    let outcome = run(&sim, &third).unwrap();
    assert!(matches!(outcome, Outcome::Promoted { .. }), "{outcome:?}");
    assert!(!sim.inner().cut.is_empty());
}

#[test]
fn a_stable_release_that_already_fails_is_told_and_the_operator_decides() {
    let sim = managed();
    sim.inner().stable_fails = true;
    let mut refusing = policy();
    refusing.probe.as_mut().unwrap().on_failing_baseline = FailingBaseline::Refuse;
    let Outcome::Refused { fault } = run(&sim, &plan(&sim, 2, refusing)).unwrap() else {
        panic!("not refused")
    };
    assert!(fault.message.contains("already fails"), "{fault}");

    let sim = managed();
    sim.inner().stable_fails = true;
    let plan = plan(&sim, 2, policy());
    let outcome = run(&sim, &plan).unwrap();
    assert!(
        matches!(outcome, Outcome::Promoted { .. }),
        "{outcome:?}\n{}",
        sim.inner().log.join("\n")
    );
}

#[test]
fn nothing_is_touched_when_preflight_says_no() {
    let sim = managed();
    let before = sim.inner().loaded.clone();
    let mut plan = plan(&sim, 2, policy());
    plan.store = "another-store".into();
    let Outcome::Refused { fault } = run(&sim, &plan).unwrap() else { panic!("not refused") };
    assert_eq!(fault.kind, FaultKind::Conflict);
    assert!(fault.message.contains("another store"), "{fault}");
    assert_eq!(sim.inner().loaded, before);
    assert_eq!(sim.inner().backends.len(), 2);
}

#[test]
fn an_adopted_service_gets_its_second_release_and_can_go_back() {
    let sim = Sim::new();
    let adopted = agente_engine::release::Release {
        artifact: agente_engine::release::Artifact::Adopted,
        runtime: agente_engine::release::RuntimeSpec::Adopted {
            addresses: vec!["127.0.0.1:9000".into(), "127.0.0.1:9001".into()],
        },
        ..release(1)
    };
    for backend in backends(Slot::Blue, 1) {
        sim.inner().backends.insert(
            backend.id,
            world::SimBackend {
                address: backend.address,
                since: 0,
                slot: Slot::Blue,
                stop_grace: Duration::ZERO,
                role: agente_engine::ports::BackendRole::Live,
            },
        );
    }
    let plan_adopt = planner::adopt(
        inputs(Default::default(), policy(), "adopt"),
        adopted.clone(),
        backends(Slot::Blue, 1),
    )
    .unwrap();
    let outcome = run(&sim, &plan_adopt).unwrap();
    assert!(
        matches!(outcome, Outcome::Promoted { .. }),
        "{outcome:?}\n{}",
        sim.inner().log.join("\n")
    );
    assert!(sim.inner().state.stable.as_ref().unwrap().adopted);

    run(&sim, &plan(&sim, 2, policy())).unwrap();
    let back =
        planner::roll_back_fast(inputs(sim.inner().state.clone(), policy(), "back"), adopted)
            .unwrap();
    assert_eq!(back.kind, DeploymentKind::Rollback { fast: true });
    run(&sim, &back).unwrap();
    assert_promoted(&sim, &back);

    // Its backends are never stopped by us, not even when their slot is needed.
    run(&sim, &plan(&sim, 3, policy())).unwrap();
    run(&sim, &plan(&sim, 4, policy())).unwrap();
    assert!(
        backends(Slot::Blue, 1)
            .iter()
            .all(|backend| sim.inner().backends.contains_key(&backend.id))
    );
}

#[test]
fn a_target_that_was_changed_by_hand_is_refused_and_taken_back_by_force() {
    let sim = managed();
    let good = sim.inner().loaded.clone();
    {
        // Somebody sends everything elsewhere.
        let mut inner = sim.inner();
        let mut edited = good.clone().unwrap();
        edited.routes.routes[0].backends.truncate(1);
        inner.applied = Some((edited.clone(), 0));
        inner.loaded = Some(edited);
    }
    let Outcome::Refused { fault } = run(&sim, &plan(&sim, 2, policy())).unwrap() else {
        panic!("not refused")
    };
    assert_eq!(fault.kind, FaultKind::Conflict);
    let retake =
        planner::retake(inputs(sim.inner().state.clone(), policy(), "retake"), release(1)).unwrap();
    let outcome = run(&sim, &retake).unwrap();
    assert!(
        matches!(outcome, Outcome::Promoted { .. }),
        "{outcome:?}\n{}",
        sim.inner().log.join("\n")
    );
    assert_eq!(
        sim.inner().loaded.as_ref().map(|loaded| loaded.routes.clone()),
        good.map(|good| good.routes)
    );
    assert_promoted(&sim, &retake);
}

#[test]
fn taking_over_a_foreign_target_that_fails_anywhere_leaves_its_traffic_as_it_was() {
    let foreign = || {
        let sim = managed();
        let plan = {
            let mut inner = sim.inner();
            // All that this store knows is gone; what runs and what is in force stays.
            inner.state = Default::default();
            let mut theirs = inner.loaded.clone().unwrap();
            theirs.store = "another-store".into();
            inner.applied = Some((theirs.clone(), 0));
            inner.loaded = Some(theirs.clone());
            inner.state.routes = Some(theirs.routes.clone());
            let adopted = agente_engine::release::Release {
                artifact: agente_engine::release::Artifact::Adopted,
                runtime: agente_engine::release::RuntimeSpec::Adopted {
                    addresses: vec!["127.0.0.1:9000".into()],
                },
                ..release(1)
            };
            let inputs = planner::Inputs {
                force: true,
                ..inputs(inner.state.clone(), policy(), "take-over")
            };
            let mut running = backends(Slot::Blue, 1);
            for one in &mut running {
                one.address.clone_from(&inner.backends[&one.id].address);
            }
            planner::adopt(inputs, adopted, running).unwrap()
        };
        (sim, plan)
    };
    let (sim, plan) = foreign();
    assert!(matches!(run(&sim, &plan), Ok(Outcome::Promoted { .. })));
    let calls = sim.inner().calls;
    let mut failed = 0;
    for call in 1..=calls {
        for wrong in [
            Wrong::Refuses,
            Wrong::FailsBefore,
            Wrong::FailsAfter,
            Wrong::HangsAfter,
            Wrong::DiesBefore,
            Wrong::DiesAfter,
        ] {
            let (sim, plan) = foreign();
            sim.inner().wrong.insert(call, wrong);
            let outcome = match begin(&sim, &plan) {
                Some(result) => result.unwrap(),
                None => resume_until_ended(&sim),
            };
            failed += usize::from(!matches!(outcome, Outcome::Promoted { .. }));
            assert!(
                !matches!(outcome, Outcome::Stuck { .. }),
                "call {call} {wrong:?}: {outcome:?}\n{}",
                sim.inner().log.join("\n")
            );
            let inner = sim.inner();
            assert_eq!(
                inner.loaded.as_ref().unwrap().routes.weight(Slot::Blue),
                agente_engine::weight::Weight::FULL,
                "{}",
                inner.log.join("\n")
            );
        }
    }
    assert!(failed > 5, "the harness never made it fail");
}

#[test]
fn a_target_that_refuses_every_change_is_left_as_it_was_and_the_deployment_unwinds() {
    let sim = managed();
    let plan = plan(&sim, 2, policy());
    sim.inner().target_refuses = true;
    let outcome = run(&sim, &plan).unwrap();
    assert!(matches!(outcome, Outcome::Unwound { .. }), "{outcome:?}");
    assert_clean_slate(&sim, &plan);

    // Also where it begins to refuse after the shift: then the way back is really closed, and a
    // person is told.
    let sim = managed();
    let plan = scene::plan(&sim, 2, policy());
    sim.inner().candidate = Candidate::TurnsUnhealthy(2_000);
    let refusing = async {
        loop {
            sim.time.sleep(Duration::from_millis(100)).await;
            let mut inner = sim.inner();
            if inner.state.stable.as_ref().is_some_and(|stable| stable.release.0 == 2) {
                inner.target_refuses = true;
            }
        }
    };
    let lease = sim.begin(plan.slot);
    let state = sim.inner().state.clone();
    let deployment = agente_engine::executor::begin(sim.world(), &lease, plan.clone(), state);
    let outcome = time::drive(&sim.time, || false, async {
        futures_util::pin_mut!(deployment, refusing);
        match futures_util::future::select(deployment, refusing).await {
            futures_util::future::Either::Left((outcome, _)) => outcome,
            futures_util::future::Either::Right(((), _)) => unreachable!(),
        }
    });
    assert!(matches!(outcome, Some(Ok(Outcome::Stuck { .. }))), "{outcome:?}");
    sim.inner().target_refuses = false;
    let outcome = resume_until_ended(&sim);
    assert!(matches!(outcome, Outcome::Unwound { .. }), "{outcome:?}");
    assert_clean_slate(&sim, &plan);
}

#[test]
fn a_paused_deployment_begins_no_step_until_it_is_resumed_and_can_be_aborted() {
    use agente_engine::journal::{Decision, DecisionKind};
    let sim = managed();
    let plan = plan(&sim, 2, policy());
    let decision = |id, decision, at| Decision {
        id,
        decision,
        by: "tester".into(),
        reason: None,
        at: Timestamp(at),
    };
    sim.inner().mailbox.clear();
    let lease = sim.begin(plan.slot);
    sim.inner().mailbox.push(decision(1, DecisionKind::Pause, 0));
    let (world, state) = (sim.world(), sim.inner().state.clone());
    let deployment = agente_engine::executor::begin(world, &lease, plan.clone(), state);
    let later = async {
        sim.time.sleep(Duration::from_secs(60)).await;
        let begun =
            sim.inner().entries.iter().filter(|e| matches!(e.event, Event::Step { .. })).count();
        assert_eq!(begun, 0, "a step began while paused");
        sim.inner().mailbox.push(decision(2, DecisionKind::Resume, 0));
    };
    let (outcome, ()) =
        time::drive(&sim.time, || false, async { futures_util::join!(deployment, later) }).unwrap();
    assert!(matches!(outcome.unwrap(), Outcome::Promoted { .. }));
    assert_promoted(&sim, &plan);
}

#[test]
fn a_journal_that_does_not_fit_is_damage_not_a_guess() {
    let sim = managed();
    run(&sim, &plan(&sim, 2, policy())).unwrap();
    let entries = sim.inner().entries.clone();
    assert!(Attempt::fold(&entries).is_ok());
    assert!(Attempt::fold(&entries[1..]).is_err(), "the plan is missing");
    let mut gap = entries.clone();
    gap.remove(3);
    assert!(Attempt::fold(&gap).is_err(), "an entry is missing");
    let mut twice = entries.clone();
    twice.push(entries[1].clone());
    assert!(Attempt::fold(&twice).is_err(), "an entry comes after the end");
}

#[test]
fn a_plan_names_its_worst_case_and_where_there_is_no_way_back() {
    let sim = managed();
    let kept = plan(&sim, 2, policy());
    assert_eq!(kept.point_of_no_return(), None);
    let retired = plan(&sim, 2, Policy { keep_previous: KeepPrevious::None, ..policy() });
    assert_eq!(retired.point_of_no_return(), Some(retired.steps.len() - 1));
    let total: Duration = kept.steps.iter().map(|step| step.timeout).sum();
    assert_eq!(kept.worst_case(), total);
    assert!(matches!(kept.steps.first().map(|step| &step.kind), Some(StepKind::Preflight(_))));
    let cut = Policy {
        drain: agente_engine::policy::DrainPolicy {
            on_timeout: OnDrainTimeout::Cut,
            ..policy().drain
        },
        ..policy()
    };
    assert!(
        plan(&sim, 2, cut)
            .steps
            .iter()
            .any(|step| step.on_timeout == agente_engine::steps::TimeoutAction::Cut)
    );
}

#[test]
fn addresses_that_are_known_once_it_was_launched_are_what_the_state_says() {
    let sim = managed_with_kept();
    let inner = sim.inner();
    let state = &inner.state;
    let standing = [state.stable.clone().unwrap(), state.kept.clone().unwrap().standing];
    for backend in standing.iter().flat_map(|standing| &standing.backends) {
        assert_eq!(backend.address, inner.backends[&backend.id].address);
        assert!(backend.address.starts_with("10.0."), "{backend:?}");
    }
}
