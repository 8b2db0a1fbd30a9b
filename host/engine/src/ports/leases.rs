//! Leases: who may change a service.

use crate::fault::{Fault, FaultKind};
use crate::names::{DeploymentId, Scope, Timestamp};
use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

/// How often a holder says that it lives, and asks whether it still is the holder.
pub const HEARTBEAT: Duration = Duration::from_secs(2);
/// How long a holder goes on believing without being told that it still is the holder: shorter than
/// [`SILENCE`], so that it stops before anybody takes it for dead.
pub const BELIEF: Duration = Duration::from_secs(10);
/// After how long without a sign of life a holder counts as silent: several heartbeats, and longer
/// than a write may wait for the disk.
pub const SILENCE: Duration = Duration::from_secs(15);

/// The proof of holding the lease: grows with each holder of a scope.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, JsonSchema, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Fence(pub u64);

/// The process that holds a lease, so that others can find it and tell people about it.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct Holder {
    pub user: String,
    /// The machine's name.
    pub host: String,
    /// The process's number.
    pub pid: u32,
    /// When the process started, in the kernel's ticks since boot.
    pub started: u64,
    /// What was typed, for people.
    pub command: String,
    /// The kernel's id of this boot: the same for all containers of a machine, another after a
    /// reboot.
    pub boot: String,
    /// The namespace that the process's number belongs to.
    pub pid_namespace: String,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}@{}`, process {} (`{}`)", self.user, self.host, self.pid, self.command)
    }
}

/// Whether a holder lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, JsonSchema, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Liveness {
    /// It gives signs of life.
    Alive,
    /// It has not let go and has given no sign of life for a while.
    Silent,
    /// It has not let go, and a signal has stopped it.
    Stopped,
    /// It has died. Whoever wants the lease gets it.
    Gone,
}

/// A lease that somebody has, or had when they died.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema, Serialize)]
pub struct Holding {
    pub scope: Scope,
    pub holder: Holder,
    /// The newest token: theirs, or the one that they were passed over with.
    pub fence: Fence,
    pub acquired: Timestamp,
    /// Their last sign of life.
    pub heartbeat: Timestamp,
    /// The deployment of the scope that has not ended, if there is one.
    pub deployment: Option<DeploymentId>,
    /// Whether they live.
    pub liveness: Liveness,
    /// When all this was looked at.
    #[serde(skip)]
    pub seen: Timestamp,
}

impl fmt::Display for Holding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} for {} s", self.holder, self.seen.since(self.acquired).as_secs())?;
        if let Some(deployment) = &self.deployment {
            write!(f, ", deployment `{deployment}`")?;
        }
        match self.liveness {
            Liveness::Alive => Ok(()),
            Liveness::Silent => {
                write!(f, "; unresponsive for {} s", self.seen.since(self.heartbeat).as_secs())
            }
            Liveness::Stopped => write!(f, "; it is stopped"),
            Liveness::Gone => write!(f, "; it has died"),
        }
    }
}

/// Why a lease was not given.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LeaseError {
    /// Somebody else has it.
    #[error("the lease of {} is held by {}", .0.scope, .0)]
    Held(Box<Holding>),
    /// The owner was passed over, but it lives and has not let go.
    #[error("the lease of {} was taken over from {}, which still runs after {} s", .holding.scope, .holding, .waited.as_secs())]
    StillRuns {
        holding: Box<Holding>,
        /// How long it was waited for.
        waited: Duration,
    },
    /// The store can't be used, or nobody can tell who has the lease.
    #[error("{0}")]
    Unavailable(Fault),
}

impl From<LeaseError> for Fault {
    fn from(error: LeaseError) -> Fault {
        let message = error.to_string();
        match error {
            LeaseError::Held(holding) => {
                let hint = match holding.liveness {
                    Liveness::Alive | Liveness::Gone => {
                        "wait with `--lock-wait`, follow it with `agente-host status --follow`, \
                        or stop it with `agente-host abort`"
                    }
                    Liveness::Silent | Liveness::Stopped => {
                        "`agente-host abort` takes the lease over"
                    }
                };
                Fault::new(FaultKind::LeaseLost, message).hint(hint).retryable()
            }
            LeaseError::StillRuns { holding, .. } => {
                let hint = format!(
                    "what it does is no longer journaled; kill process {} on `{}`, then try again",
                    holding.holder.pid, holding.holder.host
                );
                Fault::new(FaultKind::LeaseLost, message).hint(hint).retryable()
            }
            LeaseError::Unavailable(fault) => fault,
        }
    }
}

/// The right to change a service. Given back by [`Lease::release`], by drop, and by death.
#[async_trait]
pub trait Lease: fmt::Debug + Send + Sync {
    /// The token that each entry of the journal is written under.
    fn fence(&self) -> Fence;

    /// What it is the lease of.
    fn scope(&self) -> &Scope;

    /// Waits until the lease is lost, and says how; for ever while it is held. Known within one
    /// [`HEARTBEAT`] of somebody's taking it over; at the first look where nobody looked for longer
    /// than that; and as soon as the holder has not been able to tell for [`BELIEF`]. By the time
    /// that passes, whatever the clock on the wall is set to. May be asked by several at once,
    /// before and after; asking keeps nobody from anything when it is dropped.
    async fn lost(&self) -> Fault;

    /// Gives the lease back, so that nobody need wonder what became of its holder. A lease that was
    /// taken over meanwhile stays its new holder's.
    async fn release(self: Box<Self>) -> Result<(), Fault>;
}

/// Gives leases, one of each scope at a time: nobody gets one before the last holder has let go or
/// died, and each holder's token is newer than every token before.
#[async_trait]
pub trait Leases: Send + Sync {
    /// Takes the lease of a scope: at once if it is free or its holder has died, else when it gets
    /// free within `wait`. A holder that lives keeps it, however silent it is and whatever the clock
    /// on the wall is set to, and so does the caller itself if it has it already. Where nobody can
    /// see whether it lives, it keeps it until it has been silent for [`SILENCE`]: by then it has
    /// stopped. A call that is dropped leaves the lease free.
    async fn acquire(
        &self,
        scope: &Scope,
        holder: Holder,
        wait: Option<Duration>,
    ) -> Result<Box<dyn Lease>, LeaseError>;

    /// Takes the lease of a scope away from an owner that does not answer. From the first moment on
    /// nothing more is written under the old token. One that is stopped on this machine is killed;
    /// any other then has `wait` to let go, and hears of it within one heartbeat. Of several that
    /// take over at once one gets the lease, and its token counts. A call that is dropped, or whose
    /// `wait` ends, leaves the old owner passed over all the same.
    async fn take_over(
        &self,
        scope: &Scope,
        holder: Holder,
        wait: Duration,
    ) -> Result<Box<dyn Lease>, LeaseError>;

    /// Who holds the lease of a scope, or held it when they died; none if it was given back or
    /// never taken. A lease that was dropped counts as the one or the other. Changes nothing.
    async fn holding(&self, scope: &Scope) -> Result<Option<Holding>, Fault>;
}
