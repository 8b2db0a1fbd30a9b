//! Prints how often bad and good candidates are caught, left undecided and passed: `make power`.
#![expect(clippy::print_stdout, reason = "printing is what it is for")]

use agente_engine::statistics::{CountsError, JudgementKind};

#[path = "../tests/statistics/traffic.rs"]
mod traffic;

const RUNS: u32 = 1000;
const STABLE_RATE: f64 = 0.001;
/// Percent of the requests, and how many requests stable has for each of the candidate's.
const WEIGHTS: [(u32, u64); 3] = [(10, 9), (25, 3), (50, 1)];
const REQUESTS: [u64; 3] = [300, 1000, 4000];
const CANDIDATES: [(&str, f64); 5] =
    [("0.1 % (equal)", STABLE_RATE), ("0.5 %", 0.005), ("1 %", 0.01), ("5 %", 0.05), ("50 %", 0.5)];

fn main() -> Result<(), CountsError> {
    println!(
        "Of {RUNS} runs each, caught / undecided / passed; stable fails {} % of its requests.\n",
        STABLE_RATE * 100.0
    );
    println!(
        "| Weight | Candidate's requests | {} |",
        CANDIDATES.map(|(name, _)| name).join(" | ")
    );
    println!("|---|---|{}", "---|".repeat(CANDIDATES.len()));
    for (weight, stable_share) in WEIGHTS {
        for requests in REQUESTS {
            let mut cells = Vec::new();
            for (_, rate) in CANDIDATES {
                let (mut caught, mut passed) = (0, 0);
                for run in 0..RUNS {
                    let mut traffic = traffic::Traffic::seeded(u64::from(run));
                    match traffic::stage(&mut traffic, rate, STABLE_RATE, stable_share, requests)? {
                        JudgementKind::Fail => caught += 1,
                        JudgementKind::Pass => passed += 1,
                        JudgementKind::Undecided => {}
                    }
                }
                let shares = [caught, RUNS - caught - passed, passed]
                    .map(|count| format!("{:.1}", f64::from(count) * 100.0 / f64::from(RUNS)));
                cells.push(format!("{} %", shares.join(" / ")));
            }
            println!("| {weight} % | {requests} | {} |", cells.join(" | "));
        }
    }
    Ok(())
}
