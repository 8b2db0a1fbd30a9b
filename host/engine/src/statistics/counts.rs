//! How many requests there were, and how many of them the events that are counted.

use std::fmt;

/// Events among requests. What the event is (failed, slow) is the caller's to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    events: u64,
    total: u64,
}

/// Why two numbers are not counts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CountsError {
    #[error("{events} events exceed {total} requests")]
    MoreEventsThanRequests {
        events: u64,
        /// The requests.
        total: u64,
    },
    /// More requests than one look can have.
    #[error("{total} requests in one look exceed the maximum of {}", Counts::MOST)]
    TooMany {
        /// The requests.
        total: u64,
    },
}

impl Counts {
    /// No requests.
    pub const NONE: Counts = Counts { events: 0, total: 0 };
    /// The most requests of one look: beyond any service, and it bounds the work of the exact test.
    pub const MOST: u64 = 1 << 32;

    /// Builds counts.
    ///
    /// # Errors
    ///
    /// [`CountsError::MoreEventsThanRequests`], and [`CountsError::TooMany`] beyond
    /// [`Counts::MOST`].
    pub fn new(events: u64, total: u64) -> Result<Counts, CountsError> {
        if total > Self::MOST {
            return Err(CountsError::TooMany { total });
        }
        if events > total {
            return Err(CountsError::MoreEventsThanRequests { events, total });
        }
        Ok(Counts { events, total })
    }

    /// Counts without the bound on one look.
    pub(super) fn unbounded(events: u64, total: u64) -> Counts {
        Counts { events: events.min(total), total }
    }

    /// The events.
    pub fn events(self) -> u64 {
        self.events
    }

    /// The requests.
    pub fn total(self) -> u64 {
        self.total
    }

    /// The share of events; none without requests.
    pub fn rate(self) -> Option<f64> {
        (self.total > 0).then(|| float(self.events) / float(self.total))
    }

    /// Both together. Sums may pass [`Counts::MOST`].
    #[must_use]
    pub fn plus(self, other: Counts) -> Counts {
        let total = self.total.saturating_add(other.total);
        Counts { events: self.events.saturating_add(other.events).min(total), total }
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.events, self.total)
    }
}

/// A count as a floating-point number.
#[expect(clippy::cast_precision_loss, reason = "exact up to 2^53, which no count reaches")]
pub(super) fn float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_never_exceed_requests() {
        assert_eq!(
            Counts::new(3, 2),
            Err(CountsError::MoreEventsThanRequests { events: 3, total: 2 })
        );
        assert_eq!(
            Counts::new(0, Counts::MOST + 1),
            Err(CountsError::TooMany { total: Counts::MOST + 1 })
        );
        assert_eq!(Counts::new(1, 4).unwrap().rate(), Some(0.25));
        assert_eq!(Counts::NONE.rate(), None);
        assert_eq!(
            Counts::new(1, 4).unwrap().plus(Counts::new(2, 3).unwrap()).to_string(),
            "3 of 7"
        );
    }
}
