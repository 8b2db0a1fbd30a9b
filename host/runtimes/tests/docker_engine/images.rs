//! Images by id: what a tag does afterwards changes nothing, and only what we recorded is ever
//! removed.

use crate::daemon::Daemon;
use crate::scene::{Scene, answer, artifact};
use agente_engine::fault::FaultKind;
use agente_engine::names::Digest;
use agente_engine::ports::Runtime;
use agente_engine::release::Artifact;
use agente_engine::route::Slot;
use agente_runtimes::docker::{Pruned, Pull};
use std::time::Duration;

fn id_of(artifact: &Artifact) -> Digest {
    match artifact {
        Artifact::Image { id, .. } => id.clone(),
        other => panic!("not an image: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_that_moves_after_it_was_resolved_changes_nothing() {
    let daemon = Daemon::shared();
    let first = daemon.image("moved:live", "first", &["ENV RELEASE=first"]).await;
    let mut scene = Scene::on(daemon, "moved", "moved:live", &first);
    scene.image = scene.runtime.resolve_image("moved:live", Pull::IfAbsent, &|_| {}).await.unwrap();
    assert_eq!(id_of(&scene.image).as_str(), first);
    let second = daemon.image("moved:live", "second", &["ENV RELEASE=second"]).await;
    assert_ne!(first, second);
    let mut spec = scene.spec(&["serve", "{port}"]);
    spec.env.clear();
    let launch = scene.launch(1, Slot::Blue, spec).await;
    scene.runtime.ensure(&launch).await.unwrap();
    assert_eq!(answer(&launch.backend.address).await, "first");
    assert_eq!(scene.inspect(&launch.backend.id.0).await.image, Some(first));
    assert_eq!(
        id_of(&scene.runtime.resolve_image("moved:live", Pull::Never, &|_| {}).await.unwrap())
            .as_str(),
        second
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_are_none_and_images_that_are_absent_are_two_faults() {
    let scene = Scene::new("absentee").await;
    let kind = async |reference: &str, pull| {
        scene.runtime.resolve_image(reference, pull, &|_| {}).await.expect_err(reference).kind
    };
    assert_eq!(kind("Absentee:1", Pull::IfAbsent).await, FaultKind::InvalidConfig);
    assert_eq!(kind("../absentee", Pull::IfAbsent).await, FaultKind::InvalidConfig);
    assert_eq!(kind("absentee:gone", Pull::Never).await, FaultKind::Rejected);
    assert_eq!(
        kind(&format!("sha256:{}", "0".repeat(64)), Pull::IfAbsent).await,
        FaultKind::Rejected
    );
    let own = id_of(&scene.image);
    assert_eq!(
        id_of(&scene.runtime.resolve_image(own.as_str(), Pull::IfAbsent, &|_| {}).await.unwrap()),
        own
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_whose_image_is_gone_says_so_at_launch() {
    let mut scene = Scene::new("bygone").await;
    scene.image = artifact("bygone:0", &format!("sha256:{}", "1".repeat(64)));
    let launch = scene.serving(1, Slot::Blue).await;
    let failure = scene.runtime.ensure(&launch).await.expect_err("there is no image");
    assert_eq!(failure.fault().kind, FaultKind::Rejected);
    assert!(failure.fault().message.contains("`bygone:0`"), "{failure:?}");
    assert!(scene.containers().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn of_twelve_releases_the_recorded_ones_that_need_not_be_kept_are_removed_and_nothing_else() {
    let daemon = Daemon::shared();
    let foreign = daemon.image("pruned-foreign:1", "foreign", &[]).await;
    let mut recorded = Vec::new();
    for number in 1..=12 {
        let name = format!("pruned:{number}");
        let id = daemon.image(&name, &format!("pruned {number}"), &[]).await;
        recorded.push(artifact(&name, &id));
    }
    let Artifact::Image { id: used, .. } = recorded[0].clone() else { panic!("an image") };
    let mut scene = Scene::on(daemon, "pruned", "pruned:1", used.as_str());
    scene.image = recorded[0].clone();
    let launch = scene.serving(1, Slot::Blue).await;
    scene.runtime.ensure(&launch).await.unwrap();
    // Release 2 has a name besides that somebody gave it.
    let tag = bollard::query_parameters::TagImageOptionsBuilder::default()
        .repo("pruned-besides")
        .tag("x")
        .build();
    daemon.client().tag_image("pruned:2", Some(tag)).await.unwrap();

    let keep: Vec<Digest> = recorded[9..].iter().map(id_of).collect();
    let pruned = scene.runtime.prune_images(&recorded, &keep).await.unwrap();
    let removed: Vec<&Digest> = pruned
        .iter()
        .filter_map(|one| if let Pruned::Removed(id) = one { Some(id) } else { None })
        .collect();
    assert_eq!(
        removed,
        recorded[2..9].iter().map(id_of).collect::<Vec<_>>().iter().collect::<Vec<_>>()
    );
    let left: Vec<&str> = pruned
        .iter()
        .filter_map(|one| if let Pruned::Left(_, why) = one { Some(why.as_str()) } else { None })
        .collect();
    assert_eq!(left.len(), 2, "{pruned:?}");
    assert!(left[1].contains("pruned-besides:x"), "{left:?}");
    for number in [1, 2, 10, 11, 12] {
        daemon
            .client()
            .inspect_image(id_of(&recorded[number - 1]).as_str())
            .await
            .expect("it is still there");
    }
    daemon.client().inspect_image(&foreign).await.expect("a foreign image is never removed");
    // Once its container is gone, so may it be; again is success.
    scene.runtime.retire(&launch.backend, Duration::from_secs(2)).await.unwrap();
    let again = scene.runtime.prune_images(&recorded, &keep).await.unwrap();
    assert!(again.contains(&Pruned::Removed(used)), "{again:?}");
}
