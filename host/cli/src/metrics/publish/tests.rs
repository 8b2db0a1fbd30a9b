#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;
use agente_engine::names::{EnvironmentName, ServiceName};
use std::os::unix::fs::MetadataExt as _;

fn scope() -> Scope {
    Scope {
        service: ServiceName::new("shop").unwrap(),
        environment: EnvironmentName::new("production").unwrap(),
    }
}

#[test]
fn a_textfile_is_replaced_as_a_whole_and_readable_by_all() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shop.prom");
    std::fs::write(&path, "old and longer than the new one\n").unwrap();
    let before = std::fs::metadata(&path).unwrap().ino();
    replace(&path, "new\n").unwrap();
    let after = std::fs::metadata(&path).unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "new\n");
    assert_ne!(before, after.ino(), "another file under the same name");
    assert_eq!(after.mode() & 0o777, MODE);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing else is left");
}

#[tokio::test]
async fn what_will_not_work_is_found_before_anything_is_deployed() {
    let folder = tempfile::tempdir().unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = listener.local_addr().unwrap();
    drop(listener);
    let section = |textfile: &Path| MetricsSection {
        textfile: Some(textfile.to_owned()),
        push: Some(format!("http://{closed}")),
    };
    let results = async |path: &Path| {
        check(&section(path))
            .await
            .into_iter()
            .map(|finding| (finding.result, finding.hint.is_some()))
            .collect::<Vec<_>>()
    };
    let away = (FindingResult::Warning, true);
    assert_eq!(
        results(&folder.path().join("shop.prom")).await,
        [(FindingResult::Good, false), away]
    );
    assert_eq!(
        results(&folder.path().join("none/shop.prom")).await,
        [(FindingResult::Bad, true), away]
    );
    assert_eq!(results(folder.path()).await, [(FindingResult::Bad, true), away]);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is left behind");
    assert_eq!(check(&MetricsSection::default()).await, []);
}

#[test]
fn each_scope_has_its_own_group_at_the_gateway() {
    assert_eq!(
        group("http://a:9091/x", &scope()),
        "http://a:9091/x/metrics/job/agente-host/service/shop/environment/production"
    );
}
