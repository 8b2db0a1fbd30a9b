//! Our own numbers on real servers: as a textfile, at a real Pushgateway, in a real Prometheus with
//! the dashboard and the alerts of the example.

#![expect(clippy::float_cmp, reason = "counts are whole numbers, and shares of one are exact here")]

use crate::monitoring_examples::{example, expressions, label_query};
use agente_tests::scene::{
    Monitor, Scene, Service, Setup, Traffic, free_port, get, promtool, wait_for,
};
use rustix::process::Signal;
use serde_json::Value;
use std::path::Path;

/// The value of the only sample of a metric whose labels hold all of `labels`.
#[track_caller]
fn sample(text: &str, metric: &str, labels: &[&str]) -> f64 {
    let of = |line: &&str| {
        line.strip_prefix(metric).is_some_and(|rest| rest.starts_with('{'))
            && labels.iter().all(|label| line.contains(label))
    };
    let found: Vec<&str> = text.lines().filter(of).collect();
    assert_eq!(found.len(), 1, "`{metric}` with {labels:?}: {found:?} in\n{text}");
    found[0].rsplit(' ').next().and_then(|value| value.parse().ok()).expect("a number")
}

fn told(shop: &Service) -> String {
    shop.host(&["metrics"]).expect_code(0).stdout
}

fn with_textfile(setup: Setup, path: &Path) -> Setup {
    Setup { more: format!("[metrics]\ntextfile = \"{}\"\n", path.display()), ..setup }
}

#[track_caller]
fn promtool_accepts(text: &str) {
    let judged = promtool(&["check", "metrics"], Path::new("/"), text);
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&judged.stdout),
        String::from_utf8_lossy(&judged.stderr)
    );
    assert!(judged.status.success() && said.is_empty(), "{said}\n{text}");
}

/// The example's configuration with this scene's ports, looking every second.
fn configuration(shop: &Service, host: u16) -> String {
    let mut text = example("prometheus.yml")
        .replace("15s", "1s")
        .replace("127.0.0.1:9464", &format!("127.0.0.1:{host}"));
    let (first, _) = shop.backend_ports();
    for number in 0..8_u16 {
        let from = format!("127.0.0.1:{}", 18_100 + number);
        assert!(text.contains(&from), "{from}");
        text = text.replace(&from, &format!("127.0.0.1:{}", first + number));
    }
    text
}

/// Whether an answer holds a number.
fn is_data(samples: &[Value]) -> bool {
    samples.iter().any(|sample| sample["value"][1].as_str().is_some_and(|value| value != "NaN"))
}

#[test]
fn promotions_and_ways_back_are_in_the_textfile_in_prometheus_on_the_dashboard_and_in_the_alerts() {
    let (scene, shop) = Scene::deployed();
    let load = Traffic::on(&shop, 50.0, 0);
    let monitoring = scene.path().join("monitoring");
    std::fs::create_dir(&monitoring).expect("a folder");
    let port = free_port();
    let serving = shop.begin(&["metrics", "--listen", &format!("127.0.0.1:{port}")]);
    wait_for("the numbers to be served", || {
        get(port, "/healthz").is_ok_and(|answer| answer.status == 200).then_some(())
    });
    std::fs::write(monitoring.join("prometheus.yml"), configuration(&shop, port)).expect("a file");
    std::fs::write(monitoring.join("alerts.yml"), example("alerts.yml")).expect("a file");
    let prometheus = Monitor::prometheus(&monitoring.join("prometheus.yml"));

    let textfile = monitoring.join("agente-shop.prom");
    shop.deploy(&with_textfile(Setup { bake: "1s".to_owned(), ..Setup::version("v2") }, &textfile))
        .expect_code(0);
    let first = std::fs::read_to_string(&textfile).expect("the textfile");
    promtool_accepts(&first);
    assert_eq!(
        sample(&first, "agente_deployments_total", &["kind=\"deploy\"", "outcome=\"promoted\""]),
        2.0
    );
    shop.host(&["rollback"]).expect_code(0);
    // It turns bad in the bake, with all requests on it.
    let bad = Setup { bake: "60s".to_owned(), ..Setup::version("v3") }.flag("--unready-after 3");
    shop.deploy(&with_textfile(bad, &textfile)).expect_code(1);

    let text = std::fs::read_to_string(&textfile).expect("the textfile");
    assert_eq!(text.trim_end(), told(&shop), "the same numbers whoever tells them");
    assert_eq!(
        get(port, "/metrics").expect("an answer").body,
        text,
        "the same numbers whoever tells them"
    );
    promtool_accepts(&text);
    let scope = ["service=\"shop\"", "environment=\"default\""];
    let value = |metric: &str, more: &[&str]| sample(&text, metric, &[&scope, more].concat());
    assert_eq!(
        value("agente_deployments_total", &["kind=\"deploy\"", "outcome=\"promoted\""]),
        2.0
    );
    assert_eq!(value("agente_deployments_total", &["kind=\"deploy\"", "outcome=\"unwound\""]), 1.0);
    assert_eq!(
        value("agente_deployments_total", &["kind=\"rollback\"", "outcome=\"promoted\""]),
        1.0
    );
    assert_eq!(
        value("agente_rollback_duration_seconds_count", &[]),
        2.0,
        "the rollback, and the release that was taken back"
    );
    assert!(value("agente_rollback_duration_seconds_sum", &[]) > 0.0);
    assert_eq!(
        value("agente_weight_ratio", &["slot=\"blue\""])
            + value("agente_weight_ratio", &["slot=\"green\""]),
        1.0
    );
    assert_eq!(value("agente_release_info", &["release=\"1\"", "role=\"stable\""]), 1.0);
    assert_eq!(
        (value("agente_deployment_open", &[]), value("agente_deployment_stuck", &[])),
        (0.0, 0.0)
    );
    assert!(value("agente_probe_requests_total", &["result=\"succeeded\""]) > 20.0);
    assert_eq!(value("agente_lost_requests_total", &[]), 0.0);
    assert_eq!(
        value("agente_step_duration_seconds_count", &["step=\"bake\"", "result=\"lost\""]),
        1.0
    );
    // Two first ones, a rollback, one there and back.
    assert!(
        value(
            "agente_plugin_calls_total",
            &["plugin=\"nginx-switch\"", "operation=\"apply\"", "result=\"answered\""]
        ) >= 5.0
    );
    assert!(
        value(
            "agente_plugin_call_seconds_total",
            &["plugin=\"http-health\"", "operation=\"check\""]
        ) > 0.0
    );
    assert_eq!(
        value("agente_plugin_faults_total", &["plugin=\"nginx-switch\"", "kind=\"trapped\""]),
        0.0
    );

    let dashboard: Value = serde_json::from_str(&example("dashboard.json")).expect("JSON");
    let all = expressions(&dashboard);
    assert!(all.len() > 25, "{}", all.len());
    for expression in all {
        let wanted = wait_for(&format!("data for `{}`", expression.text), || {
            let samples = prometheus.query(&expression.filled_in());
            (is_data(&samples) || expression.may_be_empty()).then_some(samples)
        });
        assert!(is_data(&wanted) || expression.may_be_empty());
    }

    for (variable, value) in [("service", "shop"), ("environment", "default")] {
        let (selector, label) = label_query(&dashboard, variable);
        assert_eq!(
            prometheus.label_values(&selector, &label),
            [value],
            "the choice of `{variable}`"
        );
    }

    let firing = || -> Vec<String> {
        let data = prometheus.api("rules");
        let rules = data["groups"][0]["rules"].as_array().cloned().expect("rules");
        assert_eq!(rules.len(), 10);
        for rule in &rules {
            assert!(rule["health"] != "err", "{rule}");
        }
        rules
            .iter()
            .filter(|rule| rule["state"] == "firing")
            .filter_map(|rule| rule["name"].as_str().map(str::to_owned))
            .collect()
    };
    wait_for("the alert on a release that was taken back", || {
        (firing() == ["AgenteReleaseTakenBack"]).then_some(())
    });
    // The next good one ends it.
    shop.deploy(&with_textfile(Setup::version("v4"), &textfile)).expect_code(0);
    wait_for("the end of that alert", || firing().is_empty().then_some(()));

    serving.signal(Signal::TERM);
    serving.wait().expect_code(0);
    load.nothing_lost();
    prometheus.stop();
    drop(scene);
}

#[test]
fn a_pushgateway_gets_one_group_per_service_and_its_absence_is_a_warning() {
    let (scene, shop) = Scene::deployed();
    let gateway = Monitor::pushgateway(scene.path());
    let setup = |version: &str| Setup {
        more: format!("[metrics]\npush = \"http://127.0.0.1:{}\"\n", gateway.port),
        ..Setup::version(version)
    };
    shop.write(&setup("v2"));
    let checked = shop.host(&["check"]).expect_code(0);
    assert!(checked.stdout.contains("is ready"), "{}", checked.stdout);
    shop.host(&["deploy"]).expect_code(0);
    shop.deploy(&setup("v3")).expect_code(0);
    let (status, text) = gateway.get("/metrics").expect("an answer");
    assert_eq!(status, 200);
    let group = ["job=\"agente-host\"", "service=\"shop\"", "environment=\"default\""];
    assert_eq!(
        sample(
            &text,
            "agente_deployments_total",
            &[&group[..], &["kind=\"deploy\"", "outcome=\"promoted\""]].concat()
        ),
        3.0
    );
    assert_eq!(sample(&text, "agente_build_info", &group), 1.0);
    assert!(sample(&text, "push_time_seconds", &group) > 0.0);
    assert_eq!(
        sample(&text, "push_failure_time_seconds", &group),
        0.0,
        "the gateway found nothing wrong with what was pushed"
    );

    let last = setup("v4");
    gateway.stop();
    let ended = shop.deploy(&last).expect_code(0);
    assert!(ended.stderr.contains("the metrics were not pushed"), "{}", ended.stderr);
    assert_eq!(shop.serving(), "v4");
    let checked = shop.host(&["check"]).expect_code(0);
    assert!(
        checked.stdout.contains("metrics push") && checked.stdout.contains("\"warning\""),
        "{}",
        checked.stdout
    );
    drop(scene);
}

#[test]
fn what_a_killed_host_counted_is_kept_and_the_next_one_adds_to_it() {
    let (scene, shop) = Scene::deployed();
    let load = Traffic::on(&shop, 20.0, 0);
    let probed =
        |text: &str| sample(text, "agente_probe_requests_total", &["result=\"succeeded\""]);
    let calls = |text: &str, operation: &str| {
        sample(
            text,
            "agente_plugin_calls_total",
            &["plugin=\"nginx-switch\"", operation, "result=\"answered\""],
        )
    };
    let before = told(&shop);
    let run = shop.begin_deploy(&Setup { bake: "120s".to_owned(), ..Setup::version("v2") });
    assert!(run.wait_step("bake", "started"));
    let during = wait_for("counts of the deployment that goes on", || {
        let text = told(&shop);
        (probed(&text) > probed(&before)).then_some(text)
    });
    assert_eq!(sample(&during, "agente_deployment_open", &[]), 1.0);
    assert_eq!(calls(&during, "operation=\"apply\""), calls(&before, "operation=\"apply\"") + 1.0);
    run.kill();
    shop.host(&["abort"]).expect_code(0);
    let after = told(&shop);
    assert!(probed(&after) >= probed(&during));
    assert_eq!(
        calls(&after, "operation=\"apply\""),
        calls(&during, "operation=\"apply\"") + 1.0,
        "the next host's way back"
    );
    assert_eq!(sample(&after, "agente_deployment_open", &[]), 0.0);
    assert_eq!(
        sample(&after, "agente_deployments_total", &["kind=\"deploy\"", "outcome=\"unwound\""]),
        1.0
    );
    load.nothing_lost();
    drop(scene);
}

#[test]
fn a_stuck_deployment_shows_in_the_textfile_until_somebody_goes_on() {
    let (mut scene, shop) = Scene::deployed();
    let textfile = scene.path().join("agente-shop.prom");
    let read = || std::fs::read_to_string(&textfile).expect("the textfile");
    let more = format!("undo = \"3s\"\n[metrics]\ntextfile = \"{}\"\n", textfile.display());
    let run = shop.begin_deploy(&Setup { bake: "120s".to_owned(), more, ..Setup::version("v2") });
    assert!(run.wait_step("bake", "started"));
    scene.nginx.stop();
    run.wait().expect_code(3);
    let text = read();
    promtool_accepts(&text);
    assert_eq!(
        (
            sample(&text, "agente_deployment_open", &[]),
            sample(&text, "agente_deployment_stuck", &[])
        ),
        (1.0, 1.0)
    );
    assert_eq!(
        sample(
            &text,
            "agente_step_duration_seconds_count",
            &["step=\"shift\"", "result=\"undo-failed\""]
        ),
        1.0
    );
    assert_eq!(
        sample(&text, "agente_deployments_total", &["kind=\"deploy\"", "outcome=\"unwound\""]),
        0.0,
        "it has not ended"
    );
    assert!(sample(&text, "agente_lost_requests_total", &[]) > 0.0, "nobody answered ours");
    assert!(
        text.lines().any(|line| line.starts_with("agente_plugin_calls_total")
            && line.contains("result=\"failed\"")),
        "{text}"
    );

    scene.nginx.start();
    shop.host(&["resume"]).expect_code(1);
    let text = read();
    assert_eq!(
        (
            sample(&text, "agente_deployment_open", &[]),
            sample(&text, "agente_deployment_stuck", &[])
        ),
        (0.0, 0.0)
    );
    assert_eq!(
        sample(&text, "agente_deployments_total", &["kind=\"deploy\"", "outcome=\"unwound\""]),
        1.0
    );
    assert_eq!(sample(&text, "agente_rollback_duration_seconds_count", &[]), 1.0);
    assert_eq!(shop.serving(), "v1");
    drop(scene);
}
