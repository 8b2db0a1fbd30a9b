//! What is admitted, and what each layer says about what is not.

use crate::fixture::{World, bare_component, component, host, request, scope};
use agente_wasm::{
    Capabilities, ComponentError, GrantSource, LoadError, LockFile, PluginKind, inspect, pack,
};
use serde_json::json;
use std::path::PathBuf;

async fn load_file(bytes: &[u8]) -> LoadError {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.wasm");
    std::fs::write(&path, bytes).unwrap();
    host()
        .load(World::default().input(path, json!({}), GrantSource::Everything))
        .await
        .err()
        .unwrap()
}

#[tokio::test]
async fn a_good_plugin_is_admitted_and_describes_itself() {
    let plugin = World::default().load(json!({})).await;
    assert_eq!(
        (plugin.description().name.as_str(), plugin.description().version.as_str()),
        ("test-guest", "0.1.0")
    );
    assert_eq!(plugin.description().kind, PluginKind::TrafficSwitcher);
    assert!(plugin.switcher(agente_wasm::OperationContext::default()).is_some());
    assert!(plugin.checker(agente_wasm::OperationContext::default()).is_none());
}

#[tokio::test]
async fn what_is_no_component_is_told_apart() {
    let missing = host()
        .load(World::default().input(
            PathBuf::from("/nowhere/x.wasm"),
            json!({}),
            GrantSource::Everything,
        ))
        .await
        .err()
        .unwrap();
    assert!(matches!(missing, LoadError::NotFound { .. }), "{missing:?}");
    assert!(matches!(
        load_file(b"#!/bin/sh\n").await,
        LoadError::NotAPlugin { source: ComponentError::NotWasm, .. }
    ));
    assert!(matches!(
        load_file(b"\0asm\x01\0\0\0").await,
        LoadError::NotAPlugin { source: ComponentError::NotAComponent, .. }
    ));
    let bare = std::fs::read(bare_component("")).unwrap();
    assert!(matches!(
        load_file(&bare).await,
        LoadError::NotAPlugin { source: ComponentError::NoRequest, .. }
    ));
    let cut = &bare[..bare.len() / 2];
    let error = load_file(cut).await;
    assert!(
        matches!(
            error,
            LoadError::NotAPlugin { source: ComponentError::Cut | ComponentError::Damaged(_), .. }
        ),
        "{error:?}"
    );
}

#[test]
fn packing_is_deterministic_replaces_the_earlier_request_and_is_read_without_running() {
    let bare = std::fs::read(bare_component("")).unwrap();
    let request = request(PluginKind::TrafficSwitcher);
    let first = pack(&bare, &request).unwrap();
    let other = pack(&first, &request.replace("0.1.0", "0.2.0")).unwrap();
    assert_eq!(inspect(&other).unwrap().request.plugin.version, "0.2.0");
    assert_eq!(pack(&other, &request).unwrap(), first);
    let found = inspect(&first).unwrap();
    assert!(
        found.exports.iter().any(|name| name == "agente:traffic/switcher@0.1.0"),
        "{:?}",
        found.exports
    );
    assert!(
        found.imports.iter().any(|name| name == "agente:host/files@0.1.0"),
        "{:?}",
        found.imports
    );
    assert!(
        !found.imports.iter().any(|name| name.starts_with("agente:host/reveal")),
        "{:?}",
        found.imports
    );
    assert!(pack(&bare, "[plugin]\nname = 1").is_err());
}

#[tokio::test]
async fn a_refused_configuration_names_path_and_reason() {
    let config = json!({ "admission": "refuse" });
    let error = World::default()
        .try_load(PluginKind::TrafficSwitcher, "", config, GrantSource::Everything)
        .await
        .err()
        .unwrap();
    let LoadError::ConfigRefused { problems, .. } = &error else { panic!("{error:?}") };
    assert_eq!(
        (problems[0].path.as_str(), problems[0].message.as_str()),
        ("upstream.keepalive", "must be a number")
    );
    assert!(error.hint().unwrap().contains("[plugins.test-guest.config]"));
}

#[tokio::test]
async fn while_it_is_admitted_a_plugin_may_do_nothing_however_much_it_was_granted() {
    let world = World::default();
    let config = json!({ "admission": "read", "may": { "read": "/etc/hostname" } });
    let error = world
        .try_load(PluginKind::TrafficSwitcher, "", config, GrantSource::Everything)
        .await
        .err()
        .unwrap();
    let LoadError::ConfigRefused { problems, .. } = &error else { panic!("{error:?}") };
    assert!(
        problems[0].message.contains("no effects are allowed while a plugin is being loaded"),
        "{}",
        problems[0].message
    );
    assert_eq!(world.recorded(), ["denied: read the file `/etc/hostname`"]);
}

#[tokio::test]
async fn a_plugin_that_traps_or_spins_while_it_is_admitted_is_refused() {
    let load = async |how: &str| {
        World::default()
            .try_load(
                PluginKind::TrafficSwitcher,
                "",
                json!({ "admission": how }),
                GrantSource::Everything,
            )
            .await
            .err()
            .unwrap()
    };
    let trapped = load("trap").await;
    assert!(matches!(trapped, LoadError::Crashed { .. }), "{trapped:?}");
    let spun = load("spin").await;
    assert!(matches!(spun, LoadError::OverBudget { .. }), "{spun:?}");
    assert!(spun.hint().unwrap().contains("cpu ="), "{:?}", spun.hint());
}

#[tokio::test]
async fn a_plugin_of_another_kind_or_contract_is_refused_before_it_runs() {
    let world = World::default();
    let mut input =
        world.input(component(PluginKind::TrafficSwitcher, ""), json!({}), GrantSource::Everything);
    input.kind = Some(PluginKind::HealthCheck);
    let error = host().load(input).await.err().unwrap();
    assert!(error.to_string().contains("a health-check is needed here"), "{error}");

    let bare = std::fs::read(bare_component("")).unwrap();
    let newer = pack(
        &bare,
        &request(PluginKind::TrafficSwitcher).replace("agente:traffic@", "agente:balance@"),
    )
    .unwrap();
    assert!(matches!(load_file(&newer).await, LoadError::WrongContract { .. }));

    // It says another kind about itself than its request does.
    let liar = pack(&bare, &request(PluginKind::HealthCheck)).unwrap();
    let error = load_file(&liar).await;
    assert!(
        error.to_string().contains("its request says test-guest 0.1.0 (health-check)"),
        "{error}"
    );
}

#[tokio::test]
async fn a_plugin_without_a_grant_says_what_it_asks_for_and_how_to_grant_it() {
    let world = World::default();
    let config = json!({ "may": { "write": "/etc/nginx/conf.d/*" } });
    let lock = LockFile::default();
    let error = world
        .try_load(PluginKind::TrafficSwitcher, "", config, GrantSource::Lock(&lock))
        .await
        .err()
        .unwrap();
    let LoadError::NotGranted(refused) = &error else { panic!("{error:?}") };
    assert!(
        refused
            .lines()
            .contains(&"read and write the files in the directory `/etc/nginx/conf.d`".to_owned()),
        "{:?}",
        refused.lines()
    );
    assert_eq!(refused.difference, None);
    let command = refused.command();
    assert!(
        command.starts_with("agente-host plugin add ")
            && command.ends_with(".wasm --env production --yes"),
        "{command}"
    );
    assert!(error.hint().unwrap().contains(&command));
}

#[tokio::test]
async fn a_grant_holds_until_the_component_or_a_named_value_changes() {
    let world = World::default();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("agente.lock");
    let config = json!({ "may": { "write": "/etc/nginx/conf.d/*" } });
    let plugin = world.load(config.clone()).await;
    let mut lock = LockFile::default();
    lock.set(plugin.name().clone(), scope().environment, plugin.grant_of_all("test-guest.wasm"));
    lock.write(&path).unwrap();
    let lock = LockFile::read(&path).unwrap();
    let grant = GrantSource::Lock(&lock);
    assert!(world.try_load(PluginKind::TrafficSwitcher, "", config.clone(), grant).await.is_ok());

    let moved = json!({ "may": { "write": "/srv/nginx/*" } });
    let error = world.try_load(PluginKind::TrafficSwitcher, "", moved, grant).await.err().unwrap();
    assert_eq!(
        error.to_string(),
        "the plugin `test-guest` 0.1.0 does not match its grant for shop/production"
    );
    let LoadError::NotGranted(refused) = error else { panic!("{error:?}") };
    assert_eq!(
        refused.lines(),
        [
            "+ read and write the files in the directory `/srv/nginx`",
            "- read and write the files in the directory `/etc/nginx/conf.d`"
        ]
    );

    let rebuilt = folder.path().join("rebuilt.wasm");
    let bare = std::fs::read(bare_component("")).unwrap();
    std::fs::write(
        &rebuilt,
        pack(&bare, &format!("# rebuilt\n{}", request(PluginKind::TrafficSwitcher))).unwrap(),
    )
    .unwrap();
    let error = host().load(world.input(rebuilt, config, grant)).await.err().unwrap();
    let LoadError::NotGranted(refused) = error else { panic!("{error:?}") };
    assert!(refused.lines()[0].starts_with("component "), "{:?}", refused.lines());
}

#[tokio::test]
async fn the_interface_of_secret_values_is_there_only_for_those_who_were_granted_one() {
    let world = World::default();
    let without = world
        .try_load(PluginKind::TrafficSwitcher, "reveal", json!({}), GrantSource::Everything)
        .await
        .err()
        .unwrap();
    assert!(without.to_string().contains("agente:host/reveal"), "{without}");
    let asked = json!({ "may": { "reveal": "token" } });
    let nothing = Capabilities::default();
    assert!(
        world
            .try_load(
                PluginKind::TrafficSwitcher,
                "reveal",
                asked.clone(),
                GrantSource::Only(&nothing)
            )
            .await
            .is_err()
    );
    assert!(
        world
            .try_load(PluginKind::TrafficSwitcher, "reveal", asked, GrantSource::Everything)
            .await
            .is_ok()
    );
}

#[test]
fn the_requests_of_the_shipped_plugins_can_be_read_and_ask_for_nothing_private_by_name_alone() {
    let plugins = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins");
    let mut seen = 0;
    for folder in std::fs::read_dir(plugins).unwrap() {
        let path = folder.unwrap().path().join("plugin.toml");
        let Ok(text) = std::fs::read_to_string(&path) else { continue };
        let request = agente_wasm::PluginRequest::parse(&text)
            .unwrap_or_else(|error| panic!("{}: {error:?}", path.display()));
        let asks = request.resolve(&json!({}), &[]).unwrap();
        // Without configuration, a shipped plugin reaches nobody but backends, the public URL and
        // what stands on this very machine.
        for rule in &asks.tcp {
            assert!(
                rule.address == "@backends" || rule.address.starts_with("127.0.0.1:"),
                "{}: {rule:?}",
                path.display()
            );
        }
        for rule in &asks.net {
            assert!(rule.origin.starts_with('@'), "{}: {rule:?}", path.display());
        }
        seen += 1;
    }
    assert!(seen >= 3, "the shipped plugins were not found");
}
