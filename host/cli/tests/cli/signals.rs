//! Signals while a deployment is being prepared: none is lost, and none leaves anything behind.

use crate::sandbox::Sandbox;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

const IN_CONTAINERS: &str = r#"service = "shop"

[runtime.docker]
image = "shop:1"
container_port = 8080
ports = "18100-18199"
socket = "[folder]/engine.sock"

[switch]
plugin = "nginx-switch"

[plugins.nginx-switch.config]
directory = "/nowhere/agente"
"#;

/// The longest that a run may take to end after a signal, on a machine that is busy.
const PATIENCE: Duration = Duration::from_mins(1);

/// A service in containers of an engine in its own folder.
fn in_containers() -> Sandbox {
    let sandbox = Sandbox::empty();
    let folder = sandbox.folder().display().to_string();
    sandbox.write("agente.toml", &IN_CONTAINERS.replace("[folder]", &folder));
    sandbox.grant(&["nginx-switch"]);
    sandbox
}

/// Starts `deploy` and waits until it asks a Docker Engine that never answers about the image: its
/// plugins are loaded, and nothing is opened yet.
fn preparing(sandbox: &Sandbox, mut command: Command) -> (Child, UnixStream) {
    let engine = UnixListener::bind(sandbox.folder().join("engine.sock")).unwrap();
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (asked, _) = engine.accept().unwrap();
    (child, asked)
}

fn signal(child: &Child, name: &str) {
    let sent = Command::new("kill").args(["-s", name, &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
}

/// Waits for the end and gives exit code and standard error.
fn ended(mut child: Child) -> (Option<i32>, String) {
    let until = Instant::now() + PATIENCE;
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > until {
            child.kill().unwrap();
            let output = child.wait_with_output().unwrap();
            panic!("the signal was lost: {}", String::from_utf8_lossy(&output.stderr));
        }
        sleep(Duration::from_millis(5));
    }
    let output = child.wait_with_output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn a_signal_before_the_deployment_has_begun_ends_it_with_nothing_begun() {
    for name in ["INT", "TERM"] {
        let sandbox = in_containers();
        let (child, _engine) = preparing(&sandbox, sandbox.command(&["deploy"]));
        signal(&child, name);
        let (code, said) = ended(child);
        assert_eq!(code, Some(1), "{name}: {said}");
        assert!(said.contains(&format!("stopped by SIG{name}")), "{name}: {said}");
        let history = sandbox.expect(0, &["history"]);
        assert!(
            history.stderr.contains("has never been deployed from this state directory"),
            "{}",
            history.stderr
        );
    }
}

#[test]
fn sigint_is_heard_where_a_shell_has_it_ignored() {
    let sandbox = in_containers();
    let program = sandbox.command(&["deploy"]);
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' INT; exec \"$0\" \"$@\""]).arg(program.get_program());
    command.args(program.get_args()).current_dir(sandbox.folder()).env_clear();
    command.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let (child, _engine) = preparing(&sandbox, command);
    signal(&child, "INT");
    let (code, said) = ended(child);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("stopped by SIGINT"), "{said}");
}
