//! NGINX in a container of a Docker Engine of our own: whole folder mounted, single file mounted,
//! nothing mounted.

use crate::rig::{App, Switch, free_port, program, wait_for};
use agente_plugin_sdk::native::NativeHost;
use agente_plugin_sdk::traffic::ObservedState;
use agente_plugin_sdk::{Code, label};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::LazyLock;
use tempfile::TempDir;

const SCOPE: &str = "shop/production";
const IMAGE: &str = "agente-test-nginx:1";

/// The engine's socket; the engine ends with this process.
static ENGINE: LazyLock<String> = LazyLock::new(|| {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/bin/own-dockerd");
    let own = std::process::id().to_string();
    let folder = std::env::temp_dir().join(format!("agente-dockerd-{own}-nginx"));
    let started = Command::new(script)
        .args(["start", folder.to_str().unwrap(), "--until-pid", &own])
        .output()
        .unwrap();
    assert!(
        started.status.success(),
        "a Docker Engine is needed: `apt-get install docker.io iptables`: {}",
        String::from_utf8_lossy(&started.stderr)
    );
    let socket = String::from_utf8(started.stdout).unwrap().trim().to_owned();
    import_image(&socket);
    socket
});

fn docker_at(socket: &str) -> Command {
    let mut command = Command::new("docker");
    command.env("DOCKER_HOST", format!("unix://{socket}"));
    command
}

#[track_caller]
fn docker(args: &[&str]) -> Output {
    let output = docker_at(&ENGINE).args(args).output().unwrap();
    assert!(
        output.status.success(),
        "docker {}: {}",
        args.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// An image with the tests' NGINX, what it is linked with, and nothing else.
fn import_image(socket: &str) {
    let root = tempfile::tempdir().unwrap();
    let at = |path: &str| root.path().join(path.trim_start_matches('/'));
    let copy = |from: &str, to: &str| {
        std::fs::create_dir_all(at(to).parent().unwrap()).unwrap();
        std::fs::copy(from, at(to)).unwrap();
    };
    copy(&program(), "/usr/sbin/nginx");
    let linked = Command::new("ldd").arg(program()).output().unwrap();
    for word in String::from_utf8_lossy(&linked.stdout)
        .split_whitespace()
        .filter(|word| word.starts_with('/'))
    {
        copy(word, word);
    }
    for folder in ["/etc/nginx/agente", "/run", "/tmp", "/var/log/nginx", "/var/lib/nginx"] {
        std::fs::create_dir_all(at(folder)).unwrap();
    }
    std::fs::write(
        at("/etc/passwd"),
        "root:x:0:0::/:/bin/false\nnobody:x:65534:65534::/:/bin/false\n",
    )
    .unwrap();
    std::fs::write(at("/etc/group"), "root:x:0:\nnogroup:x:65534:\nnobody:x:65534:\n").unwrap();
    let archive = root.path().with_extension("tar");
    let packed = Command::new("tar")
        .arg("-C")
        .arg(root.path())
        .arg("-cf")
        .arg(&archive)
        .arg(".")
        .status()
        .unwrap();
    assert!(packed.success());
    let imported = docker_at(socket).arg("import").arg(&archive).arg(IMAGE).output().unwrap();
    std::fs::remove_file(&archive).unwrap();
    assert!(imported.status.success(), "{}", String::from_utf8_lossy(&imported.stderr));
}

/// A container with NGINX; removed at its end.
struct Container {
    name: String,
    folder: TempDir,
    port: u16,
    marker: u16,
}

impl Container {
    fn prepare() -> Self {
        let folder = tempfile::Builder::new().prefix("nginx-switch-container-").tempdir().unwrap();
        std::fs::create_dir(folder.path().join("agente")).unwrap();
        let name = folder.path().file_name().unwrap().to_str().unwrap().to_owned();
        let container = Self { name, folder, port: free_port(), marker: free_port() };
        container.configure("");
        container
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn configure(&self, http: &str) {
        let text = format!(
            "worker_processes 2;\nuser root;\npid /run/nginx.pid;\nerror_log stderr \
             notice;\ndaemon off;\nevents {{}}\nhttp {{\naccess_log off;\nclient_body_temp_path \
             /tmp/body; proxy_temp_path /tmp/proxy; fastcgi_temp_path /tmp/fastcgi; \
             uwsgi_temp_path /tmp/uwsgi; scgi_temp_path /tmp/scgi;\ninclude \
             agente/*.conf;\n{http}\nserver {{ listen 127.0.0.1:{}; return 200 plain; }}\n}}\n",
            self.port
        );
        std::fs::write(self.path("nginx.conf"), text).unwrap();
    }

    /// Starts it with these mounts below `/etc/nginx` beside the configuration.
    fn start(&self, mounts: &[(PathBuf, &str)]) {
        // The configuration's own folder would hide mounts inside it, so it is a mount of a file:
        // the operator's, written in place.
        let mut args = vec![
            "run".to_owned(),
            "--detach".into(),
            "--network=host".into(),
            format!("--name={}", self.name),
        ];
        args.push(format!("--volume={}:/etc/nginx/nginx.conf", self.path("nginx.conf").display()));
        args.extend(mounts.iter().map(|(from, to)| format!("--volume={}:{to}", from.display())));
        args.extend([IMAGE, "/usr/sbin/nginx", "-c", "/etc/nginx/nginx.conf"].map(str::to_owned));
        docker(&args.iter().map(String::as_str).collect::<Vec<_>>());
        wait_for("NGINX in the container", || TcpStream::connect(("127.0.0.1", self.port)).ok());
        // It listens a moment before its processes are called what they are.
        wait_for("NGINX's workers in the container", || {
            String::from_utf8_lossy(&docker(&["top", &self.name]).stdout)
                .contains("nginx: worker process")
                .then_some(())
        });
    }

    fn remove(&self) {
        docker(&["rm", "--force", &self.name]);
    }

    fn switch(&self) -> Switch {
        let section = serde_json::json!({
            "directory": self.path("agente"), "container": self.name, "container_directory": "/etc/nginx/agente", "marker": format!("127.0.0.1:{}", self.marker),
        });
        let mut switch = Switch::from_section(&section.to_string(), SCOPE);
        switch.host = NativeHost::new("shop", "production")
            .with_label("store", "store-1")
            .with_docker(&ENGINE);
        switch
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let _gone = docker_at(&ENGINE).args(["rm", "--force", &self.name]).output();
    }
}

#[test]
fn a_mounted_folder_is_switched_proved_and_drained_like_any_other() {
    let container = Container::prepare();
    container.start(&[(container.path("agente"), "/etc/nginx/agente")]);
    let (blue, green) = (App::start("blue"), App::start("green"));
    let switch = container.switch();
    let features = switch.features().unwrap();
    assert!(features.lock_key.contains(&container.name), "{}", features.lock_key);
    let first = switch.desired(Some((10_000, &blue)), Some((0, &green)));
    switch.switch(&first);
    switch.switch(&switch.desired(Some((0, &blue)), Some((10_000, &green))));
    let drained =
        wait_for("the drain", || Some(switch.drain(&blue)).filter(|drained| drained.done));
    assert_eq!(drained.evidence, "workers-gone");
    let good = switch.switch(&first);

    // Accepted and not loaded: the reason is in the container's output.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    container.configure(&format!("server {{ listen {}; }}", taken.local_addr().unwrap()));
    switch.apply(&switch.desired(Some((0, &blue)), Some((10_000, &green)))).unwrap();
    let seen = switch.settle();
    assert_eq!(
        (seen.state, label(&seen.labels, "drift")),
        (ObservedState::Drifted, Some("not-loaded")),
        "{}",
        seen.message
    );
    assert!(seen.message.contains("bind() to"), "{}", seen.message);
    switch.apply(&first).unwrap();
    assert_eq!(switch.settle().generation, good.generation);

    docker(&["stop", "--time=1", &container.name]);
    let failure = switch.observe().unwrap_err();
    assert_eq!(failure.code, Code::Unavailable, "{failure}");
    assert!(failure.message.contains(&container.name), "{failure}");
}

#[test]
fn a_mount_of_the_single_file_is_named_as_the_cause() {
    let container = Container::prepare();
    container.start(&[(container.path("agente"), "/etc/nginx/agente")]);
    let (blue, green) = (App::start("blue"), App::start("green"));
    let switch = container.switch();
    switch.switch(&switch.desired(Some((10_000, &blue)), None));
    container.remove();
    let file = PathBuf::from(switch.file());
    container.start(&[(file.clone(), "/etc/nginx/agente/agente-shop.production.conf")]);
    let (before, seen) = (switch.bytes(), switch.observe().unwrap());
    assert_eq!(seen.state, ObservedState::Converged, "nothing shows it yet: {}", seen.message);
    let failure = switch.apply(&switch.desired(None, Some((10_000, &green)))).unwrap_err();
    assert_eq!(label(&failure.labels, "reason"), Some("single-file-mount"), "{failure}");
    assert!(
        failure.message.contains("a bind mount of a single file keeps showing the old file"),
        "{failure}"
    );
    assert!(failure.hint.unwrap().contains("mount the directory"));
    assert_eq!(switch.bytes(), before);
    assert_eq!(
        switch.observe().unwrap().state,
        ObservedState::Converged,
        "the old routes serve on"
    );
}

#[test]
fn a_folder_that_is_not_mounted_is_named_as_the_cause() {
    let container = Container::prepare();
    container.start(&[]);
    let blue = App::start("blue");
    let switch = container.switch();
    let failure = switch.apply(&switch.desired(Some((10_000, &blue)), None)).unwrap_err();
    assert!(failure.message.contains("is not mounted at `/etc/nginx/agente`"), "{failure}");
    assert_eq!(switch.bytes(), None);
}
