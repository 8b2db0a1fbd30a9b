//! The ports `PluginLog` and `Audit`: what plugins say, and what they do, as lines of our log.

use agente_wasm::{Audit, EffectRecord, LogLevel, PluginLog, PluginMessage};

/// Writes effects and messages of plugins to the log.
pub(crate) struct PluginLines;

impl Audit for PluginLines {
    fn record(&self, record: EffectRecord) {
        let EffectRecord { plugin, operation, phase, effect, denied, .. } = record;
        match denied {
            None => tracing::debug!(%plugin, operation, ?phase, "{effect}"),
            Some(why) => tracing::warn!(%plugin, operation, ?phase, "denied: {effect}: {why}"),
        }
    }
}

impl PluginLog for PluginLines {
    fn write(&self, message: PluginMessage) {
        let PluginMessage { plugin, operation, level, message, fields } = message;
        match level {
            LogLevel::Error => tracing::error!(%plugin, operation, ?fields, "{message}"),
            LogLevel::Warn => tracing::warn!(%plugin, operation, ?fields, "{message}"),
            LogLevel::Info => tracing::info!(%plugin, operation, ?fields, "{message}"),
            LogLevel::Debug => tracing::debug!(%plugin, operation, ?fields, "{message}"),
            LogLevel::Trace => tracing::trace!(%plugin, operation, ?fields, "{message}"),
        }
    }
}
