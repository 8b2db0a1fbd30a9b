//! The adapters: what plugins are told, and what is made of their answers.

use crate::fixture::{World, lock, nothing_new, words};
use agente_engine::fault::{Failure, FaultKind};
use agente_engine::names::{BackendId, OpId, ReleaseNumber};
use agente_engine::ports::{Fence, ObservedState, TrafficSwitcher};
use agente_engine::route::{Backend, Slot};
use agente_engine::verdict::{Subject, VerdictKind};
use agente_engine::weight::Weight;
use agente_wasm::{GrantSource, LogLevel, OperationContext, PluginKind, WasmSwitcher};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

async fn switcher(config: Value) -> WasmSwitcher {
    World::default().load(config).await.switcher(OperationContext::default()).unwrap()
}

fn op() -> OpId {
    OpId("op-1".to_owned())
}

#[tokio::test]
async fn what_a_switcher_answers_becomes_the_engines_words() {
    let switcher = switcher(json!({})).await;
    let features = switcher.features().await.unwrap();
    assert_eq!(
        (features.lock_key.as_str(), features.identity_header.as_deref()),
        ("test", Some("x-slot"))
    );
    let applied = switcher.apply(&op(), &nothing_new(), &lock()).await.unwrap();
    assert_eq!(applied.state, ObservedState::Converged);
    assert!(applied.routes.same_traffic(&nothing_new().routes));
    assert_eq!(applied.routes.route(Slot::Blue).unwrap().release, Some(ReleaseNumber(3)));
    let observed = switcher.observe().await.unwrap();
    assert_eq!(
        (observed.fence, observed.store.as_deref(), observed.routes.weight(Slot::Blue)),
        (Fence(7), Some("store-1"), Weight::FULL)
    );
    let leaving = [("shop-1-green-1", "127.0.0.1:18101"), ("shop-1-green-2", "[::1]:18102")].map(
        |(id, address)| Backend {
            id: BackendId(id.to_owned()),
            address: address.to_owned(),
            placement: agente_engine::placement::Placement::Process,
        },
    );
    let drained = switcher.drain(&op(), Slot::Green, &leaving).await.unwrap();
    assert!(drained.done);
    assert_eq!(
        (drained.remaining, drained.message.as_str()),
        (2, "done: green [shop-1-green-1 127.0.0.1:18101, shop-1-green-2 [::1]:18102]")
    );
    assert_eq!(drained.evidence, "workers-gone");
}

#[tokio::test]
async fn an_answer_that_the_contract_does_not_know_is_a_fault() {
    for (config, told) in [
        (json!({ "state": "sideways" }), "`sideways`"),
        (json!({ "weight": 10_001 }), "10001"),
        (json!({ "slot": "red" }), "`red`"),
    ] {
        let fault = switcher(config).await.observe().await.unwrap_err();
        assert_eq!(fault.kind, FaultKind::PluginCrashed);
        assert!(
            fault.message.contains(told) && fault.message.contains("`test-guest` 0.1.0"),
            "{}",
            fault.message
        );
    }
    assert!(
        switcher(json!({ "state": "gone" })).await.drain(&op(), Slot::Blue, &[]).await.is_err()
    );
    let applied = switcher(json!({ "state": "sideways" }))
        .await
        .apply(&op(), &nothing_new(), &lock())
        .await
        .unwrap_err();
    assert!(matches!(applied, Failure::Unknown { .. }));
}

#[tokio::test]
async fn each_code_of_a_failure_has_its_kind() {
    for (code, kind) in [
        ("invalid-config", FaultKind::InvalidConfig),
        ("denied", FaultKind::Denied),
        ("unavailable", FaultKind::Unavailable),
        ("conflict", FaultKind::Conflict),
        ("unsupported", FaultKind::Unsupported),
        ("not-loaded", FaultKind::NotLoaded),
        ("rejected", FaultKind::Rejected),
        ("failed", FaultKind::Failed),
        ("of-a-later-contract", FaultKind::Failed),
    ] {
        let fault =
            switcher(json!({ "act": "fail", "code": code })).await.observe().await.unwrap_err();
        assert_eq!(fault.kind, kind, "{code}");
        assert_eq!(fault.message, "the target said no (plugin `test-guest` 0.1.0)");
        assert_eq!(fault.hint.as_deref(), Some("try harder"));
    }
}

#[tokio::test]
async fn a_failed_apply_is_a_refusal_only_where_nothing_was_allowed_to_change() {
    let refused =
        World::default().change(json!({ "act": "fail", "code": "rejected" })).await.unwrap_err();
    assert!(matches!(refused, Failure::Refused { .. }), "{refused:?}");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a");
    let act =
        json!({ "act": "replace-and-fail", "path": path, "text": "x", "may": { "write": path } });
    let unknown = World::default().change(act).await.unwrap_err();
    assert!(matches!(unknown, Failure::Unknown { .. }), "{unknown:?}");
    assert_eq!(unknown.fault().kind, FaultKind::Rejected);
}

#[tokio::test]
async fn a_plugin_learns_on_whose_behalf_it_acts() {
    let context = OperationContext {
        deployment: "d-1".to_owned(),
        backends: vec!["127.0.0.1:18100".to_owned()],
        cancelled: Arc::new(AtomicBool::new(true)),
        ..OperationContext::default()
    };
    let config = json!({ "act": "context" });
    let said = World::default().look_with(config.clone(), context.clone()).await.unwrap();
    assert_eq!(
        said,
        r#"d-1 shop production read [("store", "store-1"), ("backends", "127.0.0.1:18100,192.0.2.1:80")] true"#
    );
    let said = World::default().change_with(config, context).await.unwrap();
    assert!(said.contains(" write "), "{said}");
}

#[tokio::test]
async fn a_plugin_sees_an_abort_while_it_works() {
    let cancelled = Arc::new(AtomicBool::new(false));
    let context =
        OperationContext { cancelled: Arc::clone(&cancelled), ..OperationContext::default() };
    let world = World::default();
    let switcher = world.load(json!({ "act": "until-cancelled" })).await.switcher(context).unwrap();
    let planning = tokio::spawn(async move { switcher.plan(&nothing_new()).await });
    while world.messages().is_empty() {
        tokio::task::yield_now().await;
    }
    assert!(!planning.is_finished());
    cancelled.store(true, Ordering::Relaxed);
    assert_eq!(planning.await.unwrap().unwrap(), "stopped early");
}

#[tokio::test]
async fn what_a_plugin_says_reaches_the_log() {
    let world = World::default();
    world.look(json!({ "act": "speak" })).await.unwrap();
    let messages: Vec<_> = world
        .messages()
        .into_iter()
        .map(|message| (message.level, message.message, message.fields.len()))
        .collect();
    assert_eq!(
        messages,
        [
            (LogLevel::Warn, "something is odd".to_owned(), 1),
            (LogLevel::Info, "a line".to_owned(), 0),
            (LogLevel::Warn, "an unfinished line".to_owned(), 0)
        ]
    );
}

#[tokio::test]
async fn a_plugin_remembers_beyond_its_instance() {
    let world = World::default();
    assert_eq!(
        world.look(json!({ "act": "remember", "key": "k", "text": "v" })).await.unwrap(),
        "v"
    );
    let fault = world.look(json!({ "act": "remember", "key": "", "text": "v" })).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::InvalidConfig, "{}", words(&fault));
}

#[tokio::test]
async fn a_checker_answers_and_judges_the_tables_of_checks() {
    let world = World::default();
    let plugin = world
        .try_load(
            PluginKind::HealthCheck,
            "",
            json!({ "outcome": "no-data" }),
            GrantSource::Everything,
        )
        .await
        .unwrap();
    let checker = plugin.checker(OperationContext::default()).unwrap();
    let subject = Subject {
        slot: Some(Slot::Blue),
        release: Some(ReleaseNumber(1)),
        backends: Vec::new(),
        public_url: None,
    };
    let verdict = checker.ask(&subject, &json!({ "path": "/" }), Duration::from_secs(5)).await;
    assert_eq!((verdict.kind, verdict.value), (VerdictKind::NoData, Some(1.0)));
    let problems = checker.check_spec(&json!({})).await.unwrap();
    assert_eq!((problems[0].path.as_str(), problems[0].message.as_str()), ("path", "is missing"));
    assert!(checker.check_spec(&json!({ "path": "/" })).await.unwrap().is_empty());
    assert!(plugin.switcher(OperationContext::default()).is_none());
}

#[tokio::test]
async fn no_number_of_other_effects_hides_one_that_changes_something() {
    let folder = tempfile::tempdir().unwrap();
    let (path, other) = (folder.path().join("a"), folder.path().join("b"));
    let replaced = format!("replace the file `{}`", path.display());
    let act = |may: Value| json!({ "act": "read-often-and-replace", "count": 1100, "other": other, "path": path, "text": "x", "may": may });

    let world = World::default();
    assert_eq!(
        world.change(act(json!({ "read": other, "write": path }))).await.unwrap(),
        "replaced"
    );
    let recorded = world.recorded();
    assert_eq!(recorded.len(), 1002);
    assert_eq!(
        recorded[1000..],
        [replaced.clone(), "100 more effects that change nothing".to_owned()]
    );

    // Neither do denials, and they don't grow without end.
    let world = World::default();
    assert_eq!(world.change(act(json!({ "write": path }))).await.unwrap(), "replaced");
    let recorded = world.recorded();
    assert_eq!(recorded.len(), 1002);
    assert_eq!(recorded[999], format!("denied: read the file `{}`", other.display()));
    assert_eq!(recorded[1000..], [replaced, "denied: 100 more effects".to_owned()]);

    // What is denied after many harmless ones is told.
    let world = World::default();
    world.change(act(json!({ "read": other }))).await.unwrap_err();
    assert!(world.recorded().contains(&format!("denied: replace the file `{}`", path.display())));
}
