//! From a launch to what the engine is asked to create.
//!
//! Values of secrets reach the container as environment variables. The engine keeps these with the
//! container, and shows them to everybody who may use it (`docker inspect`): who may use the engine
//! is root on that machine anyway. They are never in a label, a name, an image or a message.

use super::containers::restart_policy;
use super::labels;
use super::mask::Mask;
use agente_engine::fault::{Fault, FaultKind};
use agente_engine::names::Digest;
use agente_engine::ports::{Launch, Secrets};
use agente_engine::release::{Artifact, DockerReach, DockerSpec, EnvValue, RuntimeSpec};
use bollard::models::{
    ContainerCreateBody, EndpointSettings, HostConfig, NetworkingConfig, PortBinding,
    RestartPolicyNameEnum,
};
use serde::Serialize;
use sha2::Digest as _;
use std::collections::{BTreeMap, HashMap};

/// What a launch comes to.
pub(crate) struct Wanted<'a> {
    pub(crate) spec: &'a DockerSpec,
    pub(crate) hash: String,
    /// The loopback port, where there is one.
    pub(crate) port: Option<u16>,
    pub(crate) body: ContainerCreateBody,
    /// Covers the values of its secrets.
    pub(crate) mask: Mask,
}

/// What makes two containers of one backend the same. Secrets are in it by name: another value of
/// the day is no other specification.
#[derive(Serialize)]
struct Identity<'a> {
    image: &'a Digest,
    address: &'a str,
    spec: &'a DockerSpec,
}

/// The Docker part of a release.
pub(crate) fn docker_part(runtime: &RuntimeSpec) -> Result<&DockerSpec, Fault> {
    let RuntimeSpec::Docker(spec) = runtime else {
        return Err(Fault::new(
            FaultKind::Internal,
            "a release that doesn't run in containers was given to the Docker runtime",
        ));
    };
    Ok(spec)
}

/// The image part of a release: the id that is run, the reference and the registry's digest.
pub(crate) fn image_part(artifact: &Artifact) -> Result<(&Digest, &str, Option<&str>), Fault> {
    match artifact {
        Artifact::Image { reference, id, repository_digest } => {
            Ok((id, reference, repository_digest.as_deref()))
        }
        Artifact::File { .. } | Artifact::Adopted => Err(Fault::new(
            FaultKind::Internal,
            "a release without an image was given to the Docker runtime",
        )),
    }
}

/// The port of `host:port`.
pub(crate) fn port_of(address: &str) -> Result<u16, Fault> {
    address.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).ok_or_else(|| {
        Fault::new(
            FaultKind::InvalidConfig,
            format!("`{address}` is not a backend address of the form `host:port`"),
        )
    })
}

/// Builds what the engine is asked for, with today's values of the secrets.
pub(crate) async fn wanted<'a>(
    launch: &'a Launch,
    secrets: &dyn Secrets,
) -> Result<Wanted<'a>, Fault> {
    let spec = docker_part(&launch.release.runtime)?;
    let (image, _, _) = image_part(&launch.release.artifact)?;
    let port = match &spec.reach {
        DockerReach::Loopback { .. } => Some(port_of(&launch.backend.address)?),
        DockerReach::Network { .. } => None,
    };
    let mut env = Vec::with_capacity(spec.env.len());
    let mut secret_variables = Vec::new();
    let mut secret_values = Vec::new();
    for (name, value) in &spec.env {
        match value {
            EnvValue::Plain(text) => env.push(format!("{name}={}", fill(text, launch, spec))),
            EnvValue::Secret(secret) => {
                let value = secrets.value(secret).await?;
                env.push(format!("{name}={}", value.expose()));
                secret_variables.push(name.clone());
                secret_values.push(value);
            }
        }
    }
    let hash = hash(&Identity { image, address: &launch.backend.address, spec })?;
    let exposed = format!("{}/tcp", spec.container_port);
    let bindings = port.map(|port| {
        let binding = PortBinding {
            host_ip: Some("127.0.0.1".to_owned()),
            host_port: Some(port.to_string()),
        };
        HashMap::from([(exposed.clone(), Some(vec![binding]))])
    });
    let network = match &spec.reach {
        DockerReach::Network { name } => Some(name.clone()),
        DockerReach::Loopback { .. } => None,
    };
    let memory = spec.memory_bytes.map(|bytes| i64::try_from(bytes).unwrap_or(i64::MAX));
    let body = ContainerCreateBody {
        image: Some(image.to_string()),
        cmd: spec
            .command
            .as_ref()
            .map(|command| command.iter().map(|argument| fill(argument, launch, spec)).collect()),
        env: Some(env),
        exposed_ports: Some(vec![exposed]),
        labels: Some(labels::of_launch(launch, &hash, port, &secret_variables)),
        host_config: Some(HostConfig {
            // A launched container is about to serve: it comes back after a crash and with the
            // engine.
            restart_policy: Some(restart_policy(RestartPolicyNameEnum::UNLESS_STOPPED)),
            port_bindings: bindings,
            network_mode: network.clone(),
            binds: (!spec.volumes.is_empty()).then(|| spec.volumes.clone()),
            memory,
            // The engine would grant as much swap again: then a leak is slow long before it is
            // seen.
            memory_swap: memory,
            init: spec.init.then_some(true),
            ..HostConfig::default()
        }),
        networking_config: network.map(|name| NetworkingConfig {
            endpoints_config: Some(HashMap::from([(name, EndpointSettings::default())])),
        }),
        ..ContainerCreateBody::default()
    };
    let mask = Mask::new(secret_values.iter().map(agente_engine::ports::SecretValue::expose));
    Ok(Wanted { spec, hash, port, body, mask })
}

fn hash(identity: &Identity<'_>) -> Result<String, Fault> {
    // Maps are ordered and there is no float: the same specification gives the same text.
    let text = serde_json::to_vec(identity).map_err(|error| {
        Fault::new(FaultKind::Internal, "the container's specification can't be serialized")
            .because(&error)
    })?;
    Ok(format!("sha256:{}", hex::encode(sha2::Sha256::digest(&text))))
}

/// Fills in `{port}` (the container's own), `{slot}`, `{release}` and `{backend}`.
fn fill(text: &str, launch: &Launch, spec: &DockerSpec) -> String {
    text.replace("{port}", &spec.container_port.to_string())
        .replace("{slot}", launch.slot.as_str())
        .replace("{release}", &launch.release.number.0.to_string())
        .replace("{backend}", &launch.backend.id.0)
}

/// The values in a container's environment that its labels call secret.
pub(crate) fn mask_of(container_labels: &HashMap<String, String>, env: &[String]) -> Mask {
    let secret: Vec<&str> = container_labels
        .get(labels::SECRETS)
        .map(|names| names.split(',').collect())
        .unwrap_or_default();
    let variables: BTreeMap<&str, &str> =
        env.iter().filter_map(|variable| variable.split_once('=')).collect();
    Mask::new(secret.iter().filter_map(|name| variables.get(name).copied()))
}
