//! Programs, processes, logs and what goes into their environment.

use crate::fixture::{SECRET, World, words};
use agente_engine::fault::FaultKind;
use agente_engine::ports::TrafficSwitcher as _;
use agente_wasm::{GrantSource, OperationContext, PluginKind};
use serde_json::json;

#[tokio::test]
async fn a_granted_program_runs_without_the_environment_of_the_host() {
    let world = World::default();
    let env = world.look(json!({ "act": "run", "program": "/usr/bin/env", "args": [], "may": { "run": "/usr/bin/env" } })).await.unwrap();
    assert_eq!(env, "Some(0) ");
    let env = world.look(json!({ "act": "run", "program": "/usr/bin/env", "args": [], "env": ["GREETING"], "may": { "run": "/usr/bin/env" } })).await.unwrap();
    assert_eq!(env, "Some(0) GREETING=hello\n");
    let fault = world.look(json!({ "act": "run", "program": "/usr/bin/env", "env": ["HOME"], "may": { "run": "/usr/bin/env" } })).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Denied);
}

#[tokio::test]
async fn a_program_or_an_argument_that_was_not_granted_is_denied_with_the_line() {
    let run = |program: &str, args: &[&str]| json!({ "act": "run", "program": program, "args": args, "may": { "change": "/bin/sh" } });
    let world = World::default();
    assert_eq!(world.change(run("/bin/sh", &["-c", "echo well"])).await.unwrap(), "Some(0) well\n");
    for config in [
        run("/bin/true", &[]),
        run("sh", &["-c", "echo x"]),
        run("/bin/sh", &["-c", "rm x"]),
        run("/bin/sh", &["-c", "echo x", "y"]),
        run("/bin/sh", &[]),
    ] {
        let failure = world.change(config.clone()).await.unwrap_err();
        assert_eq!(failure.fault().kind, FaultKind::Denied, "{config}");
    }
    let fault = world.change(run("/bin/sh", &["-c", "rm x"])).await.unwrap_err();
    assert!(
        words(fault.fault()).contains(
            r#"exec = [{ program = "/bin/sh", args = ["-c", "rm x"], phase = "write" }]"#
        ),
        "{}",
        words(fault.fault())
    );
}

#[tokio::test]
async fn a_program_that_changes_something_does_not_run_while_only_looking() {
    let fault =
        World::default().look(json!({ "act": "run", "program": "/bin/sh", "args": ["-c", "echo x"], "may": { "change": "/bin/sh" } })).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Denied);
    assert!(words(&fault).contains("phase = \"read\""), "{}", words(&fault));
}

#[tokio::test]
async fn a_program_runs_only_where_it_was_granted() {
    let config = json!({ "act": "run", "program": "/usr/bin/env", "place": "container:web", "may": { "run": "/usr/bin/env" } });
    let fault = World::default().look(config).await.unwrap_err();
    assert!(words(&fault).contains(r#"place = "container:web""#), "{}", words(&fault));
}

#[tokio::test]
async fn the_operators_prefix_comes_before_the_command() {
    let world = World::default();
    let config = json!({ "act": "run", "program": "/usr/bin/id", "args": ["x"], "may": { "run": "/usr/bin/id" } });
    let mut granted = world.load(config.clone()).await.asks().clone();
    granted.exec[0].prefix = vec!["/bin/echo".to_owned(), "-n".to_owned()];
    let plugin = world
        .try_load(PluginKind::TrafficSwitcher, "", config, GrantSource::Only(&granted))
        .await
        .unwrap();
    let said = plugin
        .switcher(OperationContext::default())
        .unwrap()
        .plan(&crate::fixture::nothing_new())
        .await
        .unwrap();
    assert_eq!(said, "Some(0) /usr/bin/id x");
}

#[tokio::test]
async fn what_was_asked_for_but_not_granted_is_denied() {
    let world = World::default();
    let config =
        json!({ "act": "run", "program": "/usr/bin/env", "may": { "run": "/usr/bin/env" } });
    let mut granted = world.load(config.clone()).await.asks().clone();
    granted.exec.clear();
    let plugin = world
        .try_load(PluginKind::TrafficSwitcher, "", config, GrantSource::Only(&granted))
        .await
        .unwrap();
    let fault = plugin
        .switcher(OperationContext::default())
        .unwrap()
        .plan(&crate::fixture::nothing_new())
        .await
        .unwrap_err();
    assert!(fault.message.contains("it was not granted"), "{}", fault.message);
    assert!(words(&fault).contains("agente.lock"), "{}", words(&fault));
    // The other way round: a grant of what was never asked for gives nothing.
    let config = json!({ "act": "run", "program": "/usr/bin/env" });
    let generous = world.load(json!({ "may": { "run": "/usr/bin/env" } })).await.asks().clone();
    let plugin = world
        .try_load(PluginKind::TrafficSwitcher, "", config, GrantSource::Only(&generous))
        .await
        .unwrap();
    let fault = plugin
        .switcher(OperationContext::default())
        .unwrap()
        .plan(&crate::fixture::nothing_new())
        .await
        .unwrap_err();
    assert!(fault.message.contains("its request does not include that"), "{}", fault.message);
}

#[tokio::test]
async fn a_secret_goes_into_the_environment_of_a_program_and_never_into_a_message() {
    let world = World::default();
    let run = |script: &str| json!({ "act": "run", "program": "/bin/sh", "args": ["-c", script], "env": ["token"], "may": { "run": "/bin/sh", "pass": "token" } });
    assert_eq!(
        world.look(run("echo ${#TOKEN}")).await.unwrap(),
        format!("Some(0) {}\n", SECRET.len())
    );
    // The program has the value; the plugin has not, though the program tells it.
    assert_eq!(
        world.look(run("echo $TOKEN | tail -c 4; echo \"<$TOKEN>\"")).await.unwrap(),
        "Some(0) day\n<[redacted]>\n"
    );
    assert!(!format!("{:?}{:?}", world.recorded(), world.messages()).contains(SECRET));
    let config = json!({ "act": "run", "program": "/usr/bin/env", "env": ["token"], "may": { "run": "/usr/bin/env" } });
    assert_eq!(world.look(config).await.unwrap_err().kind, FaultKind::Denied);
}

#[tokio::test]
async fn a_revealed_secret_is_masked_in_what_the_plugin_says() {
    let world = World::default();
    let config = json!({ "act": "reveal", "secret": "token", "may": { "reveal": "token" } });
    let plugin = world
        .try_load(PluginKind::TrafficSwitcher, "reveal", config, GrantSource::Everything)
        .await
        .unwrap();
    let said = plugin
        .switcher(OperationContext::default())
        .unwrap()
        .plan(&crate::fixture::nothing_new())
        .await
        .unwrap();
    assert!(said.starts_with(&format!("{} characters", SECRET.len())), "{said}");
    assert!(!said.contains(SECRET), "{said}");
    assert_eq!(world.messages()[0].message, "the value is [redacted]");
}

#[tokio::test]
async fn processes_and_logs_are_reached_as_granted() {
    let folder = tempfile::tempdir().unwrap();
    let pid_file = folder.path().join("pid");
    let log = folder.path().join("log");
    std::fs::write(&log, "old lines and new").unwrap();
    let mut child = std::process::Command::new("/bin/sleep").arg("60").spawn().unwrap();
    std::fs::write(&pid_file, child.id().to_string()).unwrap();
    let of = format!("pid-file:{}", pid_file.display());
    let world = World::default();
    assert_eq!(
        world.look(json!({ "act": "tree", "of": of, "may": { "watch": of } })).await.unwrap(),
        child.id().to_string()
    );
    let fault = world
        .look(json!({ "act": "signal", "of": of, "signal": "HUP", "may": { "watch": of } }))
        .await
        .unwrap_err();
    assert!(fault.message.contains("the operation is read-only"), "{}", fault.message);
    let failure = world
        .change(json!({ "act": "signal", "of": of, "signal": "KILL", "may": { "watch": of } }))
        .await
        .unwrap_err();
    assert_eq!(failure.fault().kind, FaultKind::Denied);
    assert_eq!(
        world
            .change(json!({ "act": "signal", "of": of, "signal": "HUP", "may": { "watch": of } }))
            .await
            .unwrap(),
        "sent"
    );
    assert!(!child.wait().unwrap().success());
    assert_eq!(
        world
            .look(json!({ "act": "log-since", "path": log, "may": { "follow": log } }))
            .await
            .unwrap(),
        "d new"
    );
    assert_eq!(
        world
            .look(
                json!({ "act": "log-since", "path": "/var/log/syslog", "may": { "follow": log } })
            )
            .await
            .unwrap_err()
            .kind,
        FaultKind::Denied
    );
}
