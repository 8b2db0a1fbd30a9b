//! Reserving, judging and ensuring.

use crate::stage::{
    PATIENCE, PortRow, Stage, ask, host_of, kill, process_spec, set_env, told_pid, until,
};
use agente_engine::fault::{Failure, Fault, FaultKind};
use agente_engine::ports::{FindingResult, Runtime, Secrets};
use agente_engine::release::{EnvValue, PortRange};
use agente_engine::route::{Backend, Slot};
use std::collections::BTreeSet;
use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

fn refused<T: std::fmt::Debug>(result: Result<T, Failure>) -> Fault {
    match result {
        Err(Failure::Refused { fault }) => fault,
        other => panic!("not refused: {other:?}"),
    }
}

fn files_below(folder: &Path, found: &mut Vec<std::path::PathBuf>) {
    for entry in fs::read_dir(folder).unwrap().flatten() {
        if entry.path().is_dir() {
            files_below(&entry.path(), found);
        } else {
            found.push(entry.path());
        }
    }
}

#[tokio::test]
async fn a_backend_runs_in_its_artifacts_folder_with_exactly_the_declared_environment() {
    let stage = Stage::new();
    stage.vault.values.lock().unwrap().insert("db".to_owned(), "postgres://secret".to_owned());
    let mut release = stage.release(7, &["--slot={slot}", "{release}/{backend}", r#"{"a":1}"#]);
    set_env(&mut release, "DB", EnvValue::Secret("db".to_owned()));
    set_env(&mut release, "LISTEN", EnvValue::Plain("127.0.0.1:{port}".to_owned()));
    let launch = stage.launch_of(release);
    stage.host().ensure(&launch).await.unwrap();
    let answer = until("an answer", || ask(&launch.backend)).await;
    let port = launch.backend.address.rsplit_once(':').unwrap().1;
    let (id, service) = (&launch.backend.id, &stage.service);
    let lines = |kind: &str| {
        answer
            .lines()
            .filter_map(|line| line.strip_prefix(kind).map(str::to_owned))
            .collect::<Vec<_>>()
    };
    let expected: BTreeSet<String> = [
        "DB=postgres://secret".to_owned(),
        format!("LISTEN=127.0.0.1:{port}"),
        format!("AGENTE_PORT={port}"),
        "AGENTE_SLOT=blue".to_owned(),
        "AGENTE_RELEASE=7".to_owned(),
        format!("AGENTE_BACKEND={id}"),
        format!("AGENTE_SERVICE={service}"),
        "AGENTE_ENVIRONMENT=test".to_owned(),
    ]
    .into();
    assert_eq!(lines("env ").into_iter().collect::<BTreeSet<_>>(), expected);
    assert_eq!(
        lines("arg "),
        [
            "./shop".to_owned(),
            port.to_owned(),
            "--slot=blue".to_owned(),
            format!("7/{id}"),
            r#"{"a":1}"#.to_owned()
        ]
    );
    assert_eq!(
        lines("cwd "),
        [stage
            .artifact_file(&launch.release.artifact)
            .parent()
            .unwrap()
            .canonicalize()
            .unwrap()
            .display()
            .to_string()]
    );
}

#[tokio::test]
async fn a_secret_is_neither_on_disk_nor_in_a_command_line_nor_with_the_supervisor() {
    let stage = Stage::new();
    let value = format!("hunter2-{}", std::process::id());
    stage.vault.values.lock().unwrap().insert("db".to_owned(), value.clone());
    let mut release = stage.release(1, &[]);
    set_env(&mut release, "DB", EnvValue::Secret("db".to_owned()));
    let launch = stage.launch_of(release);
    stage.host().ensure(&launch).await.unwrap();
    let answer = until("an answer", || ask(&launch.backend)).await;
    assert!(answer.contains(&format!("env DB={value}")), "the backend has it");
    let mut places = Vec::new();
    files_below(&stage.state(), &mut places);
    let supervisor = stage.supervisor(&launch.backend);
    for file in ["cmdline", "environ"] {
        places.push(format!("/proc/{supervisor}/{file}").into());
    }
    places.push(format!("/proc/{}/cmdline", told_pid(&answer)).into());
    assert!(places.len() > 8);
    for place in places {
        let bytes = fs::read(&place).unwrap();
        assert!(
            !bytes.windows(value.len()).any(|window| window == value.as_bytes()),
            "the secret is in `{}`",
            place.display()
        );
    }
}

#[tokio::test]
async fn a_supervisor_is_nobodys_child_and_leads_a_session_without_a_terminal() {
    let stage = Stage::new();
    let launch = stage.launch(&[]);
    // A lock or pipe of the script that called the host: left open for what the host starts.
    let of_the_caller = stage.state().join("lock-of-the-caller");
    fs::create_dir_all(stage.state()).unwrap();
    let held = fs::File::create(&of_the_caller).unwrap();
    rustix::io::fcntl_setfd(&held, rustix::io::FdFlags::empty()).unwrap();
    stage.host().ensure(&launch).await.unwrap();
    let supervisor = stage.supervisor(&launch.backend);
    let holds = fs::read_dir(format!("/proc/{supervisor}/fd"))
        .unwrap()
        .flatten()
        .any(|open| fs::read_link(open.path()).is_ok_and(|path| path == of_the_caller));
    assert!(!holds, "what the caller had open stays with the caller");
    drop(held);
    let stat = fs::read_to_string(format!("/proc/{supervisor}/stat")).unwrap();
    let fields: Vec<i64> = stat
        .rsplit_once(") ")
        .unwrap()
        .1
        .split(' ')
        .skip(1)
        .take(4)
        .map(|field| field.parse().unwrap())
        .collect();
    let (parent, session, terminal) = (fields[0], fields[2], fields[3]);
    assert_ne!(parent, i64::from(std::process::id()));
    assert_eq!((session, terminal), (i64::from(supervisor), 0));
    let open: Vec<String> = (0..3)
        .map(|fd| {
            fs::read_link(format!("/proc/{supervisor}/fd/{fd}")).unwrap().display().to_string()
        })
        .collect();
    assert_eq!(&open[..2], ["/dev/null", "/dev/null"], "nothing of the host's stays open");
    assert!(open[2].ends_with("/log"), "{open:?}");
    assert_eq!(fs::read_link(format!("/proc/{supervisor}/cwd")).unwrap(), Path::new("/"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn hosts_that_ensure_at_once_end_in_one_supervisor_and_one_backend() {
    let stage = Stage::new();
    let launch = stage.launch(&[]);
    let ensured = (0..8).map(|_| {
        let (host, launch) = (stage.host(), launch.clone());
        tokio::spawn(async move { host.ensure(&launch).await })
    });
    for ensured in futures_util::future::join_all(ensured.collect::<Vec<_>>()).await {
        ensured.unwrap().unwrap();
    }
    until("an answer", || ask(&launch.backend)).await;
    until_one(&stage).await;
}

#[tokio::test]
async fn ensuring_again_adopts_and_another_specification_replaces_at_the_same_address() {
    let stage = Stage::new();
    let host = stage.host();
    let mut launch = stage.launch(&[]);
    host.ensure(&launch).await.unwrap();
    let first = told_pid(&until("an answer", || ask(&launch.backend)).await);
    "another".clone_into(&mut launch.deployment.0);
    stage.host().ensure(&launch).await.unwrap();
    assert_eq!(
        told_pid(&until("an answer", || ask(&launch.backend)).await),
        first,
        "the same one, also for another deployment"
    );
    set_env(&mut launch.release, "COLOUR", EnvValue::Plain("green".to_owned()));
    host.ensure(&launch).await.unwrap();
    let second = until("an answer", || ask(&launch.backend)).await;
    assert_ne!(told_pid(&second), first);
    assert!(second.contains("env COLOUR=green"));
    let (supervisors, backends) = stage.processes();
    assert_eq!((supervisors.len(), backends.len()), (1, 1));
}

#[tokio::test]
async fn what_can_not_run_is_refused_with_its_cause_and_leaves_nothing() {
    let stage = Stage::new();
    let host = stage.host();
    let sane = stage.release(1, &[]);
    let mut cases = Vec::new();
    for (name, content, mode, expected) in [
        ("locked", &b"#!/bin/sh\n"[..], 0o644, "is not executable"),
        ("text", b"rm -rf x\n", 0o755, "neither an ELF program nor a script"),
        (
            "lost",
            b"#!/nowhere/interpreter\n",
            0o755,
            "interpreter or loader does not exist on this machine",
        ),
    ] {
        let mut release = sane.clone();
        release.artifact = stage.artifact(name, content, mode);
        process_spec(&mut release).command = vec![format!("./{name}"), "{port}".to_owned()];
        cases.push((release, expected));
    }
    let mut altered = sane.clone();
    altered.artifact = stage.artifact("altered", b"#!/bin/sh\nexit 0\n", 0o755);
    process_spec(&mut altered).command = vec!["./altered".to_owned()];
    fs::write(stage.artifact_file(&altered.artifact), "#!/bin/sh\nexit 1\n").unwrap();
    cases.push((altered, "was modified"));
    let mut secret = sane.clone();
    set_env(&mut secret, "DB", EnvValue::Secret("absent".to_owned()));
    cases.push((secret, "there is no secret `absent`"));
    let mut name = sane.clone();
    set_env(&mut name, "A=B", EnvValue::Plain(String::new()));
    cases.push((name, "can't be the name of an environment variable"));
    let mut absent = sane;
    process_spec(&mut absent).command = vec!["no-such-program".to_owned()];
    cases.push((absent, "there is no program `no-such-program`"));
    for (release, expected) in cases {
        let launch = stage.launch_of(release);
        let fault = refused(host.ensure(&launch).await);
        let told = format!("{} {:?}", fault.message, fault.causes);
        assert!(told.contains(expected), "`{told}` does not say `{expected}`");
        assert!(!stage.directory(&launch.backend).exists(), "{expected}: the directory is left");
    }
    let (supervisors, backends) = stage.processes();
    assert!(supervisors.is_empty() && backends.is_empty());
}

#[tokio::test]
async fn a_taken_port_and_a_foreign_store_are_conflicts() {
    let stage = Stage::new();
    let host = stage.host();
    let launch = stage.launch(&[]);
    let holder = TcpListener::bind(&launch.backend.address).unwrap();
    let fault = refused(host.ensure(&launch).await);
    assert_eq!(fault.kind, FaultKind::Conflict);
    assert!(
        fault.message.contains(&format!("process {}", std::process::id())),
        "says who has it: {}",
        fault.message
    );
    drop(holder);
    host.ensure(&launch).await.unwrap();
    let serving = told_pid(&until("an answer", || ask(&launch.backend)).await);
    let mut foreign = launch.clone();
    "store-2".clone_into(&mut foreign.store);
    assert_eq!(refused(host.ensure(&foreign).await).kind, FaultKind::Conflict);
    let mut elsewhere = launch.backend.clone();
    "127.0.0.1:1".clone_into(&mut elsewhere.address);
    assert!(
        host.retire(&elsewhere, Duration::ZERO).await.is_err(),
        "another address is another backend"
    );
    assert_eq!(told_pid(&ask(&launch.backend).unwrap()), serving, "untouched throughout");
}

#[tokio::test]
async fn an_id_that_is_not_a_file_name_is_refused() {
    let stage = Stage::new();
    let host = stage.host();
    for id in ["../up", "", ".", "a/b", ".hidden"] {
        let mut launch = stage.launch(&[]);
        id.clone_into(&mut launch.backend.id.0);
        assert_eq!(refused(host.ensure(&launch).await).kind, FaultKind::InvalidConfig, "`{id}`");
        assert!(host.retire(&launch.backend, Duration::ZERO).await.is_err());
    }
}

#[tokio::test]
async fn reserved_ports_are_free_in_range_and_nobody_elses() {
    let stage = Stage::new();
    let host = stage.host();
    let row = PortRow::take();
    let first = row.first;
    let mut launch = stage.launch(&[]);
    launch.backend.address = format!("127.0.0.1:{first}");
    host.ensure(&launch).await.unwrap();
    let busy = TcpListener::bind(("127.0.0.1", first + 1)).unwrap();
    let taken = [Backend { address: format!("127.0.0.1:{}", first + 2), ..launch.backend.clone() }];
    let mut release = launch.release.clone();
    process_spec(&mut release).ports = PortRange { first, last: first + 3 };
    let reserved = host.reserve(&release, Slot::Green, &taken).await.unwrap();
    assert_eq!(reserved.len(), 1);
    assert_eq!(reserved[0].address, format!("127.0.0.1:{}", first + 3));
    assert_eq!(reserved[0].id.0, format!("{}.test.green-r1-0", stage.service));
    process_spec(&mut release).instances = 2;
    let fault = host.reserve(&release, Slot::Green, &taken).await.unwrap_err();
    assert!(fault.message.contains("room for only 1 of 2"), "{}", fault.message);
    assert_eq!(fault.causes.len(), 3, "says why for each port: {:?}", fault.causes);
    drop(busy);
}

#[tokio::test]
async fn preflight_tells_each_line_and_changes_nothing() {
    let stage = Stage::new();
    let host = stage.host();
    let launch = stage.launch(&[]);
    let good = host.preflight(&launch.release, std::slice::from_ref(&launch.backend)).await;
    assert!(good.iter().all(|finding| finding.result != FindingResult::Bad), "{good:?}");
    let subjects: Vec<&str> =
        good.iter().map(|finding| finding.subject.split(' ').next().unwrap()).collect();
    assert_eq!(subjects, ["artifact", "command", "port", "disk"]);
    let mut release = launch.release.clone();
    set_env(&mut release, "DB", EnvValue::Secret("absent".to_owned()));
    process_spec(&mut release).command = vec!["./other".to_owned()];
    fs::write(stage.artifact_file(&release.artifact), "altered").unwrap();
    let _holder = TcpListener::bind(&launch.backend.address).unwrap();
    let bad = host.preflight(&release, std::slice::from_ref(&launch.backend)).await;
    let refusing: Vec<&str> = bad
        .iter()
        .filter(|finding| finding.result == FindingResult::Bad)
        .map(|finding| finding.subject.split(' ').next().unwrap())
        .collect();
    assert_eq!(refusing, ["artifact", "command", "port", "secret"]);
    assert!(
        bad.iter().any(|finding| finding.result == FindingResult::Warning
            && finding.message.contains("{port}")),
        "{bad:?}"
    );
    assert!(!stage.state().join("backends").exists());
}

#[tokio::test]
async fn preflight_of_a_resumed_attempt_takes_its_own_backend_for_what_it_is() {
    let stage = Stage::new();
    let host = stage.host();
    let launch = stage.launch(&[]);
    host.ensure(&launch).await.unwrap();
    let serving = told_pid(&until("an answer", || ask(&launch.backend)).await);
    let port_line = async || {
        host.preflight(&launch.release, std::slice::from_ref(&launch.backend))
            .await
            .into_iter()
            .find(|finding| finding.subject.starts_with("port"))
            .unwrap()
    };
    assert!(port_line().await.message.contains("already"));
    kill(stage.supervisor(&launch.backend), "KILL");
    kill(serving, "KILL");
    assert_eq!(port_line().await.message, "is free");
    let _stranger = TcpListener::bind(&launch.backend.address).unwrap();
    assert_eq!(port_line().await.result, FindingResult::Bad);
}

/// A supervisor that came second may still wait for its turn; it ends when there is none.
async fn until_one(stage: &Stage) {
    until("one supervisor and one backend", || {
        let (supervisors, backends) = stage.processes();
        assert_eq!(backends.len(), 1, "never two");
        (supervisors.len() == 1).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_ensure_that_is_dropped_at_any_moment_is_finished_by_the_next() {
    let stage = Stage::new();
    for round in 0..12_u64 {
        let launch = stage.launch_of(stage.release(round + 1, &[]));
        let _dropped = tokio::time::timeout(
            Duration::from_micros(round * round * 300),
            stage.host().ensure(&launch),
        )
        .await;
        stage.host().ensure(&launch).await.unwrap();
        until("an answer", || ask(&launch.backend)).await;
        until_one(&stage).await;
        assert!(stage.host().retire(&launch.backend, PATIENCE).await.unwrap().found);
    }
}

const KILLED_HOST: &str = "AGENTE_TEST_KILLED_HOST";

/// Run in a process of its own, this test is the host that is killed; its parent is the one that
/// finishes.
#[tokio::test]
async fn a_host_that_is_killed_at_any_moment_leaves_what_the_next_one_finishes() {
    if let Ok(state) = std::env::var(KILLED_HOST) {
        let (state, launch) = state.split_once('|').unwrap();
        let (id, address) = launch.split_once('|').unwrap();
        let spec = Stage::new();
        let mut launch = spec.launch(&[]);
        launch.backend = Backend {
            id: agente_engine::names::BackendId(id.to_owned()),
            address: address.to_owned(),
            ..launch.backend
        };
        launch.release.scope.service =
            agente_engine::names::ServiceName::new(id.split_once(".test.").unwrap().0).unwrap();
        let host = host_of(
            Path::new(state),
            Arc::clone(&spec.vault) as Arc<dyn Secrets>,
            spec.limits.clone(),
        );
        loop {
            host.ensure(&launch).await.unwrap();
            host.retire(&launch.backend, PATIENCE).await.unwrap();
        }
    }
    let stage = Stage::new();
    let launch = stage.launch(&[]);
    for round in 0..10_u64 {
        let mut host = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "launch::a_host_that_is_killed_at_any_moment_leaves_what_the_next_one_finishes",
            ])
            .env(
                KILLED_HOST,
                format!(
                    "{}|{}|{}",
                    stage.state().display(),
                    launch.backend.id,
                    launch.backend.address
                ),
            )
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        // Once it is at work, at another moment of its work each time.
        until("the host at work", || stage.directory(&launch.backend).exists().then_some(())).await;
        std::thread::sleep(Duration::from_millis(round * 7));
        host.kill().unwrap();
        host.wait().unwrap();
        stage.host().ensure(&launch).await.unwrap();
        until("an answer", || ask(&launch.backend)).await;
        until_one(&stage).await;
        assert!(stage.host().retire(&launch.backend, PATIENCE).await.unwrap().found);
        assert_eq!(stage.processes(), (Vec::new(), Vec::new()), "round {round}");
    }
}
