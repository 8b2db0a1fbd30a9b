//! Single deployments: what is told of them, and what a person decides.

use crate::scene::*;
use crate::shapes::{shape, size};
use crate::time;
use crate::world::{CUT, Candidate};
use agente_engine::attempt::Attempt;
use agente_engine::executor::Halt;
use agente_engine::fault::FaultKind;
use agente_engine::journal::{DecisionKind, Event, Outcome};
use agente_engine::policy::{FailingBaseline, KeepPrevious, OnDrainTimeout, Policy};
use agente_engine::steps::StepKind;
use std::time::Duration;

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
        assert_eq!(sim.inner().entries().len() as u64, entry);
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
    let kept = sim.inner().state().kept.clone().expect("the old side is kept");
    assert!(!kept.drained);
    assert!(
        kept.standing.backends.iter().all(|backend| sim.inner().backends.contains_key(&backend.id))
    );

    // The next deployment would have to retire it: refused, with the way out.
    let third = plan(&sim, 3, policy());
    let Outcome::Refused { fault } = run(&sim, &third).unwrap() else { panic!("not refused") };
    assert!(
        fault.message.contains("is still draining")
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
    assert!(fault.message.contains("is already failing"), "{fault}");

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
fn a_paused_deployment_begins_no_step_until_it_is_resumed_and_can_be_aborted() {
    let sim = managed();
    let plan = plan(&sim, 2, policy());
    let lease = sim.begin(plan.slot);
    sim.inner().decide_at = Some((0, DecisionKind::Pause));
    let (world, state) = (sim.world(), sim.inner().state());
    let deployment = agente_engine::executor::begin(world, &*lease, plan.clone(), state);
    let later = async {
        sim.time.sleep(Duration::from_secs(60)).await;
        let begun =
            sim.inner().entries().iter().filter(|e| matches!(e.event, Event::Step { .. })).count();
        assert_eq!(begun, 0, "a step began while paused");
        sim.inner().leave(DecisionKind::Resume);
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
    let entries = sim.inner().entries();
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
    let state = &inner.state();
    let standing = [state.stable.clone().unwrap(), state.kept.clone().unwrap().standing];
    for backend in standing.iter().flat_map(|standing| &standing.backends) {
        assert_eq!(backend.address, inner.backends[&backend.id].address);
        assert!(backend.address.starts_with("10.0."), "{backend:?}");
    }
}
