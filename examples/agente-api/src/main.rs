//! A small sample service to deploy, with a switch for every way to be bad.
//!
//! Invariants: asked to stop, it loses no request; a request is answered at once or says in the
//! options why not; the same binary plays every version.

mod behaviour;
mod content;
mod metrics;
mod options;
mod routes;
mod server;
mod shared;

use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use tokio::signal::unix::{Signal, SignalKind, signal};

use behaviour::Behaviour;
use metrics::Metrics;
use options::Options;
use shared::Shared;

/// What `--crash-after` ends with: the code of a Rust program that panicked.
const CRASH_CODE: i32 = 101;

fn main() -> ExitCode {
    let options = Options::parse();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&format!("the event loop can't be started: {error}")),
    };
    runtime.block_on(run(options))
}

async fn run(options: Options) -> ExitCode {
    let (terminate, interrupt) =
        match (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) {
            (Ok(terminate), Ok(interrupt)) => (terminate, interrupt),
            (Err(error), _) | (_, Err(error)) => {
                return failed(&format!("signals can't be received: {error}"));
            }
        };
    let listener = match server::listen(options.listen) {
        Ok(listener) => listener,
        Err(error) => return failed(&format!("can't listen on {}: {error}", options.listen)),
    };
    match listener.local_addr() {
        Ok(address) => say(&format!("agente-api {} listens on {address}", options.version_name)),
        Err(error) => return failed(&format!("the address of the listener is unknown: {error}")),
    }
    if let Some(after) = options.crash_after {
        tokio::spawn(crash(after));
    }
    let (ignore, grace, keep_alive) =
        (options.ignore_sigterm, options.shutdown_grace, options.keep_alive);
    let shared = Arc::new(Shared {
        behaviour: Behaviour::new(options),
        metrics: Metrics::default(),
        keep_alive,
    });
    let cut = server::serve(listener, shared, stop(terminate, interrupt, ignore), grace).await;
    if cut == 0 {
        say("stopped; every request was answered");
    } else {
        say(&format!("stopped after {} s; connections cut: {cut}", grace.as_secs_f64()));
    }
    ExitCode::SUCCESS
}

/// Ends when the service is asked to stop; never, when it ignores that.
async fn stop(mut terminate: Signal, mut interrupt: Signal, ignore: bool) {
    loop {
        let name = tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        };
        if !ignore {
            say(&format!("{name}: no new connections; what is in flight goes on"));
            return;
        }
        say(&format!("{name}: ignored"));
    }
}

async fn crash(after: Duration) {
    tokio::time::sleep(after).await;
    say("crashing on purpose");
    std::process::exit(CRASH_CODE);
}

/// A line of the service's log. Nothing is done about a log that can't be written.
fn say(line: &str) {
    let _ = writeln!(io::stdout().lock(), "{line}");
}

fn failed(message: &str) -> ExitCode {
    let _ = writeln!(io::stderr().lock(), "Error: {message}");
    ExitCode::FAILURE
}
