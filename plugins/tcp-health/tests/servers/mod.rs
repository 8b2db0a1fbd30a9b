//! Real servers for the tests, each on a free loopback port and stopped when dropped.

use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// A port where nothing listens.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("a free port")
        .port()
}

/// A real Redis.
pub(crate) struct Redis {
    pub(crate) address: String,
    child: Child,
    _folder: TempDir,
}

impl Redis {
    /// Starts one that keeps nothing, with further arguments. It may not listen yet.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let port = free_port();
        let child = Command::new("redis-server")
            .args([
                "--bind",
                "127.0.0.1",
                "--port",
                &port.to_string(),
                "--save",
                "",
                "--appendonly",
                "no",
                "--dir",
            ])
            .arg(folder.path())
            .args(arguments)
            .stdout(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| {
                panic!("these tests need `redis-server`: apt-get install redis-server ({error})")
            });
        Self { address: format!("127.0.0.1:{port}"), child, _folder: folder }
    }

    /// Stops it and waits for its end.
    pub(crate) fn stop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A real `PostgreSQL` with a fresh data folder.
pub(crate) struct Postgres {
    pub(crate) address: String,
    programs: PathBuf,
    user: Option<(u32, u32)>,
    folder: TempDir,
}

impl Postgres {
    /// Makes a data folder and starts one. It may not listen yet.
    pub(crate) fn start() -> Self {
        let programs = newest_programs();
        let folder = tempfile::tempdir().expect("a folder");
        let user = user_that_may_run_it();
        if let Some((uid, gid)) = user {
            std::os::unix::fs::chown(folder.path(), Some(uid), Some(gid))
                .expect("the folder can be given away");
        }
        let port = free_port();
        let postgres = Self { address: format!("127.0.0.1:{port}"), programs, user, folder };
        let data = postgres.data();
        let made = postgres
            .command("initdb")
            .args(["--auth=trust", "--no-sync", "-D"])
            .arg(&data)
            .stdout(Stdio::null())
            .status()
            .expect("initdb runs");
        assert!(made.success(), "initdb: {made}");
        let options = format!(
            "-c listen_addresses=127.0.0.1 -c port={port} -c unix_socket_directories='' -c \
             fsync=off"
        );
        let log = postgres.folder.path().join("log");
        let started = postgres
            .command("pg_ctl")
            .args(["start", "--no-wait", "-o", &options, "-l"])
            .arg(log)
            .arg("-D")
            .arg(&data)
            .stdout(Stdio::null())
            .status();
        assert!(started.expect("pg_ctl runs").success());
        postgres
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.programs.join(program));
        command.current_dir(self.folder.path());
        if let Some((uid, gid)) = self.user {
            command.uid(uid).gid(gid);
        }
        command
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let data = self.data();
        let _stopped = self
            .command("pg_ctl")
            .args(["stop", "--mode=immediate", "-D"])
            .arg(&data)
            .stdout(Stdio::null())
            .status();
    }
}

/// The folder of the newest version that is installed.
fn newest_programs() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path().join("bin"));
    let found = versions.filter(|programs| programs.join("initdb").exists()).max();
    found.unwrap_or_else(|| {
        panic!("these tests need PostgreSQL in `/usr/lib/postgresql`: apt-get install postgresql")
    })
}

/// `PostgreSQL` does not run as root: then the user `postgres`, which its package makes.
fn user_that_may_run_it() -> Option<(u32, u32)> {
    let number = |arguments: &[&str]| -> u32 {
        let output = Command::new("id").args(arguments).output().expect("`id` runs");
        String::from_utf8_lossy(&output.stdout)
            .trim()
            .parse()
            .unwrap_or_else(|_| panic!("there is no user `postgres`: apt-get install postgresql"))
    };
    assert!(Path::new("/proc/self").exists(), "these tests run on Linux");
    (number(&["-u"]) == 0).then(|| (number(&["-u", "postgres"]), number(&["-g", "postgres"])))
}
