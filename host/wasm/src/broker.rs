//! The one place that allows an effect.
//!
//! *Effective = requested ∩ granted*: an effect is allowed when a rule of the request **and** a
//! rule of the grant cover it, and the phase permits it. Adapters hold no policy; they ask here,
//! and do what they were allowed and nothing else. Nothing here does an effect, and nothing here
//! looks at the world: what paths and names stand for is told by the [`Paths`] of the call, is
//! judged, and is then what is done.

mod allowed;
mod circumstances;
mod denied;
mod egress;
mod files;

pub use allowed::{Allowed, Reach};
pub use circumstances::{Circumstances, Phase};
pub use denied::{Denied, DeniedBecause};

use crate::capability::{Capabilities, ExecPhase, ExecRule, SecretRule, SecretUse};
use crate::effect::{Effect, Program};
use crate::paths::{Follow, Paths, arguments_match};

use agente_engine::names::PluginName;
use std::path::{Path, PathBuf};

/// Decides for one plugin.
#[derive(Debug)]
pub struct Broker {
    plugin: PluginName,
    requested: Capabilities,
    granted: Capabilities,
}

impl Broker {
    /// A broker that allows what is both requested and granted.
    pub fn new(plugin: PluginName, requested: Capabilities, granted: Capabilities) -> Self {
        Self { plugin, requested, granted }
    }

    /// Decides on an effect. Blocks as `paths` does, which are asked only where the effect is
    /// judged by files.
    pub fn authorize(
        &self,
        phase: Phase,
        circumstances: &Circumstances,
        effect: &Effect,
        paths: &dyn Paths,
    ) -> Result<Allowed, Denied> {
        if phase == Phase::Closed {
            return Err(self.denied(effect, DeniedBecause::Closed));
        }
        let because = match covered(&self.requested, phase, circumstances, effect, paths) {
            Err(because) => because.unwrap_or(DeniedBecause::NotRequested),
            Ok(requested) => match covered(&self.granted, phase, circumstances, effect, paths) {
                Err(because) => because.unwrap_or(DeniedBecause::NotGranted),
                Ok(_) if phase == Phase::Read && effect.changes() => DeniedBecause::ReadPhase,
                Ok(granted) => {
                    let allowed = requested.and(granted);
                    match self.own_file(effect, &allowed, paths) {
                        Some(path) => DeniedBecause::OwnFile(path.display().to_string()),
                        None => return Ok(allowed),
                    }
                }
            },
        };
        Err(self.denied(effect, because))
    }

    /// The file that an effect trusts and that the plugin may write itself: a program of the host,
    /// or a pid file.
    fn own_file(&self, effect: &Effect, allowed: &Allowed, paths: &dyn Paths) -> Option<PathBuf> {
        let trusted: Vec<&str> = match (effect, allowed) {
            // The first word is the operator's prefix, where there is one.
            (Effect::Run(Program { program, place, .. }), Allowed::Command { argv, .. })
                if place == "host" =>
            {
                argv.first().into_iter().chain([program]).map(String::as_str).collect()
            }
            (
                Effect::ListProcesses(of) | Effect::ListConnections(of) | Effect::Signal { of, .. },
                _,
            ) => of.strip_prefix("pid-file:").into_iter().collect(),
            _ => return None,
        };
        let mut entries =
            trusted.into_iter().flat_map(|path| paths.follow(Path::new(path), Follow::Chain));
        let own = |entry: &PathBuf| {
            let sets = [&self.requested, &self.granted];
            sets.iter().all(|set| files::may_change(&set.files, entry, paths))
        };
        entries.find(own)
    }

    /// Judges the address that an allowed name resolved to.
    pub(crate) fn judge_address(
        &self,
        reach: Reach,
        effect: &Effect,
        address: std::net::IpAddr,
    ) -> Result<(), Denied> {
        reach.judge(address).map_err(|class| {
            self.denied(effect, DeniedBecause::Address { address, class: class.to_string() })
        })
    }

    /// Whether the request and the grant give some secret's value to the plugin itself.
    pub fn reveals(&self) -> bool {
        self.requested.reveals() && self.granted.reveals()
    }

    /// Whether a name in a program's environment stands for a secret.
    pub(crate) fn passes(&self, name: &str) -> bool {
        // Either of them: what only one of them names must be denied, not passed over.
        [&self.requested, &self.granted]
            .iter()
            .any(|set| secrets(set, name, SecretUse::Env).next().is_some())
    }

    /// Whether some secret may go to a host in the body of a request.
    pub(crate) fn sends_in_bodies(&self, circumstances: &Circumstances, host: &str) -> bool {
        let granted = |rule: &SecretRule| {
            rule.uses.contains(&SecretUse::Body)
                && rule.hosts.iter().any(|granted| circumstances.grants_host(granted, host))
        };
        [&self.requested, &self.granted].iter().all(|set| set.secrets.iter().any(granted))
    }

    fn denied(&self, effect: &Effect, because: DeniedBecause) -> Denied {
        Denied::new(self.plugin.clone(), effect, because)
    }
}

/// Whether some rule of a set covers an effect. An error without a reason means that no rule does.
fn covered(
    set: &Capabilities,
    phase: Phase,
    circumstances: &Circumstances,
    effect: &Effect,
    paths: &dyn Paths,
) -> Result<Allowed, Option<DeniedBecause>> {
    let any = |found: bool| if found { Ok(Allowed::AsAsked) } else { Err(None) };
    match effect {
        Effect::ReadFile(path) => files::read(&set.files, path, paths),
        Effect::LookAtFile(path) => files::look_at(&set.files, path, paths),
        Effect::ListFolder(path) => files::list(&set.files, path, paths),
        Effect::ReplaceFile { path, .. } => files::replace(&set.files, path, paths),
        Effect::RemoveFile(path) => files::remove(&set.files, path, paths),
        Effect::Run(Program { program, args, env, cwd, place, .. }) => {
            let fits = |rule: &&ExecRule| {
                rule.program == *program
                    && rule.place == *place
                    && arguments_match(&rule.args, args)
                    && env.iter().all(|name| rule.env.contains(name))
                    && (cwd.is_none() || rule.cwd == *cwd)
            };
            let mut rules = set.exec.iter().filter(fits).peekable();
            if rules.peek().is_none() {
                return Err(None);
            }
            let permitted =
                rules.find(|rule| phase == Phase::Write || rule.phase == ExecPhase::Read);
            let rule = permitted.ok_or(Some(DeniedBecause::ReadPhase))?;
            Ok(Allowed::Command {
                argv: rule.prefix.iter().chain([program]).chain(args).cloned().collect(),
                phase: rule.phase,
            })
        }
        Effect::ListProcesses(of) | Effect::ListConnections(of) => {
            any(set.process.iter().any(|rule| rule.of == *of))
        }
        Effect::Signal { of, signal } => {
            any(set.process.iter().any(|rule| rule.of == *of && rule.signals.contains(signal)))
        }
        Effect::MarkLog(path) | Effect::ReadLog { path, .. } => {
            any(set.logs.iter().any(|rule| rule.path == *path))
        }
        Effect::Connect { host, port, .. } => egress::connect(&set.tcp, circumstances, host, *port),
        Effect::Request(asked) => egress::request(&set.net, circumstances, asked),
        Effect::OpenSecret(name) => any(set.secrets.iter().any(|rule| rule.name == *name)),
        Effect::SendSecret { name, way, host } => any(secrets(set, name, *way)
            .any(|rule| rule.hosts.iter().any(|granted| circumstances.grants_host(granted, host)))),
        Effect::PassSecret(name) => secrets(set, name, SecretUse::Env)
            .next()
            .map_or(Err(None), |rule| Ok(Allowed::Variable(rule.variable()))),
        Effect::RevealSecret(name) => any(secrets(set, name, SecretUse::Reveal).next().is_some()),
        // Its own memory is nobody else's business; it is bounded by the port.
        Effect::Recall(_) | Effect::Remember { .. } => Ok(Allowed::AsAsked),
        // They were judged when they were opened.
        Effect::Receive { .. } | Effect::Send { .. } | Effect::ReceiveBody(_) => {
            Ok(Allowed::AsAsked)
        }
    }
}

fn secrets<'a>(
    set: &'a Capabilities,
    name: &'a str,
    way: SecretUse,
) -> impl Iterator<Item = &'a SecretRule> {
    set.secrets.iter().filter(move |rule| rule.name == name && rule.uses.contains(&way))
}

#[cfg(test)]
mod tests;
