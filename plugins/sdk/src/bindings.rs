//! What `wit-bindgen` makes of the contract. The only place where bindings are generated.
//!
//! Each interface that plugins export is generated once, in a world of its own; a component is the
//! union of the worlds that its macro names. The contract's own worlds
//! (`agente:traffic/traffic-switcher` …) would each bring `agente:plugin/meta` again.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::pedantic,
    clippy::indexing_slicing,
    reason = "generated"
)]

/// What the host offers.
pub mod imports {
    wit_bindgen::generate!({
        path: ["../../wit/types", "../../wit/host"],
        inline: "
            package agente:sdk;
            world imports {
                import agente:types/types@0.1.0;
                import agente:host/log@0.1.0;
                import agente:host/context@0.1.0;
                import agente:host/config@0.1.0;
                import agente:host/memory@0.1.0;
                import agente:host/files@0.1.0;
                import agente:host/tcp@0.1.0;
                import agente:host/secrets@0.1.0;
                import agente:host/reveal@0.1.0;
                import agente:host/exec@0.1.0;
                import agente:host/process@0.1.0;
            }
        ",
        world: "agente:sdk/imports",
        generate_all,
        generate_unused_types: true,
    });
}

/// What every plugin exports.
pub mod meta {
    wit_bindgen::generate!({
        path: ["../../wit/plugin"],
        inline: "
            package agente:sdk;
            world meta {
                export agente:plugin/meta@0.1.0;
            }
        ",
        world: "agente:sdk/meta",
        generate_all,
        pub_export_macro: true,
        export_macro_name: "export_meta",
    });
}

/// What a traffic switcher exports.
pub mod traffic {
    wit_bindgen::generate!({
        path: ["../../wit/types", "../../wit/plugin", "../../wit/host", "../../wit/traffic"],
        inline: "
            package agente:sdk;
            world traffic {
                export agente:traffic/switcher@0.1.0;
            }
        ",
        world: "agente:sdk/traffic",
        with: {
            "agente:types/types@0.1.0": crate::bindings::imports::agente::types::types,
            "agente:traffic/switcher@0.1.0": generate,
        },
        pub_export_macro: true,
        export_macro_name: "export_traffic",
    });
}

/// What a health check exports.
pub mod health {
    wit_bindgen::generate!({
        path: ["../../wit/types", "../../wit/plugin", "../../wit/host", "../../wit/health"],
        inline: "
            package agente:sdk;
            world health {
                export agente:health/checker@0.1.0;
            }
        ",
        world: "agente:sdk/health",
        with: {
            "agente:types/types@0.1.0": crate::bindings::imports::agente::types::types,
            "agente:health/checker@0.1.0": generate,
        },
        pub_export_macro: true,
        export_macro_name: "export_health",
    });
}

/// What a source of metrics exports beside a health check.
pub mod metrics {
    wit_bindgen::generate!({
        path: ["../../wit/types", "../../wit/plugin", "../../wit/host", "../../wit/health"],
        inline: "
            package agente:sdk;
            world metrics {
                export agente:health/metrics@0.1.0;
            }
        ",
        world: "agente:sdk/metrics",
        with: {
            "agente:types/types@0.1.0": crate::bindings::imports::agente::types::types,
            "agente:health/metrics@0.1.0": generate,
        },
        pub_export_macro: true,
        export_macro_name: "export_metrics",
    });
}
