//! One guest that does what its configuration says, built once, and the ports behind the host.

use agente_engine::fault::{Fault, FaultKind};
use agente_engine::names::{EnvironmentName, OpId, PluginName, ReleaseNumber, Scope, ServiceName};
use agente_engine::ports::{
    CommandOutput, CommandPlace, CommandSpec, Commands, ConnectionInfo, Desired, Fence, Memory,
    ProcessError, ProcessInfo, ProcessTarget, SecretValue, Secrets, TargetLock, TrafficSwitcher,
};
use agente_engine::route::{Backend, Routes, Slot};
use agente_wasm::{
    Audit, CallEnd, CallRecord, EffectRecord, GrantSource, HostOptions, LoadError, LoadInput,
    OperationContext, Plugin, PluginHost, PluginKind, PluginLog, PluginMessage, PluginPorts, Seam,
};
use async_trait::async_trait;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, OnceLock};

/// The request of the guest: all of it comes from its configuration, so that one component serves
/// all tests.
pub(crate) const REQUEST: &str = r#"
limits = { memory = "16MiB", cpu = "300ms", wall = "60s", hostcall = "1MiB", connections = 3 }

files = [{ path = "${config.may.read}", access = "read" }, { path = "${config.may.write}", access = "write" }]
exec = [
    { program = "${config.may.run}", args = ["**"], phase = "read", env = ["GREETING", "${config.may.pass:-nothing}"] },
    { program = "${config.may.change}", args = ["-c", "echo *"], phase = "write" },
]
process = [{ of = "${config.may.watch}", signals = ["HUP"] }]
logs = [{ path = "${config.may.follow}" }]
tcp = [{ address = "@backends" }, { address = "${config.may.connect}" }, { address = "${config.may.connect_privately}", private = true }]
net = [
    { origin = "@backends" },
    { origin = "${config.may.ask}", methods = ["GET", "POST"], ca = "${config.may.trust}", client_certificate = "${config.may.show}" },
    { origin = "${config.may.ask_privately}", methods = ["GET", "POST"], private = true, ca = "${config.may.trust}" },
]
secrets = [
    { name = "${config.may.send}", use = ["header", "body"], hosts = ["${config.may.send_to}"] },
    { name = "${config.may.pass}", use = ["env"] },
    { name = "${config.may.reveal}", use = ["reveal"] },
]

[plugin]
name = "test-guest"
version = "0.1.0"
kind = "KIND"
contract = "CONTRACT@0.1"
"#;

pub(crate) fn request(kind: PluginKind) -> String {
    REQUEST.replace("KIND", &kind.to_string()).replace("CONTRACT", kind.package())
}

/// The guest's component without a request.
pub(crate) fn bare_component(features: &str) -> PathBuf {
    static BUILT: Mutex<BTreeMap<String, PathBuf>> = Mutex::new(BTreeMap::new());
    let mut built = BUILT.lock().unwrap();
    if let Some(path) = built.get(features) {
        return path.clone();
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/guest");
    // Beside the target folder of the host: the two builds must not wait for each other's lock.
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("guest");
    let output = std::process::Command::new(env!("CARGO"))
        .args([
            "build",
            "--release",
            "--locked",
            "--target",
            "wasm32-wasip2",
            "--features",
            features,
        ])
        .current_dir(&folder)
        .env("CARGO_TARGET_DIR", &target)
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "the guest for tests can't be built; `rustup target add wasm32-wasip2` installs its \
         target:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let copy = target.join(format!("guest-{features}.wasm"));
    std::fs::copy(target.join("wasm32-wasip2/release/agente_test_guest.wasm"), &copy).unwrap();
    built.insert(features.to_owned(), copy.clone());
    copy
}

/// The guest's component with its request.
pub(crate) fn component(kind: PluginKind, features: &str) -> PathBuf {
    static PACKED: Mutex<()> = Mutex::new(());
    let bare = bare_component(features);
    let _one_at_a_time = PACKED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let path = bare.with_extension(format!("{kind}.wasm"));
    let packed = agente_wasm::pack(&std::fs::read(&bare).unwrap(), &request(kind)).unwrap();
    if std::fs::read(&path).ok().as_ref() != Some(&packed) {
        let new = path.with_extension(format!("new-{}", std::process::id()));
        std::fs::write(&new, packed).unwrap();
        std::fs::rename(new, &path).unwrap();
    }
    path
}

/// One host for all tests, with a cache that lives as long as the build folder.
pub(crate) fn host() -> PluginHost {
    static HOST: OnceLock<PluginHost> = OnceLock::new();
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cache");
    HOST.get_or_init(|| PluginHost::new(&HostOptions { cache_folder: Some(cache) }).unwrap())
        .clone()
}

pub(crate) fn scope() -> Scope {
    Scope {
        service: ServiceName::new("shop").unwrap(),
        environment: EnvironmentName::new("production").unwrap(),
    }
}

/// The ports behind the host, and what they were told.
#[derive(Clone, Default)]
pub(crate) struct World(Arc<Told>, Option<Arc<dyn Seam>>);

#[derive(Default)]
struct Told {
    effects: Mutex<Vec<EffectRecord>>,
    calls: Mutex<Vec<CallRecord>>,
    messages: Mutex<Vec<PluginMessage>>,
    memory: Mutex<BTreeMap<String, Vec<u8>>>,
}

pub(crate) const SECRET: &str = "s3cr3t-value-of-the-day";

impl World {
    /// One with something between it and plugins.
    pub(crate) fn behind(seam: Arc<dyn Seam>) -> Self {
        Self(Arc::default(), Some(seam))
    }

    pub(crate) fn ports(&self) -> PluginPorts {
        PluginPorts {
            commands: Arc::new(LocalCommands),
            secrets: Arc::new(self.clone()),
            memory: Arc::new(self.clone()),
            audit: Arc::new(self.clone()),
            log: Arc::new(self.clone()),
            variables: BTreeMap::from([
                ("GREETING".to_owned(), "hello".to_owned()),
                ("HOME".to_owned(), "/root".to_owned()),
            ]),
            seam: self.1.clone(),
        }
    }

    /// The effects that were recorded, in words, with `denied` before those that were.
    pub(crate) fn recorded(&self) -> Vec<String> {
        let words = |record: &EffectRecord| {
            format!("{}{}", if record.denied.is_some() { "denied: " } else { "" }, record.effect)
        };
        self.0.effects.lock().unwrap().iter().map(words).collect()
    }

    /// How calls of an operation ended, in order.
    pub(crate) fn ends(&self, operation: &str) -> Vec<CallEnd> {
        self.calls()
            .into_iter()
            .filter(|call| call.operation == operation)
            .map(|call| call.end)
            .collect()
    }

    /// The keys that plugins remember.
    pub(crate) fn remembered(&self) -> Vec<String> {
        self.0.memory.lock().unwrap().keys().cloned().collect()
    }

    pub(crate) fn calls(&self) -> Vec<CallRecord> {
        self.0.calls.lock().unwrap().clone()
    }

    pub(crate) fn messages(&self) -> Vec<PluginMessage> {
        self.0.messages.lock().unwrap().clone()
    }

    /// Loads the guest with its whole request granted.
    pub(crate) async fn load(&self, config: Value) -> Plugin {
        self.try_load(PluginKind::TrafficSwitcher, "", config, GrantSource::Everything)
            .await
            .unwrap()
    }

    pub(crate) async fn try_load(
        &self,
        kind: PluginKind,
        features: &str,
        mut config: Value,
        grant: GrantSource<'_>,
    ) -> Result<Plugin, LoadError> {
        let path = component(kind, features);
        if kind == PluginKind::HealthCheck {
            config["kind"] = json!("health-check");
        }
        host().load(self.input(path, config, grant)).await
    }

    pub(crate) fn input<'a>(
        &self,
        path: PathBuf,
        config: Value,
        grant: GrantSource<'a>,
    ) -> LoadInput<'a> {
        LoadInput {
            name: PluginName::new("test-guest").unwrap(),
            path,
            kind: None,
            config,
            specs: Vec::new(),
            scope: scope(),
            store_id: "store-1".to_owned(),
            grant,
            ports: self.ports(),
        }
    }

    /// Acts in the read phase.
    pub(crate) async fn look(&self, config: Value) -> Result<String, Fault> {
        self.look_with(config, OperationContext::default()).await
    }

    pub(crate) async fn look_with(
        &self,
        config: Value,
        context: OperationContext,
    ) -> Result<String, Fault> {
        self.load(config).await.switcher(context).unwrap().plan(&nothing_new()).await
    }

    /// Acts in the write phase.
    pub(crate) async fn change(
        &self,
        config: Value,
    ) -> Result<String, agente_engine::fault::Failure> {
        self.change_with(config, OperationContext::default()).await
    }

    pub(crate) async fn change_with(
        &self,
        config: Value,
        context: OperationContext,
    ) -> Result<String, agente_engine::fault::Failure> {
        let switcher = self.load(config).await.switcher(context).unwrap();
        Ok(switcher.apply(&OpId("op-1".to_owned()), &nothing_new(), &lock()).await?.message)
    }
}

/// The lock of a target that nobody else wants.
pub(crate) fn lock() -> TargetLock {
    TargetLock::new(())
}

/// Routes without backends that matter.
pub(crate) fn nothing_new() -> Desired {
    let backend = Backend {
        id: agente_engine::names::BackendId("b1".to_owned()),
        address: "192.0.2.1:80".to_owned(),
        placement: agente_engine::placement::Placement::Process,
    };
    Desired {
        fence: Fence(7),
        routes: Routes::all_to(Slot::Blue, ReleaseNumber(3), vec![backend], None),
        store: "store-1".to_owned(),
        force: false,
    }
}

/// Where a fault's words are looked for: message, causes and hint.
pub(crate) fn words(fault: &Fault) -> String {
    format!(
        "{} | {} | {}",
        fault.message,
        fault.causes.join(" | "),
        fault.hint.clone().unwrap_or_default()
    )
}

impl Audit for World {
    fn record(&self, record: EffectRecord) {
        self.0.effects.lock().unwrap().push(record);
    }

    fn called(&self, call: CallRecord) {
        self.0.calls.lock().unwrap().push(call);
    }
}

impl PluginLog for World {
    fn write(&self, message: PluginMessage) {
        self.0.messages.lock().unwrap().push(message);
    }
}

#[async_trait]
impl Secrets for World {
    async fn value(&self, name: &str) -> Result<SecretValue, Fault> {
        match name {
            "token" => Ok(SecretValue::new(SECRET.to_owned())),
            "place" => Ok(SecretValue::new("localhost".to_owned())),
            other => {
                Err(Fault::new(FaultKind::InvalidConfig, format!("there is no secret `{other}`")))
            }
        }
    }
}

#[async_trait]
impl Memory for World {
    async fn get(&self, plugin: &str, scope: &Scope, key: &str) -> Result<Option<Vec<u8>>, Fault> {
        Ok(self.0.memory.lock().unwrap().get(&format!("{plugin} {scope} {key}")).cloned())
    }

    async fn set(
        &self,
        plugin: &str,
        scope: &Scope,
        key: &str,
        value: Option<&[u8]>,
    ) -> Result<(), Fault> {
        let key = format!("{plugin} {scope} {key}");
        let mut memory = self.0.memory.lock().unwrap();
        match value {
            Some(value) => memory.insert(key, value.to_vec()),
            None => memory.remove(&key),
        };
        Ok(())
    }
}

/// Programs and processes of this machine, as plainly as can be.
struct LocalCommands;

fn other(error: &std::io::Error) -> Fault {
    Fault::new(FaultKind::Failed, error.to_string())
}

fn pid(target: &ProcessTarget) -> Result<i32, ProcessError> {
    let ProcessTarget::PidFile(path) = target else {
        return Err(ProcessError::NotRunning("the container".to_owned()));
    };
    let text = std::fs::read_to_string(path).map_err(|_| ProcessError::NoPidFile(path.clone()))?;
    text.trim().parse().map_err(|_| ProcessError::BadPidFile(path.clone()))
}

#[async_trait]
impl Commands for LocalCommands {
    async fn run(&self, command: &CommandSpec) -> Result<CommandOutput, Fault> {
        assert_eq!(command.place, CommandPlace::Host);
        let mut process = tokio::process::Command::new(&command.argv[0]);
        process
            .args(&command.argv[1..])
            .env_clear()
            .envs(&command.env)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        let output = process.output().await.map_err(|error| other(&error))?;
        Ok(CommandOutput {
            status: output.status.code(),
            signal: None,
            timed_out: false,
            stdout: output.stdout,
            stderr: output.stderr,
            truncated: false,
        })
    }

    async fn tree(&self, target: &ProcessTarget) -> Result<Vec<ProcessInfo>, ProcessError> {
        let pid = pid(target)?.unsigned_abs();
        Ok(vec![ProcessInfo { pid, parent: 1, title: "it".to_owned(), started_ms: 1 }])
    }

    async fn connections(
        &self,
        target: &ProcessTarget,
    ) -> Result<Vec<ConnectionInfo>, ProcessError> {
        pid(target).map(|_| Vec::new())
    }

    async fn signal(&self, target: &ProcessTarget, signal: &str) -> Result<(), ProcessError> {
        assert_eq!(signal, "HUP");
        let pid = rustix::process::Pid::from_raw(pid(target)?).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::HUP)
            .map_err(|error| ProcessError::NotRunning(error.to_string()))
    }

    async fn log_mark(&self, path: &str) -> Result<u64, Fault> {
        std::fs::metadata(path)
            .map(|found| found.len().saturating_sub(5))
            .map_err(|error| other(&error))
    }

    async fn log_since(&self, path: &str, mark: u64, _max_bytes: usize) -> Result<Vec<u8>, Fault> {
        let bytes = std::fs::read(path).map_err(|error| other(&error))?;
        Ok(bytes[usize::try_from(mark).unwrap()..].to_vec())
    }
}
