//! The ports of the engine and of the plugin host, as this machine has them. What tells people
//! about a deployment, the port `Observer`, is in `output`.

mod call_counter;
mod checks;
mod clock;
mod measures;
mod plugin_log;
mod runtime;
mod secrets;

pub(crate) use call_counter::CallCounter;
pub(crate) use checks::Checks;
pub(crate) use clock::{SystemClock, now};
pub(crate) use measures::Measures;
pub(crate) use plugin_log::PluginLines;
pub(crate) use runtime::AnyRuntime;
pub(crate) use secrets::ManifestSecrets;
