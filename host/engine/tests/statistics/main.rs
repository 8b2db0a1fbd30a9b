//! The error rates that the statistics promise, shown by simulation: a thousand runs each, from
//! fixed seeds.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test says what it saw"
)]
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "made-up numbers are small and positive"
)]

mod errors;
mod latency;
mod traffic;

/// The runs of each simulation.
const RUNS: u32 = 1000;

/// How many runs come true.
fn runs_where(mut comes_true: impl FnMut(&mut traffic::Traffic) -> bool) -> u32 {
    (0..RUNS).map(|run| u32::from(comes_true(&mut traffic::Traffic::seeded(u64::from(run))))).sum()
}

/// Asserts what is promised of one run in a hundred at most, and prints what was seen.
fn assert_rare(what: &str, runs: u32) {
    println!("{what}: {runs} of {RUNS}");
    assert!(runs <= RUNS / 100, "{what}: {runs} of {RUNS}");
}

/// Asserts what is promised of ninety-nine runs in a hundred at least, and prints what was seen.
fn assert_common(what: &str, runs: u32) {
    println!("{what}: {runs} of {RUNS}");
    assert!(runs >= RUNS - RUNS / 100, "{what}: {runs} of {RUNS}");
}
