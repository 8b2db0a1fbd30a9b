//! The cache of compiled plugins: used when it is ours and whole, never otherwise, and never in the
//! way.

use crate::fixture::{World, component};
use agente_wasm::{Compiled, GrantSource, HostOptions, OperationContext, PluginHost, PluginKind};
use serde_json::json;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

async fn load(cache: Option<&Path>) -> Compiled {
    let host = PluginHost::new(&HostOptions { cache_folder: cache.map(Path::to_owned) }).unwrap();
    let input = World::default().input(
        component(PluginKind::TrafficSwitcher, ""),
        json!({}),
        GrantSource::Everything,
    );
    host.load(input).await.unwrap().times().compiled
}

fn only(folder: &Path, extension: &str) -> PathBuf {
    let mut found = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|found| found == extension));
    let path = found.next().unwrap();
    assert!(found.next().is_none());
    path
}

#[tokio::test]
async fn a_component_is_compiled_once_and_again_whenever_the_cache_is_not_as_it_was() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("cache/plugins");
    assert_eq!(load(Some(&folder)).await, Compiled::Now);
    assert_eq!(load(Some(&folder)).await, Compiled::Cached);
    assert_eq!(std::fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
    let (code, proof) = (only(&folder, "cwasm"), only(&folder, "mac"));

    // Every other damage is the cache's own test; here each load path is what counts.
    let damage: [(&str, &dyn Fn()); 2] = [
        ("one byte changed", &|| {
            let mut bytes = std::fs::read(&code).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            std::fs::write(&code, bytes).unwrap();
        }),
        ("with another proof", &|| std::fs::write(&proof, [7; 32]).unwrap()),
    ];
    for (what, damage) in damage {
        damage();
        assert_eq!(load(Some(&folder)).await, Compiled::Now, "{what}");
        assert_eq!(load(Some(&folder)).await, Compiled::Cached, "{what} was not mended");
    }
}

#[tokio::test]
async fn what_a_path_holds_now_is_loaded_and_not_what_it_held_before() {
    let parent = tempfile::tempdir().unwrap();
    let (folder, path) = (parent.path().join("cache"), parent.path().join("plugin.wasm"));
    let load = async |kind: PluginKind| {
        std::fs::copy(component(kind, ""), &path).unwrap();
        let host = PluginHost::new(&HostOptions { cache_folder: Some(folder.clone()) }).unwrap();
        let config = json!({ "kind": kind.to_string() });
        let plugin = host
            .load(World::default().input(path.clone(), config, GrantSource::Everything))
            .await
            .unwrap();
        assert_eq!(plugin.header().kind, kind);
        assert_eq!(
            plugin.checker(OperationContext::default()).is_some(),
            kind == PluginKind::HealthCheck
        );
        plugin.times().compiled
    };
    assert_eq!(load(PluginKind::TrafficSwitcher).await, Compiled::Now);
    assert_eq!(load(PluginKind::HealthCheck).await, Compiled::Now);
    for kind in [PluginKind::TrafficSwitcher, PluginKind::TrafficSwitcher, PluginKind::HealthCheck]
    {
        assert_eq!(load(kind).await, Compiled::Cached);
    }
}

#[tokio::test]
async fn a_folder_that_others_could_write_to_is_emptied_and_one_that_is_none_is_done_without() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("cache");
    assert_eq!(load(Some(&folder)).await, Compiled::Now);
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o777)).unwrap();
    assert_eq!(load(Some(&folder)).await, Compiled::Now);
    assert_eq!(load(Some(&folder)).await, Compiled::Cached);
    let file = parent.path().join("file");
    std::fs::write(&file, "").unwrap();
    assert_eq!(load(Some(&file)).await, Compiled::Now);
    assert_eq!(load(None).await, Compiled::Now);
}
