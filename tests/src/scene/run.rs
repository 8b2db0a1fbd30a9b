//! One run of the real `agente-host`: its events while it runs, and its end.

use super::{PATIENCE, built, event_schema, processes, wait_for};
use rustix::process::Signal;
use serde_json::Value;
use std::io::{BufRead, BufReader, PipeReader, PipeWriter, Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The longest that one run may take.
const LONGEST: Duration = Duration::from_mins(3);

/// The program under test.
pub(super) fn program() -> PathBuf {
    built("agente-host", "cargo build -p agente-host")
}

/// A shipped plugin's file.
pub fn shipped(name: &str) -> PathBuf {
    built(&format!("../plugins/{name}.wasm"), "make guests")
}

#[derive(Default)]
struct Seen {
    lines: Vec<String>,
    ended: bool,
}

/// A run that goes on.
pub struct Run {
    child: Child,
    what: String,
    began: Instant,
    seen: Arc<(Mutex<Seen>, Condvar)>,
    stderr: JoinHandle<String>,
    stdout: JoinHandle<()>,
}

impl Run {
    pub(super) fn start(mut command: Command, what: String) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("agente-host starts");
        let seen = Arc::new((Mutex::new(Seen::default()), Condvar::new()));
        let (out, mut error) =
            (child.stdout.take().expect("its output"), child.stderr.take().expect("its errors"));
        let shared = Arc::clone(&seen);
        let stdout = std::thread::spawn(move || {
            for line in BufReader::new(out).lines() {
                let Ok(line) = line else { break };
                shared.0.lock().unwrap_or_else(PoisonError::into_inner).lines.push(line);
                shared.1.notify_all();
            }
            shared.0.lock().unwrap_or_else(PoisonError::into_inner).ended = true;
            shared.1.notify_all();
        });
        let stderr = std::thread::spawn(move || {
            let mut text = Vec::new();
            let _ = error.read_to_end(&mut text);
            String::from_utf8_lossy(&text).into_owned()
        });
        Self { child, what, began: Instant::now(), seen, stderr, stdout }
    }

    /// Its process number.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for an event; none when the run ended without it.
    pub fn wait_event(&self, wanted: impl Fn(&Value) -> bool) -> Option<Value> {
        self.wait_event_after(0, wanted)
    }

    /// How many events there are now.
    pub fn events_so_far(&self) -> usize {
        self.seen.0.lock().unwrap_or_else(PoisonError::into_inner).lines.len()
    }

    /// Waits for an event beyond the first `looked`; none when the run ended without it.
    pub fn wait_event_after(
        &self,
        mut looked: usize,
        wanted: impl Fn(&Value) -> bool,
    ) -> Option<Value> {
        let until = Instant::now() + PATIENCE;
        let mut seen = self.seen.0.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            while let Some(line) = seen.lines.get(looked) {
                looked += 1;
                if let Ok(event) = serde_json::from_str(line)
                    && wanted(&event)
                {
                    return Some(event);
                }
            }
            if seen.ended {
                return None;
            }
            let left = until.saturating_duration_since(Instant::now());
            assert!(
                !left.is_zero(),
                "`{}`: waited in vain for an event; seen:\n{}",
                self.what,
                seen.lines.join("\n")
            );
            seen = self.seen.1.wait_timeout(seen, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Whether such an event was told so far.
    pub fn has_told(&self, wanted: impl Fn(&Value) -> bool) -> bool {
        let seen = self.seen.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.lines
            .iter()
            .filter_map(|line| serde_json::from_str(line).ok())
            .any(|event| wanted(&event))
    }

    /// The plan, once it is written.
    pub fn plan(&self) -> Value {
        let opened = self.wait_event(|event| {
            event.pointer("/entry/event/entry").is_some_and(|entry| entry == "opened")
        });
        opened.and_then(|event| event.pointer("/entry/event/plan").cloned()).expect("a plan")
    }

    /// The deployment's id.
    pub fn id(&self) -> String {
        self.plan()["id"].as_str().expect("an id").to_owned()
    }

    /// Waits until a step has had an event; false when the run ended without it.
    pub fn wait_step(&self, step: &str, what: &str) -> bool {
        let plan = self.plan();
        let index = plan["steps"]
            .as_array()
            .and_then(|steps| steps.iter().position(|found| found["kind"] == step));
        self.wait_step_at(index.unwrap_or_else(|| panic!("the plan has no step `{step}`")), what)
    }

    /// The same for the step at this place in the plan.
    pub fn wait_step_at(&self, index: usize, what: &str) -> bool {
        self.wait_event(|event| {
            let of = |name: &str| event.pointer(&format!("/entry/event/{name}"));
            of("entry").is_some_and(|entry| entry == "step")
                && of("step").is_some_and(|step| *step == index)
                && of("event").is_some_and(|event| event == what)
        })
        .is_some()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        processes::kill(self.child.id(), signal);
    }

    /// Kills it at once and waits for its end.
    pub fn kill(self) -> Ended {
        self.signal(Signal::KILL);
        self.wait()
    }

    /// Waits for its end.
    pub fn wait(mut self) -> Ended {
        let until = Instant::now() + LONGEST;
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("its end") {
                break status;
            }
            if Instant::now() > until {
                let _ = self.child.kill();
                let _ = self.child.wait();
                let _ = self.stdout.join();
                let seen =
                    self.seen.0.lock().unwrap_or_else(PoisonError::into_inner).lines.join("\n");
                panic!(
                    "`{}` did not finish within {} s\n{seen}\n{}",
                    self.what,
                    LONGEST.as_secs(),
                    self.stderr.join().unwrap_or_default()
                );
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        let took = self.began.elapsed();
        let _ = self.stdout.join();
        let stderr = self.stderr.join().unwrap_or_default();
        let lines =
            std::mem::take(&mut self.seen.0.lock().unwrap_or_else(PoisonError::into_inner).lines);
        let events: Vec<Value> =
            lines.iter().filter_map(|line| serde_json::from_str(line).ok()).collect();
        events.iter().for_each(event_schema::expect_published);
        Ended {
            what: self.what,
            code: status.code(),
            events,
            stdout: lines.join("\n"),
            stderr,
            took,
        }
    }
}

/// A run whose standard output and standard error are full pipes.
pub struct Unread {
    child: Child,
    _readers: [PipeReader; 2],
}

impl Unread {
    pub(super) fn start(mut command: Command) -> Self {
        let (out, to_out) = full_pipe();
        let (error, to_error) = full_pipe();
        let child = command
            .stdin(Stdio::null())
            .stdout(to_out)
            .stderr(to_error)
            .spawn()
            .expect("agente-host starts");
        Self { child, _readers: [out, error] }
    }

    /// Waits for its end and gives its exit code; none when a signal ended it.
    pub fn wait(mut self) -> Option<i32> {
        wait_for("the end of a run that nobody reads", || self.child.try_wait().expect("its end"))
            .code()
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A pipe that takes nothing more.
fn full_pipe() -> (PipeReader, PipeWriter) {
    let (reader, mut writer) = std::io::pipe().expect("a pipe");
    let filled = writer.try_clone().expect("its writing end");
    // Both share their flags, so these are put back.
    let flags = rustix::fs::fcntl_getfl(&filled).expect("its flags");
    rustix::fs::fcntl_setfl(&filled, flags | rustix::fs::OFlags::NONBLOCK)
        .expect("its flags are set");
    while writer.write(&[b'\n'; 4096]).is_ok() {}
    rustix::fs::fcntl_setfl(&filled, flags).expect("its flags are set");
    (reader, writer)
}

/// A run that ended.
#[derive(Debug, Clone)]
pub struct Ended {
    what: String,
    /// The exit code; none when a signal ended it.
    pub code: Option<i32>,
    pub events: Vec<Value>,
    /// What it wrote to standard output.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: String,
    /// How long it took.
    pub took: Duration,
}

impl Ended {
    /// Demands an exit code.
    #[track_caller]
    #[expect(
        clippy::must_use_candidate,
        clippy::return_self_not_must_use,
        reason = "the demand is all that many tests want"
    )]
    pub fn expect_code(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "`{}`\n{}\n{}", self.what, self.told(), self.stderr);
        self
    }

    /// How the deployment ended: `promoted`, `unwound`, `refused` or `stuck`, and more about it.
    #[track_caller]
    pub fn outcome(&self) -> &Value {
        let outcome = self
            .events
            .iter()
            .rev()
            .find(|event| event["event"] == "outcome")
            .map(|event| &event["result"]);
        outcome.unwrap_or_else(|| {
            panic!("`{}` told no outcome\n{}\n{}", self.what, self.told(), self.stderr)
        })
    }

    /// The notes of a promoted deployment, one per line.
    pub fn notes(&self) -> String {
        let notes = self.outcome()["notes"].as_array().cloned().unwrap_or_default();
        notes.iter().filter_map(Value::as_str).collect::<Vec<_>>().join("\n")
    }

    /// Everything that was said about what went wrong: the outcome's fault and standard error.
    pub fn said(&self) -> String {
        let outcome = self
            .events
            .iter()
            .rev()
            .find(|event| event["event"] == "outcome")
            .map(|event| event["result"].to_string())
            .unwrap_or_default();
        // JSON writes a quotation mark with a backslash; a test looks for what a person reads.
        format!("{}\n{}", outcome.replace("\\\"", "\""), self.stderr)
    }

    /// The events without the noise of checks and probes.
    fn told(&self) -> String {
        let noise = |event: &Value| {
            event
                .pointer("/progress/progress")
                .is_some_and(|kind| kind == "checked" || kind == "probe" || kind == "found")
        };
        self.events
            .iter()
            .filter(|event| !noise(event))
            .map(|event| short(&event.to_string()))
            .collect::<Vec<_>>()
            .join("\n")
    }
}

fn short(text: &str) -> String {
    text.chars().take(600).collect()
}
