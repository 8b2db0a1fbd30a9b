//! `make demo`, interrupted in every way and at several moments, and run again: it ends what the
//! earlier run left, nothing of anybody else's, and passes.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test says what it expected and ends")]

use agente_tests::scene::{kill, shipped, under, wait_gone};
use rustix::process::{Pid, Signal, kill_process_group};
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

/// The whole demo takes a minute, and more where other tests run beside it.
const LONGEST: Duration = Duration::from_mins(4);

struct Demo {
    child: Child,
    lines: Receiver<String>,
    seen: Vec<String>,
}

impl Demo {
    /// Starts the script with local processes alone, in a process group of its own, as a shell
    /// does.
    fn start(folder: &Path) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("bin/demo");
        let mut command = Command::new(script);
        command
            .env("DEMO_FOLDER", folder)
            .env("DEMO_DOCKER", "no")
            .env("DEMO_BUILD", "no")
            .process_group(0)
            .stdin(Stdio::null());
        let (reader, writer) = std::io::pipe().unwrap();
        let child = command.stdout(writer.try_clone().unwrap()).stderr(writer).spawn().unwrap();
        drop(command); // which holds the writing end, too
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            // What the script leaves running may hold the other end for longer than it lives.
            let _ = BufReader::new(reader)
                .lines()
                .map_while(Result::ok)
                .try_for_each(|line| sender.send(line));
        });
        Self { child, lines, seen: Vec::new() }
    }

    /// Waits until a line holds this.
    fn wait_line(&mut self, wanted: &str) {
        while !self.seen.last().is_some_and(|line| line.contains(wanted)) {
            match self.lines.recv_timeout(LONGEST) {
                Ok(line) => self.seen.push(line),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    panic!("no line with `{wanted}` came:\n{}", self.seen.join("\n"))
                }
            }
        }
    }

    fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for the script's end, whoever still holds its output.
    fn end(mut self) -> (ExitStatus, String) {
        let status = self.child.wait().unwrap();
        while let Ok(line) = self.lines.recv_timeout(Duration::from_millis(200)) {
            self.seen.push(line);
        }
        (status, self.seen.join("\n"))
    }
}

/// Somebody who stands in the demo's folder and is none of its business.
struct Bystander(Child);

impl Bystander {
    fn in_folder(folder: &Path) -> Self {
        Self(Command::new("/bin/sleep").arg("600").current_dir(folder).spawn().unwrap())
    }

    fn lives(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }
}

impl Drop for Bystander {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn an_interrupted_demo_is_cleaned_up_by_the_next_one_which_passes() {
    for plugin in ["nginx-switch", "http-health"] {
        shipped(plugin);
    }
    let parent = tempfile::Builder::new().prefix("agente-demo-").tempdir().unwrap();
    let folder = parent.path().join("demo");

    // Killed in the middle of a deployment: the deployment goes on, and all else runs on.
    let mut demo = Demo::start(&folder);
    demo.wait_line("[process] deploy v2");
    demo.wait_line("watching the stable release");
    kill(demo.pid(), Signal::KILL);
    demo.end();
    let left = under(&folder);
    assert!(
        left.len() >= 6,
        "NGINX and its workers, v1, the load and the deployment run on: {left:?}"
    );
    let mut bystander = Bystander::in_folder(&folder);
    let stranger = bystander.0.id();
    let others = |folder: &Path| {
        under(folder).into_iter().filter(|pid| *pid != stranger).collect::<Vec<_>>()
    };

    // The next one ends that, and nobody else's. Then Ctrl-C while it adopts.
    let mut demo = Demo::start(&folder);
    demo.wait_line("v1 of the service behind");
    left.into_iter().for_each(wait_gone);
    demo.wait_line("[process] adopt");
    let (second, said) = Demo::start(&folder).end();
    assert_eq!(second.code(), Some(2), "{said}");
    assert!(said.contains(&format!("runs already, as process {}", demo.pid())), "{said}");
    let group = Pid::from_raw(i32::try_from(demo.pid()).unwrap()).unwrap();
    kill_process_group(group, Signal::INT).unwrap();
    let (status, said) = demo.end();
    assert_eq!(status.code(), Some(130), "{said}");
    assert_eq!(others(&folder), Vec::<u32>::new(), "{said}");

    // Asked to end, the script alone, while a backend has been launched.
    let mut demo = Demo::start(&folder);
    demo.wait_line("[process] deploy v2");
    demo.wait_line("await-healthy");
    kill(demo.pid(), Signal::TERM);
    let (status, said) = demo.end();
    assert_eq!(status.code(), Some(143), "{said}");
    assert_eq!(others(&folder), Vec::<u32>::new(), "{said}");

    let (status, said) = Demo::start(&folder).end();
    assert!(status.success(), "{said}");
    assert!(said.contains("what the users saw"), "{said}");
    assert_eq!(others(&folder), Vec::<u32>::new(), "{said}");
    assert!(bystander.lives(), "it was none of the demo's business");
}
