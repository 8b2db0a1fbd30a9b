//! Doing for real what was permitted. Nothing here decides.

mod files;
mod http;
pub(crate) mod links;
mod live;
mod memory;
mod open;
mod programs;
pub(crate) mod resolve;
mod secrets;
mod tcp;
pub(crate) mod tls;

pub(crate) use live::Live;

use crate::answer::{Answer, EffectError};
use crate::effect::{Effect, Handle};
use crate::paths::{Follow, Paths};
use crate::performer::{Performer, Permit};
use async_trait::async_trait;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

impl Paths for Live {
    fn follow(&self, path: &Path, how: Follow) -> Vec<PathBuf> {
        links::follow(path, how)
    }
}

#[async_trait]
impl Performer for Live {
    async fn look_up(
        &self,
        host: &str,
        port: u16,
        limit: Duration,
    ) -> Result<Vec<SocketAddr>, EffectError> {
        resolve::look_up(&self.household.lookups, host, port, limit.min(self.remaining())).await
    }

    async fn perform(&self, permit: &Permit) -> Result<Answer, EffectError> {
        match &permit.effect {
            Effect::ReadFile(path) => files::read(self, path, &permit.allowed),
            Effect::LookAtFile(path) => files::look_at(path, &permit.allowed),
            Effect::ListFolder(path) => files::list(path, &permit.allowed),
            Effect::ReplaceFile { path, bytes, mode } => {
                files::replace(self, path, &bytes.0, *mode, &permit.allowed)
            }
            Effect::RemoveFile(path) => files::remove(self, path, &permit.allowed),
            Effect::Run(program) => programs::run(self, program, permit).await,
            Effect::ListProcesses(of) => programs::tree(self, of).await,
            Effect::ListConnections(of) => programs::connections(self, of).await,
            Effect::Signal { of, signal } => programs::signal(self, of, signal).await,
            Effect::MarkLog(path) => programs::log_mark(self, path).await,
            Effect::ReadLog { path, mark, max_bytes } => {
                programs::log_since(self, path, *mark, *max_bytes).await
            }
            Effect::Connect { host, port, timeout_ms } => {
                tcp::connect(self, host, *port, *timeout_ms, &permit.addresses).await
            }
            Effect::Receive { from, max_bytes, timeout_ms } => {
                tcp::receive(self, *from, *max_bytes, *timeout_ms).await
            }
            Effect::Send { to, bytes, timeout_ms } => {
                tcp::send(self, *to, &bytes.0, *timeout_ms).await
            }
            Effect::Request(request) => http::request(self, request, permit).await,
            Effect::ReceiveBody(of) => http::receive_body(self, *of).await,
            Effect::OpenSecret(_) => Ok(Answer::Placeholder(secrets::placeholder())),
            Effect::RevealSecret(name) => secrets::value(self, name).await.map(Answer::Secret),
            // Parts of others, which are done with them.
            Effect::SendSecret { .. } | Effect::PassSecret(_) => Err(EffectError::mismatch()),
            Effect::Recall(key) => memory::get(self, key).await,
            Effect::Remember { key, value } => memory::set(self, key, value.as_ref()).await,
        }
    }

    fn close(&self, handle: Handle) {
        self.open.close(handle);
    }
}
