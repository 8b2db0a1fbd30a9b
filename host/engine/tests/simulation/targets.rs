//! Targets that were changed, are foreign, or take nothing.

use crate::scene::{self, *};
use crate::shapes::resume_until_ended;
use crate::time;
use crate::world::{self, Candidate, Sim, Wrong};
use agente_engine::deployment::DeploymentKind;
use agente_engine::fault::FaultKind;
use agente_engine::journal::Outcome;
use agente_engine::placement::Placement;
use agente_engine::planner;
use agente_engine::route::{Backend, Slot};
use agente_engine::state::ServiceState;
use std::time::Duration;

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

/// What ran before us.
fn adopted_backends() -> Vec<Backend> {
    let adopted = |backend| Backend { placement: Placement::Adopted, ..backend };
    backends(Slot::Blue, 1).into_iter().map(adopted).collect()
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
        adopted_backends(),
    )
    .unwrap();
    let outcome = run(&sim, &plan_adopt).unwrap();
    assert!(
        matches!(outcome, Outcome::Promoted { .. }),
        "{outcome:?}\n{}",
        sim.inner().log.join("\n")
    );
    assert!(sim.inner().state().stable.as_ref().unwrap().is_adopted());

    run(&sim, &plan(&sim, 2, policy())).unwrap();
    let back =
        planner::roll_back_fast(inputs(sim.inner().state(), policy(), "back"), adopted).unwrap();
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
        planner::retake(inputs(sim.inner().state(), policy(), "retake"), release(1)).unwrap();
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
            let mut theirs = inner.loaded.clone().unwrap();
            theirs.store = "another-store".into();
            inner.applied = Some((theirs.clone(), 0));
            inner.loaded = Some(theirs.clone());
            let state = ServiceState { routes: Some(theirs.routes), ..ServiceState::default() };
            sim.store.tamper(&scope(), state);
            let adopted = agente_engine::release::Release {
                artifact: agente_engine::release::Artifact::Adopted,
                runtime: agente_engine::release::RuntimeSpec::Adopted {
                    addresses: vec!["127.0.0.1:9000".into()],
                },
                ..release(1)
            };
            let inputs =
                planner::Inputs { force: true, ..inputs(inner.state(), policy(), "take-over") };
            let mut running = adopted_backends();
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
            if inner.state().stable.as_ref().is_some_and(|stable| stable.release.0 == 2) {
                inner.target_refuses = true;
            }
        }
    };
    let lease = sim.begin(plan.slot);
    let state = sim.inner().state();
    let deployment = agente_engine::executor::begin(sim.world(), &*lease, plan.clone(), state);
    let outcome = time::drive(&sim.time, || false, async {
        futures_util::pin_mut!(deployment, refusing);
        match futures_util::future::select(deployment, refusing).await {
            futures_util::future::Either::Left((outcome, _)) => outcome,
            futures_util::future::Either::Right(((), _)) => unreachable!(),
        }
    });
    drop(lease);
    assert!(matches!(outcome, Some(Ok(Outcome::Stuck { .. }))), "{outcome:?}");
    sim.inner().target_refuses = false;
    let outcome = resume_until_ended(&sim);
    assert!(matches!(outcome, Outcome::Unwound { .. }), "{outcome:?}");
    assert_clean_slate(&sim, &plan);
}
