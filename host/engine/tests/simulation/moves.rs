//! The table of legal moves of a step, written out, against the moves that the engine allows and
//! those that deployments take.

use crate::scene::*;
use crate::shapes::{SHAPES, shape, size};
use crate::world::{Candidate, Sim, Wrong};
use agente_engine::fault::{Fault, FaultKind};
use agente_engine::journal::Event;
use agente_engine::step::{StepEvent, StepOutput, StepState};
use std::collections::BTreeSet;

/// Each state of a step, and what may be written of it then. Everything else is damage.
#[rustfmt::skip]
const TABLE: &[(&str, &[&str])] = &[
    ("pending", &["started"]),
    // Once more: another host takes it up.
    ("running", &["started", "succeeded", "refused", "lost", "failed", "undo-started"]),
    ("done",    &["undo-started"]),
    // Nothing was done, so nothing is undone.
    ("refused", &[]),
    ("unknown", &["undo-started"]),
    // Past the point of no return: a person said `resume`.
    ("failed",  &["started"]),
    ("undoing", &["undo-started", "undone", "undo-failed"]),
    // Somebody changed it while no host ran.
    ("undone",  &["undo-started"]),
    // A person said `resume`.
    ("stuck",   &["undo-started"]),
];

/// A move: from where, by what.
type Move = (&'static str, &'static str);

fn legal() -> BTreeSet<Move> {
    let of = |(state, events): &(&'static str, &'static [&'static str])| {
        events.iter().map(|event| (*state, *event)).collect::<Vec<_>>()
    };
    TABLE.iter().flat_map(of).collect()
}

/// Asserts of an entry that was written, in whatever test, that its move is in the table.
pub fn assert_legal(before: &StepState, event: &StepEvent) {
    let taken = (state_name(before), event_name(event));
    assert!(legal().contains(&taken), "{taken:?} is no move of the table");
}

fn fault() -> Fault {
    Fault::new(FaultKind::Failed, "x")
}

fn state_name(state: &StepState) -> &'static str {
    match state {
        StepState::Pending => "pending",
        StepState::Running => "running",
        StepState::Done(_) => "done",
        StepState::Refused(_) => "refused",
        StepState::Unknown(_) => "unknown",
        StepState::Failed(_) => "failed",
        StepState::Undoing => "undoing",
        StepState::Undone => "undone",
        StepState::Stuck(_) => "stuck",
    }
}

fn event_name(event: &StepEvent) -> &'static str {
    match event {
        StepEvent::Started => "started",
        StepEvent::Succeeded { .. } => "succeeded",
        StepEvent::Refused { .. } => "refused",
        StepEvent::Lost { .. } => "lost",
        StepEvent::Failed { .. } => "failed",
        StepEvent::UndoStarted => "undo-started",
        StepEvent::Undone { .. } => "undone",
        StepEvent::UndoFailed { .. } => "undo-failed",
    }
}

/// The moves in a journal.
pub fn moves(sim: &Sim) -> BTreeSet<Move> {
    let mut steps = Vec::new();
    let mut moves = BTreeSet::new();
    for entry in &sim.inner().entries() {
        match &entry.event {
            Event::Opened { plan } => steps = vec![StepState::Pending; plan.steps.len()],
            Event::Step { step, event } => {
                moves.insert((state_name(&steps[*step]), event_name(event)));
                let state = std::mem::take(&mut steps[*step]);
                steps[*step] = state.next(event.clone()).unwrap();
            }
            _ => {}
        }
    }
    moves
}

#[test]
fn the_engine_allows_the_moves_of_the_table_and_no_other() {
    let states = [
        StepState::Pending,
        StepState::Running,
        StepState::Done(StepOutput::default()),
        StepState::Refused(fault()),
        StepState::Unknown(fault()),
        StepState::Failed(fault()),
        StepState::Undoing,
        StepState::Undone,
        StepState::Stuck(fault()),
    ];
    let events = [
        StepEvent::Started,
        StepEvent::Succeeded { output: StepOutput::default() },
        StepEvent::Refused { fault: fault() },
        StepEvent::Lost { fault: fault() },
        StepEvent::Failed { fault: fault() },
        StepEvent::UndoStarted,
        StepEvent::Undone { output: StepOutput::default() },
        StepEvent::UndoFailed { fault: fault() },
    ];
    let mut allowed = BTreeSet::new();
    for state in &states {
        for event in &events {
            if state.clone().next(event.clone()).is_ok() {
                allowed.insert((state_name(state), event_name(event)));
            }
        }
    }
    assert_eq!(allowed, legal());
}

#[test]
fn deployments_take_each_move_of_the_table_and_no_other() {
    let mut taken = BTreeSet::new();
    for index in 0..SHAPES {
        let (entries, calls) = size(index);
        // Dies, and is aborted, in the middle of each step and each undo, and once more on the way.
        for entry in 0..entries {
            for aborted in [false, true] {
                let (_, sim, plan) = shape(index);
                sim.inner().die_after_entry = Some(entry);
                let _ = begin(&sim, &plan);
                taken.extend(moves(&sim));
                if sim.is_dead() {
                    let dies = entry + 3 + entry % 5;
                    sim.inner().die_after_entry = aborted.then_some(dies);
                    let _ = if aborted { unwind(&sim) } else { resume(&sim) };
                    taken.extend(moves(&sim));
                    if sim.is_dead() {
                        resume(&sim).unwrap().unwrap();
                    }
                }
                taken.extend(moves(&sim));
            }
        }
        for call in (1..=calls).step_by(3) {
            for wrong in [Wrong::Refuses, Wrong::FailsAfter] {
                let (_, sim, plan) = shape(index);
                sim.inner().wrong.insert(call, wrong);
                let _ = begin(&sim, &plan);
                if sim.inner().state().open.is_some() {
                    let _ = resume(&sim);
                }
                taken.extend(moves(&sim));
            }
        }
    }
    // A target that takes nothing back, until somebody has mended it.
    let (_, sim, plan) = shape(1);
    run(&sim, &plan).unwrap();
    let succeeded = |event: &StepEvent| matches!(event, StepEvent::Succeeded { .. });
    let entry = entry_about(&sim, &plan, |kind| kind.sets().is_some(), succeeded);
    let (_, sim, plan) = shape(1);
    sim.inner().candidate = Candidate::TurnsUnhealthy(0);
    sim.inner().target_refuses_from = Some(entry);
    let _ = begin(&sim, &plan);
    sim.inner().target_refuses = false;
    let _ = resume(&sim);
    taken.extend(moves(&sim));
    taken.extend(crate::trust::moves_of_a_target_changed_on_the_way_back());
    assert_eq!(taken, legal());
}
