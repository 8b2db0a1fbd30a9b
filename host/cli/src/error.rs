//! Errors as people see them, and the one place that decides the exit code.

use crate::output::shown;
use agente_engine::executor::Halt;
use agente_engine::fault::{Fault, FaultKind};
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::ExitCode;

/// The exit codes of the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done.
    Done = 0,
    /// Failed or aborted, and the stable release is serving.
    Failed = 1,
    /// Usage or configuration; nothing was tried.
    Usage = 2,
    /// Stuck; a person is needed.
    Stuck = 3,
    /// Refused: lease held, grant or approval missing, foreign state.
    Refused = 4,
    /// Open, waiting for a person.
    Open = 5,
    /// A bug of ours.
    Bug = 70,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

/// An error on its way to the user: message, causes, hint, exit code.
#[derive(Debug, Clone)]
pub(crate) struct CliError {
    pub(crate) exit: Exit,
    pub(crate) message: String,
    pub(crate) causes: Vec<String>,
    pub(crate) hint: Option<String>,
}

impl CliError {
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), causes: Vec::new(), hint: None }
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    pub(crate) fn refused(message: impl Into<String>) -> Self {
        Self::new(Exit::Refused, message)
    }

    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self::new(Exit::Bug, message)
            .hint("this is a bug in agente-host; report it with the command you ran")
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds an error and its sources as causes.
    pub(crate) fn because(mut self, error: &dyn std::error::Error) -> Self {
        let mut next = Some(error);
        while let Some(error) = next {
            self.causes.push(error.to_string());
            next = error.source();
        }
        self
    }

    /// Adds the sources of an error whose own text is the message already.
    pub(crate) fn because_sources(self, error: &dyn std::error::Error) -> Self {
        match error.source() {
            Some(source) => self.because(source),
            None => self,
        }
    }

    /// Writes the error to standard error.
    pub(crate) fn report(&self, color: bool) -> ExitCode {
        let (red, cyan, plain) =
            if color { ("\x1b[1;31m", "\x1b[1;36m", "\x1b[0m") } else { ("", "", "") };
        let mut text = format!("{red}Error:{plain} {}\n", shown(&self.message));
        if !self.causes.is_empty() {
            text.push_str("Caused by:\n");
            for (number, cause) in self.causes.iter().enumerate() {
                let _ = writeln!(
                    text,
                    "  {}. {}",
                    number + 1,
                    shown(cause.trim_end()).replace('\n', "\n     ")
                );
            }
        }
        if let Some(hint) = &self.hint {
            let _ = writeln!(text, "{cyan}Hint:{plain} {}", shown(hint));
        }
        let _ = crate::output::stderr().write_all(text.as_bytes());
        self.exit.into()
    }
}

/// The exit code of a fault that ended an attempt.
pub(crate) fn exit_of(kind: FaultKind) -> Exit {
    match kind {
        FaultKind::InvalidConfig => Exit::Usage,
        FaultKind::Denied | FaultKind::Conflict | FaultKind::LeaseLost => Exit::Refused,
        FaultKind::JournalUnavailable => Exit::Stuck,
        FaultKind::Internal => Exit::Bug,
        FaultKind::Unavailable
        | FaultKind::Unsupported
        | FaultKind::NotLoaded
        | FaultKind::Rejected
        | FaultKind::TimedOut
        | FaultKind::Unhealthy
        | FaultKind::Errored
        | FaultKind::Undecided
        | FaultKind::BudgetExceeded
        | FaultKind::PluginCrashed
        | FaultKind::Aborted
        | FaultKind::Failed => Exit::Failed,
    }
}

impl From<Fault> for CliError {
    fn from(fault: Fault) -> Self {
        Self {
            exit: exit_of(fault.kind),
            message: fault.message,
            causes: fault.causes,
            hint: fault.hint,
        }
    }
}

impl From<Halt> for CliError {
    fn from(halt: Halt) -> Self {
        let message = halt.to_string();
        match halt {
            Halt::LeaseLost { fault } => CliError::refused(message)
                .because(&fault)
                .hint("follow the other host with `agente-host status --follow`"),
            Halt::JournalUnavailable { fault, .. } => CliError {
                exit: Exit::Stuck,
                message,
                causes: std::iter::once(fault.message).chain(fault.causes).collect(),
                hint: Some(format!(
                    "{}`agente-host abort` then unwinds the rest",
                    fault.hint.map(|hint| format!("{hint}; ")).unwrap_or_default()
                )),
            },
            Halt::NothingBegan(fault) => CliError {
                exit: Exit::Stuck,
                message,
                causes: std::iter::once(fault.message).chain(fault.causes).collect(),
                hint: fault.hint,
            },
            Halt::Damaged(damage) => CliError::new(Exit::Stuck, message)
                .because(&damage)
                .hint("`agente-host status --verify` names the first damaged entry"),
        }
    }
}
