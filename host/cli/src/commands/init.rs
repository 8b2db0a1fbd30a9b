//! `init`: writes a first manifest.

use crate::arguments::{Global, InitOptions};
use crate::error::{CliError, Exit};
use crate::output::say;
use agente_engine::names::ServiceName;
use agente_manifest::{Answers, TemplateKind, template};
use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::process::ExitCode;

pub(crate) fn run(global: &Global, options: &InitOptions) -> Result<ExitCode, CliError> {
    let path = &global.file;
    let service = match &options.service {
        Some(service) => ServiceName::new(service.clone())
            .map_err(|error| CliError::usage(error.to_string()))?
            .as_str()
            .to_owned(),
        None => folder_name(path),
    };
    let mut answers = Answers {
        artifact: format!("target/release/{service}"),
        image: format!("{service}:1"),
        service,
        ..Answers::default()
    };
    if let Some(artifact) = &options.artifact {
        answers.artifact.clone_from(artifact);
    }
    if let Some(image) = &options.image {
        answers.image.clone_from(image);
    }
    if let Some(url) = &options.url {
        answers.url = Some(url.clone());
    }
    let kind = if options.docker { TemplateKind::Docker } else { TemplateKind::Process };
    let text = template(kind, &answers);
    let mut open = OpenOptions::new();
    open.write(true);
    if options.force {
        open.create(true).truncate(true)
    } else {
        open.create_new(true)
    };
    let mut file = open.open(path).map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => {
            CliError::usage(format!("`{}` already exists; nothing was written", path.display()))
                .hint("overwrite it with `agente-host init --force`")
        }
        _ => CliError::usage(format!("`{}` can't be written", path.display())).because(&error),
    })?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(|error| {
        CliError::usage(format!("`{}` can't be written", path.display())).because(&error)
    })?;
    say(&format!("wrote `{}`", path.display()));
    say(
        "next: fill it in and run `agente-host check`; if the service is already running, bring it under management with `agente-host adopt`",
    );
    Ok(Exit::Done.into())
}

/// The folder's name, as far as it can be a service's.
fn folder_name(manifest: &std::path::Path) -> String {
    let folder = std::path::absolute(manifest).ok().and_then(|path| {
        path.parent()
            .and_then(|parent| parent.file_name().map(|name| name.to_string_lossy().to_lowercase()))
    });
    let cleaned: String = folder
        .unwrap_or_default()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .take(31)
        .collect();
    let cleaned = cleaned.trim_matches(|c: char| !c.is_ascii_lowercase()).to_owned();
    if ServiceName::new(cleaned.clone()).is_ok() { cleaned } else { "shop".to_owned() }
}
