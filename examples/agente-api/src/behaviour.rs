//! How well the service behaves: ready or not, failing, slow, leaking.
//!
//! Which request is hit by a share is drawn from its number alone, so that the same run hits the
//! same requests.

use std::future::pending;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hyper::Method;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::options::Options;

/// The workers of a service that leaks them.
const LEAKING_WORKERS: usize = 50;
/// One request in this many takes its worker with it.
const LEAK_EVERY: u64 = 10;
/// What such a request leaves behind.
const LEAKED_BYTES: usize = 64 * 1024;

/// Decides for each request whether and how it goes wrong.
pub(crate) struct Behaviour {
    options: Options,
    started: Instant,
    requests: AtomicU64,
    workers: Semaphore,
    leaked: Mutex<Vec<Vec<u8>>>,
}

/// A worker that serves one request, where workers are few.
pub(crate) struct Worker<'a>(
    #[expect(dead_code, reason = "held until the request is done")] Option<SemaphorePermit<'a>>,
);

impl Behaviour {
    pub(crate) fn new(options: Options) -> Self {
        Self {
            options,
            started: Instant::now(),
            requests: AtomicU64::new(0),
            workers: Semaphore::new(LEAKING_WORKERS),
            leaked: Mutex::new(Vec::new()),
        }
    }

    pub(crate) fn version(&self) -> &str {
        &self.options.version_name
    }

    pub(crate) fn release(&self) -> Option<&str> {
        self.options.release.as_deref()
    }

    pub(crate) fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    pub(crate) fn started(&self) -> bool {
        self.uptime() >= self.options.startup
    }

    pub(crate) fn ready(&self) -> bool {
        let until = self.options.unready_after.unwrap_or(Duration::MAX);
        !self.options.never_ready && self.started() && self.uptime() < until
    }

    /// Whether what the service needs is still there: a worker, when it leaks them.
    pub(crate) fn dependencies(&self) -> bool {
        !self.options.leak || self.workers.available_permits() > 0
    }

    /// The number of a new request below `/api`.
    pub(crate) fn number(&self) -> u64 {
        self.requests.fetch_add(1, Ordering::Relaxed)
    }

    /// Takes a worker for a request; never returns once all have leaked.
    pub(crate) async fn worker(&self, number: u64) -> Worker<'_> {
        if !self.options.leak {
            return Worker(None);
        }
        let Ok(permit) = self.workers.acquire().await else { return pending().await };
        if number % LEAK_EVERY == LEAK_EVERY - 1 {
            permit.forget();
            if let Ok(mut leaked) = self.leaked.lock() {
                leaked.push(vec![1; LEAKED_BYTES]);
            }
            return Worker(None);
        }
        Worker(Some(permit))
    }

    /// How much later than needed a request is answered.
    pub(crate) fn delay(&self, number: u64) -> Duration {
        match self.options.slow {
            Some(ms) if drawn(number, 1) < self.options.slow_percent => Duration::from_millis(ms),
            _ => Duration::ZERO,
        }
    }

    /// Whether a request fails.
    pub(crate) fn fails(&self, number: u64, method: &Method) -> bool {
        let after = self.options.fail_after.unwrap_or_default();
        let share = self.options.fail.unwrap_or(
            if self.options.fail_after.is_some() || self.options.fail_method.is_some() {
                100.0
            } else {
                0.0
            },
        );
        let meant = self
            .options
            .fail_method
            .as_deref()
            .is_none_or(|only| only.eq_ignore_ascii_case(method.as_str()));
        meant && self.uptime() >= after && drawn(number, 2) < share
    }
}

/// A number from 0 to below 100 that looks random but belongs to this request (splitmix64's mixing
/// function).
fn drawn(number: u64, stream: u64) -> f64 {
    let mut z = (number.wrapping_mul(2).wrapping_add(stream)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    let top = u32::try_from((z ^ (z >> 31)) >> 32).unwrap_or_default();
    f64::from(top) / 4_294_967_296.0 * 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_hits_about_as_many_requests_as_it_says() {
        for share in [0.0, 1.0, 5.0, 50.0, 100.0] {
            let hits = (0..10_000).filter(|&number| drawn(number, 2) < share).count();
            #[expect(clippy::cast_precision_loss, reason = "small numbers")]
            let seen = hits as f64 / 100.0;
            assert!((seen - share).abs() < 1.5, "{share} % hit {seen} %");
        }
        assert_eq!((0..10_000).filter(|&number| drawn(number, 1) < 0.0).count(), 0);
        assert_eq!((0..10_000).filter(|&number| drawn(number, 1) < 100.0).count(), 10_000);
    }
}
