//! A release: service, artifact and configuration, immutable and numbered.

use crate::names::{Digest, ReleaseNumber, Scope, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// The immutable bits of a release.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Artifact {
    /// A program file, copied into the store under its digest.
    File {
        /// Of its bytes.
        digest: Digest,
        /// Its file name, by which the command calls it.
        name: String,
    },
    /// A container image.
    Image {
        /// As the user wrote it: `shop:2`, `registry.local/shop@sha256:…`.
        reference: String,
        /// The image's id, resolved once; what is run and compared.
        id: Digest,
        /// The registry's digest (`name@sha256:…`), where the image has one.
        #[serde(default)]
        repository_digest: Option<String>,
    },
    /// What was running already when the service was adopted: its bits are unknown, its lifecycle
    /// is not ours.
    Adopted,
}

impl Artifact {
    /// A short text for people.
    pub fn describe(&self) -> String {
        match self {
            Artifact::File { digest, name } => format!("{name} ({})", digest.short()),
            Artifact::Image { reference, id, .. } => format!("{reference} ({})", id.short()),
            Artifact::Adopted => "adopted".to_owned(),
        }
    }
}

/// A value of the environment of a backend.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EnvValue {
    /// Plain text, kept in the release. `{port}`, `{slot}`, `{release}` and `{backend}` are filled
    /// in at launch.
    Plain(String),
    /// The name of a secret of the manifest; its value of the day is asked for at launch.
    Secret(String),
}

/// An inclusive range of TCP ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct PortRange {
    pub first: u16,
    /// The last, not below the first.
    pub last: u16,
}

/// How local processes run.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct ProcessSpec {
    /// Program and arguments, run in the folder that holds the artifact. `{port}`, `{slot}`,
    /// `{release}`, `{backend}` are filled in.
    pub command: Vec<String>,
    /// How many backends a slot has.
    pub instances: u16,
    /// Where their ports come from; they listen on 127.0.0.1.
    pub ports: PortRange,
    /// The whole environment.
    pub env: BTreeMap<String, EnvValue>,
    /// How long a backend may take from SIGTERM until it is killed.
    pub stop_grace: Duration,
}

/// How containers reach the balancer.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum DockerReach {
    /// A fixed port of this range on 127.0.0.1, published to the container's port.
    Loopback {
        /// Where the ports come from.
        ports: PortRange,
    },
    /// By container name on a network that the balancer is on too.
    Network {
        /// The network's name; made if it is absent.
        name: String,
    },
}

/// How containers run.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct DockerSpec {
    /// The endpoint of the engine, `unix:///var/run/docker.sock`. None in a manifest that leaves it
    /// to the machine; a release knows it, so that it can be launched there again.
    pub engine: Option<String>,
    /// The command, where it isn't the image's own. Filled in as for processes.
    pub command: Option<Vec<String>>,
    /// How many backends a slot has.
    pub instances: u16,
    /// The port that the program listens on in the container.
    pub container_port: u16,
    /// How the balancer reaches them.
    pub reach: DockerReach,
    /// The environment beside the image's own.
    pub env: BTreeMap<String, EnvValue>,
    /// Binds, `source:target[:ro]`; the source is an absolute path or a volume's name.
    pub volumes: Vec<String>,
    /// The memory limit.
    pub memory_bytes: Option<u64>,
    /// Whether the engine's small init runs as process 1.
    pub init: bool,
    /// How long a container may take from its stop signal until it is killed.
    pub stop_grace: Duration,
}

/// How the backends of a release run.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(tag = "runtime", rename_all = "kebab-case")]
pub enum RuntimeSpec {
    /// Local processes, each with a supervisor of ours.
    Process(ProcessSpec),
    /// Containers of a Docker Engine.
    Docker(DockerSpec),
    /// They ran before us and are never started or stopped by us.
    Adopted {
        /// `host:port` of each.
        addresses: Vec<String>,
    },
}

impl RuntimeSpec {
    /// How many backends a slot has.
    pub fn instances(&self) -> usize {
        match self {
            RuntimeSpec::Process(spec) => usize::from(spec.instances),
            RuntimeSpec::Docker(spec) => usize::from(spec.instances),
            RuntimeSpec::Adopted { addresses } => addresses.len(),
        }
    }

    /// Whether a value of its environment is a secret, whose value of the day is used.
    pub fn has_secrets(&self) -> bool {
        let env = match self {
            RuntimeSpec::Process(spec) => &spec.env,
            RuntimeSpec::Docker(spec) => &spec.env,
            RuntimeSpec::Adopted { .. } => return false,
        };
        env.values().any(|value| matches!(value, EnvValue::Secret(_)))
    }

    /// How long a backend may take to stop.
    pub fn stop_grace(&self) -> Duration {
        match self {
            RuntimeSpec::Process(spec) => spec.stop_grace,
            RuntimeSpec::Docker(spec) => spec.stop_grace,
            RuntimeSpec::Adopted { .. } => Duration::ZERO,
        }
    }
}

/// A release.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct Release {
    /// Where it belongs.
    pub scope: Scope,
    /// Its number there.
    pub number: ReleaseNumber,
    /// What runs.
    pub artifact: Artifact,
    /// How it runs.
    pub runtime: RuntimeSpec,
    /// When it was made.
    pub created: Timestamp,
}
