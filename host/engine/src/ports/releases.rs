//! Releases: immutable, numbered from 1 within their scope.

use crate::fault::Fault;
use crate::names::{ReleaseNumber, Scope};
use crate::release::{Artifact, Release, RuntimeSpec};
use async_trait::async_trait;

/// Keeps releases. None is ever changed, renumbered or removed.
#[async_trait]
pub trait Releases: Send + Sync {
    /// Makes the next release of a scope. Always a new number; two calls at once get two.
    async fn create_release(
        &self,
        scope: &Scope,
        artifact: Artifact,
        runtime: RuntimeSpec,
    ) -> Result<Release, Fault>;

    /// A release by its number.
    async fn release(&self, scope: &Scope, number: ReleaseNumber)
    -> Result<Option<Release>, Fault>;

    /// The releases of a scope, newest first, at most `limit`.
    async fn releases(&self, scope: &Scope, limit: u32) -> Result<Vec<Release>, Fault>;
}
