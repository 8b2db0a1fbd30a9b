//! Our own numbers: what was deployed, how long it took, what was lost, and what plugins did.
//!
//! Invariants: all numbers but those of plugins and prober are folded from the journal, those two
//! from what each run kept beside it, so that they survive every process and are the same whoever
//! asks; nothing here changes what a deployment does or how it ends.

mod exposition;
mod figures;
mod gateway;
mod keeper;
mod ledger;
mod publish;
mod serve;

#[cfg(test)]
mod sample;

pub(crate) use exposition::text;
pub(crate) use keeper::RunKeeper;
pub(crate) use ledger::{Ledger, Of};
pub(crate) use publish::{check, publish};
pub(crate) use serve::serve_metrics;
