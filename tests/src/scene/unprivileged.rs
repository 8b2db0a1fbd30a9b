//! A user who may do nothing that others don't let them, and a door through which root runs exactly
//! the commands that were allowed: what `sudo` with a fixed rule does, without touching the
//! machine's own rules.

use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// The number of a user and of a group that no Debian gives to anybody.
const NUMBER: u32 = 64_321;

/// A user without a name, who shares one group with nobody.
#[derive(Debug, Clone)]
pub struct Unprivileged {
    /// The user's number.
    pub uid: u32,
    /// The group's number.
    pub gid: u32,
    /// Programs and plugins that this user can reach wherever the repository lies.
    pub(super) programs: PathBuf,
    pub(super) home: PathBuf,
}

impl Unprivileged {
    /// Copies what the user needs into a folder of the scene.
    pub(super) fn new(scene: &Path, programs: &[PathBuf], plugins: &[PathBuf]) -> Self {
        assert!(
            rustix::process::geteuid().is_root(),
            "only root can become another user; run the tests as root"
        );
        let user = Self {
            uid: NUMBER,
            gid: NUMBER,
            programs: scene.join("programs"),
            home: scene.join("home"),
        };
        let copy = |files: &[PathBuf], folder: &Path| {
            std::fs::create_dir_all(folder).expect("a folder");
            for file in files {
                std::fs::copy(file, folder.join(file.file_name().expect("a name")))
                    .expect("a file is copied");
            }
        };
        std::fs::set_permissions(scene, std::fs::Permissions::from_mode(0o755))
            .expect("permissions");
        copy(programs, &user.programs);
        copy(plugins, &user.programs.join("plugins"));
        std::fs::create_dir(&user.home).expect("a folder");
        user.give(&user.home);
        user
    }

    /// Another user of the same group, with a home of their own.
    #[must_use]
    pub fn colleague(&self) -> Self {
        let other = Self {
            uid: self.uid + 1,
            home: self.home.with_extension("of-colleague"),
            ..self.clone()
        };
        std::fs::create_dir(&other.home).expect("a folder");
        other.give(&other.home);
        other
    }

    /// Makes somebody's file or folder theirs.
    pub fn give(&self, path: &Path) {
        chown(path, Some(self.uid), Some(self.gid)).expect("a new owner");
    }

    /// Lets their group write into a folder that stays root's.
    pub fn let_group_write(&self, folder: &Path) {
        chown(folder, Some(0), Some(self.gid)).expect("a new group");
        std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o2775))
            .expect("permissions");
    }
}

/// Runs the allowed commands as root for whoever asks; ends when it is dropped.
pub struct AsRoot {
    /// What goes before a command to have it run here.
    pub prefix: PathBuf,
    socket: PathBuf,
    ran: Arc<Mutex<Vec<String>>>,
    server: Option<JoinHandle<()>>,
}

/// Passes its arguments to the door and gives back what came of them.
const CLIENT: &str = r#"#!/usr/bin/python3
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as door:
    door.connect(os.path.join(os.path.dirname(os.path.abspath(__file__)), "as-root.socket"))
    door.sendall(json.dumps(sys.argv[1:]).encode() + b"\n")
    answer = json.load(door.makefile())
sys.stdout.write(answer["stdout"])
sys.stderr.write(answer["stderr"])
sys.exit(answer["status"])
"#;

impl AsRoot {
    /// Opens the door for exactly these commands.
    pub fn allow(folder: &Path, allowed: Vec<Vec<String>>) -> Self {
        let (prefix, socket) = (folder.join("as-root"), folder.join("as-root.socket"));
        std::fs::write(&prefix, CLIENT).expect("the client is written");
        std::fs::set_permissions(&prefix, std::fs::Permissions::from_mode(0o755))
            .expect("permissions");
        let listener = UnixListener::bind(&socket).expect("a socket");
        std::fs::set_permissions(&socket, std::fs::Permissions::from_mode(0o777))
            .expect("permissions");
        let ran = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&ran);
        let server = std::thread::spawn(move || {
            for asked in listener.incoming() {
                let Ok(mut asked) = asked else { break };
                let mut line = String::new();
                let _ = BufReader::new(&asked).read_line(&mut line);
                let Ok(argv) = serde_json::from_str::<Vec<String>>(&line) else { break };
                seen.lock().unwrap_or_else(PoisonError::into_inner).push(argv.join(" "));
                let answer = if allowed.contains(&argv) {
                    ran_as_root(&argv)
                } else {
                    json!({ "status": 1, "stdout": "", "stderr": "not allowed here\n" })
                };
                let _ = asked.write_all(answer.to_string().as_bytes());
            }
        });
        Self { prefix, socket, ran, server: Some(server) }
    }

    /// What was asked for so far.
    pub fn ran(&self) -> Vec<String> {
        self.ran.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn ran_as_root(argv: &[String]) -> Value {
    let output = Command::new(&argv[0])
        .args(&argv[1..])
        .env_clear()
        .stdin(Stdio::null())
        .output()
        .expect("the allowed program runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    json!({ "status": output.status.code().unwrap_or(1), "stdout": text(&output.stdout), "stderr": text(&output.stderr) })
}

impl Drop for AsRoot {
    fn drop(&mut self) {
        // Whoever asks for nothing ends it.
        if UnixStream::connect(&self.socket).is_ok()
            && let Some(server) = self.server.take()
        {
            let _ = server.join();
        }
    }
}
