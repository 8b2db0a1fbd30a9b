//! The ports that one deployment runs with.

use crate::context::Ports;
use crate::fault::Fault;
use crate::ports::{
    Clock, HealthCheck, Journal, JournalObserver, Mailbox, MetricSource, Prober, Runtime,
    TargetLocks, TrafficSwitcher,
};
use std::sync::OnceLock;
use std::sync::atomic::AtomicBool;

/// The ports that one deployment runs with.
#[derive(Clone, Copy)]
pub struct World<'a> {
    /// Starts and stops backends.
    pub runtime: &'a dyn Runtime,
    /// Changes the target.
    pub switcher: &'a dyn TrafficSwitcher,
    /// Asks checks.
    pub checks: &'a dyn HealthCheck,
    /// Reads numbers for analysis.
    pub metrics: &'a dyn MetricSource,
    /// Our outside requests, where the policy has them.
    pub prober: Option<&'a dyn Prober>,
    /// Remembers what was done.
    pub journal: &'a dyn Journal,
    /// Brings decisions.
    pub mailbox: &'a dyn Mailbox,
    /// Whose turn it is at the target.
    pub targets: &'a dyn TargetLocks,
    /// Set while what a step does is wanted no more; plugins read it by `context.cancelled()`.
    pub cancelled: &'a AtomicBool,
    /// Why somebody wants the deployment back who could not leave that in the mailbox: on a full
    /// disk, and before the first entry.
    pub interrupted: &'a OnceLock<Fault>,
    /// Time.
    pub clock: &'a dyn Clock,
    /// Who watches.
    pub observer: &'a dyn JournalObserver,
}

impl<'a> World<'a> {
    /// What steps may use of it.
    pub(crate) fn ports(&self) -> Ports<'a> {
        Ports {
            runtime: self.runtime,
            switcher: self.switcher,
            checks: self.checks,
            metrics: self.metrics,
            prober: self.prober,
            targets: self.targets,
            cancelled: self.cancelled,
            clock: self.clock,
            observer: self.observer,
        }
    }
}
