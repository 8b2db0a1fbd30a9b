//! The contract of stores, kept by the one in memory.
#![allow(clippy::unwrap_used, reason = "it is all tests")]

use agente_engine::ports::Holder;
use agente_memory_store::MemoryStore;
use agente_store_contract::{HandClock, Stores};
use async_trait::async_trait;
use std::process::ExitCode;
use std::sync::Arc;

struct InMemory(MemoryStore);

#[async_trait]
impl Stores for InMemory {
    type Store = MemoryStore;

    async fn make(clock: Arc<HandClock>) -> Self {
        Self(MemoryStore::new(clock))
    }

    async fn open(&self) -> MemoryStore {
        self.0.clone()
    }

    fn holder(&self) -> Holder {
        Holder {
            user: "ann".into(),
            host: "desk".into(),
            pid: 1,
            started: 1,
            command: "agente-host deploy".into(),
            boot: "boot".into(),
            pid_namespace: "pid".into(),
        }
    }

    async fn cut(&self) {
        self.0.cut(true);
    }

    async fn mend(&self) {
        self.0.cut(false);
    }
}

fn main() -> ExitCode {
    agente_store_contract::run_with_target_locks::<InMemory>()
}
