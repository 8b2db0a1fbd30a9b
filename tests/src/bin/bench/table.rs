//! The table of what was measured, in Markdown.

use std::fmt::Write as _;
use std::io::Write as _;
use std::time::Duration;

/// What was measured, in the order in which it is printed.
#[derive(Default)]
pub(crate) struct Table {
    rows: Vec<Row>,
}

struct Row {
    what: String,
    measured: String,
    aim: String,
    detail: String,
}

/// An upper limit that we aim at.
#[derive(Clone, Copy)]
pub(crate) enum Aim {
    /// None was set.
    None,
    /// In time.
    Within(Duration),
}

impl Table {
    /// Adds the median of some times.
    pub(crate) fn times(&mut self, what: &str, mut times: Vec<Duration>, aim: Aim) {
        times.sort();
        let runs = times.len();
        let at = |share: usize| {
            times.get((runs * share / 100).min(runs.saturating_sub(1))).copied().unwrap_or_default()
        };
        let median = at(50);
        let (aim, missed) = match aim {
            Aim::None => (String::new(), false),
            Aim::Within(limit) => (format!("≤ {}", short(limit)), median > limit),
        };
        self.row(
            what,
            &show(median),
            mark(aim, missed),
            &format!("{runs} runs, {} to {}", show(at(0)), show(at(90))),
        );
    }

    /// Adds a size.
    pub(crate) fn size(&mut self, what: &str, bytes: u64, limit_mebibytes: u64, detail: &str) {
        let aim = mark(format!("≤ {limit_mebibytes} MiB"), bytes > limit_mebibytes << 20);
        self.row(what, &mebibytes(bytes), aim, detail);
    }

    /// Adds something else.
    pub(crate) fn row(&mut self, what: &str, measured: &str, aim: String, detail: &str) {
        self.rows.push(Row {
            what: what.to_owned(),
            measured: measured.to_owned(),
            aim,
            detail: detail.to_owned(),
        });
    }

    /// Prints everything.
    pub(crate) fn print(&self) {
        let mut text = String::from("| What | Median | Aim | Detail |\n|---|---|---|---|\n");
        for Row { what, measured, aim, detail } in &self.rows {
            let _ = writeln!(text, "| {what} | {measured} | {aim} | {detail} |");
        }
        // A closed standard output is nobody to tell.
        let _ = std::io::stdout().lock().write_all(text.as_bytes());
    }
}

fn mark(aim: String, missed: bool) -> String {
    if missed { format!("{aim}, missed") } else { aim }
}

/// The median of some times.
pub(crate) fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

/// A size for people.
pub(crate) fn mebibytes(bytes: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "a size for people")]
    let mebibytes = bytes as f64 / f64::from(1 << 20);
    format!("{mebibytes:.1} MiB")
}

/// A time with three digits that mean something.
pub(crate) fn show(time: Duration) -> String {
    let micros = time.as_secs_f64() * 1e6;
    match micros {
        ..10.0 => format!("{micros:.2} µs"),
        ..1_000.0 => format!("{micros:.0} µs"),
        ..100_000.0 => format!("{:.2} ms", micros / 1e3),
        ..1_000_000.0 => format!("{:.0} ms", micros / 1e3),
        _ => format!("{:.2} s", micros / 1e6),
    }
}

fn short(limit: Duration) -> String {
    if limit < Duration::from_millis(1) {
        format!("{} µs", limit.as_micros())
    } else if limit < Duration::from_secs(1) {
        format!("{} ms", limit.as_millis())
    } else {
        format!("{} s", limit.as_secs())
    }
}
