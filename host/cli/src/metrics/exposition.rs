//! The numbers in the classic text format of Prometheus, which `node_exporter`, Pushgateway and
//! every scraper read.
//!
//! Names and labels are a contract with other people's dashboards and alerts: they may grow, and
//! never change.

use crate::error::CliError;
use crate::metrics::figures::Figures;
use crate::metrics::ledger::ServiceNumbers;
use agente_engine::names::{ReleaseNumber, Timestamp};
use agente_engine::route::Slot;
use agente_wasm::CallFault;
use prometheus::{
    CounterVec, GaugeVec, HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts, Registry,
    TextEncoder,
};
use std::collections::BTreeMap;
use std::time::Duration;

/// In seconds. 900 is fifteen minutes, which no deployment should need.
const DEPLOYMENT_BUCKETS: [f64; 12] =
    [1.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1800.0, 3600.0, 7200.0];

/// In seconds. Most steps take less than one, a bake takes minutes.
const STEP_BUCKETS: [f64; 12] =
    [0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0];

/// In seconds. 300 is five minutes, which no way back should need.
const ROLLBACK_BUCKETS: [f64; 10] = [0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0];

/// The kinds and ends that are told from the beginning, as 0: a series that appears with its first
/// event hides that event from `increase`.
const KINDS: [&str; 3] = ["adopt", "deploy", "rollback"];
const OUTCOMES: [&str; 3] = ["promoted", "unwound", "refused"];
const FAULTS: [CallFault; 5] = [
    CallFault::Trapped,
    CallFault::OverBudget,
    CallFault::TimedOut,
    CallFault::Unfit,
    CallFault::Host,
];

/// Every metric, each with the labels of its scope first.
struct Instruments {
    registry: Registry,
    deployments: IntCounterVec,
    deployment_duration: HistogramVec,
    step_duration: HistogramVec,
    weight: GaugeVec,
    release: IntGaugeVec,
    open: IntGaugeVec,
    stuck: IntGaugeVec,
    last_end: GaugeVec,
    rollback_duration: HistogramVec,
    probe_requests: IntCounterVec,
    lost_requests: IntCounterVec,
    plugin_calls: IntCounterVec,
    plugin_faults: IntCounterVec,
    plugin_seconds: CounterVec,
    build: IntGaugeVec,
}

/// The labels of a metric: those of its scope, and its own.
fn labels<'a>(own: &[&'a str]) -> Vec<&'a str> {
    [&["service", "environment"], own].concat()
}

impl Instruments {
    fn new() -> prometheus::Result<Self> {
        let registry = Registry::new();
        let counter = |name, help, own: &[&str]| {
            let made = IntCounterVec::new(Opts::new(name, help), &labels(own))?;
            registry.register(Box::new(made.clone())).map(|()| made)
        };
        let gauge = |name, help, own: &[&str]| {
            let made = IntGaugeVec::new(Opts::new(name, help), &labels(own))?;
            registry.register(Box::new(made.clone())).map(|()| made)
        };
        let real_gauge = |name, help, own: &[&str]| {
            let made = GaugeVec::new(Opts::new(name, help), &labels(own))?;
            registry.register(Box::new(made.clone())).map(|()| made)
        };
        let histogram = |name, help, buckets: &[f64], own: &[&str]| {
            let made = HistogramVec::new(
                HistogramOpts::new(name, help).buckets(buckets.to_vec()),
                &labels(own),
            )?;
            registry.register(Box::new(made.clone())).map(|()| made)
        };
        let plugin_seconds = CounterVec::new(
            Opts::new(
                "agente_plugin_call_seconds_total",
                "Time spent in plugin calls, including waits.",
            ),
            &labels(&["plugin", "operation"]),
        )?;
        registry.register(Box::new(plugin_seconds.clone()))?;
        Ok(Self {
            deployments: counter(
                "agente_deployments_total",
                "Deployments that ended.",
                &["kind", "outcome"],
            )?,
            deployment_duration: histogram(
                "agente_deployment_duration_seconds",
                "Time from the first to the last journal entry of a deployment that ended.",
                &DEPLOYMENT_BUCKETS,
                &["kind", "outcome"],
            )?,
            step_duration: histogram(
                "agente_step_duration_seconds",
                "Duration of a step or its undo.",
                &STEP_BUCKETS,
                &["step", "result"],
            )?,
            weight: real_gauge(
                "agente_weight_ratio",
                "Share of requests routed to a slot by the routes last seen in force, 0 to 1.",
                &["slot"],
            )?,
            release: gauge(
                "agente_release_info",
                "A deployed release with its slot and role; always 1.",
                &["slot", "release", "role"],
            )?,
            open: gauge("agente_deployment_open", "Whether a deployment is open.", &[])?,
            stuck: gauge(
                "agente_deployment_stuck",
                "Whether the open deployment is stuck and needs manual intervention.",
                &[],
            )?,
            last_end: real_gauge(
                "agente_deployment_last_end_timestamp_seconds",
                "When a deployment last ended with this outcome.",
                &["outcome"],
            )?,
            rollback_duration: histogram(
                "agente_rollback_duration_seconds",
                "Time from the start of an unwind or a rollback until the routes were seen in \
                force.",
                &ROLLBACK_BUCKETS,
                &[],
            )?,
            probe_requests: counter(
                "agente_probe_requests_total",
                "Probe requests sent to the public URL during deployments.",
                &["result"],
            )?,
            lost_requests: counter(
                "agente_lost_requests_total",
                "Probe requests to the public URL that failed during deployments.",
                &[],
            )?,
            plugin_calls: counter(
                "agente_plugin_calls_total",
                "Plugin calls made for deployments.",
                &["plugin", "operation", "result"],
            )?,
            plugin_faults: counter(
                "agente_plugin_faults_total",
                "Plugin calls that returned no usable answer.",
                &["plugin", "kind"],
            )?,
            plugin_seconds,
            build: gauge(
                "agente_build_info",
                "The version of agente-host that exports these metrics; always 1.",
                &["version"],
            )?,
            registry,
        })
    }

    fn tell(&self, numbers: &ServiceNumbers) {
        let scope = [numbers.scope.service.as_str(), numbers.scope.environment.as_str()];
        let with = |own: &[&str]| -> Vec<String> {
            scope.iter().chain(own).map(|label| (*label).to_owned()).collect()
        };
        self.build.with_label_values(&with(&[env!("CARGO_PKG_VERSION")])).set(1);
        for (kind, outcome) in
            KINDS.iter().flat_map(|kind| OUTCOMES.iter().map(move |outcome| (kind, outcome)))
        {
            self.deployments.with_label_values(&with(&[kind, outcome])).inc_by(0);
        }
        let rollbacks = self.rollback_duration.with_label_values(&with(&[]));
        let mut last: BTreeMap<&str, Timestamp> = BTreeMap::new();
        for (_, figures) in &numbers.deployments {
            if let Some(end) = &figures.end {
                self.deployments.with_label_values(&with(&[&figures.kind, &end.outcome])).inc();
                self.deployment_duration
                    .with_label_values(&with(&[&figures.kind, &end.outcome]))
                    .observe(end.at.since(figures.opened).as_secs_f64());
                let newest = last.entry(&end.outcome).or_default();
                *newest = end.at.max(*newest);
                if let Some(way_back) = end.way_back {
                    rollbacks.observe(way_back.as_secs_f64());
                }
            }
            for step in &figures.steps {
                self.step_duration
                    .with_label_values(&with(&[step.step, step.result]))
                    .observe(step.took.as_secs_f64());
            }
        }
        for (outcome, at) in last {
            self.last_end
                .with_label_values(&with(&[outcome]))
                .set(Duration::from_millis(at.0).as_secs_f64());
        }
        self.tell_state(numbers, &with);
        self.tell_runs(numbers, &with);
    }

    /// What is live.
    fn tell_state(&self, numbers: &ServiceNumbers, with: &dyn Fn(&[&str]) -> Vec<String>) {
        let state = &numbers.state;
        let open = numbers.deployments.iter().find(|(id, _)| state.open.as_ref() == Some(id));
        let told_stuck = |figures: &Figures| {
            let runs =
                numbers.runs.iter().filter(|run| state.open.as_ref() == Some(&run.deployment));
            runs.filter_map(|run| run.figures.stuck_at).any(|at| figures.newest <= at)
        };
        let stuck = open.is_some_and(|(_, figures)| figures.stuck || told_stuck(figures));
        self.open.with_label_values(&with(&[])).set(i64::from(state.open.is_some()));
        self.stuck.with_label_values(&with(&[])).set(i64::from(stuck));
        if let Some(routes) = &state.routes {
            for slot in Slot::BOTH {
                self.weight
                    .with_label_values(&with(&[slot.as_str()]))
                    .set(f64::from(routes.weight(slot).basis_points()) / 10_000.0);
            }
        }
        let stands = |slot: Slot, release: ReleaseNumber, role: &str| {
            self.release
                .with_label_values(&with(&[slot.as_str(), &release.0.to_string(), role]))
                .set(1);
        };
        if let Some(stable) = &state.stable {
            stands(stable.slot, stable.release, "stable");
        }
        if let Some(kept) = &state.kept {
            stands(kept.standing.slot, kept.standing.release, "kept");
        }
        if let Some((_, figures)) = open {
            let promoted = state.stable.as_ref().is_some_and(|stable| {
                (stable.slot, stable.release) == (figures.slot, figures.release)
            });
            if !promoted {
                stands(figures.slot, figures.release, "candidate");
            }
        }
    }

    /// What runs kept beside the journal.
    fn tell_runs(&self, numbers: &ServiceNumbers, with: &dyn Fn(&[&str]) -> Vec<String>) {
        let probed = ["succeeded", "failed", "idle-reset"]
            .map(|result| self.probe_requests.with_label_values(&with(&[result])));
        let [succeeded, failed, idle_resets] = probed;
        let lost = self.lost_requests.with_label_values(&with(&[]));
        for run in &numbers.runs {
            if let Some(report) = &run.figures.probe {
                succeeded.inc_by(report.succeeded);
                failed.inc_by(report.failed_total());
                idle_resets.inc_by(report.idle_resets);
                lost.inc_by(report.failed_total());
            }
            for calls in &run.figures.calls {
                for (result, count) in &calls.results {
                    self.plugin_calls
                        .with_label_values(&with(&[&calls.plugin, &calls.operation, result]))
                        .inc_by(*count);
                }
                for fault in FAULTS {
                    self.plugin_faults
                        .with_label_values(&with(&[&calls.plugin, fault.name()]))
                        .inc_by(0);
                }
                for (kind, count) in &calls.faults {
                    self.plugin_faults
                        .with_label_values(&with(&[&calls.plugin, kind]))
                        .inc_by(*count);
                }
                let took = Duration::from_micros(calls.micros).as_secs_f64();
                self.plugin_seconds
                    .with_label_values(&with(&[&calls.plugin, &calls.operation]))
                    .inc_by(took);
            }
        }
    }
}

/// The numbers as text.
pub(crate) fn text(services: &[ServiceNumbers]) -> Result<String, CliError> {
    let written = Instruments::new().and_then(|instruments| {
        for numbers in services {
            instruments.tell(numbers);
        }
        TextEncoder::new().encode_to_string(&instruments.registry.gather())
    });
    written.map_err(|error| CliError::internal(format!("the metrics can't be encoded: {error}")))
}

#[cfg(test)]
mod tests;
