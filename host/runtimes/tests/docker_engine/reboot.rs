//! The engine stops and comes back, as at a reboot: what is live returns, what is kept or retired
//! does not.

use crate::daemon::Daemon;
use crate::scene::{PATIENCE, Scene, answer};
use agente_engine::fault::FaultKind;
use agente_engine::names::Timestamp;
use agente_engine::ports::{BackendRole, BackendState, Runtime};
use agente_engine::route::Slot;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn after_a_reboot_the_live_slot_answers_at_its_address_and_the_old_one_stays_down() {
    let daemon = Daemon::start("reboot");
    let id = daemon.image("rebooted:1", "rebooted", &[]).await;
    let scene = Scene::on(&daemon, "rebooted", "rebooted:1", &id);
    let kept = scene.serving(1, Slot::Blue).await;
    scene.runtime.ensure(&kept).await.unwrap();
    let live = scene.serving(2, Slot::Green).await;
    scene.runtime.ensure(&live).await.unwrap();
    // The host died while it retired this one: stopped, not removed yet.
    let half_retired = scene.launch(3, Slot::Blue, scene.spec(&["stubborn", "{port}"])).await;
    scene.runtime.ensure(&half_retired).await.unwrap();
    answer(&half_retired.backend.address).await;
    let proxy = crate::proxy::Proxy::before(daemon.socket.clone(), crate::proxy::Loss::Before(2));
    scene
        .runtime_through(&proxy.socket)
        .retire(&half_retired.backend, Duration::ZERO)
        .await
        .expect_err("it dies before the removal");
    scene.runtime.assign(&kept.backend, BackendRole::Kept).await.unwrap();
    assert_eq!(
        (
            answer(&kept.backend.address).await.as_str(),
            answer(&live.backend.address).await.as_str()
        ),
        ("blue-1", "green-2")
    );
    let mut lines = scene.runtime.follow(&live.backend, Timestamp(0));
    assert_eq!(lines.recv().await.unwrap().unwrap().text, "listening on 8080");

    daemon.halt();
    let away = scene.runtime.inspect(&live.backend).await.expect_err("the engine is away");
    assert_eq!(away.kind, FaultKind::Unavailable);
    daemon.resume();

    assert_eq!(answer(&live.backend.address).await, "green-2", "the same slot at the same address");
    let next = tokio::time::timeout(PATIENCE, lines.recv())
        .await
        .expect("the log goes on")
        .unwrap()
        .unwrap();
    assert_eq!(next.text, "listening on 8080", "of the new run, once");
    for old in [&kept, &half_retired] {
        let state = scene.runtime.inspect(&old.backend).await.unwrap();
        assert!(matches!(state, BackendState::Ended { .. }), "{} is {state:?}", old.backend.id);
    }
    let raised = scene.runtime.up(None).await.unwrap();
    assert_eq!(
        raised.iter().map(|raised| raised.backend.as_str()).collect::<Vec<_>>(),
        ["rebooted.test.green-r2-0"]
    );
    daemon.remove();
}
