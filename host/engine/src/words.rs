//! Durations, counts and states for people.

use crate::policy::CheckPolicy;
use crate::ports::BackendState;
use crate::route::{Backend, Routes};
use crate::tally::Tally;
use crate::verdict::VerdictKind;
use std::time::Duration;

pub use agente_units::for_people as span;

/// How long something still takes, in steps so coarse that who watches is told again only when that
/// says something new.
pub(crate) fn coarse(left: Duration) -> String {
    let up_to = |unit: u64| {
        left.as_secs().saturating_add(u64::from(left.subsec_nanos() > 0)).div_ceil(unit).max(1)
    };
    match left.as_secs() {
        0..120 => format!("{} s", up_to(10) * 10),
        120..7200 => format!("{} min", up_to(60)),
        _ => format!("{} h", up_to(3600)),
    }
}

/// A latency.
pub(crate) fn micros(micros: u64) -> String {
    match micros {
        0..1000 => format!("{micros} µs"),
        _ => format!("{}.{} ms", micros / 1000, micros % 1000 / 100),
    }
}

/// `1 backend`, `2 backends`.
pub(crate) fn count(many: usize, noun: &str) -> String {
    format!("{many} {noun}{}", if many == 1 { "" } else { "s" })
}

/// The addresses of backends.
pub(crate) fn addresses(backends: &[Backend]) -> String {
    backends.iter().map(|backend| backend.address.as_str()).collect::<Vec<_>>().join(", ")
}

/// `blue 90 %, green 10 %`.
pub(crate) fn weights(routes: &Routes) -> String {
    let weights = routes.routes.iter().map(|route| format!("{} {}", route.slot, route.weight));
    weights.collect::<Vec<_>>().join(", ")
}

/// A backend's state.
pub(crate) fn describe(state: &BackendState) -> String {
    match state {
        BackendState::Absent => "not there".to_owned(),
        BackendState::Starting { detail, restarts: 0 } => format!("not running yet: {detail}"),
        BackendState::Starting { detail, restarts } => {
            format!("not running yet after {}: {detail}", times_restarted(*restarts))
        }
        BackendState::Running { restarts: 0, .. } => "running".to_owned(),
        BackendState::Running { restarts, .. } => {
            format!("running after {}", times_restarted(*restarts))
        }
        BackendState::Ended { detail } => format!("ended: {detail}"),
    }
}

/// `1 restart`, `2 restarts`.
fn times_restarted(restarts: u32) -> String {
    count(usize::try_from(restarts).unwrap_or(usize::MAX), "restart")
}

/// What is waited for of a check.
pub(crate) fn waits(check: &CheckPolicy, tally: &Tally) -> String {
    match &tally.last {
        None => format!("check `{}` has not run yet", check.name),
        Some(last) if last.kind == VerdictKind::Healthy => {
            format!(
                "check `{}`: {} of {} consecutive passes",
                check.name, tally.healthy_in_row, check.healthy_after
            )
        }
        Some(last) => format!("check `{}` is {}: {}", check.name, last.kind, last.reason),
    }
}

/// What a wait for several checks is told to wait for: what is not healthy; where all are, how far
/// they are.
pub(crate) fn unhappy_first(open: Vec<String>, checks: &[(CheckPolicy, Tally)]) -> Vec<String> {
    let unhappy: Vec<String> = checks
        .iter()
        .filter(|(check, tally)| !check.report_only && !tally.is_healthy())
        .map(|(check, tally)| waits(check, tally))
        .collect();
    let least = checks
        .iter()
        .filter(|(check, _)| !check.report_only)
        .map(|(check, tally)| (tally.healthy_in_row, check.healthy_after))
        .min()
        .unwrap_or_default();
    match (unhappy.is_empty(), open.len()) {
        (true, 0) => open,
        (true, _) => vec![format!("{} of {} consecutive passes", least.0, least.1)],
        (false, _) => unhappy,
    }
}

/// How a check ended.
pub(crate) fn summary(check: &CheckPolicy, tally: &Tally) -> String {
    let last = tally
        .last
        .as_ref()
        .map(|last| format!("{}: {}", last.kind, last.reason))
        .unwrap_or_default();
    let report_only = if check.report_only { " (report only)" } else { "" };
    format!("check `{}`{report_only} {last}", check.name)
}
