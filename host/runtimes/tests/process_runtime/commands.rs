//! Programs and processes of this machine.

use crate::stage::{Bystander, is_alive, until};
use agente_engine::fault::FaultKind;
use agente_engine::ports::{CommandPlace, CommandSpec, Commands, ProcessError, ProcessTarget};
use agente_runtimes::commands::{AnyCommands, HostCommands};
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

fn host() -> AnyCommands {
    AnyCommands::new(HostCommands, None)
}

fn command(argv: &[&str]) -> CommandSpec {
    CommandSpec {
        argv: argv.iter().map(|&word| word.to_owned()).collect(),
        stdin: Vec::new(),
        env: BTreeMap::new(),
        cwd: None,
        wall: Duration::from_secs(30),
        max_output_bytes: 64 * 1024,
        place: CommandPlace::Host,
        lock: None,
    }
}

fn shell(script: &str) -> CommandSpec {
    command(&["/bin/sh", "-c", script])
}

/// The processes whose command line holds this text.
fn with_line(text: &str) -> Vec<u32> {
    let pids = fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str().and_then(|name| name.parse().ok()));
    pids.filter(|pid: &u32| *pid != std::process::id() && is_alive(*pid))
        .filter(|pid| {
            fs::read_to_string(format!("/proc/{pid}/cmdline"))
                .is_ok_and(|line| line.replace('\0', " ").contains(text))
        })
        .collect()
}

/// A sleep that no other process does.
fn own_sleep() -> String {
    static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    format!(
        "{}.{:06}",
        600 + std::process::id() % 1000,
        NEXT.fetch_add(1, std::sync::atomic::Ordering::SeqCst)
    )
}

#[tokio::test]
async fn a_program_gets_its_arguments_environment_folder_and_input_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let mut spec =
        command(&["/usr/bin/env", "-S", "/bin/sh -c 'env; pwd; cat; echo problem >&2; exit 7'"]);
    spec.env.insert("ONLY".to_owned(), "this one".to_owned());
    spec.stdin = b"typed\n".to_vec();
    spec.cwd = Some(folder.path().canonicalize().unwrap().display().to_string());
    let output = host().run(&spec).await.unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(
        (output.status, output.signal, output.timed_out, output.truncated),
        (Some(7), None, false, false)
    );
    assert!(
        text.contains("ONLY=this one\n")
            && text.ends_with(&format!("{}\ntyped\n", spec.cwd.unwrap())),
        "{text}"
    );
    assert!(!text.contains("HOME=") && !text.contains("CARGO"), "{text}");
    assert_eq!(output.stderr, b"problem\n");
}

#[tokio::test]
async fn words_are_never_given_to_a_shell() {
    let output = host().run(&command(&["/bin/echo", "$HOME;", "`id`", "a b"])).await.unwrap();
    assert_eq!(output.stdout, b"$HOME; `id` a b\n");
    let fault = host().run(&command(&["echo", "x"])).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::InvalidConfig);
    let fault = host().run(&command(&["/no/such/program"])).await.unwrap_err();
    assert!(
        fault.message.contains("`/no/such/program`") && fault.hint.unwrap().contains("install")
    );
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("script");
    fs::write(&script, "echo run by a shell\n").unwrap();
    fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    assert!(
        host().run(&command(&[script.to_str().unwrap()])).await.is_err(),
        "a text without `#!` is no program"
    );
}

#[tokio::test]
async fn output_beyond_the_cap_is_dropped_without_holding_the_program_up() {
    let mut spec = shell("head -c 3000000 /dev/zero; echo done >&2");
    spec.max_output_bytes = 1000;
    let output = host().run(&spec).await.unwrap();
    assert_eq!((output.stdout.len(), output.truncated, output.status), (1000, true, Some(0)));
    assert_eq!(output.stderr, b"done\n");
}

#[tokio::test]
async fn input_that_is_not_read_is_no_error() {
    let mut spec = command(&["/bin/true"]);
    spec.stdin = vec![0; 1_000_000];
    assert_eq!(host().run(&spec).await.unwrap().status, Some(0));
}

#[tokio::test]
async fn at_its_limit_a_program_ends_with_all_of_its_group() {
    let sleep = own_sleep();
    let mut spec = shell(&format!("echo begun; sleep {sleep} & sleep {sleep}"));
    spec.wall = Duration::from_millis(400);
    let output = host().run(&spec).await.unwrap();
    assert!(output.timed_out);
    assert_eq!(
        (output.status, output.signal, output.stdout.as_slice()),
        (None, Some(9), &b"begun\n"[..])
    );
    until("the group's end", || with_line(&sleep).is_empty().then_some(())).await;
}

#[test]
fn at_its_limit_a_program_of_another_user_holds_nobody_up() {
    let sleep = own_sleep();
    let mut spec = shell(&format!("echo begun; exec sleep {sleep}"));
    spec.wall = Duration::from_secs(2);
    let line = format!("sleep {sleep}");
    let seen = line.clone();
    // The program stays who it is, and the thread that runs it becomes nobody: it may not kill it
    // any more.
    let output = std::thread::spawn(move || {
        let one = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        one.block_on(async {
            let commands = host();
            let change = async {
                until("the sleep", || (!with_line(&seen).is_empty()).then_some(())).await;
                let nobody = rustix::process::Uid::from_raw(65534);
                rustix::thread::set_thread_res_uid(nobody, nobody, nobody)
                    .expect("a thread that becomes nobody");
            };
            tokio::join!(commands.run(&spec), change).0
        })
    })
    .join();
    // Nobody was held up: the program still sleeps.
    let left = with_line(&line);
    for pid in &left {
        crate::stage::kill(*pid, "KILL");
    }
    let output = output.unwrap().unwrap();
    assert!(output.timed_out);
    assert_eq!(
        (output.status, output.signal, output.stdout.as_slice(), left.len()),
        (None, None, &b"begun\n"[..], 1)
    );
    let one = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let number = format!("/proc/{}", left[0]);
    one.block_on(until("it to be waited for once it has ended", || {
        (!std::path::Path::new(&number).exists()).then_some(())
    }));
}

#[tokio::test]
async fn what_a_program_leaves_in_its_group_ends_with_it() {
    let sleep = own_sleep();
    // An open stream of what is left holds nobody up: else this would end at its limit.
    let output = host().run(&shell(&format!("sleep {sleep} & echo done"))).await.unwrap();
    assert_eq!(
        (output.stdout.as_slice(), output.status, output.timed_out),
        (&b"done\n"[..], Some(0), false)
    );
    until("the group's end", || with_line(&sleep).is_empty().then_some(())).await;
}

#[tokio::test]
async fn a_call_that_is_dropped_kills_the_group() {
    let sleep = own_sleep();
    let spec = shell(&format!("sleep {sleep} & sleep {sleep}"));
    let call = tokio::spawn(async move { host().run(&spec).await });
    until("two sleeps", || (with_line(&format!("sleep {sleep}")).len() >= 2).then_some(())).await;
    call.abort();
    until("the group's end", || with_line(&sleep).is_empty().then_some(())).await;
}

#[tokio::test]
async fn the_tree_of_a_pid_file_is_its_process_and_its_descendants_parents_first() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pid");
    let sleep = own_sleep();
    let script = format!("sh -c 'sleep {sleep}; true'; true");
    let mut top = Bystander(
        Command::new("/bin/sh")
            .args(["-c", &script])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap(),
    );
    fs::write(&file, format!("{}\n", top.0.id())).unwrap();
    let target = ProcessTarget::PidFile(file.display().to_string());
    until("the sleep", || (with_line(&sleep).len() >= 3).then_some(())).await;
    let tree = host().tree(&target).await.unwrap();
    assert_eq!(tree.len(), 3, "{tree:?}");
    assert_eq!(
        (tree[0].pid, tree[1].parent, tree[2].parent),
        (top.0.id(), tree[0].pid, tree[1].pid)
    );
    assert_eq!(tree[2].title, format!("sleep {sleep}"));
    let now =
        u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap();
    assert!(
        tree.iter()
            .all(|process| process.started_ms + 60_000 > now && process.started_ms <= now + 100),
        "{tree:?} at {now}"
    );
    assert_eq!(host().tree(&target).await.unwrap(), tree, "the same answer each time");
    for process in tree.iter().rev() {
        crate::stage::kill(process.pid, "KILL");
    }
    top.0.wait().unwrap();
    assert!(matches!(host().tree(&target).await, Err(ProcessError::NotRunning(_))));
    fs::write(&file, "nginx\n").unwrap();
    assert!(matches!(host().tree(&target).await, Err(ProcessError::BadPidFile(_))));
    fs::write(&file, "-1").unwrap();
    assert!(matches!(host().signal(&target, "HUP").await, Err(ProcessError::BadPidFile(_))));
    fs::remove_file(&file).unwrap();
    assert!(matches!(host().connections(&target).await, Err(ProcessError::NoPidFile(_))));
}

#[tokio::test]
async fn established_connections_are_told_with_their_process() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pid");
    fs::write(&file, std::process::id().to_string()).unwrap();
    let target = ProcessTarget::PidFile(file.display().to_string());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let six = TcpListener::bind("[::1]:0").unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let client_six = TcpStream::connect(six.local_addr().unwrap()).unwrap();
    let (server, _) = listener.accept().unwrap();
    client.write_all(b"x").unwrap();
    let find = |all: &[agente_engine::ports::ConnectionInfo], stream: &TcpStream| {
        let (local, remote) =
            (stream.local_addr().unwrap().to_string(), stream.peer_addr().unwrap().to_string());
        all.iter()
            .find(|connection| connection.local == local && connection.remote == remote)
            .map(|connection| connection.pid)
    };
    let open = host().connections(&target).await.unwrap();
    for stream in [&client, &client_six, &server] {
        assert_eq!(find(&open, stream), Some(std::process::id()));
    }
    assert!(open.iter().all(|connection| connection.remote != "0.0.0.0:0"), "no listeners");
    let addresses =
        (client.local_addr().unwrap().to_string(), client.peer_addr().unwrap().to_string());
    drop((client, server));
    let left = host().connections(&target).await.unwrap();
    assert!(
        !left
            .iter()
            .any(|connection| connection.local == addresses.0 && connection.remote == addresses.1),
        "a closed one is not told"
    );
}

#[tokio::test]
async fn a_signal_goes_to_the_process_of_the_pid_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pid");
    let target = ProcessTarget::PidFile(file.display().to_string());
    let mut process = Bystander::sleeping();
    fs::write(&file, process.0.id().to_string()).unwrap();
    let Err(ProcessError::Other(fault)) = host().signal(&target, "SIGHUP").await else {
        panic!("signals are named without `SIG`");
    };
    assert_eq!(fault.kind, FaultKind::InvalidConfig);
    host().signal(&target, "USR1").await.unwrap();
    assert_eq!(process.0.wait().unwrap().signal(), Some(10));
    assert!(matches!(host().signal(&target, "USR1").await, Err(ProcessError::NotRunning(_))));
}

#[tokio::test]
async fn without_a_container_engine_containers_are_unsupported() {
    let target = ProcessTarget::Container("shop".to_owned());
    let Err(ProcessError::Other(fault)) = host().tree(&target).await else {
        panic!("there is no engine that knows containers");
    };
    assert_eq!(fault.kind, FaultKind::Unsupported);
    assert!(fault.message.contains("`shop`"), "{fault}");
    let mut spec = command(&["/bin/true"]);
    spec.place = CommandPlace::Image("shop:2".to_owned());
    assert_eq!(host().run(&spec).await.unwrap_err().kind, FaultKind::Unsupported);
}

#[tokio::test]
async fn a_log_is_read_from_its_mark() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("error.log").display().to_string();
    fs::write(&path, "before\n").unwrap();
    let mark = host().log_mark(&path).await.unwrap();
    fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"after\n").unwrap();
    assert_eq!(host().log_since(&path, mark, 1000).await.unwrap(), b"after\n");
}
