//! Several things go wrong in one deployment, drawn by a seed.

use crate::scene::*;
use crate::shapes::{SHAPES, shape, size};
use crate::world::{Candidate, Wrong};
use agente_engine::journal::Outcome;
use std::collections::BTreeSet;

#[test]
fn any_mixture_of_faults_deaths_and_aborts_keeps_the_invariants() {
    let mut seed: u64 = 0x5eed;
    let mut random = |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    };
    let sizes: Vec<(u64, u64)> = (0..SHAPES).map(size).collect();
    let mut ends = BTreeSet::new();
    for round in 0..1500 {
        let index = usize::try_from(random(sizes.len() as u64)).unwrap();
        let (name, sim, plan) = shape(index);
        let (entries, calls) = sizes[index];
        {
            let mut inner = sim.inner();
            for _ in 0..random(6) {
                let wrongs = [
                    Wrong::Refuses,
                    Wrong::FailsBefore,
                    Wrong::FailsAfter,
                    Wrong::HangsBefore,
                    Wrong::HangsAfter,
                    Wrong::Slow(random(20_000)),
                    Wrong::Overwritten,
                    Wrong::Freezes(random(30_000)),
                    Wrong::DiesBefore,
                    Wrong::DiesAfter,
                    Wrong::DiesMeanwhile(random(5_000)),
                ];
                let wrong = wrongs[usize::try_from(random(wrongs.len() as u64)).unwrap()];
                inner.wrong.insert(random(calls * 2) + 1, wrong);
            }
            if random(3) == 0 {
                inner.abort_at_entry = Some(random(entries));
                inner.deaf_for = random(2) * random(5_000);
            }
            if random(4) == 0 {
                inner.written_in_silence = Some(random(entries));
            }
            if random(4) == 0 {
                inner.observed_late = random(3_000);
            }
            if random(4) == 0 {
                inner.lock_theirs_at = Some((random(calls) + 1, random(30_000)));
            }
            inner.plans_are_refused = random(10) == 0;
            let candidates = [
                Candidate::Good,
                Candidate::Good,
                Candidate::NeverHealthy,
                Candidate::CrashLoops,
                Candidate::TurnsUnhealthy(random(8_000)),
                Candidate::TurnsBad(random(8_000)),
                Candidate::Dies(random(8_000)),
                Candidate::Unanswered,
            ];
            inner.candidate = candidates[usize::try_from(random(8)).unwrap()];
        }
        let mut result = begin(&sim, &plan);
        for _ in 0..30 {
            match &result {
                None => result = resume(&sim),
                Some(Ok(Outcome::Stuck { .. })) => result = resume(&sim),
                Some(_) => break,
            }
        }
        let outcome = result.expect("it ends").unwrap();
        let context = format!("round {round}, {name}: {outcome:?}");
        match outcome {
            Outcome::Promoted { .. } => {
                ends.insert("promoted");
                assert_promoted(&sim, &plan);
            }
            Outcome::Unwound { .. } | Outcome::Refused { .. } => {
                ends.insert("unwound");
                assert_clean_slate(&sim, &plan);
            }
            Outcome::Stuck { .. } => panic!("{context}\n{}", sim.inner().log.join("\n")),
        }
    }
    assert_eq!(ends.len(), 2, "the mixture always ended alike");
}
