//! Asks every target and gives one verdict.
//!
//! Healthy means that every target met every expectation. A target that refuses the connection,
//! ends it early or does not answer in time is *unhealthy*: it was asked. *Errored* is only what
//! could not be asked: a refused effect, an address that is none.

use crate::config::Config;
use crate::expectation::{milliseconds, quoted, unmet};
use crate::spec::Spec;
use crate::target::Target;
use crate::whom::targets;
use agente_plugin_sdk::health::Outcome;
use agente_plugin_sdk::http::{HttpError, Request, Response, over};
use agente_plugin_sdk::{Code, Failure, Host, Subject, Verdict};
use std::time::{Duration, Instant};

/// How much of a body is read.
pub const MAX_BODY_BYTES: usize = 256 * 1024;

/// How much of the operation's time is kept back, so that a verdict leaves before the host's own
/// limit.
const KEPT_BACK: Duration = Duration::from_millis(50);

/// A time limit that the host kept may end this much before ours: it counts whole milliseconds.
const ROUNDING: Duration = Duration::from_millis(2);

/// What came of asking one target.
enum Asked {
    /// It answered; what it falls short of.
    Answered { latency: Duration, status: u16, unmet: Vec<String> },
    /// It was asked and gave no complete answer.
    Silent(String),
    /// It could not be asked.
    Unaskable(String),
}

/// Asks once, within the time that the host leaves.
pub fn check<H: Host>(
    host: &H,
    config: &Config,
    subject: &Subject,
    spec: &Spec,
) -> Result<Verdict, Failure> {
    check_within(host, config, subject, spec, host.context().remaining.saturating_sub(KEPT_BACK))
}

/// Asks once, within a limit that all targets share.
pub fn check_within<H: Host>(
    host: &H,
    config: &Config,
    subject: &Subject,
    spec: &Spec,
    total: Duration,
) -> Result<Verdict, Failure> {
    let started = Instant::now();
    if let Some(header) = &spec.release_header
        && subject.release == 0
    {
        return Ok(Verdict::new(
            Outcome::Errored,
            format!(
                "`release_header` expects a release number in `{header}`, but this check is not \
                about a release"
            ),
        ));
    }
    let targets = match targets(spec, subject) {
        Ok(targets) => targets,
        Err(message) => return Ok(Verdict::new(Outcome::Errored, message)),
    };
    if spec.host.is_some() && !config.secrets.is_empty() {
        return Ok(Verdict::new(
            Outcome::Errored,
            "a check with `host` uses a plain connection, on which headers can't carry secrets; \
            remove `host`",
        ));
    }
    let headers = config.headers(host)?;
    let mut asked = Vec::new();
    for (index, target) in targets.iter().enumerate() {
        let left = total.saturating_sub(started.elapsed());
        let share = left / u32::try_from(targets.len() - index).unwrap_or(u32::MAX);
        let outcome = ask(host, target, spec, subject.release, &headers, share);
        asked.push((target, outcome));
    }
    Ok(verdict(spec, &asked))
}

/// Asks one target within a limit.
fn ask<H: Host>(
    host: &H,
    target: &Target,
    spec: &Spec,
    release: u64,
    headers: &[(String, String)],
    limit: Duration,
) -> Asked {
    if limit.is_zero() {
        return Asked::Unaskable(
            "no time was left for the request; give the check a longer `timeout`".to_owned(),
        );
    }
    let request = Request {
        method: spec.method.as_str().to_owned(),
        scheme: target.scheme.as_str().to_owned(),
        authority: target.authority.clone(),
        path: target.path.clone(),
        headers: headers.to_vec(),
        body: Vec::new(),
        connect_timeout: limit,
        total_timeout: limit,
        max_body_bytes: MAX_BODY_BYTES,
    };
    let answer = match &spec.host {
        Some(name) => ask_as(host, target, name, request),
        None => host.http(&request),
    };
    match answer {
        Ok(answer) => Asked::Answered {
            latency: answer.elapsed,
            status: answer.status,
            unmet: unmet(spec, release, &answer),
        },
        Err(error @ (HttpError::BadUrl { .. } | HttpError::Denied { .. })) => {
            Asked::Unaskable(error.to_string())
        }
        Err(HttpError::Timeout { phase, limit, .. }) => Asked::Silent(format!(
            "it did not {phase} within {}, the time left for this check",
            milliseconds(limit)
        )),
        Err(HttpError::Connect { detail, .. }) => {
            Asked::Silent(format!("no connection: {}", plain(&detail)))
        }
        Err(HttpError::Ended { detail, .. }) => Asked::Silent(format!(
            "it closed the connection before the answer was complete: {}",
            plain(&detail)
        )),
        Err(HttpError::Protocol { detail, .. }) => {
            Asked::Silent(format!("its answer is not HTTP: {}", plain(&detail)))
        }
    }
}

/// Asks a backend with a `Host` header of its own, which `wasi:http` does not let a guest set: over
/// a plain connection.
fn ask_as<H: Host>(
    host: &H,
    target: &Target,
    name: &str,
    request: Request,
) -> Result<Response, HttpError> {
    let started = Instant::now();
    let authority = target.authority.clone();
    let (address, port) = target.host_and_port();
    let limit = request.total_timeout;
    let mut stream = host.connect(address, port, limit).map_err(|failure| match failure.code {
        Code::Denied => {
            HttpError::Denied { authority: authority.clone(), detail: with_hint(&failure) }
        }
        Code::InvalidConfig => {
            HttpError::BadUrl { url: authority.clone(), detail: failure.message }
        }
        _ if started.elapsed() + ROUNDING >= limit => HttpError::Timeout {
            authority: authority.clone(),
            phase: "accept a connection".to_owned(),
            limit,
        },
        _ => HttpError::Connect { authority: authority.clone(), detail: failure.message },
    })?;
    let named = Request {
        authority: name.to_owned(),
        total_timeout: limit.saturating_sub(started.elapsed()),
        ..request
    };
    let mut answer = over(&mut stream, &named)?;
    answer.elapsed = started.elapsed();
    Ok(answer)
}

fn with_hint(failure: &Failure) -> String {
    match &failure.hint {
        Some(hint) => format!("{} ({hint})", failure.message),
        None => failure.message.clone(),
    }
}

/// A message of ours that may quote a foreign text.
fn plain(detail: &str) -> String {
    quoted(detail).trim_matches('`').to_owned()
}

/// One verdict of everything that was asked. What is proven bad outweighs what could not be asked.
fn verdict(spec: &Spec, asked: &[(&Target, Asked)]) -> Verdict {
    let mut failing = Vec::new();
    let mut not_asked = Vec::new();
    let mut slowest = None;
    let mut statuses = Vec::new();
    for (target, asked) in asked {
        match asked {
            Asked::Answered { latency, status, unmet } => {
                slowest = slowest.max(Some(*latency));
                statuses.push(*status);
                if !unmet.is_empty() {
                    failing.push(format!("{}: {}", target.label, unmet.join("; ")));
                }
            }
            Asked::Silent(message) => failing.push(format!("{}: {message}", target.label)),
            Asked::Unaskable(message) => not_asked.push(format!("{}: {message}", target.label)),
        }
    }
    let request = |path: &str| format!("{} {path}", spec.method.as_str());
    let (outcome, reason) = if failing.is_empty() && not_asked.is_empty() {
        (Outcome::Healthy, healthy_reason(spec, asked, &statuses, slowest))
    } else {
        let outcome = if failing.is_empty() { Outcome::Errored } else { Outcome::Unhealthy };
        let path = asked.first().map_or("/", |(target, _)| target.path.as_str());
        let all: Vec<String> = failing.into_iter().chain(not_asked).collect();
        (outcome, format!("`{}` · {}", request(path), all.join(" · ")))
    };
    let mut verdict = Verdict::new(outcome, reason).label("asked", asked.len().to_string());
    if let Some(slowest) = slowest {
        verdict = verdict
            .value(slowest.as_secs_f64() * 1000.0)
            .label("unit", "ms")
            .label("latency-ms", slowest.as_millis().to_string());
    }
    if let Some(limit) = spec.max_latency {
        verdict = verdict.label("limit", limit.as_millis().to_string());
    }
    verdict
}

fn healthy_reason(
    spec: &Spec,
    asked: &[(&Target, Asked)],
    statuses: &[u16],
    slowest: Option<Duration>,
) -> String {
    let limit = spec
        .max_latency
        .map(|limit| format!(" (limit {})", milliseconds(limit)))
        .unwrap_or_default();
    let time = milliseconds(slowest.unwrap_or_default());
    let path = asked.first().map_or("/", |(target, _)| target.path.as_str());
    let mut distinct = statuses.to_vec();
    distinct.sort_unstable();
    distinct.dedup();
    let status = distinct.iter().map(u16::to_string).collect::<Vec<_>>().join(" and ");
    match asked {
        [(target, _)] => format!(
            "{} answered `{} {path}` with {status} in {time}{limit}",
            target.label,
            spec.method.as_str()
        ),
        _ => format!(
            "all {} backends answered `{} {path}` with {status}, the slowest in {time}{limit}",
            asked.len(),
            spec.method.as_str()
        ),
    }
}
