//! `examples/monitoring`: rules and configuration as `promtool` sees them, every alert with a page
//! to turn to, every number with a line of reference.

#![expect(clippy::panic, reason = "a test says which file is missing and ends")]

use agente_tests::scene::{Scene, promtool};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn folder() -> PathBuf {
    repository().join("examples/monitoring")
}

/// A file of the example.
#[track_caller]
pub(crate) fn example(name: &str) -> String {
    page(&format!("examples/monitoring/{name}"))
}

#[track_caller]
fn page(path: &str) -> String {
    std::fs::read_to_string(repository().join(path))
        .unwrap_or_else(|error| panic!("`{path}`: {error}"))
}

/// A query of the dashboard.
pub(crate) struct Expression {
    /// As it stands there.
    pub(crate) text: String,
    /// Whether it marks times on all panels.
    annotation: bool,
}

impl Expression {
    /// What Grafana would send for everything in the last hour.
    pub(crate) fn filled_in(&self) -> String {
        let variables = [
            ("$service", ".*"),
            ("$environment", ".*"),
            ("$__rate_interval", "20s"),
            ("$__range", "1h"),
        ];
        let filled = variables
            .iter()
            .fold(self.text.clone(), |text, (name, value)| text.replace(name, value));
        assert!(!filled.contains('$'), "a variable of `{}` is not known", self.text);
        filled
    }

    /// Whether it has nothing to show where all went well for a while.
    pub(crate) fn may_be_empty(&self) -> bool {
        self.annotation || self.text.contains("result=\"failed\"")
    }
}

/// Every query of the dashboard.
pub(crate) fn expressions(dashboard: &Value) -> Vec<Expression> {
    let mut found = Vec::new();
    collect(dashboard, false, &mut found);
    found
}

/// What a variable of the dashboard offers: the values of a label of a selector.
pub(crate) fn label_query(dashboard: &Value, name: &str) -> (String, String) {
    let variables = dashboard["templating"]["list"].as_array().expect("variables");
    let query = variables
        .iter()
        .find(|variable| variable["name"] == name)
        .and_then(|variable| variable["query"]["query"].as_str())
        .expect("its query");
    let inside = query
        .strip_prefix("label_values(")
        .and_then(|rest| rest.strip_suffix(')'))
        .expect("`label_values`");
    let (selector, label) = inside.rsplit_once(", ").expect("a selector and a label");
    (Expression { text: selector.to_owned(), annotation: false }.filled_in(), label.to_owned())
}

fn collect(value: &Value, annotation: bool, found: &mut Vec<Expression>) {
    match value {
        Value::Object(entries) => {
            if let Some(text) = entries.get("expr").and_then(Value::as_str) {
                found.push(Expression { text: text.to_owned(), annotation });
            }
            entries
                .iter()
                .for_each(|(key, value)| collect(value, annotation || key == "annotations", found));
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, annotation, found)),
        _ => {}
    }
}

#[test]
fn promtool_accepts_the_configuration_and_each_alert_fires_when_it_should() {
    for arguments in [
        &["check", "config", "prometheus.yml"][..],
        &["check", "rules", "alerts.yml"],
        &["test", "rules", "alerts_test.yml"],
    ] {
        let judged = promtool(arguments, &folder(), "");
        assert!(
            judged.status.success(),
            "{arguments:?}: {}{}",
            String::from_utf8_lossy(&judged.stdout),
            String::from_utf8_lossy(&judged.stderr)
        );
    }
}

#[test]
fn each_alert_is_tested_and_leads_to_its_part_of_the_runbooks() {
    let (alerts, tests, runbooks) =
        (example("alerts.yml"), example("alerts_test.yml"), page("docs/guide/runbooks.md"));
    let anchors: BTreeSet<&str> = runbooks
        .lines()
        .filter_map(|line| line.split_once("<a id=\"")?.1.split('"').next())
        .collect();
    let mut names = 0;
    for rule in alerts.split("- alert: ").skip(1) {
        let name = rule.lines().next().expect("a name");
        names += 1;
        for key in ["summary:", "description:", "severity:"] {
            assert!(rule.contains(key), "{name} has no {key}");
        }
        let anchor = rule
            .split_once("runbook_url: docs/guide/runbooks.md#")
            .and_then(|(_, rest)| rest.lines().next())
            .expect("a pointer to the runbooks");
        assert!(
            anchors.contains(anchor),
            "{name} leads to `#{anchor}`, which is not in the runbooks"
        );
        assert!(runbooks.contains(&format!("`{name}`")), "{name} is not in the runbooks");
        assert!(tests.contains(&format!("alertname: {name}\n")), "{name} is not tested");
    }
    assert_eq!(names, anchors.len(), "each part of the runbooks is some alert's");
}

#[test]
fn the_dashboard_has_a_datasource_variable_and_asks_nothing_past_it() {
    let dashboard: Value = serde_json::from_str(&example("dashboard.json")).expect("JSON");
    let variables = dashboard["templating"]["list"].as_array().expect("variables");
    assert_eq!(variables[0]["type"], "datasource");
    for target in dashboard["panels"]
        .as_array()
        .expect("panels")
        .iter()
        .flat_map(|panel| panel["targets"].as_array().cloned().unwrap_or_default())
    {
        assert_eq!(target["datasource"]["uid"], "${datasource}", "{target}");
    }
}

#[test]
fn each_number_is_in_the_reference_and_whatever_is_asked_for_is_told() {
    let (scene, shop) = Scene::deployed();
    let text = shop.host(&["metrics"]).expect_code(0).stdout;
    let told: BTreeSet<&str> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    assert!(told.len() >= 13, "{told:?}");
    let reference = page("docs/reference/metrics.md");
    for name in &told {
        assert!(
            reference.contains(&format!("`{name}`")),
            "`{name}` is not in docs/reference/metrics.md"
        );
    }
    for file in ["alerts.yml", "dashboard.json"] {
        let text = example(file);
        let asked = text
            .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .filter(|word| word.starts_with("agente_") && !word.starts_with("agente_api_"));
        for name in asked {
            let base = ["_sum", "_count", "_bucket"]
                .iter()
                .find_map(|end| name.strip_suffix(end))
                .unwrap_or(name);
            assert!(
                reference.contains(&format!("`{base}`")),
                "{file} asks for `{name}`, which docs/reference/metrics.md does not know"
            );
        }
    }
    drop(scene);
}
