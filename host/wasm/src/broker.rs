//! The one place that allows an effect.
//!
//! *Effective = requested ∩ granted*: an effect is allowed when a rule of the request **and** a
//! rule of the grant cover it, and the phase permits it. Adapters hold no policy; they ask here,
//! and do what they were allowed and nothing else. Nothing here does an effect.

mod denied;
mod egress;
mod files;

pub use denied::{Denied, DeniedBecause};
pub use egress::Reach;

use crate::capability::{Capabilities, ExecPhase, ExecRule, NetRule, SecretRule, SecretUse};
use crate::paths::{arguments_match, stands_for};
use agente_engine::names::PluginName;
use serde::Serialize;
use std::fmt;
use std::path::{Path, PathBuf};

/// Which grants are in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// None: while a plugin is admitted.
    Closed,
    /// Those that change nothing.
    Read,
    /// All.
    Write,
}

impl Phase {
    /// As the contract writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Phase::Closed => "closed",
            Phase::Read => "read",
            Phase::Write => "write",
        }
    }
}

/// Something that a plugin wants to do outside its sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Read a file.
    ReadFile(String),
    /// Look at what stands at a path.
    LookAtFile(String),
    /// List a folder.
    ListFolder(String),
    /// Replace a file.
    ReplaceFile(String),
    /// Remove a file.
    RemoveFile(String),
    /// Run a program.
    Run {
        /// Its absolute path.
        program: String,
        /// Its arguments.
        args: Vec<String>,
        /// The names of what is to be in its environment.
        env: Vec<String>,
        /// The folder it is to run in.
        cwd: Option<String>,
        place: String,
    },
    /// Look at the processes of a target.
    LookAtProcesses(String),
    /// Send a signal.
    Signal {
        /// The target.
        of: String,
        /// The signal's name.
        signal: String,
    },
    /// Read the end of a log.
    ReadLog(String),
    Connect {
        /// The host, plain.
        host: String,
        port: u16,
    },
    /// Send an HTTP request.
    Request {
        /// `http` or `https`.
        scheme: String,
        /// The host, plain.
        host: String,
        port: u16,
        method: String,
    },
    /// Get a handle of a secret.
    OpenSecret(String),
    /// Send a secret.
    SendSecret {
        name: String,
        way: SecretUse,
        /// To which host.
        host: String,
    },
    /// Give a secret to a program.
    PassSecret(String),
    /// Get the value of a secret.
    RevealSecret(String),
    /// Read the plugin's own memory.
    Recall(String),
    /// Change the plugin's own memory.
    Remember(String),
}

impl Effect {
    /// Whether it changes something by its very nature.
    fn changes(&self) -> bool {
        match self {
            Effect::ReplaceFile(_) | Effect::RemoveFile(_) | Effect::Signal { .. } => true,
            Effect::Request { method, .. } => !matches!(method.as_str(), "GET" | "HEAD"),
            _ => false,
        }
    }
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Effect::ReadFile(path) => write!(f, "read the file `{path}`"),
            Effect::LookAtFile(path) => write!(f, "look at `{path}`"),
            Effect::ListFolder(path) => write!(f, "list the folder `{path}`"),
            Effect::ReplaceFile(path) => write!(f, "replace the file `{path}`"),
            Effect::RemoveFile(path) => write!(f, "remove the file `{path}`"),
            Effect::Run { program, args, place, .. } => {
                write!(f, "run `{program}")?;
                args.iter().try_for_each(|word| write!(f, " {word}"))?;
                f.write_str("`")?;
                if place == "host" { Ok(()) } else { write!(f, " in {place}") }
            }
            Effect::LookAtProcesses(of) => write!(f, "look at the processes of `{of}`"),
            Effect::Signal { of, signal } => write!(f, "send {signal} to the process of `{of}`"),
            Effect::ReadLog(path) => write!(f, "read the log `{path}`"),
            Effect::Connect { host, port } => write!(f, "connect to `{host}:{port}`"),
            Effect::Request { scheme, host, port, method } => {
                write!(f, "send {method} to `{scheme}://{host}:{port}`")
            }
            Effect::OpenSecret(name) => write!(f, "use the secret `{name}`"),
            Effect::SendSecret { name, way, host } => {
                write!(f, "send the secret `{name}` in {way} to `{host}`")
            }
            Effect::PassSecret(name) => write!(f, "give the secret `{name}` to a program"),
            Effect::RevealSecret(name) => write!(f, "read the value of the secret `{name}`"),
            Effect::Recall(key) => write!(f, "read `{key}` of its memory"),
            Effect::Remember(key) => write!(f, "set `{key}` of its memory"),
        }
    }
}

/// What an allowed effect may reach, from the rules that allowed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Allowed {
    /// It may be done as it was asked.
    AsAsked,
    /// On this path, with the links on the way followed.
    Path(PathBuf),
    /// With this command.
    Command {
        /// The operator's prefix, then program and arguments.
        argv: Vec<String>,
        /// From which phase on it may run.
        phase: ExecPhase,
    },
    /// At addresses of this reach, trusting these certificate authorities beside the system's.
    Egress {
        /// Which addresses.
        reach: Reach,
        /// A PEM file.
        ca: Option<String>,
        /// A PEM file with what is shown to the server.
        client_certificate: Option<String>,
    },
    /// As this environment variable.
    Variable(String),
}

/// The circumstances of an operation that decisions depend on.
#[derive(Debug, Clone, Default)]
pub struct Circumstances {
    /// `host:port` of each backend of the deployment.
    pub backends: Vec<String>,
    /// The service's public URL.
    pub public_url: Option<String>,
}

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

    /// Decides on an effect.
    pub fn authorize(
        &self,
        phase: Phase,
        circumstances: &Circumstances,
        effect: &Effect,
    ) -> Result<Allowed, Denied> {
        if phase == Phase::Closed {
            return Err(self.denied(effect, DeniedBecause::Closed));
        }
        let because = match covered(&self.requested, phase, circumstances, effect) {
            Err(because) => because.unwrap_or(DeniedBecause::NotRequested),
            Ok(requested) => match covered(&self.granted, phase, circumstances, effect) {
                Err(because) => because.unwrap_or(DeniedBecause::NotGranted),
                Ok(_) if phase == Phase::Read && effect.changes() => DeniedBecause::ReadPhase,
                Ok(granted) => {
                    let allowed = requested.and(granted);
                    match self.own_file(effect, &allowed) {
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
    fn own_file(&self, effect: &Effect, allowed: &Allowed) -> Option<PathBuf> {
        let trusted: Vec<&str> = match (effect, allowed) {
            // The first word is the operator's prefix, where there is one.
            (Effect::Run { program, place, .. }, Allowed::Command { argv, .. })
                if place == "host" =>
            {
                argv.first().into_iter().chain([program]).map(String::as_str).collect()
            }
            (Effect::LookAtProcesses(of) | Effect::Signal { of, .. }, _) => {
                of.strip_prefix("pid-file:").into_iter().collect()
            }
            _ => return None,
        };
        let mut entries = trusted.into_iter().flat_map(|path| stands_for(Path::new(path)));
        let own = |entry: &PathBuf| {
            [&self.requested, &self.granted].iter().all(|set| files::may_change(&set.files, entry))
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
                && rule.hosts.iter().any(|granted| host_granted(granted, host, circumstances))
        };
        [&self.requested, &self.granted].iter().all(|set| set.secrets.iter().any(granted))
    }

    fn denied(&self, effect: &Effect, because: DeniedBecause) -> Denied {
        Denied::new(self.plugin.clone(), effect, because)
    }
}

impl Allowed {
    /// Whether doing it may change something outside.
    pub(crate) fn changes(&self, effect: &Effect) -> bool {
        let writes = matches!(self, Allowed::Command { phase: ExecPhase::Write, .. });
        // Nobody knows what goes over a plain connection.
        writes || effect.changes() || matches!(effect, Effect::Connect { .. })
    }

    /// What both allow.
    fn and(self, other: Allowed) -> Allowed {
        match (self, other) {
            (
                Allowed::Egress { reach, ca, client_certificate },
                Allowed::Egress {
                    reach: other,
                    ca: other_ca,
                    client_certificate: other_certificate,
                },
            ) => Allowed::Egress {
                reach: reach.and(other),
                ca: ca.filter(|ca| other_ca.as_ref() == Some(ca)),
                client_certificate: client_certificate
                    .filter(|own| other_certificate.as_ref() == Some(own)),
            },
            // A command, a variable and a path are the grant's, which may say how.
            (_, granted) => granted,
        }
    }
}

/// Whether some rule of a set covers an effect. An error without a reason means that no rule does.
fn covered(
    set: &Capabilities,
    phase: Phase,
    circumstances: &Circumstances,
    effect: &Effect,
) -> Result<Allowed, Option<DeniedBecause>> {
    let any = |found: bool| if found { Ok(Allowed::AsAsked) } else { Err(None) };
    match effect {
        Effect::ReadFile(path) => files::read(&set.files, path),
        Effect::LookAtFile(path) => files::look_at(&set.files, path),
        Effect::ListFolder(path) => files::list(&set.files, path),
        Effect::ReplaceFile(path) | Effect::RemoveFile(path) => files::change(&set.files, path),
        Effect::Run { program, args, env, cwd, place } => {
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
        Effect::LookAtProcesses(of) => any(set.process.iter().any(|rule| rule.of == *of)),
        Effect::Signal { of, signal } => {
            any(set.process.iter().any(|rule| rule.of == *of && rule.signals.contains(signal)))
        }
        Effect::ReadLog(path) => any(set.logs.iter().any(|rule| rule.path == *path)),
        Effect::Connect { host, port } => egress::connect(&set.tcp, circumstances, host, *port),
        Effect::Request { scheme, host, port, method } => {
            egress::request(&set.net, circumstances, scheme, host, *port, method)
        }
        Effect::OpenSecret(name) => any(set.secrets.iter().any(|rule| rule.name == *name)),
        Effect::SendSecret { name, way, host } => any(secrets(set, name, *way).any(|rule| {
            rule.hosts.iter().any(|granted| host_granted(granted, host, circumstances))
        })),
        Effect::PassSecret(name) => secrets(set, name, SecretUse::Env)
            .next()
            .map_or(Err(None), |rule| Ok(Allowed::Variable(rule.variable()))),
        Effect::RevealSecret(name) => any(secrets(set, name, SecretUse::Reveal).next().is_some()),
        // Its own memory is nobody else's business; it is bounded by the port.
        Effect::Recall(_) | Effect::Remember(_) => Ok(Allowed::AsAsked),
    }
}

fn secrets<'a>(
    set: &'a Capabilities,
    name: &'a str,
    way: SecretUse,
) -> impl Iterator<Item = &'a SecretRule> {
    set.secrets.iter().filter(move |rule| rule.name == name && rule.uses.contains(&way))
}

fn host_granted(granted: &str, host: &str, circumstances: &Circumstances) -> bool {
    match granted {
        "@backends" => circumstances.backends.iter().any(|address| {
            crate::address::host_and_port(address).is_some_and(|(backend, _)| backend == host)
        }),
        "@public" => public_origin(circumstances).is_some_and(|origin| origin.host == host),
        granted => granted == host,
    }
}

/// The origin of the service's public URL.
fn public_origin(circumstances: &Circumstances) -> Option<crate::address::Origin> {
    crate::address::Origin::parse(circumstances.public_url.as_deref()?)
}

fn method_granted(rule: &NetRule, method: &str) -> bool {
    rule.methods.iter().any(|granted| granted.eq_ignore_ascii_case(method))
}

#[cfg(test)]
mod tests;
