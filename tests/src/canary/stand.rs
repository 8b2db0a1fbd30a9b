//! A scene with a stable release under load and a Prometheus that knows it.

use super::candidate::{Candidate, Watched};
use crate::load::{Options, Record};
use crate::scene::{Monitor, Run, Scene, Service, Setup, Traffic, wait_for};
use http::Method;
use std::fmt::Write as _;
use std::time::Duration;

/// How long a user waits for an answer.
const USER_PATIENCE: Duration = Duration::from_secs(5);

/// Everything that a canary needs; it ends with this.
pub struct Stand {
    /// The service; its stable release is `stable`.
    pub shop: Service,
    /// The load, each request remembered; every user of it is there once.
    pub load: Traffic,
    prometheus: Monitor,
    scene: Scene,
}

impl Stand {
    /// A stable release under the load of this candidate's trial, scraped so often.
    pub fn new(candidate: &Candidate, scrape_seconds: u64) -> Self {
        let mut scene = Scene::new();
        let mut shop = scene.service("shop");
        shop.switch_setting("sticky = { cookie = \"uid\" }");
        let mut stable = Setup::version("stable");
        if !candidate.stable.is_empty() {
            stable = stable.flag(candidate.stable);
        }
        scene.first_release(&shop, &stable);
        let mut options = Options::new(shop.url("/api/items"));
        options.rate = Some(candidate.rate);
        options.mix = vec![Method::GET; candidate.posts];
        options.mix[0] = Method::POST;
        options.header_identity = Some("X-Version".to_owned());
        options.timeout = USER_PATIENCE;
        options.users = Some(u64::MAX);
        options.record = true;
        let load = Traffic::with(&options);
        let prometheus = scrape(&scene, &shop, scrape_seconds);
        let stand = Self { shop, load, prometheus, scene };
        stand.shop.write(&stand.setup(candidate, "candidate"));
        stand.shop.host(&["plugin", "add", "prometheus-health", "--yes"]).expect_code(0);
        stand.wait_known();
        stand
    }

    /// Waits until the numbers of what is stable have been scraped several times.
    fn wait_known(&self) {
        // A count over time: as many samples as preflight and the first look can use.
        let query =
            "count_over_time(http_requests_total{handler=\"api\",method=\"GET\",code=\"200\"}[5m])";
        wait_for("numbers of the stable release", || {
            let samples = self.prometheus.query(query);
            samples
                .iter()
                .any(|sample| {
                    sample["value"][1]
                        .as_str()
                        .and_then(|count| count.parse::<u32>().ok())
                        .is_some_and(|count| count >= 3)
                })
                .then_some(())
        });
    }

    /// The manifest of a candidate under a name.
    pub fn setup(&self, candidate: &Candidate, version: &str) -> Setup {
        let mut setup = Setup {
            strategy: "kind = \"canary\"\npause = \"2s\"\n".to_owned(),
            probe: false,
            drain: "10s".to_owned(),
            ..Setup::version(version)
        };
        if !candidate.flags.is_empty() {
            setup = setup.flag(candidate.flags);
        }
        // Ours are to prove who answers; what fails is for analysis to find.
        let _ = writeln!(
            setup.more,
            "\n[probe]\nurl = \"{}\"\nrate = 5\nbaseline = \"0s\"\nbudget = 1000000\n",
            self.shop.url("/api/items")
        );
        let _ = writeln!(
            setup.more,
            "[plugins.prometheus-health.config]\nurl = \"http://127.0.0.1:{}\"\n",
            self.prometheus.port
        );
        let _ = writeln!(
            setup.more,
            "[analysis]\ninterval = \"{}\"\nextend = \"2m\"\nlookback = \"1m\"\n",
            candidate.interval
        );
        setup.more.push_str(&measures(candidate));
        setup
    }

    /// Begins the deployment of a candidate.
    pub fn begin(&self, candidate: &Candidate) -> Run {
        self.shop.begin_deploy(&self.setup(candidate, "candidate"))
    }

    /// A second load on the service: users who come again and again.
    pub fn regulars(&self, users: u64, rate: f64) -> Traffic {
        let mut options = Options::new(self.shop.url("/api/items"));
        options.rate = Some(rate);
        options.header_identity = Some("X-Version".to_owned());
        options.users = Some(users);
        options.record = true;
        Traffic::with(&options)
    }

    /// Ends everything and gives what became of each request.
    pub fn end(self) -> Vec<Record> {
        let Self { load, prometheus, scene, .. } = self;
        let records = load.finish();
        prometheus.stop();
        drop(scene);
        records
    }
}

/// Starts a Prometheus that scrapes every port where a backend may stand.
fn scrape(scene: &Scene, shop: &Service, seconds: u64) -> Monitor {
    let folder = scene.path().join("monitoring");
    std::fs::create_dir(&folder).expect("a folder");
    let (first, last) = shop.backend_ports();
    let targets: Vec<String> = (first..=last).map(|port| format!("\"127.0.0.1:{port}\"")).collect();
    let text = format!(
        "global: {{ scrape_interval: {seconds}s, scrape_timeout: {seconds}s \
             }}\nscrape_configs:\n  - job_name: shop\n    static_configs: [{{ targets: [{}] }}]\n",
        targets.join(", ")
    );
    let path = folder.join("prometheus.yml");
    std::fs::write(&path, text).expect("a file");
    Monitor::prometheus(&path)
}

fn measures(candidate: &Candidate) -> String {
    let of = "instance=~\\\"{{backends}}\\\"";
    let mut text = format!(
        "[[analysis.checks]]\nname = \"errors\"\nmeasure = \"errors\"\nerrors = \
         \"http_requests_total{{{of},handler=\\\"api\\\",code=~\\\"5..\\\"}}\"\ntotal = \
         \"http_requests_total{{{of},handler=\\\"api\\\"}}\"\ndetect = \
         \"{}\"\n\n[[analysis.checks]]\nname = \"latency\"\nmeasure = \"latency\"\nbuckets = \
         \"http_request_duration_seconds_bucket{{{of}}}\"\nquantile = {}\n\n",
        candidate.detect, candidate.quantile
    );
    match candidate.watched {
        Watched::Rates => {}
        Watched::Dependencies => {
            text.push_str(
                "[[checks]]\nname = \"dependencies\"\nplugin = \"http-health\"\nspec = { path = \
                 \"/health/dependencies\" }\nwhen = [\"analysis\"]\ninterval = \"500ms\"\n",
            );
        }
        Watched::Saturation => {
            let _ = writeln!(
                text,
                "[[analysis.checks]]\nname = \"in-flight\"\nmeasure = \"value\"\nquery = \
                 \"max(http_requests_in_flight{{{of}}})\"\nmax = 20\n"
            );
        }
    }
    text
}
