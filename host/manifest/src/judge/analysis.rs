//! `[analysis]`: what is measured of the new release while it has requests.

use super::checks::is_check_name;
use super::measure::{self, Asking};
use super::plugins::{Plugins, named};
use super::{CheckPlaces, Judge};
use crate::mistake::Complaint;
use crate::raw::{RawAnalysis, RawAnalysisCheck, RawMeasure, RawOnOutage};
use crate::spelling::{listed, nearest};
use crate::tree::{KeyPath, Node, Value};
use crate::written::toml_literal;
use agente_engine::names::PluginName;
use agente_engine::policy::{AnalysisCheck, AnalysisPolicy, CheckOf, CheckPolicy, Limits};
use agente_units::{Share, Span};
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::time::Duration;

/// How long one query may take unless the manifest says otherwise: sources of numbers answer in
/// well below a second, or are overloaded.
const QUERY_TIMEOUT: Duration = Duration::from_secs(5);

/// How many unhealthy looks a number of now may have unless the manifest says otherwise. Errors and
/// latency have weighed their evidence themselves.
const UNHEALTHY_VALUES: u32 = 2;

/// How many looks in a row may fail to be read unless the manifest says otherwise: one restart of
/// the source.
const ERRORED: u32 = 2;

/// The shipped plugins that give no numbers.
const WITHOUT_NUMBERS: [&str; 2] = ["http-health", "tcp-health"];

/// What the table is judged beside.
pub(super) struct Beside<'a> {
    pub(super) switcher: Option<&'a PluginName>,
    pub(super) checks: &'a [CheckPolicy],
    pub(super) places: &'a CheckPlaces,
    pub(super) bake: Duration,
    /// Whether candidate and stable share the requests for a while.
    pub(super) shared: bool,
    /// For how long at least they can be watched then.
    pub(super) watched: Option<Duration>,
}

/// Judges the table; none where a mistake was reported.
pub(super) fn judge(
    judge: &mut Judge<'_, '_>,
    plugins: &mut Plugins,
    raw: RawAnalysis,
    beside: &Beside<'_>,
) -> Option<AnalysisPolicy> {
    let at = KeyPath::of("analysis");
    rhythm(judge, &at, &raw, beside);
    let false_alarm = error_rate(judge, &at.key("false_alarm"), raw.false_alarm.ratio());
    let missed = error_rate(judge, &at.key("missed"), raw.missed.ratio());
    let fallback = fallback(judge, &at, &raw, beside);
    let at_checks = at.key("checks");
    if raw.checks.is_empty() && !judge.is_taken_out(&at_checks) {
        let fix = "add `[[analysis.checks]]` with `name`, `measure` and its queries, or remove \
                   `[analysis]`";
        judge.object(
            &at,
            Complaint::new("`[analysis]` measures nothing: it has no `[[analysis.checks]]`", fix),
        );
    }
    let mut names = BTreeMap::new();
    let mut checks = Vec::new();
    for (index, check) in raw.checks.into_iter().enumerate() {
        checks.extend(declared(
            judge,
            plugins,
            &at_checks.index(index),
            &check,
            beside,
            &mut names,
        ));
    }
    Some(AnalysisPolicy {
        interval: raw.interval.duration(),
        initial_delay: raw.initial_delay.duration(),
        false_alarm: false_alarm?,
        missed: missed?,
        extend: raw.extend.duration(),
        on_undecided: raw.on_undecided.into(),
        on_outage: raw.on_outage.into(),
        fallback: fallback?,
        lookback: raw.lookback.duration(),
        checks,
    })
}

/// Judges when is looked, and whether there is a time at which anything could be seen.
fn rhythm(judge: &mut Judge<'_, '_>, at: &KeyPath, raw: &RawAnalysis, beside: &Beside<'_>) {
    judge.longer_than_nothing(
        &at.key("interval"),
        raw.interval.duration(),
        "use a duration such as `interval = \"5s\"`",
    );
    judge.longer_than_nothing(
        &at.key("lookback"),
        raw.lookback.duration(),
        "use a duration such as `lookback = \"5m\"`",
    );
    if !beside.shared && beside.bake.is_zero() && !judge.is_taken_out(&KeyPath::of("strategy.kind"))
    {
        let complaint = Complaint::new(
            "nothing would ever be measured: `blue-green` has no stages, and `strategy.bake` is \
            `0s`",
            "write `kind = \"canary\"` in `[strategy]`, or a bake such as `bake = \"5m\"`",
        );
        judge.object(at, complaint);
    }
    // The initial delay is part of what is watched.
    let room = beside.watched.map(|watched| watched.saturating_sub(raw.initial_delay.duration()));
    if let Some(room) = room.filter(|room| raw.interval.duration() > *room && !room.is_zero()) {
        let (interval, room) = (raw.interval, Span::from(room));
        let message = format!(
            "with looks {interval} apart there is only one in the shortest stage, which lasts \
            {room} including extensions"
        );
        judge.object(
            &at.key("interval"),
            Complaint::new(
                message,
                format!("write `interval = \"{room}\"` or less, or a longer `analysis.extend`"),
            ),
        );
    }
}

/// Judges how often a test may be wrong.
fn error_rate(judge: &mut Judge<'_, '_>, at: &KeyPath, share: f64) -> Option<f64> {
    if share > 0.0 && share < 0.5 {
        return Some(share);
    }
    let why = if share > 0.0 {
        "a test that is wrong that often is meaningless"
    } else {
        "no finite test is never wrong"
    };
    judge.object(
        at,
        Complaint::new(
            format!("`{at}` can't be `{}`: {why}", Share::from_ratio(share)),
            "write more than `0%` and less than `50%`, such as `1%`",
        ),
    );
    None
}

/// Judges what decides while the source of the numbers is away.
fn fallback(
    judge: &mut Judge<'_, '_>,
    at: &KeyPath,
    raw: &RawAnalysis,
    beside: &Beside<'_>,
) -> Option<Vec<String>> {
    let at_names = at.key("fallback");
    if judge.is_taken_out(&at_names) || judge.is_taken_out(&at.key("on_outage")) {
        return None;
    }
    let chosen = match raw.on_outage {
        RawOnOutage::Hold => "hold",
        RawOnOutage::Fallback => "fallback",
        RawOnOutage::GoOn => "go-on",
    };
    judge.belong(at, "RawAnalysis", chosen);
    // A check can stand in where it asks the new release and its answer counts.
    let fit = |check: &&CheckPolicy| check.of != CheckOf::Dependency && !check.report_only;
    let fitting: Vec<&str> =
        beside.checks.iter().filter(fit).map(|check| check.name.as_str()).collect();
    let fix_with = |meant: Option<&str>| match (meant, fitting.is_empty()) {
        (Some(meant), _) => format!("write `{meant}`"),
        (None, false) => format!("name some of {}", listed(fitting.iter().copied())),
        (None, true) => "add a check of `backends` to `[[checks]]` or an endpoint to `[health]`, \
                         and name it"
            .to_owned(),
    };
    let Some(names) = &raw.fallback else {
        if raw.on_outage != RawOnOutage::Fallback {
            return Some(Vec::new());
        }
        let fix = match fitting.first() {
            Some(first) => format!("add `fallback = {}`", toml_literal(&Json::from(vec![*first]))),
            None => fix_with(None),
        };
        judge.object(
            &at.key("on_outage"),
            Complaint::new(
                "`on_outage = \"fallback\"` needs `fallback`: the checks that decide in the \
                meantime",
                fix,
            ),
        );
        return None;
    };
    let mut sound = true;
    for (index, name) in names.iter().enumerate() {
        let complaint = match beside.checks.iter().find(|check| check.name == *name) {
            _ if names.iter().take(index).any(|earlier| earlier == name) => {
                Complaint::new(format!("`{name}` is given twice"), "remove one of the two")
            }
            None if has_mistakes(judge, beside, name) => continue,
            None => Complaint::new(
                format!("there is no check `{name}`"),
                fix_with(nearest(name, fitting.iter().copied())),
            ),
            Some(check) if check.of == CheckOf::Dependency => Complaint::new(
                format!(
                    "the check `{name}` is of a dependency, which says nothing about the new \
                    release"
                ),
                fix_with(None),
            ),
            Some(check) if check.report_only => Complaint::new(
                format!("the check `{name}` is report-only, so it can't decide"),
                format!("remove its `report_only`, or {}", fix_with(None)),
            ),
            Some(_) => continue,
        };
        judge.object(&at_names.index(index), complaint);
        sound = false;
    }
    sound.then(|| names.clone())
}

/// Whether a check of this name, which is not among the good ones, may be written nevertheless:
/// what is wrong with it has been reported.
fn has_mistakes(judge: &Judge<'_, '_>, beside: &Beside<'_>, name: &str) -> bool {
    let items = |path: &str| match judge.document.at(&KeyPath::of(path)).map(|node| &node.value) {
        Some(Value::List(elements)) => elements.as_slice(),
        _ => &[],
    };
    let is_named = |check: &Node| {
        check.table().and_then(|entries| entries.get("name")).and_then(Node::text) == Some(name)
    };
    let of_health =
        beside.places.values().filter(|place| place.to_string().starts_with("health.")).count();
    let gone = judge.is_taken_out(&KeyPath::of("checks"))
        || judge.is_taken_out(&KeyPath::of("health"))
        || judge.is_taken_out(&KeyPath::of("health.endpoints"));
    gone || items("checks").iter().any(is_named)
        || (name.starts_with("health-") && items("health.endpoints").len() > of_health)
}

/// Judges one measure.
fn declared(
    judge: &mut Judge<'_, '_>,
    plugins: &mut Plugins,
    at: &KeyPath,
    raw: &RawAnalysisCheck,
    beside: &Beside<'_>,
    names: &mut BTreeMap<String, KeyPath>,
) -> Option<AnalysisCheck> {
    let name = raw.name.clone().and_then(|name| unique(judge, at, name, beside, names));
    let plugin = plugin(judge, plugins, at, raw.plugin.clone(), beside);
    let timeout = raw.timeout.map_or(QUERY_TIMEOUT, agente_units::Span::duration);
    judge.longer_than_nothing(
        &at.key("timeout"),
        timeout,
        "use a duration such as `timeout = \"5s\"`",
    );
    if raw.required && raw.report_only {
        let complaint = Complaint::new(
            "a report-only measure can't be required",
            "remove `required`, or `report_only`",
        );
        judge.object_to_name(&at.key("required"), complaint);
    }
    let limits = Limits {
        unhealthy: raw.unhealthy_limit.unwrap_or(if raw.measure == Some(RawMeasure::Value) {
            UNHEALTHY_VALUES
        } else {
            0
        }),
        errored: raw.errored_limit.unwrap_or(ERRORED),
        no_data: raw.no_data_limit,
        inconclusive: raw.inconclusive_limit,
    };
    let asking = Asking { plugin, timeout, at };
    let measure = raw.measure.and_then(|measure| measure::judge(judge, &asking, measure, raw));
    Some(AnalysisCheck {
        name: name?,
        measure: measure?,
        limits,
        consecutive_success: raw.consecutive_success,
        report_only: raw.report_only,
        required: raw.required,
    })
}

/// Judges a name among those of all checks.
fn unique(
    judge: &mut Judge<'_, '_>,
    at: &KeyPath,
    name: String,
    beside: &Beside<'_>,
    names: &mut BTreeMap<String, KeyPath>,
) -> Option<String> {
    let at_name = at.key("name");
    judge.accept(&at_name, is_check_name(&name))?;
    if let Some(first) = names.get(&name).or_else(|| beside.places.get(&name)) {
        let message = format!(
            "the check name `{name}` is given twice; the first is in line {}",
            judge.line_of(first)
        );
        judge.object(&at_name, Complaint::new(message, "rename one of the two, or remove it"));
        return None;
    }
    names.insert(name.clone(), at_name);
    Some(name)
}

/// The plugin that is asked: the one that is named, or the only one that can be meant.
fn plugin(
    judge: &mut Judge<'_, '_>,
    plugins: &mut Plugins,
    at: &KeyPath,
    written: Option<String>,
    beside: &Beside<'_>,
) -> Option<PluginName> {
    let at_plugin = at.key("plugin");
    if let Some(written) = written {
        return named(judge, plugins, &at_plugin, written);
    }
    let may_give = |name: &&PluginName| {
        Some(*name) != beside.switcher && !WITHOUT_NUMBERS.contains(&name.as_str())
    };
    let able: Vec<PluginName> = plugins
        .iter()
        .filter(|(_, section)| section.declared)
        .map(|(name, _)| name)
        .filter(may_give)
        .cloned()
        .collect();
    if let [only] = able.as_slice() {
        return Some(only.clone());
    }
    // Who switches was wrong, or a table of a plugin: what is left says nothing.
    if judge.is_taken_out(&at_plugin)
        || judge.is_taken_out(&KeyPath::of("plugins"))
        || beside.switcher.is_none()
    {
        return None;
    }
    let (message, fix) = if able.is_empty() {
        (
            format!(
                "`{at_plugin}` is missing, and the manifest declares no plugin that provides \
                metrics"
            ),
            "add `plugin = \"prometheus-health\"` and `[plugins.prometheus-health]` with its \
             `config`"
                .to_owned(),
        )
    } else {
        let able = listed(able.iter().map(PluginName::as_str));
        (
            format!("`{at_plugin}` is missing, and several plugins are possible: {able}"),
            format!("set `plugin` to one of {able}"),
        )
    };
    judge.object(at, Complaint::new(message, fix));
    None
}
