//! The `nginx` program: version, test, dump, reload.

use crate::config::{Config, Reload};
use crate::dump::Dump;
use agente_plugin_sdk::host::{Command, Host, Output};
use agente_plugin_sdk::{Failure, label};
use std::fmt;
use std::time::Duration;

/// Testing a configuration looks up names and reads certificates.
const TEST_LIMIT: Duration = Duration::from_secs(30);

/// What lets a host that runs as another user than NGINX's master test and reload it.
pub const AS_THE_MASTER: &str = "let the grant run NGINX as the user of its master: `agente-host \
plugin add nginx-switch --exec-prefix 'sudo -n'`, with a fixed rule in sudoers";

/// A version of NGINX.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u32, pub u32, pub u32);

/// Older ones are not tried, and lack what the file uses.
pub const OLDEST: Version = Version(1, 18, 0);
/// From here on old workers answer once more on a kept connection instead of closing it.
pub const KEEPALIVE_MIN_TIMEOUT: Version = Version(1, 27, 4);
/// From here on proxied answers are not cut by a reload.
pub const WHOLE_ANSWERS: Version = Version(1, 23, 1);

impl Version {
    /// From `nginx version: nginx/1.22.1 (…)`.
    pub fn read(text: &str) -> Option<Self> {
        let number = text.split_once('/')?.1;
        let end = number
            .find(|character: char| !character.is_ascii_digit() && character != '.')
            .unwrap_or(number.len());
        let mut parts = number.get(..end)?.split('.').map(str::parse);
        match (parts.next()?, parts.next()?, parts.next()?) {
            (Ok(major), Ok(minor), Ok(patch)) => Some(Self(major, minor, patch)),
            _ => None,
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}.{}", self.0, self.1, self.2)
    }
}

fn run<H: Host>(host: &H, config: &Config, args: Vec<String>) -> Result<Output, Failure> {
    let command = Command::new(&config.nginx, args).place(config.place()).wall(TEST_LIMIT);
    let output = host.run(&command)?;
    if label(&output.labels, "timed-out").is_some() {
        return Err(Failure::unavailable(format!(
            "`{}` did not finish within {TEST_LIMIT:?}",
            spell(config, &command.args)
        )));
    }
    Ok(output)
}

fn with_base(config: &Config, more: &[&str]) -> Vec<String> {
    let mut args = config.base_args();
    args.extend(more.iter().map(|arg| (*arg).to_owned()));
    args
}

/// A command as an operator would type it.
fn spell(config: &Config, args: &[String]) -> String {
    let command = format!("{} {}", config.nginx, args.join(" "));
    config
        .container
        .as_ref()
        .map_or_else(|| command.clone(), |name| format!("docker exec {name} {command}"))
}

/// Asks for the version.
pub fn version<H: Host>(host: &H, config: &Config) -> Result<Version, Failure> {
    let output = run(host, config, vec!["-v".into()])?;
    let text = output.text();
    if output.status != Some(0) {
        return Err(Failure::unavailable(format!(
            "`{}` did not print its version: {}",
            spell(config, &["-v".into()]),
            text.trim()
        )));
    }
    Version::read(&text).ok_or_else(|| {
        Failure::unsupported(format!(
            "`{}` does not behave like NGINX: {}",
            spell(config, &["-v".into()]),
            text.trim()
        ))
    })
}

/// Tests the configuration on the disk. The inner error is NGINX's own message.
pub fn test<H: Host>(host: &H, config: &Config) -> Result<Result<(), String>, Failure> {
    let output = run(host, config, with_base(config, &["-t"]))?;
    Ok(if output.status == Some(0) { Ok(()) } else { Err(said(&output)) })
}

/// What reading the configuration on the disk gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Dumped {
    /// All of it; it is valid.
    Whole(Dump),
    /// It is valid, and longer than the host keeps of a program's output.
    TooLong,
    /// It is not valid; NGINX's own message.
    Invalid(String),
}

/// Reads the configuration on the disk; it is tested on the way.
pub fn dump<H: Host>(host: &H, config: &Config) -> Result<Dumped, Failure> {
    let output = run(host, config, with_base(config, &["-T"]))?;
    Ok(match output.status {
        Some(0) if output.truncated => Dumped::TooLong,
        Some(0) => Dumped::Whole(Dump::read(&String::from_utf8_lossy(&output.stdout))),
        _ => Dumped::Invalid(said(&output)),
    })
}

/// What came of telling the master to load what is on the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// It was told, which does not mean that it loads it.
    Yes,
    /// It was not told, in the words of NGINX's own program.
    Refused(String),
    /// The answer was lost, or is not NGINX's: the master may have been told.
    Unknown(Failure),
}

/// Tells the master to load what is on the disk.
pub fn reload<H: Host>(host: &H, config: &Config) -> Told {
    if config.reload == Reload::Signal {
        return host.signal(&config.target(), "HUP").map_or_else(Told::Unknown, |()| Told::Yes);
    }
    let args = with_base(config, &["-s", "reload"]);
    match run(host, config, args.clone()) {
        Ok(output) if output.status == Some(0) => Told::Yes,
        // The program sends the signal last: what it complains about by itself came before that.
        Ok(output)
            if output.status.is_some() && output.text().lines().any(|line| is_grave(&line)) =>
        {
            Told::Refused(said(&output))
        }
        Ok(output) => Told::Unknown(Failure::rejected(format!(
            "`{}` failed: {}",
            spell(config, &args),
            said(&output)
        ))),
        Err(failure) => Told::Unknown(failure),
    }
}

fn is_grave(line: &&str) -> bool {
    ["[emerg]", "[alert]", "[crit]", "[error]"].iter().any(|level| line.contains(level))
}

/// What the program said, verbatim: the lines that say why it failed, or all where none does.
fn said(output: &Output) -> String {
    let text = output.text();
    let lines: Vec<&str> =
        text.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
    let because: Vec<&str> = lines.iter().copied().filter(is_grave).collect();
    match (because.is_empty(), lines.is_empty()) {
        (false, _) => because.join("\n"),
        (true, false) => lines.join("\n"),
        (true, true) => {
            let signal = label(&output.labels, "signal")
                .map_or_else(String::new, |signal| format!(", ended by signal {signal}"));
            format!("no message, exit status {:?}{signal}", output.status)
        }
    }
}

/// What to do about a message of NGINX, where that is known.
pub fn hint(message: &str) -> Option<String> {
    let directive = [
        "variables_hash_bucket_size",
        "map_hash_bucket_size",
        "server_names_hash_bucket_size",
        "variables_hash_max_size",
    ]
    .into_iter()
    .find(|directive| message.contains(directive));
    if let Some(directive) = directive {
        return Some(format!("put `{directive} 128;` in the `http` block"));
    }
    if message.contains("Permission denied") {
        return Some(AS_THE_MASTER.into());
    }
    message
        .contains("host not found in upstream")
        .then(|| "use addresses, or names that NGINX's machine can resolve".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_is_told_without_what_is_beside_it() {
        let output = |text: &str| Output {
            status: Some(1),
            stdout: Vec::new(),
            stderr: text.into(),
            truncated: false,
            labels: Vec::new(),
        };
        let text = "[warn] the \"user\" directive\nnginx: the configuration file /c syntax is \
                    ok\n2026/11/22 [emerg] 7#7: open() failed\nnginx: configuration file /c test \
                    failed\n";
        assert_eq!(said(&output(text)), "2026/11/22 [emerg] 7#7: open() failed");
        assert_eq!(said(&output("sudo: a password is required\n")), "sudo: a password is required");
        assert_eq!(said(&output("")), "no message, exit status Some(1)");
    }

    #[test]
    fn versions_are_read_and_ordered() {
        assert_eq!(Version::read("nginx version: nginx/1.22.1\n"), Some(Version(1, 22, 1)));
        assert_eq!(Version::read("nginx version: openresty/1.25.3.2 (x)"), Some(Version(1, 25, 3)));
        assert_eq!(Version::read("lighttpd"), None);
        assert!(Version(1, 27, 10) > KEEPALIVE_MIN_TIMEOUT);
    }
}
