//! The target of the simulation: what is applied is in force after a while.

use super::{Inner, Sim, fault};
use agente_engine::fault::{Failure, Fault};
use agente_engine::names::{BackendId, OpId};
use agente_engine::ports::*;
use agente_engine::route::{Backend, Routes, Slot};
use async_trait::async_trait;
use std::sync::atomic::Ordering;
use std::time::Duration;

impl Inner {
    pub(super) fn settle(&mut self, now: u64) {
        self.count_requests(now);
        if let Some((desired, at)) = &self.applied
            && now >= at + self.load_takes
            && self.loaded.as_ref() != Some(desired)
        {
            let before = self.loaded.replace(desired.clone());
            let desired = desired.clone();
            for backend in before
                .iter()
                .flat_map(|before| &before.routes.routes)
                .chain(&desired.routes.routes)
                .flat_map(|route| &route.backends)
            {
                let had = before.as_ref().is_some_and(|before| before.routes.reaches(&backend.id));
                let has = desired.routes.reaches(&backend.id);
                if had && !has {
                    self.unreached_since.insert(backend.id.clone(), now);
                }
                if has {
                    self.unreached_since.remove(&backend.id);
                    let weighted = desired.routes.routes.iter().any(|route| {
                        !route.weight.is_zero()
                            && route.backends.iter().any(|one| one.id == backend.id)
                    });
                    if weighted && self.is_candidate(&backend.id) && self.shifted_at.is_none() {
                        self.shifted_at = Some(now);
                    }
                }
            }
        }
    }
}

impl Sim {
    /// The time that a change of the target takes. Like a good plugin it asks whether it is wanted.
    async fn changing(&self, op: &OpId) -> Result<(), Failure> {
        let until = self.time.now().0 + self.inner().apply_takes;
        assert!(!self.cancelled.load(Ordering::Relaxed), "{op} began when it was wanted no more");
        while self.time.now().0 < until {
            self.time.sleep(Duration::from_millis(10)).await;
            if self.cancelled.load(Ordering::Relaxed) {
                let now = self.time.now().0;
                self.inner().log.push(format!("{now:>7} {op} ended by itself"));
                return Err(Failure::Refused { fault: fault("it was wanted no more") });
            }
        }
        Ok(())
    }
}

#[async_trait]
impl TrafficSwitcher for Sim {
    async fn features(&self) -> Result<Features, Fault> {
        self.look("features", |inner, _| Features {
            names: inner.features.clone(),
            lock_key: "sim".into(),
            warnings: vec![],
            identity_header: Some("x-slot".into()),
        })
        .await
    }

    async fn plan(&self, _: &Desired) -> Result<String, Fault> {
        Ok(String::new())
    }

    async fn apply(
        &self,
        op: &OpId,
        desired: &Desired,
        _lock: &TargetLock,
    ) -> Result<Observed, Failure> {
        if self.inner().target_refuses {
            return Err(Failure::Refused {
                fault: fault("its configuration is broken by somebody else"),
            });
        }
        self.changing(op).await?;
        self.call(
            &format!(
                "apply {op} blue {} green {}",
                desired.routes.weight(Slot::Blue),
                desired.routes.weight(Slot::Green)
            ),
            |inner, now| {
                inner.check_journaled("apply");
                let all = desired.routes.routes.iter().flat_map(|route| &route.backends);
                for to in all {
                    inner.check_address(&to.id, &to.address);
                }
                assert!(inner.locked.contains("sim"), "the target is changed without its lock");
                assert!(
                    desired.fence.0 >= inner.loaded.as_ref().map_or(0, |loaded| loaded.fence.0),
                    "a stale token reached the target"
                );
                if inner.applied.as_ref().is_none_or(|(applied, _)| applied != desired) {
                    inner.applied = Some((desired.clone(), now));
                }
                observed(inner, now)
            },
        )
        .await
    }

    async fn observe(&self) -> Result<Observed, Fault> {
        self.look("observe", observed).await
    }

    async fn drain(&self, _: &OpId, slot: Slot, backends: &[Backend]) -> Result<Drained, Fault> {
        let ids: Vec<BackendId> = backends.iter().map(|backend| backend.id.clone()).collect();
        self.look(&format!("drain {slot}"), |inner, now| {
            let done = inner.drained(&ids, now);
            Drained {
                done,
                remaining: u32::from(!done),
                evidence: "workers-gone".into(),
                weak: inner.sees_connections_only,
                message: format!("{} old workers", u32::from(!done)),
            }
        })
        .await
    }
}

fn observed(inner: &mut Inner, now: u64) -> Observed {
    inner.settle(now);
    let empty = Routes { routes: vec![], overrides: vec![] };
    let state = match (&inner.applied, &inner.loaded) {
        (None, _) => ObservedState::Absent,
        (Some((applied, _)), Some(loaded)) if applied == loaded => ObservedState::Converged,
        (Some(_), _) => ObservedState::Pending,
    };
    Observed {
        state,
        generation: inner.applied.as_ref().map(|(_, at)| at.to_string()).unwrap_or_default(),
        fence: inner.loaded.as_ref().map_or(Fence(0), |loaded| loaded.fence),
        routes: inner.loaded.as_ref().map_or(empty, |loaded| loaded.routes.clone()),
        store: inner.loaded.as_ref().map(|loaded| loaded.store.clone()),
        message: "observed".into(),
    }
}

#[async_trait]
impl TargetLocks for Sim {
    async fn lock_target(&self, key: &str) -> Result<TargetLock, Fault> {
        struct Held(Sim, String);
        impl Drop for Held {
            fn drop(&mut self) {
                self.0.inner().locked.remove(&self.1);
            }
        }
        assert!(
            self.inner().locked.insert(key.to_owned()),
            "the lock of the target is taken twice"
        );
        Ok(TargetLock::new(Held(self.clone(), key.to_owned())))
    }
}
