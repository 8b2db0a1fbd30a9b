//! What a manifest means once it is good: defaults, environments, overrides, and the way back to
//! its lines.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that can't go on has failed")]

use agente_engine::names::PluginName;
use agente_engine::policy::{
    CheckMoment, CheckOf, FailingBaseline, KeepPrevious, OnDrainTimeout, OnOpen, Strategy,
};
use agente_engine::release::{DockerReach, EnvValue, PortRange, RuntimeSpec};
use agente_manifest::{
    ArtifactSource, Manifest, ManifestError, MetricsSection, Overrides, SecretSource,
};
use serde_json::json;
use std::fs::{Permissions, set_permissions, write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;

const SHORT: &str = r#"service = "shop"
[runtime.process]
artifact = "shop"
command = ["./shop", "127.0.0.1:{port}"]
ports = "18100-18199"
[switch]
plugin = "nginx-switch"
"#;

fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in ["shop", "other"] {
        let program = folder.path().join(name);
        write(&program, "#!/bin/sh\n").unwrap();
        set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
    }
    write(folder.path().join("db.secret"), "value\n").unwrap();
    write(folder.path().join("ca.pem"), "-----BEGIN CERTIFICATE-----\n").unwrap();
    write(folder.path().join("my-switch.wasm"), "\0asm").unwrap();
    folder
}

fn load_with(folder: &Path, text: &str, overrides: &Overrides) -> Result<Manifest, ManifestError> {
    Manifest::from_bytes(&folder.join("agente.toml"), text.as_bytes().to_vec(), overrides)
}

fn load(folder: &Path, text: &str, environment: Option<&str>) -> Manifest {
    load_with(
        folder,
        text,
        &Overrides { environment: environment.map(str::to_owned), ..Overrides::default() },
    )
    .unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn plugin(name: &str) -> PluginName {
    PluginName::new(name).unwrap()
}

#[test]
fn a_short_manifest_has_sane_defaults() {
    let folder = folder();
    let manifest = load(folder.path(), SHORT, None);
    assert_eq!(manifest.scope.to_string(), "shop/default");
    assert_eq!(manifest.artifact_source, ArtifactSource::File(folder.path().join("shop")));
    let RuntimeSpec::Process(process) = &manifest.runtime else { panic!("{:?}", manifest.runtime) };
    assert_eq!(
        (process.instances, process.ports, process.stop_grace),
        (1, PortRange { first: 18100, last: 18199 }, Duration::from_secs(10))
    );
    assert_eq!(
        manifest.plugins.keys().map(PluginName::as_str).collect::<Vec<_>>(),
        ["nginx-switch"]
    );
    assert_eq!(manifest.plugins[&manifest.switcher].config, json!({}));
    let policy = &manifest.policy;
    assert_eq!(
        (&policy.strategy, policy.keep_previous, policy.bake),
        (&Strategy::BlueGreen, KeepPrevious::UntilNext, Duration::from_secs(30))
    );
    assert_eq!(
        (policy.on_open, policy.timeouts.decide, &policy.analysis),
        (OnOpen::Refuse, Duration::from_hours(24), &None)
    );
    assert_eq!(
        (policy.drain.timeout, policy.drain.on_timeout, policy.drain.accept_weak_evidence),
        (Duration::from_secs(30), OnDrainTimeout::Keep, false)
    );
    assert_eq!(policy.min_free_disk_bytes, 500 << 20);
    assert!(
        policy.probe.is_none() && policy.checks.is_empty() && policy.candidate_overrides.is_empty()
    );
}

#[test]
fn every_key_reaches_the_domain() {
    let folder = folder();
    let text = r#"
service = "shop"
[runtime.docker]
image = "registry.example:5000/shop:2"
command = ["/shop", "0.0.0.0:8080", "--slot={slot}"]
instances = 3
container_port = 8080
network = "shop-net"
env = { MODE = "x", DB = { secret = "db" } }
volumes = ["/srv/shop:/data:ro", "cache:/cache"]
memory = "256MiB"
init = false
stop_grace = "1m30s"
socket = "/run/user/1000/docker.sock"
[secrets]
db = { file = "db.secret" }
token = { command = ["pass", "show", "token"] }
[plugins.my-switch]
path = "my-switch.wasm"
config = { upstream = { keepalive = 32 }, since = 2024-01-01 }
[switch]
plugin = "my-switch"
[[checks]]
name = "redis"
plugin = "tcp-health"
of = "dependency"
when = ["preflight", "bake"]
spec = { address = "127.0.0.1:6379", send = "PING\r\n", expect = "+PONG" }
interval = "2s"
timeout = "1s"
healthy_after = 1
unhealthy_limit = 7
errored_limit = 9
no_data_limit = 8
inconclusive_limit = 6
report_only = true
[health]
endpoints = ["/healthz", { path = "/readyz?full=1", status = [200, "202-204"], host = "shop.example", release_header = "X-Release", headers = { x = "y", z = { contains = "w" } }, json = { "/db" = "up" }, max_latency = "500ms", body_contains = "ok" }]
interval = "100ms"
[probe]
url = "https://shop.example/healthz"
connect = "127.0.0.1:8443"
host = "shop.example"
ca = "ca.pem"
rate = 12.5
timeout = "2s"
post_path = "/api/echo"
baseline = "10s"
budget = 3
count_idle_resets = true
identity = { header = "X-Release", value = "{release}" }
on_failing_baseline = "refuse"
[strategy]
kind = "blue-green"
weights = [100.0]
bake = "0s"
keep_previous = "1h"
drain = { timeout = "2m", on_timeout = "cut", accept_weak_evidence = true }
override = [{ name = "X-Preview", value = "new" }, { by = "cookie", name = "preview", value = "1" }]
[timeouts]
preflight = "1s"
launch = "2s"
healthy = "3s"
shift = "4s"
validate = "5s"
undo = "6s"
decide = "7s"
[disk]
min_free = "1GiB"
[metrics]
textfile = "shop.prom"
push = "http://127.0.0.1:9091/"
"#;
    let manifest = load(folder.path(), text, None);
    let RuntimeSpec::Docker(docker) = &manifest.runtime else { panic!("{:?}", manifest.runtime) };
    assert_eq!(docker.reach, DockerReach::Network { name: "shop-net".to_owned() });
    assert_eq!(
        (
            docker.instances,
            docker.container_port,
            docker.memory_bytes,
            docker.init,
            docker.stop_grace
        ),
        (3, 8080, Some(256 << 20), false, Duration::from_secs(90))
    );
    assert_eq!(docker.env["DB"], EnvValue::Secret("db".to_owned()));
    assert_eq!(docker.env["MODE"], EnvValue::Plain("x".to_owned()));
    assert_eq!(docker.volumes, ["/srv/shop:/data:ro", "cache:/cache"]);
    assert_eq!(docker.command.as_ref().map(Vec::len), Some(3));
    assert_eq!(
        manifest.artifact_source,
        ArtifactSource::Image("registry.example:5000/shop:2".to_owned())
    );
    assert_eq!(docker.engine.as_deref(), Some("unix:///run/user/1000/docker.sock"));
    assert_eq!(manifest.secrets["db"], SecretSource::File(folder.path().join("db.secret")));
    assert_eq!(
        manifest.secrets["token"],
        SecretSource::Command(["pass", "show", "token"].map(str::to_owned).to_vec())
    );
    assert_eq!(
        manifest.metrics,
        MetricsSection {
            textfile: Some(folder.path().join("shop.prom")),
            push: Some("http://127.0.0.1:9091".to_owned())
        }
    );
    let section = &manifest.plugins[&plugin("my-switch")];
    assert_eq!(
        (section.path.clone(), section.declared),
        (Some(folder.path().join("my-switch.wasm")), true)
    );
    assert_eq!(section.config, json!({"upstream": {"keepalive": 32}, "since": "2024-01-01"}));
    assert_eq!(
        manifest.plugins.keys().map(PluginName::as_str).collect::<Vec<_>>(),
        ["http-health", "my-switch", "tcp-health"]
    );
    let mut policy = manifest.policy.clone();
    let authorities = policy.probe.as_mut().and_then(|probe| probe.ca.replace("ca.pem".to_owned()));
    assert_eq!(authorities.as_deref(), folder.path().join("ca.pem").to_str());
    insta::assert_debug_snapshot!("policy", policy);
    assert_eq!(
        manifest.policy.probe.as_ref().map(|probe| probe.on_failing_baseline),
        Some(FailingBaseline::Refuse)
    );
}

#[test]
fn endpoints_become_checks_of_every_backend() {
    let folder = folder();
    let manifest = load(
        folder.path(),
        &format!(
            "{SHORT}[health]\nendpoints = [\"/healthz\", {{ path = \"/readyz\", method = \
             \"HEAD\", status = 204 }}]\n"
        ),
        None,
    );
    let [healthz, readyz] = manifest.policy.checks.as_slice() else {
        panic!("{:?}", manifest.policy.checks)
    };
    assert_eq!(
        (healthz.name.as_str(), healthz.plugin.as_str(), &healthz.of),
        ("health-healthz", "http-health", &CheckOf::Backends)
    );
    assert_eq!(
        healthz.when,
        [CheckMoment::Ready, CheckMoment::Analysis, CheckMoment::Validate, CheckMoment::Bake]
    );
    assert_eq!(healthz.spec, json!({"path": "/healthz", "method": "GET", "status": "200-299"}));
    assert_eq!(readyz.spec, json!({"path": "/readyz", "method": "HEAD", "status": [204]}));
    assert_eq!(
        (healthz.interval, healthz.timeout, healthz.healthy_after),
        (Duration::from_secs(1), Duration::from_secs(1), 2)
    );
}

#[test]
fn a_check_is_asked_when_its_subject_can_answer() {
    use CheckMoment::{Analysis, Bake, Preflight, Ready, Validate};
    let folder = folder();
    let checks = ["backends", "public", "dependency"]
        .map(|of| format!("[[checks]]\nname = \"{of}\"\nplugin = \"http-health\"\nof = \"{of}\"\n"))
        .concat();
    let manifest = load(
        folder.path(),
        &format!("{SHORT}{checks}[probe]\nurl = \"http://shop.example/\"\n"),
        None,
    );
    let moments: Vec<&[CheckMoment]> =
        manifest.policy.checks.iter().map(|check| check.when.as_slice()).collect();
    assert_eq!(moments, [&[Ready, Analysis, Validate, Bake][..], &[Validate, Bake], &[Preflight]]);
}

#[test]
fn an_environment_merges_tables_and_replaces_lists() {
    let folder = folder();
    let text = format!(
        "{SHORT}[strategy]\nbake = \"1m\"\nkeep_previous = \"none\"\n[secrets]\ndb = {{ env = \
         \"DB\" }}\n[health]\nendpoints = [\"/a\", \
         \"/b\"]\n[environments.staging]\n[environments.production]\nstrategy.bake = \
         \"10m\"\nsecrets.db = {{ file = \"db.secret\" }}\nhealth.endpoints = \
         [\"/c\"]\nruntime.process.env = {{ MODE = \"production\" }}\n"
    );
    let staging = load(folder.path(), &text, Some("staging"));
    assert_eq!((staging.policy.bake, staging.policy.checks.len()), (Duration::from_mins(1), 2));
    assert_eq!(staging.secrets["db"], SecretSource::Env("DB".to_owned()));
    let production = load(folder.path(), &text, Some("production"));
    assert_eq!(production.scope.to_string(), "shop/production");
    assert_eq!(
        production.environments.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["production", "staging"]
    );
    assert_eq!(
        (production.policy.bake, production.policy.keep_previous),
        (Duration::from_mins(10), KeepPrevious::None)
    );
    assert_eq!(
        production.policy.checks.iter().map(|check| check.name.as_str()).collect::<Vec<_>>(),
        ["health-c"]
    );
    assert_eq!(production.secrets["db"], SecretSource::File(folder.path().join("db.secret")));
    let RuntimeSpec::Process(process) = &production.runtime else {
        panic!("{:?}", production.runtime)
    };
    assert_eq!((process.env.len(), process.command.len()), (1, 2));
}

#[test]
fn an_environment_may_choose_another_runtime_and_bring_what_is_missing() {
    let folder = folder();
    let text = "service = \"shop\"\n[runtime.process]\nartifact = \"shop\"\ncommand = \
                [\"./shop\", \"{port}\"]\nports = \
                \"18100-18199\"\n[environments.production.runtime.docker]\nimage = \
                \"shop:2\"\ncontainer_port = 80\nnetwork = \
                \"shop-net\"\n[environments.production.switch]\nplugin = \"nginx-switch\"\n";
    let manifest = load(folder.path(), text, None);
    assert_eq!(manifest.scope.environment.as_str(), "production");
    assert!(matches!(manifest.runtime, RuntimeSpec::Docker(_)));
}

#[test]
fn the_only_environment_and_the_default_one_need_not_be_named() {
    let folder = folder();
    assert_eq!(load(folder.path(), SHORT, Some("default")).scope.environment.as_str(), "default");
    assert_eq!(
        load(folder.path(), &format!("{SHORT}[environments.live]\n"), None)
            .scope
            .environment
            .as_str(),
        "live"
    );
}

#[test]
fn environments_on_different_machines_may_share_a_range_of_ports() {
    let folder = folder();
    let apart = format!(
        "{SHORT}[environments.a]\n[environments.b]\n[environments.c.runtime.process]\nports = \
         \"19100-19199\"\n"
    );
    for name in ["a", "b", "c"] {
        load(folder.path(), &apart, Some(name));
    }
}

#[test]
fn the_command_line_replaces_artifact_image_and_plugin() {
    let folder = folder();
    let without_artifact = SHORT.replace("artifact = \"shop\"\n", "").replace("./shop", "./other");
    let overrides =
        Overrides { artifact: Some(folder.path().join("other")), ..Overrides::default() };
    let manifest = load_with(folder.path(), &without_artifact, &overrides)
        .unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(manifest.artifact_source, ArtifactSource::File(folder.path().join("other")));

    let docker = "service = \"shop\"\n[runtime.docker]\ncontainer_port = 80\nnetwork = \
                  \"shop-net\"\n[switch]\nplugin = \"my-switch\"\n";
    let overrides = Overrides {
        image: Some("shop:3".to_owned()),
        plugins: [(plugin("my-switch"), folder.path().join("elsewhere.wasm"))]
            .into_iter()
            .collect(),
        ..Overrides::default()
    };
    let manifest =
        load_with(folder.path(), docker, &overrides).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(manifest.artifact_source, ArtifactSource::Image("shop:3".to_owned()));
    assert_eq!(
        manifest.plugins[&plugin("my-switch")].path,
        Some(folder.path().join("elsewhere.wasm"))
    );

    let overrides = Overrides { image: Some("shop:3".to_owned()), ..Overrides::default() };
    let error = load_with(folder.path(), SHORT, &overrides).unwrap_err();
    assert_eq!((error.mistakes.len(), error.mistakes[0].line), (1, 2), "{error}");
}

#[test]
fn paths_are_absolute_however_the_manifest_was_named() {
    let docker = "service = \"shop\"\n[runtime.docker]\nimage = \"shop:2\"\ncontainer_port = \
                  80\nnetwork = \"shop-net\"\n[switch]\nplugin = \"nginx-switch\"\n[secrets]\ndb \
                  = { command = [\"./program\"] }\n";
    for path in ["agente.toml", "./agente.toml", "src/../agente.toml"] {
        let manifest = Manifest::from_bytes(
            Path::new(path),
            docker.replace("./program", "env").into_bytes(),
            &Overrides::default(),
        );
        assert!(manifest.unwrap().directory.is_absolute(), "{path}");
    }
    let folder = folder();
    let text = docker.replace("./program", "./shop");
    let manifest = load(folder.path(), &text, None);
    let SecretSource::Command(argv) = &manifest.secrets["db"] else {
        panic!("{:?}", manifest.secrets)
    };
    assert!(Path::new(&argv[0]).is_absolute() && Path::new(&argv[0]).is_file(), "{argv:?}");
}

#[test]
fn a_program_may_be_an_interpreter_from_the_path() {
    let folder = folder();
    write(folder.path().join("app.sh"), "exec true\n").unwrap();
    let text = SHORT
        .replace("artifact = \"shop\"", "artifact = \"app.sh\"")
        .replace("\"./shop\"", "\"sh\", \"app.sh\"");
    let manifest = load(folder.path(), &text, None);
    assert_eq!(manifest.artifact_source, ArtifactSource::File(folder.path().join("app.sh")));
    let elsewhere = text.replace("[switch]", "env = { PATH = \"/nowhere\" }\n[switch]");
    let error = load_with(folder.path(), &elsewhere, &Overrides::default()).unwrap_err();
    assert_eq!((error.mistakes.len(), error.mistakes[0].line), (1, 4), "{error}");
}

#[test]
fn what_a_plugin_says_about_its_configuration_gets_its_line() {
    let folder = folder();
    let text = format!(
        "{SHORT}\n[plugins.nginx-switch]\n[plugins.nginx-switch.config]\nfile = \
         \"/etc/x\"\nservers = [\n  {{ name = \"a\" }},\n  {{ name = \"b\" }},\n]\n\"a.b\" = {{ c \
         = 1 }}\n[plugins.nginx-switch.config.upstream]\nkeepalive = 0\n[[checks]]\nname = \
         \"redis\"\nplugin = \"tcp-health\"\nof = \"dependency\"\nspec.address = \
         \"x\"\n[health]\nendpoints = [\n  \"/healthz\",\n  {{ path = \"/readyz\" }},\n]\n"
    );
    let manifest = load(folder.path(), &text, None);
    let line = |path: &str| {
        manifest
            .line_of(&plugin("nginx-switch"), path)
            .map(|line| text.lines().nth(line - 1).unwrap().trim())
    };
    assert_eq!(line("file"), Some("file = \"/etc/x\""));
    assert_eq!(line("upstream.keepalive"), Some("keepalive = 0"));
    assert_eq!(line("upstream.missing"), Some("[plugins.nginx-switch.config.upstream]"));
    assert_eq!(line("servers.1.name"), Some("{ name = \"b\" },"));
    assert_eq!(line("servers[0].name"), Some("{ name = \"a\" },"));
    assert_eq!(line("a.b.c"), Some("\"a.b\" = { c = 1 }"));
    assert_eq!(line(""), Some("[plugins.nginx-switch.config]"));
    assert_eq!(manifest.line_of(&plugin("other"), "x"), None);

    let mistake = manifest.plugin_mistake(
        &plugin("nginx-switch"),
        "upstream.keepalive",
        "must be at least 1",
    );
    assert_eq!(
        (mistake.key.as_str(), mistake.excerpt.as_str()),
        ("plugins.nginx-switch.config.upstream.keepalive", "keepalive = 0")
    );
    assert_eq!(mistake.column, 13);
    let mistake = manifest.check_mistake("redis", "address", "no port");
    assert_eq!(
        (mistake.key.as_str(), mistake.excerpt.as_str()),
        ("checks[0].spec.address", "spec.address = \"x\"")
    );
    assert_eq!(
        manifest.check_mistake("health-healthz", "path", "bad").excerpt.trim(),
        "\"/healthz\","
    );
    assert_eq!(
        manifest.check_mistake("health-readyz", "path", "bad").excerpt.trim(),
        "{ path = \"/readyz\" },"
    );
    let mistake = manifest.mistake_at("runtime.process.ports", "taken", "choose others");
    assert_eq!(mistake.excerpt, "ports = \"18100-18199\"");
    let both = ManifestError::from(vec![manifest.mistake_at("switch.plugin", "b", "x"), mistake]);
    assert_eq!(both.mistakes[0].message, "taken");
}
