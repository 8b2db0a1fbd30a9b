//! Changing calls whose callers have left: a step was aborted, or its time was over. The engine can
//! still do what it was asked, so each such call is waited for before anything else is asked of the
//! same container.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};

/// By what each is about, those that are not answered yet.
#[derive(Debug, Clone, Default)]
pub(crate) struct InFlight(Arc<Mutex<BTreeMap<String, Vec<watch::Receiver<()>>>>>);

/// Remembers a call that its caller leaves.
struct Leaving<'a> {
    of: &'a InFlight,
    about: &'a str,
    ended: Option<watch::Receiver<()>>,
}

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        if let Some(ended) = self.ended.take() {
            self.of.remember(self.about, ended);
        }
    }
}

impl InFlight {
    /// Makes a call that goes on to its end when its caller leaves. None when `limit` is over, or
    /// the process ends.
    pub(crate) async fn call<T: Send + 'static>(
        &self,
        about: &str,
        limit: Duration,
        call: impl Future<Output = T> + Send + 'static,
    ) -> Option<T> {
        let (ends, ended) = watch::channel(());
        let task = tokio::spawn(async move {
            let answer = call.await;
            drop(ends);
            answer
        });
        let mut leaving = Leaving { of: self, about, ended: Some(ended) };
        let answer = timeout(limit, task).await.ok()?;
        leaving.ended = None;
        answer.ok()
    }

    /// Does some work in the background, which is waited for like a call that was left.
    pub(crate) fn leave(&self, about: &str, work: impl Future<Output = ()> + Send + 'static) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let (ends, ended) = watch::channel(());
        self.remember(about, ended);
        runtime.spawn(async move {
            work.await;
            drop(ends);
        });
    }

    /// Waits for what was left. False when that takes longer than `limit`.
    pub(crate) async fn settled(&self, about: &str, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        for mut ended in self.left(about) {
            // Nothing is ever sent: its end is that the sender is gone.
            if timeout_at(deadline, ended.changed()).await.is_err() {
                return false;
            }
        }
        true
    }

    fn left(&self, about: &str) -> Vec<watch::Receiver<()>> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(about).cloned().unwrap_or_default()
    }

    fn remember(&self, about: &str, call: watch::Receiver<()>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, calls| {
            calls.retain(|call| call.has_changed().is_ok());
            !calls.is_empty()
        });
        all.entry(about.to_owned()).or_default().push(call);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::oneshot;

    const LONG: Duration = Duration::from_secs(30);

    #[tokio::test]
    async fn a_call_that_is_dropped_or_too_late_goes_on_and_is_waited_for() {
        for limit in [LONG, Duration::ZERO] {
            let in_flight = InFlight::default();
            let (answer, answered) = oneshot::channel::<u32>();
            let (landed, lands) = oneshot::channel();
            {
                let call = in_flight.call("one", limit, async move {
                    let _ = landed.send(answered.await.unwrap());
                });
                tokio::pin!(call);
                assert!(timeout(Duration::from_millis(1), call).await.is_err() || limit.is_zero());
            }
            assert!(in_flight.settled("other", Duration::ZERO).await, "nobody else waits for it");
            assert!(!in_flight.settled("one", Duration::from_millis(20)).await);
            answer.send(7).unwrap();
            assert!(in_flight.settled("one", LONG).await);
            assert_eq!(lands.await, Ok(7));
        }
    }

    #[tokio::test]
    async fn a_call_that_was_answered_is_not_waited_for() {
        let in_flight = InFlight::default();
        assert_eq!(in_flight.call("one", LONG, async { 7 }).await, Some(7));
        assert!(in_flight.left("one").is_empty());
    }
}
