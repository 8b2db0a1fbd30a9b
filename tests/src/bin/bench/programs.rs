//! The program itself: how big it is, how fast it starts, how much memory it takes.

use crate::table::{Aim, Table};
use agente_tests::scene::Service;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const STARTS: usize = 41;

/// Runs a program and writes the most memory that it, or a program that it ran, ever had to the
/// file that the first argument names.
const PEAK: &str = "import os, resource, sys
code = os.spawnv(os.P_WAIT, sys.argv[2], sys.argv[2:])
open(sys.argv[1], 'w').write(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))
sys.exit(code)";

/// A program that was built with this one.
pub(crate) fn built(name: &str) -> PathBuf {
    std::env::current_exe().expect("this program's own path").with_file_name(name)
}

/// A command of the host for a service.
pub(crate) fn host(shop: &Service, args: &[&str]) -> Command {
    let mut command = Command::new(built("agente-host"));
    command.arg("-f").arg(shop.path("agente.toml")).arg("--state").arg(&shop.state).args(args);
    quiet(&mut command);
    command
}

/// Nothing but its exit code is looked at.
pub(crate) fn quiet(command: &mut Command) {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
}

/// The size of the stripped program.
pub(crate) fn size(table: &mut Table) {
    let path = built("agente-host");
    let bytes = std::fs::metadata(&path).expect("agente-host was built").len();
    table.size("stripped program", bytes, 40, "");
}

/// How fast it starts, with a service under management.
pub(crate) fn measure(shop: &Service, table: &mut Table) {
    let start = |args: &[&str]| {
        let mut times = Vec::with_capacity(STARTS);
        for _ in 0..STARTS {
            let mut command = host(shop, args);
            let began = Instant::now();
            let status = command.status().expect("agente-host runs");
            times.push(began.elapsed());
            assert!(status.success(), "`agente-host {}` ended with {status}", args.join(" "));
        }
        times
    };
    table.times("`agente-host --version`", start(&["--version"]), Aim::None);
    let aim = Aim::Within(Duration::from_millis(20));
    table.times("`agente-host status`", start(&["status"]), aim);
    table.times("`agente-host status --offline`", start(&["status", "--offline"]), aim);
}

/// The most memory that a command of the host ever had.
pub(crate) fn peak_bytes(shop: &Service, args: &[&str]) -> u64 {
    let told = shop.path("peak");
    let inner = host(shop, args);
    let mut command = Command::new("python3");
    command.arg("-c").arg(PEAK).arg(&told).arg(inner.get_program()).args(inner.get_args());
    quiet(&mut command);
    let status = command.status().expect("Python runs");
    assert!(status.success(), "`agente-host {}` ended with {status}", args.join(" "));
    let kibibytes: u64 = std::fs::read_to_string(told)
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .expect("a number of KiB");
    kibibytes << 10
}
