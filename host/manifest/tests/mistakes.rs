//! Every mistake in a manifest gets a message with its file, its line and a fix, and all of them at
//! once.
//!
//! The manifests are made from one good one by replacing a part of it, so that each has exactly the
//! mistake that its name says.

#![expect(clippy::unwrap_used, reason = "a test that can't go on has failed")]

#[path = "mistakes/measured.rs"]
mod measured;
#[path = "mistakes/plugins.rs"]
mod plugins;
#[path = "mistakes/policies.rs"]
mod policies;

use agente_manifest::{Manifest, ManifestError, Overrides};
use std::fmt::Write as _;
use std::fs::{Permissions, create_dir, set_permissions, write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use tempfile::TempDir;

const GOOD: &str = r#"service = "shop"

[runtime.process]
artifact = "shop"
command = ["./shop", "127.0.0.1:{port}"]
instances = 2
ports = "18100-18199"
env = { MODE = "production", DATABASE_URL = { secret = "db" } }

[secrets]
db = { env = "DATABASE_URL" }

[plugins.nginx-switch]
config = { directory = "/etc/nginx/agente" }

[switch]
plugin = "nginx-switch"

[[checks]]
name = "redis"
plugin = "tcp-health"
of = "dependency"
spec = { address = "127.0.0.1:6379" }

[health]
endpoints = ["/healthz", "/readyz"]
interval = "500ms"

[probe]
url = "http://127.0.0.1:8080/healthz"

[strategy]
bake = "1m"

[timeouts]
healthy = "30s"
"#;

const DOCKER: &str = r#"service = "shop"

[runtime.docker]
image = "shop:2"
container_port = 8080
ports = "18100-18199"
volumes = ["/srv/shop:/data"]
memory = "256MiB"

[switch]
plugin = "nginx-switch"
"#;

/// A folder with the files that the good manifests name, and some that nobody should.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("shop");
    write(&program, "#!/bin/sh\n").unwrap();
    set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
    write(folder.path().join("notes.txt"), "not a program\n").unwrap();
    write(folder.path().join("release notes.txt"), "not a program\n").unwrap();
    create_dir(folder.path().join("build")).unwrap();
    folder
}

fn load(folder: &Path, text: &str, environment: Option<&str>) -> Result<Manifest, ManifestError> {
    let overrides =
        Overrides { environment: environment.map(str::to_owned), ..Overrides::default() };
    Manifest::from_bytes(&folder.join("agente.toml"), text.as_bytes().to_vec(), &overrides)
}

/// The good manifest with one part replaced.
fn spoilt(good: &str, from: &str, to: &str) -> String {
    assert_eq!(good.matches(from).count(), 1, "`{from}` must stand once in the good manifest");
    good.replace(from, to)
}

/// The message, with the test's folder taken out of it.
fn said(folder: &Path, error: &ManifestError) -> String {
    error
        .to_string()
        .replace(&format!("{}/", folder.display()), "")
        .replace(&folder.display().to_string(), ".")
}

struct Mistake {
    name: &'static str,
    text: String,
    environment: Option<&'static str>,
}

fn process(name: &'static str, from: &str, to: &str) -> Mistake {
    Mistake { name, text: spoilt(GOOD, from, to), environment: None }
}

fn docker(name: &'static str, from: &str, to: &str) -> Mistake {
    Mistake { name, text: spoilt(DOCKER, from, to), environment: None }
}

fn appended(name: &'static str, more: &str) -> Mistake {
    Mistake { name, text: format!("{GOOD}\n{more}"), environment: None }
}

fn in_environment(name: &'static str, environment: Option<&'static str>, more: &str) -> Mistake {
    Mistake { name, text: format!("{GOOD}\n{more}"), environment }
}

fn mistakes() -> Vec<Mistake> {
    let mut all = syntax();
    all.extend(shapes());
    all.extend(runtimes());
    all.extend(plugins::plugins_and_checks());
    all.extend(policies::policies());
    all.extend(measured::mistakes());
    all.extend(environments());
    all
}

fn syntax() -> Vec<Mistake> {
    vec![
        process("text without quotes", "service = \"shop\"", "service = shop"),
        process("no value", "service = \"shop\"", "service ="),
        process("unclosed text", "artifact = \"shop\"", "artifact = \"shop"),
        process("unclosed list", "\"127.0.0.1:{port}\"]", "\"127.0.0.1:{port}\""),
        process("unclosed table in braces", "{ secret = \"db\" } }", "{ secret = \"db\" }"),
        process("missing comma in a list", "\"./shop\", \"127", "\"./shop\" \"127"),
        process("unclosed table name", "[strategy]", "[strategy"),
        process("missing equals sign", "instances = 2", "instances 2"),
        process("bad escape", "directory = \"/etc", "directory = \"C:\\qetc"),
        process("duplicate key", "instances = 2", "instances = 2\ninstances = 3"),
        process(
            "duplicate table",
            "[timeouts]\nhealthy = \"30s\"",
            "[strategy]\nkeep_previous = \"none\"",
        ),
        process("number too large", "instances = 2", "instances = 99999999999999999999"),
        process("infinite number", "bake = \"1m\"", "weights = [inf]"),
    ]
}

fn shapes() -> Vec<Mistake> {
    vec![
        process("unknown key", "instances = 2", "instnaces = 2"),
        process("unknown key without a likeness", "instances = 2", "gravity = 2"),
        process("kebab-case key", "bake = \"1m\"", "keep-previous = \"none\""),
        process("key in the wrong table", "healthy = \"30s\"", "bake = \"30s\""),
        process("unknown table", "[strategy]", "[strategies]"),
        process("wrong type: text for a number", "instances = 2", "instances = \"2\""),
        process("wrong type: number for a text", "service = \"shop\"", "service = 42"),
        process("wrong type: number for a duration", "bake = \"1m\"", "bake = 60"),
        process(
            "wrong type: text for a list",
            "command = [\"./shop\", \"127.0.0.1:{port}\"]",
            "command = \"./shop 127.0.0.1:{port}\"",
        ),
        process(
            "wrong type: value for a table",
            "[plugins.nginx-switch]\nconfig = { directory = \"/etc/nginx/agente\" }",
            "[plugins]\nnginx-switch = \"on\"",
        ),
        process("wrong type: date", "bake = \"1m\"", "bake = 2024-01-01"),
        process(
            "wrong type: text for a yes or no",
            "url = \"http",
            "count_idle_resets = \"true\"\nurl = \"http",
        ),
        process("negative number", "instances = 2", "instances = -2"),
        process("fraction for a whole number", "instances = 2", "instances = 1.5"),
        process("no instances", "instances = 2", "instances = 0"),
        process("unknown word", "of = \"dependency\"", "of = \"dependancy\""),
        process("missing service", "service = \"shop\"\n", ""),
        process("missing key in a table", "url = \"http://127.0.0.1:8080/healthz\"", ""),
        process("missing switch", "[switch]\nplugin = \"nginx-switch\"", ""),
        process("bad service name", "service = \"shop\"", "service = \"My Shop\""),
    ]
}

fn runtimes() -> Vec<Mistake> {
    vec![
        process("no runtime", "[runtime.process]", "[runtime]\n[plugins.process.config]"),
        appended(
            "both runtimes",
            "[runtime.docker]\nimage = \"shop:2\"\ncontainer_port = 8080\nports = \
             \"18100-18199\"\n",
        ),
        process("artifact not there", "artifact = \"shop\"", "artifact = \"target/release/shop\""),
        process("artifact is a folder", "artifact = \"shop\"", "artifact = \"build\""),
        process("artifact not executable", "artifact = \"shop\"", "artifact = \"notes.txt\""),
        process(
            "artifact not executable, two words",
            "artifact = \"shop\"",
            "artifact = \"release notes.txt\"",
        ),
        process("command is empty", "command = [\"./shop\", \"127.0.0.1:{port}\"]", "command = []"),
        process("command of another program", "command = [\"./shop\"", "command = [\"./shopp\""),
        process("command of no program", "command = [\"./shop\"", "command = [\"shop\""),
        process(
            "command of a program that is not installed",
            "command = [\"./shop\"",
            "command = [\"/nowhere/shop\"",
        ),
        process("command without the port", "\"127.0.0.1:{port}\"", "\"127.0.0.1:8080\""),
        process(
            "unknown placeholder",
            "\"127.0.0.1:{port}\"",
            "\"127.0.0.1:{port}\", \"--name={solt}\"",
        ),
        process(
            "misspelt placeholder in the environment",
            "MODE = \"production\"",
            "MODE = \"{relase}\"",
        ),
        process("bad variable name", "MODE =", "\"MY-MODE\" ="),
        process("unknown secret", "secret = \"db\"", "secret = \"dbb\""),
        process("reversed port range", "\"18100-18199\"", "\"18199-18100\""),
        process("port range too small", "\"18100-18199\"", "\"18100-18102\""),
        process("privileged ports", "\"18100-18199\"", "\"80-89\""),
        process("port 0", "\"18100-18199\"", "\"0-100\""),
        process("port beyond 65535", "\"18100-18199\"", "\"65000-66000\""),
        process("one port instead of a range", "\"18100-18199\"", "\"18100\""),
        process(
            "public port within the range",
            "127.0.0.1:8080/healthz",
            "127.0.0.1:18150/healthz",
        ),
        process("bad duration", "bake = \"1m\"", "bake = \"1 moment\""),
        process("duration without all units", "bake = \"1m\"", "bake = \"1 30s\""),
        process(
            "secret from two places",
            "{ env = \"DATABASE_URL\" }",
            "{ env = \"DATABASE_URL\", file = \"notes.txt\" }",
        ),
        process("secret from nowhere", "{ env = \"DATABASE_URL\" }", "{ }"),
        process("secret file not there", "{ env = \"DATABASE_URL\" }", "{ file = \"db.secret\" }"),
        process("secret command is empty", "{ env = \"DATABASE_URL\" }", "{ command = [] }"),
        process("bad secret variable", "env = \"DATABASE_URL\"", "env = \"$DATABASE_URL\""),
        process("secret in place of its source", "{ env = \"DATABASE_URL\" }", "\"hunter2\""),
        process(
            "secret under an unknown key",
            "{ env = \"DATABASE_URL\" }",
            "{ value = \"hunter2\" }",
        ),
        process(
            "secret as a text for a command",
            "{ env = \"DATABASE_URL\" }",
            "{ command = \"echo hunter2\" }",
        ),
        process("secret without quotes", "{ env = \"DATABASE_URL\" }", "hunter2"),
        docker("bad image", "shop:2", "Shop 2"),
        docker("ports and network", "memory =", "network = \"shop-net\"\nmemory ="),
        docker("neither ports nor network", "ports = \"18100-18199\"\n", ""),
        docker("network of the host", "ports = \"18100-18199\"", "network = \"host\""),
        docker("bad size", "256MiB", "256MB"),
        docker("too little memory", "256MiB", "256KiB"),
        docker("relative volume", "/srv/shop:/data", "./data:/data"),
        docker(
            "volume target given twice",
            "[\"/srv/shop:/data\"]",
            "[\"/srv/shop:/data\", \"cache:/data\"]",
        ),
        docker("bad volume mode", "/srv/shop:/data", "/srv/shop:/data:rx"),
        docker("container port out of range", "container_port = 8080", "container_port = 80800"),
        docker("relative socket", "memory =", "socket = \"docker.sock\"\nmemory ="),
    ]
}

fn environments() -> Vec<Mistake> {
    let two = "[environments.staging]\n[environments.production.strategy]\nbake = \"10m\"\n";
    vec![
        in_environment("several environments and none named", None, two),
        in_environment("unknown environment", Some("prodution"), two),
        in_environment("environment where none is declared", Some("production"), ""),
        in_environment("bad environment name", None, "[environments.Production]\n"),
        in_environment(
            "service in an environment",
            None,
            "[environments.production]\nservice = \"shop2\"\n",
        ),
        in_environment(
            "unknown key in an environment",
            None,
            "[environments.production.strategy]\nbaek = \"10m\"\n",
        ),
        in_environment(
            "wrong value in an environment",
            Some("production"),
            "[environments.staging]\n[environments.production.runtime.process]\nports = \
             \"19100-19102\"\n",
        ),
        in_environment(
            "mistake in the environment that is not meant",
            Some("staging"),
            "[environments.staging]\n[environments.production.strategy]\nbake = 10\n",
        ),
        in_environment(
            "weights of another environment's strategy",
            Some("production"),
            "[environments.production.strategy]\nkind = \"rolling\"\nweights = [10, 100]\n",
        ),
        in_environment(
            "overlapping port ranges",
            Some("production"),
            "[environments.production.runtime.process]\nports = \
             \"18150-18250\"\n[environments.staging]\n",
        ),
    ]
}

#[test]
fn each_mistake_names_file_line_and_fix() {
    let folder = folder();
    let (mut all, mut echoes, mut taken) = (String::new(), String::new(), Vec::new());
    let mut count = 0;
    for mistake in mistakes() {
        let Err(error) = load(folder.path(), &mistake.text, mistake.environment) else {
            taken.push(mistake.name);
            continue;
        };
        for found in &error.mistakes {
            assert!(
                found.line > 0 && found.column > 0,
                "`{}` has no place: {found:?}",
                mistake.name
            );
            assert!(!found.fix.is_empty(), "`{}` has no fix: {found:?}", mistake.name);
            assert!(
                found.line <= mistake.text.lines().count().max(1),
                "`{}` is beyond the file: {found:?}",
                mistake.name
            );
        }
        if error.mistakes.len() > 1 {
            write!(echoes, "── {}\n{}\n\n", mistake.name, said(folder.path(), &error)).unwrap();
        }
        write!(all, "── {}\n{}\n\n", mistake.name, said(folder.path(), &error)).unwrap();
        count += 1;
    }
    assert!(taken.is_empty(), "taken as good: {taken:?}");
    assert!(echoes.is_empty(), "one mistake, told several times:\n{echoes}");
    assert!(count >= 200, "{count} mistakes");
    assert!(!all.contains("hunter2"), "a secret that stands where it shouldn't must not be shown");
    insta::assert_snapshot!("mistakes", all);
}

#[test]
fn the_good_manifests_are_good() {
    let folder = folder();
    let analysed = measured::analysed(
        "",
        "on_outage = \"fallback\"\nfallback = [\"health-readyz\"]",
        measured::ERRORS,
    )
    .text;
    for text in [GOOD, DOCKER, &analysed] {
        load(folder.path(), text, None).unwrap_or_else(|error| panic!("{error}"));
    }
}

#[test]
fn all_mistakes_are_reported_at_once_in_the_order_of_the_file() {
    let folder = folder();
    let text = GOOD
        .replace("instances = 2", "instnaces = 2")
        .replace("\"18100-18199\"", "\"18199-18100\"")
        .replace("secret = \"db\"", "secret = \"cache\"")
        .replace("plugin = \"nginx-switch\"", "plugin = \"alb-switch\"")
        .replace("plugin = \"tcp-health\"", "plugin = 7")
        .replace("http://127.0.0.1", "ftp://127.0.0.1")
        .replace("bake = \"1m\"", "bake = \"1 moment\"")
        .replace("healthy = \"30s\"", "healthy = \"0s\"");
    let error = load(folder.path(), &text, None).unwrap_err();
    insta::assert_snapshot!("all_at_once", said(folder.path(), &error));
    let lines: Vec<usize> = error.mistakes.iter().map(|mistake| mistake.line).collect();
    assert_eq!(lines, [6, 7, 8, 17, 21, 30, 33, 36]);
}

#[test]
fn a_syntax_error_that_leaves_no_doubt_hides_nothing_else() {
    let folder = folder();
    let text = GOOD
        .replace("instances = 2", "instances = two")
        .replace("bake = \"1m\"", "bake = \"1 moment\"")
        .replace("healthy = \"30s\"", "healthy = \"1s\"\nhealthy = \"2s\"");
    let error = load(folder.path(), &text, None).unwrap_err();
    let lines: Vec<usize> = error.mistakes.iter().map(|mistake| mistake.line).collect();
    assert_eq!(lines, [6, 33, 37], "{error}");
}

#[test]
fn files_that_hold_no_manifest_are_told_apart() {
    let folder = folder();
    let missing = Manifest::load(folder.path().join("agente.toml"), None).unwrap_err();
    let is_folder = Manifest::load(folder.path(), None).unwrap_err();
    let large = folder.path().join("large.toml");
    write(&large, "#".repeat(2 << 20)).unwrap();
    let large = Manifest::load(&large, None).unwrap_err();
    let binary = folder.path().join("binary.toml");
    write(&binary, b"service = \"shop\"\nname = \"\xff\xfe\"\n").unwrap();
    let binary = Manifest::load(&binary, None).unwrap_err();
    let empty = folder.path().join("empty.toml");
    write(&empty, "").unwrap();
    let empty = Manifest::load(&empty, None).unwrap_err();
    let all = [missing, is_folder, large, binary, empty]
        .map(|error| said(folder.path(), &error))
        .join("\n\n");
    insta::assert_snapshot!("no_manifest", all);
}

#[test]
fn a_tab_and_an_escape_sequence_do_not_reach_the_terminal() {
    let folder = folder();
    let text = GOOD.replace("instances = 2", "\tinstnaces = 2 # \u{1b}[31m");
    let error = load(folder.path(), &text, None).unwrap_err();
    // A control character in a comment is an error of its own; neither it nor the tab is printed.
    let text = error.to_string();
    assert!(!text.contains(['\t', '\u{1b}']), "{text:?}");
}
