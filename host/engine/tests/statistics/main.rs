//! The error rates that the statistics promise, shown by simulation: a thousand runs each, from fixed seeds.

mod errors;
mod latency;
mod traffic;

/// The runs of each simulation.
const RUNS: u32 = 1000;

/// How many runs come true.
fn runs_where(mut comes_true: impl FnMut(&mut traffic::Traffic) -> bool) -> u32 {
    (0..RUNS).map(|run| u32::from(comes_true(&mut traffic::Traffic::seeded(u64::from(run))))).sum()
}
