//! The real NGINX: what a reload does to clients, as the prober sees it.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use agente_engine::ports::Prober;
use agente_probe::HttpProber;
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep};

use crate::server::{PATIENCE, policy, until};

const NGINX: &str = "/usr/sbin/nginx";

/// A running NGINX in a folder of its own; stopped when dropped.
struct Nginx {
    folder: TempDir,
    master: Child,
    address: SocketAddr,
}

impl Nginx {
    async fn start() -> Self {
        assert!(Path::new(NGINX).exists(), "{NGINX} is missing: apt-get install nginx-light");
        let folder = tempfile::tempdir().expect("a folder");
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .expect("a free port")
            .local_addr()
            .expect("an address")
            .port();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let nginx = Self { master: Self::spawn(&folder, port, "one"), folder, address };
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(address).await.is_err() {
            assert!(Instant::now() < deadline, "NGINX does not listen");
            sleep(Duration::from_millis(10)).await;
        }
        nginx
    }

    fn spawn(folder: &TempDir, port: u16, generation: &str) -> Child {
        Self::configure(folder.path(), port, generation);
        Command::new(NGINX)
            .args(["-c", "nginx.conf", "-e", "error.log", "-p"])
            .arg(folder.path())
            .args(["-g", "daemon off;"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("NGINX starts")
    }

    fn configure(folder: &Path, port: u16, generation: &str) {
        let text = format!(
            "worker_processes 2; pid nginx.pid; error_log error.log; events {{}}\nhttp {{ \
             access_log off; client_body_temp_path t; proxy_temp_path t; fastcgi_temp_path t; \
             uwsgi_temp_path t; scgi_temp_path t;\nserver {{ listen 127.0.0.1:{port}; add_header \
             X-Slot {generation} always; location / {{ return 200 ok; }} }} }}\n"
        );
        std::fs::write(folder.join("nginx.conf"), text).expect("a configuration");
    }

    fn reload(&self, generation: &str) {
        Self::configure(self.folder.path(), self.address.port(), generation);
        let done = Command::new(NGINX)
            .args(["-c", "nginx.conf", "-e", "error.log", "-s", "reload", "-p"])
            .arg(self.folder.path())
            .output()
            .expect("NGINX runs");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = Command::new(NGINX)
            .args(["-c", "nginx.conf", "-e", "error.log", "-s", "stop", "-p"])
            .arg(self.folder.path())
            .output();
        let _ = self.master.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reloads_fail_nothing_but_idle_connections_and_the_new_generation_is_seen() {
    let nginx = Nginx::start().await;
    let mut policy = policy(&format!("http://{}/", nginx.address));
    policy.rate = 100.0;
    let prober = HttpProber::new(&policy).expect("a fit policy");
    prober.start().await.expect("it starts");
    until(&prober, "answered", |report| {
        report.by_identity.get("one").is_some_and(|count| *count > 20)
    })
    .await;
    for generation in ["two", "three", "four"] {
        nginx.reload(generation);
        until(&prober, "switched", |report| {
            report.by_identity.get(generation).is_some_and(|count| *count > 20)
        })
        .await;
    }
    let report = prober.report();
    assert_eq!(report.failed_total(), 0, "{report:?}");
    assert!(
        report.idle_resets <= 3 * 4,
        "at most each of the four kept connections at each reload: {report:?}"
    );
    assert_eq!(prober.identities(6).await.expect("answers"), ["four"; 6]);
    let order: Vec<_> = prober.presences().into_iter().map(|presence| presence.identity).collect();
    assert_eq!(order, ["one", "two", "three", "four"]);
}
