//! `strict-load`: the load client of the acceptance tests, for scripts. The library
//! `agente_tests::load` does the work.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use agente_tests::load::{Form, Load, Options, Report};
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep};

/// How often to look whether the first answer has come.
const LOOK_EVERY: Duration = Duration::from_millis(10);

fn main() -> ExitCode {
    let options = Options::parse();
    // One thread is enough for some thousand requests a second, and leaves the other cores to what
    // is tested.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return misuse(&error),
    };
    runtime.block_on(run(&options))
}

async fn run(options: &Options) -> ExitCode {
    let (mut terminate, mut interrupt) =
        match (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) {
            (Ok(terminate), Ok(interrupt)) => (terminate, interrupt),
            (Err(error), _) | (_, Err(error)) => return misuse(&error),
        };
    let begun = Instant::now();
    let mut load = match Load::start(options) {
        Ok(load) => load,
        Err(error) => return misuse(&error),
    };
    let forever = Duration::from_hours(24 * 365);
    tokio::select! {
        () = sleep(options.duration.unwrap_or(forever)) => {}
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        () = tell_first_answer(&load, begun) => {}
    }
    tokio::select! {
        _ = load.stop() => {}
        // The second signal: what is in flight stays unfinished.
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    print(options, &load.report());
    ExitCode::SUCCESS
}

/// Says when the load is under way, for scripts that wait for it; never ends.
async fn tell_first_answer(load: &Load, begun: Instant) {
    while load.report().succeeded == 0 {
        sleep(LOOK_EVERY).await;
    }
    let _ = writeln!(
        io::stderr().lock(),
        "strict-load: first answer after {} ms",
        begun.elapsed().as_millis()
    );
    std::future::pending::<()>().await;
}

fn print(options: &Options, report: &Report) {
    let text = match options.report {
        Form::Text => report.to_string(),
        Form::Json => serde_json::to_string(report).unwrap_or_default() + "\n",
    };
    // A closed standard output is nobody to tell.
    let _ = io::stdout().lock().write_all(text.as_bytes());
}

fn misuse(error: &dyn std::error::Error) -> ExitCode {
    let mut text = format!("Error: {error}");
    let mut cause = error.source();
    while let Some(error) = cause {
        let _ = write!(text, "\n  Caused by: {error}");
        cause = error.source();
    }
    let _ = writeln!(io::stderr().lock(), "{text}");
    ExitCode::from(2)
}
