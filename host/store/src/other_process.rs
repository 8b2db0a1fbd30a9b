//! A second process for tests: a copy of the test program that runs the same test as a child.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Lines, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

/// Says to a copy of this test program that it is a child, and which folder it shares with its
/// parent.
const CHILD: &str = "AGENTE_STORE_TEST_CHILD";

/// The folder that is shared with the parent, if this process is a child.
pub(crate) fn child_folder() -> Option<PathBuf> {
    std::env::var_os(CHILD).map(Into::into)
}

/// The child. Ended with its handle.
pub(crate) struct Other {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Other {
    /// Starts a child that runs the test of this full name.
    pub(crate) fn start(test: &str, folder: &Path) -> Self {
        let folder: &OsStr = folder.as_ref();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", test, "--nocapture", "--test-threads=1"])
            .env(CHILD, folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// What the child prints next after its mark, `child: `.
    pub(crate) fn says(&mut self) -> String {
        self.heard().expect("the child exited without an answer")
    }

    /// The same; none once the child has ended.
    pub(crate) fn heard(&mut self) -> Option<String> {
        loop {
            let line = self.lines.next()?.unwrap();
            if let Some((_, words)) = line.split_once("child: ") {
                return Some(words.to_owned());
            }
        }
    }

    /// Gives the child a line to read.
    pub(crate) fn tell(&mut self, line: &str) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), signal)
            .unwrap();
    }

    /// Ends the child as hard as can be, and waits until it is gone.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits for the child's own end.
    pub(crate) fn ended_well(&mut self) {
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        // Gone already in most tests.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
