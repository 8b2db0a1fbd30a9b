//! Running a call: a fresh instance armed with its budgets, one function, and its end told apart.

use crate::audit::{CallEnd, CallFault};
use crate::bindings::any::agente::types::types as wit;
use crate::calls::OnFailure;
use crate::exports::Instantiate;
use crate::failure::kind_of;
use crate::guest::Guest;
use crate::host::Shared;
use crate::limits::{MAX_HANDLES, OverBudget};
use crate::operation::Operation;
use agente_engine::fault::{Failure, Fault, FaultKind};
use agente_units::Span;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};
use wasmtime::{Store, UpdateDeadline};

/// Why a call of a plugin gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// It trapped.
    #[error("it trapped: {trap}")]
    Trapped {
        /// The kind of trap.
        trap: String,
        /// What it wrote last.
        last_words: Vec<String>,
    },
    /// It used up a budget.
    #[error("it was stopped: {0}")]
    OverBudget(#[source] OverBudget),
    /// It took too long by the clock.
    #[error("it did not answer within {limit}")]
    TimedOut { limit: Span },
    /// It, or an answer of it, doesn't fit the contract.
    #[error("it violates the contract: {0}")]
    Unfit(String),
    /// The host could not run it.
    #[error("the host could not run it: {0}")]
    Host(String),
}

impl CallError {
    /// What is counted.
    fn class(&self) -> CallFault {
        match self {
            CallError::Trapped { .. } => CallFault::Trapped,
            CallError::OverBudget(_) => CallFault::OverBudget,
            CallError::TimedOut { .. } => CallFault::TimedOut,
            CallError::Unfit(_) => CallFault::Unfit,
            CallError::Host(_) => CallFault::Host,
        }
    }

    /// As a fault of the engine; `whose` names the plugin and its version.
    pub(crate) fn into_fault(self, whose: &str, operation: &str) -> Fault {
        let kind = match &self {
            CallError::Trapped { .. } | CallError::OverBudget(_) | CallError::Unfit(_) => {
                FaultKind::PluginCrashed
            }
            CallError::TimedOut { .. } => FaultKind::TimedOut,
            CallError::Host(_) => FaultKind::Internal,
        };
        let mut fault =
            Fault::new(kind, format!("the plugin {whose} did not finish `{operation}`: {self}"));
        match self {
            CallError::Trapped { last_words, .. } => {
                fault.causes =
                    last_words.into_iter().map(|line| format!("it wrote: {line}")).collect();
            }
            CallError::OverBudget(budget) => fault.hint = budget.hint(),
            CallError::TimedOut { .. } => {
                fault = fault
                    .hint(
                        "check whether its target answers; `limits = { wall = … }` in plugin.toml \
                        and in the grant allows more time",
                    )
                    .retryable();
            }
            CallError::Unfit(_) | CallError::Host(_) => {}
        }
        fault
    }
}

/// A store for one operation, armed with its budgets.
pub(crate) fn store(
    shared: &Shared,
    operation: &Arc<Operation>,
) -> Result<Store<Guest>, CallError> {
    if !shared.is_ticking() {
        return Err(CallError::Host("the thread that measures plugins' time has ended".to_owned()));
    }
    let mut store = Store::new(&shared.engine, Guest::new(Arc::clone(operation)));
    store.limiter(|guest| &mut guest.memory);
    store.set_hostcall_fuel(
        usize::try_from(operation.household.limits.hostcall.bytes()).unwrap_or(usize::MAX),
    );
    store.set_max_component_handles(MAX_HANDLES);
    store.set_epoch_deadline(1);
    store.epoch_deadline_callback(|context| {
        context.data().operation.cpu.look()?;
        Ok(UpdateDeadline::YieldCustom(1, Box::pin(tokio::task::yield_now())))
    });
    Ok(store)
}

/// Runs a call within the operation's time, and tells its failures apart.
pub(crate) async fn bounded<R>(
    operation: &Operation,
    call: impl Future<Output = wasmtime::Result<R>>,
) -> Result<R, CallError> {
    let started = Instant::now();
    let limit = operation.remaining();
    let answer = match tokio::time::timeout(limit, operation.cpu.count(call)).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(told_apart(operation, &error)),
        Err(_) => {
            tracing::debug!(
                plugin = %operation.household.plugin,
                operation = operation.call.name,
                elapsed = ?started.elapsed(),
                "a plugin took too long"
            );
            Err(CallError::TimedOut {
                limit: Span::from(Duration::from_millis(
                    u64::try_from(limit.as_millis()).unwrap_or(u64::MAX).max(1),
                )),
            })
        }
    };
    operation.note_end(
        answer.as_ref().err().map_or(CallEnd::Answered, |error| CallEnd::Faulted(error.class())),
    );
    answer
}

fn told_apart(operation: &Operation, error: &wasmtime::Error) -> CallError {
    if let Some(budget) = error.downcast_ref::<OverBudget>() {
        return CallError::OverBudget(budget.clone());
    }
    let text = operation.redact(format!("{error:#}"));
    // The engine has no types for these two.
    if text.contains("too much data is being copied between the host and the guest") {
        return CallError::OverBudget(OverBudget::Hostcall(operation.household.limits.hostcall));
    }
    if text.contains("resource table has no free keys")
        || text.contains("too many handles")
        || text.contains("handle table")
    {
        return CallError::OverBudget(OverBudget::Handles);
    }
    match error.downcast_ref::<wasmtime::Trap>() {
        Some(trap) => {
            CallError::Trapped { trap: trap.to_string(), last_words: operation.last_words() }
        }
        None => CallError::Unfit(text),
    }
}

/// A function of an instance while it runs.
pub(crate) type Running<'a, R> = Pin<Box<dyn Future<Output = wasmtime::Result<R>> + Send + 'a>>;

/// Runs one exported function on a fresh instance, which is gone afterwards.
pub(crate) async fn run<E: Instantiate, R>(
    shared: &Shared,
    operation: &Arc<Operation>,
    exports: &E,
    function: impl for<'a> FnOnce(&'a E::Functions, &'a mut Store<Guest>) -> Running<'a, R> + Send,
) -> Result<R, Fault> {
    let crashed = |error: CallError| error.into_fault(&operation.whose(), operation.call.name);
    let _waiting = operation.waiting();
    let mut store = store(shared, operation).map_err(crashed)?;
    bounded(operation, async {
        let functions = exports.instantiate(&mut store).await?;
        function(&functions, &mut store).await
    })
    .await
    .map_err(crashed)
}

/// A call that did not do what was asked.
#[derive(Debug)]
pub(crate) struct Undone {
    fault: Fault,
    /// Whether the plugin itself said no, rather than failed to answer.
    said_no: bool,
}

/// As [`run`], for a function that may say no.
pub(crate) async fn ask<E: Instantiate, R>(
    shared: &Shared,
    operation: &Arc<Operation>,
    exports: &E,
    function: impl for<'a> FnOnce(
        &'a E::Functions,
        &'a mut Store<Guest>,
    ) -> Running<'a, Result<R, wit::Failure>>
    + Send,
) -> Result<R, Undone> {
    match run(shared, operation, exports, function).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(failure)) => Err(Undone { fault: said_no(operation, failure), said_no: true }),
        Err(fault) => Err(Undone { fault, said_no: false }),
    }
}

impl Undone {
    /// What the engine is told, by the table of the plugin's kind.
    pub(crate) fn into_failure(self, operation: &Operation) -> Failure {
        let fault = self.fault;
        let unknown = operation.call.on_failure == OnFailure::Unknown
            && (!self.said_no || operation.has_touched());
        if unknown { Failure::Unknown { fault } } else { Failure::Refused { fault } }
    }
}

impl From<Undone> for Fault {
    fn from(undone: Undone) -> Self {
        undone.fault
    }
}

/// A failure that the plugin reported, with what the host had denied it as the cause.
fn said_no(operation: &Operation, failure: wit::Failure) -> Fault {
    operation.note_end(CallEnd::Failed);
    let message = operation.redact(failure.message);
    let mut fault =
        Fault::new(kind_of(&failure.code), format!("{message} (plugin {})", operation.whose()));
    fault.hint = failure.hint.map(|hint| operation.redact(hint));
    fault.retryable = failure.retryable;
    if let Some(trouble) = operation.last_trouble() {
        fault.causes.push(operation.redact(trouble));
    }
    if let Some(denied) = operation.last_denied() {
        let told = operation.redact(denied.to_string());
        if !message.contains(&told) {
            fault.causes.push(told);
        }
        fault.hint = fault.hint.or_else(|| denied.hint().map(|hint| operation.redact(hint)));
    }
    fault
}

/// An answer that the contract does not know.
pub(crate) fn unfit(operation: &Operation, what: &str) -> Fault {
    operation.note_end(CallEnd::Faulted(CallFault::Unfit));
    let message = format!(
        "the plugin {} answered `{}` with something outside the contract: {what}",
        operation.whose(),
        operation.call.name
    );
    Fault::new(FaultKind::PluginCrashed, operation.redact(message))
        .hint("this is a bug in the plugin; report it to its author")
}
