//! What ran before us.

use crate::stage::{Stage, free_port};
use agente_engine::ports::{BackendRole, BackendState, FindingResult, Launch, Runtime};
use agente_engine::release::{Artifact, RuntimeSpec};
use agente_engine::route::Slot;
use agente_runtimes::process::UpOutcome;
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

#[tokio::test]
async fn an_adopted_backend_is_looked_at_and_never_touched() {
    let stage = Stage::new();
    let host = stage.host();
    let address = format!("127.0.0.1:{}", free_port());
    let service = TcpListener::bind(&address).unwrap();
    let mut release = stage.release(1, &[]);
    release.artifact = Artifact::Adopted;
    release.runtime = RuntimeSpec::Adopted { addresses: vec![address.clone()] };
    let backends = host.reserve(&release, Slot::Blue, &[]).await.unwrap();
    assert_eq!(backends.len(), 1);
    let backend = &backends[0];
    assert_eq!(
        (backend.address.as_str(), backend.id.0.as_str()),
        (address.as_str(), format!("{}-test-blue-r1-0", stage.service).as_str())
    );
    assert!(
        host.preflight(&release, &backends)
            .await
            .iter()
            .all(|finding| finding.result == FindingResult::Good)
    );
    let launch = Launch {
        backend: backend.clone(),
        release,
        slot: Slot::Blue,
        deployment: agente_engine::names::DeploymentId("d".to_owned()),
        store: "store-1".to_owned(),
    };
    assert!(!host.knows(backend));
    for _ in 0..2 {
        host.ensure(&launch).await.unwrap();
        host.assign(backend, BackendRole::Kept).await.unwrap();
    }
    assert!(host.knows(backend));
    assert!(matches!(host.inspect(backend).await.unwrap(), BackendState::Running { .. }));
    assert_eq!(host.up(std::slice::from_ref(&launch)).await[0].outcome, UpOutcome::Running);
    assert!(host.retire(backend, Duration::ZERO).await.unwrap().found);
    assert!(TcpStream::connect(&address).is_ok(), "it serves on");
    assert_eq!(host.inspect(backend).await.unwrap(), BackendState::Absent);
    host.ensure(&launch).await.unwrap();
    drop(service);
    assert!(matches!(host.inspect(backend).await.unwrap(), BackendState::Ended { .. }));
    assert!(matches!(
        host.up(std::slice::from_ref(&launch)).await[0].outcome,
        UpOutcome::Failed(_)
    ));
}
