//! Plugins that use up more than they may: each budget has its own end, and the next operation
//! starts afresh.

use crate::fixture::{World, lock, nothing_new, words};
use agente_engine::fault::{Failure, FaultKind};
use agente_engine::names::OpId;
use agente_engine::ports::TrafficSwitcher;
use agente_engine::verdict::{Subject, VerdictKind};
use agente_units::Span;
use agente_wasm::{GrantSource, OperationContext, PluginKind};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

#[tokio::test]
async fn a_trap_in_apply_leaves_the_effect_unknown_and_tells_the_last_words() {
    let failure = World::default().change(json!({ "act": "trap" })).await.unwrap_err();
    assert!(matches!(failure, Failure::Unknown { .. }), "{failure:?}");
    assert_eq!(failure.fault().kind, FaultKind::PluginCrashed);
    assert!(words(failure.fault()).contains("out of luck"), "{}", words(failure.fault()));
    assert!(failure.fault().message.contains("`test-guest` 0.1.0"), "{}", failure.fault().message);
}

#[tokio::test]
async fn a_loop_ends_with_its_cpu_budget() {
    let fault = World::default().look(json!({ "act": "spin" })).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::PluginCrashed);
    assert!(fault.message.contains("it used more than 300ms of CPU time"), "{}", fault.message);
}

#[tokio::test]
async fn on_a_busy_machine_a_plugin_pays_for_its_own_computing_only() {
    let config = json!({ "act": "compute", "count": 20_000_000 });
    let world = World::default();
    let mut granted = world.load(config.clone()).await.asks().clone();
    let mut with_budget = async |budget| {
        granted.limits.cpu = Some(Span::milliseconds(u64::try_from(budget).unwrap()));
        let grant = GrantSource::Only(&granted);
        let loaded = world.try_load(PluginKind::TrafficSwitcher, "", config.clone(), grant).await;
        loaded.unwrap().switcher(OperationContext::default()).unwrap()
    };
    // What it takes here, whatever else this machine does.
    let ample = with_budget(60_000).await;
    let began = Instant::now();
    assert!(ample.plan(&nothing_new()).await.unwrap().starts_with("computed"));
    let alone = began.elapsed();
    let plugin = with_budget((alone * 4).as_millis()).await;
    let busy = Arc::new(AtomicBool::new(true));
    let others = 12 * std::thread::available_parallelism().unwrap().get();
    let others: Vec<_> = (0..others)
        .map(|_| {
            let busy = Arc::clone(&busy);
            std::thread::spawn(move || while busy.load(Ordering::Relaxed) {})
        })
        .collect();
    // A quarter of its budget, which takes more than all of it beside all the others.
    let said = plugin.plan(&nothing_new()).await;
    busy.store(false, Ordering::Relaxed);
    for other in others {
        other.join().unwrap();
    }
    assert!(said.unwrap().starts_with("computed"));
}

#[tokio::test]
async fn a_memory_hog_ends_with_its_memory_budget() {
    let fault = World::default().look(json!({ "act": "hog" })).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::PluginCrashed);
    assert!(fault.message.contains("more than 16MiB of memory"), "{}", fault.message);
    assert!(fault.hint.as_ref().unwrap().contains("memory = \"32MiB\""), "{:?}", fault.hint);
}

#[tokio::test]
async fn a_call_that_carries_too_much_ends_with_its_own_budget() {
    let world = World::default();
    assert_eq!(world.look(json!({ "act": "shout", "bytes": 500_000 })).await.unwrap(), "shouted");
    assert!(world.messages()[0].message.len() < 9000, "a message was not cut");
    let fault = world.look(json!({ "act": "shout", "bytes": 2_000_000 })).await.unwrap_err();
    assert!(fault.message.contains("more than 1MiB in one call"), "{}", fault.message);
}

#[tokio::test]
async fn a_hoarder_of_handles_ends_with_its_own_budget() {
    let fault = World::default().look(json!({ "act": "hoard", "secret": "token", "may": { "send": "token", "send_to": "a.example" } })).await.unwrap_err();
    assert!(fault.message.contains("handles"), "{}", words(&fault));
}

#[tokio::test]
async fn a_wait_for_the_host_ends_by_the_clock_and_not_by_the_cpu_budget() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let config = json!({ "act": "connect", "host": "127.0.0.1", "port": port, "send": "x", "may": { "connect": format!("127.0.0.1:{port}") } });
    let world = World::default();
    let mut granted = world.load(config.clone()).await.asks().clone();
    granted.limits.wall = Some(Span::seconds(1));
    let grant = GrantSource::Only(&granted);
    let plugin = world.try_load(PluginKind::TrafficSwitcher, "", config, grant).await.unwrap();
    let switcher = plugin.switcher(OperationContext::default()).unwrap();
    let fault = switcher.plan(&nothing_new()).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::TimedOut, "{}", words(&fault));
    drop(listener);
}

#[tokio::test]
async fn many_waits_for_the_host_do_not_use_up_the_cpu_budget() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let answering = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut byte = [0];
        stream.read_exact(&mut byte).await.unwrap();
        // Longer than the CPU budget of 300 ms.
        tokio::time::sleep(Duration::from_millis(600)).await;
        stream.write_all(b"late").await.unwrap();
    });
    let config = json!({ "act": "connect", "host": "127.0.0.1", "port": port, "send": "x", "may": { "connect": format!("127.0.0.1:{port}") } });
    assert_eq!(World::default().look(config).await.unwrap(), "late");
    answering.await.unwrap();
}

#[tokio::test]
async fn a_connection_too_many_is_refused_and_not_waited_for() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let config = |count: u32| json!({ "act": "connect-often", "count": count, "host": "127.0.0.1", "port": port, "may": { "connect": format!("127.0.0.1:{port}") } });
    assert_eq!(World::default().look(config(3)).await.unwrap(), "connected");
    let fault = World::default().look(config(4)).await.unwrap_err();
    assert!(fault.message.contains("already holds 3 connections"), "{}", fault.message);
    drop(listener);
}

#[tokio::test]
async fn after_a_crash_the_next_operation_runs_on_a_fresh_instance() {
    let plugin = World::default().load(json!({ "act": "trap" })).await;
    let switcher = plugin.switcher(OperationContext::default()).unwrap();
    for _ in 0..3 {
        let failure =
            switcher.apply(&OpId("op".to_owned()), &nothing_new(), &lock()).await.unwrap_err();
        assert!(words(failure.fault()).contains("out of luck"), "{}", words(failure.fault()));
    }
    assert!(plugin.describe_afresh().await.unwrap().contains("test-guest"));
}

#[tokio::test]
async fn a_dropped_operation_takes_its_instance_along() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let config = json!({ "act": "connect", "host": "127.0.0.1", "port": port, "send": "x", "may": { "connect": format!("127.0.0.1:{port}") } });
    let plugin = World::default().load(config).await;
    let switcher = plugin.switcher(OperationContext::default()).unwrap();
    let asking = tokio::spawn(async move { switcher.plan(&nothing_new()).await });
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut bytes = Vec::new();
    let mut first = [0];
    stream.read_exact(&mut first).await.unwrap();
    asking.abort();
    // The guest's connection is closed with it.
    assert_eq!(stream.read_to_end(&mut bytes).await.unwrap(), 0);
    assert!(plugin.describe_afresh().await.is_ok());
}

#[tokio::test]
async fn a_check_that_crashes_hangs_or_answers_nonsense_is_errored() {
    let subject = Subject { slot: None, release: None, backends: Vec::new(), public_url: None };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let hang = json!({ "act": "connect", "host": "127.0.0.1", "port": port, "send": "x", "may": { "connect": format!("127.0.0.1:{port}") } });
    let (long, short) = (Duration::from_mins(1), Duration::from_secs(1));
    for (config, timeout, told) in [
        (json!({ "act": "trap" }), long, "out of luck"),
        (json!({ "act": "spin" }), long, "of CPU time"),
        (hang, short, "did not answer within"),
        (json!({ "outcome": "splendid" }), long, "`splendid`"),
        (json!({ "act": "fail", "code": "unavailable" }), long, "the target said no"),
    ] {
        let plugin = World::default()
            .try_load(PluginKind::HealthCheck, "", config.clone(), GrantSource::Everything)
            .await
            .unwrap();
        let verdict = plugin
            .checker(OperationContext::default())
            .unwrap()
            .ask(&subject, &json!({}), timeout)
            .await;
        assert_eq!(verdict.kind, VerdictKind::Errored, "{config}: {verdict:?}");
        assert!(verdict.reason.contains(told), "{config}: {}", verdict.reason);
    }
}
