//! A service whose new releases are measured by a real Prometheus.

use agente_tests::scene::{
    Monitor, Run, Scene, Service, Setup, SmallDisk, Traffic, shipped, wait_for,
};
use serde_json::Value;
use std::cell::Cell;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Requests of users, not of our own checks.
const SELECTOR: &str = "instance=~\"{{backends}}\",handler=\"api\"";

/// One scene with a Prometheus that looks at every backend each second.
pub(crate) struct Measured {
    prometheus: Option<Monitor>,
    port: u16,
    configuration: PathBuf,
    pub(crate) shop: Service,
    _scene: Scene,
}

impl Measured {
    /// `v1` serves on one backend.
    pub(crate) fn new() -> Self {
        Self::with(1)
    }

    /// `v1` serves on so many backends.
    pub(crate) fn with(instances: u16) -> Self {
        Self::looking_at(instances, &[])
    }

    /// `v1` serves on one backend, with the host's state on a small disk.
    pub(crate) fn on_small_disk() -> (Self, SmallDisk) {
        let (measured, disk) = Self::made(1, &[], |shop| Some(shop.on_small_disk()));
        (measured, disk.expect("a disk"))
    }

    /// `v1` serves, and Prometheus looks at these addresses too.
    pub(crate) fn scraping(more: &[String]) -> Self {
        Self::looking_at(1, more)
    }

    fn looking_at(instances: u16, more: &[String]) -> Self {
        Self::made(instances, more, |_| None).0
    }

    fn made(
        instances: u16,
        more: &[String],
        disk: impl FnOnce(&Service) -> Option<SmallDisk>,
    ) -> (Self, Option<SmallDisk>) {
        let mut scene = Scene::new();
        let shop = scene.service("shop");
        let disk = disk(&shop);
        scene.first_release(&shop, &Setup { instances, ..Setup::version("v1") });
        let folder = scene.path().join("prometheus");
        std::fs::create_dir(&folder).expect("a folder");
        let mut text = "global: { scrape_interval: 1s, scrape_timeout: 1s }\nscrape_configs:\n  - \
                        job_name: shop\n    static_configs:\n      - targets:\n"
            .to_owned();
        let (first, last) = shop.backend_ports();
        for address in
            (first..=last).map(|port| format!("127.0.0.1:{port}")).chain(more.iter().cloned())
        {
            let _ = writeln!(text, "          - \"{address}\"");
        }
        let configuration = folder.join("prometheus.yml");
        std::fs::write(&configuration, text).expect("a file");
        let prometheus = Monitor::prometheus(&configuration);
        let measured = Self {
            port: prometheus.port,
            prometheus: Some(prometheus),
            configuration,
            shop,
            _scene: scene,
        };
        measured.shop.write(&measured.canary("v1"));
        shipped("prometheus-health");
        measured.shop.host(&["plugin", "add", "prometheus-health", "--yes"]).expect_code(0);
        (measured, disk)
    }

    /// A canary under this name by way of 20 and 50 percent, each for two seconds at least.
    pub(crate) fn canary(&self, version: &str) -> Setup {
        self.canary_with(version, "", "")
    }

    /// The same with further lines of `[analysis]` and of its one check.
    pub(crate) fn canary_with(&self, version: &str, analysis: &str, check: &str) -> Setup {
        let strategy = "kind = \"canary\"\nweights = [20, 50]\npause = \"2s\"\n".to_owned();
        Setup { strategy, more: self.analysis(analysis, check), ..Setup::version(version) }
    }

    /// The tables of what is measured: failed requests, with an answer after few of them.
    pub(crate) fn analysis(&self, analysis: &str, check: &str) -> String {
        format!(
            "[plugins.prometheus-health.config]\nurl = \"http://127.0.0.1:{}\"\n\n[analysis]\ninterval = \"1s\"\nlookback = \"30s\"\nmissed = \"5%\"\n{analysis}\n\n\
             [[analysis.checks]]\nname = \"errors\"\nmeasure = \"errors\"\nplugin = \"prometheus-health\"\ndetect = \"5%\"\ntimeout = \"2s\"\n\
             errors = {{ template = \"http-errors\", selector = '{SELECTOR}' }}\ntotal = {{ template = \"http-requests\", selector = '{SELECTOR}' }}\n{check}\n",
            self.port
        )
    }

    /// Load, which Prometheus has seen when this returns.
    pub(crate) fn traffic(&self, rate: f64) -> Traffic {
        let traffic = Traffic::on(&self.shop, rate, 0);
        self.wait_measured();
        traffic
    }

    /// Waits until Prometheus has seen the stable release's requests grow.
    pub(crate) fn wait_measured(&self) {
        let prometheus = self.prometheus.as_ref().expect("Prometheus runs");
        wait_for("samples of the stable release", || {
            (!prometheus
                .query("sum(increase(http_requests_total{handler=\"api\"}[5s])) > 0")
                .is_empty())
            .then_some(())
        });
    }

    /// The Prometheus.
    pub(crate) fn prometheus(&self) -> &Monitor {
        self.prometheus.as_ref().expect("Prometheus runs")
    }

    /// Kills Prometheus.
    pub(crate) fn lose_prometheus(&mut self) {
        self.prometheus.take().expect("Prometheus runs").stop();
    }

    /// Starts it again where it was.
    pub(crate) fn bring_prometheus_back(&mut self) {
        self.prometheus = Some(Monitor::prometheus_on(self.port, &self.configuration));
    }
}

/// Waits until the `nth` step of a kind, from 0 on, has had an event; false when the run ended
/// without it.
pub(crate) fn wait_nth(run: &Run, kind: &str, nth: usize, what: &str) -> bool {
    let plan = run.plan();
    let steps = plan["steps"].as_array().expect("steps");
    let index = steps
        .iter()
        .enumerate()
        .filter(|(_, step)| step["kind"] == kind)
        .map(|(index, _)| index)
        .nth(nth)
        .expect("such a step");
    let of = |event: &Value, name: &str| {
        event.pointer(&format!("/entry/event/{name}")).cloned().unwrap_or_default()
    };
    run.wait_event(|event| {
        of(event, "entry") == "step" && of(event, "step") == index && of(event, "event") == what
    })
    .is_some()
}

/// Waits until something is waited for whose words hold `words`; the words.
pub(crate) fn wait_told(run: &Run, words: &str) -> String {
    let told =
        run.wait_event(|event| waiting(event).is_some_and(|message| message.contains(words)));
    assert!(told.is_some(), "the run ended and never told `{words}`");
    let told = told.unwrap_or_default();
    waiting(&told).unwrap_or_default().to_owned()
}

/// What an event says is waited for.
pub(crate) fn waiting(event: &Value) -> Option<&str> {
    (event.pointer("/progress/progress")? == "waiting")
        .then(|| event.pointer("/progress/message")?.as_str())
        .flatten()
}

/// The slots' weights in percent of requests as the target itself has them: blue and green.
pub(crate) fn weights(shop: &Service) -> (u64, u64) {
    let status = shop.status();
    let routes = status["target"]["routes"]["routes"].as_array().cloned().unwrap_or_default();
    let of = |slot: &str| {
        routes
            .iter()
            .filter(|route| route["slot"] == slot)
            .filter_map(|route| route["weight"].as_u64())
            .sum::<u64>()
            / 100
    };
    (of("blue"), of("green"))
}

/// Looks again and again for as long as something must not change.
#[track_caller]
pub(crate) fn all_the_time(time: Duration, mut holds: impl FnMut() -> bool, what: &str) {
    let began = Instant::now();
    let looks = Cell::new(0);
    while began.elapsed() < time {
        assert!(holds(), "after {:?}: not so any more: {what}", began.elapsed());
        looks.set(looks.get() + 1);
        std::thread::sleep(Duration::from_millis(250));
    }
    assert!(looks.get() > 2, "looked only {} times", looks.get());
}
