//! What the contract becomes in Rust: generated, one module per world. Nothing here decides
//! anything.

/// What the host offers, and the exports that every plugin has.
pub(crate) mod any {
    wasmtime::component::bindgen!({
        path: ["../../wit/types", "../../wit/plugin", "../../wit/host"],
        inline: "
            package agente:embedding;
            world any-plugin {
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
                export agente:plugin/meta@0.1.0;
            }
        ",
        world: "agente:embedding/any-plugin",
        imports: { default: async | trappable },
        exports: { default: async },
        with: {
            "agente:host/tcp.connection": crate::handles::Connection,
            "agente:host/secrets.secret": crate::handles::OpenSecret,
        },
    });
}

/// A traffic switcher.
pub(crate) mod traffic {
    wasmtime::component::bindgen!({
        path: ["../../wit/types", "../../wit/plugin", "../../wit/host", "../../wit/traffic"],
        inline: "
            package agente:embedding;
            world switcher-plugin {
                import agente:types/types@0.1.0;
                export agente:traffic/switcher@0.1.0;
            }
        ",
        world: "agente:embedding/switcher-plugin",
        exports: { default: async },
        with: { "agente:types/types@0.1.0": super::any::agente::types::types },
    });
}

/// A health check.
pub(crate) mod health {
    wasmtime::component::bindgen!({
        path: ["../../wit/types", "../../wit/plugin", "../../wit/host", "../../wit/health"],
        inline: "
            package agente:embedding;
            world checker-plugin {
                import agente:types/types@0.1.0;
                export agente:health/checker@0.1.0;
            }
        ",
        world: "agente:embedding/checker-plugin",
        exports: { default: async },
        with: { "agente:types/types@0.1.0": super::any::agente::types::types },
    });
}

/// A source of metrics, which is a health check as well.
pub(crate) mod metrics {
    wasmtime::component::bindgen!({
        path: ["../../wit/types", "../../wit/plugin", "../../wit/host", "../../wit/health"],
        inline: "
            package agente:embedding;
            world metrics-plugin {
                import agente:types/types@0.1.0;
                export agente:health/metrics@0.1.0;
            }
        ",
        world: "agente:embedding/metrics-plugin",
        exports: { default: async },
        with: { "agente:types/types@0.1.0": super::any::agente::types::types },
    });
}
