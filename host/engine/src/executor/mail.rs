//! Reading what operators have decided, and saying so when that can't be read.

use crate::journal::Decision;
use crate::names::DeploymentId;
use crate::ports::{Clock, Mailbox, Observer, Progress};
use crate::words::span;
use crate::world::World;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How long the mailbox may be unreadable before somebody is told: a store that is busy for a
/// moment is read the next time.
const PATIENCE: Duration = Duration::from_secs(1);

/// The mailbox of one deployment.
#[derive(Clone)]
pub(super) struct Mail<'a> {
    mailbox: &'a dyn Mailbox,
    clock: &'a dyn Clock,
    observer: &'a dyn Observer,
    deployment: DeploymentId,
    deafness: Arc<Mutex<Deafness>>,
}

/// Since when nothing is heard, and how long that was at most.
#[derive(Default)]
struct Deafness {
    since: Option<Duration>,
    told: bool,
    longest: Duration,
    why: String,
}

impl<'a> Mail<'a> {
    pub(super) fn new(world: &World<'a>, deployment: DeploymentId) -> Self {
        let World { mailbox, clock, observer, .. } = *world;
        Self { mailbox, clock, observer, deployment, deafness: Arc::default() }
    }

    /// The decisions beyond number `after`; none while they can't be read, which is told. `step`:
    /// what runs meanwhile.
    pub(super) async fn read(&self, step: Option<usize>, after: u64) -> Vec<Decision> {
        let read = self.mailbox.decisions(&self.deployment, after).await;
        let now = self.clock.elapsed();
        let mut deafness = self.deafness.lock().unwrap_or_else(PoisonError::into_inner);
        let message = match &read {
            Ok(_) => {
                deafness.since = None;
                std::mem::take(&mut deafness.told).then(|| {
                    "operator decisions can be read \
                again"
                        .to_owned()
                })
            }
            Err(fault) => {
                let for_so_long = now.saturating_sub(*deafness.since.get_or_insert(now));
                deafness.longest = deafness.longest.max(for_so_long);
                deafness.why.clone_from(&fault.message);
                let tell = for_so_long >= PATIENCE && !deafness.told;
                deafness.told |= tell;
                tell.then(|| {
                    format!(
                        "operator decisions can't be read, so an abort has no effect until \
                    they can: {fault}"
                    )
                })
            }
        };
        drop(deafness);
        if let Some(message) = message {
            self.observer.tell(Progress::Waiting { step, message });
        }
        read.unwrap_or_default()
    }

    /// For the outcome: how long nothing was heard, if that was long.
    pub(super) fn note(&self) -> Option<String> {
        let deafness = self.deafness.lock().unwrap_or_else(PoisonError::into_inner);
        (deafness.longest >= PATIENCE).then(|| {
            format!(
                "operator decisions could not be read for {}: {}",
                span(deafness.longest),
                deafness.why
            )
        })
    }
}
