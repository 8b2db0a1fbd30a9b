//! Pulls from a real registry on a loopback port that wants a user and a password.

use crate::daemon::Daemon;
use crate::scene::{Scene, answer};
use agente_engine::fault::{Fault, FaultKind};
use agente_engine::ports::{FindingResult, Runtime};
use agente_engine::release::Artifact;
use agente_engine::route::Slot;
use agente_runtimes::docker::{DockerRuntime, Pull};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bollard::auth::DockerCredentials;
use bollard::query_parameters::{
    PushImageOptionsBuilder, RemoveImageOptionsBuilder, TagImageOptionsBuilder,
};
use futures_util::StreamExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;
use tempfile::TempDir;

const USER: &str = "me";

/// In base64 it has a `/`, which the form for URLs writes as `_`.
const PASSWORD: &str = "?????-word";

/// The line of `htpasswd -nbB` for both.
const HASHED: &str = "me:$2y$05$fQXs6Hl0dls4xePetxd6He7QSp74obhv8IXDRjENIEDv5eLnW2Puy";

struct Registry {
    address: String,
    folder: TempDir,
    process: Child,
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ended_already = self.process.kill();
        let _status = self.process.wait();
    }
}

impl Registry {
    async fn start() -> Registry {
        let folder = tempfile::tempdir().unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let address = format!("127.0.0.1:{port}");
        let at = |name: &str| folder.path().join(name).display().to_string();
        std::fs::write(at("users"), HASHED).unwrap();
        let config = format!(
            "version: 0.1\nlog: {{level: warn}}\nstorage: {{filesystem: {{rootdirectory: \
             {}}}}}\nhttp: {{addr: {address}}}\nauth: {{htpasswd: {{realm: test, path: {}}}}}\n",
            at("data"),
            at("users")
        );
        std::fs::write(at("config.yml"), config).unwrap();
        let process = Command::new("docker-registry")
            .args(["serve", &at("config.yml")])
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(at("log")).unwrap())
            .spawn()
            .expect("there is no `docker-registry`: apt-get install docker-registry");
        crate::scene::eventually("the registry listens", async || {
            tokio::net::TcpStream::connect(&address).await.is_ok()
        })
        .await;
        Registry { address, folder, process }
    }

    /// A file as `docker login` writes it.
    fn credentials(&self, password: &str) -> PathBuf {
        let path = self.folder.path().join(format!("config-{}.json", password.len()));
        let auth = STANDARD.encode(format!("{USER}:{password}"));
        std::fs::write(&path, format!(r#"{{"auths":{{"{}":{{"auth":"{auth}"}}}}}}"#, self.address))
            .unwrap();
        path
    }

    /// Makes an image that says `mark`, pushes it under a name here, and takes it from the engine
    /// again. Gives its id.
    async fn push(&self, name: &str, tag: &str, mark: &str) -> String {
        let local = format!("pushed-{mark}:1");
        let id = Daemon::shared().image(&local, mark, &[&format!("ENV RELEASE={mark}")]).await;
        self.push_local(name, tag, local).await;
        id
    }

    /// The same with a file of this content.
    async fn push_filled(&self, name: &str, content: &str) {
        let local = format!("pushed-{name}:1");
        Daemon::shared().image(&local, content, &[]).await;
        self.push_local(name, "1", local).await;
    }

    async fn push_local(&self, name: &str, tag: &str, local: String) {
        let daemon = Daemon::shared();
        let repository = format!("{}/{name}", self.address);
        let client = daemon.client();
        client
            .tag_image(
                &local,
                Some(TagImageOptionsBuilder::default().repo(&repository).tag(tag).build()),
            )
            .await
            .unwrap();
        let credentials = DockerCredentials {
            username: Some(USER.to_owned()),
            password: Some(PASSWORD.to_owned()),
            ..Default::default()
        };
        let pushing = client.clone().with_request_modifier(|mut request| {
            if let Some(value) =
                request.headers().get("X-Registry-Auth").and_then(|value| value.to_str().ok())
            {
                assert!(value.contains(['+', '/']), "the password shows the difference");
                let value = value.replace('+', "-").replace('/', "_").parse().unwrap();
                request.headers_mut().insert("X-Registry-Auth", value);
            }
            request
        });
        let mut lines = std::pin::pin!(pushing.push_image(
            &repository,
            Some(PushImageOptionsBuilder::default().tag(tag).build()),
            Some(credentials)
        ));
        while let Some(line) = lines.next().await {
            let line = line.expect("the push goes well");
            assert!(line.error_detail.is_none(), "{line:?}");
        }
        for reference in [local, format!("{repository}:{tag}")] {
            client
                .remove_image(&reference, Some(RemoveImageOptionsBuilder::default().build()), None)
                .await
                .unwrap();
        }
    }
}

async fn resolve(runtime: &DockerRuntime, reference: &str) -> Result<Artifact, Fault> {
    runtime.resolve_image(reference, Pull::IfAbsent, &|_| {}).await
}

#[tokio::test(flavor = "multi_thread")]
async fn each_way_a_pull_fails_is_its_own_fault() {
    let registry = Registry::start().await;
    registry.push("shop", "1", "refused").await;
    let scene = Scene::new("puller").await;
    let reference = format!("{}/shop:1", registry.address);

    let without = resolve(&scene.runtime, &reference).await.unwrap_err();
    assert_eq!(without.kind, FaultKind::Denied);
    assert!(
        without.message.contains("wants credentials")
            && without.hint.unwrap() == format!("docker login {}", registry.address),
        "{}",
        without.message
    );
    let wrong =
        scene.runtime_with(|settings| settings.credentials = Some(registry.credentials("wrong")));
    let turned_down = resolve(&wrong, &reference).await.unwrap_err();
    assert_eq!(turned_down.kind, FaultKind::Denied);
    assert!(turned_down.message.contains("rejected the credentials"), "{turned_down:?}");

    let known =
        scene.runtime_with(|settings| settings.credentials = Some(registry.credentials(PASSWORD)));
    assert_eq!(
        resolve(&known, &format!("{}/shop:none", registry.address)).await.unwrap_err().kind,
        FaultKind::Rejected
    );
    let gone = format!("{}/shop@sha256:{}", registry.address, "2".repeat(64));
    assert_eq!(resolve(&known, &gone).await.unwrap_err().kind, FaultKind::Rejected);

    drop(registry);
    let away = resolve(&known, &reference).await.unwrap_err();
    assert!(away.kind == FaultKind::Unavailable && away.retryable, "{away:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_that_fills_the_engines_disk_says_so() {
    let registry = Registry::start().await;
    // Zeros: a small download, and large on the disk.
    registry.push_filled("large", &"0".repeat(96 * 1024 * 1024)).await;
    let small = Daemon::small("small", 64);
    let scene = Scene::on(&small, "filled-up", "unused:1", &format!("sha256:{}", "0".repeat(64)));
    let known =
        scene.runtime_with(|settings| settings.credentials = Some(registry.credentials(PASSWORD)));
    let fault = resolve(&known, &format!("{}/large:1", registry.address)).await.unwrap_err();
    assert!(
        fault.kind == FaultKind::Failed && fault.message.contains("no space left on device"),
        "{fault:?}"
    );
    assert!(fault.hint.unwrap().contains("docker system df"));
    small.remove();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_falls_silent_is_given_up_in_time() {
    let scene = Scene::new("silenced").await;
    let deaf = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let runtime = scene.runtime_with(|settings| settings.pull_stall = Duration::from_millis(500));
    let fault =
        resolve(&runtime, &format!("{}/shop:1", deaf.local_addr().unwrap())).await.unwrap_err();
    assert!(
        fault.kind == FaultKind::TimedOut && fault.message.contains("no progress for 500ms"),
        "{fault:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_was_removed_comes_back_by_digest_though_its_tag_has_moved() {
    let registry = Registry::start().await;
    let first = registry.push("shop", "live", "planned").await;
    let mut scene = Scene::new("brought-back").await;
    let known =
        scene.runtime_with(|settings| settings.credentials = Some(registry.credentials(PASSWORD)));
    let reference = format!("{}/shop:live", registry.address);
    let told = Mutex::new(Vec::new());
    let artifact = known
        .resolve_image(&reference, Pull::IfAbsent, &|line| {
            told.lock().unwrap().push(line.to_owned());
        })
        .await
        .unwrap();
    assert!(
        told.into_inner()
            .unwrap()
            .iter()
            .any(|line| line.contains("Pull complete") || line.contains("Downloaded newer image"))
    );
    let Artifact::Image { id, repository_digest: Some(digest), .. } = &artifact else {
        panic!("{artifact:?}")
    };
    assert_eq!(id.as_str(), first);
    assert!(digest.starts_with(&format!("{}/shop@sha256:", registry.address)));

    // The tag moves, and the engine forgets the image.
    scene
        .docker
        .remove_image(
            &reference,
            Some(RemoveImageOptionsBuilder::default().force(true).build()),
            None,
        )
        .await
        .unwrap();
    let second = registry.push("shop", "live", "moved").await;
    assert_ne!(first, second);
    scene.image = artifact.clone();
    let mut spec = scene.spec(&["serve", "{port}"]);
    spec.env.clear();
    let launch = scene.launch(1, Slot::Blue, spec).await;
    let findings = known.preflight(&launch.release, &[]).await;
    assert!(
        findings.iter().any(|finding| finding.result == FindingResult::Warning
            && finding.message.contains("will be pulled as")),
        "{findings:?}"
    );
    known.ensure(&launch).await.unwrap();
    assert_eq!(answer(&launch.backend.address).await, "planned");
    assert_eq!(scene.inspect(&launch.backend.id.0).await.image, Some(first));
    let moved = known.resolve_image(&reference, Pull::Always, &|_| {}).await.unwrap();
    assert!(
        matches!(moved, Artifact::Image { id, .. } if id.as_str() == second),
        "a new plan asks the tag anew"
    );
}
