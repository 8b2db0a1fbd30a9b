//! Each call of a plugin is told once, with how it ended, whoever gave it up.

use crate::fixture::{World, lock, nothing_new};
use agente_engine::names::OpId;
use agente_engine::ports::TrafficSwitcher;
use agente_engine::verdict::Subject;
use agente_wasm::{CallEnd, CallFault, GrantSource, OperationContext, PluginKind};
use serde_json::json;
use std::time::Duration;
use tokio::io::AsyncReadExt as _;

#[tokio::test]
async fn each_way_in_which_a_call_can_end_has_its_own_word() {
    for (config, end) in [
        (json!({ "act": "shout", "bytes": 10 }), CallEnd::Answered),
        (json!({ "act": "fail", "code": "unavailable" }), CallEnd::Failed),
        (json!({ "act": "trap" }), CallEnd::Faulted(CallFault::Trapped)),
        (json!({ "act": "spin" }), CallEnd::Faulted(CallFault::OverBudget)),
    ] {
        let world = World::default();
        let _ = world.look(config.clone()).await;
        assert_eq!(world.ends("plan"), [end], "{config}");
        assert_eq!(
            world.ends("check-config"),
            [CallEnd::Answered],
            "admission is one call: {config}"
        );
    }
}

#[tokio::test]
async fn an_answer_outside_the_contract_is_a_fault_of_the_plugin() {
    let world = World::default();
    let plugin = world
        .try_load(
            PluginKind::HealthCheck,
            "",
            json!({ "outcome": "splendid" }),
            GrantSource::Everything,
        )
        .await
        .unwrap();
    let subject = Subject { slot: None, release: None, backends: Vec::new(), public_url: None };
    plugin
        .checker(OperationContext::default())
        .unwrap()
        .ask(&subject, &json!({}), Duration::from_secs(2))
        .await;
    assert_eq!(world.ends("check"), [CallEnd::Faulted(CallFault::Unfit)]);
}

#[tokio::test]
async fn a_call_carries_its_deployment_and_its_time() {
    let world = World::default();
    let context = OperationContext { deployment: "d-1".to_owned(), ..OperationContext::default() };
    let switcher = world.load(json!({ "act": "spin" })).await.switcher(context).unwrap();
    switcher.apply(&OpId("op".to_owned()), &nothing_new(), &lock()).await.unwrap_err();
    let calls = world.calls();
    let call = calls.iter().find(|call| call.operation == "apply").unwrap();
    assert_eq!((call.plugin.as_str(), call.deployment.as_str()), ("test-guest", "d-1"));
    // It spins until its budget of 300 ms is used up.
    assert!(call.took >= Duration::from_millis(200), "{:?}", call.took);
}

#[tokio::test]
async fn a_call_that_was_given_up_is_told_as_dropped() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let config = json!({ "act": "connect", "host": "127.0.0.1", "port": port, "send": "x", "may": { "connect": format!("127.0.0.1:{port}") } });
    let world = World::default();
    let switcher = world.load(config).await.switcher(OperationContext::default()).unwrap();
    let asking = tokio::spawn(async move { switcher.plan(&nothing_new()).await });
    let (mut stream, _) = listener.accept().await.unwrap();
    stream.read_exact(&mut [0]).await.unwrap();
    asking.abort();
    assert!(asking.await.unwrap_err().is_cancelled());
    assert_eq!(world.ends("plan"), [CallEnd::Dropped]);
}
