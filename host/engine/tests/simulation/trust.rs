//! Between the death of a host and the next, somebody changes the target.

use crate::scene::*;
use crate::shapes::{SHAPES, shape, size};
use crate::world::Sim;
use agente_engine::attempt::Attempt;
use agente_engine::fault::FaultKind;
use agente_engine::journal::Outcome;
use agente_engine::plan::Plan;
use agente_engine::route::{Routes, Slot};
use agente_engine::step::StepEvent;
use agente_engine::weight::Weight;
use std::collections::BTreeSet;

/// Somebody sends all requests to one side by hand.
fn send_all_to(sim: &Sim, slot: Slot) {
    let mut inner = sim.inner();
    let mut changed = inner.loaded.clone().expect("routes are in force");
    for route in &mut changed.routes.routes {
        route.weight = if route.slot == slot { Weight::FULL } else { Weight::ZERO };
    }
    changed.routes.overrides.clear();
    inner.applied = Some((changed.clone(), 0));
    inner.loaded = Some(changed);
    inner.log.push(format!("--- by hand: all to {slot}"));
}

/// A world in which the host dies after an entry; none where it never gets there.
fn dead_after(index: usize, entry: u64, prepare: impl Fn(&Sim)) -> Option<(Sim, Plan)> {
    let (_, sim, plan) = shape(index);
    prepare(&sim);
    sim.inner().die_after_entry = Some(entry);
    begin(&sim, &plan).is_none().then_some((sim, plan))
}

fn resumed(sim: &Sim) -> Outcome {
    resume(sim).expect("nobody killed the second host").unwrap()
}

/// Whether the routes that were acknowledged last, in this deployment, lead to the candidate.
fn is_shifted(sim: &Sim, plan: &Plan) -> bool {
    let routes = sim.inner().state().routes.clone();
    routes != plan.routes_before && routes.is_some_and(|to| !to.weight(plan.slot).is_zero())
}

/// The weights of the candidate that were told to the target after somebody changed it.
fn told_since(sim: &Sim, plan: &Plan) -> Vec<bool> {
    let inner = sim.inner();
    let since = inner.log.iter().skip_while(|line| !line.contains("by hand"));
    let applied = since.filter(|line| line.contains(" apply "));
    applied.map(|line| !line.contains(&format!("{} 0 %", plan.slot))).collect()
}

#[test]
fn a_target_that_was_sent_back_by_hand_is_not_sent_forward_again() {
    let mut turned = 0;
    // Not rolling: a part of its stable side is gone, and nobody can send requests there by hand.
    for index in (1..SHAPES).filter(|index| ![8, 9].contains(index)) {
        for entry in 1..size(index).0 - 1 {
            let Some((sim, plan)) = dead_after(index, entry, |_| {}) else { continue };
            let attempt = Attempt::fold(&sim.inner().entries()).unwrap();
            if !is_shifted(&sim, &plan) || attempt.past_point_of_no_return() {
                continue;
            }
            let mixed = plan.stable.as_ref().is_some_and(|stable| {
                sim.inner()
                    .state()
                    .routes
                    .as_ref()
                    .is_some_and(|to| to.weight(stable.slot) == Weight::FULL)
            });
            if mixed {
                continue;
            }
            send_all_to(&sim, plan.slot.other());
            let outcome = resumed(&sim);
            let Outcome::Unwound { fault, .. } = &outcome else {
                panic!("shape {index}, entry {entry}: {outcome:?}\n{}", sim.inner().log.join("\n"))
            };
            assert_eq!(fault.kind, FaultKind::Conflict, "shape {index}, entry {entry}: {fault}");
            assert!(fault.message.contains("changed while no host was running"), "{fault}");
            let told = told_since(&sim, &plan);
            assert!(
                !told.contains(&true),
                "shape {index}, entry {entry}: the candidate was given requests again\n{}",
                sim.inner().log.join("\n")
            );
            assert_clean_slate(&sim, &plan);
            turned += 1;
        }
    }
    assert!(turned > 20, "it was changed after {turned} entries only");
}

#[test]
fn a_candidate_that_was_given_requests_by_hand_while_it_was_taken_back_loses_them_before_it_goes() {
    assert!(changed_on_the_way_back().len() > 5, "it was changed after few entries only");
}

/// The moves of deployments whose target was changed while they were taken back.
pub fn moves_of_a_target_changed_on_the_way_back() -> BTreeSet<(&'static str, &'static str)> {
    changed_on_the_way_back().iter().flat_map(crate::moves::moves).collect()
}

/// Deployments that were taken back, with a host that died meanwhile and a target that was changed
/// before the next one came.
fn changed_on_the_way_back() -> Vec<Sim> {
    let mut changed = Vec::new();
    for index in [1, 2, 6, 10] {
        let aborted = |sim: &Sim| sim.inner().abort_at_entry = Some(size(index).0 - 3);
        let (_, sim, plan) = shape(index);
        aborted(&sim);
        run(&sim, &plan).unwrap();
        let entries = sim.inner().entries();
        let undone = |event: &StepEvent| matches!(event, StepEvent::Undone { .. });
        let back = entry_about(&sim, &plan, |kind| kind.sets().is_some(), undone);
        for entry in back..entries.len() as u64 - 1 {
            let Some((sim, plan)) = dead_after(index, entry, aborted) else { continue };
            let there = plan.backends.iter().all(|one| sim.inner().backends.contains_key(&one.id));
            if !there {
                continue; // Nobody sends requests to what is gone already.
            }
            send_candidate_everything(&sim, &plan);
            let outcome = resumed(&sim);
            assert!(
                matches!(outcome, Outcome::Unwound { .. }),
                "shape {index}, entry {entry}: {outcome:?}\n{}",
                sim.inner().log.join("\n")
            );
            assert_clean_slate(&sim, &plan);
            changed.push(sim);
        }
    }
    changed
}

fn send_candidate_everything(sim: &Sim, plan: &Plan) {
    let stable = plan.stable.as_ref().map(|stable| (stable.release, stable.backends.clone()));
    let routes = Routes::all_to(plan.slot, plan.release.number, plan.backends.clone(), stable);
    let mut inner = sim.inner();
    let mut changed = inner.loaded.clone().expect("routes are in force");
    changed.routes = routes;
    inner.applied = Some((changed.clone(), 0));
    inner.loaded = Some(changed);
    inner.log.push("--- by hand: all to the candidate".to_owned());
}
