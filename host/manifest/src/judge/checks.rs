//! `[[checks]]` and `[health]`: questions about health, each with a name of its own.

use super::plugins::{Plugins, named};
use super::{Judge, endpoints, probe};
use crate::mistake::Complaint;
use crate::raw::{RawCheck, RawEndpoint, RawEndpointTable, RawHealth, RawLimits, RawMoment, RawOf};
use crate::tree::KeyPath;
use agente_engine::names::PluginName;
use agente_engine::policy::{CheckMoment, CheckOf, CheckPolicy, Limits, Timeouts};
use agente_units::Span;
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::time::Duration;

/// Where each check's `spec` stands in the manifest, by the check's name.
pub(crate) type CheckPlaces = BTreeMap<String, KeyPath>;

/// The plugin that asks the endpoints of `[health]`.
const ENDPOINT_PLUGIN: &str = "http-health";

/// One question takes at least this unless the manifest says otherwise: a shorter one fails on a
/// busy machine.
const SHORTEST_DEFAULT_TIMEOUT: Duration = Duration::from_secs(1);

/// What the limits of checks are compared with.
pub(super) struct Around {
    pub(super) timeouts: Timeouts,
    pub(super) bake: Duration,
    /// Whether there is a `[probe]`, and so a public URL.
    pub(super) probed: bool,
    /// Whether candidate and stable share the requests for a while.
    pub(super) shared: bool,
    /// For how long at least they can be watched then; none where they never share the requests,
    /// or no stage is known.
    pub(super) watched: Option<Duration>,
}

/// Judges both tables.
pub(super) fn judge(
    judge: &mut Judge<'_, '_>,
    plugins: &mut Plugins,
    raw: Vec<RawCheck>,
    health: Option<RawHealth>,
    around: &Around,
) -> (Vec<CheckPolicy>, CheckPlaces) {
    let mut seen = Seen::default();
    for (index, check) in raw.into_iter().enumerate() {
        let at = KeyPath::of("checks").index(index);
        let judged = declared(judge, plugins, &at, check, around);
        if let Some(policy) = judged {
            seen.add(judge, &at, &at.key("name"), at.key("spec"), policy);
        }
    }
    if let Some(health) = health {
        health_checks(judge, plugins, health, around, &mut seen);
    }
    (seen.checks, seen.places)
}

/// The checks so far.
#[derive(Default)]
struct Seen {
    checks: Vec<CheckPolicy>,
    places: CheckPlaces,
}

impl Seen {
    /// Adds a check, unless its name or its question is there already.
    fn add(
        &mut self,
        judge: &mut Judge<'_, '_>,
        at: &KeyPath,
        name: &KeyPath,
        spec: KeyPath,
        policy: CheckPolicy,
    ) {
        if let Some(first) = self.places.get(&policy.name) {
            let message = format!(
                "the check name `{}` is given twice; the first is in line {}",
                policy.name,
                judge.line_of(first)
            );
            judge.object(name, Complaint::new(message, "rename one of the two, or remove it"));
            return;
        }
        if let Some(first) = self.checks.iter().find(|other| same_question(other, &policy)) {
            let asked = match policy.spec.get("address").and_then(Json::as_str) {
                Some(address) => format!("the address `{address}` is given twice"),
                None => "the same check is given twice".to_owned(),
            };
            let complaint = Complaint::new(
                format!("{asked}: check `{}` asks the same at the same moment", first.name),
                "remove one of the two, or make them differ",
            );
            let address = spec.key("address");
            let place = if judge.is_written(&address) { &address } else { at };
            judge.object(place, complaint);
            return;
        }
        self.places.insert(policy.name.clone(), spec);
        self.checks.push(policy);
    }
}

fn same_question(one: &CheckPolicy, other: &CheckPolicy) -> bool {
    one.plugin == other.plugin
        && one.of == other.of
        && one.spec == other.spec
        && one.when.iter().any(|moment| other.when.contains(moment))
}

fn declared(
    judge: &mut Judge<'_, '_>,
    plugins: &mut Plugins,
    at: &KeyPath,
    raw: RawCheck,
    around: &Around,
) -> Option<CheckPolicy> {
    let name = raw
        .name
        .and_then(|name| judge.accept(&at.key("name"), is_check_name(&name)).map(|()| name));
    let plugin = raw.plugin.and_then(|plugin| named(judge, plugins, &at.key("plugin"), plugin));
    let when = raw.when.unwrap_or_else(|| match raw.of {
        RawOf::Backends => {
            vec![RawMoment::Ready, RawMoment::Analysis, RawMoment::Validate, RawMoment::Bake]
        }
        RawOf::Public => vec![RawMoment::Validate, RawMoment::Bake],
        RawOf::Dependency => vec![RawMoment::Preflight],
    });
    moments(judge, at, raw.of, &when, around);
    let timeout = limits(judge, at, &raw.limits);
    in_time(judge, at, &raw.limits, &when, around);
    Some(policy(
        name?,
        plugin?,
        when,
        raw.of.into(),
        Json::Object(raw.spec),
        &raw.limits,
        timeout,
        raw.report_only,
    ))
}

#[expect(
    clippy::too_many_arguments,
    reason = "one for each part of a check, used in two places below one another"
)]
fn policy(
    name: String,
    plugin: PluginName,
    when: Vec<RawMoment>,
    of: CheckOf,
    spec: Json,
    limits: &RawLimits,
    timeout: Duration,
    report_only: bool,
) -> CheckPolicy {
    CheckPolicy {
        name,
        plugin,
        when: when.into_iter().map(CheckMoment::from).collect(),
        of,
        spec,
        interval: limits.interval.duration(),
        timeout,
        healthy_after: limits.healthy_after,
        limits: Limits {
            unhealthy: limits.unhealthy_limit,
            errored: limits.errored_limit,
            no_data: Some(limits.no_data_limit),
            inconclusive: Some(limits.inconclusive_limit),
        },
        report_only,
    }
}

pub(super) fn is_check_name(name: &str) -> Result<(), Complaint> {
    let good = name.len() <= 63
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    if good {
        return Ok(());
    }
    let message = format!(
        "the check name `{name}` must start with a lower-case letter and contain only lower-case \
        letters, digits and `-`, at most 63"
    );
    Err(Complaint::new(message, "rename it, for instance to `redis`"))
}

/// Judges whether the moments go with each other and with whom the check asks.
fn moments(
    judge: &mut Judge<'_, '_>,
    at: &KeyPath,
    of: RawOf,
    when: &[RawMoment],
    around: &Around,
) {
    let at_when = at.key("when");
    if let Some(twice) = when
        .iter()
        .enumerate()
        .find(|(index, moment)| when.iter().take(*index).any(|earlier| earlier == *moment))
    {
        judge.object(
            &at_when.index(twice.0),
            Complaint::new("this moment is given twice", "remove one of the two"),
        );
    }
    if of == RawOf::Public {
        if when.contains(&RawMoment::Ready) {
            let complaint = Complaint::new(
                "a check of the public side can't run at `ready`: the new release takes no \
                requests yet",
                "run it at `validate` and `bake`",
            );
            judge.object(&at_when, complaint);
        }
        if !around.probed {
            let complaint = Complaint::new(
                "a check of the public side needs the service's URL, and there is no `[probe]`",
                "add `[probe]` with `url`, or check `backends`",
            );
            judge.object(&at.key("of"), complaint);
        }
    }
    if of == RawOf::Dependency && when.contains(&RawMoment::Analysis) {
        let complaint = Complaint::new(
            "a check of a dependency can't run at `analysis`: its answer says nothing about the \
            new release",
            "run it at `preflight`, or check `backends` or `public`",
        );
        judge.object(&at_when, complaint);
    }
    if when == [RawMoment::Analysis]
        && !around.shared
        && !judge.is_taken_out(&KeyPath::of("strategy.kind"))
    {
        let complaint = Complaint::new(
            "the check runs only at `analysis`, but with `blue-green` the two releases never \
            share traffic",
            "run it at `validate` too, or set `kind = \"canary\"` in `[strategy]`",
        );
        judge.object(&at_when, complaint);
    }
    if when == [RawMoment::Bake] && around.bake.is_zero() {
        let complaint = Complaint::new(
            "the check runs only during the bake, but `strategy.bake` is `0s`",
            "run it at `validate` too, or set a bake such as `bake = \"30s\"`",
        );
        judge.object(&at_when, complaint);
    }
}

/// Judges rhythm and timeout, and tells the timeout.
fn limits(judge: &mut Judge<'_, '_>, at: &KeyPath, raw: &RawLimits) -> Duration {
    let interval = raw.interval.duration();
    judge.longer_than_nothing(
        &at.key("interval"),
        interval,
        "use a duration such as `interval = \"1s\"`",
    );
    let Some(timeout) = raw.timeout.map(agente_units::Span::duration) else {
        return interval.max(SHORTEST_DEFAULT_TIMEOUT);
    };
    judge.longer_than_nothing(
        &at.key("timeout"),
        timeout,
        "use a duration such as `timeout = \"1s\"`",
    );
    if timeout > interval && !interval.is_zero() {
        let (long, short) = (Span::from(timeout), Span::from(interval));
        let message = format!(
            "the timeout of {long} is longer than the interval of {short}: the next check would \
            be due before the last one ends"
        );
        judge.object(
            &at.key("timeout"),
            Complaint::new(
                message,
                format!(
                    "write `interval = \"{long}\"` or more, or `timeout = \"{short}\"` or less"
                ),
            ),
        );
    }
    timeout
}

/// Judges whether enough answers fit into the time that the step has.
fn in_time(
    judge: &mut Judge<'_, '_>,
    at: &KeyPath,
    raw: &RawLimits,
    when: &[RawMoment],
    around: &Around,
) {
    let needed = raw.interval.duration().saturating_mul(raw.healthy_after.saturating_sub(1));
    let steps = [
        (RawMoment::Ready, "healthy", around.timeouts.healthy),
        (RawMoment::Validate, "validate", around.timeouts.validate),
    ];
    let short = steps
        .into_iter()
        .find(|(moment, _, limit)| when.contains(moment) && needed >= *limit && !limit.is_zero());
    if let Some((_, step, limit)) = short {
        let (needed, limit, interval) = (Span::from(needed), Span::from(limit), raw.interval);
        let message = format!(
            "{} consecutive passes {interval} apart take {needed}, but `timeouts.{step}` is \
            {limit}",
            raw.healthy_after
        );
        let at = [at.key("healthy_after"), at.key("interval")]
            .into_iter()
            .find(|key| judge.is_written(key))
            .unwrap_or_else(|| KeyPath::of("timeouts").key(step));
        judge.object(
            &at,
            Complaint::new(
                message,
                format!("shorten `interval`, require fewer passes, or raise `timeouts.{step}`"),
            ),
        );
        return;
    }
    let stage = around.watched.filter(|watched| {
        when.contains(&RawMoment::Analysis) && needed >= *watched && !needed.is_zero()
    });
    if let Some(stage) = stage {
        let (needed, stage, interval) = (Span::from(needed), Span::from(stage), raw.interval);
        let message = format!(
            "{} consecutive passes {interval} apart take {needed}, but the strategy's shortest \
            stage lasts {stage}",
            raw.healthy_after
        );
        let own = [at.key("healthy_after"), at.key("interval")]
            .into_iter()
            .find(|key| judge.is_written(key));
        let at = own.unwrap_or_else(|| KeyPath::of("strategy.pause"));
        judge.object(
            &at,
            Complaint::new(
                message,
                "shorten `interval`, require fewer passes, or raise `strategy.pause`",
            ),
        );
    }
}

/// Makes a check of every endpoint.
fn health_checks(
    judge: &mut Judge<'_, '_>,
    plugins: &mut Plugins,
    raw: RawHealth,
    around: &Around,
    seen: &mut Seen,
) {
    let health = KeyPath::of("health");
    let when = vec![RawMoment::Ready, RawMoment::Analysis, RawMoment::Validate, RawMoment::Bake];
    let timeout = limits(judge, &health, &raw.limits);
    in_time(judge, &health, &raw.limits, &when, around);
    let Some(plugin) = named(judge, plugins, &health, ENDPOINT_PLUGIN.to_owned()) else { return };
    for (index, endpoint) in raw.endpoints.unwrap_or_default().into_iter().enumerate() {
        let at = health.key("endpoints").index(index);
        let (place, table) = match endpoint {
            RawEndpoint::Path(path) => {
                (at.clone(), RawEndpointTable { path: Some(path), ..RawEndpointTable::default() })
            }
            RawEndpoint::Table(table) => (at.key("path"), table),
        };
        let Some(path) = table.path.clone() else { continue };
        let sound = judge.accept(&place, probe::url_path(&path)).is_some();
        let Some(spec) = endpoints::spec(judge, &at, table).filter(|_| sound) else { continue };
        let name = endpoints::name(&path, |name| seen.places.contains_key(name));
        let policy = policy(
            name,
            plugin.clone(),
            when.clone(),
            CheckOf::Backends,
            spec,
            &raw.limits,
            timeout,
            false,
        );
        seen.add(judge, &at, &place, at.clone(), policy);
    }
}
