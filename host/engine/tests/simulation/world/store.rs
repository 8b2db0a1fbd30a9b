//! The store of the simulation: the one in memory, with what goes wrong between it and a host.

use super::{Sim, fault};
use crate::scene::has_succeeded;
use agente_engine::fault::{Fault, FaultKind};
use agente_engine::journal::{Decision, DecisionKind, Entry, Event};
use agente_engine::names::{DeploymentId, Scope};
use agente_engine::ports::*;
use agente_engine::route::Backend;
use agente_engine::state::ServiceState;
use async_trait::async_trait;
use futures_util::FutureExt;

#[async_trait]
impl Journal for Sim {
    async fn append(
        &self,
        fence: Fence,
        entry: &Entry,
        state: &ServiceState,
    ) -> Result<(), AppendError> {
        self.stays_dead().await;
        let Entry { sequence, event, .. } = entry;
        let dead = {
            let now = self.time.now();
            let mut inner = self.inner();
            let sequence = *sequence;
            if inner.journal_fails_until.is_some_and(|until| now.0 >= until) {
                inner.journal_fails_from = None;
            }
            if inner.journal_fails_from.is_some_and(|from| sequence >= from) {
                return Err(AppendError::Unavailable(fault("no space left")));
            }
            let fenced = inner.fenced_from.is_some_and(|from| sequence >= from);
            if fenced {
                return Err(AppendError::Fenced { scope: crate::scene::scope(), fence });
            }
            if inner.die_before_entry == Some(sequence) {
                inner.die_before_entry = None;
                self.host.dies();
            } else {
                if sequence == 0 {
                    inner.opened_in = inner.state();
                    inner.deployment = Some(entry.deployment.clone());
                }
                if let (Event::Step { step, event }, Some(before)) = (event, inner.attempt()) {
                    crate::moves::assert_legal(&before.steps[*step], event);
                }
                let appended = self.store.append(fence, entry, state).now_or_never();
                match appended.expect("nobody waits") {
                    Err(error @ AppendError::OutOfOrder { .. }) => panic!("{error}"),
                    appended => appended?,
                }
                assert_eq!(
                    inner.read_entries(|entries| inner.opened_in.clone().fold(entries)),
                    *state,
                    "the entries say another state than what was stored"
                );
                inner.target_refuses |= inner.target_refuses_from == Some(sequence);
                for standing in
                    state.stable.iter().chain(state.kept.as_ref().map(|kept| &kept.standing))
                {
                    let its_own = |backend: &Backend| {
                        backend
                            .id
                            .0
                            .contains(&format!("-{}-r{}-", standing.slot, standing.release.0))
                    };
                    assert!(
                        standing.backends.iter().all(its_own),
                        "the state has strangers in {standing:?}\n{}",
                        inner.log.join("\n")
                    );
                }
                inner.check_undo(event);
                let text = serde_json::to_string(event).unwrap();
                inner.log.push(format!(
                    "{:>7} entry {sequence} {}",
                    now.0,
                    &text[..text.len().min(160)]
                ));
                inner.attempt().expect("every prefix of the journal folds");
                inner.settle(now.0);
                inner.check(now.0);
                if inner.abort_at_entry == Some(sequence) {
                    inner.abort_at_entry = None;
                    inner.leave(DecisionKind::Abort);
                    inner.abort_heard = Some((now.0, 0));
                    inner.mailbox_fails = Some((now.0, now.0 + inner.deaf_for));
                }
                if let (Event::Decided(_), Some((left, 0))) = (event, inner.abort_heard) {
                    inner.abort_heard = Some((left, now.0.max(1)));
                }
                if inner.die_after_entry == Some(sequence) {
                    inner.die_after_entry = None;
                    self.host.dies();
                }
                let before = inner.die_before_step.and_then(|step| step.checked_sub(1));
                let at_end = before.is_some_and(|step| has_succeeded(event, step));
                if at_end {
                    inner.die_before_step = None;
                    self.host.dies();
                }
                if inner.written_in_silence.take_if(|entry| *entry == sequence).is_some() {
                    return Err(AppendError::Unavailable(fault("the disk did not answer")));
                }
            }
            self.host.is_dead()
        };
        if dead {
            std::future::pending::<()>().await;
        }
        Ok(())
    }

    async fn make_room(&self) -> bool {
        let mut inner = self.inner();
        let kept = std::mem::take(&mut inner.room_is_kept);
        if kept {
            inner.journal_fails_from = None;
        }
        kept
    }

    async fn entries_after(
        &self,
        deployment: &DeploymentId,
        sequence: Option<u64>,
    ) -> Result<Vec<Entry>, Fault> {
        self.store.entries_after(deployment, sequence).await
    }

    async fn state(&self, scope: &Scope) -> Result<ServiceState, Fault> {
        self.store.state(scope).await
    }

    async fn open_deployment(&self, scope: &Scope) -> Result<Option<DeploymentId>, Fault> {
        self.store.open_deployment(scope).await
    }
}

#[async_trait]
impl Mailbox for Sim {
    async fn leave(
        &self,
        deployment: &DeploymentId,
        decision: DecisionKind,
        by: &str,
        reason: Option<&str>,
    ) -> Result<u64, Fault> {
        self.store.leave(deployment, decision, by, reason).await
    }

    async fn decisions(
        &self,
        deployment: &DeploymentId,
        after: u64,
    ) -> Result<Vec<Decision>, Fault> {
        let now = self.time.now();
        let fails = {
            let mut inner = self.inner();
            if let Some((_, decision)) = inner.decide_at.take_if(|(at, _)| *at <= now.0) {
                inner.leave(decision);
            }
            if inner.interrupt_at.take_if(|at| *at <= now.0).is_some() {
                let _ = self.host.interrupted.set(Fault::new(FaultKind::Aborted, "SIGTERM"));
            }
            inner.mailbox_fails.is_some_and(|(from, until)| (from..until).contains(&now.0))
        };
        if fails {
            return Err(fault("the store can't be read"));
        }
        self.store.decisions(deployment, after).await
    }
}
