//! A state directory of its own for each test, and a guard that leaves no process behind.

use agente_engine::fault::{Fault, FaultKind};
use agente_engine::names::{
    BackendId, DeploymentId, Digest, EnvironmentName, ReleaseNumber, Scope, ServiceName, Timestamp,
};
use agente_engine::placement::Placement;
use agente_engine::ports::{BackendState, Launch, Runtime, SecretValue, Secrets};
use agente_engine::release::{Artifact, EnvValue, PortRange, ProcessSpec, Release, RuntimeSpec};
use agente_engine::route::{Backend, Slot};
use agente_runtimes::process::{
    ProcessConfig, ProcessRuntime, SupervisionLimits, SupervisorCommand,
};
use async_trait::async_trait;
use sha2::Digest as _;
use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// How long anything may take that is waited for: the machine may be busy.
pub(crate) const PATIENCE: Duration = Duration::from_mins(5);

/// Secrets that a test can change, counting how often it was asked.
#[derive(Default)]
pub(crate) struct Vault {
    pub(crate) values: Mutex<BTreeMap<String, String>>,
    pub(crate) asked: AtomicU32,
}

#[async_trait]
impl Secrets for Vault {
    async fn value(&self, name: &str) -> Result<SecretValue, Fault> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let value = self.values.lock().unwrap().get(name).cloned();
        value.map(SecretValue::new).ok_or_else(|| {
            Fault::new(FaultKind::InvalidConfig, format!("there is no secret `{name}`"))
        })
    }
}

pub(crate) struct Stage {
    folder: tempfile::TempDir,
    pub(crate) service: String,
    pub(crate) vault: Arc<Vault>,
    pub(crate) limits: SupervisionLimits,
}

/// A port below those that the system gives out, free now, and given to no other test of this run.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let step = NEXT.fetch_add(1, Ordering::SeqCst);
        let port = u16::try_from(20_000 + (std::process::id() * 37 + step) % 12_000).unwrap();
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// Four free ports in a row, which no other test is given, of this run or another.
pub(crate) struct PortRow {
    pub(crate) first: u16,
    _guard: std::net::TcpListener,
}

impl PortRow {
    /// Below the ports of [`free_port`] and above those of whole scenes. Whoever wants a row takes
    /// the port before it first, and holds that.
    pub(crate) fn take() -> Self {
        let free = |port: u16| std::net::TcpListener::bind(("127.0.0.1", port));
        let row = (19_600..19_995).step_by(5).find_map(|before| {
            let guard = free(before).ok()?;
            let first = before + 1;
            (first..first + 4)
                .all(|port| free(port).is_ok())
                .then_some(Self { first, _guard: guard })
        });
        row.unwrap()
    }
}

impl Stage {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let service = format!("t{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::SeqCst));
        let limits = SupervisionLimits {
            first_backoff: Duration::from_millis(50),
            longest_backoff: Duration::from_millis(400),
            ..SupervisionLimits::default()
        };
        Self { folder: tempfile::tempdir().unwrap(), service, vault: Arc::default(), limits }
    }

    /// A stage on a state directory that another process made.
    pub(crate) fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    pub(crate) fn directory(&self, backend: &Backend) -> PathBuf {
        self.state().join("backends").join(&backend.id.0)
    }

    /// A host: each call is another one.
    pub(crate) fn host(&self) -> ProcessRuntime {
        host_of(&self.state(), Arc::clone(&self.vault) as Arc<dyn Secrets>, self.limits.clone())
    }

    pub(crate) fn artifact(&self, name: &str, content: &[u8], mode: u32) -> Artifact {
        let digest =
            Digest::new(format!("sha256:{}", hex::encode(sha2::Sha256::digest(content)))).unwrap();
        let path = artifact_path(&self.state(), &digest, name);
        if !path.exists() {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let draft = path.with_extension("draft");
            fs::write(&draft, content).unwrap();
            fs::set_permissions(&draft, Permissions::from_mode(mode)).unwrap();
            fs::rename(&draft, &path).unwrap();
        }
        Artifact::File { digest, name: name.to_owned() }
    }

    pub(crate) fn artifact_file(&self, artifact: &Artifact) -> PathBuf {
        let Artifact::File { digest, name } = artifact else { panic!("not a file") };
        artifact_path(&self.state(), digest, name)
    }

    /// A release of the test backend with these behaviours.
    pub(crate) fn release(&self, number: u64, behaviours: &[&str]) -> Release {
        let program = fs::read(env!("CARGO_BIN_EXE_agente-test-backend")).unwrap();
        let artifact = self.artifact("shop", &program, 0o755);
        let command =
            ["./shop", "{port}"].iter().chain(behaviours).map(|&word| word.to_owned()).collect();
        Release {
            scope: Scope {
                service: ServiceName::new(&self.service).unwrap(),
                environment: EnvironmentName::new("test").unwrap(),
            },
            number: ReleaseNumber(number),
            artifact,
            runtime: RuntimeSpec::Process(ProcessSpec {
                command,
                instances: 1,
                ports: PortRange { first: 20_000, last: 31_999 },
                env: BTreeMap::new(),
                stop_grace: Duration::from_secs(5),
            }),
            created: Timestamp(0),
        }
    }

    pub(crate) fn launch_of(&self, release: Release) -> Launch {
        let id = BackendId(format!("{}.test.blue-{}-0", self.service, release.number));
        Launch {
            backend: Backend {
                id,
                address: format!("127.0.0.1:{}", free_port()),
                placement: Placement::Process,
            },
            release,
            slot: Slot::Blue,
            deployment: DeploymentId("deployment-1".to_owned()),
            store: "store-1".to_owned(),
        }
    }

    pub(crate) fn launch(&self, behaviours: &[&str]) -> Launch {
        self.launch_of(self.release(1, behaviours))
    }

    /// The processes that belong to this stage: supervisors, then backends and what they started.
    pub(crate) fn processes(&self) -> (Vec<u32>, Vec<u32>) {
        let directory = self.state().join("backends");
        let mark = format!("AGENTE_SERVICE={}", self.service);
        let (mut supervisors, mut backends) = (Vec::new(), Vec::new());
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok())
            else {
                continue;
            };
            if pid == std::process::id() || state_of(pid).is_none_or(|state| state == 'Z') {
                continue;
            }
            let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
            if String::from_utf8_lossy(&environment).split('\0').any(|variable| variable == mark) {
                backends.push(pid);
            } else if String::from_utf8_lossy(&line).contains(directory.to_str().unwrap()) {
                supervisors.push(pid);
            }
        }
        (supervisors, backends)
    }

    pub(crate) fn supervisor(&self, backend: &Backend) -> u32 {
        number(&self.record(backend, "supervisor.json"), "pid")
    }

    pub(crate) fn record(&self, backend: &Backend, name: &str) -> serde_json::Value {
        serde_json::from_slice(&fs::read(self.directory(backend).join(name)).unwrap()).unwrap()
    }

    pub(crate) fn write_record(&self, backend: &Backend, name: &str, record: &serde_json::Value) {
        fs::write(self.directory(backend).join(name), record.to_string()).unwrap();
    }
}

/// A process that is nobody's business but the test's, and ends with it.
pub(crate) struct Bystander(pub(crate) std::process::Child);

impl Bystander {
    pub(crate) fn sleeping() -> Self {
        let nothing = std::process::Stdio::null;
        Self(
            std::process::Command::new("/bin/sleep")
                .arg("600")
                .stdin(nothing())
                .stdout(nothing())
                .stderr(nothing())
                .spawn()
                .unwrap(),
        )
    }
}

impl Drop for Bystander {
    fn drop(&mut self) {
        let _ended = self.0.kill();
        let _reaped = self.0.wait();
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let (supervisors, backends) = self.processes();
            if supervisors.is_empty() && backends.is_empty() {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "processes outlive the test: {supervisors:?} {backends:?}"
            );
            for pid in supervisors.into_iter().chain(backends) {
                kill(pid, "KILL");
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

fn artifact_path(state: &Path, digest: &Digest, name: &str) -> PathBuf {
    state.join("artifacts").join(digest.as_str().trim_start_matches("sha256:")).join(name)
}

pub(crate) fn host_of(
    state: &Path,
    secrets: Arc<dyn Secrets>,
    limits: SupervisionLimits,
) -> ProcessRuntime {
    let artifacts = state.to_owned();
    ProcessRuntime::new(ProcessConfig {
        state: state.to_owned(),
        supervisor: SupervisorCommand {
            program: PathBuf::from(env!("CARGO_BIN_EXE_agente-test-supervisor")),
            args: vec!["supervise".to_owned()],
        },
        artifacts: Arc::new(move |digest, name| artifact_path(&artifacts, digest, name)),
        secrets,
        limits,
    })
}

pub(crate) fn process_spec(release: &mut Release) -> &mut ProcessSpec {
    match &mut release.runtime {
        RuntimeSpec::Process(process) => process,
        other => panic!("not a process: {other:?}"),
    }
}

pub(crate) fn set_env(release: &mut Release, name: &str, value: EnvValue) {
    process_spec(release).env.insert(name.to_owned(), value);
}

pub(crate) fn number(record: &serde_json::Value, field: &str) -> u32 {
    u32::try_from(record[field].as_u64().unwrap()).unwrap()
}

pub(crate) fn state_of(pid: u32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

pub(crate) fn is_alive(pid: u32) -> bool {
    state_of(pid).is_some_and(|state| state != 'Z')
}

/// Sends a signal; one that ends a process for certain is waited for, to the release of its locks.
pub(crate) fn kill(pid: u32, signal: &str) {
    let _gone = std::process::Command::new("/bin/kill")
        .args(["-s", signal, &pid.to_string()])
        .stderr(std::process::Stdio::null())
        .status();
    let deadline = Instant::now() + PATIENCE;
    while signal == "KILL" && is_alive(pid) {
        assert!(Instant::now() < deadline, "process {pid} can't be killed");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// What a test backend answers; none while it does not.
pub(crate) fn ask(backend: &Backend) -> Option<String> {
    let mut stream = TcpStream::connect(&backend.address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).filter(|body| !body.is_empty())
}

pub(crate) fn told_pid(answer: &str) -> u32 {
    answer.lines().find_map(|line| line.strip_prefix("pid=")).unwrap().parse().unwrap()
}

/// Asks again until something is there.
pub(crate) async fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Looks at a backend until its state is as wanted.
pub(crate) async fn until_state(
    host: &ProcessRuntime,
    backend: &Backend,
    what: &str,
    wanted: impl Fn(&BackendState) -> bool,
) -> BackendState {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let state = host.inspect(backend).await.unwrap();
        if wanted(&state) {
            return state;
        }
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}, but {state:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
