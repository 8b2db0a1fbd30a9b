//! What the command line does for its hidden `supervise` command, alone: for tests.

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    match std::env::args_os().nth(2) {
        Some(directory) => agente_runtimes::process::supervise(Path::new(&directory)),
        None => ExitCode::from(2),
    }
}
