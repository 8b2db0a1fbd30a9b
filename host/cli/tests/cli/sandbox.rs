//! A folder in which the program runs: nothing of the machine's own settings reaches it, and what
//! it leaves behind can be counted.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use tempfile::TempDir;

/// The program.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_agente-host");

/// The plugins that come with it.
pub(crate) const PLUGINS: [&str; 4] =
    ["nginx-switch", "http-health", "tcp-health", "prometheus-health"];

/// A folder for one service, beside a home and a place for the state.
pub(crate) struct Sandbox {
    root: TempDir,
}

/// How a run ended.
pub(crate) struct Run {
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) code: i32,
}

impl Run {
    /// Everything that a user sees, for a snapshot.
    pub(crate) fn shown(&self) -> String {
        let mut text = format!("exit: {}\n", self.code);
        for (name, output) in [("stdout", &self.stdout), ("stderr", &self.stderr)] {
            if !output.is_empty() {
                let _ = write!(text, "--- {name}\n{output}");
            }
        }
        text
    }
}

impl Sandbox {
    /// A folder with a program to deploy and no manifest.
    pub(crate) fn empty() -> Self {
        let root = tempfile::tempdir().unwrap();
        for folder in ["home", "shop", "tmp"] {
            fs::create_dir(root.path().join(folder)).unwrap();
        }
        let sandbox = Self { root };
        sandbox.write_program("shop");
        sandbox
    }

    /// A folder with a manifest too.
    pub(crate) fn with(manifest: &str) -> Self {
        let sandbox = Self::empty();
        sandbox.write("agente.toml", manifest);
        sandbox
    }

    /// The folder that the program runs in.
    pub(crate) fn folder(&self) -> PathBuf {
        self.root.path().join("shop")
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.root.path().join("state")
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::write(self.folder().join(name), text).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.folder().join(name)).unwrap()
    }

    /// A file that may be run; nobody runs it here.
    pub(crate) fn write_program(&self, name: &str) {
        let path = self.folder().join(name);
        fs::write(&path, "#!/bin/sh\nexec sleep 60\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// The program with arguments, with nothing in its environment but what is set here.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        self.prepared(Command::new(PROGRAM), arguments)
    }

    /// The same without root's right to pass over the permissions of files, for whoever runs the
    /// tests as root.
    pub(crate) fn command_that_may_not_read_everything(&self, arguments: &[&str]) -> Command {
        let is_root = fs::metadata("/proc/self").is_ok_and(|metadata| metadata.uid() == 0);
        if !is_root {
            return self.command(arguments);
        }
        let mut command = Command::new("setpriv");
        command.args([
            "--bounding-set",
            "-dac_override,-dac_read_search",
            "--inh-caps",
            "-dac_override,-dac_read_search",
            PROGRAM,
        ]);
        self.prepared(command, arguments)
    }

    fn prepared(&self, mut command: Command, arguments: &[&str]) -> Command {
        command.args(arguments).current_dir(self.folder()).env_clear().stdin(Stdio::null());
        command.env("PATH", "/usr/bin:/bin").env("TZ", "UTC");
        command
            .env("HOME", self.root.path().join("home"))
            .env("TMPDIR", self.root.path().join("tmp"));
        command.env("AGENTE_HOST_STATE", self.state()).env("AGENTE_HOST_PLUGINS", shipped());
        // Compiled once for all tests, not once for each.
        command.env("XDG_CACHE_HOME", Path::new(env!("CARGO_TARGET_TMPDIR")).join("cli-cache"));
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Run {
        self.finish(self.command(arguments))
    }

    /// The same without the variables that stand for options.
    pub(crate) fn expect_without_settings(&self, code: i32, arguments: &[&str]) -> Run {
        let mut command = self.command(arguments);
        command.env_remove("AGENTE_HOST_STATE");
        let run = self.finish(command);
        assert_eq!(run.code, code, "{arguments:?}\n{}", run.shown());
        run
    }

    fn finish(&self, mut command: Command) -> Run {
        let output = command.output().unwrap();
        let text = |bytes: Vec<u8>| {
            self.without_paths(&String::from_utf8(bytes).expect("output is UTF-8"))
        };
        Run {
            stdout: text(output.stdout),
            stderr: text(output.stderr),
            code: output.status.code().expect("ended by itself"),
        }
    }

    /// Runs and demands an exit code.
    pub(crate) fn expect(&self, code: i32, arguments: &[&str]) -> Run {
        let run = self.run(arguments);
        assert_eq!(run.code, code, "{arguments:?}\n{}", run.shown());
        run
    }

    /// Grants the plugins what they ask for under the manifest as it is.
    pub(crate) fn grant(&self, plugins: &[&str]) {
        warm();
        for plugin in plugins {
            self.expect(0, &["plugin", "add", plugin, "--yes"]);
        }
    }

    /// Every file and folder of the sandbox, to see what a run leaves.
    pub(crate) fn files(&self) -> Vec<String> {
        let mut found = Vec::new();
        list(self.root.path(), self.root.path(), &mut found);
        found.sort();
        found
    }

    fn without_paths(&self, text: &str) -> String {
        let root = self.root.path().display().to_string();
        text.replace(&format!("{root}/shop/"), "[folder]/")
            .replace(&root, "[root]")
            .replace(&shipped().display().to_string(), "[plugins]")
    }
}

fn list(root: &Path, folder: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        found.push(path.strip_prefix(root).unwrap().display().to_string());
        if path.is_dir() {
            list(root, &path, found);
        }
    }
}

/// Where the shipped plugins are.
pub(crate) fn shipped() -> PathBuf {
    let folder =
        std::path::absolute(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/plugins"))
            .unwrap();
    let folder = folder.canonicalize().unwrap_or(folder);
    for plugin in PLUGINS {
        let path = folder.join(format!("{plugin}.wasm"));
        assert!(path.is_file(), "`{}` is missing; build it with `make guests`", path.display());
    }
    folder
}

/// Compiles the shipped plugins before many runs would do so at once.
pub(crate) fn warm() {
    static WARM: OnceLock<()> = OnceLock::new();
    WARM.get_or_init(|| {
        let sandbox = Sandbox::empty();
        for plugin in PLUGINS {
            sandbox.expect(0, &["plugin", "inspect", plugin]);
        }
    });
}

/// What differs from run to run and from build to build.
pub(crate) fn filters() -> Vec<(&'static str, &'static str)> {
    vec![
        (r"sha256:[0-9a-f]{64}", "sha256:[digest]"),
        (r"\b[0-9a-f]{64}\b", "[digest]"),
        (r"\b[0-9a-f]{12}\b", "[digest]"),
        (r"\b\d+ KiB\b", "[size]"),
        (r"\b\d+\.\d ms +", "[time]  "),
        (r#""at":\d+"#, r#""at":"[time]""#),
        (r"\b\d{8}T\d{6}-[0-9a-f]{6}\b", "[deployment]"),
        (r"\bstore [0-9a-f]{32}\b", "store [store]"),
    ]
}

/// A snapshot with what differs taken out.
macro_rules! snapshot {
    ($name:expr, $text:expr) => {
        insta::with_settings!(
            {
                filters => crate::sandbox::filters(),
                omit_expression => true,
                prepend_module_to_snapshot => false,
                snapshot_path => "snapshots",
            },
            { insta::assert_snapshot!($name, $text) }
        );
    };
}
pub(crate) use snapshot;
