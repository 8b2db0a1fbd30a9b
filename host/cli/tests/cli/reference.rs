//! Schema and reference pages: generated from the code, and as they are committed.

use crate::sandbox::Sandbox;
use std::path::Path;

fn committed(page: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference").join(page);
    std::fs::read_to_string(&path).unwrap_or_else(|error| {
        panic!("`docs/reference/{page}` can't be read ({error}); run `make docs`")
    })
}

#[test]
fn the_committed_pages_are_what_the_program_prints() {
    let sandbox = Sandbox::empty();
    for (command, page) in [
        (["reference", "manifest"], "manifest.md"),
        (["reference", "cli"], "cli.md"),
        (["reference", "events"], "events.md"),
        (["schema", "events"], "events.schema.json"),
    ] {
        let printed = sandbox.expect(0, &command).stdout;
        assert!(
            printed == committed(page),
            "`docs/reference/{page}` is not what `agente-host {}` prints; run `make docs`",
            command.join(" ")
        );
        // The page must not depend on where it was made.
        for (name, value) in [
            ("COLUMNS", "40"),
            ("AGENTE_HOST_ENV", "production"),
            ("AGENTE_HOST_MANIFEST", "elsewhere.toml"),
        ] {
            let output = sandbox.command(&command).env(name, value).output().unwrap();
            assert_eq!(
                String::from_utf8_lossy(&output.stdout),
                printed,
                "{name}={value} changes the page"
            );
        }
    }
}

#[test]
fn the_pages_hold_every_command_and_every_table() {
    let sandbox = Sandbox::empty();
    let commands = sandbox.expect(0, &["reference", "cli"]).stdout;
    for heading in [
        "## `agente-host`",
        "## `agente-host deploy`",
        "## `agente-host plugin add`",
        "## `agente-host completions`",
    ] {
        assert!(commands.lines().any(|line| line == heading), "`{heading}` is missing");
    }
    let manifest = sandbox.expect(0, &["reference", "manifest"]).stdout;
    for table in [
        "runtime.process",
        "runtime.docker",
        "health",
        "checks",
        "probe",
        "strategy",
        "timeouts",
        "secrets",
    ] {
        assert!(manifest.contains(table), "`{table}` is missing");
    }
}

#[test]
fn the_schema_is_json_and_knows_what_init_writes() {
    let sandbox = Sandbox::empty();
    let schema: serde_json::Value =
        serde_json::from_str(&sandbox.expect(0, &["schema"]).stdout).unwrap();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    sandbox.expect(0, &["init", "--artifact", "shop"]);
    let template = sandbox.read("agente.toml");
    let tables = template
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.strip_prefix('[')?.split([']', '.']).next());
    for table in tables.chain(["service"]) {
        assert!(schema["properties"].get(table).is_some(), "the schema does not know `{table}`");
    }
}
