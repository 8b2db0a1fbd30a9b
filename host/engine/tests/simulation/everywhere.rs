//! Every shape fails, dies and is aborted at every call and every entry.

use crate::scene::*;
use crate::shapes::{SHAPES, resume_until_ended, shape, size};
use crate::world::Wrong;
use agente_engine::fault::FaultKind;
use agente_engine::journal::{Event, Outcome};

#[test]
fn every_shape_is_promoted_when_nothing_goes_wrong() {
    for (name, sim, plan) in (0..SHAPES).map(shape) {
        let outcome = run(&sim, &plan).unwrap();
        assert!(matches!(outcome, Outcome::Promoted { .. }), "{name}: {outcome:?}");
        assert_promoted(&sim, &plan);
        assert!(sim.inner().cut.is_empty(), "{name}: requests were cut");
    }
}

#[test]
fn a_host_killed_around_any_entry_is_resumed_to_the_same_end() {
    for index in 0..SHAPES {
        let (entries, _) = size(index);
        for entry in 0..entries {
            for before in [true, false] {
                let (name, sim, plan) = shape(index);
                if before {
                    sim.inner().die_before_entry = Some(entry)
                } else {
                    sim.inner().die_after_entry = Some(entry)
                }
                let begun = begin(&sim, &plan);
                if let Some(result) = begun {
                    // Closing was the last thing the host did.
                    assert!(matches!(result.unwrap(), Outcome::Promoted { .. }));
                    continue;
                }
                if sim.inner().entries().is_empty() {
                    continue; // The plan was never written: nothing began.
                }
                let outcome = resume_until_ended(&sim);
                assert!(
                    matches!(outcome, Outcome::Promoted { .. }),
                    "{name}, entry {entry}: {outcome:?}\n{}",
                    sim.inner().log.join("\n")
                );
                assert_promoted(&sim, &plan);
            }
        }
    }
}

#[test]
fn a_host_killed_at_any_call_before_or_after_its_effect_is_resumed_to_the_same_end() {
    for index in 0..SHAPES {
        let (_, calls) = size(index);
        for call in 1..=calls {
            for wrong in [Wrong::DiesBefore, Wrong::DiesAfter] {
                let (name, sim, plan) = shape(index);
                sim.inner().wrong.insert(call, wrong);
                assert!(begin(&sim, &plan).is_none(), "{name}: call {call} was never made");
                let outcome = resume_until_ended(&sim);
                assert!(
                    matches!(outcome, Outcome::Promoted { .. }),
                    "{name}, call {call} {wrong:?}: {outcome:?}\n{}",
                    sim.inner().log.join("\n")
                );
                assert_promoted(&sim, &plan);
            }
        }
    }
}

#[test]
fn a_failure_of_any_call_ends_promoted_or_with_a_clean_slate() {
    for index in 0..SHAPES {
        let (_, calls) = size(index);
        let mut unwound = 0;
        for call in 1..=calls {
            for wrong in [
                Wrong::Refuses,
                Wrong::FailsBefore,
                Wrong::FailsAfter,
                Wrong::HangsBefore,
                Wrong::HangsAfter,
            ] {
                let (name, sim, plan) = shape(index);
                sim.inner().wrong.insert(call, wrong);
                match run(&sim, &plan).unwrap() {
                    Outcome::Promoted { .. } => assert_promoted(&sim, &plan),
                    Outcome::Unwound { .. } | Outcome::Refused { .. } => {
                        unwound += 1;
                        assert_clean_slate(&sim, &plan);
                    }
                    Outcome::Stuck { fault, .. } => {
                        // Only the removal of the old side has no way back.
                        assert!(
                            plan.point_of_no_return().is_some(),
                            "{name}, call {call} {wrong:?}: stuck on {fault}\n{}",
                            sim.inner().log.join("\n")
                        );
                        let outcome = resume_until_ended(&sim);
                        assert!(
                            matches!(outcome, Outcome::Promoted { .. }),
                            "{name}, call {call}: {outcome:?}"
                        );
                        assert_promoted(&sim, &plan);
                    }
                }
            }
        }
        assert!(unwound > 5, "shape {index}: the harness never made it fail");
    }
}

#[test]
fn an_abort_at_any_entry_leaves_stable_at_full_weight_until_retiring_began() {
    for index in 0..SHAPES {
        let (entries, _) = size(index);
        for entry in 0..entries - 1 {
            let (name, sim, plan) = shape(index);
            sim.inner().abort_at_entry = Some(entry);
            let outcome = run(&sim, &plan).unwrap();
            let retiring = {
                let inner = sim.inner();
                let began = |event: &Event| {
                    plan.point_of_no_return().is_some_and(|step| has_started(event, step))
                };
                inner.entries()[..=usize::try_from(entry).unwrap()].iter().any(|e| began(&e.event))
            };
            match outcome {
                Outcome::Promoted { .. } => {
                    assert!(
                        retiring,
                        "{name}: an abort at entry {entry} was not obeyed\n{}",
                        sim.inner().log.join("\n")
                    );
                    assert_promoted(&sim, &plan);
                }
                Outcome::Unwound { fault, .. } | Outcome::Refused { fault } => {
                    assert_eq!(fault.kind, FaultKind::Aborted);
                    assert_clean_slate(&sim, &plan);
                    let inner = sim.inner();
                    let (left, heard) = inner.abort_heard.unwrap();
                    assert!(
                        heard - left <= 250,
                        "{name}: an abort at entry {entry} was heard after {} ms",
                        heard - left
                    );
                }
                Outcome::Stuck { .. } => panic!(
                    "{name}: an abort at entry {entry} got stuck\n{}",
                    sim.inner().log.join("\n")
                ),
            }
        }
    }
}

#[test]
fn unwinding_that_is_killed_anywhere_goes_on_to_the_same_clean_slate() {
    for index in 1..SHAPES {
        // Aborted right after promote, when there is most to undo.
        let (_, sim, plan) = shape(index);
        run(&sim, &plan).unwrap();
        let promoted = {
            let inner = sim.inner();
            let promote = plan.promote_step().unwrap();
            let at = inner.entries().iter().position(|entry| has_succeeded(&entry.event, promote));
            at.unwrap() as u64
        };
        let (_, sim, plan) = shape(index);
        sim.inner().abort_at_entry = Some(promoted);
        run(&sim, &plan).unwrap();
        let (entries, calls) = {
            let inner = sim.inner();
            (inner.entries().len() as u64, inner.calls)
        };
        for entry in promoted + 1..entries {
            for before in [true, false] {
                let (_, sim, plan) = shape(index);
                sim.inner().abort_at_entry = Some(promoted);
                if before {
                    sim.inner().die_before_entry = Some(entry)
                } else {
                    sim.inner().die_after_entry = Some(entry)
                }
                if begin(&sim, &plan).is_none() {
                    resume_until_ended(&sim);
                }
                assert_clean_slate(&sim, &plan);
            }
        }
        for call in 1..=calls {
            for wrong in [Wrong::DiesBefore, Wrong::DiesAfter, Wrong::FailsAfter, Wrong::HangsAfter]
            {
                let (name, sim, plan) = shape(index);
                sim.inner().abort_at_entry = Some(promoted);
                sim.inner().wrong.insert(call, wrong);
                let outcome = match begin(&sim, &plan) {
                    Some(result) => result.unwrap(),
                    None => resume_until_ended(&sim),
                };
                match outcome {
                    Outcome::Unwound { .. } | Outcome::Refused { .. } => {
                        assert_clean_slate(&sim, &plan)
                    }
                    other => panic!(
                        "{name}, call {call} {wrong:?}: {other:?}\n{}",
                        sim.inner().log.join("\n")
                    ),
                }
            }
        }
    }
}
