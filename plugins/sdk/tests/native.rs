//! The native host does the real thing, and is as strict as the real host.

use agente_plugin_sdk::host::{Command, Host, Process};
use agente_plugin_sdk::native::NativeHost;
use agente_plugin_sdk::{Code, Failure, label};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process;
use std::time::{Duration, Instant};

fn host() -> NativeHost {
    NativeHost::new("shop", "production").with_label("store", "s1").with_secret("token", "value")
}

#[test]
fn writes_are_refused_in_the_read_phase_and_replace_as_one_step_in_the_other() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file").display().to_string();
    let host = host();
    for refused in [
        host.replace_file(&path, b"a", 0o644),
        host.remove_file(&path).map(|_| ()),
        host.signal("pid-file:/nothing", "HUP"),
    ] {
        assert_eq!(refused.map_err(|failure| failure.code), Err(Code::Denied));
    }
    host.writing(|host| host.replace_file(&path, b"a", 0o640)).unwrap();
    host.writing(|host| host.replace_file(&path, b"bc", 0o644)).unwrap();
    assert_eq!(host.read_file(&path).unwrap().as_deref(), Some(b"bc".as_slice()));
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644);
    let entry = host.stat(&path).unwrap().unwrap();
    assert_eq!(
        (entry.kind.as_str(), entry.size_bytes, label(&entry.labels, "mode")),
        ("file", 2, Some("644"))
    );
    let names: Vec<String> = host
        .list_folder(&folder.path().display().to_string())
        .unwrap()
        .into_iter()
        .map(|entry| entry.name)
        .collect();
    assert_eq!(names, ["file"], "nothing temporary is left");
    assert!(host.writing(|host| host.remove_file(&path)).unwrap());
    assert!(!host.writing(|host| host.remove_file(&path)).unwrap());
    assert_eq!(host.stat(&path).unwrap(), None);
}

#[test]
fn a_program_has_an_empty_environment_and_ends_with_its_whole_group_at_the_limit() {
    let host = host();
    let output = host.run(&Command::new("/usr/bin/env", Vec::<String>::new())).unwrap();
    assert_eq!((output.status, output.stdout.as_slice()), (Some(0), b"".as_slice()));
    let began = Instant::now();
    let output = host
        .run(
            &Command::new("/bin/sh", ["-c", "sleep 30 & sleep 30"])
                .wall(Duration::from_millis(300)),
        )
        .unwrap();
    assert!(began.elapsed() < Duration::from_secs(10), "the second sleeper held the pipe");
    assert_eq!((output.status, label(&output.labels, "timed-out")), (None, Some("true")));
    let mut echo = Command::new("/bin/sh", ["-c", "cat; echo err >&2; exit 3"]);
    echo.stdin = b"in".to_vec();
    let output = host.run(&echo).unwrap();
    assert_eq!((output.status, output.text().as_str()), (Some(3), "in\nerr\n"));
}

#[test]
fn a_pid_file_can_fail_in_three_ways() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pid");
    let of = format!("pid-file:{}", path.display());
    let reason = |failure: Failure| label(&failure.labels, "reason").unwrap().to_owned();
    let host = host();
    assert_eq!(reason(host.process_tree(&of).unwrap_err()), "no-pid-file");
    std::fs::write(&path, "\n").unwrap();
    assert_eq!(reason(host.process_tree(&of).unwrap_err()), "bad-pid-file");
    let mut ended = process::Command::new("true").spawn().unwrap();
    ended.wait().unwrap();
    std::fs::write(&path, ended.id().to_string()).unwrap();
    assert_eq!(reason(host.process_tree(&of).unwrap_err()), "not-running");
    std::fs::write(&path, process::id().to_string()).unwrap();
    let mut child = process::Command::new("sleep").arg("30").spawn().unwrap();
    // A child has no title yet while it becomes the program.
    let found = |tree: &[Process]| {
        tree.iter().any(|process| {
            process.pid == child.id()
                && process.parent == process::id()
                && process.title == "sleep 30"
        })
    };
    let begun = Instant::now();
    let mut tree = host.process_tree(&of).unwrap();
    while !found(&tree) && begun.elapsed() < Duration::from_secs(10) {
        tree = host.process_tree(&of).unwrap();
    }
    assert!(found(&tree), "{tree:?}");
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn connections_are_those_of_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pid");
    std::fs::write(&path, process::id().to_string()).unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let stream = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let found = host().connections(&format!("pid-file:{}", path.display())).unwrap();
    let (local, remote) =
        (stream.local_addr().unwrap().to_string(), stream.peer_addr().unwrap().to_string());
    assert!(
        found
            .iter()
            .any(|one| one.local == local && one.remote == remote && one.pid == process::id()),
        "{found:?}"
    );
}

#[test]
fn a_log_is_read_from_its_mark_also_after_it_was_rotated() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let text = path.display().to_string();
    let host = host();
    assert_eq!(host.log_mark(&text).unwrap(), 0, "no log yet");
    std::fs::write(&path, "old line\n").unwrap();
    let mark = host.log_mark(&text).unwrap();
    std::fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"new line\n").unwrap();
    assert_eq!(host.log_since(&text, mark, 1000).unwrap(), b"new line\n");
    assert_eq!(host.log_since(&text, mark, 5).unwrap(), b"line\n", "the newest");
    std::fs::write(&path, "short\n").unwrap();
    assert_eq!(host.log_since(&text, mark, 1000).unwrap(), b"short\n");
}

#[test]
fn memory_has_its_limit() {
    let host = host();
    host.memory_set("a", Some(&vec![0; 60_000])).unwrap();
    assert_eq!(host.memory_set("b", Some(&vec![0; 10_000])).unwrap_err().code, Code::Denied);
    host.memory_set("a", None).unwrap();
    host.memory_set("b", Some(&vec![0; 10_000])).unwrap();
    assert_eq!(host.memory_get("a").unwrap(), None);
}
