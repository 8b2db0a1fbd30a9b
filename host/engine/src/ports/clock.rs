//! Time.

use crate::names::Timestamp;
use async_trait::async_trait;
use std::time::Duration;

/// Time. The engine knows no other.
///
/// Two clocks, because the one on the wall may be set, forward or back, in the middle of a
/// deployment.
#[async_trait]
pub trait Clock: Send + Sync {
    /// Now, by the clock on the wall: for what people and other systems read.
    fn now(&self) -> Timestamp;
    /// The time since some moment before, which only grows, at its own pace: for how long something
    /// takes.
    fn elapsed(&self) -> Duration;
    /// Returns after `duration`.
    async fn sleep(&self, duration: Duration);
}
