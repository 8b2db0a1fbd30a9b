#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use super::*;
use crate::metrics::sample::{Journal, fault, plan, promoted, unwound};
use agente_engine::deployment::DeploymentKind;
use agente_engine::fault::{Fault, FaultKind};
use agente_engine::journal::Outcome;
use agente_engine::state::ServiceState;
use agente_engine::step::StepOutput;

fn begun(kind: DeploymentKind) -> Journal {
    Journal::open(plan("d-1", kind, 2, ServiceState::default()), 1_000).ran(
        "preflight",
        1_010,
        1_110,
    )
}

fn fold(journal: &Journal) -> Figures {
    Figures::fold(&journal.entries).unwrap()
}

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

#[test]
fn steps_and_deployment_have_their_times_and_the_journals_own_words() {
    let figures = fold(
        &begun(DeploymentKind::Deploy)
            .ran("launch", 1_200, 1_700)
            .ran("shift", 2_000, 2_400)
            .ran("promote", 2_500, 2_501)
            .event(9_000, promoted()),
    );
    assert_eq!(
        (figures.kind.as_str(), figures.opened, figures.stuck),
        ("deploy", Timestamp(1_000), false)
    );
    assert_eq!(
        figures.end,
        Some(End { at: Timestamp(9_000), outcome: "promoted".to_owned(), way_back: None })
    );
    let times: Vec<_> =
        figures.steps.iter().map(|step| (step.step, step.result, step.took)).collect();
    assert_eq!(
        times,
        [
            ("preflight", "succeeded", ms(100)),
            ("launch", "succeeded", ms(500)),
            ("shift", "succeeded", ms(400)),
            ("promote", "succeeded", ms(1))
        ]
    );
}

#[test]
fn the_way_back_lasts_from_turning_back_to_the_old_routes_in_force() {
    let journal = begun(DeploymentKind::Deploy)
        .ran("launch", 1_200, 1_300)
        .ran("shift", 2_000, 2_400)
        .step(3_000, "bake", StepEvent::Started);
    let journal = journal
        .step(3_500, "bake", StepEvent::Lost { fault: fault() })
        .event(3_501, Event::TurnedBack { fault: fault() });
    let journal = journal
        .undone("shift", 3_502, 4_001)
        .undone("launch", 4_002, 7_000)
        .event(7_001, unwound());
    let figures = fold(&journal);
    let end = figures.end.unwrap();
    assert_eq!((end.outcome.as_str(), end.way_back), ("unwound", Some(ms(500))));
    assert!(figures.steps.contains(&StepTime { step: "bake", result: "lost", took: ms(500) }));
    assert!(figures.steps.contains(&StepTime {
        step: "launch",
        result: "undone",
        took: ms(2_998)
    }));
}

#[test]
fn where_no_request_ever_moved_there_is_no_way_back_to_measure() {
    let journal = begun(DeploymentKind::Deploy).step(1_200, "launch", StepEvent::Started).step(
        1_300,
        "launch",
        StepEvent::Lost { fault: fault() },
    );
    let journal = journal
        .event(1_301, Event::TurnedBack { fault: fault() })
        .undone("launch", 1_302, 1_400)
        .event(1_401, unwound());
    assert_eq!(fold(&journal).end.unwrap().way_back, None);
}

#[test]
fn a_rollback_lasts_from_its_start_to_the_routes_in_force() {
    let journal = begun(DeploymentKind::Rollback { fast: false })
        .ran("shift", 2_000, 2_400)
        .ran("promote", 2_500, 2_600)
        .event(60_000, promoted());
    let figures = fold(&journal);
    assert_eq!(
        (figures.kind.as_str(), figures.end.unwrap().way_back),
        ("rollback", Some(ms(1_400)))
    );
}

#[test]
fn a_step_that_a_new_host_took_up_is_timed_from_its_last_start() {
    let journal = begun(DeploymentKind::Deploy)
        .step(1_200, "launch", StepEvent::Started)
        .event(900_000, Event::Resumed { by: "bob@desk".to_owned() });
    let figures = fold(&journal.ran("launch", 900_010, 900_300));
    assert_eq!(
        figures.steps.last(),
        Some(&StepTime { step: "launch", result: "succeeded", took: ms(290) })
    );
    assert_eq!((figures.end, figures.newest), (None, 6));
}

#[test]
fn it_is_stuck_from_a_failed_undo_until_somebody_goes_on() {
    let stuck = || {
        let journal = begun(DeploymentKind::Deploy)
            .step(1_200, "launch", StepEvent::Started)
            .event(1_300, Event::TurnedBack { fault: fault() });
        journal.step(1_301, "launch", StepEvent::UndoStarted).step(
            9_000,
            "launch",
            StepEvent::UndoFailed { fault: fault() },
        )
    };
    let figures = fold(&stuck());
    assert!(figures.stuck);
    assert_eq!(
        figures.steps.last(),
        Some(&StepTime { step: "launch", result: "undo-failed", took: ms(7_699) })
    );
    assert!(!fold(&stuck().step(9_500, "launch", StepEvent::UndoStarted)).stuck);
    let ended = stuck().step(9_500, "launch", StepEvent::UndoStarted).step(
        9_600,
        "launch",
        StepEvent::Undone { output: StepOutput::default() },
    );
    assert!(!fold(&ended.event(9_601, unwound())).stuck);
}

#[test]
fn a_refused_deployment_is_told_by_its_outcome() {
    let refused = Outcome::Refused {
        fault: Fault::new(FaultKind::Conflict, "the target is not as we left it"),
    };
    let journal = Journal::open(plan("d-1", DeploymentKind::Adopt, 1, ServiceState::default()), 10)
        .step(20, "preflight", StepEvent::Started);
    let journal = journal
        .step(30, "preflight", StepEvent::Refused { fault: fault() })
        .event(31, Event::Closed { outcome: refused });
    let figures = fold(&journal);
    assert_eq!(
        (figures.kind.as_str(), figures.end.unwrap().outcome.as_str()),
        ("adopt", "refused")
    );
    assert_eq!(figures.steps, [StepTime { step: "preflight", result: "refused", took: ms(10) }]);
}

#[test]
fn what_does_not_begin_with_a_plan_is_no_deployment() {
    assert_eq!(Figures::fold(&[]), None);
    assert_eq!(Figures::fold(&begun(DeploymentKind::Deploy).entries[1..]), None);
}
