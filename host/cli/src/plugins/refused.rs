//! Why a plugin can't be used, in the words and at the place of the manifest that the user can
//! change.

use super::find;
use crate::error::{CliError, Exit};
use agente_engine::names::PluginName;
use agente_manifest::{Manifest, ManifestError, Mistake};
use agente_wasm::{ComponentError, LoadError, NotGranted, PluginKind, RequestError};
use serde_json::Value;
use std::borrow::Cow;
use std::fmt::Write as _;
use std::path::Path;

/// What a plugin is used for, which is where the manifest names it.
#[derive(Debug, Clone, Copy)]
pub(super) enum User<'a> {
    Switch,
    /// The check of this name.
    Check(&'a str),
}

impl User<'_> {
    /// What a plugin must be for it.
    pub(super) fn kind(self) -> PluginKind {
        match self {
            User::Switch => PluginKind::TrafficSwitcher,
            User::Check(_) => PluginKind::HealthCheck,
        }
    }
}

/// Turns a refusal into what the user reads.
pub(super) fn by(manifest: &Manifest, user: Option<User<'_>>, error: &LoadError) -> CliError {
    let otherwise = || CliError {
        hint: error.hint(),
        ..CliError::usage(error.to_string()).because_sources(error)
    };
    let mistakes = match error {
        LoadError::NotGranted(refusal) => {
            return for_want_of_grants(manifest, std::slice::from_ref(refusal));
        }
        LoadError::ConfigRefused { plugin, problems } => problems
            .iter()
            .map(|problem| manifest.plugin_mistake(plugin, &problem.path, &problem.message))
            .collect(),
        LoadError::Request { plugin, source } => match bad_value(manifest, plugin, source) {
            Some(problem) => vec![problem],
            None => return otherwise(),
        },
        LoadError::WrongContract { why, .. } if !why.ends_with("is needed here") => {
            return otherwise();
        }
        LoadError::WrongContract { .. } => match user {
            Some(User::Switch) => vec![manifest.mistake_at(
                "switch.plugin",
                &error.to_string(),
                "name a plugin that switches traffic, such as `nginx-switch`",
            )],
            Some(User::Check(check)) => vec![manifest.check_mistake(check, "", &error.to_string())],
            None => return otherwise(),
        },
        LoadError::NotFound { .. }
        | LoadError::NotAPlugin { .. }
        | LoadError::Compile { .. }
        | LoadError::OverBudget { .. }
        | LoadError::Crashed { .. } => {
            return otherwise();
        }
    };
    manifest_error(&ManifestError { mistakes })
}

/// The value of the manifest that makes a plugin's request mean nothing.
fn bad_value(manifest: &Manifest, plugin: &PluginName, error: &RequestError) -> Option<Mistake> {
    match error {
        RequestError::NotAText { path, .. } => Some(manifest.plugin_mistake(
            plugin,
            path,
            &format!("`{path}` must be a string, a number or a list of these"),
        )),
        RequestError::NotAbsolute { path } => {
            let config = &manifest.plugins.get(plugin)?.config;
            let key = key_of(config, path)?;
            Some(manifest.plugin_mistake(
                plugin,
                &key,
                &format!("`{path}` is not an absolute path without `..`"),
            ))
        }
        RequestError::ControlCharacter { text } => {
            let key = key_of(&manifest.plugins.get(plugin)?.config, text)?;
            Some(manifest.plugin_mistake(
                plugin,
                &key,
                &format!("{text:?} contains a control character"),
            ))
        }
        RequestError::Syntax(_)
        | RequestError::NoHeader
        | RequestError::BadReference { .. }
        | RequestError::Meaningless(_) => None,
    }
}

/// The dotted key of the text in a configuration that `text` was made of.
fn key_of(config: &Value, text: &str) -> Option<String> {
    config.as_object()?.iter().find_map(|(key, value)| match value {
        Value::String(value) if !value.is_empty() && text.contains(value.as_str()) => {
            Some(key.clone())
        }
        Value::Object(_) => key_of(value, text).map(|inner| format!("{key}.{inner}")),
        _ => None,
    })
}

/// The error of a component that can't be read.
pub(crate) fn unreadable(path: &Path, error: &std::io::Error) -> CliError {
    let shown = path.display();
    match error.kind() {
        std::io::ErrorKind::NotFound => CliError::usage(format!("there is no plugin `{shown}`"))
            .hint(
                "give the path of a component, or the name of a bundled plugin; `agente-host \
                plugin list` shows them",
            ),
        std::io::ErrorKind::IsADirectory => {
            CliError::usage(format!("`{shown}` is a directory, not a plugin"))
                .hint("name the `.wasm` file in it")
        }
        _ => CliError::usage(format!("the plugin `{shown}` can't be read")).because(error),
    }
}

/// The error of a file that is no plugin.
pub(crate) fn unusable_component(path: &Path, error: &ComponentError) -> CliError {
    let shown = quoted(path);
    let failed = CliError::usage(format!("`{}` is not a plugin", path.display()));
    match error {
        ComponentError::NoRequest => CliError {
            causes: vec!["it is a component without a plugin.toml".to_owned()],
            ..failed
        }
        .hint(format!(
            "`agente-host plugin pack {shown} --request plugin.toml --to {shown}` embeds \
                    its plugin.toml"
        )),
        ComponentError::NotWasm
        | ComponentError::NotAComponent
        | ComponentError::Cut
        | ComponentError::Damaged(_)
        | ComponentError::BadRequest(_) => failed.because(error).hint(
            "a plugin is a `wasm32-wasip2` component with its plugin.toml embedded; see \
            `agente-host plugin pack --help`",
        ),
    }
}

/// The refusal of plugins without a fitting grant: what each asks for, and the commands that grant
/// it.
pub(super) fn for_want_of_grants(manifest: &Manifest, refusals: &[NotGranted]) -> CliError {
    let mut sections = String::new();
    for refusal in refusals {
        let (name, version) = (&refusal.plugin, &refusal.version);
        let heading = match refusal.difference {
            Some(_) => format!("{name} {version} differs from its grant:"),
            None => format!("{name} {version} has no grant, and requests:"),
        };
        let _ = writeln!(sections, "\n{heading}");
        for line in refusal.lines() {
            let _ = writeln!(sections, "  {line}");
        }
    }
    let names: Vec<String> =
        refusals.iter().map(|refusal| format!("`{}`", refusal.plugin)).collect();
    let (noun, verb) = if names.len() == 1 { ("plugin", "has") } else { ("plugins", "have") };
    let commands: Vec<String> =
        refusals.iter().map(|refusal| grant_command(manifest, refusal)).collect();
    CliError::refused(format!(
        "the {noun} {} {verb} no matching grant for {}; nothing was changed\n{sections}",
        names.join(" and "),
        manifest.scope
    ))
    .hint(format!("review the request, then grant it: `{}`", commands.join(" && ")))
}

/// The command that grants a plugin what it was refused: a shipped one by its name, so that the
/// lock file names no path of this machine.
fn grant_command(manifest: &Manifest, refusal: &NotGranted) -> String {
    let shipped = find(&refusal.plugin, None).is_ok_and(|path| path == refusal.path);
    add_command(
        manifest,
        &if shipped { refusal.plugin.to_string() } else { refusal.path.display().to_string() },
    )
}

/// The command that grants a plugin, by its path or name, without asking.
pub(crate) fn add_command(manifest: &Manifest, plugin: &str) -> String {
    let plugin = quoted(Path::new(plugin));
    let file = if manifest.path == Path::new("agente.toml") {
        String::new()
    } else {
        format!(" -f {}", quoted(&manifest.path))
    };
    format!("agente-host plugin add {plugin}{file} --env {} --yes", manifest.scope.environment)
}

/// A path as a word for the shell.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    // No path holds the byte 0, which alone can't be quoted.
    shlex::try_quote(&text).map(Cow::into_owned).unwrap_or(text)
}

/// The error of a manifest with mistakes.
pub(crate) fn manifest_error(error: &ManifestError) -> CliError {
    let count = error.mistakes.len();
    let noun = if count == 1 { "error" } else { "errors" };
    let path = error
        .mistakes
        .first()
        .map(|problem| problem.path.display().to_string())
        .unwrap_or_default();
    CliError {
        exit: Exit::Usage,
        message: format!("`{path}` has {count} {noun}; nothing was changed\n\n{error}"),
        causes: Vec::new(),
        hint: None,
    }
}
