//! A mistake ends with 2 before anything is touched, and the message names file, line and fix.
//!
//! Each case spoils one good manifest in one place. `deploy`, `plan` and `check` must all say the
//! same of it, and leave nothing behind. What a manifest alone can get wrong is shown in full by
//! the tests of `agente-manifest`; here are the usual ones, and those that only the program, the
//! lock file or a plugin can see.

use crate::sandbox::{Sandbox, shipped, snapshot, warm};
use std::fmt::Write as _;
use std::fs;

const GOOD: &str = r#"service = "shop"

[runtime.process]
artifact = "shop"
command = ["./shop", "127.0.0.1:{port}"]
instances = 2
ports = "18100-18199"
env = { MODE = "production", DATABASE_URL = { secret = "db" } }

[secrets]
db = { env = "DATABASE_URL" }

[switch]
plugin = "nginx-switch"

[plugins.nginx-switch.config]
directory = "/etc/nginx/agente"
marker = "127.0.0.1:18999"

[health]
endpoints = ["/healthz"]
interval = "500ms"

[[checks]]
name = "redis"
plugin = "tcp-health"
of = "dependency"
spec = { address = "127.0.0.1:6379" }

[[checks]]
name = "front"
plugin = "http-health"
of = "backends"
when = ["ready"]
spec = { path = "/readyz" }

[probe]
url = "http://127.0.0.1:8080/"

[strategy]
bake = "1m"

[environments.production]

[environments.staging.strategy]
bake = "10s"
"#;

/// A mistake: its name, and what is written instead of what.
type Spoil = (&'static str, &'static str, &'static str);

const IN_THE_MANIFEST: [Spoil; 38] = [
    ("text without quotes", "service = \"shop\"", "service = shop"),
    ("unclosed text", "artifact = \"shop\"", "artifact = \"shop"),
    ("key given twice", "instances = 2", "instances = 2\ninstances = 3"),
    ("unknown key", "instances = 2", "instanzes = 2"),
    ("unknown table", "[health]", "[healthy]"),
    ("wrong type", "instances = 2", "instances = \"two\""),
    ("missing service", "service = \"shop\"\n", ""),
    ("bad service name", "service = \"shop\"", "service = \"My Shop\""),
    ("artifact not there", "artifact = \"shop\"", "artifact = \"target/release/shop\""),
    ("artifact is a folder", "artifact = \"shop\"", "artifact = \"build\""),
    ("artifact not executable", "artifact = \"shop\"", "artifact = \"notes.txt\""),
    ("command of another program", "command = [\"./shop\"", "command = [\"./shopp\""),
    ("command without the port", "\"127.0.0.1:{port}\"]", "\"127.0.0.1:8080\"]"),
    ("reversed port range", "\"18100-18199\"", "\"18199-18100\""),
    ("port range too small", "\"18100-18199\"", "\"18100-18102\""),
    ("port beyond 65535", "\"18100-18199\"", "\"65000-66000\""),
    ("unknown secret", "secret = \"db\"", "secret = \"dbb\""),
    ("secret in place of its source", "{ env = \"DATABASE_URL\" }", "\"hunter2\""),
    ("secret file not there", "{ env = \"DATABASE_URL\" }", "{ file = \"db.secret\" }"),
    ("plugin misspelt", "plugin = \"nginx-switch\"", "plugin = \"nginx-swich\""),
    (
        "plugin file not there",
        "[plugins.nginx-switch.config]",
        "[plugins.nginx-switch]\npath = \"nginx-switch.wasm\"\n[plugins.nginx-switch.config]",
    ),
    (
        "plugin is a folder",
        "[plugins.nginx-switch.config]",
        "[plugins.nginx-switch]\npath = \"build\"\n[plugins.nginx-switch.config]",
    ),
    ("check name given twice", "name = \"front\"", "name = \"redis\""),
    ("unknown word", "of = \"dependency\"", "of = \"dependancy\""),
    ("unknown moment", "when = [\"ready\"]", "when = [\"redy\"]"),
    ("endpoint without a slash", "[\"/healthz\"]", "[\"healthz\"]"),
    ("endpoint given twice", "[\"/healthz\"]", "[\"/healthz\", \"/healthz\"]"),
    (
        "timeout longer than the interval",
        "interval = \"500ms\"",
        "interval = \"500ms\"\ntimeout = \"2s\"",
    ),
    ("bad URL", "http://127.0.0.1:8080/", "shop.example"),
    ("address without a port", "[strategy]", "connect = \"127.0.0.1\"\n[strategy]"),
    ("public port within the range", "127.0.0.1:8080", "127.0.0.1:18150"),
    ("rate of nothing", "[strategy]", "rate = 0\n[strategy]"),
    ("bad duration", "bake = \"1m\"", "bake = \"1 moment\""),
    ("duration as a number", "bake = \"1m\"", "bake = 60"),
    ("weight over 100 %", "bake = \"1m\"", "weights = [10, 150]"),
    ("drain that never ends", "bake = \"1m\"", "drain = { timeout = \"0s\" }"),
    ("bad environment name", "[environments.production]", "[environments.Production]"),
    ("unknown key of an environment", "bake = \"10s\"", "baek = \"10s\""),
];

const SEEN_BY_PLUGINS: [Spoil; 18] = [
    ("nginx-switch: unknown key", "marker =", "markr ="),
    ("nginx-switch: marker without a port", "127.0.0.1:18999", "127.0.0.1"),
    ("nginx-switch: marker with a port beyond 65535", "127.0.0.1:18999", "127.0.0.1:99999"),
    ("nginx-switch: marker as a list", "\"127.0.0.1:18999\"", "[\"127.0.0.1\", 18999]"),
    ("nginx-switch: directory missing", "directory = \"/etc/nginx/agente\"\n", ""),
    ("nginx-switch: directory not absolute", "/etc/nginx/agente", "agente"),
    ("nginx-switch: directory with a way out", "/etc/nginx/agente", "/etc/nginx/../agente"),
    (
        "nginx-switch: directory as a table",
        "\"/etc/nginx/agente\"",
        "{ path = \"/etc/nginx/agente\" }",
    ),
    ("nginx-switch: unknown choice", "marker =", "reload = \"now\"\nmarker ="),
    ("nginx-switch: negative number", "marker =", "upstream = { keepalive = -1 }\nmarker ="),
    ("tcp-health: address without a port", "127.0.0.1:6379", "127.0.0.1"),
    ("tcp-health: unknown key", "\"127.0.0.1:6379\"", "\"127.0.0.1:6379\", expct = \"+PONG\""),
    (
        "tcp-health: bytes that are none",
        "\"127.0.0.1:6379\"",
        "\"127.0.0.1:6379\", send_hex = \"zz\"",
    ),
    ("http-health: bad method", "path = \"/readyz\"", "path = \"/readyz\", method = \"DELETE\""),
    ("http-health: bad status", "path = \"/readyz\"", "path = \"/readyz\", status = \"2xx\""),
    (
        "http-health: bad latency",
        "path = \"/readyz\"",
        "path = \"/readyz\", max_latency = \"quick\"",
    ),
    ("a check by a plugin that switches", "plugin = \"tcp-health\"", "plugin = \"nginx-switch\""),
    ("a switch by a plugin that checks", "plugin = \"nginx-switch\"", "plugin = \"tcp-health\""),
];

/// The good manifest with one part replaced.
fn spoilt((name, from, to): Spoil) -> String {
    assert_eq!(
        GOOD.matches(from).count(),
        1,
        "`{name}`: `{from}` must stand once in the good manifest"
    );
    GOOD.replace(from, to)
}

/// A sandbox with the good manifest, all that it names, and some files that it should not name.
fn sandbox() -> Sandbox {
    let sandbox = Sandbox::with(GOOD);
    sandbox.write("notes.txt", "not a program\n");
    fs::create_dir(sandbox.folder().join("build")).unwrap();
    sandbox
}

/// Runs every command that judges a manifest and gives what all of them said.
fn judged(sandbox: &Sandbox, name: &str, options: &[&str]) -> String {
    let before = sandbox.files();
    let run = |command: &[&str]| sandbox.expect(2, &[command, options].concat());
    let deploy = run(&["deploy"]);
    assert_eq!(deploy.stdout, "", "`{name}` writes data");
    for other in [&["check"][..], &["plan"], &["deploy", "--dry-run"]] {
        let other = run(other);
        assert_eq!(
            (&other.stdout, &other.stderr),
            (&deploy.stdout, &deploy.stderr),
            "`{name}` is told differently"
        );
    }
    assert_eq!(sandbox.files(), before, "`{name}` leaves something behind");
    assert!(!sandbox.state().exists());
    deploy.stderr
}

#[test]
fn an_engine_that_can_not_be_used_is_an_error_only_where_there_are_containers() {
    let with_engine = |runtime: &str| {
        let switch = "[switch]\nplugin = \
                      \"nginx-switch\"\n\n[plugins.nginx-switch.config]\ndirectory = \
                      \"/nowhere/agente\"\n";
        let sandbox = Sandbox::with(&format!("service = \"shop\"\n\n{runtime}\n{switch}"));
        sandbox.grant(&["nginx-switch"]);
        let output = sandbox
            .command(&["plan"])
            .env("DOCKER_HOST", "ssh://deploy@elsewhere")
            .output()
            .unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, said) = with_engine(
        "[runtime.process]\nartifact = \"shop\"\ncommand = [\"./shop\", \
         \"127.0.0.1:{port}\"]\nports = \"18100-18199\"\n",
    );
    assert_eq!(code, Some(0), "{said}");
    let (code, said) = with_engine(
        "[runtime.docker]\nimage = \"shop:1\"\ncontainer_port = 8080\nports = \"18100-18199\"\n",
    );
    assert_eq!(code, Some(2), "{said}");
    assert!(
        said.contains(
            "`ssh://deploy@elsewhere` is not a Docker Engine address that agente-host supports"
        ),
        "{said}"
    );
}

#[test]
fn a_mistake_in_the_manifest_ends_with_2_before_anything_is_touched() {
    let sandbox = sandbox();
    let mut shown = String::new();
    for spoil in IN_THE_MANIFEST {
        sandbox.write("agente.toml", &spoilt(spoil));
        let said = judged(&sandbox, spoil.0, &["--env", "production"]);
        assert!(said.contains("agente.toml:"), "`{}` names no line: {said}", spoil.0);
        assert!(said.contains("\nfix: "), "`{}` has no fix: {said}", spoil.0);
        assert!(!said.contains("hunter2"), "a secret is shown: {said}");
        writeln!(shown, "## {}\n{said}", spoil.0).unwrap();
    }
    snapshot!("mistakes_in_the_manifest", shown);
}

#[test]
fn a_mistake_that_only_a_plugin_sees_is_told_at_its_line_too() {
    let sandbox = sandbox();
    warm();
    for plugin in ["nginx-switch", "http-health", "tcp-health"] {
        sandbox.expect(0, &["plugin", "add", plugin, "--env", "production", "--yes"]);
    }
    let mut shown = String::new();
    for spoil in SEEN_BY_PLUGINS {
        sandbox.write("agente.toml", &spoilt(spoil));
        let said = judged(&sandbox, spoil.0, &["--env", "production"]);
        assert!(
            said.contains("agente.toml:") && said.contains("\nfix: "),
            "`{}` has no line or no fix: {said}",
            spoil.0
        );
        writeln!(shown, "## {}\n{said}", spoil.0).unwrap();
    }
    snapshot!("mistakes_that_plugins_see", shown);
}

#[test]
fn a_plugin_that_never_ran_is_asked_about_its_configuration_before_it_is_granted() {
    let sandbox = sandbox();
    warm();
    sandbox.write("agente.toml", &GOOD.replace("127.0.0.1:18999", "nowhere"));
    let run = sandbox.expect(2, &["plugin", "add", "nginx-switch", "--env", "production", "--yes"]);
    assert!(run.stderr.contains("agente.toml:18:10: nginx-switch: "), "{}", run.stderr);
    assert!(!sandbox.folder().join("agente.lock").exists());
}

#[test]
fn a_mistake_on_the_command_line_names_what_is_there() {
    let sandbox = sandbox();
    sandbox.write("text.wasm", "hello\n");
    let bytes = fs::read(shipped().join("tcp-health.wasm")).unwrap();
    fs::write(sandbox.folder().join("cut.wasm"), &bytes[..bytes.len() / 2]).unwrap();
    fs::write(sandbox.folder().join("module.wasm"), b"\0asm\x01\0\0\0").unwrap();
    fs::write(sandbox.folder().join("component.wasm"), b"\0asm\x0d\0\x01\0").unwrap();
    let production = ["--env", "production"];
    let mut shown = String::new();
    for options in [
        &[][..],
        &["--env", "prodution"],
        &["--env", "Production"],
        &["--env", "production", "--image", "shop:2"],
        &["--env", "production", "--artifact", "target/shop"],
        &["--env", "production", "--artifact", "build"],
        &["--env", "production", "--plugin", "build"],
        &["--env", "production", "--plugin", "nothing.wasm"],
        &["--env", "production", "--plugin", "text.wasm"],
        &["--env", "production", "--plugin", "cut.wasm"],
        &["--env", "production", "--plugin", "module.wasm"],
        &["--env", "production", "--plugin", "component.wasm"],
        &["--file", "nothing.toml"],
        &["--file", "build"],
    ] {
        let said = judged(&sandbox, &options.join(" "), options);
        writeln!(shown, "## {}\n{said}", options.join(" ")).unwrap();
    }
    // A plugin of the wrong kind for its name's use is refused by its name: nothing in the manifest
    // uses it so.
    sandbox.write(
        "agente.toml",
        &GOOD.replace("plugin = \"nginx-switch\"", "plugin = \"tcp-health\""),
    );
    let component = shipped().join("tcp-health.wasm").display().to_string();
    let said = judged(
        &sandbox,
        "--plugin of the wrong kind",
        &[&production[..], &["--plugin", &component]].concat(),
    );
    writeln!(shown, "## --plugin of the wrong kind\n{said}").unwrap();
    snapshot!("mistakes_on_the_command_line", shown);
}

#[test]
fn a_damaged_lock_file_ends_with_2_and_says_how_to_mend_it() {
    let sandbox = sandbox();
    warm();
    let production = ["--env", "production"];
    sandbox.expect(0, &["plugin", "add", "tcp-health", "--env", "production", "--yes"]);
    let good = sandbox.read("agente.lock");
    let mut shown = String::new();
    for (name, text) in [
        (
            "cut off",
            good.chars().take(good.find("digest").unwrap()).collect::<String>() + "digest = \"sha",
        ),
        ("of another version", good.replace("version = 1", "version = 7")),
        ("with an unknown key", good.replace("version = 1", "version = 1\nverified = true")),
        ("with a digest that is none", good.replace("digest = \"sha256:", "digest = \"sha1:")),
        ("empty", String::new()),
    ] {
        sandbox.write("agente.lock", &text);
        writeln!(shown, "## {name}\n{}", judged(&sandbox, name, &production)).unwrap();
        assert_eq!(sandbox.read("agente.lock"), text);
    }
    fs::remove_file(sandbox.folder().join("agente.lock")).unwrap();
    fs::create_dir(sandbox.folder().join("agente.lock")).unwrap();
    writeln!(shown, "## a folder\n{}", judged(&sandbox, "a folder", &production)).unwrap();
    snapshot!("damaged_lock_file", shown);
}

#[test]
fn a_lock_file_or_manifest_that_may_not_be_read_ends_with_2() {
    use std::os::unix::fs::PermissionsExt;
    let sandbox = sandbox();
    for name in ["agente.lock", "agente.toml"] {
        sandbox.write("agente.lock", "version = 1\n");
        let path = sandbox.folder().join(name);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
        let output = sandbox
            .command_that_may_not_read_everything(&["check", "--env", "production"])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(name) && said.contains("can't be read"), "{said}");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    }
}
