//! `plugin …`: what plugins are, what they ask for, and what they are granted.

use crate::arguments::{Components, Global, OutputKind, PluginCommand};
use crate::error::{CliError, Exit};
use crate::output::{Component, GrantState, ListedPlugin, OutputEvent, data, emit, say, table};
use crate::plugins;
use crate::session::{About, Base};
use agente_engine::names::PluginName;
use agente_manifest::Manifest;
use agente_wasm::{Grant, LockFile, LockFileError, inspect, pack};
use std::io::{BufRead, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

pub(crate) async fn run(global: &Global, command: &PluginCommand) -> Result<ExitCode, CliError> {
    match command {
        PluginCommand::Add { plugin, yes, exec_prefix } => {
            add(global, plugin, *yes, exec_prefix.as_deref()).await
        }
        PluginCommand::List => list(global).await,
        PluginCommand::Inspect { plugin } => show(global, plugin).await,
        PluginCommand::Pack { component, request, to } => pack_one(component, request, to),
        PluginCommand::Remove { plugin } => remove(global, plugin).await,
    }
}

/// A path, or the name of a shipped plugin.
fn resolve(plugin: &str) -> Result<(PluginName, PathBuf), CliError> {
    let path = Path::new(plugin);
    if path.extension().is_some() || plugin.contains('/') {
        return Ok((plugins::name_of(path)?, path.to_owned()));
    }
    let name = PluginName::new(plugin).map_err(|error| CliError::usage(error.to_string()))?;
    let path = plugins::find(&name, None)?;
    Ok((name, path))
}

async fn add(
    global: &Global,
    plugin: &str,
    yes: bool,
    exec_prefix: Option<&str>,
) -> Result<ExitCode, CliError> {
    let (name, path) = resolve(plugin)?;
    let base =
        Base::look(global, About::Standing(&Components { plugins: vec![path.clone()] })).await?;
    let manifest = &base.manifest;
    let host = plugins::host(&base.machine)?;
    let loaded = plugins::load_one(
        &host,
        &name,
        path.clone(),
        manifest,
        base.store().id(),
        base.ports.clone(),
    )
    .await?;
    let environment = plugins::environment_of(manifest).clone();
    let earlier = plugins::read_lock(&manifest.directory)?.grant(&name, &environment).cloned();
    let mut grant: Grant = loaded.grant_of_all(plugin);
    if let Some(prefix) = exec_prefix {
        let prefix = prefix_words(prefix)?;
        for rule in &mut grant.granted.exec {
            rule.prefix.clone_from(&prefix);
        }
    }
    if let Some(earlier) = &earlier {
        grant = grant.keeping_prefixes_of(earlier);
    }
    let header = loaded.header();
    say(&format!("{} {} ({}), {}", name, header.version, header.kind, loaded.digest()));
    if let Some(earlier) = &earlier {
        let Some(difference) = earlier.replaced_by(&grant) else {
            say(&format!("already has exactly this grant for {environment}"));
            return Ok(Exit::Done.into());
        };
        say(&format!("differs from its grant for {environment}:"));
        for line in difference.lines() {
            say(&format!("  {line}"));
        }
    } else {
        say(&format!("requests, for {environment}:"));
        for line in grant.granted.lines() {
            say(&format!("  {line}"));
        }
    }
    let again = plugins::add_command(manifest, plugin);
    if !yes && !confirmed(&again)? {
        return Ok(Exit::Refused.into());
    }
    change(manifest, &name, earlier.as_ref(), Some(grant))?;
    say(&format!(
        "granted in `{}`; commit that file",
        plugins::lock_path(&manifest.directory).display()
    ));
    Ok(Exit::Done.into())
}

/// A prefix as its words, the program by its absolute path: what a plugin runs is not looked for in
/// a `PATH`. An absolute one is taken as it is, for it may be one of another machine.
fn prefix_words(text: &str) -> Result<Vec<String>, CliError> {
    let mut words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
    let wrong = |message: String| {
        CliError::usage(message).hint(
            "name a program, by its absolute path if it is not on this machine: `--exec-prefix '/usr/bin/sudo -n'`",
        )
    };
    let Some(program) = words.first_mut() else {
        return Err(wrong("`--exec-prefix` names no program".to_owned()));
    };
    if !program.starts_with('/') {
        let folders = std::env::var_os("PATH").unwrap_or_default();
        let found = std::env::split_paths(&folders)
            .filter(|folder| folder.is_absolute())
            .map(|folder| folder.join(&*program))
            .find(|path| path.is_file());
        let found = found.and_then(|path| path.to_str().map(str::to_owned));
        *program = found.ok_or_else(|| {
            wrong(format!("`--exec-prefix`: the program `{program}` was not found"))
        })?;
    }
    Ok(words)
}

fn confirmed(again: &str) -> Result<bool, CliError> {
    if !std::io::stdin().is_terminal() {
        return Err(CliError::refused(
            "this needs confirmation, and standard input is not a terminal",
        )
        .hint(format!("review the request above, then grant it: `{again}`")));
    }
    let _ = write!(std::io::stderr(), "Grant this? [y/N] ");
    let mut answer = String::new();
    let _ = std::io::stdin().lock().read_line(&mut answer);
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// Changes one grant of the lock file, where it is still the one that was seen.
fn change(
    manifest: &Manifest,
    name: &PluginName,
    seen: Option<&Grant>,
    next: Option<Grant>,
) -> Result<(), CliError> {
    let path = plugins::lock_path(&manifest.directory);
    LockFile::change(&path, name, plugins::environment_of(manifest), seen, next).map_err(|error| {
        match error {
            LockFileError::Changed { .. } => CliError::refused(error.to_string())
                .hint("run the command again and review what it shows now"),
            error => CliError::usage(error.to_string()).because_sources(&error),
        }
    })
}

async fn list(global: &Global) -> Result<ExitCode, CliError> {
    let base = Base::look(global, About::Standing(&Components::default())).await?;
    let manifest = &base.manifest;
    let lock = plugins::read_lock(&manifest.directory)?;
    let environment = plugins::environment_of(manifest);
    let host = plugins::host(&base.machine)?;
    let heading = ["PLUGIN", "VERSION", "KIND", "SIZE", "LOADED IN", "GRANT", "FILE"];
    let mut rows = Vec::new();
    for (name, section) in &manifest.plugins {
        let found = plugins::find(name, section.path.as_deref());
        let loaded = match &found {
            Ok(path) => {
                plugins::load_one(
                    &host,
                    name,
                    path.clone(),
                    manifest,
                    base.store().id(),
                    base.ports.clone(),
                )
                .await
            }
            Err(error) => Err(error.clone()),
        };
        let granted = lock.grant(name, environment);
        let row = match &loaded {
            Ok(plugin) => {
                let (state, words) = match granted {
                    None => (GrantState::None, "none"),
                    Some(grant) if grant.difference(plugin.digest(), plugin.asks()).is_none() => {
                        (GrantState::Good, "good")
                    }
                    Some(_) => (GrantState::OutOfDate, "out of date"),
                };
                let times = plugin.times();
                let loading = times.read + times.compile + times.admit;
                let file =
                    found.as_ref().map(|path| path.display().to_string()).unwrap_or_default();
                let header = plugin.header();
                if global.output == OutputKind::Json {
                    emit(&OutputEvent::Plugin {
                        name: name.as_str(),
                        plugin: ListedPlugin::Loaded {
                            version: &header.version,
                            kind: header.kind.to_string(),
                            size_bytes: plugin.size_bytes(),
                            digest: plugin.digest(),
                            grant: state,
                            file: &file,
                        },
                    });
                }
                let size = format!("{} KiB", plugin.size_bytes() / 1024);
                vec![
                    name.to_string(),
                    header.version.clone(),
                    header.kind.to_string(),
                    size,
                    format!("{:.1} ms", loading.as_secs_f64() * 1000.0),
                    words.to_owned(),
                    file,
                ]
            }
            Err(error) => {
                let message = error.message.clone();
                if global.output == OutputKind::Json {
                    emit(&OutputEvent::Plugin {
                        name: name.as_str(),
                        plugin: ListedPlugin::Unusable { error: &message },
                    });
                }
                vec![
                    name.to_string(),
                    "-".to_owned(),
                    "-".to_owned(),
                    "-".to_owned(),
                    "-".to_owned(),
                    "-".to_owned(),
                    message,
                ]
            }
        };
        rows.push(row);
    }
    if global.output != OutputKind::Json {
        for line in table(&heading, rows) {
            data(&line);
        }
    }
    Ok(Exit::Done.into())
}

async fn show(global: &Global, plugin: &str) -> Result<ExitCode, CliError> {
    let (name, path) = resolve(plugin)?;
    let bytes = std::fs::read(&path).map_err(|error| plugins::unreadable(&path, &error))?;
    let seen = inspect(&bytes).map_err(|error| plugins::unusable_component(&path, &error))?;
    let header = &seen.request.plugin;
    let description = plugins::describe(&name, &path).await;
    if let Err(error) = &description {
        tracing::warn!("the plugin can't describe its settings: {}", error.message);
    }
    let (config, spec, query) = description
        .map(|description| (description.config, description.spec, description.query))
        .unwrap_or_default();
    if global.output == OutputKind::Json {
        emit(&OutputEvent::Component(Box::new(Component {
            plugin: header,
            asks: &seen.request.asks,
            imports: &seen.imports,
            exports: &seen.exports,
            digest: &seen.digest,
            size_bytes: seen.size_bytes,
            config: &config,
            spec: spec.as_ref(),
            query: query.as_ref(),
        })));
        return Ok(Exit::Done.into());
    }
    data(&format!("{} {} ({}, {})", header.name, header.version, header.kind, header.contract));
    if !header.summary.is_empty() {
        data(&format!("  {}", header.summary));
    }
    data(&format!("  {} KiB, {}", seen.size_bytes / 1024, seen.digest));
    data("asks:");
    for line in seen.request.asks.lines() {
        data(&format!("  {line}"));
    }
    let tables = [
        (format!("[plugins.{name}.config]:"), Some(&config)),
        ("settings of a check:".to_owned(), spec.as_ref()),
        ("settings of a query:".to_owned(), query.as_ref()),
    ];
    for (heading, schema) in tables {
        let keys = schema.map(schema_lines).unwrap_or_default();
        if !keys.is_empty() {
            data(&heading);
        }
        for line in keys {
            data(&format!("  {line}"));
        }
    }
    data("exports:");
    // Names of a component may hold anything, ends of lines too.
    for name in &seen.exports {
        data(&format!("  {}", name.escape_debug()));
    }
    data("imports (not a request):");
    for name in &seen.imports {
        data(&format!("  {}", name.escape_debug()));
    }
    Ok(Exit::Done.into())
}

/// The keys of a JSON Schema's object: name, whether it must be there, and what it means.
fn schema_lines(schema: &serde_json::Value) -> Vec<String> {
    let required = |key: &str| {
        schema["required"].as_array().is_some_and(|keys| keys.iter().any(|name| name == key))
    };
    let Some(properties) = schema["properties"].as_object() else { return Vec::new() };
    let line = |(key, property): (&String, &serde_json::Value)| {
        let description = property["description"].as_str().unwrap_or_default();
        let words = description.split("\n\n").next().unwrap_or_default().replace('\n', " ");
        let default = match &property["default"] {
            serde_json::Value::Null => String::new(),
            value => format!(" [default: {value}]"),
        };
        format!(
            "{}{}: {words}{default}",
            key.escape_debug(),
            if required(key) { " (required)" } else { "" }
        )
    };
    properties.iter().map(line).collect()
}

fn pack_one(component: &Path, request: &Path, to: &Path) -> Result<ExitCode, CliError> {
    let read = |path: &Path| {
        std::fs::read(path).map_err(|error| {
            CliError::usage(format!("`{}` can't be read", path.display())).because(&error)
        })
    };
    let bytes = read(component)?;
    let request_text = String::from_utf8(read(request)?)
        .map_err(|_| CliError::usage(format!("`{}` is not valid UTF-8", request.display())))?;
    let packed = pack(&bytes, &request_text).map_err(|error| {
        CliError::usage(format!(
            "`{}` can't be packed with `{}`",
            component.display(),
            request.display()
        ))
        .because(&error)
    })?;
    // Written beside and renamed: a host that loads it meanwhile sees the old plugin or the new
    // one.
    let aside = to.with_extension("wasm.part");
    let written = std::fs::write(&aside, &packed).and_then(|()| std::fs::rename(&aside, to));
    written.map_err(|error| {
        CliError::usage(format!("`{}` can't be written", to.display())).because(&error)
    })?;
    say(&format!(
        "packed `{}`: {} KiB, {}",
        to.display(),
        packed.len() / 1024,
        agente_wasm::digest_of(&packed)
    ));
    Ok(Exit::Done.into())
}

async fn remove(global: &Global, plugin: &str) -> Result<ExitCode, CliError> {
    let base = Base::look(global, About::Standing(&Components::default())).await?;
    let name = PluginName::new(plugin).map_err(|error| CliError::usage(error.to_string()))?;
    let environment = plugins::environment_of(&base.manifest);
    let lock = plugins::read_lock(&base.manifest.directory)?;
    let Some(earlier) = lock.grant(&name, environment) else {
        return Err(CliError::usage(format!("`{name}` has no grant for {environment}"))
            .hint("`agente-host plugin list` shows the grants"));
    };
    change(&base.manifest, &name, Some(earlier), None)?;
    say(&format!("revoked the grant of `{name}` for {environment}"));
    Ok(Exit::Done.into())
}
