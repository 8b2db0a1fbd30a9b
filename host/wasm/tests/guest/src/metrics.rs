//! The guest as a source of metrics: what `reading` in its configuration says, after it has acted.

mod bindings {
    wit_bindgen::generate!({
        path: ["../../../../wit/types", "../../../../wit/plugin", "../../../../wit/host", "../../../../wit/health"],
        inline: "
            package agente:test;
            world metrics {
                export agente:health/metrics@0.1.0;
            }
        ",
        world: "agente:test/metrics",
        with: {
            "agente:types/types@0.1.0": crate::bindings::agente::types::types,
            "agente:health/metrics@0.1.0": generate,
        },
    });
}

use crate::bindings::agente::types::types::{Failure, Subject};
use crate::{Guest, act, number, settings, text};
use bindings::exports::agente::health::metrics::{self, Reading, Series};

impl metrics::Guest for Guest {
    fn query(
        about: Subject,
        spec_json: String,
        wanted: String,
        start_ms: u64,
        end_ms: u64,
    ) -> Result<Reading, Failure> {
        let settings = settings();
        let said = act(&settings)?;
        let count = number(&settings, "count", 1);
        let one = |points| Series { labels: vec![("a".into(), "b".into())], points };
        let series = match text(&settings, "reading") {
            "nan" => vec![one(vec![(1, 1.0), (2, f64::NAN)])],
            "infinite" => vec![one(vec![(1, f64::NEG_INFINITY)])],
            "backwards" => vec![one(vec![(2, 1.0), (1, 2.0)])],
            "twice" => vec![one(vec![(1, 1.0), (1, 2.0)])],
            "points" => vec![one((0..count).map(|at| (at, 1.0)).collect())],
            "series" => (0..count).map(|_| one(vec![(1, 1.0)])).collect(),
            _ => vec![one(vec![(start_ms, 1.5), (end_ms, 2.5)])],
        };
        let doubts = vec![said, format!("{} {} {spec_json} {wanted}", about.slot, about.release)];
        Ok(Reading { series, doubts })
    }

    fn missing(_spec_json: String) -> Result<Vec<String>, Failure> {
        act(&settings()).map(|said| vec![said])
    }

    fn check_query(spec_json: String, wanted: String) -> Vec<(String, String)> {
        if spec_json == "{}" {
            vec![("query".into(), format!("is missing for {wanted}"))]
        } else {
            Vec::new()
        }
    }
}

bindings::export!(Guest with_types_in bindings);
