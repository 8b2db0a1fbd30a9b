//! A clock that is moved by hand.

use agente_engine::names::Timestamp;
use agente_engine::ports::{Clock, HEARTBEAT};
use async_trait::async_trait;
use futures_util::future::poll_fn;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::pin::{Pin, pin};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// What the clock on the wall says when the other one says 0: some day in 2027.
const EPOCH: u64 = 1_800_000_000_000;
/// A sleep up to so long is a pause between two looks. A longer one limits something else that is
/// still going on, and is not what is waited for.
const LONGEST_PAUSE: Duration = HEARTBEAT;

thread_local! {
    /// Whose work this thread does at the moment.
    static WORK: Cell<u64> = const { Cell::new(0) };
}

/// A clock that is moved by hand, so that a test says what happens in which moment.
#[derive(Debug, Default)]
pub struct HandClock(Mutex<Hands>);

#[derive(Debug, Default)]
struct Hands {
    elapsed: Duration,
    /// What the clock on the wall was set to, in milliseconds beside the time that passed.
    set: i64,
    /// The number of the last sleeper or work.
    last: u64,
    sleepers: BTreeMap<u64, Sleeper>,
}

#[derive(Debug)]
struct Sleeper {
    due: Duration,
    /// Which work it belongs to.
    work: u64,
    waker: Waker,
}

impl HandClock {
    fn hands(&self) -> MutexGuard<'_, Hands> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets time pass. Whoever slept through it goes on when it is their turn.
    pub fn advance(&self, by: Duration) {
        let now = self.elapsed() + by;
        self.advance_to(now);
    }

    fn advance_to(&self, now: Duration) {
        let mut hands = self.hands();
        hands.elapsed = hands.elapsed.max(now);
        for sleeper in hands.sleepers.values().filter(|sleeper| sleeper.due <= now) {
            sleeper.waker.wake_by_ref();
        }
    }

    /// Sets the clock on the wall forward, or back. No time passes.
    pub fn set_wall(&self, by_seconds: i64) {
        self.hands().set += by_seconds * 1_000;
    }

    /// Does some work while no more than `limit` passes, and only while the work sleeps: what it
    /// does between two pauses takes no time, however slow the machine is. None where it sleeps on.
    pub async fn within<T>(&self, limit: Duration, work: impl Future<Output = T>) -> Option<T> {
        let mut work = pin!(work);
        let me = self.next_number();
        let end = self.elapsed() + limit;
        poll_fn(|cx| {
            loop {
                let outer = WORK.replace(me);
                let polled = work.as_mut().poll(cx);
                WORK.set(outer);
                if let Poll::Ready(value) = polled {
                    return Poll::Ready(Some(value));
                }
                match self.end_of_pause(me) {
                    None => return Poll::Pending,
                    Some(due) if due > end => {
                        self.advance_to(end);
                        return Poll::Ready(None);
                    }
                    Some(due) => self.advance_to(due),
                }
            }
        })
        .await
    }

    fn next_number(&self) -> u64 {
        let mut hands = self.hands();
        hands.last += 1;
        hands.last
    }

    /// When the first sleeper of some work is due, if it sleeps at all.
    fn end_of_pause(&self, work: u64) -> Option<Duration> {
        let hands = self.hands();
        let of_work = hands.sleepers.values().filter(|sleeper| sleeper.work == work);
        of_work.map(|sleeper| sleeper.due).filter(|due| *due <= hands.elapsed + LONGEST_PAUSE).min()
    }
}

#[async_trait]
impl Clock for HandClock {
    fn now(&self) -> Timestamp {
        let hands = self.hands();
        let passed = u64::try_from(hands.elapsed.as_millis()).unwrap_or(u64::MAX);
        Timestamp((EPOCH + passed).saturating_add_signed(hands.set))
    }

    fn elapsed(&self) -> Duration {
        self.hands().elapsed
    }

    async fn sleep(&self, duration: Duration) {
        let due = self.elapsed() + duration;
        Sleep { clock: self, number: self.next_number(), due }.await;
    }
}

struct Sleep<'a> {
    clock: &'a HandClock,
    number: u64,
    due: Duration,
}

impl Future for Sleep<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut hands = self.clock.hands();
        if hands.elapsed >= self.due {
            return Poll::Ready(());
        }
        let sleeper = Sleeper { due: self.due, work: WORK.get(), waker: cx.waker().clone() };
        hands.sleepers.insert(self.number, sleeper);
        Poll::Pending
    }
}

impl Drop for Sleep<'_> {
    fn drop(&mut self) {
        self.clock.hands().sleepers.remove(&self.number);
    }
}
