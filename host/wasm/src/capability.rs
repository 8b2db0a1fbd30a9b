//! What a plugin may do outside its sandbox, one rule per thing.
//!
//! The same shapes are used in a plugin's request (`plugin.toml`) and in the operator's grant
//! (`agente.lock`). A set only ever allows: what no rule names is denied.

use agente_units::{Size, Span};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;

/// All rules of a request or a grant.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Capabilities {
    /// How much it may use up.
    #[serde(skip_serializing_if = "LimitsRule::is_default")]
    pub limits: LimitsRule,
    /// Files it may read or write.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<FilesRule>,
    /// Programs it may run.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub exec: Vec<ExecRule>,
    /// Processes it may look at or send signals to.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub process: Vec<ProcessRule>,
    /// Logs whose ends it may read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub logs: Vec<LogRule>,
    /// Addresses it may connect to.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tcp: Vec<TcpRule>,
    /// HTTP servers it may ask.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub net: Vec<NetRule>,
    /// Secrets it may use.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<SecretRule>,
}

/// How far access to files goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Access {
    /// Read, look and list.
    Read,
    /// That, and replace and remove in the write phase.
    Write,
}

/// Files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FilesRule {
    /// An absolute path; `/*` at its end means each file of the folder, `/**` everything below it.
    pub path: String,
    /// How far it goes.
    pub access: Access,
}

/// From which phase on a program may run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExecPhase {
    /// It changes nothing: planning and observing may run it, too.
    Read,
    /// It changes something: only operations that change the target may run it.
    Write,
}

fn on_the_host() -> String {
    "host".to_owned()
}

fn is_on_the_host(place: &str) -> bool {
    place == "host"
}

/// A program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExecRule {
    /// Its absolute path.
    pub program: String,
    /// One pattern per argument, `*` in it standing for any text; `**` as the last one allows any
    /// further arguments.
    #[serde(default)]
    pub args: Vec<String>,
    /// From which phase on.
    pub phase: ExecPhase,
    /// `host`, `container:<name>` or `release`.
    #[serde(default = "on_the_host", skip_serializing_if = "is_on_the_host")]
    pub place: String,
    /// Names of environment variables, or of secrets granted for `env`, that may be in its
    /// environment.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    /// The working folder it may ask for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cwd: Option<String>,
    /// Only in a grant: what the operator puts before the command, such as `["sudo", "-n"]`. The
    /// first must be found by its absolute path.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub prefix: Vec<String>,
}

/// The processes of one target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProcessRule {
    /// `pid-file:<path>` or `container:<name>`.
    pub of: String,
    /// Names of signals it may send in the write phase.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub signals: Vec<String>,
}

/// One log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogRule {
    /// An absolute path, or `container:<name>`.
    pub path: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature serde asks for")]
fn is_false(value: &bool) -> bool {
    !value
}

/// An address to connect to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TcpRule {
    /// `host:port`, or `@backends` for exactly the backends of the deployment.
    pub address: String,
    /// Whether a name may stand for a loopback, private or link-local address.
    #[serde(default, skip_serializing_if = "is_false")]
    pub private: bool,
}

fn read_methods() -> Vec<String> {
    vec!["GET".to_owned(), "HEAD".to_owned()]
}

/// An HTTP server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetRule {
    /// `https://host:port` (what follows is ignored), `@backends` for exactly the backends of the deployment by plain HTTP, `@public` for the
    /// service's own public URL.
    pub origin: String,
    /// Methods; those but GET and HEAD are only for the write phase.
    #[serde(default = "read_methods")]
    pub methods: Vec<String>,
    /// Whether a name may stand for a loopback, private or link-local address.
    #[serde(default, skip_serializing_if = "is_false")]
    pub private: bool,
    /// A PEM file of certificate authorities to trust beside the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
    /// A PEM file with the certificate that is shown to the server, and its key. Only the host
    /// reads it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_certificate: Option<String>,
}

/// A way to use a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SecretUse {
    /// In a header of an HTTP request.
    Header,
    /// In the body of an HTTP request.
    Body,
    /// In the environment of a program.
    Env,
    /// The value itself goes to the plugin.
    Reveal,
}

impl fmt::Display for SecretUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SecretUse::Header => "headers",
            SecretUse::Body => "bodies",
            SecretUse::Env => "environments of its programs",
            SecretUse::Reveal => "clear text",
        })
    }
}

/// A secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecretRule {
    /// Its name in the manifest.
    pub name: String,
    /// How it may be used.
    #[serde(rename = "use")]
    pub uses: Vec<SecretUse>,
    /// The hosts that it may be sent to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    /// The environment variable it becomes; its name in upper case with `_` where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variable: Option<String>,
}

impl SecretRule {
    /// The environment variable that carries the value.
    pub fn variable(&self) -> String {
        self.variable.clone().unwrap_or_else(|| self.name.to_ascii_uppercase().replace('-', "_"))
    }
}

/// How much a plugin may use up. What is not set has the host's default.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsRule {
    /// Memory of an instance: `"64MiB"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<Size>,
    /// Computing time of one operation, waits for the host not counted: `"2s"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<Span>,
    /// Time of one operation by the clock: `"60s"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wall: Option<Span>,
    /// What one call may carry between plugin and host: `"8MiB"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostcall: Option<Size>,
    /// Open connections at a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connections: Option<u32>,
}

impl LimitsRule {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl Capabilities {
    /// Each rule in words, one line each, sorted; two sets with the same lines allow the same.
    pub fn lines(&self) -> BTreeSet<String> {
        let mut lines = BTreeSet::new();
        lines.extend(self.files.iter().map(ToString::to_string));
        lines.extend(self.exec.iter().map(ToString::to_string));
        for rule in &self.process {
            lines.extend(rule.lines());
        }
        lines.extend(
            self.logs.iter().map(|rule| format!("read new lines of the log `{}`", rule.path)),
        );
        lines.extend(self.tcp.iter().map(ToString::to_string));
        for rule in &self.net {
            lines.extend(rule.lines());
        }
        for rule in &self.secrets {
            lines.extend(rule.lines());
        }
        lines.extend(self.limits.lines());
        lines
    }

    /// Whether it allows nothing at all.
    pub fn is_empty(&self) -> bool {
        self.lines().is_empty()
    }

    /// Whether some rule gives a secret's value to the plugin itself.
    pub fn reveals(&self) -> bool {
        self.secrets.iter().any(|rule| rule.uses.contains(&SecretUse::Reveal))
    }
}

impl fmt::Display for FilesRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = match self.access {
            Access::Read => "read",
            Access::Write => "read and write",
        };
        if let Some(folder) = self.path.strip_suffix("/**") {
            write!(f, "{verb} everything below `{folder}`")
        } else if let Some(folder) = self.path.strip_suffix("/*") {
            write!(f, "{verb} the files in the directory `{folder}`")
        } else {
            write!(f, "{verb} `{}`", self.path)
        }
    }
}

/// A word of a command; in quotes where it could be taken for several, so that two rules never read
/// alike.
fn word_of(word: &str) -> Cow<'_, str> {
    let plain = !word.is_empty()
        && !word.contains(|c: char| c.is_whitespace() || matches!(c, '"' | '\\' | '`'));
    if plain { Cow::Borrowed(word) } else { Cow::Owned(format!("{word:?}")) }
}

impl fmt::Display for ExecRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("run `")?;
        for word in &self.prefix {
            write!(f, "{} ", word_of(word))?;
        }
        f.write_str(&word_of(&self.program))?;
        for word in &self.args {
            write!(f, " {}", word_of(word))?;
        }
        f.write_str("`")?;
        match self.place.as_str() {
            "host" => {}
            "release" => f.write_str(" in the image of the release")?,
            place => write!(f, " in {}", place.replacen(':', " ", 1))?,
        }
        if let Some(folder) = &self.cwd {
            write!(f, " in the directory `{folder}`")?;
        }
        if !self.env.is_empty() {
            write!(f, " with {} in its environment", self.env.join(", "))?;
        }
        match self.phase {
            ExecPhase::Read => f.write_str(", even in read-only operations"),
            ExecPhase::Write => Ok(()),
        }
    }
}

impl ProcessRule {
    fn lines(&self) -> Vec<String> {
        let mut lines = vec![format!("list the processes and connections of `{}`", self.of)];
        lines.extend(
            self.signals
                .iter()
                .map(|signal| format!("send {signal} to the process of `{}`", self.of)),
        );
        lines
    }
}

impl fmt::Display for TcpRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address.as_str() {
            "@backends" => f.write_str("connect to the backends of the deployment"),
            address => write!(f, "connect to `{address}`"),
        }?;
        f.write_str(if self.private { ", even at a private address," } else { "" })?;
        // Nobody knows what bytes mean to the other side, so no phase can hold them back.
        f.write_str(" and send anything, even in read-only operations")
    }
}

impl NetRule {
    fn lines(&self) -> Vec<String> {
        let mut whom = match self.origin.as_str() {
            "@backends" => "the backends of the deployment".to_owned(),
            "@public" => "the public URL of the service".to_owned(),
            origin => format!("`{origin}`"),
        };
        if self.private {
            whom.push_str(", even at a private address");
        }
        if let Some(ca) = &self.ca {
            whom = format!("{whom}, trusting `{ca}`");
        }
        if let Some(own) = &self.client_certificate {
            whom = format!("{whom}, presenting the certificate in `{own}`");
        }
        self.methods.iter().map(|method| format!("send {method} to {whom}")).collect()
    }
}

impl SecretRule {
    fn lines(&self) -> Vec<String> {
        self.uses
            .iter()
            .map(|way| match way {
                SecretUse::Header | SecretUse::Body => format!(
                    "use the secret `{}` in {way} toward {}",
                    self.name,
                    self.hosts.join(", ")
                ),
                SecretUse::Env => {
                    format!("use the secret `{}` as {} in the {way}", self.name, self.variable())
                }
                SecretUse::Reveal => format!("read the secret `{}` in {way}", self.name),
            })
            .collect()
    }
}

impl LimitsRule {
    fn lines(&self) -> Vec<String> {
        [
            self.memory.map(|size| format!("use up to {size} of memory")),
            self.cpu.map(|span| format!("use up to {span} of CPU time per operation")),
            self.wall.map(|span| format!("take up to {span} per operation")),
            self.hostcall.map(|size| format!("pass up to {size} per call")),
            self.connections.map(|count| format!("hold up to {count} connections")),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_has_its_own_line() {
        let capabilities: Capabilities = toml::from_str(
            r#"
            files = [{ path = "/etc/nginx/conf.d/*", access = "write" }]
            exec = [{ program = "/usr/sbin/nginx", args = ["-t", "*"], phase = "read" }]
            process = [{ of = "pid-file:/run/nginx.pid", signals = ["HUP"] }]
            tcp = [{ address = "@backends" }, { address = "db.internal:5432", private = true }]
            net = [{ origin = "https://lb.internal", methods = ["GET", "PUT"], private = true }]
            secrets = [{ name = "lb-token", use = ["header", "reveal"], hosts = ["lb.internal"] }]
            limits = { memory = "128MiB" }
            "#,
        )
        .unwrap();
        let lines: Vec<String> = capabilities.lines().into_iter().collect();
        assert_eq!(
            lines,
            [
                "connect to `db.internal:5432`, even at a private address, and send anything, \
                even in read-only operations",
                "connect to the backends of the deployment and send anything, even in read-only \
                operations",
                "list the processes and connections of `pid-file:/run/nginx.pid`",
                "read and write the files in the directory `/etc/nginx/conf.d`",
                "read the secret `lb-token` in clear text",
                "run `/usr/sbin/nginx -t *`, even in read-only operations",
                "send GET to `https://lb.internal`, even at a private address",
                "send HUP to the process of `pid-file:/run/nginx.pid`",
                "send PUT to `https://lb.internal`, even at a private address",
                "use the secret `lb-token` in headers toward lb.internal",
                "use up to 128MiB of memory",
            ]
        );
    }
}
