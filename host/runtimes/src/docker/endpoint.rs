//! Where a Docker Engine is reached, and within which time limits it is expected to answer.

use agente_engine::fault::{Fault, FaultKind};
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// The socket of a Docker Engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// A unix socket.
    Unix(PathBuf),
    /// `host:port`, without TLS: for an engine behind a tunnel of one's own.
    Tcp(String),
}

impl Endpoint {
    /// Where an engine is unless somebody says otherwise.
    pub fn usual() -> Self {
        Endpoint::Unix(PathBuf::from("/var/run/docker.sock"))
    }

    /// Reads what `DOCKER_HOST` may hold; none and an empty text mean the usual socket.
    ///
    /// # Errors
    ///
    /// [`FaultKind::InvalidConfig`] for a scheme that isn't spoken here (`ssh://`, `https://` …).
    pub fn of_docker_host(value: Option<&str>) -> Result<Self, Fault> {
        match value.map(str::trim) {
            None | Some("") => Ok(Self::usual()),
            Some(text) => Self::parse(text),
        }
    }

    /// Reads `unix:///path`, an absolute path, or `tcp://host:port`.
    ///
    /// # Errors
    ///
    /// [`FaultKind::InvalidConfig`] for anything else.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        let path = text.strip_prefix("unix://").unwrap_or(text);
        if path.starts_with('/') {
            return Ok(Endpoint::Unix(PathBuf::from(path)));
        }
        match text.strip_prefix("tcp://").or_else(|| text.strip_prefix("http://")) {
            Some(address) if !address.is_empty() && !address.contains('/') => {
                Ok(Endpoint::Tcp(address.to_owned()))
            }
            _ => Err(Fault::new(
                FaultKind::InvalidConfig,
                format!("`{text}` is not a Docker Engine address that agente-host supports"),
            )
            .hint(
                "give `unix:///path/to/docker.sock` or `tcp://host:port`; an engine on another \
                 machine is reached by running agente-host there",
            )),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Endpoint::Unix(path) => write!(f, "unix://{}", path.display()),
            Endpoint::Tcp(address) => write!(f, "tcp://{address}"),
        }
    }
}

/// How an engine is used.
#[derive(Debug, Clone)]
pub struct DockerSettings {
    pub endpoint: Endpoint,
    /// The id of the store whose containers are ours.
    pub store: String,
    /// How long an ordinary question may take.
    pub call_timeout: Duration,
    /// How long creating or starting a container may take: volumes and networks are made there.
    pub start_timeout: Duration,
    /// How long a pull may take in all.
    pub pull_timeout: Duration,
    /// How long a pull may go without any progress.
    pub pull_stall: Duration,
    /// A file in the form of Docker's own `config.json`, for registries that want credentials.
    pub credentials: Option<PathBuf>,
    /// The free space that must be left on the engine's disk.
    pub min_free_disk_bytes: u64,
}

impl DockerSettings {
    /// Settings with the usual limits: 10 s for a question, 60 s for a start, 15 minutes for a pull
    /// that stalls for at most one.
    pub fn new(endpoint: Endpoint, store: impl Into<String>) -> Self {
        Self {
            endpoint,
            store: store.into(),
            call_timeout: Duration::from_secs(10),
            start_timeout: Duration::from_mins(1),
            pull_timeout: Duration::from_mins(15),
            pull_stall: Duration::from_mins(1),
            credentials: None,
            min_free_disk_bytes: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_forms_of_docker_host_are_read() {
        assert_eq!(
            Endpoint::of_docker_host(None),
            Ok(Endpoint::Unix("/var/run/docker.sock".into()))
        );
        assert_eq!(
            Endpoint::of_docker_host(Some("unix:///run/d.sock")),
            Ok(Endpoint::Unix("/run/d.sock".into()))
        );
        assert_eq!(Endpoint::parse("/run/d.sock"), Ok(Endpoint::Unix("/run/d.sock".into())));
        assert_eq!(
            Endpoint::parse("tcp://127.0.0.1:2375"),
            Ok(Endpoint::Tcp("127.0.0.1:2375".into()))
        );
    }

    #[test]
    fn a_scheme_that_is_not_spoken_is_refused_with_what_to_give() {
        for bad in ["ssh://me@there", "https://there:2376", "there:2375", "tcp://"] {
            let fault = Endpoint::parse(bad).expect_err(bad);
            assert_eq!(fault.kind, FaultKind::InvalidConfig);
            assert!(fault.hint.is_some_and(|hint| hint.contains("unix://")), "no hint for `{bad}`");
        }
    }
}
