//! Reserve and preflight: what they see, and that they change nothing.

use crate::daemon::Daemon;
use crate::scene::{INSIDE, Scene, artifact, backend};
use agente_engine::fault::FaultKind;
use agente_engine::placement::Placement;
use agente_engine::ports::{Finding, FindingResult, Runtime};
use agente_engine::release::{DockerReach, EnvValue, PortRange};
use agente_engine::route::{Backend, Slot};
use std::net::TcpListener;

#[tokio::test(flavor = "multi_thread")]
async fn ports_are_chosen_that_nobody_has_not_even_a_stopped_container_of_ours() {
    let scene = Scene::new("choosy").await;
    let first = scene.ports.first;
    let stands = scene.serving(1, Slot::Blue).await;
    assert_eq!(stands.backend.address, format!("127.0.0.1:{first}"));
    scene.runtime.ensure(&stands).await.unwrap();
    scene
        .docker
        .stop_container(
            &stands.backend.id.0,
            None::<bollard::query_parameters::StopContainerOptions>,
        )
        .await
        .unwrap();
    let _listener = TcpListener::bind(("127.0.0.1", first + 1)).unwrap();
    let _everywhere = TcpListener::bind(("0.0.0.0", first + 3)).unwrap();
    let mut spec = scene.spec(&["serve", "{port}"]);
    spec.instances = 2;
    let release = scene.release(2, spec);
    let chosen = scene
        .runtime
        .reserve(&release, Slot::Green, &[backend("choosy.test.blue-r9-0", first + 2)])
        .await
        .unwrap();
    let engine = Daemon::shared().socket.display();
    let placement = Placement::Docker { engine: format!("unix://{engine}"), network: None };
    let wanted = [("choosy.test.green-r2-0", first + 4), ("choosy.test.green-r2-1", first + 5)]
        .map(|(id, port)| Backend { placement: placement.clone(), ..backend(id, port) });
    assert_eq!(chosen, wanted);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_range_without_enough_free_ports_is_said_with_the_way_out() {
    let scene = Scene::new("crowded").await;
    let mut spec = scene.spec(&["serve", "{port}"]);
    spec.instances = 3;
    spec.reach = DockerReach::Loopback {
        ports: PortRange { first: scene.ports.first, last: scene.ports.first + 1 },
    };
    let fault = scene
        .runtime
        .reserve(&scene.release(1, spec), Slot::Blue, &[])
        .await
        .expect_err("two ports for three backends");
    assert_eq!(fault.kind, FaultKind::Unavailable);
    assert!(fault.hint.unwrap().contains("`ports`"));
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_network_addresses_are_names_and_too_long_ones_are_refused() {
    let scene = Scene::new("named").await;
    let mut spec = scene.spec(&["serve", "{port}"]);
    spec.reach = DockerReach::Network { name: "named-net".to_owned() };
    let mut release = scene.release(12, spec);
    let chosen = scene.runtime.reserve(&release, Slot::Green, &[]).await.unwrap();
    assert_eq!(chosen[0].address, format!("named.test.green-r12-0:{INSIDE}"));
    release.scope.service =
        agente_engine::names::ServiceName::new("a23456789012345678901234567890").unwrap();
    release.scope.environment =
        agente_engine::names::EnvironmentName::new("a23456789012345678901234567890").unwrap();
    assert_eq!(
        scene
            .runtime
            .reserve(&release, Slot::Green, &[])
            .await
            .expect_err("64 characters and more")
            .kind,
        FaultKind::InvalidConfig
    );
}

fn line<'a>(findings: &'a [Finding], subject: &str) -> (FindingResult, &'a str) {
    let found = findings
        .iter()
        .find(|finding| finding.subject == subject)
        .unwrap_or_else(|| panic!("no line for `{subject}`: {findings:#?}"));
    (found.result, found.message.as_str())
}

#[tokio::test(flavor = "multi_thread")]
async fn preflight_tells_what_is_as_it_should_be() {
    let scene = Scene::new("prepared").await;
    let mut spec = scene.spec(&["serve", "{port}"]);
    spec.env.insert("PASSWORD".to_owned(), EnvValue::Secret("password".to_owned()));
    let release = scene.release(1, spec);
    let backends = scene.runtime.reserve(&release, Slot::Blue, &[]).await.unwrap();
    let findings = scene.runtime.preflight(&release, &backends).await;
    assert!(findings.iter().all(|finding| finding.result == FindingResult::Good), "{findings:#?}");
    assert!(line(&findings, "docker engine").1.contains("API "));
    assert!(line(&findings, "docker disk").1.contains("MiB free"));
    assert!(line(&findings, "image prepared:1").1.starts_with("is on the engine as "));
    assert_eq!(line(&findings, &format!("port {}", scene.ports.first)).1, "is free");
    assert!(line(&findings, "secret password").1.contains("`PASSWORD`"));
    assert!(scene.containers().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn preflight_tells_what_is_wrong_line_by_line() {
    let scene = Scene::new("unready").await;
    let runtime = scene.runtime_with(|settings| settings.min_free_disk_bytes = u64::MAX);
    let mut spec = scene.spec(&["serve", "{port}"]);
    spec.env.insert("KEY".to_owned(), EnvValue::Secret("lost".to_owned()));
    spec.volumes = vec!["/nowhere/at/all:/data:ro".to_owned()];
    let mut release = scene.release(1, spec.clone());
    release.artifact = artifact("unready:gone", &format!("sha256:{}", "0".repeat(64)));
    let _listener = TcpListener::bind(("127.0.0.1", scene.ports.first)).unwrap();
    let findings =
        runtime.preflight(&release, &[backend("unready.test.blue-r1-0", scene.ports.first)]).await;
    assert_eq!(line(&findings, "docker disk").0, FindingResult::Bad);
    assert_eq!(line(&findings, "image unready:gone").0, FindingResult::Bad);
    assert_eq!(line(&findings, &format!("port {}", scene.ports.first)).0, FindingResult::Bad);
    assert_eq!(line(&findings, "secret lost").0, FindingResult::Bad);
    assert_eq!(line(&findings, "volume /nowhere/at/all").0, FindingResult::Warning);

    spec.reach = DockerReach::Network { name: "unready-net".to_owned() };
    let findings = scene.runtime.preflight(&scene.release(1, spec), &[]).await;
    assert_eq!(
        line(&findings, "network unready-net"),
        (
            FindingResult::Warning,
            "does not exist and will be created; the load balancer must join it"
        )
    );
    assert!(
        scene
            .docker
            .inspect_network(
                "unready-net",
                None::<bollard::query_parameters::InspectNetworkOptions>
            )
            .await
            .is_err(),
        "nothing was made"
    );
    let _used = Daemon::shared();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_our_own_standing_container_has_is_no_obstacle() {
    let scene = Scene::new("standing").await;
    let launch = scene.serving(1, Slot::Blue).await;
    scene.runtime.ensure(&launch).await.unwrap();
    let findings =
        scene.runtime.preflight(&launch.release, std::slice::from_ref(&launch.backend)).await;
    let (result, message) = line(&findings, &format!("port {}", scene.ports.first));
    assert_eq!(result, FindingResult::Good);
    assert!(message.contains("which is ours"), "{message}");
}
