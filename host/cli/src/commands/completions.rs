//! `completions`: a completion script.

use crate::arguments::Arguments;
use crate::error::{CliError, Exit};
use clap::CommandFactory;
use clap_complete::Shell;
use std::io::Write;
use std::process::ExitCode;

#[expect(clippy::unnecessary_wraps, reason = "the shape of every command")]
pub(crate) fn run(shell: Shell) -> Result<ExitCode, CliError> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "agente-host", &mut script);
    let _ = std::io::stdout().write_all(&script);
    Ok(Exit::Done.into())
}
