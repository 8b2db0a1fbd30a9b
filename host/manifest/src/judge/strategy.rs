//! `[strategy]` and `[timeouts]`: how requests move, and how long anything may take.

use super::{Judge, probe};
use crate::problem::Complaint;
use crate::raw::{RawOverride, RawOverrideBy, RawStrategy, RawStrategyKind, RawTimeouts};
use crate::tree::KeyPath;
use agente_engine::policy::{DrainPolicy, KeepPrevious, OnDrainTimeout, Strategy, Timeouts};
use agente_engine::route::{Override, Slot};
use agente_engine::weight::Weight;
use std::time::Duration;

/// What `[strategy]` says.
pub(super) struct JudgedStrategy {
    pub(super) kind: Strategy,
    pub(super) bake: Duration,
    pub(super) keep_previous: KeepPrevious,
    pub(super) drain: DrainPolicy,
    pub(super) overrides: Vec<Override>,
}

/// Judges the table.
pub(super) fn judge(judge: &mut Judge<'_, '_>, raw: RawStrategy) -> JudgedStrategy {
    let at = KeyPath::of("strategy");
    let kind = match raw.kind {
        RawStrategyKind::BlueGreen => Strategy::BlueGreen,
    };
    weights(judge, &at.key("weights"), &raw.weights);
    let drain = DrainPolicy { timeout: raw.drain.timeout.0, on_timeout: raw.drain.on_timeout.into(), accept_weak_evidence: raw.drain.accept_weak_evidence };
    if drain.timeout.is_zero() && drain.on_timeout == OnDrainTimeout::Keep {
        let complaint = Complaint::new(
            "with a drain of `0s` and `on_timeout = \"keep\"` no old side would ever be retired",
            "write a time such as `timeout = \"30s\"`, or `on_timeout = \"cut\"`",
        );
        judge.object(&at.key("drain").key("timeout"), complaint);
    }
    let overrides = overrides(judge, &at.key("override"), raw.overrides);
    JudgedStrategy { kind, bake: raw.bake.0, keep_previous: raw.keep_previous.0, drain, overrides }
}

/// Judges the shares, one after the other.
fn weights(judge: &mut Judge<'_, '_>, at: &KeyPath, weights: &[f64]) {
    let mut sound = true;
    for (index, &percent) in weights.iter().enumerate() {
        let judged = Weight::from_percent(percent);
        let judged = judged.map_err(|error| Complaint::new(error.to_string(), "write a share from 0 to 100 with at most two decimals"));
        sound &= judge.accept(&at.index(index), judged).is_some();
    }
    if sound && weights != [100.0] {
        let complaint = Complaint::new("`blue-green` is one shift of all requests, so its only weight is 100", "write `weights = [100]`, or leave it out");
        judge.object(at, complaint);
    }
}

fn overrides(judge: &mut Judge<'_, '_>, at: &KeyPath, raw: Vec<RawOverride>) -> Vec<Override> {
    let mut overrides: Vec<Override> = Vec::new();
    for (index, rule) in raw.into_iter().enumerate() {
        let at = at.index(index);
        let what = match rule.by {
            RawOverrideBy::Header => "header",
            RawOverrideBy::Cookie => "cookie",
        };
        let name = rule.name.and_then(|name| judge.accept(&at.key("name"), probe::token(what, &name)).map(|()| name));
        let value = rule.value.and_then(|value| judge.accept(&at.key("value"), override_value(what, &value)).map(|()| value));
        let (Some(name), Some(value)) = (name, value) else { continue };
        let same = |other: &Override| other.by == rule.by.into() && other.name.eq_ignore_ascii_case(&name) && other.value == value;
        if overrides.iter().any(same) {
            judge.object(
                &at.key("value"),
                Complaint::new(format!("the override by the {what} `{name}` with `{value}` is given twice"), "remove one of the two"),
            );
            continue;
        }
        // Which slot the candidate gets, the planner knows.
        overrides.push(Override { slot: Slot::Blue, by: rule.by.into(), name, value });
    }
    overrides
}

fn override_value(what: &str, value: &str) -> Result<(), Complaint> {
    let wrong =
        |why: &str| Err(Complaint::new(format!("`{}` can't be the value of a {what}: {why}", value.escape_debug()), "write a word such as `candidate`"));
    if value.is_empty() {
        return wrong("it is empty");
    }
    if !value.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()) || value.trim() != value {
        return wrong("it must be plain ASCII without spaces around it");
    }
    if what == "cookie" && value.contains([' ', ';', ',', '"', '\\']) {
        return wrong("a cookie holds no space, `;`, `,`, `\"` or `\\`");
    }
    Ok(())
}

/// Judges the limits in time.
pub(super) fn timeouts(judge: &mut Judge<'_, '_>, raw: &RawTimeouts) -> Timeouts {
    let at = KeyPath::of("timeouts");
    let all = [
        ("preflight", raw.preflight.0),
        ("launch", raw.launch.0),
        ("healthy", raw.healthy.0),
        ("shift", raw.shift.0),
        ("validate", raw.validate.0),
        ("undo", raw.undo.0),
    ];
    for (key, duration) in all {
        judge.longer_than_nothing(&at.key(key), duration, &format!("write a time such as `{key} = \"30s\"`, or leave it out"));
    }
    Timeouts {
        preflight: raw.preflight.0,
        launch: raw.launch.0,
        healthy: raw.healthy.0,
        shift: raw.shift.0,
        validate: raw.validate.0,
        undo: raw.undo.0,
        decide: Duration::from_secs(86_400),
    }
}
