//! Connects to every address, sends, reads, and gives one verdict.
//!
//! Healthy means that every address took the connection and answered as expected. One that refuses,
//! ends early or stays silent is *unhealthy*: it was asked. *Errored* is only what could not be
//! asked: a refused effect, an address that is none.

use crate::spec::{Expect, Match, Spec, host_and_port};
use agente_plugin_sdk::health::Outcome;
use agente_plugin_sdk::host::Stream;
use agente_plugin_sdk::{Code, Failure, Host, Subject, Verdict, label};
use std::time::{Duration, Instant};

/// How much of an answer is looked at.
pub const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// How much of an answer is quoted in a reason.
const QUOTED_BYTES: usize = 80;

/// How much of the operation's time is kept back, so that a verdict leaves before the host's own
/// limit.
const KEPT_BACK: Duration = Duration::from_millis(50);

/// A time limit that the host kept may end this much before ours: it counts whole milliseconds.
const ROUNDING: Duration = Duration::from_millis(2);

/// What came of asking one address.
enum Asked {
    /// As expected.
    Good { took: Duration, seen: Vec<u8> },
    /// It was asked and is not as expected.
    Bad(String),
    /// It could not be asked.
    Unaskable(String),
}

/// Asks once, within the time that the host leaves.
pub fn check<H: Host>(host: &H, subject: &Subject, spec: &Spec) -> Verdict {
    check_within(host, subject, spec, host.context().remaining.saturating_sub(KEPT_BACK))
}

/// Asks once, within a limit that all addresses share.
pub fn check_within<H: Host>(host: &H, subject: &Subject, spec: &Spec, total: Duration) -> Verdict {
    let started = Instant::now();
    let addresses: Vec<(String, &str)> = match &spec.address {
        Some(address) => vec![(format!("`{address}`"), address.as_str())],
        None => subject
            .backends
            .iter()
            .map(|backend| {
                (format!("`{}` ({})", backend.id, backend.address), backend.address.as_str())
            })
            .collect(),
    };
    if addresses.is_empty() {
        return Verdict::new(
            Outcome::Errored,
            "there is nothing to check: no backend, and no `address` in the check's table",
        );
    }
    let mut asked = Vec::new();
    for (index, (name, address)) in addresses.iter().enumerate() {
        let left = total.saturating_sub(started.elapsed());
        let share = left / u32::try_from(addresses.len() - index).unwrap_or(u32::MAX);
        asked.push((name.as_str(), ask(host, address, spec, spec.timeout.min(share))));
    }
    verdict(spec, &asked)
}

/// Asks one address within a limit.
fn ask<H: Host>(host: &H, address: &str, spec: &Spec, limit: Duration) -> Asked {
    if limit.is_zero() {
        return Asked::Unaskable(
            "no time was left for the request; give the check a longer `timeout`".to_owned(),
        );
    }
    let Some((name, port)) = host_and_port(address) else {
        return Asked::Unaskable("its address is not `host:port`".to_owned());
    };
    let started = Instant::now();
    let mut stream = match host.connect(name, port, limit) {
        Ok(stream) => stream,
        Err(failure) => {
            return not_connected(&failure, started.elapsed() + ROUNDING >= limit, limit);
        }
    };
    if !spec.send.is_empty()
        && let Err(failure) = stream.write(&spec.send, left(started, limit))
    {
        return broken(&failure, "it did not accept what was sent", started, limit);
    }
    match &spec.expect {
        Some(expect) => read(&mut stream, expect, started, limit),
        None => Asked::Good { took: started.elapsed(), seen: Vec::new() },
    }
}

/// Reads until the answer is decided.
fn read<S: Stream>(stream: &mut S, expect: &Expect, started: Instant, limit: Duration) -> Asked {
    let mut seen = Vec::new();
    loop {
        match expect.judge(&seen) {
            Match::Yes => return Asked::Good { took: started.elapsed(), seen },
            Match::No => {
                return Asked::Bad(format!(
                    "it answered {}, expected {}",
                    quoted(&seen),
                    expect.describe()
                ));
            }
            Match::Open if seen.len() >= MAX_ANSWER_BYTES => {
                return Asked::Bad(format!(
                    "its first {} bytes do not match: expected {}; they start with {}",
                    seen.len(),
                    expect.describe(),
                    quoted(&seen)
                ));
            }
            Match::Open => {}
        }
        let left = left(started, limit);
        if left.is_zero() {
            return late(expect, &seen, limit);
        }
        match stream.read(4096, left) {
            Ok(bytes) if bytes.is_empty() => {
                return Asked::Bad(format!(
                    "it closed the connection after {}, expected {}",
                    came(&seen),
                    expect.describe()
                ));
            }
            Ok(bytes) => seen.extend_from_slice(&bytes),
            Err(failure) if timed_out(&failure) || started.elapsed() + ROUNDING >= limit => {
                return late(expect, &seen, limit);
            }
            Err(failure) => {
                return broken(
                    &failure,
                    &format!("the connection broke after {}", came(&seen)),
                    started,
                    limit,
                );
            }
        }
    }
}

fn left(started: Instant, limit: Duration) -> Duration {
    limit.saturating_sub(started.elapsed())
}

fn late(expect: &Expect, seen: &[u8], limit: Duration) -> Asked {
    Asked::Bad(format!(
        "{} within {}, expected {}",
        came(seen),
        milliseconds(limit),
        expect.describe()
    ))
}

fn timed_out(failure: &Failure) -> bool {
    label(&failure.labels, "reason") == Some("timeout")
}

fn could_not_ask(failure: &Failure) -> bool {
    matches!(failure.code, Code::Denied | Code::InvalidConfig | Code::Unsupported)
}

fn not_connected(failure: &Failure, late: bool, limit: Duration) -> Asked {
    if could_not_ask(failure) {
        return Asked::Unaskable(with_hint(failure));
    }
    if late || timed_out(failure) {
        return Asked::Bad(format!("it accepted no connection within {}", milliseconds(limit)));
    }
    Asked::Bad(failure.message.clone())
}

fn broken(failure: &Failure, what: &str, started: Instant, limit: Duration) -> Asked {
    if could_not_ask(failure) {
        return Asked::Unaskable(with_hint(failure));
    }
    if timed_out(failure) || started.elapsed() + ROUNDING >= limit {
        return Asked::Bad(format!("{what} within {}", milliseconds(limit)));
    }
    Asked::Bad(format!("{what}: {}", failure.message))
}

fn with_hint(failure: &Failure) -> String {
    match &failure.hint {
        Some(hint) => format!("{} ({hint})", failure.message),
        None => failure.message.clone(),
    }
}

/// How much came, in words.
fn came(seen: &[u8]) -> String {
    if seen.is_empty() {
        "no byte arrived".to_owned()
    } else {
        format!("{} bytes arrived, {}", seen.len(), quoted(seen))
    }
}

/// Bytes of a peer in backticks: cut, and without anything that a terminal would obey.
fn quoted(seen: &[u8]) -> String {
    let cut = seen.get(..QUOTED_BYTES).unwrap_or(seen);
    let more = if seen.len() > cut.len() { "…" } else { "" };
    format!("`{}{more}`", cut.escape_ascii())
}

fn milliseconds(duration: Duration) -> String {
    format!("{} ms", duration.as_millis())
}

/// One verdict of everything that was asked. What is proven bad outweighs what could not be asked.
fn verdict(spec: &Spec, asked: &[(&str, Asked)]) -> Verdict {
    let mut failing = Vec::new();
    let mut not_asked = Vec::new();
    let mut good = Vec::new();
    let mut slowest = None;
    for (name, asked) in asked {
        match asked {
            Asked::Good { took, seen } => {
                slowest = slowest.max(Some(*took));
                let answered = if spec.expect.is_some() {
                    format!("answered {}", quoted(seen))
                } else {
                    "takes connections".to_owned()
                };
                good.push(format!("{name} {answered} in {}", milliseconds(*took)));
            }
            Asked::Bad(message) => failing.push(format!("{name}: {message}")),
            Asked::Unaskable(message) => not_asked.push(format!("{name}: {message}")),
        }
    }
    let mut verdict = if !failing.is_empty() {
        Verdict::new(
            Outcome::Unhealthy,
            failing.into_iter().chain(not_asked).collect::<Vec<_>>().join(" · "),
        )
    } else if !not_asked.is_empty() {
        Verdict::new(Outcome::Errored, not_asked.join(" · "))
    } else {
        Verdict::new(Outcome::Healthy, good.join(" · "))
    };
    verdict = verdict.label("asked", asked.len().to_string());
    if let Some(slowest) = slowest {
        verdict = verdict
            .value(slowest.as_secs_f64() * 1000.0)
            .label("unit", "ms")
            .label("latency-ms", slowest.as_millis().to_string());
    }
    verdict
}
