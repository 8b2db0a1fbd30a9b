//! The published schema of events, by which everything is judged that a run writes as JSON.

use boon::{Compiler, SchemaIndex, Schemas};
use serde_json::Value;
use std::sync::OnceLock;

const PUBLISHED: &str = include_str!("../../../docs/reference/events.schema.json");

/// Demands that an event is as the published schema says.
#[track_caller]
pub(super) fn expect_published(event: &Value) {
    static COMPILED: OnceLock<(Schemas, SchemaIndex)> = OnceLock::new();
    let (schemas, index) = COMPILED.get_or_init(|| {
        let schema = serde_json::from_str(PUBLISHED).expect("the schema is JSON");
        let (mut schemas, mut compiler) = (Schemas::new(), Compiler::new());
        compiler.add_resource("events", schema).expect("a schema");
        let index = compiler.compile("events", &mut schemas).expect("a schema that compiles");
        (schemas, index)
    });
    if let Err(error) = schemas.validate(event, *index) {
        panic!("`docs/reference/events.schema.json` does not know this event: {error:#}\n{event}");
    }
}
