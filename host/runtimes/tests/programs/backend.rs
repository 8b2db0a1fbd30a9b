//! A backend that is as good or bad as its arguments say: `<port> [behaviour …]`.
//!
//! It answers each connection with its process number, environment and arguments as HTTP.
//! Behaviours: `crash-after=<ms>`, `crash-on-request`, `exit=<code>`, `ignore-term`,
//! `child` (starts a grandchild that sleeps, and tells its number), `detached-child` (the same in a
//! session of its own), `lines=<count>` (writes numbered lines), `print=<text>`.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::{Command, exit};
use std::time::Duration;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let port = arguments.first().and_then(|port| port.parse::<u16>().ok());
    let value = |name: &str| {
        arguments.iter().find_map(|argument| {
            argument.strip_prefix(name).and_then(|rest| rest.strip_prefix('='))
        })
    };
    let has = |name: &str| arguments.iter().any(|argument| argument == name);
    let mut out = std::io::stdout();
    if has("ignore-term") {
        // Caught and dropped.
        let caught = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let _registered = signal_hook::flag::register(15, caught);
    }
    if let Some(text) = value("print") {
        let _written = writeln!(out, "{text} {}", std::env::var(text).unwrap_or_default());
    }
    if let Some(code) = value("exit").and_then(|code| code.parse().ok()) {
        exit(code);
    }
    let mut children = String::new();
    for (behaviour, program, words) in [
        ("child", "/bin/sleep", &["600"][..]),
        ("detached-child", "/usr/bin/setsid", &["/bin/sleep", "600"][..]),
    ] {
        if has(behaviour)
            && let Ok(child) = Command::new(program).args(words).spawn()
        {
            let _infallible = writeln!(children, "{behaviour}={}", child.id());
        }
    }
    if let Some(count) = value("lines").and_then(|count| count.parse::<u32>().ok()) {
        for number in 0..count {
            let _written = writeln!(out, "line {number:07}");
        }
    }
    if let Some(after) = value("crash-after").and_then(|after| after.parse().ok()) {
        std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(after));
            exit(3);
        });
    }
    let Some(listener) = port.and_then(|port| TcpListener::bind(("127.0.0.1", port)).ok()) else {
        let _written = writeln!(std::io::stderr(), "the port can't be listened on");
        exit(4);
    };
    for stream in listener.incoming().flatten() {
        let mut stream = stream;
        let mut request = [0; 1024];
        let _read = stream.read(&mut request);
        if has("crash-on-request") {
            exit(5);
        }
        let mut body = format!("pid={}\n{children}", std::process::id());
        for (name, value) in std::env::vars() {
            let _infallible = writeln!(body, "env {name}={value}");
        }
        for argument in std::env::args() {
            let _infallible = writeln!(body, "arg {argument}");
        }
        let _infallible =
            writeln!(body, "cwd {}", std::env::current_dir().unwrap_or_default().display());
        let _written = write!(
            stream,
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        );
    }
}
