//! The promises of `Trail`.

use crate::sample::Opened;
use crate::stores::{Scene, Stores};
use agente_engine::names::{DeploymentId, Timestamp};
use agente_engine::ports::{KEPT_EFFECTS, PluginEffect, PluginEffects, Trail};

crate::promises!("trail":
    what_is_kept_is_read_again_in_order_and_after_reopening,
    what_is_beyond_the_limit_counts_as_lost,
    of_a_deployment_that_was_never_opened_nothing_is_kept,
);

fn effects(count: usize, lost: u64) -> PluginEffects {
    let one = |number| PluginEffect {
        at: Timestamp(number as u64),
        plugin: "nginx-switch".into(),
        version: "0.1.0".into(),
        operation: "apply".into(),
        phase: "write".into(),
        effect: format!("replace the file `/etc/nginx/{number}`"),
        denied: (number % 2 == 1).then(|| "no grant".into()),
    };
    PluginEffects { kept: (0..count).map(one).collect(), lost }
}

async fn what_is_kept_is_read_again_in_order_and_after_reopening<S: Stores>(
    Scene { stores, .. }: Scene<S>,
) {
    let store = stores.open().await;
    let open = Opened::first(&store, stores.holder(), "shop").await;
    let second = open.next("d-2", 2).await;
    for (count, lost) in [(3, 0), (0, 0), (2, 4), (2, 1)] {
        assert!(store.keep_effects(&open.deployment, &effects(count, lost)).await.unwrap());
    }
    assert!(store.keep_effects(&second, &effects(1, 0)).await.unwrap());
    drop((store, open.store));
    let store = stores.open().await;
    let kept = [3, 2, 2].into_iter().flat_map(|count| effects(count, 0).kept).collect();
    assert_eq!(store.effects(&open.deployment).await.unwrap(), PluginEffects { kept, lost: 5 });
    assert_eq!(store.effects(&second).await.unwrap(), effects(1, 0));
}

async fn what_is_beyond_the_limit_counts_as_lost<S: Stores>(Scene { stores, .. }: Scene<S>) {
    let store = stores.open().await;
    let open = Opened::first(&store, stores.holder(), "shop").await.deployment;
    assert!(store.keep_effects(&open, &effects(3, 3)).await.unwrap());
    assert!(store.keep_effects(&open, &effects(KEPT_EFFECTS, 1)).await.unwrap());
    assert!(store.keep_effects(&open, &effects(2, 0)).await.unwrap());
    let found = store.effects(&open).await.unwrap();
    assert_eq!((found.kept.len(), found.lost), (KEPT_EFFECTS, 3 + 1 + 3 + 2));
    assert_eq!(found.kept[..3], effects(3, 0).kept);
    assert_eq!(found.kept[3..], effects(KEPT_EFFECTS - 3, 0).kept);
}

async fn of_a_deployment_that_was_never_opened_nothing_is_kept<S: Stores>(
    Scene { stores, .. }: Scene<S>,
) {
    let store = stores.open().await;
    let none = DeploymentId("d-none".into());
    assert!(!store.keep_effects(&none, &effects(1, 1)).await.unwrap());
    assert_eq!(store.effects(&none).await.unwrap(), PluginEffects::default());
}
