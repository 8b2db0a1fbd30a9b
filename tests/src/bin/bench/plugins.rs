//! The shipped plugins in this process: loading them, calling them, and what their calls to the
//! outside cost.

use crate::table::{Aim, Table, show};
use agente_engine::fault::{Fault, FaultKind};
use agente_engine::names::{
    BackendId, EnvironmentName, PluginName, ReleaseNumber, Scope, ServiceName,
};
use agente_engine::ports::{SecretValue, Secrets, TrafficSwitcher as _};
use agente_engine::route::{Backend, Slot};
use agente_engine::verdict::{Subject, VerdictKind};
use agente_runtimes::commands::HostCommands;
use agente_store::{EmbeddedStore, StateDirectory, StateInputs};
use agente_tests::scene::{Scene, Service, shipped};
use agente_wasm::{
    Audit, EffectRecord, GrantSource, HostOptions, LoadInput, OperationContext, Plugin, PluginHost,
    PluginLog, PluginMessage, PluginPorts,
};
use async_trait::async_trait;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

const COMPILES: usize = 5;
const LOADS: usize = 51;
const FRESH: usize = 2_001;
/// Calls that are timed as one, because a clock costs as much as a call.
const WARM_BATCH: u32 = 100;
const WARM: usize = 201;
const OUTSIDE: usize = 501;
const LOOKS: usize = 51;

/// No shipped plugin is granted a secret here, and nobody reads what is recorded.
pub(crate) struct Nobody;

#[async_trait]
impl Secrets for Nobody {
    async fn value(&self, name: &str) -> Result<SecretValue, Fault> {
        Err(Fault::new(FaultKind::Internal, format!("nobody was granted the secret `{name}`")))
    }
}

impl Audit for Nobody {
    fn record(&self, _record: EffectRecord) {}
}

impl PluginLog for Nobody {
    fn write(&self, _message: PluginMessage) {}
}

struct Bench<'a> {
    scene: &'a Scene,
    store: EmbeddedStore,
}

/// Measures every shipped plugin, then what the outside costs them.
pub(crate) async fn measure(scene: &Scene, shop: &Service, table: &mut Table) {
    let inputs = StateInputs { explicit: Some(shop.state.clone()), ..StateInputs::default() };
    let store = EmbeddedStore::open(StateDirectory::resolve(&inputs).expect("the state directory"))
        .await
        .expect("the store");
    let bench = Bench { scene, store };
    let cache = scene.path().join("cache-of-bench");
    let hosts = (0..LOADS).map(|_| {
        let began = Instant::now();
        let host = PluginHost::new(&HostOptions { cache_folder: Some(cache.clone()) })
            .expect("a plugin host");
        drop(host);
        began.elapsed()
    });
    table.times("plugin host set up, once per run", hosts.collect(), Aim::None);
    for name in ["nginx-switch", "http-health", "tcp-health", "prometheus-health"] {
        bench.plugin(name, &cache, table).await;
    }
    bench.outside(shop, &cache, table).await;
}

impl Bench<'_> {
    async fn load(&self, host: &PluginHost, name: &str, spec: Value) -> Plugin {
        let path = |file: &str| self.scene.nginx.path(file).display().to_string();
        let config = if name == "nginx-switch" {
            let marker = format!("127.0.0.1:{}", self.scene.nginx.marker());
            json!({ "directory": path("agente"), "conf": path("nginx.conf"), "pid_file": path("nginx.pid"), "error_log": path("error.log"), "marker": marker })
        } else if name == "prometheus-health" {
            json!({ "url": "http://127.0.0.1:9090" })
        } else {
            json!({})
        };
        let input = LoadInput {
            name: PluginName::new(name).expect("a name"),
            path: shipped(name),
            kind: None,
            config,
            specs: vec![spec],
            scope: Scope {
                service: ServiceName::new("shop").expect("a name"),
                environment: EnvironmentName::new("default").expect("a name"),
            },
            store_id: self.store.id().to_owned(),
            grant: GrantSource::Everything,
            ports: PluginPorts {
                commands: Arc::new(HostCommands),
                secrets: Arc::new(Nobody),
                memory: Arc::new(self.store.clone()),
                audit: Arc::new(Nobody),
                log: Arc::new(Nobody),
                variables: BTreeMap::new(),
                seam: None,
            },
        };
        host.load(input).await.expect("the plugin is admitted")
    }

    async fn plugin(&self, name: &str, cache: &Path, table: &mut Table) {
        // What fills the cache is not measured.
        let host = |cache: Option<&Path>| {
            PluginHost::new(&HostOptions { cache_folder: cache.map(Path::to_owned) })
                .expect("a plugin host")
        };
        let plugin = self.load(&host(Some(cache)), name, json!({})).await;
        let mut compiled = Vec::with_capacity(COMPILES);
        for _ in 0..COMPILES {
            let host = host(None);
            let began = Instant::now();
            self.load(&host, name, json!({})).await;
            compiled.push(began.elapsed());
        }
        table.times(&format!("`{name}`: cold load, compiled"), compiled, Aim::None);
        let (mut cached, mut parts) = (Vec::with_capacity(LOADS), Vec::with_capacity(LOADS));
        for _ in 0..LOADS {
            let host = host(Some(cache));
            let began = Instant::now();
            let plugin = self.load(&host, name, json!({})).await;
            cached.push(began.elapsed());
            parts.push(plugin.times());
        }
        table.times(
            &format!("`{name}`: cold load, cached"),
            cached,
            Aim::Within(Duration::from_millis(1)),
        );
        parts.sort_by_key(|times| times.read + times.compile + times.admit);
        if let Some(times) = parts.get(parts.len() / 2) {
            let detail = format!(
                "reading and judging {}, compiled code {}, first instance and its configuration {}",
                show(times.read),
                show(times.compile),
                show(times.admit)
            );
            table.row("of it", "", String::new(), &detail);
        }
        let mut fresh = Vec::with_capacity(FRESH);
        for _ in 0..FRESH {
            let began = Instant::now();
            plugin.describe_afresh().await.expect("a description");
            fresh.push(began.elapsed());
        }
        table.times(
            &format!("`{name}`: fresh instance and a call"),
            fresh,
            Aim::Within(Duration::from_micros(100)),
        );
        let mut instance = plugin.warm().await.expect("an instance");
        let mut warm = Vec::with_capacity(WARM);
        for _ in 0..WARM {
            // An instance has a budget of computing time; it is not what is measured.
            let began = Instant::now();
            for _ in 0..WARM_BATCH {
                instance.describe().await.expect("a description");
            }
            warm.push(began.elapsed() / WARM_BATCH);
        }
        table.times(&format!("`{name}`: warm call"), warm, Aim::Within(Duration::from_micros(5)));
    }

    /// Calls that do something outside, each on a fresh instance and through the broker.
    async fn outside(&self, shop: &Service, cache: &Path, table: &mut Table) {
        let host = PluginHost::new(&HostOptions { cache_folder: Some(cache.to_owned()) })
            .expect("a plugin host");
        let (address, _) = shop.backends().into_iter().next().expect("a backend");
        let backends = vec![Backend {
            id: BackendId("one".to_owned()),
            address: address.clone(),
            placement: agente_engine::placement::Placement::Process,
        }];
        let subject = Subject {
            slot: Some(Slot::Blue),
            release: Some(ReleaseNumber(1)),
            backends,
            public_url: None,
        };
        let context =
            || OperationContext { backends: vec![address.clone()], ..OperationContext::default() };
        for (name, spec, what) in [
            ("tcp-health", json!({}), "one TCP connection"),
            ("http-health", json!({ "path": "/healthz" }), "one HTTP request"),
        ] {
            let plugin = self.load(&host, name, spec.clone()).await;
            let checker = plugin.checker(context()).expect("a check");
            let mut times = Vec::with_capacity(OUTSIDE);
            for _ in 0..OUTSIDE {
                let began = Instant::now();
                let verdict = checker.ask(&subject, &spec, Duration::from_secs(10)).await;
                times.push(began.elapsed());
                assert_eq!(verdict.kind, VerdictKind::Healthy, "{}", verdict.reason);
            }
            table.times(
                &format!("`{name}`: a call with {what} through the broker"),
                times,
                Aim::None,
            );
        }
        let plugin = self.load(&host, "nginx-switch", json!({})).await;
        let switcher = plugin.switcher(context()).expect("a switcher");
        let mut times = Vec::with_capacity(LOOKS);
        for _ in 0..LOOKS {
            let began = Instant::now();
            switcher.observe().await.expect("a look at NGINX");
            times.push(began.elapsed());
        }
        table.times(
            "`nginx-switch`: a look at the running NGINX through the broker",
            times,
            Aim::None,
        );
    }
}
