//! What a manifest means that moves requests step by step and measures meanwhile.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that can't go on has failed")]

use agente_engine::policy::{
    AnalysisPolicy, CheckMoment, Limits, Measure, OnOpen, OnOutage, OnUndecided, SplitBy, Stage,
    Strategy,
};
use agente_engine::ports::Wanted;
use agente_engine::weight::Weight;
use agente_manifest::{Manifest, ManifestError, Overrides};
use serde_json::json;
use std::path::Path;
use std::time::Duration;

const SHORT: &str = r#"service = "shop"
[runtime.docker]
image = "shop:2"
container_port = 80
network = "shop-net"
[switch]
plugin = "nginx-switch"
[plugins.nginx-switch]
"#;

const NUMBERS: &str = "[plugins.numbers]\nconfig = { url = \"http://127.0.0.1:9090\" }\n";

const ERRORS: &str = "[[analysis.checks]]\nname = \"errors\"\nmeasure = \"errors\"\nerrors = \
                      \"failed\"\ntotal = \"all\"\n";

fn load_in(text: &str, environment: Option<&str>) -> Result<Manifest, ManifestError> {
    let overrides =
        Overrides { environment: environment.map(str::to_owned), ..Overrides::default() };
    Manifest::from_bytes(Path::new("agente.toml"), text.as_bytes().to_vec(), &overrides)
}

fn load(more: &str) -> Manifest {
    let text = format!("{SHORT}{more}");
    load_in(&text, None).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn stage(percent: f64, pause: u64, wait: bool) -> Stage {
    Stage { weight: Weight::from_percent(percent).unwrap(), pause: seconds(pause), wait }
}

fn stages(more: &str) -> Vec<Stage> {
    match load(&format!("[strategy]\nkind = \"canary\"\n{more}")).policy.strategy {
        Strategy::Canary { stages, .. } => stages,
        other => panic!("{other:?}"),
    }
}

fn analysis(more: &str) -> AnalysisPolicy {
    load(&format!("{NUMBERS}[strategy]\nkind = \"canary\"\n{more}")).policy.analysis.unwrap()
}

#[test]
fn a_canary_grows_in_three_watched_stages_unless_it_says_otherwise() {
    let usual = [stage(10.0, 30, false), stage(25.0, 30, false), stage(50.0, 30, false)];
    assert_eq!(stages(""), usual);
    assert_eq!(stages("weights = [10, 25, 50, 100]\n"), usual);
    assert_eq!(
        stages("weights = [0.01, 99.99]\npause = \"2m\"\n"),
        [stage(0.01, 120, false), stage(99.99, 120, false)]
    );
}

#[test]
fn a_stage_may_have_its_own_pause_and_wait_for_a_person() {
    let written = "pause = \"1m\"\n[[strategy.stages]]\nweight = 5\npause = \
                   \"10m\"\n[[strategy.stages]]\nweight = 50\npause = \"0s\"\nwait = \
                   true\n[[strategy.stages]]\nweight = 100\n";
    assert_eq!(stages(written), [stage(5.0, 600, false), stage(50.0, 0, true)]);
}

#[test]
fn a_canary_splits_by_weight_or_by_instances() {
    for (more, split) in [
        ("", SplitBy::Weight),
        ("by = \"weight\"\n", SplitBy::Weight),
        ("by = \"instances\"\n", SplitBy::Instances),
    ] {
        let Strategy::Canary { by, .. } =
            load(&format!("[strategy]\nkind = \"canary\"\n{more}")).policy.strategy
        else {
            panic!("{more}")
        };
        assert_eq!(by, split, "{more}");
    }
}

#[test]
fn rolling_adds_one_backend_before_it_takes_one_unless_it_says_otherwise() {
    let rolling =
        |more: &str| load(&format!("[strategy]\nkind = \"rolling\"\n{more}")).policy.strategy;
    assert_eq!(
        rolling(""),
        Strategy::Rolling { max_surge: 1, max_unavailable: 0, pause: seconds(10) }
    );
    let other = "max_surge = 0\nmax_unavailable = 2\npause = \"1m\"\nkeep_previous = \"1h\"\n";
    assert_eq!(
        rolling(other),
        Strategy::Rolling { max_surge: 0, max_unavailable: 2, pause: seconds(60) }
    );
}

#[test]
fn an_open_deployment_and_a_person_are_met_as_the_manifest_says() {
    for (word, meant) in
        [("refuse", OnOpen::Refuse), ("queue", OnOpen::Queue), ("supersede", OnOpen::Supersede)]
    {
        let manifest =
            load(&format!("[strategy]\non_open = \"{word}\"\n[timeouts]\ndecide = \"90m\"\n"));
        assert_eq!(
            (manifest.policy.on_open, manifest.policy.timeouts.decide),
            (meant, seconds(5400))
        );
    }
}

#[test]
fn the_public_side_is_asked_during_analysis_where_it_is_wanted() {
    let front = "[[checks]]\nname = \"front\"\nplugin = \"http-health\"\nof = \"public\"\nwhen = [\"analysis\"]\n[probe]\nurl = \"http://shop.example/\"\n";
    let manifest = load(&format!("[strategy]\nkind = \"rolling\"\n{front}"));
    assert_eq!(manifest.policy.checks[0].when, [CheckMoment::Analysis]);
}

#[test]
fn a_short_analysis_has_sane_defaults() {
    let found = analysis(&format!("[analysis]\n{ERRORS}"));
    assert_eq!(
        (found.interval, found.initial_delay, found.extend, found.lookback),
        (seconds(1), Duration::ZERO, seconds(300), seconds(300))
    );
    assert_eq!((found.false_alarm, found.missed), (0.01, 0.01));
    assert_eq!(
        (found.on_undecided, found.on_outage, found.fallback.len()),
        (OnUndecided::Unwind, OnOutage::Hold, 0)
    );
    let [check] = found.checks.as_slice() else { panic!("{:?}", found.checks) };
    assert_eq!(
        check.limits,
        Limits { unhealthy: 0, errored: 2, no_data: None, inconclusive: None }
    );
    assert_eq!(
        (check.consecutive_success, check.report_only, check.required),
        (None, false, false)
    );
    let Measure::Errors { errors, total, max, max_ratio_to_stable, detect } = &check.measure else {
        panic!("{check:?}")
    };
    assert_eq!(
        (errors.plugin.as_str(), errors.timeout, &errors.spec, &total.spec),
        ("numbers", seconds(5), &json!({"query": "failed"}), &json!({"query": "all"}))
    );
    assert_eq!((*max, *max_ratio_to_stable, *detect), (None, 1.5, 0.01));
}

#[test]
fn every_key_of_an_analysis_reaches_the_domain() {
    let found = analysis(
        r#"
[health]
endpoints = ["/readyz"]
[[checks]]
name = "front"
plugin = "http-health"
when = ["ready"]
[analysis]
interval = "10s"
initial_delay = "15s"
false_alarm = "0.5%"
missed = "5%"
extend = "20m"
on_undecided = "ask"
on_outage = "fallback"
fallback = ["front", "health-readyz"]
lookback = "1h"
[[analysis.checks]]
name = "errors"
plugin = "numbers"
measure = "errors"
errors = { template = "http-errors", status = [500, 599] }
total = { template = "http-requests" }
max = "2.5%"
max_ratio_to_stable = 2
detect = "0.25%"
timeout = "2s"
unhealthy_limit = 1
errored_limit = 4
no_data_limit = 5
inconclusive_limit = 6
consecutive_success = 7
required = true
[[analysis.checks]]
name = "latency"
plugin = "numbers"
measure = "latency"
buckets = "buckets"
quantile = 0.95
max = "300ms"
max_slower = 0.7
[[analysis.checks]]
name = "queue"
plugin = "numbers"
measure = "value"
query = "queue"
min = -1
max = 10.5
max_ratio_to_stable = 3
count = 4
report_only = true
"#,
    );
    insta::assert_debug_snapshot!("analysis", found);
}

#[test]
fn latency_is_held_against_stable_unless_it_has_a_limit_of_its_own() {
    let ratio = |more: &str| {
        let checks = analysis(&format!(
            "[analysis]\n[[analysis.checks]]\nname = \"latency\"\nmeasure = \"latency\"\nbuckets \
             = \"buckets\"\n{more}"
        ))
        .checks;
        let Measure::Latency { max, max_ratio_to_stable, quantile, max_slower, .. } =
            &checks[0].measure
        else {
            panic!("{checks:?}")
        };
        assert_eq!((*quantile, *max_slower), (0.99, 0.64));
        (*max, *max_ratio_to_stable)
    };
    assert_eq!(ratio(""), (None, Some(2.0)));
    assert_eq!(ratio("max = \"300ms\"\n"), (Some(0.3), None));
    assert_eq!(ratio("max = \"1s\"\nmax_ratio_to_stable = 1.2\n"), (Some(1.0), Some(1.2)));
}

#[test]
fn a_value_passes_after_three_looks_and_may_be_unhealthy_twice() {
    let checks = analysis(
        "[analysis]\n[[analysis.checks]]\nname = \"queue\"\nmeasure = \"value\"\nquery = \
         \"queue\"\nmax = 5\n",
    )
    .checks;
    let Measure::Value { query, max, min, max_ratio_to_stable, count } = &checks[0].measure else {
        panic!("{checks:?}")
    };
    assert_eq!(
        (query.plugin.as_str(), *max, *min, *max_ratio_to_stable, *count),
        ("numbers", Some(5.0), None, None, 3)
    );
    assert_eq!(checks[0].limits.unhealthy, 2);
}

#[test]
fn a_blue_green_deployment_may_measure_in_its_bake() {
    let manifest = load(&format!("{NUMBERS}[strategy]\nbake = \"5m\"\n[analysis]\n{ERRORS}"));
    assert_eq!(
        (&manifest.policy.strategy, manifest.policy.analysis.map(|analysis| analysis.checks.len())),
        (&Strategy::BlueGreen, Some(1))
    );
}

#[test]
fn an_environment_merges_the_analysis_and_replaces_its_lists() {
    let text = format!(
        "{SHORT}{NUMBERS}[strategy]\nkind = \"canary\"\nweights = [10, \
         100]\n[analysis]\nfalse_alarm = \"2%\"\nmissed = \
         \"3%\"\n{ERRORS}[environments.staging]\n[environments.production.strategy]\nweights = \
         [1, 5, 25]\npause = \"5m\"\n[environments.production.analysis]\nmissed = \
         \"0.1%\"\n[[environments.production.analysis.checks]]\nname = \"queue\"\nmeasure = \
         \"value\"\nquery = {{ query = \"queue\" }}\nmax = 5\n"
    );
    let staging = load_in(&text, Some("staging")).unwrap().policy;
    let production = load_in(&text, Some("production")).unwrap().policy;
    assert_eq!(
        staging.strategy,
        Strategy::Canary { stages: vec![stage(10.0, 30, false)], by: SplitBy::Weight }
    );
    let grown = vec![stage(1.0, 300, false), stage(5.0, 300, false), stage(25.0, 300, false)];
    assert_eq!(production.strategy, Strategy::Canary { stages: grown, by: SplitBy::Weight });
    let (staging, production) = (staging.analysis.unwrap(), production.analysis.unwrap());
    assert_eq!((staging.false_alarm, staging.missed), (0.02, 0.03));
    assert_eq!((production.false_alarm, production.missed), (0.02, 0.001));
    assert_eq!(
        production.checks.iter().map(|check| check.name.as_str()).collect::<Vec<_>>(),
        ["queue"]
    );
    assert_eq!(
        staging.checks.iter().map(|check| check.name.as_str()).collect::<Vec<_>>(),
        ["errors"]
    );
}

#[test]
fn an_environment_of_another_kind_leaves_the_keys_of_the_kind_below_behind() {
    let text = format!(
        "{SHORT}{NUMBERS}[health]\nendpoints = [\"/readyz\"]\n[strategy]\nkind = \
         \"canary\"\nweights = [10, 100]\npause = \"5m\"\nbake = \"1m\"\n[analysis]\non_outage = \
         \"fallback\"\nfallback = [\"health-readyz\"]\n{ERRORS}[environments.a.strategy]\nkind = \
         \"blue-green\"\n[environments.b.strategy]\nkind = \"rolling\"\nmax_unavailable = \
         1\n[environments.c.strategy]\nstages = [{{ weight = 20 \
         }}]\n[environments.d.analysis]\non_outage = \"go-on\"\n"
    );
    let policy =
        |name| load_in(&text, Some(name)).unwrap_or_else(|error| panic!("{name}: {error}")).policy;
    assert_eq!((policy("a").strategy, policy("a").bake), (Strategy::BlueGreen, seconds(60)));
    assert_eq!(
        policy("b").strategy,
        Strategy::Rolling { max_surge: 1, max_unavailable: 1, pause: seconds(10) }
    );
    assert_eq!(
        policy("c").strategy,
        Strategy::Canary { stages: vec![stage(20.0, 300, false)], by: SplitBy::Weight }
    );
    let outage =
        |name| policy(name).analysis.map(|analysis| (analysis.on_outage, analysis.fallback.len()));
    assert_eq!(
        (outage("a"), outage("d")),
        (Some((OnOutage::Fallback, 1)), Some((OnOutage::GoOn, 0)))
    );
}

#[test]
fn what_a_plugin_says_about_a_query_gets_its_line() {
    let text = format!(
        "{SHORT}{NUMBERS}[strategy]\nkind = \
         \"canary\"\n[analysis]\n{ERRORS}[[analysis.checks]]\nname = \"latency\"\nmeasure = \
         \"latency\"\n[analysis.checks.buckets]\ntemplate = \"latency\"\nlabels = [\n  \"a\",\n  \
         \"b\",\n]\n[[analysis.checks]]\nname = \"queue\"\nmeasure = \"value\"\nquery = \
         \"queue\"\nmax = 5\n"
    );
    let manifest = load_in(&text, None).unwrap_or_else(|error| panic!("{error}"));
    let queries = manifest.queries();
    let seen: Vec<_> = queries.iter().map(|query| (query.check, query.key, query.wanted)).collect();
    let wanted = [
        ("errors", "errors", Wanted::Samples),
        ("errors", "total", Wanted::Samples),
        ("latency", "buckets", Wanted::Samples),
        ("queue", "query", Wanted::Value),
    ];
    assert_eq!(seen, wanted);
    let lines: Vec<&str> =
        queries.iter().map(|query| text.lines().nth(query.position.line - 1).unwrap()).collect();
    assert_eq!(
        lines,
        [
            "errors = \"failed\"",
            "total = \"all\"",
            "[analysis.checks.buckets]",
            "query = \"queue\""
        ]
    );
    assert_eq!(queries[1].query.spec, json!({"query": "all"}));

    let mistake =
        |index: usize, dotted: &str| manifest.query_mistake(&queries[index], dotted, "is wrong");
    let short = mistake(1, "query");
    assert_eq!(
        (short.key.as_str(), short.excerpt.as_str(), short.column),
        ("analysis.checks[0].total", "total = \"all\"", 9)
    );
    assert_eq!(short.message, "check `errors`, `total`: is wrong");
    assert!(short.fix.contains("agente-host plugin inspect numbers"), "{}", short.fix);
    let table = mistake(2, "labels.1");
    assert_eq!(
        (table.key.as_str(), table.excerpt.trim()),
        ("analysis.checks[1].buckets.labels.1", "\"b\",")
    );
    assert_eq!(mistake(2, "missing").excerpt, "[analysis.checks.buckets]");
}
