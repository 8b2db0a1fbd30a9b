//! Somebody else changes the target: between the death of a host and the next, or in the middle of
//! what a host does.

use crate::scene::*;
use crate::shapes::{SHAPES, assert_ended, calls, shape, size};
use crate::world::{Sim, Wrong};
use agente_engine::fault::FaultKind;
use agente_engine::journal::Outcome;
use agente_engine::plan::Plan;
use agente_engine::ports::Desired;
use agente_engine::route::{Destination, Route, Routes, Slot};
use agente_engine::weight::Weight;

/// What somebody does to the target by hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    /// All requests to whatever stands on a slot.
    AllTo(Slot),
    /// Half of them to each slot.
    Halves,
    /// Another rule only.
    Rules,
    /// Whatever is there of the service is removed.
    Nothing,
}

const CHANGES: [Change; 5] = [
    Change::AllTo(Slot::Blue),
    Change::AllTo(Slot::Green),
    Change::Halves,
    Change::Rules,
    Change::Nothing,
];

/// Does it; false where that is no change, or nothing stands where requests should go.
fn change(sim: &Sim, change: Change) -> bool {
    let mut inner = sim.inner();
    inner.settle_all();
    let Some(loaded) = inner.loaded.clone() else { return false };
    let side = |slot: Slot, weight: Weight| {
        let backends: Vec<Destination> = inner
            .backends
            .iter()
            .filter(|(_, backend)| backend.slot == slot)
            .map(|(id, backend)| Destination { id: id.clone(), address: backend.address.clone() })
            .collect();
        (!backends.is_empty()).then_some(Route { slot, release: None, weight, backends })
    };
    let half = Weight::from_basis_points(5_000).unwrap();
    let routes = match change {
        Change::AllTo(slot) => side(slot, Weight::FULL).map(|route| vec![route]),
        Change::Halves => {
            side(Slot::Blue, half).zip(side(Slot::Green, half)).map(|(a, b)| vec![a, b])
        }
        Change::Rules => {
            (!loaded.routes.overrides.is_empty()).then(|| loaded.routes.routes.clone())
        }
        Change::Nothing => Some(vec![]),
    };
    let Some(routes) = routes else { return false };
    let routes = Routes { routes, overrides: vec![] };
    if routes.same_traffic(&loaded.routes) {
        return false;
    }
    inner.log.push(format!("--- by hand: {change:?}"));
    let changed = (change != Change::Nothing).then_some(Desired { routes, ..loaded });
    inner.put_by_hand(sim.now(), changed);
    true
}

/// Puts back by hand what the target held before the deployment.
fn put_back(sim: &Sim, plan: &Plan) {
    let mut inner = sim.inner();
    let loaded = inner.loaded.clone().expect("something is in force");
    let routes = plan.routes_before.clone().unwrap_or(Routes::none());
    inner.put_by_hand(sim.now(), Some(Desired { routes, ..loaded }));
}

/// Asserts that a deployment on whose target somebody has worked ended well, or says what is not.
fn assert_told(context: &str, sim: &Sim, plan: &Plan, outcome: &Outcome) {
    let by_hand = sim.inner().is_by_hand();
    let log = sim.inner().log.join("\n");
    match outcome {
        // Past the point of no return nothing is left that could be taken back or must not be
        // touched.
        Outcome::Promoted { notes } if by_hand => {
            let kept = notes.iter().any(|note| note.contains("is kept: "));
            let gone = sim.inner().state().kept.is_none();
            assert!(
                plan.point_of_no_return().is_some() && (kept || gone),
                "{context}: {outcome:?}\n{log}"
            );
        }
        Outcome::Promoted { .. } => assert_promoted(sim, plan),
        // The target was never touched, so what somebody has done is left as it is.
        Outcome::Refused { .. } | Outcome::Unwound { .. } if by_hand => {
            let shifted = sim.inner().attempt().is_some_and(|attempt| attempt.shift_began());
            assert!(!shifted, "{context}: {outcome:?}\n{log}");
        }
        Outcome::Refused { .. } | Outcome::Unwound { .. } => assert_clean_slate(sim, plan),
        // A candidate that never had requests from us has them from somebody: it stays until they
        // have taken them back.
        Outcome::Stuck { fault, .. } => {
            assert!(fault.message.contains("is not removed"), "{context}: {fault}\n{log}");
            assert!(sim.inner().is_by_hand(), "{context}\n{log}");
            put_back(sim, plan);
            let outcome = resume(sim).expect("nobody killed the third host").unwrap();
            assert!(matches!(outcome, Outcome::Unwound { .. }), "{context}: {outcome:?}\n{log}");
            assert_clean_slate(sim, plan);
        }
    }
}

#[test]
fn whatever_somebody_does_to_the_target_while_no_host_runs_no_side_that_has_requests_is_removed() {
    let mut changed = 0;
    for index in 0..SHAPES {
        for entry in 1..size(index).0 - 1 {
            for by_hand in CHANGES {
                for turned in [false, true] {
                    let (name, sim, plan) = shape(index);
                    sim.inner().die_after_entry = Some(entry);
                    assert!(begin(&sim, &plan).is_none());
                    if !change(&sim, by_hand) {
                        continue;
                    }
                    changed += 1;
                    let outcome = if turned { unwind(&sim) } else { resume(&sim) };
                    let outcome = outcome.expect("nobody killed the second host").unwrap();
                    let context = format!("{name}, entry {entry}, {by_hand:?}, turned: {turned}");
                    assert_told(&context, &sim, &plan, &outcome);
                }
            }
        }
    }
    assert!(changed > 500, "only {changed} were changed");
}

#[test]
fn a_target_that_is_overwritten_without_its_lock_is_noticed_before_anything_is_built_on_it() {
    for index in 0..SHAPES {
        for call in calls(index).into_iter().filter(|call| call.name.starts_with("apply")) {
            let (name, sim, plan) = shape(index);
            sim.inner().wrong.insert(call.number, Wrong::Overwritten);
            let outcome = run(&sim, &plan).unwrap();
            let context = format!("{name}, `{}`", call.name);
            if let Outcome::Unwound { fault, .. } = &outcome {
                assert_eq!(fault.kind, FaultKind::TimedOut, "{context}: {fault}");
            }
            assert_ended(&context, &sim, &plan, outcome);
        }
    }
}
