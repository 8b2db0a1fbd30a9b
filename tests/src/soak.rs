//! Many switches in a row under load: two releases take turns, and the old one is killed the moment
//! the host retires it.
//!
//! Invariants: the old backends ignore SIGTERM and have no grace, so retiring one is SIGKILL at
//! once and whatever it still had would be lost; requests that take a second are always in flight,
//! so each switch meets some; what NGINX itself resets on idle connections is counted apart from
//! what was lost.

use crate::load::{Mode, Options, Report};
use crate::scene::{Scene, Setup, Traffic};
use http::Method;
use std::path::PathBuf;
use std::time::Duration;

/// Requests per second beside the slow ones.
const RATE: f64 = 310.0;

/// How many 1-second requests are always in flight.
const SLOW: usize = 8;

/// One NGINX and the clients before it.
#[derive(Debug, Clone)]
pub struct Pass {
    /// NGINX's program.
    pub nginx: PathBuf,
    /// Further lines of its `http` block.
    pub http: String,
    /// What the clients do with their connections.
    pub clients: Mode,
    /// Whether this NGINX may reset idle connections when it reloads.
    pub may_reset_idle: bool,
}

impl Pass {
    /// Debian's NGINX and clients that take a new connection for each request.
    pub fn debian_closing() -> Self {
        Self {
            nginx: "/usr/sbin/nginx".into(),
            http: String::new(),
            clients: Mode::Close,
            may_reset_idle: false,
        }
    }

    /// Debian's NGINX and clients that keep their connections: it closes idle ones at each reload,
    /// whoever sends at that moment is reset.
    pub fn debian_keeping() -> Self {
        Self { clients: Mode::KeepAlive, may_reset_idle: true, ..Self::debian_closing() }
    }

    /// A current NGINX that leaves idle connections open for longer than the clients think.
    pub fn current_keeping(nginx: PathBuf) -> Self {
        Self {
            nginx,
            http: "keepalive_min_timeout 5s;".to_owned(),
            clients: Mode::KeepAlive,
            may_reset_idle: false,
        }
    }
}

/// What a pass showed.
#[derive(Debug)]
pub struct Soaked {
    /// How long each deployment took, in their order.
    pub took: Vec<Duration>,
    /// How many old backends were killed when they were retired.
    pub killed: usize,
    /// What the clients saw.
    pub load: Report,
    may_reset_idle: bool,
}

impl Soaked {
    /// What was not as it has to be, in words.
    pub fn wrong(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut must = |good: bool, words: String| {
            if !good {
                wrong.push(words);
            }
        };
        let Report {
            failed_total, unfinished, idle_resets, slow, posts_verified, switches, ..
        } = &self.load;
        must(*failed_total == 0, format!("{failed_total} requests failed: {:?}", self.load.failed));
        must(*unfinished == 0, format!("{unfinished} requests have no known end"));
        must(
            *idle_resets == 0 || self.may_reset_idle,
            format!("{idle_resets} idle connections were reset"),
        );
        must(
            slow.succeeded > 0 && *posts_verified > 0,
            "no slow request, or no POST, was answered".to_owned(),
        );
        must(
            switches.len() == self.took.len(),
            format!("the clients saw {} switches instead of {}", switches.len(), self.took.len()),
        );
        must(
            self.killed == self.took.len(),
            format!("{} old backends were killed instead of {}", self.killed, self.took.len()),
        );
        wrong
    }
}

/// Switches that often, telling after each how long it took. Panics when a deployment does not end
/// as it has to.
pub fn run(pass: &Pass, switches: usize, mut told: impl FnMut(usize, Duration)) -> Soaked {
    let mut scene = Scene::with_nginx(&pass.nginx);
    scene.nginx.http.clone_from(&pass.http);
    let shop = scene.service("shop");
    scene.first_release(&shop, &release("odd"));
    let traffic = Traffic::with(&Options {
        rate: Some(RATE),
        mode: pass.clients,
        mix: vec![Method::GET, Method::POST],
        slow_path: Some("/api/slow?ms=1000".to_owned()),
        slow_inflight: SLOW,
        header_identity: Some("X-Version".to_owned()),
        ..Options::new(shop.url("/api/items"))
    });
    // The first switch meets every client under way.
    traffic.wait_more(300);
    let (mut took, mut killed) = (Vec::with_capacity(switches), 0);
    for number in 1..=switches {
        let version = if number % 2 == 1 { "even" } else { "odd" };
        let ended = shop.deploy(&release(version)).expect_code(0);
        assert_eq!(shop.serving(), version, "who serves after switch {number}");
        let backends = shop.backends();
        assert_eq!(
            backends.len(),
            1,
            "after switch {number} there is only the new backend: {backends:?}"
        );
        killed += ended.notes().matches("was killed").count();
        took.push(ended.took);
        told(number, ended.took);
    }
    let load = traffic.stop();
    Soaked { took, killed, load, may_reset_idle: pass.may_reset_idle }
}

/// A release that does not go by itself and gets no time to.
fn release(version: &str) -> Setup {
    Setup {
        stop_grace: "0s".to_owned(),
        keep_previous: "\"none\"".to_owned(),
        ..Setup::version(version)
    }
    .flag("--ignore-sigterm")
}
