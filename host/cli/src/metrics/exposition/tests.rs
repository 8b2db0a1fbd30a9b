#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "tests")]

use super::*;
use crate::metrics::sample::{Journal, fault, plan, promoted, unwound};
use agente_engine::deployment::DeploymentKind;
use agente_engine::journal::Event;
use agente_engine::ports::{Fence, ProbeReport};
use agente_engine::ports::{PluginCalls, RunFigures, RunRow};
use agente_engine::state::ServiceState;
use agente_engine::step::StepEvent;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::Arc;

fn numbers(journals: &[Journal], runs: Vec<RunRow>) -> ServiceNumbers {
    let (mut state, mut deployments) = (ServiceState::default(), Vec::new());
    for journal in journals {
        for entry in &journal.entries {
            state = state.after(&journal.plan, &entry.event, entry.at);
        }
        deployments.insert(
            0,
            (journal.plan.id.clone(), Arc::new(Figures::fold(&journal.entries).unwrap())),
        );
    }
    ServiceNumbers { scope: journals[0].plan.scope.clone(), state, deployments, runs }
}

/// One release promoted, one taken back, and what their runs kept.
fn two_deployments() -> ServiceNumbers {
    let first =
        Journal::open(plan("d-1", DeploymentKind::Deploy, 1, ServiceState::default()), 1_000);
    let first = first
        .ran("launch", 1_000, 1_400)
        .ran("shift", 2_000, 2_100)
        .ran("promote", 2_200, 2_201)
        .event(4_000, promoted());
    let state = numbers(std::slice::from_ref(&first), Vec::new()).state;
    let second = Journal::open(plan("d-2", DeploymentKind::Deploy, 2, state), 10_000)
        .ran("launch", 10_000, 10_400)
        .ran("shift", 11_000, 11_200);
    let second = second
        .event(20_000, Event::TurnedBack { fault: fault() })
        .undone("shift", 20_010, 20_700)
        .undone("launch", 20_701, 21_000)
        .event(21_500, unwound());
    let calls = PluginCalls {
        plugin: "nginx-switch".into(),
        operation: "apply".into(),
        results: [("answered".into(), 3), ("faulted".into(), 1)].into(),
        faults: [("timed-out".into(), 1)].into(),
        micros: 1_500_000,
    };
    let report = ProbeReport {
        sent: 103,
        succeeded: 100,
        failed: [("reset".to_owned(), 2)].into(),
        idle_resets: 1,
        ..ProbeReport::default()
    };
    let run = |id: &Journal, fence| RunRow {
        deployment: id.plan.id.clone(),
        fence: Fence(fence),
        figures: RunFigures {
            probe: Some(report.clone()),
            calls: vec![calls.clone()],
            stuck_at: None,
        },
    };
    let runs = vec![run(&first, 1), run(&second, 2), run(&second, 3)];
    numbers(&[first, second], runs)
}

/// The value of one sample.
#[track_caller]
fn value(text: &str, sample: &str) -> String {
    let line = text.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
    line.map_or_else(|| format!("`{sample}` is not in\n{text}"), str::to_owned)
}

#[test]
fn every_number_follows_from_journal_and_runs() {
    let text = text(&[two_deployments()]).unwrap();
    let scope = r#"environment="default""#;
    for (sample, wanted) in [
        (
            format!(
                r#"agente_deployments_total{{{scope},kind="deploy",outcome="promoted",service="shop"}}"#
            ),
            "1",
        ),
        (
            format!(
                r#"agente_deployments_total{{{scope},kind="deploy",outcome="unwound",service="shop"}}"#
            ),
            "1",
        ),
        (
            format!(
                r#"agente_deployments_total{{{scope},kind="rollback",outcome="promoted",service="shop"}}"#
            ),
            "0",
        ),
        (
            format!(
                r#"agente_deployment_duration_seconds_sum{{{scope},kind="deploy",outcome="unwound",service="shop"}}"#
            ),
            "11.5",
        ),
        (
            format!(
                r#"agente_step_duration_seconds_count{{{scope},result="succeeded",service="shop",step="shift"}}"#
            ),
            "2",
        ),
        (
            format!(
                r#"agente_step_duration_seconds_bucket{{{scope},result="undone",service="shop",step="shift",le="1"}}"#
            ),
            "1",
        ),
        (format!(r#"agente_rollback_duration_seconds_sum{{{scope},service="shop"}}"#), "0.7"),
        (format!(r#"agente_rollback_duration_seconds_count{{{scope},service="shop"}}"#), "1"),
        (format!(r#"agente_weight_ratio{{{scope},service="shop",slot="blue"}}"#), "1"),
        (format!(r#"agente_weight_ratio{{{scope},service="shop",slot="green"}}"#), "0"),
        (
            format!(
                r#"agente_release_info{{{scope},release="1",role="stable",service="shop",slot="blue"}}"#
            ),
            "1",
        ),
        (format!(r#"agente_deployment_open{{{scope},service="shop"}}"#), "0"),
        (format!(r#"agente_deployment_stuck{{{scope},service="shop"}}"#), "0"),
        (
            format!(
                r#"agente_deployment_last_end_timestamp_seconds{{{scope},outcome="unwound",service="shop"}}"#
            ),
            "21.5",
        ),
        (
            format!(r#"agente_probe_requests_total{{{scope},result="succeeded",service="shop"}}"#),
            "300",
        ),
        (
            format!(r#"agente_probe_requests_total{{{scope},result="idle-reset",service="shop"}}"#),
            "3",
        ),
        (format!(r#"agente_lost_requests_total{{{scope},service="shop"}}"#), "6"),
        (
            format!(
                r#"agente_plugin_calls_total{{{scope},operation="apply",plugin="nginx-switch",result="answered",service="shop"}}"#
            ),
            "9",
        ),
        (
            format!(
                r#"agente_plugin_faults_total{{{scope},kind="timed-out",plugin="nginx-switch",service="shop"}}"#
            ),
            "3",
        ),
        (
            format!(
                r#"agente_plugin_faults_total{{{scope},kind="trapped",plugin="nginx-switch",service="shop"}}"#
            ),
            "0",
        ),
        (
            format!(
                r#"agente_plugin_call_seconds_total{{{scope},operation="apply",plugin="nginx-switch",service="shop"}}"#
            ),
            "4.5",
        ),
        (
            format!(
                r#"agente_build_info{{{scope},service="shop",version="{}"}}"#,
                env!("CARGO_PKG_VERSION")
            ),
            "1",
        ),
    ] {
        assert_eq!(value(&text, &sample), wanted, "{sample}");
    }
}

#[test]
fn an_open_deployment_shows_its_candidate_and_whether_it_is_stuck() {
    let journal = |stuck: bool| {
        let journal =
            Journal::open(plan("d-1", DeploymentKind::Deploy, 1, ServiceState::default()), 1_000)
                .step(1_100, "launch", StepEvent::Started);
        let journal = journal.event(1_200, Event::TurnedBack { fault: fault() }).step(
            1_201,
            "launch",
            StepEvent::UndoStarted,
        );
        if stuck {
            journal.step(2_000, "launch", StepEvent::UndoFailed { fault: fault() })
        } else {
            journal
        }
    };
    let gauge = |text: &str, name: &str| {
        value(text, &format!(r#"agente_deployment_{name}{{environment="default",service="shop"}}"#))
    };
    let going = text(&[numbers(&[journal(false)], Vec::new())]).unwrap();
    assert_eq!((gauge(&going, "open").as_str(), gauge(&going, "stuck").as_str()), ("1", "0"));
    assert_eq!(
        value(
            &going,
            r#"agente_release_info{environment="default",release="1",role="candidate",service="shop",slot="blue"}"#
        ),
        "1"
    );
    let stuck = text(&[numbers(&[journal(true)], Vec::new())]).unwrap();
    assert_eq!((gauge(&stuck, "open").as_str(), gauge(&stuck, "stuck").as_str()), ("1", "1"));
}

#[test]
fn a_run_that_ended_stuck_says_so_until_the_journal_goes_on() {
    // Past the point of no return nothing is written about a step that can't be done: only the run
    // knows.
    let journal = Journal::open(
        plan("d-1", DeploymentKind::Deploy, 1, ServiceState::default()),
        1_000,
    )
    .step(1_100, "launch", StepEvent::Started);
    let run = RunRow {
        deployment: journal.plan.id.clone(),
        fence: Fence(1),
        figures: RunFigures { stuck_at: Some(1), ..RunFigures::default() },
    };
    let sample = r#"agente_deployment_stuck{environment="default",service="shop"}"#;
    let stuck = numbers(std::slice::from_ref(&journal), vec![run.clone()]);
    assert_eq!(value(&text(&[stuck]).unwrap(), sample), "1");
    let resumed =
        numbers(&[journal.event(2_000, Event::Resumed { by: "bob@desk".to_owned() })], vec![run]);
    assert_eq!(value(&text(&[resumed]).unwrap(), sample), "0");
}

#[test]
fn promtool_finds_nothing_to_complain_about() {
    let text = text(&[two_deployments()]).unwrap();
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let promtool = promtool
        .as_mut()
        .expect("`promtool` comes with Debian's package `prometheus`; `make setup` installs it");
    promtool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let mut said = String::new();
    for output in [
        &mut promtool.stdout.take().unwrap() as &mut dyn std::io::Read,
        &mut promtool.stderr.take().unwrap(),
    ] {
        output.read_to_string(&mut said).unwrap();
    }
    let status = promtool.wait().unwrap();
    assert!(status.success() && said.is_empty(), "{status}: {said}");
}
