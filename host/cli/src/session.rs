//! Everything that a command needs of one service in one environment, wired together.

use crate::adapters::{AnyRuntime, CallCounter, Checks, ManifestSecrets, Measures, PluginLines};
use crate::arguments::{Components, Global, Replace};
use crate::error::CliError;
use crate::plugins::{self, Loaded};
use crate::store::{Opened, StoreFound, find_store, open_store, scratch_store, state_directory};
use agente_engine::deployment::PluginInUse;
use agente_engine::fault::Fault;
use agente_engine::names::{DeploymentId, Scope};
use agente_engine::policy::Policy;
use agente_engine::ports::{Commands, Memory, Runtime, Secrets, Store};
use agente_engine::release::RuntimeSpec;
use agente_engine::route::Backend;
use agente_manifest::{Manifest, Overrides};
use agente_runtimes::commands::{AnyCommands, HostCommands};
use agente_runtimes::docker::{DockerRuntime, DockerSettings, Endpoint};
use agente_runtimes::process::{
    ProcessConfig, ProcessRuntime, SupervisionLimits, SupervisorCommand,
};
use agente_store::EmbeddedStore;
use agente_wasm::{Audit, OperationContext, PluginPorts, WasmSwitcher};
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};
use tempfile::TempDir;

/// What a command is about, which says how much of the manifest has to be there.
#[derive(Debug, Clone, Copy)]
pub(crate) enum About<'a> {
    /// A release that is to come: its artifact must be there.
    Next(&'a Replace),
    /// What stands: going back or looking must not need a file that is just being built.
    Standing(&'a Components),
}

/// Reads the manifest as the command line changes it.
pub(crate) fn manifest(global: &Global, about: About<'_>) -> Result<Manifest, CliError> {
    let environment = global.env.clone();
    let (components, mut overrides) = match about {
        About::Next(replace) => {
            let overrides = Overrides {
                image: replace.image.clone(),
                artifact: replace.artifact.clone(),
                ..Overrides::default()
            };
            (&replace.components, overrides)
        }
        About::Standing(components) => {
            (components, Overrides { standing: true, ..Overrides::default() })
        }
    };
    overrides.environment = environment;
    for path in &components.plugins {
        overrides.plugins.insert(plugins::name_of(path)?, path.clone());
    }
    Manifest::load_with(&global.file, &overrides).map_err(|error| plugins::manifest_error(&error))
}

/// Manifest, store and runtimes, without plugins.
pub(crate) struct Base {
    /// Holds the folder of an empty store; none where the store is the real one.
    scratch: Option<TempDir>,
    /// Why the real store can't be opened, where it is there, or was.
    pub(crate) unusable: Option<CliError>,
    /// The state directory, whether there is a store in it or not.
    pub(crate) root: PathBuf,
    pub(crate) manifest: Manifest,
    store: Arc<dyn Store>,
    /// What is this machine's alone.
    pub(crate) machine: EmbeddedStore,
    pub(crate) runtime: AnyRuntime,
    pub(crate) ports: PluginPorts,
    /// How plugins were called by this process.
    pub(crate) calls: Arc<CallCounter>,
}

/// The runtimes. A manifest that leaves the engine to the machine is told which one that is.
fn runtimes(
    manifest: &mut Manifest,
    store: &EmbeddedStore,
    root: PathBuf,
    secrets: Arc<dyn Secrets>,
) -> Result<AnyRuntime, CliError> {
    let program = crate::program::path()
        .ok_or_else(|| CliError::internal("the path of this executable is unknown"))?
        .to_owned();
    let artifacts_of = store.clone();
    let process = Arc::new(ProcessRuntime::new(ProcessConfig {
        state: root,
        supervisor: SupervisorCommand { program, args: vec!["supervise".to_owned()] },
        artifacts: Arc::new(move |digest, name| {
            artifacts_of.artifact_path(digest, name).unwrap_or_default()
        }),
        secrets: Arc::clone(&secrets),
        limits: SupervisionLimits::default(),
    }));
    // One that can't be used is an error for whoever launches a container, and nothing to a
    // service without any.
    let mut engine = Endpoint::of_docker_host(std::env::var("DOCKER_HOST").ok().as_deref());
    let mut preferred = false;
    if let RuntimeSpec::Docker(spec) = &mut manifest.runtime {
        preferred = true;
        match &spec.engine {
            Some(named) => engine = Endpoint::parse(named),
            None => spec.engine = engine.as_ref().ok().map(ToString::to_string),
        }
    }
    let mut settings =
        DockerSettings::new(engine.clone().unwrap_or_else(|_| Endpoint::usual()), store.id());
    settings.min_free_disk_bytes = manifest.policy.min_free_disk_bytes;
    let config_folder = std::env::var_os("DOCKER_CONFIG")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".docker")));
    settings.credentials =
        config_folder.map(|folder| folder.join("config.json")).filter(|path| path.is_file());
    Ok(AnyRuntime { process, docker: DockerRuntime::new(settings, secrets), engine, preferred })
}

impl Base {
    /// Wires manifest, store and runtimes. Where nothing was ever deployed, or the store can't be
    /// used, the store is an empty one for the moment: nothing is made.
    pub(crate) async fn look_unjudged(global: &Global, about: About<'_>) -> Result<Self, CliError> {
        let manifest = manifest(global, about)?;
        let unusable = match find_store(global).await? {
            StoreFound::Open(store) => return Self::with(manifest, store),
            StoreFound::Nothing => None,
            StoreFound::Unusable(error) => Some(error),
        };
        let (store, scratch) = scratch_store().await?;
        let root = state_directory(global)?.root().to_owned();
        Ok(Self { unusable, scratch: Some(scratch), ..Self::at(manifest, store, root)? })
    }

    /// Wires a manifest with an open store.
    pub(crate) fn with(manifest: Manifest, opened: Opened) -> Result<Self, CliError> {
        let root = opened.machine.directory().root().to_owned();
        Self::at(manifest, opened, root)
    }

    fn at(mut manifest: Manifest, opened: Opened, root: PathBuf) -> Result<Self, CliError> {
        let Opened { store, machine } = opened;
        let secrets: Arc<dyn Secrets> = Arc::new(ManifestSecrets {
            sources: manifest.secrets.clone(),
            directory: manifest.directory.clone(),
        });
        let runtime = runtimes(&mut manifest, &machine, root.clone(), Arc::clone(&secrets))?;
        let in_containers = runtime
            .docker_for_launch()
            .ok()
            .map(|docker| Arc::new(docker.commands()) as Arc<dyn Commands>);
        let commands: Arc<dyn Commands> = Arc::new(AnyCommands::new(HostCommands, in_containers));
        let memory: Arc<dyn Memory> = Arc::<dyn Store>::clone(&store);
        let calls: Arc<CallCounter> = Arc::default();
        let audit: Arc<dyn Audit> = Arc::<CallCounter>::clone(&calls);
        let ports = PluginPorts {
            commands,
            secrets,
            memory,
            audit,
            log: Arc::new(PluginLines),
            variables: plugins::variables(),
            seam: None,
        };
        Ok(Self {
            scratch: None,
            unusable: None,
            root,
            manifest,
            store,
            machine,
            runtime,
            ports,
            calls,
        })
    }

    pub(crate) fn scope(&self) -> &Scope {
        &self.manifest.scope
    }

    pub(crate) fn store(&self) -> &dyn Store {
        &*self.store
    }

    /// Whether there is no store yet.
    pub(crate) fn is_scratch(&self) -> bool {
        self.scratch.is_some()
    }
}

/// The switcher alone, to look at the target on behalf of no deployment.
pub(crate) async fn only_switcher(base: &Base) -> Result<WasmSwitcher, CliError> {
    let lock = plugins::read_lock(&base.manifest.directory)?;
    let host = plugins::host(&base.machine)?;
    let plugin =
        plugins::load_switcher(&host, &base.manifest, &lock, base.store().id(), &base.ports)
            .await?;
    plugin.switcher(OperationContext::default()).ok_or_else(not_a_switcher)
}

fn not_a_switcher() -> CliError {
    CliError::internal("the plugin that switches is not a switcher")
}

/// A base with its plugins loaded and granted.
pub(crate) struct Session {
    pub(crate) base: Base,
    loaded: Loaded,
    cancelled: Arc<AtomicBool>,
    interrupted: OnceLock<Fault>,
}

impl Session {
    /// Loads the plugins of a base.
    pub(crate) async fn load(base: Base) -> Result<Self, CliError> {
        let lock = plugins::read_lock(&base.manifest.directory)?;
        let host = plugins::host(&base.machine)?;
        let loaded = Box::pin(plugins::load_all(
            &host,
            &base.manifest,
            &lock,
            base.store().id(),
            &base.ports,
        ))
        .await?;
        Ok(Self { base, loaded, cancelled: Arc::default(), interrupted: OnceLock::new() })
    }

    /// Makes the store where there is none yet.
    pub(crate) async fn made(self, global: &Global) -> Result<Self, CliError> {
        if !self.base.is_scratch() {
            return Ok(self);
        }
        let manifest = self.base.manifest;
        Self::load(Base::with(manifest, open_store(global).await?)?).await
    }

    /// On whose behalf plugins are asked.
    pub(crate) fn context(
        &self,
        deployment: Option<&DeploymentId>,
        backends: &[Backend],
        image: Option<String>,
    ) -> OperationContext {
        OperationContext {
            deployment: deployment.map(|id| id.0.clone()).unwrap_or_default(),
            backends: backends.iter().map(|backend| backend.address.clone()).collect(),
            public_url: self.base.manifest.policy.probe.as_ref().map(|probe| probe.url.clone()),
            image,
            lock: None,
            cancelled: Arc::clone(&self.cancelled),
        }
    }

    /// What tells plugins that what they do is wanted no more.
    pub(crate) fn cancelled(&self) -> &AtomicBool {
        &self.cancelled
    }

    /// Why this process was asked to stop, where that could not be left in the mailbox.
    pub(crate) fn interrupted(&self) -> &OnceLock<Fault> {
        &self.interrupted
    }

    /// The loaded plugins, for the plan.
    pub(crate) fn plugins_in_use(&self) -> Vec<PluginInUse> {
        let all = std::iter::once(&self.loaded.switcher).chain(self.loaded.checkers.values());
        all.map(|plugin| PluginInUse {
            name: plugin.name().to_string(),
            version: plugin.header().version.clone(),
            digest: plugin.digest().clone(),
        })
        .collect()
    }

    /// The switcher for a context.
    pub(crate) fn switcher(&self, context: OperationContext) -> Result<WasmSwitcher, CliError> {
        self.loaded.switcher.switcher(context).ok_or_else(not_a_switcher)
    }

    /// The checks for a context.
    pub(crate) fn checks(&self, context: &OperationContext) -> Checks {
        let checkers = self.loaded.checkers.iter();
        let checkers = checkers
            .filter_map(|(name, plugin)| {
                plugin.checker(context.clone()).map(|checker| (name.clone(), checker))
            })
            .collect();
        Checks { checkers, runtime: self.base.runtime.clone() }
    }

    /// The sources of metrics for a context.
    pub(crate) fn measures(&self, context: &OperationContext) -> Measures {
        Measures::of(&self.loaded.checkers, context, self.base.runtime.clone())
    }

    /// The port `Runtime`.
    pub(crate) fn runtime(&self) -> &dyn Runtime {
        &self.base.runtime
    }

    /// The policy with what the target says about itself filled in: the header by which an answer
    /// names its slot.
    pub(crate) async fn policy(&self) -> Policy {
        let mut policy = self.base.manifest.policy.clone();
        if let Some(probe) = policy.probe.as_mut().filter(|probe| probe.identity_header.is_none()) {
            use agente_engine::ports::TrafficSwitcher;
            if let Ok(switcher) = self.switcher(self.context(None, &[], None))
                && let Ok(features) = switcher.features().await
            {
                probe.identity_header = features.identity_header;
                "{slot}".clone_into(&mut probe.identity_value);
            }
        }
        policy
    }
}
