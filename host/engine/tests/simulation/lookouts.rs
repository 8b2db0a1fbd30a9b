//! Looking at what is stable outside of any deployment: it changes nothing, whatever goes wrong.

use crate::canary;
use crate::scene::*;
use crate::shapes::{Call, calls_of};
use crate::time::drive;
use crate::world::{Candidate, Sim, Wrong};
use agente_engine::fault::{Fault, FaultKind};
use agente_engine::lookout;
use agente_engine::planner;
use agente_engine::policy::Policy;
use agente_engine::ports::{Finding, FindingResult};
use futures_util::FutureExt;
use std::time::Duration;

/// How long is watched in these tests.
const LONG: Duration = Duration::from_mins(3);

/// Watches release 2 for a while; a fault if it was found to be bad.
fn watched(sim: &Sim, policy: Policy) -> Option<Fault> {
    let before = shown(sim);
    let state = sim.inner().state();
    let promoted = state.stable.as_ref().unwrap().since;
    let plan = planner::watch(inputs(state, policy, "watch"), release(2)).unwrap();
    sim.inner().watches(plan.slot, sim.now());
    let watching = lookout::watch(sim.world(), plan, promoted).fuse();
    let enough = sim.time.sleep(LONG).fuse();
    let fault = drive(&sim.time, || false, async {
        futures_util::pin_mut!(watching, enough);
        futures_util::select_biased! {
            fault = watching => Some(fault),
            () = enough => None,
        }
    });
    assert_only_looked(sim, before);
    fault.expect("nobody killed the host")
}

fn surveyed(sim: &Sim, policy: Policy) -> Vec<Finding> {
    let before = shown(sim);
    let state = sim.inner().state();
    let plan = planner::survey(inputs(state, policy, "survey"), release(2)).unwrap();
    let found = drive(&sim.time, || false, lookout::survey(sim.world(), plan));
    assert_only_looked(sim, before);
    found.expect("nobody killed the host")
}

/// All that somebody who only looks must leave as it is.
fn shown(sim: &Sim) -> String {
    let inner = sim.inner();
    format!("{:?} {:?} {:?} {:?}", inner.state(), inner.entries(), inner.loaded, inner.backends)
}

fn assert_only_looked(sim: &Sim, before: String) {
    assert_eq!(shown(sim), before);
    let changed =
        calls_of(sim).iter().any(|call| call.is_effect() || call.name.starts_with("lock"));
    assert!(!changed, "{}", sim.inner().log.join("\n"));
}

fn measured() -> Policy {
    Policy { strategy: policy().strategy, ..canary::measured() }
}

#[test]
fn a_good_release_is_watched_for_as_long_as_is_wanted() {
    for policy in [policy(), measured()] {
        let sim = managed_with_kept();
        assert_eq!(watched(&sim, policy), None);
    }
}

#[test]
fn a_release_that_turns_bad_is_told_and_what_is_done_about_it_is_left_to_others() {
    for (candidate, kind) in [
        (Candidate::TurnsUnhealthy(60_000), FaultKind::Unhealthy),
        (Candidate::Dies(60_000), FaultKind::Unhealthy),
    ] {
        let sim = managed_with_kept();
        sim.inner().candidate = candidate;
        let fault = watched(&sim, policy()).expect("it is found to be bad");
        assert_eq!(fault.kind, kind, "{candidate:?}: {fault}");
    }
    let sim = managed_with_kept();
    sim.inner().metrics.candidate_fails = 0.5;
    let fault = watched(&sim, measured()).expect("it is found to be bad");
    assert!(fault.message.contains("analysis `errors`"), "{fault}");
}

#[test]
fn an_answer_that_is_not_had_once_is_no_verdict_on_what_is_watched() {
    let sim = managed_with_kept();
    watched(&sim, measured());
    let calls = calls_of(&sim);
    // Its beginning holds each kind of question many times over.
    for Call { number, name, .. } in calls.iter().take(60) {
        for wrong in
            [Wrong::Refuses, Wrong::FailsBefore, Wrong::Slow(2_000), Wrong::Freezes(30_000)]
        {
            let sim = managed_with_kept();
            sim.inner().wrong.insert(*number, wrong);
            assert_eq!(watched(&sim, measured()), None, "`{name}` {wrong:?}");
        }
    }
}

#[test]
fn a_survey_tells_of_each_measure_and_of_each_answer_that_was_not_had() {
    let sim = managed_with_kept();
    let found = surveyed(&sim, measured());
    assert!(!found.is_empty());
    assert!(found.iter().all(|line| line.result != FindingResult::Bad), "{found:?}");
    for Call { number, name, .. } in calls_of(&sim) {
        for wrong in [Wrong::Refuses, Wrong::FailsBefore, Wrong::Slow(1_000), Wrong::HangsBefore] {
            let sim = managed_with_kept();
            sim.inner().wrong.insert(number, wrong);
            let again = surveyed(&sim, measured());
            assert_eq!(again.len(), found.len(), "`{name}` {wrong:?}: {again:?}");
            let as_before = again == found;
            assert!(as_before == matches!(wrong, Wrong::Slow(_)), "`{name}` {wrong:?}: {again:?}");
        }
    }
    // Nothing that was ever measured is nothing bad, but told.
    let sim = managed_with_kept();
    sim.inner().metrics.missing = vec!["http_requests_total".into()];
    let found = surveyed(&sim, measured());
    assert!(found.iter().any(|line| line.message.contains("http_requests_total")), "{found:?}");
}
