//! `[runtime.docker]`: containers of a Docker Engine.

use super::launch::{Runtime, environment, placeholders, wide_enough};
use crate::judge::Judge;
use crate::mistake::Complaint;
use crate::raw::RawDocker;
use crate::sections::ArtifactSource;
use crate::tree::KeyPath;
use agente_engine::release::{DockerReach, DockerSpec, RuntimeSpec};
use std::collections::BTreeSet;
use std::path::PathBuf;

/// Docker refuses less.
const LEAST_MEMORY_BYTES: u64 = 6 << 20;

pub(super) fn docker(judge: &mut Judge<'_, '_>, raw: RawDocker) -> Option<Runtime> {
    let at = KeyPath::of("runtime.docker");
    if judge.overrides.artifact.is_some() {
        judge.object(
            &at,
            Complaint::new(
                "an artifact file was given, but the service runs in containers",
                "give an image with `--image` instead",
            ),
        );
    }
    let image = judge.overrides.image.clone().or(raw.image);
    let image =
        image.and_then(|image| judge.accept(&at.key("image"), is_image(&image)).map(|()| image));
    if let Some(command) = &raw.command {
        if command.first().is_some_and(String::is_empty) {
            judge.object(
                &at.key("command").index(0),
                Complaint::new(
                    "the command names no program",
                    "start it with the program, or omit `command`",
                ),
            );
        }
        placeholders(judge, &at.key("command"), command);
    }
    let reach = match (raw.ports, raw.network) {
        (Some(ports), None) => {
            wide_enough(judge, &at.key("ports"), ports.0, raw.instances);
            Some(DockerReach::Loopback { ports: ports.0 })
        }
        (None, Some(name)) => judge
            .accept(&at.key("network"), is_docker_name("network", &name))
            .map(|()| DockerReach::Network { name }),
        // The shape of the manifest has shown that.
        (Some(_), Some(_)) | (None, None) => None,
    };
    volumes(judge, &at.key("volumes"), &raw.volumes);
    if let Some(memory) = raw.memory.filter(|memory| memory.bytes() < LEAST_MEMORY_BYTES) {
        let message = format!(
            "a container can't run in {} bytes: Docker requires at least 6MiB",
            memory.bytes()
        );
        judge.object(
            &at.key("memory"),
            Complaint::new(message, "write a limit such as `memory = \"256MiB\"`"),
        );
    }
    let socket =
        raw.socket.and_then(|written| judge.accept(&at.key("socket"), is_socket_path(&written)));
    let env = environment(judge, &at.key("env"), raw.env);
    let reach = reach?;
    let ports = match reach {
        DockerReach::Loopback { ports } => Some(ports),
        DockerReach::Network { .. } => None,
    };
    let spec = DockerSpec {
        engine: socket.map(|socket| format!("unix://{}", socket.display())),
        command: raw.command,
        instances: raw.instances,
        container_port: raw.container_port?,
        reach,
        env,
        volumes: raw.volumes,
        memory_bytes: raw.memory.map(agente_units::Size::bytes),
        init: raw.init,
        stop_grace: raw.stop_grace.duration(),
    };
    Some(Runtime {
        artifact: ArtifactSource::Image(image?),
        spec: RuntimeSpec::Docker(spec),
        ports,
    })
}

fn is_image(image: &str) -> Result<(), Complaint> {
    let wrong = |why: &str| {
        Err(Complaint::new(
            format!("`{image}` is not an image: {why}"),
            "write a reference such as `shop:2` or `registry.example/shop@sha256:…`",
        ))
    };
    let (name, digest) =
        image.split_once('@').map_or((image, None), |(name, digest)| (name, Some(digest)));
    if digest.is_some_and(|digest| agente_engine::names::Digest::new(digest).is_err()) {
        return wrong("`@` must be followed by `sha256:` and 64 hexadecimal digits");
    }
    let (name, tag) = match name.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
        _ => (name, None),
    };
    let tag_character = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    if tag.is_some_and(|tag| {
        tag.is_empty()
            || tag.len() > 128
            || tag.starts_with(['.', '-'])
            || !tag.chars().all(tag_character)
    }) {
        return wrong("its tag must contain only letters, digits, `_`, `.` and `-`");
    }
    if name.is_empty() || name.split('/').any(str::is_empty) {
        return wrong("the part of its name is empty");
    }
    let (host, path) = match name.split_once('/') {
        Some((host, path)) if host.contains(['.', ':']) || host == "localhost" => (host, path),
        _ => ("", name),
    };
    if !host.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | ':' | '-' | '[' | ']'))
    {
        return wrong("its registry is not a host");
    }
    if !path
        .chars()
        .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '/' | '_' | '.' | '-'))
    {
        return wrong(
            "its name must contain only lower-case letters, digits, `/`, `_`, `.` and \
        `-`",
        );
    }
    Ok(())
}

fn is_docker_name(what: &str, name: &str) -> Result<(), Complaint> {
    let good = name.len() > 1
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'));
    if !good {
        return Err(Complaint::new(
            format!("`{name}` can't be the name of a {what}"),
            "use at least two letters, digits, `_`, `.` or `-`, starting with a letter or digit",
        ));
    }
    if what == "network" && matches!(name, "host" | "none" | "bridge" | "default") {
        return Err(Complaint::new(
            format!("containers can't be reached by name on the network `{name}`"),
            "name a user-defined network, such as `network = \"shop-net\"`; it is created if \
            missing",
        ));
    }
    Ok(())
}

fn is_socket_path(written: &str) -> Result<PathBuf, Complaint> {
    let path = written.strip_prefix("unix://").unwrap_or(written);
    if path.starts_with('/') {
        return Ok(PathBuf::from(path));
    }
    Err(Complaint::new(
        format!("`{written}` is not the absolute path of a socket"),
        "write a path such as `/run/user/1000/docker.sock`",
    ))
}

fn volumes(judge: &mut Judge<'_, '_>, at: &KeyPath, volumes: &[String]) {
    let mut targets = BTreeSet::new();
    for (index, volume) in volumes.iter().enumerate() {
        let at = at.index(index);
        match volume_target(volume) {
            Err(complaint) => judge.object(&at, complaint),
            Ok(target) if !targets.insert(target) => {
                let complaint = Complaint::new(
                    format!("two volumes are mounted at `{target}`"),
                    "give one of them another target, or remove it",
                );
                judge.object(&at, complaint);
            }
            Ok(_) => {}
        }
    }
}

/// Judges one bind and finds where it is mounted.
fn volume_target(volume: &str) -> Result<&str, Complaint> {
    let usual = "write `source:target` or `source:target:ro`, such as `/srv/shop/data:/data`";
    let parts: Vec<&str> = volume.split(':').collect();
    let (source, target) = match parts.as_slice() {
        [source, target] | [source, target, "ro" | "rw"] => (*source, *target),
        [_, _, mode] => {
            return Err(Complaint::new(
                format!("the volume `{volume}` has the unknown mode `{mode}`"),
                "write `:ro` for read-only, or omit it",
            ));
        }
        _ => return Err(Complaint::new(format!("`{volume}` is not a volume"), usual)),
    };
    if !target.starts_with('/') {
        return Err(Complaint::new(
            format!(
                "the volume `{volume}` is mounted at `{target}`, which is not an absolute path"
            ),
            usual,
        ));
    }
    if source.starts_with('/') {
        return Ok(target);
    }
    if source.contains('/') || source.starts_with('.') {
        return Err(Complaint::new(
            format!(
                "the source `{source}` of the volume `{volume}` is neither an absolute path nor a \
                volume name"
            ),
            "write the absolute path",
        ));
    }
    is_docker_name("volume", source).map(|()| target)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn image_references_are_told_from_what_is_none() {
        let digest = format!("shop@sha256:{}", "0a".repeat(32));
        for good in [
            "shop",
            "shop:2",
            "library/shop:v1.2-x",
            "registry.example:5000/team/shop:2",
            "localhost/shop",
            "127.0.0.1:5000/shop",
            &digest,
        ] {
            assert_eq!(is_image(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "Shop",
            "shop:",
            "shop:a b",
            "shop/",
            "/shop",
            "shop@sha256:12",
            "https://shop",
            "shop:2:3",
        ] {
            assert!(is_image(bad).is_err(), "`{bad}` was taken");
        }
    }
}
