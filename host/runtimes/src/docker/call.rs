//! One call of the engine, within a time limit of ours, and what its failures mean.
//!
//! Every call goes through [`Engine::within`]: a missing socket, one without permission, one that
//! nobody answers and an engine that says no are told apart here and nowhere else.

use super::endpoint::{DockerSettings, Endpoint};
use super::in_flight::InFlight;
use agente_engine::fault::{Fault, FaultKind};
use bollard::Docker;
use bollard::errors::Error;
use std::error::Error as _;
use std::future::Future;
use std::io;
use std::time::Duration;

/// bollard's own limit covers only the head of an answer and counts whole seconds; ours is always
/// shorter.
const BOLLARD_TIMEOUT_SECONDS: u64 = 24 * 3600;

/// A failed call: the engine's status, where it answered at all, and the fault to show.
#[derive(Debug)]
pub(crate) struct CallError {
    pub(crate) status: Option<u16>,
    /// What the engine said; empty where it didn't answer.
    pub(crate) said: String,
    pub(crate) fault: Fault,
}

impl From<CallError> for Fault {
    fn from(error: CallError) -> Self {
        error.fault
    }
}

impl CallError {
    /// Whether the thing isn't there.
    pub(crate) fn is_absent(&self) -> bool {
        self.status == Some(404)
    }

    /// Whether it is in another state than the call needs, or the name is taken.
    pub(crate) fn is_conflict(&self) -> bool {
        self.status == Some(409)
    }
}

/// A Docker Engine.
#[derive(Debug, Clone)]
pub(crate) struct Engine {
    pub(crate) settings: DockerSettings,
    in_flight: InFlight,
}

impl Engine {
    pub(crate) fn new(settings: DockerSettings) -> Self {
        Self { settings, in_flight: InFlight::default() }
    }

    /// The same under another endpoint. What is under way is known to both.
    pub(crate) fn at(&self, endpoint: Endpoint) -> Self {
        let settings = DockerSettings { endpoint, ..self.settings.clone() };
        Self { settings, in_flight: self.in_flight.clone() }
    }

    /// A client. Connections are made per call, so this never waits.
    pub(crate) fn client(&self) -> Result<Docker, Fault> {
        let made = match &self.settings.endpoint {
            Endpoint::Unix(path) => Docker::connect_with_unix(
                &path.to_string_lossy(),
                BOLLARD_TIMEOUT_SECONDS,
                bollard::API_DEFAULT_VERSION,
            ),
            Endpoint::Tcp(address) => Docker::connect_with_http(
                &format!("tcp://{address}"),
                BOLLARD_TIMEOUT_SECONDS,
                bollard::API_DEFAULT_VERSION,
            ),
        };
        made.map_err(|error| self.explain("be reached", error).fault)
    }

    /// Waits for an answer, at most `limit`. `what` completes “the engine could not …”.
    pub(crate) async fn within<T>(
        &self,
        limit: Duration,
        what: &str,
        call: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, CallError> {
        match tokio::time::timeout(limit, call).await {
            Ok(answer) => answer.map_err(|error| self.explain(what, error)),
            Err(_) => Err(CallError {
                status: None,
                said: String::new(),
                fault: self.silent(what, limit),
            }),
        }
    }

    /// Makes a call that changes a container, and waits for its answer at most `limit`. Where the
    /// caller leaves or the time is over, the call goes on, and [`Engine::settled`] waits for it.
    pub(crate) async fn change<T: Send + 'static>(
        &self,
        container: &str,
        limit: Duration,
        what: &str,
        call: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Result<T, CallError> {
        match self.in_flight.call(&self.about(container), limit, call).await {
            Some(answer) => answer.map_err(|error| self.explain(what, error)),
            None => Err(CallError {
                status: None,
                said: String::new(),
                fault: self.silent(what, limit),
            }),
        }
    }

    /// Waits until the engine has answered what earlier callers asked of a container and did not
    /// stay for: else it could still make or start what this caller looks for in vain.
    pub(crate) async fn settled(&self, container: &str) -> Result<(), Fault> {
        let limit = self.settings.start_timeout;
        if self.in_flight.settled(&self.about(container), limit).await {
            return Ok(());
        }
        let what = format!("finish an earlier call for the container `{container}`");
        Err(self.silent(&what, limit))
    }

    /// Does something about a container in the background; [`Engine::settled`] waits for it.
    pub(crate) fn leave(&self, container: &str, work: impl Future<Output = ()> + Send + 'static) {
        self.in_flight.leave(&self.about(container), work);
    }

    fn about(&self, container: &str) -> String {
        format!("{} {container}", self.settings.endpoint)
    }

    /// Waits for the answer to an ordinary question.
    pub(crate) async fn ask<T>(
        &self,
        what: &str,
        call: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, CallError> {
        self.within(self.settings.call_timeout, what, call).await
    }

    /// The fault of an engine that did not answer in time.
    pub(crate) fn silent(&self, what: &str, limit: Duration) -> Fault {
        let endpoint = &self.settings.endpoint;
        Fault::new(
            FaultKind::TimedOut,
            format!(
                "the Docker Engine at `{endpoint}` did not answer within {limit:?} when asked to \
                 {what}"
            ),
        )
        .hint(format!(
            "check whether `docker --host {endpoint} info` answers; if it hangs too, restart the \
             engine"
        ))
        .retryable()
    }

    /// Says what an error of the client means.
    pub(crate) fn explain(&self, what: &str, error: Error) -> CallError {
        let endpoint = &self.settings.endpoint;
        match error {
            Error::DockerResponseServerError { status_code, message } => {
                let kind = match status_code {
                    400 => FaultKind::InvalidConfig,
                    401 | 403 => FaultKind::Denied,
                    409 => FaultKind::Conflict,
                    503 => FaultKind::Unavailable,
                    _ => FaultKind::Failed,
                };
                let fault = refine(
                    Fault::new(
                        kind,
                        format!("the Docker Engine could not {what}: {}", one_line(&message)),
                    ),
                    &message,
                );
                CallError { status: Some(status_code), said: message, fault }
            }
            Error::DockerStreamError { error: message } => {
                let fault = refine(
                    Fault::new(
                        FaultKind::Failed,
                        format!("the Docker Engine could not {what}: {}", one_line(&message)),
                    ),
                    &message,
                );
                CallError { status: None, said: message, fault }
            }
            Error::SocketNotFoundError(path) => CallError {
                status: None,
                said: String::new(),
                fault: Fault::new(
                    FaultKind::Unavailable,
                    format!("no Docker Engine is running here: there is no socket `{path}`"),
                )
                .hint("start it (`systemctl start docker`), or set `DOCKER_HOST` to its socket"),
            },
            Error::RequestTimeoutError => CallError {
                status: None,
                said: String::new(),
                fault: self.silent(what, self.settings.call_timeout),
            },
            other => {
                let fault = match io_kind(&other) {
                    Some(io::ErrorKind::PermissionDenied) => Fault::new(
                        FaultKind::Denied,
                        format!(
                            "this user has no permission to use the Docker Engine at \
                        `{endpoint}`"
                        ),
                    )
                    .hint(
                        "add the user to the group `docker` and log in again, or run as a user \
                        who has access",
                    ),
                    Some(io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound) => Fault::new(
                        FaultKind::Unavailable,
                        format!("no Docker Engine answers at `{endpoint}`"),
                    )
                    .hint("start it: `systemctl start docker`; its log: `journalctl -u docker`")
                    .retryable(),
                    _ => Fault::new(
                        FaultKind::Unavailable,
                        format!(
                            "the connection to the Docker Engine at `{endpoint}` broke while it \
                            was asked to {what}"
                        ),
                    )
                    .hint("check whether the engine restarted: `journalctl -u docker`")
                    .retryable(),
                };
                CallError { status: None, said: String::new(), fault: fault.because(&other) }
            }
        }
    }
}

/// What the engine's own words say beyond its status.
fn refine(mut fault: Fault, said: &str) -> Fault {
    if said.contains("no space left on device") {
        fault.kind = FaultKind::Failed;
        return fault.hint("the engine's disk is full: `docker system df` shows what uses it");
    }
    fault
}

/// The first kind of input/output error among the causes.
fn io_kind(error: &Error) -> Option<io::ErrorKind> {
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = next {
        if let Some(io) = error.downcast_ref::<io::Error>() {
            return Some(io.kind());
        }
        next = error.source();
    }
    match error {
        Error::IOError { err } => Some(err.kind()),
        Error::HyperLegacyError { err } => {
            let mut next = err.source();
            while let Some(error) = next {
                if let Some(io) = error.downcast_ref::<io::Error>() {
                    return Some(io.kind());
                }
                next = error.source();
            }
            None
        }
        _ => None,
    }
}

/// A message of the engine as one line of bearable length.
pub(crate) fn one_line(message: &str) -> String {
    let joined = message.split_whitespace().collect::<Vec<_>>().join(" ");
    match joined.char_indices().nth(600) {
        Some((end, _)) => format!("{}…", joined.get(..end).unwrap_or_default()),
        None => joined,
    }
}
