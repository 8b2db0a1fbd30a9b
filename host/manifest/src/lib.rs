//! agente.toml with positions, turned into domain types; JSON Schema
