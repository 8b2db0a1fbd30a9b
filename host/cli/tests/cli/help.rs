//! What can be typed: help, version, misuse, completions.

use crate::sandbox::{Sandbox, snapshot};
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Stdio};

const COMMANDS: [&str; 17] = [
    "init",
    "adopt",
    "deploy",
    "plan",
    "status",
    "history",
    "logs",
    "metrics",
    "rollback",
    "abort",
    "pause",
    "resume",
    "up",
    "check",
    "plugin",
    "schema",
    "completions",
];

const PLUGIN_COMMANDS: [&str; 5] = ["add", "list", "inspect", "pack", "remove"];

#[test]
fn the_program_says_what_it_can_do() {
    let sandbox = Sandbox::empty();
    let run = sandbox.expect(0, &["--help"]);
    snapshot!("help", run.shown());
    // With no command at all it says the same in short, and ends as misuse does.
    assert_eq!(sandbox.expect_without_settings(2, &[]).stderr, sandbox.expect(0, &["-h"]).stdout);
}

/// The reference page holds every help text in full; here it only counts that each is asked for as
/// users ask, and has an example.
#[test]
fn each_command_has_help_with_an_example() {
    let sandbox = Sandbox::empty();
    let listed = sandbox.expect(0, &["-h"]).stdout;
    for name in COMMANDS {
        assert!(
            listed.lines().any(|line| line.trim_start().starts_with(&format!("{name} "))),
            "`{name}` is not listed:\n{listed}"
        );
    }
    let plain = COMMANDS.iter().filter(|name| **name != "plugin").map(|name| vec![*name]);
    for words in plain.chain(PLUGIN_COMMANDS.iter().map(|name| vec!["plugin", name])) {
        let long = sandbox.expect(0, &[words.clone(), vec!["--help"]].concat()).stdout;
        let example = format!("agente-host {}", words.join(" "));
        assert!(
            long.contains("Example") && long.contains(&example),
            "`{example}` is in no example:\n{long}"
        );
        assert_eq!(long, sandbox.expect(0, &[vec!["help"], words].concat()).stdout);
    }
}

#[test]
fn the_version_is_one_line() {
    let sandbox = Sandbox::empty();
    let run = sandbox.expect(0, &["--version"]);
    assert_eq!(
        (run.stdout.as_str(), run.stderr.as_str()),
        (concat!("agente-host ", env!("CARGO_PKG_VERSION"), "\n"), "")
    );
    assert_eq!(
        sandbox.expect(0, &["deploy", "--version"]).stdout,
        concat!("agente-host-deploy ", env!("CARGO_PKG_VERSION"), "\n")
    );
}

#[test]
fn misuse_ends_with_2_and_says_what_is_known() {
    let sandbox = Sandbox::empty();
    let mut shown = String::new();
    for arguments in [
        &["deplyo"][..],
        &["deploy", "--forse"],
        &["deploy", "--lock-wait", "soon"],
        &["deploy", "--image", "shop:2", "--artifact", "shop"],
        &["deploy", "shop"],
        &["status", "--output", "xml"],
        &["rollback", "--to", "first"],
        &["init", "--image", "shop:2"],
        &["plugin", "add"],
        &["plugin", "pack", "shop.wasm"],
        &["completions", "tcsh"],
        &["completions"],
        &["logs", "--of", "blue"],
        &["history", "--limit", "-1"],
        &["adopt", "--backend", "9000"],
        &["adopt", "--backend", "127.0.0.1:0"],
    ] {
        let run = sandbox.expect_without_settings(2, arguments);
        assert!(run.stdout.is_empty(), "{arguments:?} wrote to standard output: {}", run.stdout);
        writeln!(shown, "$ agente-host {}\n{}", arguments.join(" "), run.stderr).unwrap();
    }
    assert!(!sandbox.state().exists());
    snapshot!("misuse", shown);
}

/// Runs a shell's own check of a script; none where the shell is not installed.
fn parses(shell: &str, arguments: &[&str], script: &str) -> Option<bool> {
    let mut child = Command::new(shell)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    child.stdin.take()?.write_all(script.as_bytes()).ok()?;
    Some(child.wait().ok()?.success())
}

#[test]
fn completions_are_scripts_that_their_shells_read() {
    let sandbox = Sandbox::empty();
    for (shell, check) in [("bash", &["-n"][..]), ("zsh", &["-n"]), ("fish", &["--no-execute"])] {
        let script = sandbox.expect(0, &["completions", shell]).stdout;
        for word in ["rollback", "lock-wait", "plugin"] {
            assert!(script.contains(word), "the script for {shell} does not know `{word}`");
        }
        let read = parses(shell, check, &script);
        assert!(read.unwrap_or(shell != "bash"), "{shell} does not read the script");
    }
    // What bash completes is what can be typed.
    let script = sandbox.expect(0, &["completions", "bash"]).stdout;
    let ask = format!(
        "{script}\nCOMP_WORDS=(agente-host roll); COMP_CWORD=1; _agente__host agente-host roll \
         agente-host; echo \"${{COMPREPLY[@]}}\""
    );
    let output = Command::new("bash")
        .args(["--norc", "-c", &ask])
        .env("PATH", "/usr/bin:/bin")
        .output()
        .unwrap();
    assert_eq!(
        String::from_utf8_lossy(&output.stdout).trim(),
        "rollback",
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
