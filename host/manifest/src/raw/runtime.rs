//! `[runtime]` as it is written.

use crate::forms::PortsText;
use agente_units::{Size, Span};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How the service runs: exactly one of these tables.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("x-exactly-one" = ["process", "docker"]))]
pub(crate) struct RawRuntime {
    /// Local processes, each kept running by a supervisor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) process: Option<RawProcess>,
    /// Containers of a Docker Engine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) docker: Option<RawDocker>,
}

/// Local processes.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RawProcess {
    /// The program file, relative to the manifest. It is copied into the store under its digest,
    /// so that a later build does not affect what is running.
    #[schemars(required, extend("x-required" = true), example = &"target/release/shop")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) artifact: Option<String>,
    /// Program and arguments, run without a shell in a directory that contains the artifact under
    /// its own file name. `{port}`, `{slot}`, `{release}` and `{backend}` are filled in. The
    /// program is the artifact by `./` and its name, an absolute path, or a bare name in the
    /// backend's `PATH`. The port must be passed here or in `env`.
    #[schemars(required, extend("x-required" = true), length(min = 1), example = ["./shop", "127.0.0.1:{port}"])]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) command: Option<Vec<String>>,
    /// How many backends each slot runs.
    #[schemars(range(min = 1, max = 500), example = 2)]
    pub(crate) instances: u16,
    /// The range of the backends' ports on 127.0.0.1: first and last. It needs at least two per
    /// instance, because both slots may run at once.
    #[schemars(required, extend("x-required" = true), example = &"18100-18199")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ports: Option<PortsText>,
    /// The backend's entire environment; nothing is inherited. The same placeholders are filled in.
    #[schemars(extend("examples" = [{"MODE": "production", "DATABASE_URL": {"secret": "db"}}]))]
    pub(crate) env: BTreeMap<String, RawEnvValue>,
    /// How long a backend may take to stop after SIGTERM before it is killed.
    #[schemars(example = &"10s")]
    pub(crate) stop_grace: Span,
}

impl Default for RawProcess {
    fn default() -> Self {
        Self {
            artifact: None,
            command: None,
            instances: 1,
            ports: None,
            env: BTreeMap::new(),
            stop_grace: Span::seconds(10),
        }
    }
}

/// Containers.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("x-exactly-one" = ["ports", "network"]))]
pub(crate) struct RawDocker {
    /// The image; `deploy --image` names another for one deployment. It is resolved once, and the
    /// release keeps its digest.
    #[schemars(required, extend("x-required" = true), example = &"registry.example/shop:2")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) image: Option<String>,
    /// The command to run instead of the image's own. `{port}`, `{slot}`, `{release}` and
    /// `{backend}` are filled in.
    #[schemars(length(min = 1), example = ["/shop", "0.0.0.0:8080"])]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) command: Option<Vec<String>>,
    /// How many backends each slot runs.
    #[schemars(range(min = 1, max = 500), example = 2)]
    pub(crate) instances: u16,
    /// The port that the program listens on in its container.
    #[schemars(required, extend("x-required" = true), range(min = 1, max = 65535), example = 8080)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) container_port: Option<u16>,
    /// The ports on 127.0.0.1 at which the load balancer reaches the containers: first and last.
    /// Either this or `network`.
    #[schemars(example = &"18100-18199")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ports: Option<PortsText>,
    /// The network on which the load balancer reaches the containers by name. Either this or
    /// `ports`.
    #[schemars(example = &"shop-net")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) network: Option<String>,
    /// Environment variables added to the image's own. The same placeholders are filled in.
    #[schemars(extend("examples" = [{"MODE": "production", "DATABASE_URL": {"secret": "db"}}]))]
    pub(crate) env: BTreeMap<String, RawEnvValue>,
    /// Mounts, `source:target` or `source:target:ro`; the source is an absolute path or a volume
    /// name.
    #[schemars(example = ["/srv/shop/uploads:/uploads", "shop-cache:/cache"])]
    pub(crate) volumes: Vec<String>,
    /// The memory limit of a container. Without it: unlimited.
    #[schemars(example = &"256MiB")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) memory: Option<Size>,
    /// Whether Docker's init runs as process 1, so that signals are delivered and zombies are
    /// reaped.
    #[schemars(example = false)]
    pub(crate) init: bool,
    /// How long a container may take to stop before it is killed.
    #[schemars(example = &"10s")]
    pub(crate) stop_grace: Span,
    /// The engine's socket, an absolute path. Without it `DOCKER_HOST` and then the default path
    /// are tried. It is not part of a release.
    #[schemars(example = &"/run/user/1000/docker.sock")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) socket: Option<String>,
}

impl Default for RawDocker {
    fn default() -> Self {
        Self {
            image: None,
            command: None,
            instances: 1,
            container_port: None,
            ports: None,
            network: None,
            env: BTreeMap::new(),
            volumes: Vec::new(),
            memory: None,
            init: true,
            stop_grace: Span::seconds(10),
            socket: None,
        }
    }
}

/// A text, or `{ secret = "name" }`.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum RawEnvValue {
    /// Plain text, kept in the release.
    Plain(String),
    /// The value of a secret, asked for at launch.
    Secret(RawSecretReference),
}

/// A reference to a secret.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RawSecretReference {
    /// A name in `[secrets]`.
    #[schemars(required, extend("x-required" = true), example = &"db")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) secret: Option<String>,
}
