//! Plugins: looked at, packed, granted, changed, taken back.

use crate::sandbox::{PLUGINS, Sandbox, shipped, snapshot, warm};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

const SHOP: &str = r#"service = "shop"

[runtime.process]
artifact = "shop"
command = ["./shop", "127.0.0.1:{port}"]
ports = "18100-18199"

[switch]
plugin = "nginx-switch"

[plugins.nginx-switch.config]
directory = "/nowhere/agente"

[[checks]]
name = "redis"
plugin = "tcp-health"
of = "dependency"
spec = { address = "127.0.0.1:6379" }
"#;

#[test]
fn a_plugin_without_a_grant_is_refused_with_what_it_asks_for_and_the_command_that_grants_it() {
    let sandbox = Sandbox::with(SHOP);
    let before = sandbox.files();
    let run = sandbox.expect(4, &["deploy"]);
    assert_eq!(sandbox.files(), before);
    for line in [
        "nginx-switch 0.1.0 has no grant, and requests:",
        "  read and write the files in the directory `/nowhere/agente`",
    ] {
        assert!(
            run.stderr.lines().any(|shown| shown == line),
            "`{line}` is not in\n{}",
            run.stderr
        );
    }
    // The command is exact: typed as it stands, it leads to the next refusal or to none.
    let command = run
        .stderr
        .rsplit_once("Hint: review the request, then grant it: `")
        .unwrap()
        .1
        .trim_end()
        .trim_end_matches('`');
    for command in command.split(" && ") {
        let words: Vec<&str> = command.split(' ').skip(1).collect();
        sandbox.expect(0, &words);
    }
    sandbox.expect(2, &["deploy"]);
    let lock = sandbox.read("agente.lock");
    assert!(
        !lock.contains(&shipped().display().to_string()),
        "the lock file names a path of this machine:\n{lock}"
    );
}

#[test]
fn a_component_given_by_hand_is_under_the_same_rule() {
    let sandbox = Sandbox::with(SHOP);
    sandbox.grant(&["nginx-switch", "tcp-health"]);
    let other = sandbox.folder().join("my switch.wasm");
    // The same plugin with another request: other bytes, other digest.
    let request = fs::read_to_string(
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins/nginx-switch/plugin.toml"),
    )
    .unwrap();
    sandbox.write(
        "plugin.toml",
        &format!("{request}\n[[files]]\npath = \"/etc/shadow\"\naccess = \"read\"\n"),
    );
    let component = shipped().join("nginx-switch.wasm").display().to_string();
    sandbox.expect(0, &["plugin", "pack", &component, "--to", "my switch.wasm"]);
    let run = sandbox.expect(4, &["deploy", "--plugin", "my switch.wasm"]);
    assert!(
        run.stderr.contains("nginx-switch 0.1.0 differs from its grant:\n  component "),
        "{}",
        run.stderr
    );
    assert!(run.stderr.contains("\n  + read `/etc/shadow`\n"), "{}", run.stderr);
    assert!(
        run.stderr.ends_with("`agente-host plugin add 'my switch.wasm' --env default --yes`\n"),
        "{}",
        run.stderr
    );
    assert!(other.is_file());
    // Without the option nothing has changed.
    sandbox.expect(2, &["deploy"]);
}

#[test]
fn a_changed_value_that_a_grant_names_needs_a_new_yes() {
    let sandbox = Sandbox::with(SHOP);
    sandbox.grant(&["nginx-switch", "tcp-health"]);
    let list = |sandbox: &Sandbox| -> Vec<String> {
        let rows = sandbox.expect(0, &["plugin", "list"]).stdout;
        rows.lines()
            .skip(1)
            .map(|row| {
                row.split("  ")
                    .filter(|cell| !cell.is_empty())
                    .map(str::trim)
                    .nth(5)
                    .unwrap_or_default()
                    .to_owned()
            })
            .collect()
    };
    assert_eq!(list(&sandbox), ["good", "good"]);
    sandbox.write(
        "agente.toml",
        &SHOP
            .replace("127.0.0.1:6379", "127.0.0.1:6380")
            .replace("/nowhere/agente", "/elsewhere/agente"),
    );
    assert_eq!(list(&sandbox), ["out of date", "out of date"]);
    let before = sandbox.files();
    snapshot!("grant_out_of_date", sandbox.expect(4, &["deploy"]).shown());
    assert_eq!(sandbox.files(), before);
    let again = sandbox.expect(0, &["plugin", "add", "tcp-health", "--yes"]);
    assert!(
        again.stderr.contains(
            "  + connect to `127.0.0.1:6380`, even at a private address, and send anything, even \
            in read-only operations\n"
        ),
        "{}",
        again.stderr
    );
    assert_eq!(list(&sandbox), ["out of date", "good"]);
    // What no rule names can be changed freely.
    sandbox.write(
        "agente.toml",
        &SHOP.replace("\"127.0.0.1:6379\"", "\"127.0.0.1:6380\", expect = \"+PONG\""),
    );
    assert_eq!(list(&sandbox), ["good", "good"]);
}

#[test]
fn a_grant_is_for_one_environment() {
    let sandbox =
        Sandbox::with(&format!("{SHOP}\n[environments.staging]\n[environments.production]\n"));
    warm();
    sandbox.expect(0, &["plugin", "add", "nginx-switch", "--env", "staging", "--yes"]);
    sandbox.expect(0, &["plugin", "add", "tcp-health", "--env", "staging", "--yes"]);
    sandbox.expect(2, &["deploy", "--env", "staging"]);
    let run = sandbox.expect(4, &["deploy", "--env", "production"]);
    assert!(
        run.stderr.contains("agente-host plugin add nginx-switch --env production --yes"),
        "{}",
        run.stderr
    );
}

#[test]
fn without_a_terminal_nobody_is_asked_and_nothing_is_granted() {
    let sandbox = Sandbox::with(SHOP);
    warm();
    snapshot!(
        "grant_without_terminal",
        sandbox.expect(4, &["plugin", "add", "tcp-health"]).shown()
    );
    assert!(!sandbox.folder().join("agente.lock").exists());
}

#[test]
fn a_plugin_goes_from_component_to_grant_and_back() {
    let sandbox = Sandbox::with(SHOP);
    warm();
    let mut shown = String::new();
    let request = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../plugins/tcp-health/plugin.toml")
        .canonicalize()
        .unwrap();
    fs::copy(shipped().join("tcp-health.wasm"), sandbox.folder().join("component.wasm")).unwrap();
    fs::copy(request, sandbox.folder().join("plugin.toml")).unwrap();
    for arguments in [
        &["plugin", "pack", "component.wasm", "--to", "tcp-health.wasm"][..],
        &["plugin", "inspect", "./tcp-health.wasm"],
        &["plugin", "add", "./tcp-health.wasm", "--yes"],
        &["plugin", "add", "./tcp-health.wasm", "--yes"],
        &["plugin", "list"],
        &["plugin", "remove", "tcp-health"],
    ] {
        writeln!(
            shown,
            "$ agente-host {}\n{}",
            arguments.join(" "),
            sandbox.expect(0, arguments).shown()
        )
        .unwrap();
    }
    assert_eq!(
        sandbox.expect(2, &["plugin", "remove", "tcp-health"]).stderr.lines().next(),
        Some("Error: `tcp-health` has no grant for default")
    );
    assert!(!sandbox.state().exists());
    snapshot!("plugin_round_trip", shown);
    // The same input gives the same bytes.
    assert_eq!(
        fs::read(sandbox.folder().join("tcp-health.wasm")).unwrap(),
        fs::read(shipped().join("tcp-health.wasm")).unwrap()
    );
}

#[test]
fn a_request_can_not_speak_to_the_terminal() {
    let sandbox = Sandbox::with(SHOP);
    let request = fs::read_to_string(
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins/tcp-health/plugin.toml"),
    )
    .unwrap();
    let component = shipped().join("tcp-health.wasm").display().to_string();
    for (hostile, told) in [
        ("0.1.0\\u001b[8m", "control character in \"0.1.0\\u{1b}[8m\""),
        ("0.1.0\u{1b}[8m", "\\u001b[8m"),
    ] {
        sandbox.write("plugin.toml", &request.replace("0.1.0", hostile));
        let refused = sandbox.expect(2, &["plugin", "pack", &component, "--to", "hostile.wasm"]);
        assert!(
            refused.stderr.contains(told) && !refused.stderr.contains('\u{1b}'),
            "{}",
            refused.stderr
        );
        assert!(!sandbox.folder().join("hostile.wasm").exists());
    }
}

#[test]
fn a_prefix_goes_before_every_program_of_a_grant() {
    let sandbox = Sandbox::with(SHOP);
    warm();
    let run = sandbox.expect(
        0,
        &["plugin", "add", "nginx-switch", "--yes", "--exec-prefix", "/usr/bin/sudo -n"],
    );
    let programs: Vec<&str> =
        run.stderr.lines().filter(|line| line.starts_with("  run ")).collect();
    assert!(
        !programs.is_empty() && programs.iter().all(|line| line.contains("sudo -n")),
        "{}",
        run.stderr
    );
    let lock = sandbox.read("agente.lock");
    assert_eq!(
        lock.matches("prefix = [\"/usr/bin/sudo\", \"-n\"]").count(),
        lock.matches("program = ").count(),
        "{lock}"
    );
}

#[test]
fn what_is_shown_of_a_second_grant_is_what_is_written() {
    let sandbox = Sandbox::with(SHOP);
    sandbox.grant(&["nginx-switch", "tcp-health"]);
    let whole = sandbox.read("agente.lock");
    let shown = |arguments: &[&str]| -> Vec<String> {
        let lines = sandbox.expect(4, arguments).stderr;
        lines
            .lines()
            .filter(|line| line.starts_with("  + ") || line.starts_with("  - "))
            .map(str::to_owned)
            .collect()
    };

    // Narrowed by hand: the plugin still fits, and granting it again would take that back.
    let rule = "[[plugins.tcp-health.default.granted.tcp]]\naddress = \"@backends\"\n";
    assert!(whole.contains(rule), "{whole}");
    let narrowed = whole.replace(rule, "");
    sandbox.write("agente.lock", &narrowed);
    let lines = shown(&["plugin", "add", "tcp-health"]);
    assert!(
        lines.len() == 1 && lines[0].starts_with("  + connect to the backends of the deployment"),
        "{lines:?}"
    );
    assert_eq!(sandbox.read("agente.lock"), narrowed);
    sandbox.expect(0, &["plugin", "add", "tcp-health", "--yes"]);
    assert_eq!(sandbox.read("agente.lock"), whole);

    // Another prefix is another grant.
    let programs = whole.matches("program = ").count();
    let lines = shown(&["plugin", "add", "nginx-switch", "--exec-prefix", "/usr/bin/sudo -n"]);
    assert_eq!(
        lines.iter().filter(|line| line.starts_with("  + run `/usr/bin/sudo -n ")).count(),
        programs,
        "{lines:?}"
    );
    assert_eq!(lines.len(), 2 * programs, "{lines:?}");
    sandbox.expect(
        0,
        &["plugin", "add", "nginx-switch", "--yes", "--exec-prefix", "/usr/bin/sudo -n"],
    );

    // An upgrade keeps the prefix, and does not show it as gone.
    let again = sandbox.expect(0, &["plugin", "add", "nginx-switch"]);
    assert!(
        again.stderr.contains("already has exactly this grant for default"),
        "{}",
        again.stderr
    );
    sandbox.write("agente.toml", &SHOP.replace("/nowhere/agente", "/elsewhere/agente"));
    let lines = shown(&["plugin", "add", "nginx-switch"]);
    assert!(!lines.is_empty() && !lines.iter().any(|line| line.contains("run ")), "{lines:?}");
}

#[test]
fn a_prefix_is_granted_by_its_absolute_path() {
    let sandbox = Sandbox::with(SHOP);
    warm();
    // Programs of plugins run without a `PATH`; `sh` is on every machine, in one folder or another.
    sandbox.expect(0, &["plugin", "add", "nginx-switch", "--yes", "--exec-prefix", "sh -x"]);
    let lock = sandbox.read("agente.lock");
    assert!(lock.contains("bin/sh\", \"-x\"]") && !lock.contains("[\"sh\""), "{lock}");
    let refused = sandbox.expect(
        2,
        &["plugin", "add", "nginx-switch", "--yes", "--exec-prefix", "no-such-program -n"],
    );
    assert!(
        refused.stderr.contains("the program `no-such-program` was not found"),
        "{}",
        refused.stderr
    );
    sandbox.expect(2, &["plugin", "add", "nginx-switch", "--yes", "--exec-prefix", " "]);
    assert_eq!(sandbox.read("agente.lock"), lock);
}

#[test]
fn every_shipped_plugin_shows_what_its_author_wrote() {
    let sandbox = Sandbox::empty();
    for plugin in PLUGINS {
        let text = sandbox.expect(0, &["plugin", "inspect", plugin]).stdout;
        assert!(text.starts_with(&format!("{plugin} {} (", env!("CARGO_PKG_VERSION"))), "{text}");
        for heading in ["asks:", "exports:", "imports (not a request):"] {
            assert!(text.lines().any(|line| line == heading), "{text}");
        }
        let json = sandbox.expect(0, &["plugin", "inspect", plugin, "--output", "json"]).stdout;
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(value["plugin"]["name"], plugin);
    }
    let text = sandbox.expect(0, &["plugin", "inspect", "nginx-switch"]).stdout;
    assert!(
        text.contains("[plugins.nginx-switch.config]:\n")
            && text.contains("  directory (required): "),
        "{text}"
    );
    let text = sandbox.expect(0, &["plugin", "inspect", "http-health"]).stdout;
    assert!(text.contains("settings of a check:\n") && text.contains("  max_latency: "), "{text}");
    let text = sandbox.expect(0, &["plugin", "inspect", "prometheus-health"]).stdout;
    assert!(
        text.contains("settings of a query:\n")
            && text.contains("  template: ")
            && text.contains("  agente:health/metrics@0.1.0\n"),
        "{text}"
    );
    assert!(!sandbox.state().exists());
}
