//! A scene for an end-to-end test: a real NGINX, services with their manifests, the real
//! `agente-host`, and load.
//!
//! Invariants: everything of a scene lives in one temporary folder and one block of ports; when the
//! scene is dropped, every process that was started from that folder is ended by its number,
//! supervisors and backends too. Nothing is waited for by a fixed time: waits look for a condition
//! and fail with what was seen.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::missing_panics_doc,
    clippy::indexing_slicing,
    reason = "a test's harness says what it expected and ends the test"
)]

mod engine;
mod event_schema;
mod http;
mod monitoring;
mod nginx;
mod ports;
mod processes;
mod run;
mod service;
mod small_disk;
mod traffic;
mod unprivileged;

pub use engine::Engine;
pub use http::{Answer, get};
pub use monitoring::{Monitor, promtool};
pub use nginx::Nginx;
pub use ports::{Ports, free_port};
pub use processes::{end_all, kill, under, wait_gone};
pub use run::{Ended, Run, Unread, shipped};
pub use service::{Service, Setup};
pub use small_disk::SmallDisk;
pub use traffic::Traffic;
pub use unprivileged::{AsRoot, Unprivileged};

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long a condition that must come may take, on a machine that is busy.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// Looks again and again until there is something to see; fails with what was waited for.
pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(Instant::now() < until, "waited {} s in vain for {what}", PATIENCE.as_secs());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// One NGINX and the services behind it.
pub struct Scene {
    /// The balancer.
    pub nginx: Nginx,
    ports: Ports,
    folder: TempDir,
    services: usize,
}

impl Scene {
    /// An NGINX without any service yet; it runs once the first service is there.
    pub fn new() -> Self {
        Self::with_nginx(Path::new(nginx::PROGRAM))
    }

    /// The same with another program than Debian's.
    pub fn with_nginx(program: &Path) -> Self {
        let folder =
            tempfile::Builder::new().prefix("agente-scene-").tempdir().expect("a temporary folder");
        let ports = Ports::take();
        let nginx = Nginx::new(program, &folder.path().join("nginx"), ports.marker());
        Self { nginx, ports, folder, services: 0 }
    }

    /// A scene with one service, `shop`, whose first release `v1` was deployed and serves.
    pub fn deployed() -> (Self, Service) {
        let mut scene = Self::new();
        let shop = scene.service("shop");
        scene.first_release(&shop, &Setup::version("v1"));
        (scene, shop)
    }

    /// The same with the state on a small disk of its own.
    pub fn deployed_on_small_disk() -> (Self, Service, SmallDisk) {
        let mut scene = Self::new();
        let shop = scene.service("shop");
        let disk = shop.on_small_disk();
        scene.first_release(&shop, &Setup::version("v1"));
        (scene, shop, disk)
    }

    /// A scene with one service, `shop`, whose `v1` ran behind a plain `proxy_pass` and was
    /// adopted.
    pub fn adopted() -> (Self, Service) {
        let mut scene = Self::new();
        let shop = scene.service("shop");
        let address = shop.start_by_hand("v1");
        scene.nginx.route(&shop, &address);
        scene.nginx.start();
        shop.write(&Setup::version("v2"));
        shop.grant();
        shop.host(&["adopt", "--backend", &address]).expect_code(0);
        scene.use_pool(&shop);
        (scene, shop)
    }

    /// A further service behind this NGINX, not routed yet.
    pub fn service(&mut self, name: &str) -> Service {
        self.service_in(name, "default")
    }

    /// The same in an environment that its manifest declares.
    pub fn service_in(&mut self, name: &str, environment: &str) -> Service {
        let scene = self.folder.path();
        let service =
            Service::new(name, environment, scene, &self.ports, self.services, &self.nginx);
        self.services += 1;
        service
    }

    /// Lets the host of a service run as a user who owns nothing here but the service's own folder;
    /// NGINX and its files stay root's.
    pub fn unprivileged(&self, service: &mut Service) -> Unprivileged {
        let programs = [run::program(), built("agente-api", "cargo build -p agente-api")];
        let user = Unprivileged::new(
            self.folder.path(),
            &programs,
            &["nginx-switch", "http-health"].map(shipped),
        );
        service.run_as(&user);
        user
    }

    /// Deploys a service's first release and lets the public server use its pool.
    pub fn first_release(&mut self, service: &Service, setup: &Setup) {
        // Nothing listens there: until the first release there is nothing to ask.
        self.nginx.route(service, "127.0.0.1:9");
        if self.nginx.runs() {
            self.nginx.reload();
        } else {
            self.nginx.start();
        }
        service.write(setup);
        service.grant();
        service.host(&["deploy"]).expect_code(0);
        self.use_pool(service);
    }

    /// Lets the public server of a service pass its requests to the pool, and waits until it does
    /// on every worker.
    pub fn use_pool(&mut self, service: &Service) {
        self.nginx.route(service, &format!("${}", service.variable("pool")));
        self.nginx.reload_and_settle();
        service.wait_slot_named();
    }

    /// The scene's folder.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// A port of the scene that nobody uses.
    pub fn spare_port(&self) -> u16 {
        self.ports.spare()
    }
}

impl Default for Scene {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.nginx.stop();
        processes::end_all(self.folder.path());
    }
}

/// A program that was built beside this test or program.
pub(crate) fn built(name: &str, how: &str) -> PathBuf {
    let own = std::env::current_exe().expect("this program's own path");
    let folder = own.parent().expect("its folder");
    // A test is in `deps`, a program beside it.
    let folder =
        if folder.ends_with("deps") { folder.parent().expect("target/<profile>") } else { folder };
    let path = folder.join(name);
    assert!(path.is_file(), "`{}` is missing; build it with `{how}`", path.display());
    path
}
