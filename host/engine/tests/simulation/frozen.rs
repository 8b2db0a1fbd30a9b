//! A host that is stopped in the middle of something and goes on later: nobody noticed, or another
//! host has taken its place meanwhile.

use crate::scene::*;
use crate::shapes::{SHAPES, assert_ended, calls, shape};
use crate::time::drive;
use crate::world::{Sim, Wrong};
use agente_engine::executor::{self, Halt};
use agente_engine::journal::Outcome;
use agente_engine::plan::Plan;
use futures_util::join;
use std::time::Duration;

#[test]
fn a_host_that_is_stopped_anywhere_and_goes_on_ends_promoted_or_with_a_clean_slate() {
    for index in 0..SHAPES {
        for call in calls(index) {
            for stopped in [1_000, 100_000] {
                let (name, sim, plan) = shape(index);
                sim.inner().wrong.insert(call.number, Wrong::Freezes(stopped));
                let outcome = run(&sim, &plan).unwrap();
                let context = format!("{name}, `{}` for {stopped} ms", call.name);
                assert_ended(&context, &sim, &plan, outcome);
            }
        }
    }
}

/// How both hosts end when the first is stopped in a call and the second takes it for dead.
fn taken_for_dead(
    sim: &Sim,
    plan: &Plan,
    turned: bool,
) -> (Result<Outcome, Halt>, Result<Outcome, Halt>) {
    let lease = sim.begin(plan.slot);
    let state = sim.inner().state();
    let first = sim.work(executor::begin(sim.world(), &*lease, plan.clone(), state));
    let other = sim.second();
    let second = async {
        sim.frozen().await;
        sim.time.sleep(Duration::from_millis(500)).await;
        let lease = other.passes_over();
        let (entries, state) = {
            let inner = sim.inner();
            (inner.entries(), inner.state())
        };
        let (world, by) = (other.world(), "tester".to_owned());
        if turned {
            executor::unwind(world, &*lease, &entries, state, by, aborted()).await
        } else {
            executor::resume(world, &*lease, &entries, state, by).await
        }
    };
    drive(&sim.time, || false, async { join!(first, second) }).expect("nobody killed a host")
}

#[test]
fn a_host_that_was_taken_for_dead_changes_nothing_when_it_goes_on() {
    let mut passed_over = 0;
    for index in 0..SHAPES {
        for call in calls(index) {
            for stopped in [3_000, 25_000, 200_000] {
                for turned in [false, true] {
                    let (name, sim, plan) = shape(index);
                    sim.inner().wrong.insert(call.number, Wrong::Freezes(stopped));
                    let (first, second) = taken_for_dead(&sim, &plan, turned);
                    let context = format!("{name}, `{}` for {stopped} ms, {turned}", call.name);
                    assert!(
                        matches!(first, Err(Halt::LeaseLost { .. })),
                        "{context}: {first:?}\n{}",
                        sim.inner().log.join("\n")
                    );
                    passed_over += 1;
                    assert_ended_after_takeover(&context, &sim, &plan, second.unwrap());
                }
            }
        }
    }
    assert!(passed_over > 1_000, "only {passed_over} hosts were passed over");
}

/// A host that waits in vain for the target's lock is stuck; the next one is not.
fn assert_ended_after_takeover(context: &str, sim: &Sim, plan: &Plan, outcome: Outcome) {
    if matches!(outcome, Outcome::Stuck { .. }) {
        let outcome = crate::shapes::resume_until_ended(sim);
        return assert_ended(context, sim, plan, outcome);
    }
    assert_ended(context, sim, plan, outcome);
}
