//! A manifest that has been read and judged, and the way back from it to the lines it was read
//! from.

use crate::judge::{self, CheckPlaces, Judge};
use crate::mistake::{Complaint, Findings, ManifestError, Mistake, located};
use crate::raw::RawManifest;
use crate::sections::{ArtifactSource, MetricsSection, Overrides, PluginSection, SecretSource};
use crate::shape::TakenOut;
use crate::source::{Position, SourceText};
use crate::tree::{KeyPath, Node};
use crate::{environment, missing, shape, syntax};
use agente_engine::names::{EnvironmentName, PluginName, Scope};
use agente_engine::policy::{Measure, Policy};
use agente_engine::ports::{MetricQuery, Wanted};
use agente_engine::release::RuntimeSpec;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

/// Nobody writes a longer manifest by hand; a larger file is another file.
const LARGEST_BYTES: u64 = 1 << 20;

/// A manifest without mistakes, for one environment.
#[derive(Debug, Clone)]
pub struct Manifest {
    /// The file, as the caller named it.
    pub path: PathBuf,
    /// Its folder, absolute, to which its paths are relative.
    pub directory: PathBuf,
    /// The service and the chosen environment.
    pub scope: Scope,
    /// All environments that it declares; empty where it declares none.
    pub environments: Vec<EnvironmentName>,
    /// Where the bits of a new release come from.
    pub artifact_source: ArtifactSource,
    /// How the backends run.
    pub runtime: RuntimeSpec,
    /// Where secrets come from.
    pub secrets: BTreeMap<String, SecretSource>,
    /// Every plugin that is declared or used.
    pub plugins: BTreeMap<PluginName, PluginSection>,
    /// The plugin that switches.
    pub switcher: PluginName,
    /// How to deploy.
    pub policy: Policy,
    /// Where the numbers about deployments go.
    pub metrics: MetricsSection,
    source: SourceText,
    document: Node,
    check_places: CheckPlaces,
}

/// One query of `[analysis]`: what a plugin will be asked for, and where it was written.
#[derive(Debug, Clone)]
pub struct AnalysisQuery<'m> {
    /// The measure's name, unique among all checks.
    pub check: &'m str,
    /// Under which key of the measure it stands: `errors`, `total`, `buckets` or `query`.
    pub key: &'static str,
    pub query: &'m MetricQuery,
    /// In which shape its numbers are wanted.
    pub wanted: Wanted,
    pub position: Position,
    path: KeyPath,
}

impl Manifest {
    /// Reads and judges a manifest for an environment; none means the only one.
    ///
    /// # Errors
    ///
    /// [`ManifestError`] with everything that is wrong, sorted by place. Nothing but the files that
    /// the manifest names is looked at.
    pub fn load(
        path: impl AsRef<Path>,
        environment: Option<&str>,
    ) -> Result<Manifest, ManifestError> {
        Self::load_with(
            path,
            &Overrides { environment: environment.map(str::to_owned), ..Overrides::default() },
        )
    }

    /// Reads and judges a manifest, where the command line says something else in part.
    ///
    /// # Errors
    ///
    /// As [`Manifest::load`].
    pub fn load_with(
        path: impl AsRef<Path>,
        overrides: &Overrides,
    ) -> Result<Manifest, ManifestError> {
        let path = path.as_ref();
        let bytes = read(path).map_err(|complaint| ManifestError::of_file(path, complaint))?;
        Self::from_bytes(path, bytes, overrides)
    }

    /// Judges the bytes of a manifest that stands, or will stand, at `path`.
    ///
    /// # Errors
    ///
    /// As [`Manifest::load`].
    pub fn from_bytes(
        path: &Path,
        bytes: Vec<u8>,
        overrides: &Overrides,
    ) -> Result<Manifest, ManifestError> {
        let source = match String::from_utf8(bytes) {
            Ok(text) => SourceText::new(text),
            Err(error) => return Err(not_text(path, &error)),
        };
        let parent =
            path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        // Absolute, because what runs later may run in another folder.
        let directory = std::path::absolute(parent).unwrap_or_else(|_| parent.to_owned());
        let mut findings = Findings::new(path, &source);
        let judged = judged(&directory, overrides, &mut findings);
        findings.into_error()?;
        let Some((scope, environments, document, judged)) = judged else {
            let complaint = Complaint::new(
                "the manifest could not be parsed",
                "this is a bug in agente-host; report it with the manifest",
            );
            return Err(ManifestError::of_file(path, complaint));
        };
        Ok(Manifest {
            path: path.to_owned(),
            directory,
            scope,
            environments,
            artifact_source: judged.artifact_source,
            runtime: judged.runtime,
            secrets: judged.secrets,
            plugins: judged.plugins,
            switcher: judged.switcher,
            policy: judged.policy,
            metrics: judged.metrics,
            source,
            document,
            check_places: judged.check_places,
        })
    }

    /// The line of a key in a plugin's `config`, given as keys joined by dots; of the nearest table
    /// above it where the key is not there. None where the manifest has no table for the
    /// plugin.
    pub fn line_of(&self, plugin: &PluginName, dotted: &str) -> Option<usize> {
        let at = self.config_path(plugin, dotted)?;
        Some(self.position(&at).line)
    }

    /// Gives what a plugin says about its configuration its place in this file.
    pub fn plugin_mistake(&self, plugin: &PluginName, dotted: &str, message: &str) -> Mistake {
        let at = self.config_path(plugin, dotted).unwrap_or_else(|| KeyPath::of("switch.plugin"));
        let key =
            join(&KeyPath::of("plugins").key(plugin.as_str()).key("config").to_string(), dotted);
        let fix = format!(
            "correct it; `agente-host plugin inspect {plugin}` lists the plugin's \
            settings"
        );
        self.mistake(&at, key, Complaint::new(format!("{plugin}: {message}"), fix))
    }

    /// Gives what a plugin says about a check's `spec` its place in this file.
    pub fn check_mistake(&self, check: &str, dotted: &str, message: &str) -> Mistake {
        let base = self.check_places.get(check).cloned().unwrap_or_else(|| KeyPath::of("checks"));
        let at = base.resolve(&self.document, dotted);
        let plugin = self
            .policy
            .checks
            .iter()
            .find(|policy| policy.name == check)
            .map_or("its plugin", |policy| policy.plugin.as_str());
        let fix = format!(
            "correct it; `agente-host plugin inspect {plugin}` lists the plugin's \
            settings"
        );
        self.mistake(
            &at,
            join(&base.to_string(), dotted),
            Complaint::new(format!("check `{check}`: {message}"), fix),
        )
    }

    /// Every query of `[analysis]`, for the plugins that will be asked.
    pub fn queries(&self) -> Vec<AnalysisQuery<'_>> {
        let checks = self.policy.analysis.iter().flat_map(|analysis| &analysis.checks).enumerate();
        let queries = checks.flat_map(|(index, check)| {
            let keys: &[&'static str] = match &check.measure {
                Measure::Errors { .. } => &["errors", "total"],
                Measure::Latency { .. } => &["buckets"],
                Measure::Value { .. } => &["query"],
            };
            let at = KeyPath::of("analysis.checks").index(index);
            check.measure.queries().into_iter().zip(keys).map(move |((query, wanted), key)| {
                let path = at.key(key);
                AnalysisQuery {
                    check: &check.name,
                    key,
                    query,
                    wanted,
                    position: self.position(&path),
                    path,
                }
            })
        });
        queries.collect()
    }

    /// Gives what a plugin says about a query its place in this file; an empty `dotted` means the
    /// query as a whole.
    pub fn query_mistake(&self, query: &AnalysisQuery<'_>, dotted: &str, message: &str) -> Mistake {
        // A text is short for a table, so what is within has no place of its own.
        let dotted = if self.document.at(&query.path).is_some_and(|node| node.text().is_some()) {
            ""
        } else {
            dotted
        };
        let at = query.path.resolve(&self.document, dotted);
        let plugin = &query.query.plugin;
        let fix = format!(
            "correct it; `agente-host plugin inspect {plugin}` lists the plugin's \
            settings"
        );
        let message = format!("check `{}`, `{}`: {message}", query.check, query.key);
        self.mistake(&at, join(&query.path.to_string(), dotted), Complaint::new(message, fix))
    }

    /// Gives something that is wrong with the value of a key of the manifest
    /// (`runtime.process.ports`) its place in this file.
    pub fn mistake_at(&self, dotted: &str, message: &str, fix: &str) -> Mistake {
        let at = KeyPath::root().resolve(&self.document, dotted);
        self.mistake(&at, dotted.to_owned(), Complaint::new(message, fix))
    }

    /// The place of a key of the manifest, or of the nearest table above it.
    pub fn position_of(&self, dotted: &str) -> Position {
        self.position(&KeyPath::root().resolve(&self.document, dotted))
    }

    fn config_path(&self, plugin: &PluginName, dotted: &str) -> Option<KeyPath> {
        let section = KeyPath::of("plugins").key(plugin.as_str());
        self.document.at(&section)?;
        let config = section.key("config");
        Some(if self.document.at(&config).is_some() {
            config.resolve(&self.document, dotted)
        } else {
            section
        })
    }

    fn position(&self, at: &KeyPath) -> Position {
        self.source.position(self.document.place_of(at).start)
    }

    fn mistake(&self, at: &KeyPath, key: String, complaint: Complaint) -> Mistake {
        located(&self.path, &self.source, &self.document.place_of(at), key, complaint)
    }
}

impl From<Vec<Mistake>> for ManifestError {
    /// Gathers mistakes found after loading, sorted by place. The caller has at least one.
    fn from(mut mistakes: Vec<Mistake>) -> Self {
        mistakes.sort_by(|a, b| (&a.path, a.line, a.column).cmp(&(&b.path, b.line, b.column)));
        Self { mistakes }
    }
}

fn join(base: &str, dotted: &str) -> String {
    if dotted.is_empty() { base.to_owned() } else { format!("{base}.{dotted}") }
}

/// A judged document.
type Whole = (Scope, Vec<EnvironmentName>, Node, judge::Judged);

fn judged(directory: &Path, overrides: &Overrides, findings: &mut Findings<'_>) -> Option<Whole> {
    let document = syntax::parse(findings)?;
    let (unsound, lines) = (findings.count(), findings.lines());
    let whole = judge_document(document, directory, overrides, findings);
    // What follows from a syntax error in the same line is the same mistake.
    findings.drop_after_on(unsound, &lines);
    whole
}

fn judge_document(
    document: Node,
    directory: &Path,
    overrides: &Overrides,
    findings: &mut Findings<'_>,
) -> Option<Whole> {
    let (document, taken_out) = shape::prune(document, findings);
    let selected = environment::select(document, overrides.environment.as_deref(), findings);
    // What was taken out of the chosen environment is missing from the merged document.
    let prefix = selected
        .name
        .as_ref()
        .map(|name| format!("{}.", KeyPath::of("environments").key(name.as_str())));
    let mut taken_out: TakenOut = taken_out
        .into_iter()
        .map(|path| {
            prefix
                .as_deref()
                .and_then(|prefix| path.strip_prefix(prefix))
                .map_or(path.clone(), str::to_owned)
        })
        .collect();
    // Without an environment the document is only the part that all share: what it lacks may stand
    // in one of them.
    selected.name.as_ref()?;
    let document = selected.document;
    // What the command line says need not stand in the manifest.
    let said = [
        ("runtime.docker.image", overrides.image.is_some()),
        ("runtime.process.artifact", overrides.artifact.is_some()),
    ];
    taken_out.extend(said.into_iter().filter(|&(_, said)| said).map(|(path, _)| path.to_owned()));
    missing::report(&document, &taken_out, findings);
    let raw: RawManifest = match serde_json::from_value(document.to_json()) {
        Ok(raw) => raw,
        Err(error) => {
            if findings.is_empty() {
                findings.add(
                    &(0..0),
                    String::new(),
                    Complaint::new(
                        format!("the manifest could not be parsed: {error}"),
                        "correct what the message names",
                    ),
                );
            }
            return None;
        }
    };
    let mut judge =
        Judge { document: &document, taken_out: &taken_out, directory, overrides, findings };
    let judged = judge::judge(raw, &mut judge)?;
    let scope = Scope { service: judged.service.clone(), environment: selected.name? };
    Some((scope, selected.declared, document, judged))
}

fn read(path: &Path) -> Result<Vec<u8>, Complaint> {
    let shown = path.display();
    let here = "give the path of a manifest, or create one with `agente-host init`";
    let metadata = path.metadata().map_err(|error| match error.kind() {
        ErrorKind::NotFound => Complaint::new("there is no such file", here),
        _ => Complaint::new(format!("it can't be inspected: {error}"), here),
    })?;
    if metadata.is_dir() {
        return Err(Complaint::new(
            "it is a directory, not a file",
            format!("name the file: `{}`", path.join("agente.toml").display()),
        ));
    }
    if !metadata.is_file() {
        return Err(Complaint::new("it is not a regular file", here));
    }
    let mut bytes = Vec::new();
    let file =
        File::open(path).and_then(|file| file.take(LARGEST_BYTES + 1).read_to_end(&mut bytes));
    file.map_err(|error| {
        Complaint::new(
            format!("it can't be read: {error}"),
            format!("give this user permission to read `{shown}`"),
        )
    })?;
    if bytes.len() as u64 > LARGEST_BYTES {
        return Err(Complaint::new("it is larger than 1MiB, the maximum for a manifest", here));
    }
    Ok(bytes)
}

fn not_text(path: &Path, error: &std::string::FromUtf8Error) -> ManifestError {
    let good = error.utf8_error().valid_up_to();
    let text = String::from_utf8_lossy(error.as_bytes()).into_owned();
    let source = SourceText::new(text);
    let complaint =
        Complaint::new("this is not UTF-8, which TOML must be", "save the file as UTF-8");
    // Up to the first bad byte the lossy text has the same bytes.
    let mistake =
        located(path, &source, &(good..good + '\u{fffd}'.len_utf8()), String::new(), complaint);
    ManifestError { mistakes: vec![mistake] }
}
