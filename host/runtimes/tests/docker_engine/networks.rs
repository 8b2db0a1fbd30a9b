//! Backends that the balancer reaches by container name on a shared network.

use crate::scene::{Scene, answer, command};
use agente_engine::ports::{CommandPlace, Commands, Runtime};
use agente_engine::release::{DockerReach, DockerSpec};
use agente_engine::route::Slot;
use agente_runtimes::docker::labels;
use std::time::Duration;

fn on(network: &str, scene: &Scene) -> DockerSpec {
    DockerSpec {
        reach: DockerReach::Network { name: network.to_owned() },
        ..scene.spec(&["serve", "{port}"])
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_slot_answers_under_its_own_name_also_after_their_addresses_were_swapped() {
    let scene = Scene::new("netted").await;
    let (blue, green) = (
        scene.launch(1, Slot::Blue, on("netted-net", &scene)).await,
        scene.launch(2, Slot::Green, on("netted-net", &scene)).await,
    );
    for launch in [&blue, &green] {
        scene.runtime.ensure(launch).await.unwrap();
        answer(&scene.runtime.reachable_address(&launch.backend).await.unwrap()).await;
    }
    let fetch = async |address: &str| {
        let output = scene
            .commands()
            .run(&command(
                CommandPlace::Container(blue.backend.id.0.clone()),
                &["/specimen", "fetch", address],
            ))
            .await
            .unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    assert_eq!(
        (fetch(&blue.backend.address).await.as_str(), fetch(&green.backend.address).await.as_str()),
        ("blue-1", "green-2")
    );
    // Started in the other order, the engine gives them each other's address.
    for launch in [&blue, &green] {
        scene
            .docker
            .stop_container(
                &launch.backend.id.0,
                None::<bollard::query_parameters::StopContainerOptions>,
            )
            .await
            .unwrap();
    }
    for launch in [&green, &blue] {
        scene.runtime.ensure(launch).await.unwrap();
    }
    for launch in [&blue, &green] {
        let reached = scene.runtime.reachable_address(&launch.backend).await.unwrap();
        assert_eq!(answer(&reached).await, format!("{}-{}", launch.slot, launch.release.number.0));
    }
    assert_eq!(
        (fetch(&blue.backend.address).await.as_str(), fetch(&green.backend.address).await.as_str()),
        ("blue-1", "green-2")
    );

    let network = scene
        .docker
        .inspect_network("netted-net", None::<bollard::query_parameters::InspectNetworkOptions>)
        .await
        .unwrap();
    assert_eq!(network.labels.unwrap().get(labels::STORE), Some(&scene.settings.store));
    for launch in [&blue, &green] {
        scene.runtime.retire(&launch.backend, Duration::from_secs(2)).await.unwrap();
    }
    scene
        .docker
        .inspect_network("netted-net", None::<bollard::query_parameters::InspectNetworkOptions>)
        .await
        .expect("a network is never removed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_of_somebody_else_is_used_as_it_is() {
    let scene = Scene::new("guest").await;
    let theirs = bollard::models::NetworkCreateRequest {
        name: "guest-net".to_owned(),
        ..Default::default()
    };
    scene.docker.create_network(theirs).await.unwrap();
    let launch = scene.launch(1, Slot::Blue, on("guest-net", &scene)).await;
    scene.runtime.ensure(&launch).await.unwrap();
    assert_eq!(
        answer(&scene.runtime.reachable_address(&launch.backend).await.unwrap()).await,
        "blue-1"
    );
    let network = scene
        .docker
        .inspect_network("guest-net", None::<bollard::query_parameters::InspectNetworkOptions>)
        .await
        .unwrap();
    assert!(network.labels.unwrap_or_default().is_empty());
}
