//! `[runtime.process]`: programs on this machine.

use super::launch::{Runtime, environment, placeholders, wide_enough};
use crate::files;
use crate::judge::Judge;
use crate::mistake::Complaint;
use crate::raw::{RawEnvValue, RawProcess};
use crate::sections::ArtifactSource;
use crate::tree::KeyPath;
use agente_engine::release::{ProcessSpec, RuntimeSpec};
use std::path::Path;

/// Where a backend's bare program name is looked for when its environment has no `PATH`.
const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

pub(super) fn process(judge: &mut Judge<'_, '_>, raw: RawProcess) -> Option<Runtime> {
    let at = KeyPath::of("runtime.process");
    if judge.overrides.image.is_some() {
        judge.object(
            &at,
            Complaint::new(
                "`--image` was given, but the service runs as local processes",
                "omit `--image`, or describe the service in `[runtime.docker]`",
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
                    format!("the name of the artifact `{written}` is not UTF-8"),
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
            let message = "neither `command` nor `env` contains `{port}`, so the backends could \
            not know where to listen";
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
        format!("the command starts with `{program}`, which is not the artifact `{file_name}`"),
        format!("write {own}, or the absolute path of an installed program"),
    ))
}
