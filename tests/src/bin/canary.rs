//! `canary`: candidates in stages under load, and what became of them, as Markdown tables. The
//! library `agente_tests::canary` does the work.

use agente_tests::canary::{Aborted, Candidate, Caught, Climbed, Moment, abort_at, catch, climb};
use agente_tests::own_folder;
use clap::{Parser, ValueEnum};
use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

/// The intervals of looks whose time to restore is measured, the last being the default.
const INTERVALS: [&str; 4] = ["500ms", "1s", "2s", "5s"];

/// How soon a candidate that fails every second request is to be gone, at 50 requests a second.
const AIM: Duration = Duration::from_secs(10);

/// How soon an abort is to be done, beside the target's own part.
const ABORT_AIM: Duration = Duration::from_secs(2);

/// Deploys good and bad candidates in stages under load, judged by a real Prometheus, and prints
/// what was caught and how soon.
///
/// Exit code 0 when all went as it should, 1 otherwise.
#[derive(Parser)]
#[command(name = "canary", after_help = "Example:\n  canary --part bad --part aborts")]
struct Options {
    /// What to do; all without it.
    #[arg(long, value_enum)]
    part: Vec<Part>,
    /// How often Prometheus scrapes, in seconds.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=60))]
    scrape: u64,
    /// How often the time to restore is measured for each interval.
    #[arg(long, default_value_t = 5)]
    runs: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// A good candidate, its shares and its users.
    Climb,
    /// Every bad candidate.
    Bad,
    /// How soon one that fails half of its requests is gone, again and again.
    Soon,
    /// Aborts in every step.
    Aborts,
}

fn main() -> ExitCode {
    let options = Options::parse();
    if let Err(error) = own_folder::take("canary") {
        say(&error);
        return ExitCode::from(2);
    }
    let wanted = |part| options.part.is_empty() || options.part.contains(&part);
    let mut good = true;
    if wanted(Part::Climb) {
        good &= climbs(options.scrape);
    }
    if wanted(Part::Bad) {
        good &= bad(options.scrape);
    }
    if wanted(Part::Soon) {
        good &= soon(options.scrape, options.runs);
    }
    if wanted(Part::Aborts) {
        good &= aborts();
    }
    ExitCode::from(u8::from(!good))
}

/// Works in a thread of its own: a scene that fails ends there, and cleans up after itself.
fn apart<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    std::thread::spawn(work).join().ok()
}

fn climbs(scrape: u64) -> bool {
    say("\n| Weight | In force for | Users | Got the candidate | Measured | By chance, 99.9 % \
         |\n|---|---|---|---|---|---|");
    let Some(Climbed { shares, took, requests, bad, regulars, moved_back }) =
        apart(move || climb(scrape))
    else {
        say("| did not get to its end | | | | | |");
        return false;
    };
    let mut within = true;
    for share in &shares {
        let measured = f64::from(share.candidate) / f64::from(share.users.max(1)) * 100.0;
        within &= share.interval.contains(&share.candidate);
        let (least, most) = (share.interval.start(), share.interval.end());
        say(&format!(
            "| {} % | {} | {} | {} | {measured:.1} % | {least} to {most} |",
            share.weight,
            seconds(share.took),
            share.users,
            share.candidate
        ));
    }
    say(&format!(
        "\n{} from typing `deploy` to its end; {requests} requests, {bad} of them lost; of \
         {regulars} users who came again and again {} were sent back to the old release",
        seconds(took),
        moved_back.len()
    ));
    within && bad == 0 && moved_back.is_empty()
}

fn bad(scrape: u64) -> bool {
    say("\n| Candidate | Requests/s | `detect` | Taken back by | At | Decided after | Weight 0 \
         verified after | Bad requests | Of requests meanwhile \
         |\n|---|---|---|---|---|---|---|---|---|");
    let mut good = true;
    for candidate in Candidate::BAD {
        let Some(caught) = apart(move || catch(&candidate, scrape)) else {
            say(&format!(
                "| {} | {} | {} | was not taken back as it should be | | | | | |",
                candidate.name, candidate.rate, candidate.detect
            ));
            good = false;
            continue;
        };
        let Caught { cause, weight, decided, bad, meanwhile, .. } = &caught;
        say(&format!(
            "| {} | {} | {} | {} | {weight} % | {} | {} | {bad} | {meanwhile} |",
            candidate.name,
            candidate.rate,
            candidate.detect,
            cause.replace('|', "\\|"),
            seconds(*decided),
            seconds(caught.took())
        ));
    }
    good
}

fn soon(scrape: u64, runs: usize) -> bool {
    say("\n| `interval` | Decided after | Weight 0 verified after | Detection to restored | Bad \
         requests |\n|---|---|---|---|---|");
    let mut good = true;
    for interval in INTERVALS {
        let candidate = Candidate { interval, ..Candidate::FAILS_HALF_SLOWLY };
        let caught: Vec<Caught> =
            (0..runs).filter_map(|_| apart(move || catch(&candidate, scrape))).collect();
        good &= caught.len() == runs;
        let each = |of: fn(&Caught) -> Duration| {
            caught.iter().map(|caught| seconds(of(caught))).collect::<Vec<_>>().join(", ")
        };
        let bad: Vec<String> = caught.iter().map(|caught| caught.bad.to_string()).collect();
        say(&format!(
            "| {interval} | {} | {} | {} | {} |",
            each(|caught| caught.decided),
            each(Caught::took),
            each(|caught| caught.restored),
            bad.join(", ")
        ));
        if interval == "1s" {
            good &= caught.iter().all(|caught| caught.took() <= AIM);
        }
    }
    good
}

fn aborts() -> bool {
    say("\n| Abort during | Weight 0 verified after | Of it the target | The candidate's last \
         request sent after |\n|---|---|---|---|");
    let Some((aborted, records)) = apart(|| abort_at(&Moment::ALL)) else {
        say("| did not get to its end | | | |");
        return false;
    };
    let lost = records.iter().filter(|record| record.is_bad()).count();
    for Aborted { moment, verified, reload, last_sent } in &aborted {
        let verified = verified.map_or_else(|| "it had none".to_owned(), milliseconds);
        say(&format!(
            "| {} | {verified} | {} | {} |",
            moment.name,
            milliseconds(*reload),
            milliseconds(*last_sent)
        ));
    }
    let worst = aborted.iter().filter_map(|aborted| aborted.verified).max().unwrap_or_default();
    say(&format!(
        "\nthe worst took {}; {} requests, {lost} of them lost",
        milliseconds(worst),
        records.len()
    ));
    lost == 0 && aborted.iter().all(|aborted| aborted.beyond_reload() <= ABORT_AIM)
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

fn milliseconds(duration: Duration) -> String {
    format!("{} ms", duration.as_millis())
}

/// A closed standard output is nobody to tell.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}
