//! A denial: who, what, why, and the exact lines that would allow it.

use crate::effect::{Effect, HttpRequest, Program};
use agente_engine::names::PluginName;
use std::net::IpAddr;

/// Why an effect was denied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeniedBecause {
    /// The plugin is being admitted.
    #[error("no effects are allowed while a plugin is being loaded")]
    Closed,
    /// Its author did not ask for it.
    #[error("its request does not include that")]
    NotRequested,
    /// The operator did not grant it.
    #[error("it was not granted")]
    NotGranted,
    /// The operation only looks.
    #[error("the operation is read-only, and this would change something")]
    ReadPhase,
    /// The path leads somewhere else.
    #[error("the path resolves to `{0}`, which is not granted")]
    Elsewhere(String),
    /// The path is not absolute and plain.
    #[error("the path must be absolute, without `.` or `..`")]
    NotPlain,
    /// What stands there is a link.
    #[error("it is a symbolic link, and writing would replace the link, not its target")]
    Link,
    /// The plugin decides itself what stands there.
    #[error("its `files` rules let it write `{0}`, so it could put anything there")]
    OwnFile(String),
    /// The name resolves to an address that is off limits.
    #[error("the name resolves to {address}, {class}")]
    Address {
        address: IpAddr,
        /// What it is.
        class: String,
    },
}

/// An effect that was denied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the plugin `{plugin}` may not {effect}: {because}")]
pub struct Denied {
    /// Whose effect.
    pub plugin: PluginName,
    pub effect: String,
    pub because: DeniedBecause,
    /// The rule that would allow it, as it is written in plugin.toml and agente.lock.
    pub rule: Option<String>,
}

impl Denied {
    pub(super) fn new(plugin: PluginName, effect: &Effect, because: DeniedBecause) -> Self {
        let rule = rule_for(effect, &because);
        Self { plugin, effect: effect.to_string(), because, rule }
    }

    /// What to change so that it would be allowed.
    pub fn hint(&self) -> Option<String> {
        let rule = self.rule.as_ref()?;
        match &self.because {
            DeniedBecause::NotRequested => Some(format!(
                "its author must add `{rule}` to plugin.toml and pack it again; then grant it \
                with `agente-host plugin add`"
            )),
            DeniedBecause::NotGranted => Some(format!(
                "add `{rule}` to the grant of `{}` in agente.lock, or grant everything it \
                requests with `agente-host plugin add`",
                self.plugin
            )),
            DeniedBecause::Address { .. } | DeniedBecause::Elsewhere(_) => Some(format!(
                "if that is intended, `{rule}` in plugin.toml and in the grant allows it"
            )),
            DeniedBecause::OwnFile(path) => Some(format!(
                "narrow the `files` rule in the grant of `{}` in agente.lock so that it does not \
                cover `{path}`, or move that file to another directory",
                self.plugin
            )),
            DeniedBecause::ReadPhase if matches!(rule.split('=').next(), Some("exec ")) => {
                Some(format!(
                    "if the program changes nothing, `{rule}` in plugin.toml and in the grant \
                    allows it"
                ))
            }
            _ => None,
        }
    }
}

/// A TOML text.
fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

fn rule_for(effect: &Effect, because: &DeniedBecause) -> Option<String> {
    let files = |path: &str, access: &str| {
        let path = match because {
            DeniedBecause::Elsewhere(real) => real,
            _ => path,
        };
        format!("files = [{{ path = {}, access = \"{access}\" }}]", quoted(path))
    };
    let private =
        if matches!(because, DeniedBecause::Address { .. }) { ", private = true" } else { "" };
    Some(match effect {
        Effect::ReadFile(path) | Effect::LookAtFile(path) => files(path, "read"),
        Effect::ListFolder(path) => files(&format!("{path}/*"), "read"),
        Effect::ReplaceFile { path, .. } | Effect::RemoveFile(path) => files(path, "write"),
        Effect::Run(Program { program, args, env, place, .. }) => {
            let list = |texts: &[String]| {
                texts.iter().map(|text| quoted(text)).collect::<Vec<_>>().join(", ")
            };
            let phase = if *because == DeniedBecause::ReadPhase { "read" } else { "write" };
            let place = if place == "host" {
                String::new()
            } else {
                format!(", place = {}", quoted(place))
            };
            let env =
                if env.is_empty() { String::new() } else { format!(", env = [{}]", list(env)) };
            format!(
                "exec = [{{ program = {}, args = [{}], phase = \"{phase}\"{place}{env} }}]",
                quoted(program),
                list(args)
            )
        }
        Effect::ListProcesses(of) | Effect::ListConnections(of) => {
            format!("process = [{{ of = {} }}]", quoted(of))
        }
        Effect::Signal { of, signal } => {
            format!("process = [{{ of = {}, signals = [{}] }}]", quoted(of), quoted(signal))
        }
        Effect::MarkLog(path) | Effect::ReadLog { path, .. } => {
            format!("logs = [{{ path = {} }}]", quoted(path))
        }
        Effect::Connect { host, port, .. } => {
            let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
            format!("tcp = [{{ address = {}{private} }}]", quoted(&format!("{host}:{port}")))
        }
        Effect::Request(request) => {
            let HttpRequest { scheme, host, port, method, .. } = &**request;
            let origin =
                crate::address::Origin { scheme: scheme.clone(), host: host.clone(), port: *port };
            format!(
                "net = [{{ origin = {}, methods = [{}]{private} }}]",
                quoted(&origin.to_string()),
                quoted(method)
            )
        }
        Effect::OpenSecret(name) => {
            format!("secrets = [{{ name = {}, use = [\"header\"], hosts = [] }}]", quoted(name))
        }
        Effect::SendSecret { name, way, host } => {
            let way = if *way == crate::capability::SecretUse::Body { "body" } else { "header" };
            format!(
                "secrets = [{{ name = {}, use = [\"{way}\"], hosts = [{}] }}]",
                quoted(name),
                quoted(host)
            )
        }
        Effect::PassSecret(name) => {
            format!("secrets = [{{ name = {}, use = [\"env\"] }}]", quoted(name))
        }
        Effect::RevealSecret(name) => {
            format!("secrets = [{{ name = {}, use = [\"reveal\"] }}]", quoted(name))
        }
        Effect::Recall(_)
        | Effect::Remember { .. }
        | Effect::Receive { .. }
        | Effect::Send { .. }
        | Effect::ReceiveBody(_) => return None,
    })
}
