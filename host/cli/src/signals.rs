//! SIGINT, SIGTERM, SIGUSR1 and SIGHUP: heard from the start of a command on, so that none is lost while
//! plugins load and none ends a deployment half-way.

use crate::error::{CliError, Exit};
use std::sync::Arc;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// The name of the signal by which an `abort` from elsewhere is told that can't be written down.
const TOLD: &str = "SIGUSR1 of `agente-host abort`";

/// What was heard so far.
#[derive(Debug, Clone, Copy, Default)]
struct Heard {
    interrupts: u32,
    terminates: u32,
    /// The name of the newest.
    newest: Option<&'static str>,
    /// Whether a deployment was begun or taken up, which then decides what a signal means.
    driving: bool,
}

/// SIGINT and SIGTERM of this process. SIGINT counts also where it was inherited as ignored, as by
/// background jobs of a shell: whoever sends it to a deployment means it.
#[derive(Clone)]
pub(crate) struct Signals {
    heard: Arc<watch::Sender<Heard>>,
}

impl Signals {
    /// Begins to listen; from now on neither signal ends this process by itself.
    pub(crate) fn listen() -> Self {
        let heard = Arc::new(watch::Sender::new(Heard::default()));
        let listened =
            [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::user_defined1()]
                .map(signal);
        match listened {
            [Ok(mut interrupt), Ok(mut terminate), Ok(mut told)] => {
                let heard = Arc::clone(&heard);
                tokio::spawn(async move {
                    loop {
                        tokio::select! {
                            Some(()) = interrupt.recv() => heard.send_modify(|heard| {
                                heard.interrupts += 1;
                                heard.newest = Some("SIGINT");
                            }),
                            Some(()) = terminate.recv() => heard.send_modify(|heard| {
                                heard.terminates += 1;
                                heard.newest = Some("SIGTERM");
                            }),
                            // As often as it comes, it is one request.
                            Some(()) = told.recv() => heard.send_modify(|heard| {
                                heard.newest = Some(TOLD);
                            }),
                            else => return,
                        }
                    }
                });
            }
            [Err(error), ..] | [_, Err(error), _] | [.., Err(error)] => {
                tracing::warn!("can't listen for signals: {error}");
            }
        }
        Self { heard }
    }

    /// Runs a command that will begin or take up a deployment; a signal before that ends it.
    pub(crate) async fn heeded_until_driving<T>(
        &self,
        command: impl Future<Output = Result<T, CliError>>,
    ) -> Result<T, CliError> {
        tokio::select! {
            biased;
            name = self.wait(|heard| !heard.driving && heard.newest.is_some()) => {
                let message = format!("stopped by {name} before a deployment was opened");
                Err(CliError::new(Exit::Failed, message)
                    .hint("`agente-host status` shows what is live"))
            }
            result = command => result,
        }
    }

    /// From now on a deployment decides what a signal means.
    pub(crate) fn driving(&self) {
        self.heard.send_modify(|heard| heard.driving = true);
    }

    /// Waits for a signal, also for one that came before; gives its name.
    pub(crate) async fn first(&self) -> &'static str {
        self.wait(|heard| heard.newest.is_some()).await
    }

    /// Waits until one of the signals has come twice. SIGTERM after SIGINT, as a CI server cancels
    /// a job, is one request and not two.
    pub(crate) async fn insisted(&self) -> &'static str {
        self.wait(|heard| heard.interrupts > 1 || heard.terminates > 1).await
    }

    async fn wait(&self, until: impl Fn(&Heard) -> bool) -> &'static str {
        let mut heard = self.heard.subscribe();
        match heard.wait_for(until).await {
            Ok(heard) => heard.newest.unwrap_or_default(),
            // Never: the sender is ours.
            Err(_) => std::future::pending().await,
        }
    }
}

/// Waits for SIGINT or SIGTERM; a closed terminal changes nothing.
pub(crate) async fn asked_to_stop() {
    ignore_hangup();
    Signals::listen().first().await;
}

/// From now on a closed terminal ends nothing of this process.
pub(crate) fn ignore_hangup() {
    // Listened to once, the signal never does again what it did by default.
    if let Err(error) = signal(SignalKind::hangup()) {
        tracing::warn!("SIGHUP can't be ignored: {error}");
    }
}
