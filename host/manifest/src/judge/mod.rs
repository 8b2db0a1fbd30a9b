//! What a manifest means: from wire types to the engine's types, with everything that can't be.
//!
//! One file per table. Invariant: every part judges all that it has, reports each mistake once, at
//! its own place, and answers none only where it or the shape of the manifest has reported why.

mod analysis;
mod checks;
mod endpoints;
mod measure;
mod metrics;
mod plugins;
mod probe;
mod runtime;
mod secrets;
mod strategy;

pub(crate) use checks::CheckPlaces;

use crate::mistake::{Complaint, Findings};
use crate::raw::RawManifest;
use crate::schema::{inner, kinds_of};
use crate::sections::{ArtifactSource, MetricsSection, Overrides, PluginSection, SecretSource};
use crate::shape::TakenOut;
use crate::tree::{KeyPath, Node};
use agente_engine::names::{PluginName, ServiceName};
use agente_engine::policy::{Policy, Strategy};
use agente_engine::release::RuntimeSpec;
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What every part needs to judge.
pub(crate) struct Judge<'a, 'f> {
    /// The merged document, for places.
    pub(crate) document: &'a Node,
    /// What was taken out because it was of a wrong kind.
    pub(crate) taken_out: &'a TakenOut,
    /// The folder of the manifest.
    pub(crate) directory: &'a Path,
    /// What the command line says instead.
    pub(crate) overrides: &'a Overrides,
    /// Where mistakes go.
    pub(crate) findings: &'a mut Findings<'f>,
}

impl Judge<'_, '_> {
    /// Reports a complaint about the value at a path, or about the table that should hold it.
    fn object(&mut self, at: &KeyPath, complaint: Complaint) {
        self.findings.add(&self.document.place_of(at), at.to_string(), complaint);
    }

    /// Reports a complaint about the name of an entry.
    fn object_to_name(&mut self, at: &KeyPath, complaint: Complaint) {
        let place =
            self.document.at(at).map_or_else(|| self.document.place_of(at), Node::name_place);
        self.findings.add(&place, at.to_string(), complaint);
    }

    /// Takes the value of a judgement, or reports why there is none.
    fn accept<T>(&mut self, at: &KeyPath, judged: Result<T, Complaint>) -> Option<T> {
        judged.map_err(|complaint| self.object(at, complaint)).ok()
    }

    /// Where a path in the manifest leads.
    fn resolve(&self, written: &str) -> PathBuf {
        self.directory.join(written)
    }

    /// Whether something stands at a path.
    fn is_written(&self, at: &KeyPath) -> bool {
        self.document.at(at).is_some()
    }

    /// Whether what stood at a path was of a wrong kind and has been reported.
    fn is_taken_out(&self, at: &KeyPath) -> bool {
        self.taken_out.contains(&at.to_string())
    }

    /// Reports the keys of a table, whose definition in the schema has this name, that belong to
    /// other kinds than the one it is of.
    fn belong(&mut self, at: &KeyPath, definition: &str, kind: &str) {
        let Some(schema) = inner().get("$defs").and_then(|definitions| definitions.get(definition))
        else {
            return;
        };
        let chooser = schema.get("x-kind").and_then(Json::as_str).unwrap_or_default();
        let document = self.document;
        for key in document.at(at).and_then(Node::table).into_iter().flatten().map(|(key, _)| key) {
            let Some(kinds) = kinds_of(schema, key).filter(|kinds| !kinds.contains(&kind)) else {
                continue;
            };
            let kinds = kinds
                .iter()
                .map(|kind| format!("`{chooser} = \"{kind}\"`"))
                .collect::<Vec<_>>()
                .join(" or ");
            let here = at.key(key);
            self.object_to_name(
                &here,
                Complaint::new(
                    format!("`{here}` belongs to {kinds}, and this is `{kind}`"),
                    format!("remove it, or set {kinds}"),
                ),
            );
        }
    }

    /// The line of the value at a path.
    fn line_of(&self, at: &KeyPath) -> usize {
        self.findings.source().position(self.document.place_of(at).start).line
    }

    /// Reports a duration of zero where there is nothing to wait for in no time.
    fn longer_than_nothing(&mut self, at: &KeyPath, duration: Duration, fix: &str) {
        if duration.is_zero() {
            self.object(at, Complaint::new(format!("`{at}` can't be `0s`"), fix));
        }
    }
}

/// All that a manifest means.
pub(crate) struct Judged {
    pub(crate) service: ServiceName,
    pub(crate) artifact_source: ArtifactSource,
    pub(crate) runtime: RuntimeSpec,
    pub(crate) secrets: BTreeMap<String, SecretSource>,
    pub(crate) plugins: BTreeMap<PluginName, PluginSection>,
    pub(crate) switcher: PluginName,
    pub(crate) policy: Policy,
    pub(crate) metrics: MetricsSection,
    pub(crate) check_places: CheckPlaces,
}

/// Judges a whole manifest; none where a mistake was reported.
pub(crate) fn judge(raw: RawManifest, judge: &mut Judge<'_, '_>) -> Option<Judged> {
    let service = raw.service.and_then(|name| {
        let at = KeyPath::of("service");
        judge.accept(
            &at,
            ServiceName::new(name).map_err(|error| {
                Complaint::new(error.to_string(), "write a name such as `service = \"shop\"`")
            }),
        )
    });
    let secrets = secrets::judge(judge, raw.secrets);
    let runtime = raw.runtime.and_then(|runtime| runtime::judge(judge, runtime));
    let mut plugins = plugins::judge(judge, raw.plugins);
    let switcher = raw.switch.and_then(|switch| plugins::switcher(judge, &mut plugins, switch));
    let ports = runtime.as_ref().and_then(|runtime| runtime.ports);
    let probed = raw.probe.is_some() || judge.taken_out.contains("probe");
    let probe = raw.probe.and_then(|probe| probe::judge(judge, probe, ports));
    let extended = raw.analysis.as_ref().map_or(Duration::ZERO, |analysis| {
        analysis.initial_delay.duration().saturating_add(analysis.extend.duration())
    });
    let strategy = strategy::judge(judge, raw.strategy, extended);
    let timeouts = strategy::timeouts(judge, &raw.timeouts);
    let watched = strategy.shortest_pause.map(|pause| pause.saturating_add(extended));
    let shared = strategy.kind != Strategy::BlueGreen;
    let around = checks::Around { timeouts, bake: strategy.bake, probed, shared, watched };
    let (policy_checks, check_places) =
        checks::judge(judge, &mut plugins, raw.checks, raw.health, &around);
    let beside = analysis::Beside {
        switcher: switcher.as_ref(),
        checks: &policy_checks,
        places: &check_places,
        bake: strategy.bake,
        shared,
        watched,
    };
    let analysis =
        raw.analysis.and_then(|analysis| analysis::judge(judge, &mut plugins, analysis, &beside));
    let metrics = metrics::judge(judge, raw.metrics);
    let runtime = runtime?;
    Some(Judged {
        service: service?,
        artifact_source: runtime.artifact,
        runtime: runtime.spec,
        secrets,
        plugins,
        switcher: switcher?,
        policy: Policy {
            strategy: strategy.kind,
            checks: policy_checks,
            analysis,
            on_open: strategy.on_open,
            probe,
            bake: strategy.bake,
            drain: strategy.drain,
            keep_previous: strategy.keep_previous,
            timeouts,
            candidate_overrides: strategy.overrides,
            min_free_disk_bytes: raw.disk.min_free.bytes(),
        },
        metrics,
        check_places,
    })
}
