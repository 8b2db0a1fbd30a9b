//! A call's budget of computing time.
//!
//! What counts is the time that the processor gave to the thread while the guest ran on it: not the
//! time by the clock, in which a busy machine may have run others, and not what the host did for
//! the guest. The epoch of the engine is only the moment to look.

use crate::limits::OverBudget;
use agente_units::Span;
use rustix::time::{ClockId, clock_gettime};
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Counts the computing time of one call, which may move from thread to thread between its turns.
#[derive(Debug)]
pub(crate) struct CpuMeter {
    limit: Span,
    /// Of the turns that have ended, in nanoseconds.
    used: AtomicU64,
    /// What the thread had used when the present turn began, moved on by what the host used since.
    began: AtomicU64,
}

/// What the processor gave to this thread so far, in nanoseconds.
fn thread_time() -> u64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    let since = Duration::try_from(now).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

impl CpuMeter {
    pub(crate) fn new(limit: Span) -> Self {
        Self { limit, used: AtomicU64::new(0), began: AtomicU64::new(0) }
    }

    /// Counts the turns of the guest.
    pub(crate) async fn count<R>(&self, guest: impl Future<Output = R>) -> R {
        let mut guest = pin!(guest);
        std::future::poll_fn(|context| {
            self.began.store(thread_time(), Ordering::Relaxed);
            let polled = guest.as_mut().poll(context);
            self.used.fetch_add(self.of_this_turn(), Ordering::Relaxed);
            polled
        })
        .await
    }

    /// Leaves out what the host does for the guest within its turn.
    pub(crate) async fn leave_out<R>(&self, host: impl Future<Output = R>) -> R {
        let mut host = pin!(host);
        std::future::poll_fn(|context| {
            let began = thread_time();
            let polled = host.as_mut().poll(context);
            self.began.fetch_add(thread_time().saturating_sub(began), Ordering::Relaxed);
            polled
        })
        .await
    }

    /// Says whether the guest, in the middle of its turn, has used up its budget.
    pub(crate) fn look(&self) -> Result<(), OverBudget> {
        let used = self.used.load(Ordering::Relaxed).saturating_add(self.of_this_turn());
        if Duration::from_nanos(used) > self.limit.duration() {
            Err(OverBudget::Cpu(self.limit))
        } else {
            Ok(())
        }
    }

    fn of_this_turn(&self) -> u64 {
        thread_time().saturating_sub(self.began.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compute(span: Duration) {
        let began = thread_time();
        while Duration::from_nanos(thread_time() - began) < span {
            std::hint::black_box(0);
        }
    }

    const LIMIT: Duration = Duration::from_millis(30);

    #[tokio::test]
    async fn only_what_the_guest_computes_counts() {
        let meter = CpuMeter::new(Span::from(LIMIT));
        let guest = async {
            for _ in 0..3 {
                // The host computes, and waits; then it is the turn of the guest again.
                meter.leave_out(async { compute(LIMIT) }).await;
                tokio::task::yield_now().await;
                std::thread::sleep(LIMIT);
                compute(LIMIT / 4);
                meter.look()?;
            }
            compute(LIMIT / 2);
            meter.look()
        };
        assert_eq!(meter.count(guest).await, Err(OverBudget::Cpu(Span::from(LIMIT))));
    }

    #[tokio::test]
    async fn what_other_calls_compute_on_the_same_thread_does_not_count() {
        let (one, other) = (CpuMeter::new(Span::from(LIMIT)), CpuMeter::new(Span::from(LIMIT)));
        let guest = async |meter: &CpuMeter, parts: u32| {
            for _ in 0..4 {
                compute(LIMIT / parts);
                meter.look()?;
                tokio::task::yield_now().await;
            }
            Ok::<(), OverBudget>(())
        };
        let (idle, busy) = tokio::join!(one.count(guest(&one, 8)), other.count(guest(&other, 2)));
        assert_eq!((idle.is_ok(), busy.is_ok()), (true, false));
    }
}
