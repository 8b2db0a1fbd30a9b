//! Judges whether a release could be launched, line by line. Changes nothing.

use super::call::Engine;
use super::containers::short;
use super::reserve::is_free;
use super::runtime::DockerRuntime;
use super::specification::{docker_part, image_part, port_of};
use agente_engine::fault::Fault;
use agente_engine::ports::{Finding, FindingResult};
use agente_engine::release::{DockerReach, DockerSpec, EnvValue, Release};
use agente_engine::route::Backend;
use std::path::Path;

fn finding(
    subject: impl Into<String>,
    result: FindingResult,
    message: impl Into<String>,
    hint: Option<String>,
) -> Finding {
    Finding { subject: subject.into(), result, message: message.into(), hint }
}

fn bad(subject: impl Into<String>, fault: Fault) -> Finding {
    let message = match fault.causes.first() {
        Some(cause) => format!("{}: {cause}", fault.message),
        None => fault.message,
    };
    finding(subject, FindingResult::Bad, message, fault.hint)
}

/// All findings; when the engine doesn't answer, that one alone.
pub(crate) async fn preflight(
    runtime: &DockerRuntime,
    release: &Release,
    backends: &[Backend],
) -> Vec<Finding> {
    let engine = &runtime.engine;
    let spec = match docker_part(&release.runtime) {
        Ok(spec) => spec,
        Err(fault) => return vec![bad("runtime", fault)],
    };
    let mut findings = Vec::new();
    match the_engine(engine, &mut findings).await {
        Ok(()) => {}
        Err(fault) => return vec![bad("docker engine", fault)],
    }
    findings.push(the_image(engine, release).await);
    if let DockerReach::Network { name } = &spec.reach {
        let subject = format!("network {name}");
        findings.push(match engine.has_network(name).await {
            Ok(true) => finding(subject, FindingResult::Good, "is there", None),
            Ok(false) => finding(
                subject,
                FindingResult::Warning,
                "is not there and will be made; the balancer must join it",
                Some(format!("docker network connect {name} <balancer>")),
            ),
            Err(fault) => bad(subject, fault),
        });
    }
    for backend in backends {
        findings.push(the_backend(engine, spec, backend).await);
    }
    for volume in &spec.volumes {
        if let Some(finding) = the_volume(engine, volume) {
            findings.push(finding);
        }
    }
    for (variable, value) in &spec.env {
        if let EnvValue::Secret(name) = value {
            let subject = format!("secret {name}");
            findings.push(match runtime.secrets.value(name).await {
                Ok(_) => finding(
                    subject,
                    FindingResult::Good,
                    format!("is there, for `{variable}`; who may use the engine can read it there"),
                    None,
                ),
                Err(fault) => bad(subject, fault),
            });
        }
    }
    findings
}

async fn the_engine(engine: &Engine, findings: &mut Vec<Finding>) -> Result<(), Fault> {
    let version = engine.ask("tell its version", engine.client()?.version()).await?;
    let info = engine.ask("tell about itself", engine.client()?.info()).await?;
    findings.push(finding(
        "docker engine",
        FindingResult::Good,
        format!(
            "{} at `{}`, API {}",
            version.version.unwrap_or_default(),
            engine.settings.endpoint,
            version.api_version.unwrap_or_default()
        ),
        None,
    ));
    // Its folder is ours to look at only where it runs on this machine.
    let Some(root) = info.docker_root_dir.filter(|root| Path::new(root).is_dir()) else {
        return Ok(());
    };
    if let Ok(space) = rustix::fs::statvfs(&root) {
        let free = space.f_bavail.saturating_mul(space.f_frsize);
        let (least, mib) = (engine.settings.min_free_disk_bytes, 1024 * 1024);
        findings.push(if free < least {
            let message =
                format!("{} MiB free in `{root}`, {} MiB must be left", free / mib, least / mib);
            finding("docker disk", FindingResult::Bad, message, Some("docker system df".to_owned()))
        } else {
            finding(
                "docker disk",
                FindingResult::Good,
                format!("{} MiB free in `{root}`", free / mib),
                None,
            )
        });
    }
    Ok(())
}

async fn the_image(engine: &Engine, release: &Release) -> Finding {
    let (id, reference, repository_digest) = match image_part(&release.artifact) {
        Ok(parts) => parts,
        Err(fault) => return bad("image", fault),
    };
    let subject = format!("image {reference}");
    match (engine.image_by_id(id).await, repository_digest) {
        (Ok(true), _) => {
            finding(subject, FindingResult::Good, format!("is there as {}", id.short()), None)
        }
        (Ok(false), Some(digest)) => finding(
            subject,
            FindingResult::Warning,
            format!("{} is not there any more and will be pulled as `{digest}`", id.short()),
            Some(format!("docker pull {digest}")),
        ),
        (Ok(false), None) => finding(
            subject,
            FindingResult::Bad,
            format!(
                "the image {} of this release is not on the engine, and no registry is known to \
                 have it",
                id.short()
            ),
            Some("deploy a new release from an image that is there".to_owned()),
        ),
        (Err(fault), _) => bad(subject, fault),
    }
}

async fn the_backend(engine: &Engine, spec: &DockerSpec, backend: &Backend) -> Finding {
    let subject = match &spec.reach {
        DockerReach::Loopback { .. } => {
            format!("port {}", backend.address.rsplit(':').next().unwrap_or_default())
        }
        DockerReach::Network { .. } => format!("container {}", backend.id),
    };
    let standing = match engine.find(&backend.id).await {
        Ok(found) => found.standing,
        Err(fault) => return bad(subject, fault),
    };
    if let Some(standing) = standing {
        return finding(
            subject,
            FindingResult::Good,
            format!(
                "belongs to `{}`, which is ours (container {})",
                backend.id,
                short(&standing.id)
            ),
            None,
        );
    }
    if let DockerReach::Network { .. } = spec.reach {
        return finding(subject, FindingResult::Good, "the name is free", None);
    }
    let port = match port_of(&backend.address) {
        Ok(port) => port,
        Err(fault) => return bad(subject, fault),
    };
    let hint = Some(format!("ss -ltnp 'sport = :{port}'"));
    match engine.holder_of_port(port).await {
        Ok(Some(holder)) => finding(
            subject,
            FindingResult::Bad,
            format!("the container `{holder}` has it"),
            Some(format!("docker inspect {holder}")),
        ),
        Ok(None) if is_free(port) => finding(subject, FindingResult::Good, "is free", None),
        Ok(None) => finding(
            subject,
            FindingResult::Bad,
            format!("something else listens on 127.0.0.1:{port}"),
            hint,
        ),
        Err(fault) => bad(subject, fault),
    }
}

/// A folder that is to be mounted and isn't there is made by the engine, empty and owned by root:
/// seldom what was meant.
fn the_volume(engine: &Engine, volume: &str) -> Option<Finding> {
    let source = volume.split(':').next().filter(|source| source.starts_with('/'))?;
    if matches!(engine.settings.endpoint, super::Endpoint::Tcp(_)) || Path::new(source).exists() {
        return None;
    }
    let message =
        format!("`{source}` is not there; the engine would make an empty folder, owned by root");
    Some(finding(
        format!("volume {source}"),
        FindingResult::Warning,
        message,
        Some(format!("mkdir -p {source}")),
    ))
}
