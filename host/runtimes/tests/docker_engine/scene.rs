//! What each test begins with: a runtime of its own store, a service, ports, and launches.

use crate::daemon::Daemon;
use agente_engine::fault::{Fault, FaultKind};
use agente_engine::names::{
    BackendId, DeploymentId, Digest, EnvironmentName, ReleaseNumber, Scope, ServiceName, Timestamp,
};
use agente_engine::placement::Placement;
use agente_engine::ports::{
    BackendState, CommandPlace, CommandSpec, Launch, Runtime, SecretValue, Secrets,
};
use agente_engine::release::{
    Artifact, DockerReach, DockerSpec, EnvValue, PortRange, Release, RuntimeSpec,
};
use agente_engine::route::{Backend, Slot};
use agente_runtimes::docker::{ContainerCommands, DockerRuntime, DockerSettings, Endpoint};
use async_trait::async_trait;
use bollard::Docker;
use bollard::models::ContainerSummary;
use bollard::query_parameters::ListContainersOptionsBuilder;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The password that the store of secrets of every scene has as `password`.
pub(crate) const PASSWORD: &str = "correct-horse";

/// How long anything may take that is waited for: the machine may be busy.
pub(crate) const PATIENCE: Duration = Duration::from_mins(5);

/// The port in the containers.
pub(crate) const INSIDE: u16 = 8080;

struct OneSecret;

#[async_trait]
impl Secrets for OneSecret {
    async fn value(&self, name: &str) -> Result<SecretValue, Fault> {
        match name {
            "password" => Ok(SecretValue::new(PASSWORD.to_owned())),
            _ => Err(Fault::new(FaultKind::InvalidConfig, format!("there is no secret `{name}`"))),
        }
    }
}

pub(crate) struct Scene {
    pub(crate) runtime: DockerRuntime,
    pub(crate) docker: Docker,
    pub(crate) settings: DockerSettings,
    pub(crate) scope: Scope,
    pub(crate) image: Artifact,
    pub(crate) ports: PortRange,
}

impl Scene {
    /// On the shared engine, with the plain image.
    pub(crate) async fn new(service: &str) -> Scene {
        let daemon = Daemon::shared();
        let id = daemon.image(&format!("{service}:1"), service, &[]).await;
        Self::on(daemon, service, &format!("{service}:1"), &id)
    }

    pub(crate) fn on(daemon: &Daemon, service: &str, reference: &str, image: &str) -> Scene {
        static NEXT: AtomicU16 = AtomicU16::new(0);
        // Below the kernel's own range; another process that runs these tests begins elsewhere.
        let first = 20_000
            + u16::try_from(std::process::id() % 10).expect("a digit") * 1000
            + NEXT.fetch_add(1, Ordering::Relaxed) * 16;
        let settings = DockerSettings::new(
            Endpoint::Unix(daemon.socket.clone()),
            format!("store-of-{service}"),
        );
        Scene {
            runtime: DockerRuntime::new(settings.clone(), Arc::new(OneSecret)),
            docker: daemon.client(),
            settings,
            scope: Scope {
                service: ServiceName::new(service).expect("a name"),
                environment: EnvironmentName::new("test").expect("a name"),
            },
            image: artifact(reference, image),
            ports: PortRange { first, last: first + 15 },
        }
    }

    /// A runtime like this scene's, with other settings.
    pub(crate) fn runtime_with(&self, change: impl FnOnce(&mut DockerSettings)) -> DockerRuntime {
        let mut settings = self.settings.clone();
        change(&mut settings);
        DockerRuntime::new(settings, Arc::new(OneSecret))
    }

    /// The same through another socket.
    pub(crate) fn runtime_through(&self, socket: &Path) -> DockerRuntime {
        self.runtime_with(|settings| settings.endpoint = Endpoint::Unix(socket.to_owned()))
    }

    pub(crate) fn commands(&self) -> ContainerCommands {
        ContainerCommands::new(self.settings.clone())
    }

    /// The usual specification with another command.
    pub(crate) fn spec(&self, command: &[&str]) -> DockerSpec {
        DockerSpec {
            engine: None,
            command: Some(command.iter().map(|argument| (*argument).to_owned()).collect()),
            instances: 1,
            container_port: INSIDE,
            reach: DockerReach::Loopback { ports: self.ports },
            env: BTreeMap::from([(
                "RELEASE".to_owned(),
                EnvValue::Plain("{slot}-{release}".to_owned()),
            )]),
            volumes: Vec::new(),
            memory_bytes: None,
            init: false,
            stop_grace: Duration::from_secs(2),
        }
    }

    pub(crate) fn release(&self, number: u64, spec: DockerSpec) -> Release {
        Release {
            scope: self.scope.clone(),
            number: ReleaseNumber(number),
            artifact: self.image.clone(),
            runtime: RuntimeSpec::Docker(spec),
            created: Timestamp(0),
        }
    }

    /// A launch of release `number` in a slot, at an address that is free now.
    pub(crate) async fn launch(&self, number: u64, slot: Slot, spec: DockerSpec) -> Launch {
        let release = self.release(number, spec);
        let backend =
            self.runtime.reserve(&release, slot, &[]).await.expect("a free port").remove(0);
        Launch {
            backend,
            release,
            slot,
            deployment: DeploymentId("d-1".to_owned()),
            store: self.settings.store.clone(),
        }
    }

    /// The same for a program that answers.
    pub(crate) async fn serving(&self, number: u64, slot: Slot) -> Launch {
        self.launch(number, slot, self.spec(&["serve", "{port}"])).await
    }

    /// All containers of this scene's service.
    pub(crate) async fn containers(&self) -> Vec<ContainerSummary> {
        let filters: HashMap<&str, Vec<String>> =
            HashMap::from([("label", vec![format!("agente.service={}", self.scope.service)])]);
        self.docker
            .list_containers(Some(
                ListContainersOptionsBuilder::default().all(true).filters(&filters).build(),
            ))
            .await
            .expect("a list")
    }

    pub(crate) async fn inspect(&self, name: &str) -> bollard::models::ContainerInspectResponse {
        self.docker
            .inspect_container(name, None::<bollard::query_parameters::InspectContainerOptions>)
            .await
            .expect("the container is there")
    }

    /// Makes a container that is not ours, running, under this name.
    pub(crate) async fn stranger(
        &self,
        name: &str,
        labels: &[(&str, &str)],
        host: bollard::models::HostConfig,
    ) -> String {
        let Artifact::Image { id, .. } = &self.image else { panic!("an image") };
        let body = bollard::models::ContainerCreateBody {
            image: Some(id.to_string()),
            cmd: Some(vec!["serve".to_owned(), INSIDE.to_string()]),
            exposed_ports: Some(vec![format!("{INSIDE}/tcp")]),
            labels: Some(
                labels
                    .iter()
                    .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                    .collect(),
            ),
            host_config: Some(host),
            ..Default::default()
        };
        let options =
            bollard::query_parameters::CreateContainerOptionsBuilder::default().name(name).build();
        let made = self.docker.create_container(Some(options), body).await.expect("a container");
        self.docker
            .start_container(&made.id, None::<bollard::query_parameters::StartContainerOptions>)
            .await
            .expect("it starts");
        made.id
    }

    /// Waits for a backend to be in a state.
    pub(crate) async fn state(
        &self,
        backend: &Backend,
        what: &str,
        wanted: impl Fn(&BackendState) -> bool,
    ) -> BackendState {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let state = self.runtime.inspect(backend).await.expect("a look at the backend");
            if wanted(&state) {
                return state;
            }
            assert!(Instant::now() < deadline, "{} never was {what}; it is {state:?}", backend.id);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

pub(crate) fn artifact(reference: &str, id: &str) -> Artifact {
    Artifact::Image {
        reference: reference.to_owned(),
        id: Digest::new(id).expect("an id"),
        repository_digest: None,
    }
}

pub(crate) fn backend(id: &str, port: u16) -> Backend {
    Backend {
        id: BackendId(id.to_owned()),
        address: format!("127.0.0.1:{port}"),
        placement: Placement::Docker { engine: "unix:///the/test".to_owned(), network: None },
    }
}

pub(crate) fn runs(state: &BackendState) -> bool {
    matches!(state, BackendState::Running { .. })
}

/// Asks an address until it answers, and gives the body.
pub(crate) async fn answer(address: &str) -> String {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Ok(body) = ask_once(address).await
            && !body.is_empty()
        {
            return body;
        }
        assert!(Instant::now() < deadline, "`{address}` never answered");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn ask_once(address: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await?;
    let mut bytes = [0; 1024];
    let read = stream.read(&mut bytes).await?;
    Ok(String::from_utf8_lossy(&bytes[..read]).lines().last().unwrap_or_default().to_owned())
}

/// Asks until something is so.
pub(crate) async fn eventually<F: Future<Output = bool>>(what: &str, is_so: impl Fn() -> F) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so().await {
        assert!(Instant::now() < deadline, "it never came that {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A command with the usual limits.
pub(crate) fn command(place: CommandPlace, argv: &[&str]) -> CommandSpec {
    CommandSpec {
        argv: argv.iter().map(|argument| (*argument).to_owned()).collect(),
        stdin: Vec::new(),
        env: BTreeMap::new(),
        cwd: None,
        wall: Duration::from_secs(20),
        max_output_bytes: 64 * 1024,
        place,
        lock: None,
    }
}
