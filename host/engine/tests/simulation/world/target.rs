//! The target of the simulation: what is applied is in force after a while.

use super::calls::About;
use super::{Inner, Sim, fault};
use agente_engine::fault::{Failure, Fault};
use agente_engine::names::{BackendId, OpId};
use agente_engine::ports::*;
use agente_engine::route::{Backend, Routes, Slot};
use async_trait::async_trait;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// What the target was given and when, and what it runs.
pub(super) type Held = (Option<(Desired, u64)>, Option<Desired>);

impl Inner {
    /// Lets the running target take what it was given.
    pub(super) fn load(&mut self, now: u64) {
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
        self.remember(now);
    }

    fn remember(&mut self, now: u64) {
        let held = (self.applied.clone(), self.loaded.clone());
        if self.observed_late > 0 && self.seen.last().is_none_or(|(_, seen)| *seen != held) {
            self.seen.push((now, held));
        }
    }

    /// Somebody changes the target by hand: it is in force at once. None removes what is there.
    pub fn put_by_hand(&mut self, now: u64, changed: Option<Desired>) {
        let held = self.loaded.clone();
        self.applied = changed
            .clone()
            .or_else(|| {
                let routes = Routes { routes: vec![], overrides: vec![] };
                held.map(|held| Desired { routes, ..held })
            })
            .map(|desired| (desired, now.saturating_sub(self.load_takes)));
        self.load(now);
        if changed.is_none() {
            (self.applied, self.loaded) = (None, None);
        }
        self.remember(now);
        self.by_hand = changed;
    }

    /// Whether the target holds what somebody has put into it by hand, or removed.
    pub fn is_by_hand(&self) -> bool {
        self.loaded == self.by_hand
    }
}

impl Sim {
    /// The time that a change of the target takes. Like a good plugin it asks whether it is wanted.
    async fn changing(&self, op: &OpId) -> Result<(), Failure> {
        let until = self.time.now().0 + self.inner().apply_takes;
        let cancelled = &self.host.cancelled;
        assert!(!cancelled.load(Ordering::Relaxed), "{op} began when it was wanted no more");
        while self.time.now().0 < until {
            self.time.sleep(Duration::from_millis(10)).await;
            if cancelled.load(Ordering::Relaxed) {
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
        let refuses = self.look("plan", |inner, _| inner.plans_are_refused).await?;
        if refuses { Err(fault("it would not take these routes")) } else { Ok(String::new()) }
    }

    async fn apply(
        &self,
        op: &OpId,
        desired: &Desired,
        lock: &TargetLock,
    ) -> Result<Observed, Failure> {
        if self.inner().target_refuses {
            return Err(Failure::Refused {
                fault: fault("its configuration is broken by somebody else"),
            });
        }
        self.changing(op).await?;
        let name = format!(
            "apply {op} blue {} green {}",
            desired.routes.weight(Slot::Blue),
            desired.routes.weight(Slot::Green)
        );
        {
            let inner = self.inner();
            inner.check_journaled("apply");
            for to in desired.routes.routes.iter().flat_map(|route| &route.backends) {
                inner.check_address(&to.id, &to.address);
            }
            assert!(inner.turns.is_taken(), "the target is changed without its lock");
        }
        let desired = desired.clone();
        let applied = self.effect(&name, About::Target(lock.clone()), move |inner, now| {
            // As the guard of a plugin: what an owner of before has asked for comes too late.
            let newest =
                [inner.applied.as_ref().map(|(applied, _)| applied), inner.loaded.as_ref()]
                    .into_iter()
                    .flatten()
                    .filter(|held| held.store == desired.store)
                    .map(|held| held.fence)
                    .max();
            if newest.is_some_and(|newest| newest > desired.fence) {
                inner.log.push(format!("{now:>7} the target refuses a stale token"));
                return None;
            }
            if inner.applied.as_ref().is_none_or(|(applied, _)| *applied != desired) {
                inner.applied = Some((desired, now));
            }
            Some(observed(inner, now))
        });
        applied.await?.ok_or_else(|| Failure::Refused { fault: fault("a newer host was here") })
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
    inner.load(now);
    let then = now.saturating_sub(inner.observed_late);
    let seen = inner.seen.iter().rfind(|(at, _)| *at <= then && inner.observed_late > 0);
    let (applied, loaded) = match seen {
        Some((_, held)) => held.clone(),
        None => (inner.applied.clone(), inner.loaded.clone()),
    };
    let empty = Routes { routes: vec![], overrides: vec![] };
    let state = match (&applied, &loaded) {
        (None, _) => ObservedState::Absent,
        (Some((applied, _)), Some(loaded)) if applied == loaded => ObservedState::Converged,
        (Some(_), _) => ObservedState::Pending,
    };
    Observed {
        state,
        generation: applied.as_ref().map(|(_, at)| at.to_string()).unwrap_or_default(),
        fence: loaded.as_ref().map_or(Fence(0), |loaded| loaded.fence),
        routes: loaded.as_ref().map_or(empty, |loaded| loaded.routes.clone()),
        store: loaded.as_ref().map(|loaded| loaded.store.clone()),
        message: "observed".into(),
    }
}
