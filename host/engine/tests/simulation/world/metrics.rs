//! The source of numbers of the simulation.

use super::{Sim, fault};
use agente_engine::fault::Fault;
use agente_engine::names::Timestamp;
use agente_engine::ports::*;
use agente_engine::route::Slot;
use agente_engine::verdict::Subject;
use async_trait::async_trait;
use std::collections::BTreeMap;
use std::time::Duration;

/// What the simulated source of metrics knows.
#[derive(Debug, Clone)]
pub struct Metrics {
    pub per_second: f64,
    pub candidate_fails: f64,
    pub stable_fails: f64,
    /// Away from here to there.
    pub away: Option<(u64, u64)>,
    /// Knows nothing of the candidate.
    pub blind: bool,
    pub missing: Vec<String>,
    /// How long an answer takes.
    pub takes: u64,
    pub(super) counted_until: u64,
    pub(super) sides: BTreeMap<Slot, Side>,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Side {
    pub(super) total: f64,
    pub(super) failed: f64,
    pub(super) points: Vec<(u64, f64, f64)>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            per_second: 400.0,
            candidate_fails: 0.0,
            stable_fails: 0.0,
            away: None,
            blind: false,
            missing: vec![],
            takes: 0,
            counted_until: 0,
            sides: BTreeMap::new(),
        }
    }
}
#[async_trait]
impl MetricSource for Sim {
    async fn read(
        &self,
        query: &MetricQuery,
        _: Wanted,
        subject: &Subject,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Reading, Fault> {
        let takes = self.inner().metrics.takes;
        if takes > 0 {
            self.time.sleep(Duration::from_millis(takes)).await;
        }
        self.look("metrics", |inner, now| {
            if inner.metrics.away.is_some_and(|(from, to)| now >= from && now < to) {
                return Err(fault("connection refused").retryable());
            }
            let slot = subject.slot.expect("a side is asked about");
            if inner.metrics.blind && inner.candidate_slot == Some(slot) {
                return Ok(Reading::default());
            }
            let errors = query.spec == "errors";
            let points =
                inner.metrics.sides.get(&slot).map(|side| side.points.clone()).unwrap_or_default();
            let window = points.into_iter().filter(|(at, ..)| *at >= from.0 && *at <= to.0);
            let points: Vec<(Timestamp, f64)> = window
                .map(|(at, total, failed)| (Timestamp(at), if errors { failed } else { total }))
                .collect();
            // As with real counters: no series for what never happened.
            let empty = points.last().is_none_or(|(_, value)| *value == 0.0);
            Ok(Reading {
                series: if empty { vec![] } else { vec![Series { labels: vec![], points }] },
                doubts: vec![],
            })
        })
        .await
        .and_then(|answer| answer)
    }

    async fn missing(&self, _: &MetricQuery) -> Result<Vec<String>, Fault> {
        Ok(self.inner().metrics.missing.clone())
    }
}
