//! The shipped health plugins as they are shipped: built as components, packed, granted, and asked
//! through the plugin host.
//!
//! What they decide is tested natively, in their own crates. Here it is what only the sandbox
//! shows: grants, secrets, time limits, HTTP through the host.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking, also outside test functions"
)]

#[path = "shipped_health/prometheus.rs"]
mod prometheus;

use agente_engine::fault::{Fault, FaultKind};
use agente_engine::names::{
    BackendId, EnvironmentName, PluginName, ReleaseNumber, Scope, ServiceName,
};
use agente_engine::ports::{
    CommandOutput, CommandSpec, Commands, ConnectionInfo, Memory, ProcessError, ProcessInfo,
    ProcessTarget, SecretValue, Secrets,
};
use agente_engine::route::{Backend, Slot};
use agente_engine::verdict::{Subject, Verdict, VerdictKind};
use agente_wasm::{
    Audit, Capabilities, EffectRecord, GrantSource, HostOptions, LoadError, LoadInput,
    OperationContext, Plugin, PluginHost, PluginKind, PluginLog, PluginMessage, PluginPorts,
};
use async_trait::async_trait;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// The plugins that are built for these tests.
const SHIPPED: [&str; 3] = ["http-health", "tcp-health", "prometheus-health"];

const SECRET: &str = "s3cr3t-of-the-day";

/// Long enough for any answer of a healthy server on a busy machine.
const AMPLE: Duration = Duration::from_secs(20);

/// How long anything may take that is waited for: the machine may be busy.
const PATIENCE: Duration = Duration::from_mins(5);

/// The ports behind the host. A health plugin runs no program and keeps nothing, so each of those
/// calls is refused.
struct World;

fn never(what: &str) -> Fault {
    Fault::new(FaultKind::Internal, format!("a health plugin asked for {what}"))
}

#[async_trait]
impl Commands for World {
    async fn run(&self, _command: &CommandSpec) -> Result<CommandOutput, Fault> {
        Err(never("a program"))
    }
    async fn tree(&self, _target: &ProcessTarget) -> Result<Vec<ProcessInfo>, ProcessError> {
        Err(ProcessError::Other(never("processes")))
    }
    async fn connections(
        &self,
        _target: &ProcessTarget,
    ) -> Result<Vec<ConnectionInfo>, ProcessError> {
        Err(ProcessError::Other(never("connections")))
    }
    async fn signal(&self, _target: &ProcessTarget, _signal: &str) -> Result<(), ProcessError> {
        Err(ProcessError::Other(never("a signal")))
    }
    async fn log_mark(&self, _path: &str) -> Result<u64, Fault> {
        Err(never("a log"))
    }
    async fn log_since(
        &self,
        _path: &str,
        _mark: u64,
        _max_bytes: usize,
    ) -> Result<Vec<u8>, Fault> {
        Err(never("a log"))
    }
}

#[async_trait]
impl Secrets for World {
    async fn value(&self, name: &str) -> Result<SecretValue, Fault> {
        assert_eq!(name, "health-token");
        Ok(SecretValue::new(SECRET.to_owned()))
    }
}

#[async_trait]
impl Memory for World {
    async fn get(
        &self,
        _plugin: &str,
        _scope: &Scope,
        _key: &str,
    ) -> Result<Option<Vec<u8>>, Fault> {
        Err(never("memory"))
    }
    async fn set(
        &self,
        _plugin: &str,
        _scope: &Scope,
        _key: &str,
        _value: Option<&[u8]>,
    ) -> Result<(), Fault> {
        Err(never("memory"))
    }
}

impl Audit for World {
    fn record(&self, _record: EffectRecord) {}
}

impl PluginLog for World {
    fn write(&self, _message: PluginMessage) {}
}

/// Builds the components as they are shipped and packs their requests in; once per run of the
/// tests.
fn shipped(name: &str) -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let folder = BUILT.get_or_init(|| {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        // A target folder of its own: the build of the tests may hold the lock of the usual one.
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("shipped");
        let output = Command::new(env!("CARGO"))
            .args(["build", "--locked", "--target", "wasm32-wasip2", "--profile", "guest"])
            .args(SHIPPED.iter().flat_map(|plugin| ["-p", plugin]))
            .current_dir(root)
            .env("CARGO_TARGET_DIR", &target)
            .env_remove("RUSTFLAGS")
            .env_remove("CARGO_ENCODED_RUSTFLAGS")
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "the plugins can't be built; `rustup target add wasm32-wasip2` installs their \
             target:\n{told}"
        );
        for plugin in SHIPPED {
            let component = std::fs::read(
                target.join("wasm32-wasip2/guest").join(plugin.replace('-', "_") + ".wasm"),
            )
            .unwrap();
            let request =
                std::fs::read_to_string(root.join("plugins").join(plugin).join("plugin.toml"))
                    .unwrap();
            std::fs::write(
                target.join(format!("{plugin}.wasm")),
                agente_wasm::pack(&component, &request).unwrap(),
            )
            .unwrap();
        }
        target
    });
    folder.join(format!("{name}.wasm"))
}

fn host() -> PluginHost {
    static HOST: OnceLock<PluginHost> = OnceLock::new();
    HOST.get_or_init(|| {
        PluginHost::new(&HostOptions {
            cache_folder: Some(Path::new(env!("CARGO_TARGET_TMPDIR")).join("shipped-cache")),
        })
        .unwrap()
    })
    .clone()
}

async fn load(
    name: &str,
    config: Value,
    specs: Vec<Value>,
    grant: GrantSource<'_>,
) -> Result<Plugin, LoadError> {
    let world = Arc::new(World);
    let ports = PluginPorts {
        commands: Arc::clone(&world) as Arc<dyn Commands>,
        secrets: Arc::clone(&world) as Arc<dyn Secrets>,
        memory: Arc::clone(&world) as Arc<dyn Memory>,
        audit: Arc::clone(&world) as Arc<dyn Audit>,
        log: world,
        variables: BTreeMap::new(),
        seam: None,
    };
    let path = tokio::task::block_in_place(|| shipped(name));
    let input = LoadInput {
        name: PluginName::new(name).unwrap(),
        path,
        kind: Some(PluginKind::HealthCheck),
        config,
        specs,
        scope: Scope {
            service: ServiceName::new("shop").unwrap(),
            environment: EnvironmentName::new("production").unwrap(),
        },
        store_id: "store-1".to_owned(),
        grant,
        ports,
    };
    host().load(input).await
}

fn subject(addresses: &[&str]) -> Subject {
    let backends = addresses.iter().enumerate();
    let backends = backends
        .map(|(index, address)| Backend {
            id: BackendId(format!("b{index}")),
            address: (*address).to_owned(),
            placement: agente_engine::placement::Placement::Process,
        })
        .collect();
    Subject { slot: Some(Slot::Green), release: Some(ReleaseNumber(7)), backends, public_url: None }
}

fn dependency() -> Subject {
    Subject { slot: None, release: None, backends: Vec::new(), public_url: None }
}

/// Asks once with everything granted that the plugin asks for.
async fn asked(
    name: &str,
    config: Value,
    spec: Value,
    subject: &Subject,
    timeout: Duration,
) -> Verdict {
    let plugin = load(name, config, vec![spec.clone()], GrantSource::Everything).await.unwrap();
    plugin.checker(OperationContext::default()).unwrap().ask(subject, &spec, timeout).await
}

async fn http(spec: Value, address: &str) -> Verdict {
    asked("http-health", json!({}), spec, &subject(&[address]), AMPLE).await
}

#[track_caller]
fn assert_verdict(verdict: &Verdict, kind: VerdictKind, parts: &[&str]) {
    assert_eq!(verdict.kind, kind, "{}", verdict.reason);
    for part in parts {
        assert!(verdict.reason.contains(part), "`{part}` is not in: {}", verdict.reason);
    }
}

/// How long a silent server was given, by the words that tell of it.
fn given(words: &str) -> Duration {
    let (_, rest) = words.split_once(" within ").unwrap_or_else(|| panic!("{words}"));
    let end = rest.find(|sign: char| !sign.is_ascii_digit()).unwrap_or(rest.len());
    let (number, unit) = rest.split_at(end);
    let number = number.parse().unwrap();
    if unit.trim_start().starts_with("ms") {
        Duration::from_millis(number)
    } else {
        Duration::from_secs(number)
    }
}

/// A server that answers each connection as a function of its request says, then ends it. Gives its
/// address.
async fn answering<F>(answer: impl Fn(TcpStream, String) -> F + Send + Sync + 'static) -> String
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        loop {
            let Ok((mut stream, _)) = listener.accept().await else { return };
            let mut head = vec![0; 8192];
            let count = stream.read(&mut head).await.unwrap_or(0);
            let head = String::from_utf8_lossy(head.get(..count).unwrap_or_default()).into_owned();
            tokio::spawn(answer(stream, head));
        }
    });
    address
}

/// A server that writes these bytes, whatever it is asked.
async fn writing(bytes: &'static str) -> String {
    answering(move |mut stream, _| async move {
        let _gone = stream.write_all(bytes.as_bytes()).await;
    })
    .await
}

/// A server that answers with the request's own head as its body.
async fn echoing() -> String {
    answering(|mut stream, head| async move {
        let _gone = stream
            .write_all(
                format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{head}", head.len())
                    .as_bytes(),
            )
            .await;
    })
    .await
}

async fn nobody() -> String {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_components_are_small_and_describe_their_tables() {
    let none = json!({});
    for (name, config, limit) in [
        ("http-health", &none, 400),
        ("tcp-health", &none, 300),
        ("prometheus-health", &json!({ "url": "http://prom" }), 600),
    ] {
        let plugin =
            load(name, config.clone(), Vec::new(), GrantSource::Only(&Capabilities::default()))
                .await
                .unwrap();
        assert_eq!(plugin.description().name, name);
        assert!(
            plugin.description().config["$schema"].is_string(),
            "{}",
            plugin.description().config
        );
        let bytes = std::fs::metadata(shipped(name)).unwrap().len();
        assert!(bytes < limit * 1024, "{name} has {bytes} bytes");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn backends_that_answer_as_expected_are_healthy() {
    let good = writing(
        "HTTP/1.1 200 OK\r\nx-release: 7\r\ncontent-type: application/json\r\ncontent-length: \
         12\r\n\r\n{\"ok\": true}",
    )
    .await;
    let spec = json!({ "path": "/readyz", "release_header": "X-Release", "json": { "/ok": true }, "max_latency": "15s" });
    let verdict = asked("http-health", json!({}), spec, &subject(&[&good, &good]), AMPLE).await;
    assert_verdict(&verdict, VerdictKind::Healthy, &["all 2 backends", "`GET /readyz`"]);
    assert!(verdict.value.is_some());
    assert_verdict(
        &http(json!({ "method": "HEAD" }), &good).await,
        VerdictKind::Healthy,
        &["HEAD"],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_sandbox_sees_of_a_bad_backend_is_unhealthy() {
    let cases: [(String, &[&str]); 5] = [
        (nobody().await, &["no connection", "refused"]),
        (
            writing("HTTP/1.1 302 Found\r\nlocation: /login\r\ncontent-length: 0\r\n\r\n").await,
            &["302", "/login", "not followed"],
        ),
        (
            writing("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nten bytes!").await,
            &["before the answer was complete"],
        ),
        (writing("SSH-2.0-OpenSSH\r\n\r\n").await, &["`b0`"]),
        (writing("").await, &["`b0`"]),
    ];
    for (address, parts) in cases {
        assert_verdict(&http(json!({}), &address).await, VerdictKind::Unhealthy, parts);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_backend_is_the_plugins_own_verdict_within_the_checks_time() {
    let silent = answering(|mut stream, _| async move {
        let _end = stream.read(&mut [0; 1]).await; // returns when the check hangs up
    })
    .await;
    // The first calls compile the components, which is not the check's time.
    http(json!({}), &nobody().await).await;
    let limit = Duration::from_secs(2);
    let silent = subject(&[&silent]);
    let verdict = asked("http-health", json!({}), json!({}), &silent, limit).await;
    assert_verdict(&verdict, VerdictKind::Unhealthy, &["did not answer within"]);
    assert!(given(&verdict.reason) <= limit, "{}", verdict.reason);
    // The check's time is less than what the plugin would take by itself.
    let spec = json!({ "expect": "+PONG", "timeout": "1h" });
    asked("tcp-health", json!({}), spec.clone(), &subject(&[&nobody().await]), limit).await;
    let verdict = asked("tcp-health", json!({}), spec, &silent, limit).await;
    assert_verdict(&verdict, VerdictKind::Unhealthy, &["no byte arrived within", "+PONG"]);
    assert!(given(&verdict.reason) <= limit, "{}", verdict.reason);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_grant_nothing_is_asked_and_the_answer_is_errored() {
    let good = writing("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    for (name, spec) in [
        ("http-health", json!({})),
        ("http-health", json!({ "host": "shop.example" })),
        ("tcp-health", json!({})),
    ] {
        let plugin =
            load(name, json!({}), vec![spec.clone()], GrantSource::Only(&Capabilities::default()))
                .await
                .unwrap();
        let verdict = plugin
            .checker(OperationContext::default())
            .unwrap()
            .ask(&subject(&[&good]), &spec, AMPLE)
            .await;
        assert_verdict(&verdict, VerdictKind::Errored, &["`b0`"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_reaches_the_backend_and_nothing_else() {
    let echo = echoing().await;
    let config = json!({ "secrets": ["health-token"], "headers": { "authorization": "Bearer {health-token}" } });
    let wanted = json!({ "body_contains": format!("authorization: Bearer {SECRET}") });
    let verdict = asked("http-health", config.clone(), wanted, &subject(&[&echo]), AMPLE).await;
    assert_verdict(&verdict, VerdictKind::Healthy, &[]);
    // The backend hands the secret back, and the reason would quote it.
    let verdict = asked(
        "http-health",
        config,
        json!({ "body_contains": "absent" }),
        &subject(&[&echo]),
        AMPLE,
    )
    .await;
    assert_verdict(&verdict, VerdictKind::Unhealthy, &["not contain"]);
    assert!(!verdict.reason.contains(SECRET), "{}", verdict.reason);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_header_is_sent_where_the_check_has_one() {
    let echo = echoing().await;
    assert_verdict(
        &http(json!({ "host": "shop.example", "body_contains": "host: shop.example" }), &echo)
            .await,
        VerdictKind::Healthy,
        &[],
    );
    assert_verdict(
        &http(json!({ "body_contains": format!("host: {echo}") }), &echo).await,
        VerdictKind::Healthy,
        &[],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_check_names_itself_is_granted_with_its_table() {
    let queue = writing("HTTP/1.1 204 No Content\r\n\r\n").await;
    let spec = json!({ "url": format!("http://{queue}/health") });
    assert_verdict(
        &asked("http-health", json!({}), spec, &dependency(), AMPLE).await,
        VerdictKind::Healthy,
        &["/health", "204"],
    );
    let redis = writing("+PONG\r\n").await;
    let spec = json!({ "address": redis, "send": "PING\r\n", "expect": "+PONG" });
    assert_verdict(
        &asked("tcp-health", json!({}), spec.clone(), &dependency(), AMPLE).await,
        VerdictKind::Healthy,
        &["+PONG"],
    );
    // The grant was for that table; another address is another grant.
    let plugin = load("tcp-health", json!({}), vec![spec], GrantSource::Everything).await.unwrap();
    let elsewhere = json!({ "address": nobody().await });
    let verdict = plugin
        .checker(OperationContext::default())
        .unwrap()
        .ask(&dependency(), &elsewhere, AMPLE)
        .await;
    assert_verdict(&verdict, VerdictKind::Errored, &["may not"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn mistakes_are_told_before_anything_is_asked() {
    let plugin = load("http-health", json!({}), Vec::new(), GrantSource::Everything).await.unwrap();
    let checker = plugin.checker(OperationContext::default()).unwrap();
    let problems = checker
        .check_spec(&json!({ "path": "readyz", "headers": { "x-version": 2 } }))
        .await
        .unwrap();
    assert_eq!(
        problems.iter().map(|problem| problem.path.as_str()).collect::<Vec<_>>(),
        ["headers.x-version", "path"]
    );
    let refused = load(
        "http-health",
        json!({ "headers": { "Host": "shop" } }),
        Vec::new(),
        GrantSource::Everything,
    )
    .await
    .err()
    .unwrap();
    let LoadError::ConfigRefused { problems, .. } = refused else { panic!("{refused:?}") };
    assert_eq!(problems.first().map(|problem| problem.path.as_str()), Some("headers.Host"));
}
