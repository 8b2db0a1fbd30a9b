//! What one effect costs: a plugin that reads one small file and does nothing else, which no
//! shipped one does.

use crate::plugins::Nobody;
use crate::table::{Aim, Table};
use agente_engine::names::{
    BackendId, EnvironmentName, PluginName, ReleaseNumber, Scope, ServiceName,
};
use agente_engine::ports::{Desired, Fence, TrafficSwitcher as _};
use agente_engine::route::{Backend, Routes, Slot};
use agente_runtimes::commands::HostCommands;
use agente_store::{EmbeddedStore, StateDirectory, StateInputs};
use agente_tests::scene::Scene;
use agente_wasm::{
    GrantSource, HostOptions, LoadInput, OperationContext, PluginHost, PluginPorts, pack,
};
use serde_json::json;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

const CALLS: usize = 501;
const FILE_BYTES: usize = 1_000;

/// What the plugin asks for.
const REQUEST: &str = r#"
files = [{ path = "${config.path}", access = "read" }]

[plugin]
name = "test-guest"
version = "0.1.0"
kind = "traffic-switcher"
contract = "agente:traffic@0.1"
"#;

/// Measures the call on a fresh instance, through the broker.
pub(crate) async fn measure(scene: &Scene, component: &Path, table: &mut Table) {
    let packed = pack(&std::fs::read(component).expect("the plugin for tests"), REQUEST)
        .expect("a packed plugin");
    let (plugin, file) = (scene.path().join("test-guest.wasm"), scene.path().join("small-file"));
    std::fs::write(&plugin, packed).expect("the plugin is written");
    std::fs::write(&file, "x".repeat(FILE_BYTES)).expect("the file is written");
    let inputs = StateInputs {
        explicit: Some(scene.path().join("state-of-bench")),
        ..StateInputs::default()
    };
    let store = EmbeddedStore::open(StateDirectory::resolve(&inputs).expect("the state directory"))
        .await
        .expect("the store");
    let host =
        PluginHost::new(&HostOptions { cache_folder: Some(scene.path().join("cache-of-bench")) })
            .expect("a plugin host");
    let input = LoadInput {
        name: PluginName::new("test-guest").expect("a name"),
        path: plugin,
        kind: None,
        config: json!({ "act": "read", "path": file }),
        specs: Vec::new(),
        scope: Scope {
            service: ServiceName::new("shop").expect("a name"),
            environment: EnvironmentName::new("default").expect("a name"),
        },
        store_id: store.id().to_owned(),
        grant: GrantSource::Everything,
        ports: PluginPorts {
            commands: Arc::new(HostCommands),
            secrets: Arc::new(Nobody),
            memory: Arc::new(store.clone()),
            audit: Arc::new(Nobody),
            log: Arc::new(Nobody),
            variables: BTreeMap::new(),
            seam: None,
        },
    };
    let plugin = host.load(input).await.expect("the plugin is admitted");
    let switcher = plugin.switcher(OperationContext::default()).expect("a switcher");
    let backend = Backend {
        id: BackendId("one".to_owned()),
        address: "192.0.2.1:80".to_owned(),
        placement: agente_engine::placement::Placement::Process,
    };
    let routes = Routes::all_to(Slot::Blue, ReleaseNumber(1), vec![backend], None);
    let desired = Desired { fence: Fence(1), routes, store: store.id().to_owned(), force: false };
    let mut times = Vec::with_capacity(CALLS);
    for _ in 0..CALLS {
        let began = Instant::now();
        let text = switcher.plan(&desired).await.expect("the file's bytes");
        times.push(began.elapsed());
        assert_eq!(text.len(), FILE_BYTES);
    }
    table.times(
        "a plugin for tests: a call that reads one small file through the broker",
        times,
        Aim::None,
    );
}
