//! The clock of the simulation.

use super::Sim;
use agente_engine::names::Timestamp;
use agente_engine::ports::Clock;
use async_trait::async_trait;
use std::time::Duration;

#[async_trait]
impl Clock for Sim {
    fn now(&self) -> Timestamp {
        let set = self.inner().wall_set;
        let now = self.time.now();
        set.filter(|(at, _)| now.0 >= *at)
            .map_or(now, |(_, by)| Timestamp(now.0.saturating_add_signed(by)))
    }
    fn elapsed(&self) -> Duration {
        Duration::from_millis(self.time.now().0)
    }
    async fn sleep(&self, duration: Duration) {
        self.time.sleep(duration).await;
    }
}
