//! The command line of agente-host: commands, output, exit codes and wiring.
//!
//! Invariants: this crate alone reads arguments, environment and terminal, and turns faults into
//! messages, hints and exit codes. Data goes to standard output, all else to standard error; no
//! output that is closed or not read stops a deployment.

mod adapters;
mod arguments;
mod commands;
mod drive;
mod error;
mod evidence;
mod identity;
mod metrics;
mod open;
mod opening;
mod output;
mod owner;
mod planning;
mod plugins;
mod program;
mod session;
mod signals;
mod store;
mod times;
mod world;

use arguments::{Arguments, Command};
use clap::Parser;
use error::CliError;
use signals::Signals;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

/// How long whoever reads the output may take for what is left of it at the end.
const LAST_WORDS: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    // A supervisor is this program too; it must stay small, so it starts before anything else.
    let mut raw = std::env::args_os().skip(1);
    if raw.next().is_some_and(|first| first == "supervise") {
        return raw.next().map_or(ExitCode::from(2), |directory| {
            agente_runtimes::process::supervise(Path::new(&directory))
        });
    }
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Clap's own words; 0 for `--help` and `--version`, 2 for misuse.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    program::path();
    output::start_logging(arguments.global.verbose);
    let color = arguments.global.color();
    let runtime =
        match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => {
                return CliError::internal(format!("the runtime could not be started: {error}"))
                    .report(color);
            }
        };
    let result = without_panic(|| runtime.block_on(run(arguments)));
    // Work that was given up must not hold up the exit.
    runtime.shutdown_background();
    let code = match result {
        Ok(code) => code,
        Err(error) => error.report(color),
    };
    output::finish(LAST_WORDS);
    code
}

/// Ends a panic with the exit code of a bug; what it says was written when it began.
fn without_panic(work: impl FnOnce() -> Result<ExitCode, CliError>) -> Result<ExitCode, CliError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        Err(CliError::internal("agente-host failed internally").hint(
            "this is a bug in agente-host; report it with the command you ran. Continue an open \
            deployment with `agente-host resume`",
        ))
    })
}

async fn run(arguments: Arguments) -> Result<ExitCode, CliError> {
    use commands as c;
    let global = arguments.global;
    match arguments.command {
        Command::Init(options) => c::init::run(&global, &options),
        Command::Adopt(options) => {
            let signals = Signals::listen();
            let adopt = Box::pin(c::adopt::run(&global, &options, &signals));
            signals.heeded_until_driving(adopt).await
        }
        Command::Deploy(options) => {
            let signals = Signals::listen();
            let deploy = Box::pin(c::deploy::run(&global, &options, &signals));
            signals.heeded_until_driving(deploy).await
        }
        Command::Plan(options) => c::plan::run(&global, &options).await,
        Command::Status(options) => Box::pin(c::status::run(&global, &options)).await,
        Command::History(options) => c::history::run(&global, &options).await,
        Command::Logs(options) => c::logs::run(&global, &options).await,
        Command::Metrics(options) => c::metrics::run(&global, &options).await,
        Command::Rollback(options) => {
            let signals = Signals::listen();
            let rollback = Box::pin(c::rollback::run(&global, &options, &signals));
            signals.heeded_until_driving(rollback).await
        }
        Command::Abort(options) => Box::pin(c::decide::abort(&global, &options)).await,
        Command::Pause(options) => c::decide::pause(&global, &options).await,
        Command::Watch(options) => Box::pin(c::watch::run(&global, &options)).await,
        Command::Promote(options) => c::decide::promote(&global, &options).await,
        Command::Resume(options) => {
            let signals = Signals::listen();
            let resume = Box::pin(c::decide::resume(&global, &options, &signals));
            signals.heeded_until_driving(resume).await
        }
        Command::Up(options) => c::up::run(&global, &options).await,
        Command::Check(options) => c::check::run(&global, &options).await,
        Command::Plugin(command) => c::plugin::run(&global, &command).await,
        Command::Schema(options) => c::schema::run(&options),
        Command::Reference(options) => c::reference::run(&options),
        Command::Completions { shell } => c::completions::run(shell),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use error::Exit;

    #[test]
    fn a_panic_ends_as_a_bug() {
        let error = without_panic(|| panic!("caught by a test")).unwrap_err();
        assert_eq!(error.exit, Exit::Bug);
    }
}
