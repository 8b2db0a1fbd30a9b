//! A Docker Engine of the test's own, with an image of the sample service.

use super::{built, kill, wait_for};
use rustix::process::Signal;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tempfile::TempDir;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/bin/own-dockerd");

/// A Docker Engine with its own data and socket; it ends when this is dropped, or when the test's
/// process does.
pub struct Engine {
    folder: TempDir,
    /// Where it is asked.
    pub socket: PathBuf,
}

impl Engine {
    /// Starts it.
    pub fn start() -> Self {
        for (program, package) in
            [("/usr/sbin/dockerd", "docker.io"), ("/usr/sbin/iptables", "iptables")]
        {
            assert!(
                Path::new(program).exists(),
                "`{program}` is missing; install it with `apt-get install {package}`"
            );
        }
        assert!(
            rustix::process::geteuid().is_root(),
            "a Docker Engine needs root; run the tests as root"
        );
        let folder = tempfile::Builder::new()
            .prefix("agente-engine-")
            .tempdir()
            .expect("a temporary folder");
        let mut script = Command::new(SCRIPT);
        script
            .arg("start")
            .arg(folder.path().join("engine"))
            .args(["--until-pid", &std::process::id().to_string()]);
        let started = script.stdin(Stdio::null()).output().expect("`own-dockerd` runs");
        assert!(
            started.status.success(),
            "no engine: {}",
            String::from_utf8_lossy(&started.stderr)
        );
        let socket = PathBuf::from(String::from_utf8_lossy(&started.stdout).trim());
        Self { folder, socket }
    }

    fn docker(&self) -> Command {
        let mut docker = Command::new("docker");
        docker.arg("-H").arg(format!("unix://{}", self.socket.display()));
        docker
    }

    /// Makes an image of the sample service, with the libraries that it is linked with and nothing
    /// else; gives its name.
    pub fn image(&self) -> String {
        let root = self.folder.path().join("root");
        std::fs::create_dir(&root).expect("a folder");
        let api = built("agente-api", "cargo build -p agente-api");
        std::fs::copy(&api, root.join("agente-api")).expect("the program is copied");
        let linked = Command::new("ldd").arg(&api).output().expect("`ldd` runs");
        for library in String::from_utf8_lossy(&linked.stdout)
            .split_whitespace()
            .filter(|word| word.starts_with('/'))
        {
            let place = root.join(library.trim_start_matches('/'));
            std::fs::create_dir_all(place.parent().expect("a folder")).expect("a folder");
            std::fs::copy(library, place).expect("a library is copied");
        }
        let mut tar = Command::new("tar")
            .arg("-C")
            .arg(&root)
            .args(["-c", "."])
            .stdout(Stdio::piped())
            .spawn()
            .expect("`tar` runs");
        let layer = tar.stdout.take().expect("its output");
        let imported = self
            .docker()
            .args(["import", "-", "shop:test"])
            .stdin(layer)
            .output()
            .expect("`docker import` runs");
        let _ = tar.wait();
        assert!(
            imported.status.success(),
            "no image: {}",
            String::from_utf8_lossy(&imported.stderr)
        );
        "shop:test".to_owned()
    }

    /// Lets a container's own process crash: killed past the engine, which then has not stopped it.
    pub fn crash(&self, container: &str) {
        let told = self
            .docker()
            .args(["inspect", "--format", "{{.State.Pid}}", container])
            .output()
            .expect("`docker inspect` runs");
        let pid = String::from_utf8_lossy(&told.stdout)
            .trim()
            .parse()
            .expect("the number of the container's process");
        assert_ne!(pid, 0, "`{container}` does not run");
        kill(pid, Signal::KILL);
        wait_for("the end of the container", || {
            (!self.running().iter().any(|name| name == container)).then_some(())
        });
    }

    /// Stops a container as a person may: it stays down.
    pub fn stop(&self, container: &str) {
        let stopped = self.docker().args(["stop", "--time", "1", container]).output();
        assert!(stopped.is_ok_and(|stopped| stopped.status.success()), "`{container}` runs on");
    }

    /// The names of the containers that run.
    pub fn running(&self) -> Vec<String> {
        let listed = self
            .docker()
            .args(["ps", "--format", "{{.Names}}"])
            .output()
            .expect("`docker ps` runs");
        let mut names: Vec<String> =
            String::from_utf8_lossy(&listed.stdout).lines().map(str::to_owned).collect();
        names.sort();
        names
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let _ = Command::new(SCRIPT)
            .arg("stop")
            .arg(self.folder.path().join("engine"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
    }
}
