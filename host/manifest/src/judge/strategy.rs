//! `[strategy]` and `[timeouts]`: how requests move, and how long anything may take.

use super::{Judge, probe};
use crate::mistake::Complaint;
use crate::raw::{
    RawOverride, RawOverrideBy, RawSplitBy, RawStage, RawStrategy, RawStrategyKind, RawTimeouts,
};
use crate::tree::KeyPath;
use agente_engine::policy::{
    DrainPolicy, KeepPrevious, OnDrainTimeout, OnOpen, Stage, Strategy, Timeouts,
};
use agente_engine::route::{Override, Slot};
use agente_engine::weight::Weight;
use std::time::Duration;

/// The shares of a canary that says nothing else: enough to see a bad release at a tenth of its
/// harm, and few enough to be done in minutes.
const USUAL_WEIGHTS: [f64; 4] = [10.0, 25.0, 50.0, 100.0];

/// How long a canary is watched at each share unless the manifest says otherwise: some scrapes of
/// the usual 5 to 15 seconds.
const CANARY_PAUSE: Duration = Duration::from_secs(30);

/// How long a batch is watched unless the manifest says otherwise.
const ROLLING_PAUSE: Duration = Duration::from_secs(10);

/// What `[strategy]` says.
pub(super) struct JudgedStrategy {
    pub(super) kind: Strategy,
    pub(super) on_open: OnOpen,
    pub(super) bake: Duration,
    pub(super) keep_previous: KeepPrevious,
    pub(super) drain: DrainPolicy,
    pub(super) overrides: Vec<Override>,
    /// The shortest time for which candidate and stable are watched beside one another; none where
    /// they never share the requests, or it was reported.
    pub(super) shortest_pause: Option<Duration>,
}

/// Judges the table; `extended` is for how long an `[analysis]` may watch beyond a pause.
pub(super) fn judge(
    judge: &mut Judge<'_, '_>,
    raw: RawStrategy,
    extended: Duration,
) -> JudgedStrategy {
    let at = KeyPath::of("strategy");
    let kind = kind(judge, &at, &raw);
    let shortest_pause = shortest_pause(judge, &at, &kind, extended);
    let drain = DrainPolicy {
        timeout: raw.drain.timeout.duration(),
        on_timeout: raw.drain.on_timeout.into(),
        accept_weak_evidence: raw.drain.accept_weak_evidence,
    };
    if drain.timeout.is_zero() && drain.on_timeout == OnDrainTimeout::Keep {
        let complaint = Complaint::new(
            "with a drain of `0s` and `on_timeout = \"keep\"` the old side would never be retired",
            "use a duration such as `timeout = \"30s\"`, or `on_timeout = \"cut\"`",
        );
        judge.object(&at.key("drain").key("timeout"), complaint);
    }
    let overrides = overrides(judge, &at.key("override"), raw.overrides);
    JudgedStrategy {
        kind,
        on_open: raw.on_open.into(),
        bake: raw.bake.duration(),
        keep_previous: raw.keep_previous.0,
        drain,
        overrides,
        shortest_pause,
    }
}

/// Judges how requests move.
fn kind(judge: &mut Judge<'_, '_>, at: &KeyPath, raw: &RawStrategy) -> Strategy {
    let at_weights = at.key("weights");
    let weights: Option<Vec<Option<Weight>>> = raw.weights.as_ref().map(|weights| {
        weights
            .iter()
            .enumerate()
            .map(|(index, &percent)| share(judge, &at_weights.index(index), percent))
            .collect()
    });
    // Of which kind it was meant to be is unknown then.
    if judge.is_taken_out(&at.key("kind")) {
        return Strategy::BlueGreen;
    }
    match raw.kind {
        RawStrategyKind::BlueGreen => {
            judge.belong(at, "RawStrategy", "blue-green");
            if weights
                .is_some_and(|weights| !weights.contains(&None) && weights != [Some(Weight::FULL)])
            {
                let complaint = Complaint::new(
                    "`blue-green` is one shift of all requests, so its only weight is 100",
                    "set `kind = \"canary\"` to shift in several steps, or omit `weights`",
                );
                judge.object(&at_weights, complaint);
            }
            Strategy::BlueGreen
        }
        RawStrategyKind::Canary => {
            judge.belong(at, "RawStrategy", "canary");
            let pause = raw.pause.map_or(CANARY_PAUSE, agente_units::Span::duration);
            let stages = match (&raw.stages, weights) {
                (Some(stages), _) => declared_stages(judge, &at.key("stages"), stages, pause),
                (None, Some(weights)) => {
                    let stages = weights.into_iter().enumerate().filter_map(|(index, weight)| {
                        Some((
                            at_weights.index(index),
                            Stage { weight: weight?, pause, wait: false },
                        ))
                    });
                    stages.collect()
                }
                (None, None) => {
                    let usual = USUAL_WEIGHTS
                        .into_iter()
                        .filter_map(|percent| Weight::from_percent(percent).ok());
                    usual
                        .map(|weight| (at_weights.clone(), Stage { weight, pause, wait: false }))
                        .collect()
                }
            };
            let full_alone =
                matches!(stages.as_slice(), [(_, only)] if only.weight == Weight::FULL);
            growing(judge, &stages);
            let stages: Vec<Stage> = stages
                .into_iter()
                .map(|(_, stage)| stage)
                .filter(|stage| stage.weight != Weight::FULL)
                .collect();
            let list = if raw.stages.is_some() { at.key("stages") } else { at_weights };
            if stages.is_empty() && full_alone {
                let complaint = Complaint::new(
                    "a canary needs a weight below 100 % at which it is watched",
                    "set for example `weights = [10, 50, 100]`, or `kind = \"blue-green\"`",
                );
                judge.object(&list, complaint);
            }
            Strategy::Canary { stages, by: raw.by.unwrap_or(RawSplitBy::Weight).into() }
        }
        RawStrategyKind::Rolling => {
            judge.belong(at, "RawStrategy", "rolling");
            let (max_surge, max_unavailable) =
                (raw.max_surge.unwrap_or(1), raw.max_unavailable.unwrap_or(0));
            if max_surge == 0 && max_unavailable == 0 {
                let complaint = Complaint::new(
                    "with `max_surge` and `max_unavailable` both 0, no backend could ever be \
                    replaced",
                    "write `max_surge = 1`, or `max_unavailable = 1`",
                );
                judge.object(&at.key("max_surge"), complaint);
            }
            Strategy::Rolling {
                max_surge,
                max_unavailable,
                pause: raw.pause.map_or(ROLLING_PAUSE, agente_units::Span::duration),
            }
        }
    }
}

/// Judges one share.
fn share(judge: &mut Judge<'_, '_>, at: &KeyPath, percent: f64) -> Option<Weight> {
    let judged = Weight::from_percent(percent).map_err(|error| error.to_string());
    let judged = judged.and_then(|weight| {
        if weight.is_zero() {
            Err("a weight of 0 % sends the new release no requests".to_owned())
        } else {
            Ok(weight)
        }
    });
    judge.accept(
        at,
        judged.map_err(|message| {
            Complaint::new(message, "write a weight from 0.01 to 100 with at most two decimals")
        }),
    )
}

/// Stages and where each was written.
type Placed = Vec<(KeyPath, Stage)>;

fn declared_stages(
    judge: &mut Judge<'_, '_>,
    at: &KeyPath,
    raw: &[RawStage],
    usual: Duration,
) -> Placed {
    let mut stages = Vec::new();
    for (index, stage) in raw.iter().enumerate() {
        let at = at.index(index);
        let Some(weight) =
            stage.weight.and_then(|percent| share(judge, &at.key("weight"), percent))
        else {
            continue;
        };
        if let Some(key) = ["pause", "wait"]
            .into_iter()
            .find(|key| weight == Weight::FULL && judge.is_written(&at.key(key)))
        {
            let complaint = Complaint::new(
                format!(
                    "`{key}` has no effect at 100 %: the release is then validated and promoted"
                ),
                "set it on the stage before, or watch longer with `strategy.bake`",
            );
            judge.object_to_name(&at.key(key), complaint);
        }
        stages.push((
            at.key("weight"),
            Stage {
                weight,
                pause: stage.pause.map_or(usual, agente_units::Span::duration),
                wait: stage.wait,
            },
        ));
    }
    stages
}

/// Reports the first share that is not greater than the one before.
fn growing(judge: &mut Judge<'_, '_>, stages: &Placed) {
    let next = stages.iter().skip(1);
    let Some(((_, before), (at, stage))) =
        stages.iter().zip(next).find(|((_, before), (_, stage))| stage.weight <= before.weight)
    else {
        return;
    };
    let (small, great) = (percent(stage.weight), percent(before.weight));
    judge.object(
        at,
        Complaint::new(
            format!(
                "the weight {small} comes after {great}: each must be greater than the one before"
            ),
            "list each weight once, in increasing order",
        ),
    );
}

/// Finds the shortest pause, and reports one in which nothing would be seen.
fn shortest_pause(
    judge: &mut Judge<'_, '_>,
    at: &KeyPath,
    kind: &Strategy,
    extended: Duration,
) -> Option<Duration> {
    let (shortest, blind) = match kind {
        Strategy::BlueGreen => return None,
        Strategy::Canary { stages, .. } => {
            let blind = stages.iter().position(|stage| stage.pause.is_zero() && !stage.wait);
            let shortest = stages.iter().map(|stage| stage.pause).min()?;
            (
                shortest,
                blind.and_then(|index| {
                    Some((
                        index,
                        format!(
                            "nothing would be watched at {}",
                            percent(stages.get(index)?.weight)
                        ),
                    ))
                }),
            )
        }
        Strategy::Rolling { pause, .. } => {
            (*pause, pause.is_zero().then(|| (0, "no batch would be watched".to_owned())))
        }
    };
    let Some((index, blind)) = blind.filter(|_| extended.is_zero()) else { return Some(shortest) };
    let places = [at.key("stages").index(index).key("pause"), at.key("pause")];
    let place = places.iter().find(|place| judge.is_written(place)).unwrap_or(at);
    let complaint = Complaint::new(
        format!("with a pause of `0s`, {blind}"),
        "use a duration such as `pause = \"30s\"`, or add `[analysis]`, which takes the time that \
         it needs",
    );
    judge.object(place, complaint);
    None
}

fn percent(weight: Weight) -> String {
    let percent = format!("{:.2}", f64::from(weight.basis_points()) / 100.0);
    format!("{} %", percent.trim_end_matches('0').trim_end_matches('.'))
}

fn overrides(judge: &mut Judge<'_, '_>, at: &KeyPath, raw: Vec<RawOverride>) -> Vec<Override> {
    let mut overrides: Vec<Override> = Vec::new();
    for (index, rule) in raw.into_iter().enumerate() {
        let at = at.index(index);
        let what = match rule.by {
            RawOverrideBy::Header => "header",
            RawOverrideBy::Cookie => "cookie",
        };
        let name = rule.name.and_then(|name| {
            judge.accept(&at.key("name"), probe::token(what, &name)).map(|()| name)
        });
        let value = rule.value.and_then(|value| {
            judge.accept(&at.key("value"), override_value(what, &value)).map(|()| value)
        });
        let (Some(name), Some(value)) = (name, value) else { continue };
        let same = |other: &Override| {
            other.by == rule.by.into()
                && other.name.eq_ignore_ascii_case(&name)
                && other.value == value
        };
        if overrides.iter().any(same) {
            judge.object(
                &at.key("value"),
                Complaint::new(
                    format!("the override by the {what} `{name}` with `{value}` is given twice"),
                    "remove one of the two",
                ),
            );
            continue;
        }
        // Which slot the candidate gets, the planner knows.
        overrides.push(Override { slot: Slot::Blue, by: rule.by.into(), name, value });
    }
    overrides
}

fn override_value(what: &str, value: &str) -> Result<(), Complaint> {
    let wrong = |why: &str| {
        Err(Complaint::new(
            format!("`{}` can't be the value of a {what}: {why}", value.escape_debug()),
            "write a word such as `candidate`",
        ))
    };
    if value.is_empty() {
        return wrong("it is empty");
    }
    if !value.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()) || value.trim() != value {
        return wrong("it must be ASCII without leading or trailing spaces");
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
        ("preflight", raw.preflight.duration()),
        ("launch", raw.launch.duration()),
        ("healthy", raw.healthy.duration()),
        ("shift", raw.shift.duration()),
        ("validate", raw.validate.duration()),
        ("undo", raw.undo.duration()),
        ("decide", raw.decide.duration()),
    ];
    for (key, duration) in all {
        judge.longer_than_nothing(
            &at.key(key),
            duration,
            &format!("use a duration such as `{key} = \"30s\"`, or leave it out"),
        );
    }
    Timeouts {
        preflight: raw.preflight.duration(),
        launch: raw.launch.duration(),
        healthy: raw.healthy.duration(),
        shift: raw.shift.duration(),
        validate: raw.validate.duration(),
        undo: raw.undo.duration(),
        decide: raw.decide.duration(),
    }
}
