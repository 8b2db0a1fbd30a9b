//! `[runtime]`: what runs, and how.

use super::{Judge, secrets};
use crate::files;
use crate::manifest::ArtifactSource;
use crate::problem::Complaint;
use crate::raw::{RawDocker, RawEnvValue, RawProcess, RawRuntime};
use crate::spelling::{listed, nearest};
use crate::tree::KeyPath;
use agente_engine::release::{
    DockerReach, DockerSpec, EnvValue, PortRange, ProcessSpec, RuntimeSpec,
};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// What is filled in at launch.
const PLACEHOLDERS: [&str; 4] = ["port", "slot", "release", "backend"];

/// Where a backend's bare program name is looked for when its environment has no `PATH`.
const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// Docker refuses less.
const LEAST_MEMORY_BYTES: u64 = 6 << 20;

/// What `[runtime]` says.
pub(super) struct Runtime {
    pub(super) artifact: ArtifactSource,
    pub(super) spec: RuntimeSpec,
    /// The ports on this machine that backends may get.
    pub(super) ports: Option<PortRange>,
}

/// Judges the table. That there is exactly one runtime, the shape of the manifest has shown.
pub(super) fn judge(judge: &mut Judge<'_, '_>, raw: RawRuntime) -> Option<Runtime> {
    match (raw.process, raw.docker) {
        (Some(raw), _) => process(judge, raw),
        (None, Some(raw)) => docker(judge, raw),
        (None, None) => None,
    }
}

fn process(judge: &mut Judge<'_, '_>, raw: RawProcess) -> Option<Runtime> {
    let at = KeyPath::of("runtime.process");
    if judge.overrides.image.is_some() {
        judge.object(
            &at,
            Complaint::new(
                "`--image` was given, but the service runs as local processes",
                "leave `--image` out, or describe the service in `[runtime.docker]`",
            ),
        );
    }
    let overridden = judge.overrides.artifact.clone();
    let written =
        overridden.as_ref().map(|path| path.to_string_lossy().into_owned()).or(raw.artifact);
    let path = overridden.or_else(|| written.as_ref().map(|written| judge.resolve(written)));
    let file_name =
        path.as_deref().and_then(Path::file_name).and_then(|name| name.to_str()).map(str::to_owned);
    let own_program = raw
        .command
        .as_ref()
        .and_then(|command| command.first())
        .is_none_or(|program| program.starts_with("./"));
    let mut sound = true;
    // A build that is going on must not keep anybody from an abort.
    let needed = !judge.overrides.standing;
    if let (Some(written), Some(path), true) = (&written, &path, needed) {
        let absent = "build it first, or correct the path";
        let judged = if own_program {
            files::is_program("the artifact", written, path, absent)
        } else {
            files::is_file("the artifact", written, path, absent).map(drop)
        };
        sound &= judge.accept(&at.key("artifact"), judged).is_some();
        if sound && file_name.is_none() {
            judge.object(
                &at.key("artifact"),
                Complaint::new(
                    format!("the artifact `{written}` has a name that is not text"),
                    "rename the file",
                ),
            );
        }
    }
    if let Some(command) = &raw.command {
        // Where the artifact is not right, its name says nothing about the command.
        let search = raw.env.get("PATH").and_then(|value| match value {
            RawEnvValue::Plain(path) => Some(path.as_str()),
            RawEnvValue::Secret(_) => None,
        });
        let judged = program(
            command,
            file_name.as_deref().filter(|_| sound),
            search.unwrap_or(DEFAULT_PATH),
        );
        judge.accept(&at.key("command").index(0), judged);
        placeholders(judge, &at.key("command"), command);
        let told = command.iter().any(|argument| argument.contains("{port}"));
        let told_by_environment = raw
            .env
            .values()
            .any(|value| matches!(value, RawEnvValue::Plain(text) if text.contains("{port}")));
        if !told
            && !told_by_environment
            && !command.is_empty()
            && !judge.taken_out.iter().any(|path| path.starts_with("runtime.process.env"))
        {
            let message = "neither `command` nor `env` says `{port}`, so the backends could not \
                           know where to listen";
            judge.object(
                &at.key("command"),
                Complaint::new(
                    message,
                    "add an argument such as `\"127.0.0.1:{port}\"`, or `env = { PORT = \
                     \"{port}\" }`",
                ),
            );
        }
    }
    let env = environment(judge, &at.key("env"), raw.env);
    let ports = raw.ports.map(|ports| ports.0);
    if let Some(ports) = ports {
        wide_enough(judge, &at.key("ports"), ports, raw.instances);
    }
    let spec = ProcessSpec {
        command: raw.command?,
        instances: raw.instances,
        ports: ports?,
        env,
        stop_grace: raw.stop_grace.duration(),
    };
    Some(Runtime { artifact: ArtifactSource::File(path?), spec: RuntimeSpec::Process(spec), ports })
}

/// Judges the first word of a command: the artifact by `./` and its name, an absolute path, or a
/// bare name that is in the `PATH` of the backend.
fn program(command: &[String], file_name: Option<&str>, search: &str) -> Result<(), Complaint> {
    let Some(program) = command.first() else { return Ok(()) };
    let own = file_name.map_or("`./` and the name of the artifact".to_owned(), |file_name| {
        format!("`./{file_name}`")
    });
    if program.starts_with('/') {
        return files::is_program(
            "the program",
            program,
            Path::new(program),
            &format!("correct the path, or write {own}"),
        );
    }
    if program.is_empty() {
        return Err(Complaint::new("the command names no program", format!("write {own}")));
    }
    if !program.contains('/') {
        let found = search.split(':').any(|folder| {
            files::is_program("the program", program, &Path::new(folder).join(program), "").is_ok()
        });
        let message = || format!("there is no program `{program}` in `{search}`");
        return if found {
            Ok(())
        } else {
            Err(Complaint::new(message(), format!("write {own}, or an absolute path")))
        };
    }
    let Some(file_name) = file_name else { return Ok(()) };
    if program.strip_prefix("./") == Some(file_name) {
        return Ok(());
    }
    Err(Complaint::new(
        format!("the command begins with `{program}`, which is not the artifact `{file_name}`"),
        format!("write {own}, or the absolute path of an installed program"),
    ))
}

fn docker(judge: &mut Judge<'_, '_>, raw: RawDocker) -> Option<Runtime> {
    let at = KeyPath::of("runtime.docker");
    if judge.overrides.artifact.is_some() {
        judge.object(
            &at,
            Complaint::new(
                "an artifact file was given, but the service runs as containers",
                "give an image instead, with `--image`",
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
                    "write the program first, or leave `command` out",
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
            "a container can't run in {} bytes: Docker asks for at least 6MiB",
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

/// Both slots may stand at once, so each instance needs two ports.
fn wide_enough(judge: &mut Judge<'_, '_>, at: &KeyPath, ports: PortRange, instances: u16) {
    let held = u32::from(ports.last) - u32::from(ports.first) + 1;
    let needed = 2 * u32::from(instances);
    if held >= needed {
        return;
    }
    let last = u32::from(ports.first) + needed - 1;
    let fix = if u16::try_from(last).is_ok() {
        format!("write `{}-{last}` or a wider range", ports.first)
    } else {
        "begin lower, or run fewer instances".to_owned()
    };
    let message = format!(
        "the range of ports `{}-{}` holds {held}, and two slots of {instances} need {needed}",
        ports.first, ports.last
    );
    judge.object(at, Complaint::new(message, fix));
}

/// Judges the words in braces of a command.
fn placeholders(judge: &mut Judge<'_, '_>, at: &KeyPath, arguments: &[String]) {
    for (index, argument) in arguments.iter().enumerate() {
        for word in words_in_braces(argument).filter(|word| !PLACEHOLDERS.contains(word)) {
            let fix = match nearest(word, PLACEHOLDERS) {
                Some(meant) => format!("write `{{{meant}}}`"),
                None => format!(
                    "use one of {}",
                    listed(
                        PLACEHOLDERS.map(|name| format!("{{{name}}}")).iter().map(String::as_str)
                    )
                ),
            };
            judge.object(
                &at.index(index),
                Complaint::new(
                    format!("nothing is known that could be filled in for `{{{word}}}`"),
                    fix,
                ),
            );
        }
    }
}

/// The names between braces. Other text in braces, such as JSON, is not a name.
fn words_in_braces(text: &str) -> impl Iterator<Item = &str> {
    text.split('{').skip(1).filter_map(|rest| rest.split_once('}')).map(|(word, _)| word).filter(
        |word| !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'),
    )
}

fn environment(
    judge: &mut Judge<'_, '_>,
    at: &KeyPath,
    raw: BTreeMap<String, RawEnvValue>,
) -> BTreeMap<String, EnvValue> {
    let mut env = BTreeMap::new();
    for (name, value) in raw {
        let at = at.key(&name);
        if let Err(complaint) = secrets::is_variable(&name) {
            judge.object_to_name(&at, complaint);
        }
        match value {
            RawEnvValue::Plain(text) => {
                if text.contains('\0') {
                    judge.object(
                        &at,
                        Complaint::new(
                            format!("the value of `{name}` holds a NUL, which no environment can"),
                            "remove it",
                        ),
                    );
                }
                // A value may hold braces of its own, so only what was surely meant is corrected.
                let slip = words_in_braces(&text)
                    .filter(|word| !PLACEHOLDERS.contains(word))
                    .find_map(|word| nearest(word, PLACEHOLDERS).map(|meant| (word, meant)));
                if let Some((word, meant)) = slip {
                    let complaint = Complaint::new(
                        format!("nothing is known that could be filled in for `{{{word}}}`"),
                        format!("write `{{{meant}}}`"),
                    );
                    judge.object(&at, complaint);
                }
                env.insert(name, EnvValue::Plain(text));
            }
            RawEnvValue::Secret(reference) => {
                let Some(secret) = reference.secret else { continue };
                let declared = secrets::is_declared(judge, &secret);
                if judge.accept(&at.key("secret"), declared).is_some() {
                    env.insert(name, EnvValue::Secret(secret));
                }
            }
        }
    }
    env
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
        return wrong("what follows `@` must be `sha256:` and 64 hexadecimal digits");
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
        return wrong("its tag must hold only letters, digits, `_`, `.` and `-`");
    }
    if name.is_empty() || name.split('/').any(str::is_empty) {
        return wrong("a part of its name is empty");
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
        return wrong("its name must hold only lower-case letters, digits, `/`, `_`, `.` and `-`");
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
            "use at least two letters, digits, `_`, `.` or `-`, beginning with a letter or digit",
        ));
    }
    if what == "network" && matches!(name, "host" | "none" | "bridge" | "default") {
        return Err(Complaint::new(
            format!("containers can't be reached by name on the network `{name}`"),
            "name a network of your own, such as `network = \"shop-net\"`; it is made if it is \
             absent",
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
                "write `:ro` for read-only, or leave it out",
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
                 volume's name"
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

    #[test]
    fn only_names_in_braces_are_placeholders() {
        let words = |text| words_in_braces(text).collect::<Vec<_>>();
        assert_eq!(words("127.0.0.1:{port}/{slot}"), ["port", "slot"]);
        assert_eq!(words("{\"a\": 1} {} { port } {Level}"), Vec::<&str>::new());
        assert_eq!(words("{{port}"), ["port"]);
    }
}
