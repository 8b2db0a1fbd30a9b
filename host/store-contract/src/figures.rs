//! The promises of `Figures`.

use crate::sample::{Opened, scope};
use crate::stores::{Scene, Stores};
use agente_engine::names::DeploymentId;
use agente_engine::ports::{Fence, Figures, PluginCalls, ProbeReport, RunFigures, RunRow};

crate::promises!("figures":
    a_run_replaces_its_own_figures_and_no_others,
    the_oldest_deployment_comes_first_and_scopes_do_not_meet,
    of_a_deployment_that_was_never_opened_nothing_is_kept,
);

fn figures(answered: u64) -> RunFigures {
    let calls = PluginCalls {
        plugin: "nginx-switch".into(),
        operation: "apply".into(),
        results: [("answered".into(), answered)].into(),
        ..PluginCalls::default()
    };
    RunFigures {
        probe: Some(ProbeReport { sent: answered, ..ProbeReport::default() }),
        calls: vec![calls],
        stuck_at: Some(answered),
    }
}

fn row(deployment: &DeploymentId, fence: u64, answered: u64) -> RunRow {
    RunRow { deployment: deployment.clone(), fence: Fence(fence), figures: figures(answered) }
}

async fn a_run_replaces_its_own_figures_and_no_others<S: Stores>(Scene { stores, .. }: Scene<S>) {
    let store = stores.open().await;
    let open = Opened::first(&store, stores.holder(), "shop").await;
    let id = &open.deployment;
    for (fence, answered) in [(2, 5), (1, 1), (1, 2), (1, 2)] {
        store.keep_figures(id, Fence(fence), &figures(answered)).await.unwrap();
    }
    let expected = [row(id, 1, 2), row(id, 2, 5)];
    assert_eq!(store.figures(&scope("shop")).await.unwrap(), expected);
    drop((store, open.store));
    assert_eq!(stores.open().await.figures(&scope("shop")).await.unwrap(), expected);
}

async fn the_oldest_deployment_comes_first_and_scopes_do_not_meet<S: Stores>(
    Scene { stores, .. }: Scene<S>,
) {
    let store = stores.open().await;
    let open = Opened::first(&store, stores.holder(), "shop").await;
    let second = open.next("d-0-sorts-before-the-first", 2).await;
    store.keep_figures(&second, Fence(1), &figures(2)).await.unwrap();
    store.keep_figures(&open.deployment, Fence(1), &figures(1)).await.unwrap();
    let expected = [row(&open.deployment, 1, 1), row(&second, 1, 2)];
    assert_eq!(store.figures(&scope("shop")).await.unwrap(), expected);
    assert_eq!(store.figures(&scope("cart")).await.unwrap(), []);
}

async fn of_a_deployment_that_was_never_opened_nothing_is_kept<S: Stores>(
    Scene { stores, .. }: Scene<S>,
) {
    let store = stores.open().await;
    let _open = Opened::first(&store, stores.holder(), "shop").await;
    let none = DeploymentId("d-none".into());
    store.keep_figures(&none, Fence(1), &figures(1)).await.unwrap();
    assert_eq!(store.figures(&scope("shop")).await.unwrap(), []);
}
