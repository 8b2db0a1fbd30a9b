//! Turns at the target.

use super::Sim;
use agente_engine::fault::Fault;
use agente_engine::ports::{TargetLock, TargetLocks};
use async_trait::async_trait;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How often is looked whether the lock is free.
const POLL: Duration = Duration::from_millis(10);

/// Who has the lock of the target.
#[derive(Clone, Default)]
pub struct Turns(Arc<Mutex<Option<Turn>>>);

struct Turn {
    host: u64,
    ticket: u64,
}

/// Frees the lock when its last copy is dropped.
struct Held {
    turns: Turns,
    ticket: u64,
}

impl Turns {
    pub fn is_taken(&self) -> bool {
        self.0.lock().unwrap().is_some()
    }

    fn host(&self) -> Option<u64> {
        self.0.lock().unwrap().as_ref().map(|turn| turn.host)
    }

    fn take(&self, host: u64, ticket: u64) -> TargetLock {
        *self.0.lock().unwrap() = Some(Turn { host, ticket });
        TargetLock::new(Held { turns: self.clone(), ticket })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut turn = self.turns.0.lock().unwrap();
        turn.take_if(|turn| turn.ticket == self.ticket);
    }
}

#[async_trait]
impl TargetLocks for Sim {
    async fn lock_target(&self, _: &str) -> Result<TargetLock, Fault> {
        loop {
            self.stays_dead().await;
            let now = self.now();
            {
                let mut inner = self.inner();
                inner.settle(now);
                let next = inner.calls + 1;
                if let Some((_, theirs)) = inner.lock_theirs_at.take_if(|(call, _)| *call == next) {
                    inner.locked_by_others_until = Some(now + theirs);
                }
                let theirs = inner.locked_by_others_until.is_some_and(|until| now < until);
                if !theirs {
                    if !inner.turns.is_taken() {
                        break;
                    }
                    let ours = inner.turns.host() == Some(self.host.number());
                    assert!(
                        !ours || inner.is_in_flight(self.host.number()),
                        "the lock of the target is taken twice\n{}",
                        inner.log.join("\n")
                    );
                }
            }
            self.time.sleep(POLL).await;
        }
        let host = self.host.number();
        self.look("lock", |inner, _| inner.turns.take(host, inner.calls)).await
    }
}
