//! One process: it lives, dies, is stopped and goes on.

use super::Sim;
use crate::time::Time;
use agente_engine::fault::Fault;
use std::future::Future;
use std::pin::Pin;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

/// One process.
#[derive(Default)]
pub struct Host {
    /// From 1, as they come.
    number: AtomicU64,
    /// What the engine sets while what a step does is wanted no more.
    pub cancelled: AtomicBool,
    /// Why somebody wants it to stop who can't say so in the mailbox.
    pub interrupted: OnceLock<Fault>,
    dead: AtomicBool,
    /// Until when it is stopped; 0 where it never was.
    frozen_until: AtomicU64,
    /// The token of its lease.
    fence: AtomicU64,
    /// Since when its prober runs, and one more; 0 where it does not.
    probing_since: AtomicU64,
}

impl Host {
    pub fn new(number: u64) -> Self {
        Self { number: AtomicU64::new(number), ..Self::default() }
    }

    pub fn number(&self) -> u64 {
        self.number.load(Ordering::Relaxed)
    }

    /// Another process in the place of this one.
    pub fn begins_anew(&self, number: u64) {
        self.number.store(number, Ordering::Relaxed);
        self.dead.store(false, Ordering::Relaxed);
        self.cancelled.store(false, Ordering::Relaxed);
        self.freezes(0);
        self.probes_anew();
    }

    pub fn dies(&self) {
        self.dead.store(true, Ordering::Relaxed);
    }

    pub fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Relaxed)
    }

    pub fn freezes(&self, until: u64) {
        self.frozen_until.store(until, Ordering::Relaxed);
    }

    pub fn is_frozen(&self, now: u64) -> bool {
        now < self.frozen_until.load(Ordering::Relaxed)
    }

    pub fn was_frozen(&self) -> bool {
        self.frozen_until.load(Ordering::Relaxed) > 0
    }

    pub fn fence(&self) -> u64 {
        self.fence.load(Ordering::Relaxed)
    }

    /// Has the lease with this token from here on.
    pub fn holds(&self, fence: u64) {
        self.fence.store(fence, Ordering::Relaxed);
    }

    pub fn probing_since(&self) -> Option<u64> {
        self.probing_since.load(Ordering::Relaxed).checked_sub(1)
    }

    pub fn probes(&self, now: u64) {
        if self.probing_since().is_none() {
            self.probing_since.store(now + 1, Ordering::Relaxed);
        }
    }

    /// Its prober has sent nothing yet.
    pub fn probes_anew(&self) {
        self.probing_since.store(0, Ordering::Relaxed);
    }
}

/// The work of a host: it stands still while the host is stopped.
pub struct Work<F> {
    sim: Sim,
    future: Pin<Box<F>>,
}

impl<F: Future> Future for Work<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        if self.sim.host.is_frozen(self.sim.now()) {
            return Poll::Pending;
        }
        self.future.as_mut().poll(context)
    }
}

impl Sim {
    /// Does something as this host.
    pub fn work<F: Future>(&self, future: F) -> Work<F> {
        Work { sim: self.clone(), future: Box::pin(future) }
    }

    /// A dead process does nothing more, in none of its branches.
    pub(super) async fn stays_dead(&self) {
        if self.host.is_dead() {
            std::future::pending::<()>().await;
        }
    }

    pub fn now(&self) -> u64 {
        Time::now(&self.time).0
    }

    /// Waits until this host is stopped.
    pub async fn frozen(&self) {
        while !self.host.is_frozen(self.now()) {
            self.time.sleep(Duration::from_millis(10)).await;
        }
    }
}
