//! What a decision depends on beside the rules.

use crate::address::{Origin, host_and_port};
use serde::Serialize;

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

/// The circumstances of an operation that decisions depend on.
#[derive(Debug, Clone, Default)]
pub struct Circumstances {
    /// `host:port` of each backend of the deployment.
    pub backends: Vec<String>,
    /// The service's public URL.
    pub public_url: Option<String>,
}

impl Circumstances {
    pub(super) fn has_backend(&self, host: &str, port: u16) -> bool {
        self.backends.iter().any(|address| {
            host_and_port(address).is_some_and(|backend| backend == (host.to_owned(), port))
        })
    }

    /// Whether a host is one that a rule of secrets names.
    pub(super) fn grants_host(&self, granted: &str, host: &str) -> bool {
        match granted {
            "@backends" => self
                .backends
                .iter()
                .any(|address| host_and_port(address).is_some_and(|(backend, _)| backend == host)),
            "@public" => self.public_origin().is_some_and(|origin| origin.host == host),
            granted => granted == host,
        }
    }

    /// The origin of the service's public URL.
    pub(super) fn public_origin(&self) -> Option<Origin> {
        Origin::parse(self.public_url.as_deref()?)
    }
}
