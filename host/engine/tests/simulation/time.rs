//! Virtual time and the loop that drives a future through it: deterministic, no threads.

use agente_engine::names::Timestamp;
use agente_engine::ports::Clock;
use async_trait::async_trait;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

#[derive(Default)]
struct Timers {
    now: u64,
    next: u64,
    due: BTreeSet<(u64, u64)>,
}

/// A clock that only moves when nothing else can.
#[derive(Clone, Default)]
pub struct Time(Arc<Mutex<Timers>>);

impl Time {
    pub fn now(&self) -> Timestamp {
        Timestamp(self.0.lock().unwrap().now)
    }

    pub fn sleep(&self, duration: Duration) -> Sleep {
        let mut timers = self.0.lock().unwrap();
        timers.next += 1;
        let key = (timers.now + u64::try_from(duration.as_millis()).unwrap(), timers.next);
        timers.due.insert(key);
        Sleep { time: self.clone(), key }
    }

    /// Another clock at the same time, which nobody waits for.
    pub fn fork(&self) -> Self {
        let now = self.0.lock().unwrap().now;
        Self(Arc::new(Mutex::new(Timers { now, ..Timers::default() })))
    }

    fn advance(&self) -> bool {
        let mut timers = self.0.lock().unwrap();
        // One that is due already belongs to what nobody waits for at the moment.
        let later = (timers.now + 1, 0)..;
        match timers.due.range(later).next().copied() {
            Some((due, _)) => {
                timers.now = due;
                true
            }
            None => false,
        }
    }
}

#[async_trait]
impl Clock for Time {
    fn now(&self) -> Timestamp {
        Time::now(self)
    }

    fn elapsed(&self) -> Duration {
        Duration::from_millis(Time::now(self).0)
    }

    async fn sleep(&self, duration: Duration) {
        Time::sleep(self, duration).await;
    }
}

pub struct Sleep {
    time: Time,
    key: (u64, u64),
}

impl Future for Sleep {
    type Output = ();
    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        if self.time.0.lock().unwrap().now >= self.key.0 { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.time.0.lock().unwrap().due.remove(&self.key);
    }
}

/// Drives a future to its end, or to the moment when `killed` says that the process is dead.
pub fn drive<T>(
    time: &Time,
    killed: impl Fn() -> bool,
    future: impl Future<Output = T>,
) -> Option<T> {
    let mut future = std::pin::pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    let polls = Rc::new(RefCell::new(0_u64));
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return Some(value);
        }
        if killed() {
            return None;
        }
        *polls.borrow_mut() += 1;

        assert!(
            *polls.borrow() < 2_000_000,
            "the deployment neither ends nor waits for a bound time"
        );
        assert!(time.advance(), "the deployment waits for something that never comes");
    }
}
