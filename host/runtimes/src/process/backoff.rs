//! How long a supervisor waits before it starts a crashed backend again.

use crate::process::record::SupervisionLimits;
use std::time::Duration;

/// The wait before the next restart: doubled after each short run, the first one again after a
/// stable run.
#[derive(Debug)]
pub(crate) struct Backoff {
    first: Duration,
    longest: Duration,
    stable_after: Duration,
    next: Duration,
}

impl Backoff {
    /// Begins with the first wait.
    pub(crate) fn new(limits: &SupervisionLimits) -> Self {
        Self {
            first: limits.first_backoff,
            longest: limits.longest_backoff,
            stable_after: limits.stable_after,
            next: limits.first_backoff,
        }
    }

    /// The wait after a run of this length.
    pub(crate) fn after(&mut self, run: Duration) -> Duration {
        if run >= self.stable_after {
            self.next = self.first;
        }
        let wait = self.next.min(self.longest);
        self.next = wait.saturating_mul(2);
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_to_the_longest_and_begin_again_after_a_stable_run() {
        let mut backoff = Backoff::new(&SupervisionLimits::default());
        let waits: Vec<u128> =
            (0..9).map(|_| backoff.after(Duration::from_secs(1)).as_millis()).collect();
        assert_eq!(waits, [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]);
        assert_eq!(backoff.after(Duration::from_secs(10)).as_millis(), 100);
        assert_eq!(backoff.after(Duration::ZERO).as_millis(), 200);
    }
}
