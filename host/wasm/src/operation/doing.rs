//! From an effect that a guest wants to its answer: judged, completed, done.

use super::Operation;
use crate::answer::{Answer, EffectError, NetworkTrouble};
use crate::broker::{Allowed, Reach};
use crate::capability::SecretUse;
use crate::effect::{Effect, HttpRequest, Program};
use crate::performer::{Permit, PermittedSecret, SecretStands};
use agente_engine::fault::FaultKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

impl Operation {
    /// Judges an effect, records it and does it.
    pub(crate) async fn perform(self: &Arc<Self>, effect: Effect) -> Result<Answer, EffectError> {
        let operation = Arc::clone(self);
        if effect.is_file_work() {
            // Judging and doing may both block. The work goes on when the call is dropped, but
            // for the step that would make it visible.
            let runtime = tokio::runtime::Handle::current();
            let work = move || {
                let allowed = operation.authorize(&effect)?;
                runtime.block_on(operation.do_allowed(effect, allowed))
            };
            return tokio::task::spawn_blocking(work)
                .await
                .unwrap_or_else(|error| Err(broke_off(&error)));
        }
        if matches!(effect, Effect::Remember { .. }) {
            // What the store has begun to write can't be called back. So it is not dropped with
            // the call, and whoever comes next waits for its end.
            let work = async move {
                let allowed = operation.authorize(&effect)?;
                operation.do_allowed(effect, allowed).await
            };
            return tokio::spawn(work).await.unwrap_or_else(|error| Err(broke_off(&error)));
        }
        let (effect, allowed) = if effect.is_judged_by_files() {
            let judging = move || (operation.authorize(&effect), effect);
            match tokio::task::spawn_blocking(judging).await {
                Ok((allowed, effect)) => (effect, allowed),
                Err(error) => return Err(broke_off(&error)),
            }
        } else {
            let allowed = self.authorize(&effect);
            (effect, allowed)
        };
        self.do_allowed(effect, allowed?).await
    }

    async fn do_allowed(&self, effect: Effect, allowed: Allowed) -> Result<Answer, EffectError> {
        let mut permit = Permit { effect, allowed, addresses: Vec::new(), secrets: Vec::new() };
        match &permit.effect {
            Effect::Connect { host, port, timeout_ms } => {
                let limit = Duration::from_millis(u64::from(*timeout_ms));
                permit.addresses = self.reachable(&permit, host, *port, limit).await?;
            }
            Effect::Request(request) => {
                permit.secrets = self.sent_along(request)?;
                let limit = Duration::from_millis(request.connect_ms);
                permit.addresses =
                    self.reachable(&permit, &request.host, request.port, limit).await?;
            }
            Effect::Run(program) => permit.secrets = self.passed_along(program)?,
            _ => {}
        }
        self.performer.perform(&permit).await
    }

    /// The addresses of a host's name that may be reached.
    async fn reachable(
        &self,
        permit: &Permit,
        host: &str,
        port: u16,
        limit: Duration,
    ) -> Result<Vec<SocketAddr>, EffectError> {
        let Allowed::Egress { reach, .. } = permit.allowed else {
            return Err(EffectError::mismatch());
        };
        let addresses = self.performer.look_up(host, port, limit.min(self.remaining())).await?;
        let mut reachable = Vec::with_capacity(addresses.len());
        let mut refused = None;
        for address in addresses {
            match self.judge_address(reach, &permit.effect, address) {
                Ok(()) => reachable.push(address),
                Err(error) => refused = refused.or(Some(error)),
            }
        }
        match refused {
            Some(refused) if reachable.is_empty() => Err(refused),
            _ => Ok(reachable),
        }
    }

    fn judge_address(
        &self,
        reach: Reach,
        effect: &Effect,
        address: SocketAddr,
    ) -> Result<(), EffectError> {
        self.household.broker.judge_address(reach, effect, address.ip()).map_err(|denied| {
            self.record_denied(effect, &denied);
            EffectError::from(denied).network(NetworkTrouble::OffLimits)
        })
    }

    /// The secrets whose placeholders stand in a request.
    fn sent_along(&self, request: &HttpRequest) -> Result<Vec<PermittedSecret>, EffectError> {
        let mut along = Vec::new();
        let mut send = |name: String, way: SecretUse, stands: SecretStands| {
            let secret = PermittedSecret { name, stands };
            if along.contains(&secret) {
                return Ok(());
            }
            let (name, host) = (secret.name.clone(), request.host.clone());
            self.authorize(&Effect::SendSecret { name, way, host })?;
            along.push(secret);
            Ok::<(), EffectError>(())
        };
        for secret in request.headers.iter().flat_map(|(_, value)| self.secrets.found_in(&value.0))
        {
            let stands = SecretStands::InHeaders { placeholder: secret.placeholder };
            send(secret.name, SecretUse::Header, stands)?;
        }
        // A body for a host that is granted no secret goes as it is.
        if self.household.broker.sends_in_bodies(&self.circumstances, &request.host) {
            for secret in self.secrets.found_in(&request.body.0) {
                let stands = SecretStands::InBody { placeholder: secret.placeholder };
                send(secret.name, SecretUse::Body, stands)?;
            }
        }
        Ok(along)
    }

    /// The secrets that a program is to find in its environment.
    fn passed_along(&self, program: &Program) -> Result<Vec<PermittedSecret>, EffectError> {
        let mut passed = Vec::new();
        // A name stands for a secret where a rule of secrets names it, else for a variable of the
        // host.
        for name in program.env.iter().filter(|name| self.household.broker.passes(name)) {
            let Allowed::Variable(variable) = self.authorize(&Effect::PassSecret(name.clone()))?
            else {
                return Err(EffectError::mismatch());
            };
            let stands = SecretStands::AsVariable(variable);
            passed.push(PermittedSecret { name: name.clone(), stands });
        }
        Ok(passed)
    }
}

fn broke_off(error: &tokio::task::JoinError) -> EffectError {
    EffectError::new(FaultKind::Internal, format!("the host's work was interrupted: {error}"))
}
