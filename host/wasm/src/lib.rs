//! The plugin host: loads WebAssembly plugins and lets them do what they were granted, and nothing
//! else.
//!
//! Invariants of this crate:
//! - a plugin's request travels inside its component; the operator's grant lies in `agente.lock`;
//!   *effective = requested ∩ granted*;
//! - every effect of every plugin passes [`Broker::authorize`], which also records it; adapters
//!   convert and hold no policy;
//! - each operation runs on a fresh instance with its own budgets, which is gone when the operation
//!   ends;
//! - this crate does files, TCP and HTTP itself; programs, processes, logs, secrets and memory are
//!   done through the engine's ports.

mod address;
mod answer;
mod audit;
mod bindings;
mod blob;
mod broker;
mod cache;
mod calls;
mod capability;
mod component;
mod cpu;
mod effect;
mod effects;
mod egress;
mod exports;
mod failure;
mod grant;
mod guest;
mod handles;
mod host;
mod household;
mod kinds;
mod limits;
mod load;
mod lock_file;
mod masks;
mod operation;
mod paths;
mod performer;
mod plugin;
mod request;
mod running;
mod secrets;
mod stdio;
mod wanted;

pub use answer::{
    Answer, ConnectionEntry, EffectError, FileEntry, HttpResponse, NetworkTrouble, ProcessEntry,
    ProgramOutput,
};
pub use audit::{
    Audit, CallEnd, CallFault, CallRecord, EffectRecord, LogLevel, PluginLog, PluginMessage,
};
pub use blob::Blob;
pub use broker::{Allowed, Broker, Circumstances, Denied, DeniedBecause, Phase, Reach};
pub use cache::Compiled;
pub use capability::{
    Access, Capabilities, ExecPhase, ExecRule, FilesRule, LimitsRule, LogRule, NetRule,
    ProcessRule, SecretRule, SecretUse, TcpRule,
};
pub use component::{ComponentError, Inspection, REQUEST_SECTION, digest_of, inspect, pack};
pub use effect::{Effect, Handle, HttpRequest, Program};
pub use grant::{Difference, Grant};
pub use host::{HostError, HostOptions, PluginHost};
pub use household::PluginPorts;
pub use kinds::checker::WasmChecker;
pub use kinds::metrics::{MAX_POINTS, MAX_SERIES, WasmMetrics};
pub use kinds::switcher::WasmSwitcher;
pub use limits::{Limits, OverBudget};
pub use load::{GrantSource, LoadError, LoadInput, NotGranted};
pub use lock_file::{LockFile, LockFileError};
pub use operation::OperationContext;
pub use paths::{Follow, Paths};
pub use performer::{CallName, Performer, Permit, PermittedSecret, Seam, SecretStands};
pub use plugin::{ConfigProblem, Description, LoadTimes, Plugin, WarmInstance};
pub use request::{PluginHeader, PluginKind, PluginRequest, RequestError, acts_on_terminal};
pub use running::CallError;
