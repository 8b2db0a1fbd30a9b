//! Judges whether a release could be launched, line by line. Changes nothing.

use super::call::Engine;
use super::containers::short;
use super::reserve::is_free;
use super::specification::{docker_part, image_part, port_of};
use crate::findings::{bad, from_fault, good, warning};
use agente_engine::fault::Fault;
use agente_engine::ports::{Finding, Secrets};
use agente_engine::release::{DockerReach, DockerSpec, EnvValue, Release};
use agente_engine::route::Backend;
use std::path::Path;

/// All findings; when the engine doesn't answer, that one alone.
pub(crate) async fn preflight(
    engine: &Engine,
    secrets: &dyn Secrets,
    release: &Release,
    backends: &[Backend],
) -> Vec<Finding> {
    let spec = match docker_part(&release.runtime) {
        Ok(spec) => spec,
        Err(fault) => return vec![from_fault("runtime", fault)],
    };
    let mut findings = Vec::new();
    match the_engine(engine, &mut findings).await {
        Ok(()) => {}
        Err(fault) => return vec![from_fault("docker engine", fault)],
    }
    findings.push(the_image(engine, release).await);
    if let DockerReach::Network { name } = &spec.reach {
        let subject = format!("network {name}");
        findings.push(match engine.has_network(name).await {
            Ok(true) => good(subject, "is there"),
            Ok(false) => warning(
                subject,
                "does not exist and will be created; the load balancer must join it",
                format!("docker network connect {name} <balancer>"),
            ),
            Err(fault) => from_fault(subject, fault),
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
            findings.push(match secrets.value(name).await {
                Ok(_) => good(
                    subject,
                    format!(
                        "is available for `{variable}`; anyone with access to the engine can \
                    read it there"
                    ),
                ),
                Err(fault) => from_fault(subject, fault),
            });
        }
    }
    findings
}

async fn the_engine(engine: &Engine, findings: &mut Vec<Finding>) -> Result<(), Fault> {
    let version = engine.ask("report its version", engine.client()?.version()).await?;
    let info = engine.ask("describe itself", engine.client()?.info()).await?;
    findings.push(good(
        "docker engine",
        format!(
            "{} at `{}`, API {}",
            version.version.unwrap_or_default(),
            engine.settings.endpoint,
            version.api_version.unwrap_or_default()
        ),
    ));
    // Its folder is ours to look at only where it runs on this machine.
    let Some(root) = info.docker_root_dir.filter(|root| Path::new(root).is_dir()) else {
        return Ok(());
    };
    if let Ok(space) = rustix::fs::statvfs(&root) {
        let free = space.f_bavail.saturating_mul(space.f_frsize);
        let (least, mib) = (engine.settings.min_free_disk_bytes, 1024 * 1024);
        findings.push(if free < least {
            let message = format!(
                "{} MiB free in `{root}`, but {} MiB are required",
                free / mib,
                least / mib
            );
            bad("docker disk", message, Some("docker system df".to_owned()))
        } else {
            good("docker disk", format!("{} MiB free in `{root}`", free / mib))
        });
    }
    Ok(())
}

async fn the_image(engine: &Engine, release: &Release) -> Finding {
    let (id, reference, repository_digest) = match image_part(&release.artifact) {
        Ok(parts) => parts,
        Err(fault) => return from_fault("image", fault),
    };
    let subject = format!("image {reference}");
    match (engine.image_by_id(id).await, repository_digest) {
        (Ok(true), _) => good(subject, format!("is on the engine as {}", id.short())),
        (Ok(false), Some(digest)) => warning(
            subject,
            format!("{} is no longer on the engine and will be pulled as `{digest}`", id.short()),
            format!("docker pull {digest}"),
        ),
        (Ok(false), None) => bad(
            subject,
            format!(
                "the image {} of this release is not on the engine, and no registry is known to \
                 have it",
                id.short()
            ),
            Some("deploy a new release from an image that is there".to_owned()),
        ),
        (Err(fault), _) => from_fault(subject, fault),
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
        Err(fault) => return from_fault(subject, fault),
    };
    if let Some(standing) = standing {
        return good(
            subject,
            format!(
                "belongs to `{}`, which is ours (container {})",
                backend.id,
                short(&standing.id)
            ),
        );
    }
    if let DockerReach::Network { .. } = spec.reach {
        return good(subject, "the name is free");
    }
    let port = match port_of(&backend.address) {
        Ok(port) => port,
        Err(fault) => return from_fault(subject, fault),
    };
    let hint = Some(format!("ss -ltnp 'sport = :{port}'"));
    match engine.holder_of_port(port).await {
        Ok(Some(holder)) => bad(
            subject,
            format!("is in use by the container `{holder}`"),
            Some(format!("docker inspect {holder}")),
        ),
        Ok(None) if is_free(port) => good(subject, "is free"),
        Ok(None) => bad(subject, format!("something else listens on 127.0.0.1:{port}"), hint),
        Err(fault) => from_fault(subject, fault),
    }
}

/// A folder that is to be mounted and isn't there is made by the engine, empty and owned by root:
/// seldom what was meant.
fn the_volume(engine: &Engine, volume: &str) -> Option<Finding> {
    let source = volume.split(':').next().filter(|source| source.starts_with('/'))?;
    if matches!(engine.settings.endpoint, super::Endpoint::Tcp(_)) || Path::new(source).exists() {
        return None;
    }
    let message = format!(
        "`{source}` does not exist; the engine would create an empty directory owned by \
        root"
    );
    Some(warning(format!("volume {source}"), message, format!("mkdir -p {source}")))
}
