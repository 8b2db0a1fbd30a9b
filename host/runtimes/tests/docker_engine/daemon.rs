//! A Docker Engine of our own, and images for it.

use bollard::Docker;
use bollard::query_parameters::CreateImageOptionsBuilder;
use futures_util::StreamExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{LazyLock, OnceLock};

/// An engine; stopped when this process ends, and before that by [`Daemon::halt`].
pub(crate) struct Daemon {
    folder: PathBuf,
    pub(crate) socket: PathBuf,
}

fn script(arguments: &[&str]) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/bin/own-dockerd");
    let output =
        Command::new(&script).args(arguments).output().expect("the script that starts an engine");
    assert!(
        output.status.success(),
        "`own-dockerd {}` failed:\n{}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("text").trim().to_owned()
}

impl Daemon {
    /// The engine that all tests share.
    pub(crate) fn shared() -> &'static Daemon {
        static SHARED: LazyLock<Daemon> = LazyLock::new(|| Daemon::start("shared"));
        &SHARED
    }

    /// Another one, for a test that stops and starts it.
    pub(crate) fn start(name: &str) -> Daemon {
        let folder =
            std::env::temp_dir().join(format!("agente-dockerd-{}-{name}", std::process::id()));
        let own = std::process::id().to_string();
        let socket =
            script(&["start", folder.to_str().expect("a path in plain text"), "--until-pid", &own]);
        Daemon { folder, socket: PathBuf::from(socket) }
    }

    /// One whose disk is as large as this many MiB.
    pub(crate) fn small(name: &str, mib: u32) -> Daemon {
        let folder =
            std::env::temp_dir().join(format!("agente-dockerd-{}-{name}", std::process::id()));
        std::fs::create_dir_all(folder.join("data")).expect("a folder");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={mib}m"), "tmpfs"])
            .arg(folder.join("data"))
            .status()
            .expect("mount");
        assert!(mounted.success(), "a small disk can't be mounted");
        Self::start(name)
    }

    pub(crate) fn client(&self) -> Docker {
        Docker::connect_with_unix(
            self.socket.to_str().expect("a path in plain text"),
            120,
            bollard::API_DEFAULT_VERSION,
        )
        .expect("the engine's socket")
    }

    /// Stops the engine and all its containers, as a reboot does.
    pub(crate) fn halt(&self) {
        script(&["halt", self.folder.to_str().expect("a path in plain text")]);
    }

    /// Starts it again.
    pub(crate) fn resume(&self) {
        script(&["start", self.folder.to_str().expect("a path in plain text")]);
    }

    pub(crate) fn remove(&self) {
        script(&["stop", self.folder.to_str().expect("a path in plain text")]);
    }

    /// Makes an image of the specimen under this name, with what else its configuration should say.
    /// `mark` makes its content differ.
    pub(crate) async fn image(&self, name: &str, mark: &str, changes: &[&str]) -> String {
        let (repository, tag) = name.rsplit_once(':').expect("`name:tag`");
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::copy(specimen(), folder.path().join("specimen")).expect("a copy of the specimen");
        std::fs::write(folder.path().join("mark"), mark).expect("a file");
        let packed = Command::new("tar")
            .arg("-C")
            .arg(folder.path())
            .args(["-c", "specimen", "mark"])
            .output()
            .expect("tar");
        let mut all: Vec<String> = vec![r#"ENTRYPOINT ["/specimen"]"#.to_owned()];
        all.extend(changes.iter().map(|change| (*change).to_owned()));
        let options = CreateImageOptionsBuilder::default()
            .from_src("-")
            .repo(repository)
            .tag(tag)
            .changes(all)
            .build();
        let client = self.client();
        let mut lines = std::pin::pin!(client.create_image(
            Some(options),
            Some(bollard::body_full(packed.stdout.into())),
            None
        ));
        while let Some(line) = lines.next().await {
            line.expect("the import goes well");
        }
        client.inspect_image(name).await.expect("the image").id.expect("its id")
    }
}

/// The static program, compiled once per source.
fn specimen() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let source =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/docker_engine/programs/specimen.rs");
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("docker-specimen");
        let built = |path: &Path| path.metadata().and_then(|metadata| metadata.modified()).ok();
        if built(&target) < built(&source) {
            let fresh = target.with_extension(std::process::id().to_string());
            let status = Command::new(option_env!("RUSTC").unwrap_or("rustc"))
                .args([
                    "--edition",
                    "2024",
                    "-O",
                    "-C",
                    "target-feature=+crt-static",
                    "-C",
                    "strip=symbols",
                    "-o",
                ])
                .arg(&fresh)
                .arg(&source)
                .status()
                .expect("rustc");
            assert!(status.success(), "the specimen does not compile");
            std::fs::rename(&fresh, &target).expect("the specimen in its place");
        }
        target
    })
}
