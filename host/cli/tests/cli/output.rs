//! How results are written: data and talk apart, one JSON event a line, no escape codes where
//! nobody sees them, and no harm from a reader that leaves.

use crate::sandbox::{Sandbox, warm};
use boon::{Compiler, Schemas};
use serde_json::Value;
use std::process::{Command, Stdio};

const SHOP: &str = r#"service = "shop"

[runtime.process]
artifact = "shop"
command = ["./shop", "127.0.0.1:{port}"]
ports = "18100-18199"

[switch]
plugin = "nginx-switch"

[plugins.nginx-switch.config]
directory = "/nowhere/agente"
"#;

/// The events that were written, each as the printed schema says.
fn events(sandbox: &Sandbox, text: &str) -> Vec<Value> {
    let schema = serde_json::from_str(&sandbox.expect(0, &["schema", "events"]).stdout).unwrap();
    let (mut schemas, mut compiler) = (Schemas::new(), Compiler::new());
    compiler.add_resource("events", schema).unwrap();
    let index = compiler.compile("events", &mut schemas).unwrap();
    let event = |line| {
        let event = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        if let Err(error) = schemas.validate(&event, index) {
            panic!("the schema does not know this event: {error:#}\n{event}");
        }
        event
    };
    text.lines().map(event).collect()
}

#[test]
fn every_line_of_json_is_an_event_of_the_schema() {
    let sandbox = Sandbox::with(SHOP);
    sandbox.grant(&["nginx-switch"]);
    let mut kinds = Vec::new();
    for (code, arguments) in [
        (0, &["status"][..]),
        (0, &["plan"]),
        (2, &["check"]),
        (2, &["deploy"]),
        (0, &["status"]),
        (0, &["status", "--verify"]),
        (0, &["history"]),
        (0, &["plugin", "list"]),
        (0, &["plugin", "inspect", "nginx-switch"]),
    ] {
        let run = sandbox.expect(code, &[arguments, &["--output", "json"]].concat());
        let events = events(&sandbox, &run.stdout);
        assert!(!events.is_empty(), "{arguments:?} writes no event: {}", run.shown());
        for event in events {
            kinds.push(
                event["event"].as_str().unwrap_or_else(|| panic!("no kind: {event}")).to_owned(),
            );
        }
    }
    let history = events(&sandbox, &sandbox.expect(0, &["history", "-o", "json"]).stdout);
    let id = history[0]["deployment"]["id"].as_str().unwrap().to_owned();
    let entries = events(
        &sandbox,
        &sandbox.expect(0, &["history", "-o", "json", "--deployment", &id]).stdout,
    );
    assert!(entries.iter().all(|event| event["event"] == "entry"));
    let effects = ["history", "-o", "json", "--deployment", &id, "--effects"];
    let effects = events(&sandbox, &sandbox.expect(0, &effects).stdout);
    assert!(!effects.is_empty());
    for event in &effects {
        assert_eq!(event["event"], "effect");
        assert_eq!(event["effect"]["plugin"], "nginx-switch", "{event}");
    }
    let shown = sandbox.expect(0, &["history", "--deployment", &id, "--effects"]).stdout;
    assert_eq!(shown.lines().count(), effects.len(), "{shown}");
    assert!(shown.contains("  features  "), "{shown}");
    for kind in [
        "status",
        "plan",
        "finding",
        "begins",
        "progress",
        "entry",
        "outcome",
        "deployment",
        "plugin",
        "component",
        "verified",
    ] {
        assert!(
            kinds.iter().any(|seen| seen == kind),
            "no event of the kind `{kind}` among {kinds:?}"
        );
    }
}

#[test]
fn an_error_is_told_beside_the_events_not_among_them() {
    let sandbox = Sandbox::with("service = 42\n");
    let run = sandbox.expect(2, &["status", "--output", "json"]);
    assert_eq!(run.stdout, "");
    assert!(run.stderr.starts_with("Error: `agente.toml` has "), "{}", run.stderr);
}

#[test]
fn nothing_is_coloured_where_there_is_no_terminal() {
    let sandbox = Sandbox::with(SHOP);
    sandbox.grant(&["nginx-switch"]);
    for arguments in [
        &["--help"][..],
        &["deploy", "--forse"],
        &["status"],
        &["check"],
        &["plan"],
        &["deploy"],
        &["abort"],
        &["deploy", "-vv"],
    ] {
        let run = sandbox.run(arguments);
        assert!(
            !run.stdout.contains('\x1b') && !run.stderr.contains('\x1b'),
            "{arguments:?}\n{}",
            run.shown()
        );
    }
}

/// Runs the program on a terminal of its own, with more in its environment.
fn on_a_terminal(sandbox: &Sandbox, arguments: &[&str], environment: &[(&str, &str)]) -> String {
    let inner = sandbox.command(arguments);
    let words: Vec<String> = std::iter::once(inner.get_program())
        .chain(inner.get_args())
        .map(|word| format!("'{}'", word.to_string_lossy()))
        .collect();
    let mut command = Command::new("script");
    command
        .args(["--quiet", "--return", "--command", &words.join(" "), "/dev/null"])
        .current_dir(sandbox.folder())
        .env_clear();
    command
        .envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))))
        .envs(environment.iter().copied())
        .stdin(Stdio::null());
    let output = command.env("TERM", "xterm").output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_terminal_gets_colour_unless_it_is_not_wanted() {
    let sandbox = Sandbox::with("service = 42\n");
    let coloured = on_a_terminal(&sandbox, &["status"], &[]);
    assert!(coloured.contains("\x1b[1;31mError:"), "{coloured:?}");
    for (arguments, environment) in
        [(&["status"][..], &[("NO_COLOR", "1")][..]), (&["status", "--output", "plain"], &[])]
    {
        let plain = on_a_terminal(&sandbox, arguments, environment);
        assert!(plain.contains("Error: ") && !plain.contains('\x1b'), "{plain:?}");
    }
    // An empty NO_COLOR is as good as none.
    assert!(on_a_terminal(&sandbox, &["status"], &[("NO_COLOR", "")]).contains("\x1b[1;31m"));
}

#[test]
fn a_reader_that_goes_away_changes_nothing() {
    let sandbox = Sandbox::with(SHOP);
    sandbox.grant(&["nginx-switch"]);
    for (code, arguments) in [
        (0, &["plan"][..]),
        (0, &["schema"]),
        (0, &["reference", "manifest"]),
        (0, &["completions", "bash"]),
        (0, &["--help"]),
        (2, &["check"]),
        (2, &["deploy", "--output", "json"]),
        (0, &["history"]),
    ] {
        // Both ends are closed: what is written goes nowhere, as after `| head -0` or with a
        // terminal that is gone.
        let mut child = sandbox
            .command(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        drop(child.stderr.take());
        assert_eq!(child.wait().unwrap().code(), Some(code), "{arguments:?}");
    }
    // The deployment whose reader was gone went its way: it is in the journal with its end.
    let history = sandbox.expect(0, &["history"]).stdout;
    assert!(history.lines().nth(1).is_some_and(|row| row.contains("refused: ")), "{history}");
}

#[test]
fn a_line_of_the_log_that_nobody_can_read_ends_nothing() {
    let sandbox = Sandbox::with(SHOP);
    sandbox.grant(&["nginx-switch"]);
    let mut command = sandbox.command(&["deploy", "-vv"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stderr.take());
    assert_eq!(
        child.wait_with_output().unwrap().status.code(),
        Some(2),
        "as with a standard error that is read"
    );
    let history = sandbox.expect(0, &["history"]).stdout;
    assert!(history.lines().nth(1).is_some_and(|row| row.contains("refused: ")), "{history}");
}

#[test]
fn messages_name_no_type_of_the_program() {
    let sandbox = Sandbox::with(SHOP);
    warm();
    for arguments in [
        &["deploy"][..],
        &["abort"],
        &["plugin", "add", "nothing.wasm"],
        &["history", "--deployment", "x"],
    ] {
        let said = sandbox.run(arguments).stderr;
        for word in ["Error(", "Some(", "None", "::", "struct ", "enum ", "unwrap", "panicked"] {
            assert!(!said.contains(word), "{arguments:?} says `{word}`:\n{said}");
        }
    }
}
