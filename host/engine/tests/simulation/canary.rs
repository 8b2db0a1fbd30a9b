//! Canaries: measured, held, promoted and taken back.

use crate::scene::*;
use crate::world::{Candidate, Sim};
use agente_engine::fault::FaultKind;
use agente_engine::journal::{DecisionKind, Event, Outcome};
use agente_engine::names::PluginName;
use agente_engine::plan::Plan;
use agente_engine::planner;
use agente_engine::policy::*;
use agente_engine::ports::MetricQuery;
use agente_engine::route::Slot;
use agente_engine::steps::StepKind;
use agente_engine::weight::Weight;
use std::time::Duration;

/// A canary over these percentages, without measures.
pub fn stages(weights: &[u32], by: SplitBy) -> Policy {
    let stage = |percent: &u32| Stage {
        weight: Weight::from_basis_points(percent * 100).unwrap(),
        pause: Duration::from_millis(700),
        wait: false,
    };
    Policy {
        strategy: Strategy::Canary { stages: weights.iter().map(stage).collect(), by },
        ..policy()
    }
}

fn query(name: &str) -> MetricQuery {
    MetricQuery {
        plugin: PluginName::new("prometheus-health").unwrap(),
        spec: name.into(),
        timeout: Duration::from_secs(2),
    }
}

pub fn analysis() -> AnalysisPolicy {
    AnalysisPolicy {
        interval: Duration::from_secs(1),
        initial_delay: Duration::ZERO,
        false_alarm: 0.01,
        missed: 0.01,
        extend: Duration::from_secs(60),
        on_undecided: OnUndecided::Unwind,
        on_outage: OnOutage::Hold,
        fallback: vec![],
        lookback: Duration::from_secs(60),
        checks: vec![AnalysisCheck {
            name: "errors".into(),
            measure: Measure::Errors {
                errors: query("errors"),
                total: query("total"),
                max: None,
                max_ratio_to_stable: 1.5,
                detect: 0.05,
            },
            limits: Limits { unhealthy: 0, errored: 2, no_data: None, inconclusive: None },
            consecutive_success: None,
            report_only: false,
            required: false,
        }],
    }
}

/// A canary over 10 and 50 %, measured by its errors. The probe's budget leaves the judgement to
/// the analysis.
pub fn measured() -> Policy {
    Policy { analysis: Some(analysis()), probe: None, ..stages(&[10, 50], SplitBy::Weight) }
}

fn with(change: impl FnOnce(&mut AnalysisPolicy)) -> Policy {
    let mut policy = measured();
    change(policy.analysis.as_mut().unwrap());
    policy
}

/// The scene, warmed up so that the stable release has counters.
fn scene(policy: Policy) -> (Sim, Plan) {
    let sim = managed();
    let plan = plan(&sim, 2, policy);
    (sim, plan)
}

fn fault_of(sim: &Sim, plan: &Plan) -> (FaultKind, String) {
    match run(sim, plan).unwrap() {
        Outcome::Unwound { fault, .. } => {
            assert_clean_slate(sim, plan);
            (fault.kind, fault.message)
        }
        other => panic!("{other:?}\n{}", sim.inner().log.join("\n")),
    }
}

fn promotes(sim: &Sim, plan: &Plan) -> Vec<String> {
    match run(sim, plan).unwrap() {
        Outcome::Promoted { notes } => {
            assert_promoted(sim, plan);
            notes
        }
        other => panic!("{other:?}\n{}", sim.inner().log.join("\n")),
    }
}

/// The candidate's weights, in the order in which they were told to the target.
fn weights(sim: &Sim, plan: &Plan) -> Vec<u32> {
    let marker = format!("{} ", plan.slot);
    let log = sim.inner().log.clone();
    let told = log.iter().filter(|line| line.contains(" apply "));
    told.filter_map(|line| line.split(&marker).nth(1)?.split(' ').next()?.parse().ok()).collect()
}

#[test]
fn a_good_candidate_climbs_through_its_weights_as_soon_as_each_is_earned() {
    let (sim, plan) = scene(measured());
    let notes = promotes(&sim, &plan);
    assert_eq!(weights(&sim, &plan), [10, 50, 100]);
    assert!(notes.iter().any(|note| note.starts_with("10 % passed in")), "{notes:?}");
}

#[test]
fn a_candidate_that_fails_is_taken_to_0_in_one_step_from_whatever_weight_it_has() {
    for (share, candidate_fails) in [("half", 0.5), ("a twentieth", 0.05)] {
        let (sim, plan) = scene(with(|analysis| {
            analysis.checks[0].measure = Measure::Errors {
                errors: query("errors"),
                total: query("total"),
                max: None,
                max_ratio_to_stable: 1.5,
                detect: 0.01,
            }
        }));
        sim.inner().metrics.candidate_fails = candidate_fails;
        let (kind, message) = fault_of(&sim, &plan);
        assert_eq!(kind, FaultKind::Unhealthy, "{share}: {message}");
        assert_eq!(weights(&sim, &plan), [10, 0], "{share}: {message}");
    }
}

#[test]
fn from_the_second_weight_the_first_undo_is_weight_0() {
    let (sim, plan) = scene(measured());
    sim.inner().candidate = Candidate::Dies(5_500);
    let (kind, message) = fault_of(&sim, &plan);
    assert_eq!(kind, FaultKind::Unhealthy, "{message}");
    assert_eq!(weights(&sim, &plan), [10, 50, 0], "{message}");
}

#[test]
fn an_outage_that_passes_holds_a_good_candidate_and_no_more() {
    let (sim, plan) = scene(measured());
    sim.inner().metrics.away = Some((5_500, 35_000));
    promotes(&sim, &plan);
    assert!(sim.time.now().0 > 35_000, "it was not held");
    assert_eq!(weights(&sim, &plan), [10, 50, 100]);
}

#[test]
fn an_outage_for_good_is_decided_at_the_deadline_by_the_policy() {
    let away = Some((4_500, u64::MAX));
    let (sim, plan) = scene(measured());
    sim.inner().metrics.away = away;
    let (kind, message) = fault_of(&sim, &plan);
    assert_eq!(kind, FaultKind::Undecided, "{message}");
    assert!(message.contains("the metrics source can't be read"), "{message}");

    // The outcome tells of it also where no bake follows, and once however many weights it took.
    let told =
        |notes: &[String], words: &str| notes.iter().filter(|note| note.contains(words)).count();
    let (sim, plan) = scene(Policy {
        bake: Duration::ZERO,
        ..with(|analysis| analysis.on_outage = OnOutage::GoOn)
    });
    sim.inner().metrics.away = away;
    let notes = promotes(&sim, &plan);
    assert_eq!(told(&notes, "continued without check `errors`"), 1, "{notes:?}");
    assert!(
        told(&notes, "but not everything could be measured") > 0
            && told(&notes, "50 % passed in") == 0,
        "{notes:?}"
    );

    let fallback = with(|analysis| {
        (analysis.on_outage, analysis.fallback) = (OnOutage::Fallback, vec!["ready".into()])
    });
    let (sim, plan) = scene(Policy { bake: Duration::ZERO, ..fallback });
    sim.inner().metrics.away = away;
    let notes = promotes(&sim, &plan);
    assert_eq!(told(&notes, "replaced by ready"), 1, "{notes:?}");

    // What must not be stood in for is not.
    let (sim, plan) = scene(with(|analysis| {
        (analysis.on_outage, analysis.fallback) = (OnOutage::Fallback, vec!["ready".into()]);
        analysis.checks[0].required = true;
    }));
    sim.inner().metrics.away = away;
    assert_eq!(fault_of(&sim, &plan).0, FaultKind::Undecided);
}

#[test]
fn a_fallback_that_is_unhealthy_takes_the_candidate_back() {
    let (sim, plan) = scene(with(|analysis| {
        (analysis.on_outage, analysis.fallback) = (OnOutage::Fallback, vec!["ready".into()])
    }));
    sim.inner().metrics.away = Some((4_500, u64::MAX));
    sim.inner().candidate = Candidate::TurnsUnhealthy(3_000);
    let (kind, message) = fault_of(&sim, &plan);
    assert_eq!(kind, FaultKind::Unhealthy, "{message}");
}

#[test]
fn without_data_or_traffic_a_stage_is_held_and_never_passed() {
    for blind in [true, false] {
        let (sim, plan) = scene(measured());
        if blind {
            sim.inner().metrics.blind = true;
        } else {
            sim.inner().metrics.per_second = 2.0;
        }
        let (kind, message) = fault_of(&sim, &plan);
        assert_eq!(kind, FaultKind::Undecided, "{message}");
        assert_eq!(weights(&sim, &plan), [10, 0]);
    }
}

#[test]
fn a_limit_on_answers_without_data_acts_before_the_deadline() {
    let (sim, plan) = scene(with(|analysis| analysis.checks[0].limits.no_data = Some(3)));
    sim.inner().metrics.blind = true;
    assert_eq!(fault_of(&sim, &plan).0, FaultKind::Undecided);
    assert!(sim.time.now().0 < 20_000, "it waited for the deadline");
}

#[test]
fn a_misspelt_metric_or_one_without_data_is_refused_before_anything_is_touched() {
    let (sim, plan) = scene(measured());
    sim.inner().metrics.missing = vec!["http_request_total".into()];
    match run(&sim, &plan).unwrap() {
        Outcome::Refused { fault } => {
            assert_eq!(fault.kind, FaultKind::InvalidConfig);
            assert!(fault.message.contains("`http_request_total`"), "{}", fault.message);
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(weights(&sim, &plan), Vec::<u32>::new());
}

#[test]
fn the_first_release_is_not_compared_with_anything() {
    let sim = Sim::new();
    let first = plan(&sim, 1, measured());
    assert!(
        first.warnings.iter().any(|warning| warning.contains("nothing to compare with")),
        "{:?}",
        first.warnings
    );
    promotes(&sim, &first);
    assert_eq!(weights(&sim, &first), [100]);
}

#[test]
fn a_person_who_is_asked_decides_and_nobody_waits_for_ever() {
    let ask = || {
        with(|analysis| {
            (analysis.on_undecided, analysis.extend) = (OnUndecided::Ask, Duration::from_secs(2))
        })
    };
    // Nobody answers: unwound once the time for it is over.
    let (sim, plan) = scene(ask());
    sim.inner().metrics.blind = true;
    let (kind, message) = fault_of(&sim, &plan);
    assert_eq!(kind, FaultKind::TimedOut, "{message}");
    assert!(message.contains("for a decision"), "{message}");

    // `promote` ends one wait, not the next.
    let (sim, plan) = scene(ask());
    sim.inner().metrics.blind = true;
    sim.inner().decide_at = Some((6_000, DecisionKind::Promote { full: false }));
    let (kind, _) = fault_of(&sim, &plan);
    assert_eq!(kind, FaultKind::TimedOut);
    assert_eq!(weights(&sim, &plan), [10, 50, 0]);
}

#[test]
fn promote_in_full_passes_everything_over_that_leads_up() {
    let (sim, plan) = scene(measured());
    sim.inner().metrics.blind = true;
    sim.inner().decide_at = Some((6_000, DecisionKind::Promote { full: true }));
    promotes(&sim, &plan);
    assert_eq!(weights(&sim, &plan), [10, 100]);

    // Before the first weight: straight to all of it.
    let (sim, plan) = scene(measured());
    sim.inner().decide_at = Some((0, DecisionKind::Promote { full: true }));
    promotes(&sim, &plan);
    assert_eq!(weights(&sim, &plan), [100]);
}

#[test]
fn promote_in_full_keeps_the_batches_of_a_rolling_deployment() {
    let sim = managed();
    sim.inner().least_serving = 2;
    let strategy =
        Strategy::Rolling { max_surge: 1, max_unavailable: 0, pause: Duration::from_secs(30) };
    let plan = plan(&sim, 2, Policy { strategy, probe: None, ..policy() });
    sim.inner().decide_at = Some((0, DecisionKind::Promote { full: true }));
    promotes(&sim, &plan);
    assert_eq!(weights(&sim, &plan), [50, 100]);
    assert!(sim.time.now().0 < 30_000, "the waits were not passed over");
}

#[test]
fn what_fails_when_it_is_left_does_not_turn_the_rollback_back() {
    let sim = managed_with_kept();
    sim.inner().stable_fails = true;
    let state = sim.inner().state();
    let back = planner::roll_back_fast(inputs(state, policy(), "back"), release(1)).unwrap();
    promotes(&sim, &back);
}

#[test]
fn a_target_without_weights_refuses_a_split_by_weight_before_anything_is_touched() {
    let (sim, plan) = scene(measured());
    sim.inner().features = vec![];
    match run(&sim, &plan).unwrap() {
        Outcome::Refused { fault } => {
            assert!(fault.hint.is_some_and(|hint| hint.contains("instances")), "{}", fault.message)
        }
        other => panic!("{other:?}"),
    }
    let (sim, plan) = scene(stages(&[25], SplitBy::Instances));
    sim.inner().features = vec![];
    promotes(&sim, &plan);
}

#[test]
fn a_stage_that_waits_for_a_person_does_so_however_good_the_candidate_is() {
    let mut policy = measured();
    if let Strategy::Canary { stages, .. } = &mut policy.strategy {
        stages[0].wait = true;
    }
    let (sim, plan) = scene(policy);
    sim.inner().decide_at = Some((60_000, DecisionKind::Promote { full: false }));
    promotes(&sim, &plan);
    assert!(sim.time.now().0 > 60_000);
    assert_eq!(weights(&sim, &plan), [10, 50, 100]);
}

#[test]
fn abort_at_every_moment_of_a_canary_is_weight_0_next() {
    let (sim, plan) = scene(measured());
    promotes(&sim, &plan);
    let entries = sim.inner().entries().len() as u64;
    for entry in 0..entries - 1 {
        let (sim, plan) = scene(measured());
        sim.inner().abort_at_entry = Some(entry);
        match run(&sim, &plan).unwrap() {
            Outcome::Unwound { .. } | Outcome::Refused { .. } => assert_clean_slate(&sim, &plan),
            other => panic!("{other:?}"),
        }
        let told = weights(&sim, &plan);
        assert!(told.is_empty() || told.last() == Some(&0), "{told:?}");
        assert!(told.iter().filter(|weight| **weight == 0).count() <= 1, "{told:?}");
    }
}

#[test]
fn a_canary_by_number_puts_some_of_the_candidate_into_the_stable_pool() {
    let (sim, plan) = scene(stages(&[25], SplitBy::Instances));
    let pool: Vec<usize> = plan
        .steps
        .iter()
        .filter_map(|step| step.kind.sets()?.route(Slot::Blue).map(|route| route.backends.len()))
        .collect();
    assert_eq!(pool, [3, 2], "two of stable and one of the candidate, then the switch");
    promotes(&sim, &plan);
}

#[test]
fn an_abort_in_the_middle_of_rolling_brings_the_missing_part_back_before_its_requests() {
    let sim = managed();
    sim.inner().least_serving = 2;
    let strategy =
        Strategy::Rolling { max_surge: 1, max_unavailable: 0, pause: Duration::from_secs(5) };
    let plan = plan(&sim, 2, Policy { strategy, probe: None, ..policy() });
    let shrink =
        plan.steps.iter().position(|step| matches!(step.kind, StepKind::Shrink(_))).unwrap();
    run(&sim, &plan).unwrap();
    let shrunk = |event: &Event| has_succeeded(event, shrink);
    let at = sim.inner().entries().iter().position(|entry| shrunk(&entry.event)).unwrap() as u64;

    let sim = managed();
    sim.inner().least_serving = 2;
    sim.inner().abort_at_entry = Some(at);
    match run(&sim, &plan).unwrap() {
        Outcome::Unwound { .. } => assert_clean_slate(&sim, &plan),
        other => panic!("{other:?}"),
    }
}
