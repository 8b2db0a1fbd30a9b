//! Releases: immutable, numbered from 1 within their scope.

use crate::fault::Fault;
use crate::names::{ReleaseNumber, Scope};
use crate::release::{Artifact, Release, RuntimeSpec};
use async_trait::async_trait;

/// Keeps releases. None is ever changed, renumbered or removed.
///
/// Whoever reads, in whichever process, sees a release as soon as it is made.
#[async_trait]
pub trait Releases: Send + Sync {
    /// Makes the next release of a scope, dated by the store. Always a new number, also for an
    /// artifact that has one; two calls at once get two. A call that is dropped may have made one
    /// that nobody ever deploys.
    async fn create_release(
        &self,
        scope: &Scope,
        artifact: Artifact,
        runtime: RuntimeSpec,
    ) -> Result<Release, Fault>;

    /// A release by its number; none where there is no such number in the scope.
    async fn release(&self, scope: &Scope, number: ReleaseNumber)
    -> Result<Option<Release>, Fault>;

    /// The releases of a scope, newest first, at most `limit`.
    async fn releases(&self, scope: &Scope, limit: u32) -> Result<Vec<Release>, Fault>;
}
