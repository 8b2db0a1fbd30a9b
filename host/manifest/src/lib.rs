//! `agente.toml`: read with the place of everything, judged, and turned into the engine's types.
//!
//! The way of a manifest: bytes → tree with places (`syntax`, `tree`) → shape judged by the schema
//! of the wire types (`raw`, `schema`, `shape`) → environment merged (`environment`) → nothing
//! lacking (`missing`) → meaning judged and turned into domain types (`judge`) → [`Manifest`].
//!
//! Invariants: every mistake of a manifest is reported at once, each with its line and what to
//! change; no input upsets the loader; nothing but the files that the manifest names is touched,
//! and those are only looked at; the JSON Schema, the reference and what is accepted come from one
//! set of types.

mod environment;
mod files;
mod forms;
mod judge;
mod manifest;
mod missing;
mod mistake;
mod raw;
mod reference;
mod schema;
mod sections;
mod shape;
mod source;
mod spelling;
mod syntax;
mod template;
mod tree;
mod written;

pub use manifest::{AnalysisQuery, Manifest};
pub use mistake::{ManifestError, Mistake};
pub use reference::reference;
pub use schema::schema;
pub use sections::{
    ArtifactSource, MetricsSection, Overrides, PluginSection, SHIPPED_PLUGINS, SecretSource,
};
pub use source::Position;
pub use template::{Answers, TemplateKind, template};
