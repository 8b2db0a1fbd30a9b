//! What a supervisor does, and what happens without it.

use crate::stage::{
    Bystander, Stage, ask, is_alive, kill, number, set_env, told_pid, until, until_state,
};
use agente_engine::ports::{BackendRole, BackendState, Runtime};
use agente_engine::release::EnvValue;
use agente_runtimes::process::{Up, UpOutcome};
use std::fs;
use std::sync::atomic::Ordering;
use std::time::Duration;

fn is_running(state: &BackendState) -> bool {
    matches!(state, BackendState::Running { .. })
}

#[tokio::test]
async fn a_crash_loop_is_told_and_its_waits_grow() {
    let stage = Stage::new();
    let host = stage.host();
    let launch = stage.launch(&["exit=3"]);
    host.ensure(&launch).await.unwrap();
    let seen = until_state(&host, &launch.backend, "four restarts", |state| {
        matches!(state, BackendState::Starting { restarts: 4.., .. })
    })
    .await;
    let BackendState::Starting { detail, .. } = seen else { unreachable!() };
    assert!(detail.contains("exit code 3"), "{detail}");
    let tail = host.log_tail(&launch.backend, 100).await.unwrap();
    let waits: Vec<&str> = tail
        .iter()
        .filter_map(|line| line.split_once("restarting in "))
        .map(|(_, rest)| rest.split(' ').next().unwrap())
        .collect();
    assert_eq!(&waits[..4], ["50ms", "100ms", "200ms", "400ms"]);
    assert!(
        host.retire(&launch.backend, Duration::from_secs(5)).await.unwrap().found,
        "also between two runs"
    );
    assert_eq!(stage.processes(), (Vec::new(), Vec::new()));
}

#[tokio::test]
async fn a_crashed_backend_comes_back_without_what_it_had_left_behind() {
    let stage = Stage::new();
    let host = stage.host();
    let launch = stage.launch(&["child", "detached-child"]);
    host.ensure(&launch).await.unwrap();
    let first = told_pid(&until("an answer", || ask(&launch.backend)).await);
    until("both grandchildren", || (stage.processes().1.len() >= 3).then_some(())).await;
    let before = stage.processes().1;
    kill(first, "ABRT");
    let second = until("another one", || {
        ask(&launch.backend).map(|answer| told_pid(&answer)).filter(|pid| *pid != first)
    })
    .await;
    assert!(before.iter().all(|pid| !is_alive(*pid)), "of {before:?} something is left");
    let seen = until_state(&host, &launch.backend, "running again", |state| {
        matches!(state, BackendState::Running { restarts: 1, .. })
    })
    .await;
    assert!(is_running(&seen) && is_alive(second));
    assert_eq!(stage.record(&launch.backend, "status.json")["last_exit"], "killed by SIGABRT");
}

#[tokio::test]
async fn a_killed_supervisor_leaves_its_backend_serving_and_the_next_takes_it_over() {
    let stage = Stage::new();
    let launch = stage.launch(&["child"]);
    stage.host().ensure(&launch).await.unwrap();
    let first = told_pid(&until("an answer", || ask(&launch.backend)).await);
    let supervisor = stage.supervisor(&launch.backend);
    for _ in 0..2 {
        // Twice: what was taken over can be taken over again.
        kill(stage.supervisor(&launch.backend), "KILL");
        until("its end", || stage.processes().0.is_empty().then_some(())).await;
        let host = stage.host();
        assert!(is_running(&host.inspect(&launch.backend).await.unwrap()), "it serves on");
        host.ensure(&launch).await.unwrap();
        assert_eq!(told_pid(&ask(&launch.backend).unwrap()), first, "the same process");
    }
    assert_ne!(stage.supervisor(&launch.backend), supervisor);
    assert_eq!(stage.processes().0.len(), 1);
    kill(first, "KILL");
    let second = until("another one", || {
        ask(&launch.backend).map(|answer| told_pid(&answer)).filter(|pid| *pid != first)
    })
    .await;
    assert!(is_alive(second));
    assert_eq!(stage.processes().1.len(), 2, "with its one child, and without the old one's");
}

#[tokio::test]
async fn what_a_killed_supervisor_left_is_replaced_when_another_specification_is_wanted() {
    let stage = Stage::new();
    let mut launch = stage.launch(&["child"]);
    stage.host().ensure(&launch).await.unwrap();
    let first = told_pid(&until("an answer", || ask(&launch.backend)).await);
    kill(stage.supervisor(&launch.backend), "KILL");
    set_env(&mut launch.release, "COLOUR", EnvValue::Plain("green".to_owned()));
    stage.host().ensure(&launch).await.unwrap();
    let answer = until("an answer", || ask(&launch.backend)).await;
    assert!(answer.contains("env COLOUR=green") && !is_alive(first));
    assert_eq!(stage.processes().1.len(), 2);
}

#[tokio::test]
async fn processes_are_found_by_their_session_when_the_status_was_lost() {
    let stage = Stage::new();
    let launch = stage.launch(&["child"]);
    stage.host().ensure(&launch).await.unwrap();
    let first = told_pid(&until("an answer", || ask(&launch.backend)).await);
    kill(stage.supervisor(&launch.backend), "KILL");
    until("its end", || stage.processes().0.is_empty().then_some(())).await;
    // As if it had been killed between starting the backend and writing that down.
    fs::remove_file(stage.directory(&launch.backend).join("status.json")).unwrap();
    stage.host().ensure(&launch).await.unwrap();
    let second = until("an answer", || ask(&launch.backend)).await;
    assert!(!is_alive(first) && told_pid(&second) != first);
    assert_eq!(stage.processes().1.len(), 2);
}

#[tokio::test]
async fn a_number_that_was_given_to_a_stranger_is_neither_ours_nor_touched() {
    let stage = Stage::new();
    let host = stage.host();
    let launch = stage.launch(&[]);
    host.ensure(&launch).await.unwrap();
    let serving = told_pid(&until("an answer", || ask(&launch.backend)).await);
    kill(stage.supervisor(&launch.backend), "KILL");
    kill(serving, "KILL");
    until("their end", || (stage.processes() == (Vec::new(), Vec::new())).then_some(())).await;
    let mut stranger = Bystander::sleeping();
    let mut record = stage.record(&launch.backend, "supervisor.json");
    record["pid"] = stranger.0.id().into();
    stage.write_record(&launch.backend, "supervisor.json", &record);
    let mut status = stage.record(&launch.backend, "status.json");
    status["process"]["pid"] = stranger.0.id().into();
    stage.write_record(&launch.backend, "status.json", &status);
    let seen = host.inspect(&launch.backend).await.unwrap();
    assert!(
        matches!(&seen, BackendState::Ended { detail } if detail.contains("agente-host up")),
        "{seen:?}"
    );
    host.ensure(&launch).await.unwrap();
    until("an answer", || ask(&launch.backend)).await;
    host.retire(&launch.backend, Duration::from_secs(5)).await.unwrap();
    assert!(stranger.0.try_wait().unwrap().is_none(), "the stranger lives on");
}

#[tokio::test]
async fn after_a_reboot_up_starts_what_is_live_and_asks_for_secrets_again() {
    let stage = Stage::new();
    stage.vault.values.lock().unwrap().insert("db".to_owned(), "before".to_owned());
    let host = stage.host();
    let mut launches = Vec::new();
    for number in 1..=2 {
        let mut release = stage.release(number, &[]);
        set_env(&mut release, "DB", EnvValue::Secret("db".to_owned()));
        let launch = stage.launch_of(release);
        host.ensure(&launch).await.unwrap();
        until("an answer", || ask(&launch.backend)).await;
        launches.push(launch);
    }
    let (live, kept) = (&launches[0], &launches[1]);
    host.assign(&kept.backend, BackendRole::Kept).await.unwrap();
    assert!(
        host.up(&launches)
            .await
            .iter()
            .all(|up| matches!(up.outcome, UpOutcome::Running | UpOutcome::KeptAside)),
        "all stands: nothing to do"
    );
    for launch in &launches {
        let serving = told_pid(&ask(&launch.backend).unwrap());
        kill(stage.supervisor(&launch.backend), "KILL");
        kill(serving, "KILL");
        for name in ["supervisor.json", "status.json"] {
            let mut record = stage.record(&launch.backend, name);
            let process = if name == "status.json" { &mut record["process"] } else { &mut record };
            process["boot"] = "an earlier one".into();
            stage.write_record(&launch.backend, name, &record);
        }
    }
    until("their end", || (stage.processes() == (Vec::new(), Vec::new())).then_some(())).await;
    let seen = host.inspect(&live.backend).await.unwrap();
    assert!(
        matches!(&seen, BackendState::Ended { detail } if detail.contains("the machine has rebooted")),
        "{seen:?}"
    );
    stage.vault.values.lock().unwrap().insert("db".to_owned(), "after".to_owned());
    let asked = stage.vault.asked.load(Ordering::SeqCst);
    let up = stage.host().up(&launches).await;
    let expected = [(live, UpOutcome::Started), (kept, UpOutcome::KeptAside)]
        .map(|(launch, outcome)| Up { backend: launch.backend.id.clone(), outcome });
    assert_eq!(up, expected);
    assert_eq!(stage.vault.asked.load(Ordering::SeqCst), asked + 1);
    assert!(until("an answer", || ask(&live.backend)).await.contains("env DB=after"));
    assert_eq!(ask(&kept.backend), None);
}

#[tokio::test]
async fn a_supervisor_outlives_its_terminal_and_ends_with_its_backend_when_told_to() {
    let stage = Stage::new();
    let host = stage.host();
    let launch = stage.launch(&[]);
    host.ensure(&launch).await.unwrap();
    let serving = told_pid(&until("an answer", || ask(&launch.backend)).await);
    let supervisor = stage.supervisor(&launch.backend);
    for signal in ["HUP", "INT", "QUIT"] {
        kill(supervisor, signal);
    }
    // It still does its work: what crashes comes back.
    kill(serving, "KILL");
    until("another one", || {
        ask(&launch.backend).map(|answer| told_pid(&answer)).filter(|pid| *pid != serving)
    })
    .await;
    assert_eq!(stage.supervisor(&launch.backend), supervisor);
    kill(supervisor, "TERM");
    until("their end", || (stage.processes() == (Vec::new(), Vec::new())).then_some(())).await;
    let seen = host.inspect(&launch.backend).await.unwrap();
    assert!(
        matches!(&seen, BackendState::Ended { detail } if detail.contains("killed by SIGTERM")),
        "{seen:?}"
    );
    assert_eq!(stage.record(&launch.backend, "role")["role"], "live");
    assert_eq!(host.up(std::slice::from_ref(&launch)).await[0].outcome, UpOutcome::Started);
    until("an answer", || ask(&launch.backend)).await;
}

#[tokio::test]
async fn a_supervisor_that_hangs_is_ended_and_its_backend_with_it() {
    let stage = Stage::new();
    let host = stage.host();
    let launch = stage.launch(&[]);
    host.ensure(&launch).await.unwrap();
    until("an answer", || ask(&launch.backend)).await;
    kill(stage.supervisor(&launch.backend), "STOP");
    let retired = host.retire(&launch.backend, Duration::from_secs(20)).await.unwrap();
    assert!(retired.found && !retired.killed);
    until("their end", || (stage.processes() == (Vec::new(), Vec::new())).then_some(())).await;
}

#[tokio::test]
async fn an_idle_supervisor_is_small_and_uses_next_to_no_time() {
    let stage = Stage::new();
    let launch = stage.launch(&[]);
    stage.host().ensure(&launch).await.unwrap();
    until("an answer", || ask(&launch.backend)).await;
    let supervisor = stage.supervisor(&launch.backend);
    let threads = fs::read_dir(format!("/proc/{supervisor}/task")).unwrap().count();
    let status = fs::read_to_string(format!("/proc/{supervisor}/status")).unwrap();
    let field = |name: &str| -> u64 {
        status
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .unwrap()
            .split_whitespace()
            .next()
            .unwrap()
            .parse()
            .unwrap()
    };
    assert_eq!(threads, 1);
    assert!(field("RssAnon:") < 2048, "{} KiB of its own", field("RssAnon:"));
    let wakes = || {
        let status = fs::read_to_string(format!("/proc/{supervisor}/status")).unwrap();
        status
            .lines()
            .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))
            .unwrap()
            .trim()
            .parse::<u64>()
            .unwrap()
    };
    let before = (wakes(), std::time::Instant::now());
    until("a few looks at the log", || (wakes() >= before.0 + 4).then_some(())).await;
    assert!(
        before.1.elapsed() > Duration::from_secs(1),
        "four wakes within {:?}: it is busy",
        before.1.elapsed()
    );
    assert_eq!(number(&stage.record(&launch.backend, "supervisor.json"), "pid"), supervisor);
}
