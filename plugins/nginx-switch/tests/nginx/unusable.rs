//! NGINX can't be used: each cause has its own clear word, and features say what to do before
//! anything is touched.

use crate::rig::{App, Nginx, Switch, program, signal, wait_for};
use agente_plugin_sdk::{Code, Failure, label};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

const SCOPE: &str = "shop/production";

/// Every operation says the same, and none changes anything.
#[track_caller]
fn all_say(switch: &Switch, blue: &App, code: Code, words: &str) -> Failure {
    let before = switch.bytes();
    let failures = [
        switch.features().unwrap_err(),
        switch.observe().unwrap_err(),
        switch.apply(&switch.desired(None, Some((10_000, blue)))).unwrap_err(),
    ];
    for failure in &failures {
        assert_eq!(failure.code, code, "{failure}");
        assert!(failure.message.contains(words), "{failure}");
        assert!(failure.hint.is_some(), "{failure}");
    }
    assert_eq!(switch.bytes(), before);
    failures.into_iter().next().unwrap()
}

fn live() -> (Nginx, App, Switch) {
    let nginx = Nginx::start();
    let blue = App::start("blue");
    let switch = Switch::new(&nginx, SCOPE);
    switch.switch(&switch.desired(Some((10_000, &blue)), None));
    (nginx, blue, switch)
}

#[test]
fn a_stopped_nginx() {
    let (mut nginx, blue, switch) = live();
    nginx.stop();
    let failure =
        all_say(&switch, &blue, Code::Unavailable, "NGINX is not running: there is no pid file");
    assert!(failure.retryable);
}

#[test]
fn a_pid_file_that_is_missing_while_nginx_runs() {
    let (nginx, blue, switch) = live();
    let pid_file = nginx.path("nginx.pid");
    let text = std::fs::read_to_string(&pid_file).unwrap();
    std::fs::remove_file(&pid_file).unwrap();
    all_say(&switch, &blue, Code::Unavailable, "is missing, although NGINX answers at");
    std::fs::write(&pid_file, "").unwrap();
    all_say(&switch, &blue, Code::Unavailable, "contains no pid");
    std::fs::write(&pid_file, text).unwrap();
    switch.observe().unwrap();
}

#[test]
fn a_stale_pid_file() {
    let (mut nginx, blue, switch) = live();
    let pid = nginx.master();
    nginx.stop();
    std::fs::write(nginx.path("nginx.pid"), pid.to_string()).unwrap();
    all_say(&switch, &blue, Code::Unavailable, "is stale: its process is not running");
}

#[test]
fn a_pid_file_that_names_another_program() {
    let (mut nginx, blue, switch) = live();
    nginx.stop();
    let mut sleeper = Command::new("sleep").arg("60").spawn().unwrap();
    std::fs::write(nginx.path("nginx.pid"), sleeper.id().to_string()).unwrap();
    let failure = all_say(&switch, &blue, Code::Unavailable, "not an NGINX master");
    assert!(failure.message.contains("`sleep 60`"), "{failure}");
    sleeper.kill().unwrap();
    sleeper.wait().unwrap();
}

#[test]
fn a_dead_master_whose_workers_still_serve() {
    let (mut nginx, blue, switch) = live();
    let workers = nginx.workers(&switch.host);
    nginx.kill_master();
    let failure = all_say(&switch, &blue, Code::Unavailable, "NGINX's master is dead");
    assert_eq!(label(&failure.labels, "reason"), Some("not-running"));
    for worker in workers {
        signal(worker.pid, "KILL");
    }
}

#[test]
fn an_nginx_that_was_started_with_another_configuration() {
    let (nginx, blue, switch) = live();
    let other = nginx.path("other.conf");
    std::fs::copy(nginx.conf(), &other).unwrap();
    let mut other_switch = Switch::with(&nginx, SCOPE, &format!(r#"{{ "conf": "{other}" }}"#));
    other_switch.host = switch.host;
    let failure = all_say(
        &other_switch,
        &blue,
        Code::Conflict,
        &format!("was started with `-c {}`", nginx.conf()),
    );
    assert_eq!(label(&failure.labels, "reason"), Some("other-conf"));
}

#[test]
fn a_marker_that_another_nginx_answers() {
    let (first, blue, switch) = live();
    let second = Nginx::start();
    let section = format!(
        r#"{{ "conf": "{}", "prefix": "{}", "pid_file": "{}", "error_log": "{}" }}"#,
        second.conf(),
        second.path(""),
        second.path("nginx.pid"),
        second.path("error.log")
    );
    let mut mixed = Switch::with(&first, SCOPE, &section);
    mixed.host = switch.host;
    let failure = mixed.observe().unwrap_err();
    assert_eq!(
        (failure.code, label(&failure.labels, "reason")),
        (Code::Conflict, Some("other-instance")),
        "{failure}"
    );
    let failure = mixed.features().unwrap_err();
    assert_eq!(label(&failure.labels, "reason"), Some("not-included"), "{failure}");
    // A pid file that the configuration does not write.
    std::fs::copy(second.path("nginx.pid"), second.path("copy.pid")).unwrap();
    let copy = Switch::with(
        &second,
        SCOPE,
        &format!(r#"{{ "pid_file": "{}" }}"#, second.path("copy.pid")),
    );
    let failure = copy.features().unwrap_err();
    assert_eq!(label(&failure.labels, "reason"), Some("other-instance"), "{failure}");
    assert_eq!(failure.hint, Some(format!("set `pid_file = \"{}\"`", second.path("nginx.pid"))));
    drop(blue);
}

#[test]
fn a_folder_that_is_not_included_or_not_there() {
    let nginx = Nginx::start();
    let blue = App::start("blue");
    let elsewhere = nginx.path("elsewhere");
    let switch = Switch::with(&nginx, SCOPE, &format!(r#"{{ "directory": "{elsewhere}" }}"#));
    let failure = switch.features().unwrap_err();
    assert!(
        failure.message.contains(&format!("the directory `{elsewhere}` does not exist")),
        "{failure}"
    );
    std::fs::create_dir(&elsewhere).unwrap();
    let failure = switch.features().unwrap_err();
    assert!(failure.message.contains("does not include"), "{failure}");
    assert!(failure.hint.unwrap().contains(&format!("include {elsewhere}/*.conf;")));
    let failure = switch.apply(&switch.desired(Some((10_000, &blue)), None)).unwrap_err();
    assert!(failure.message.contains("does not include"), "{failure}");
    assert_eq!(switch.bytes(), None, "put back as it was");
}

#[test]
fn names_that_another_file_defines() {
    for (http, words) in [
        (
            "map $host $agente_shop_production_pool { default x; }",
            "the variable `$agente_shop_production_pool`",
        ),
        (
            "upstream agente_shop_production_blue { server 127.0.0.1:9; }",
            "the upstream `agente_shop_production_blue`",
        ),
    ] {
        let nginx = Nginx::start_with(http, &[SCOPE]);
        let blue = App::start("blue");
        let switch = Switch::new(&nginx, SCOPE);
        let failure = switch.features().unwrap_err();
        assert_eq!(failure.code, Code::Conflict);
        assert!(
            failure.message.contains(words) && failure.message.contains(&nginx.conf()),
            "{failure}"
        );
        let failure = switch.apply(&switch.desired(Some((10_000, &blue)), None)).unwrap_err();
        assert!(failure.message.contains("agente_shop_production_"), "{failure}");
        assert_eq!(switch.bytes(), None);
    }
}

#[test]
fn a_version_that_is_too_old_or_no_nginx() {
    let nginx = Nginx::start();
    for (says, words) in [
        ("nginx version: nginx/1.16.1", "NGINX 1.16.1 is too old"),
        ("lighttpd", "does not behave like NGINX"),
    ] {
        let old = nginx.path("old-nginx");
        std::fs::write(
            &old,
            format!(
                "#!/bin/sh\nif [ \"$1\" = -v ]; then echo '{says}' >&2; exit 0; fi\nexec {} \
                 \"$@\"\n",
                program()
            ),
        )
        .unwrap();
        std::fs::set_permissions(&old, std::fs::Permissions::from_mode(0o755)).unwrap();
        let switch = Switch::with(&nginx, SCOPE, &format!(r#"{{ "nginx": "{old}" }}"#));
        let failure = wait_for("the script to be executable", || {
            switch.features().err().filter(|failure| !failure.message.contains("busy"))
        });
        assert_eq!(failure.code, Code::Unsupported);
        assert!(failure.message.contains(words), "{failure}");
    }
}

#[test]
fn what_the_operator_should_know_is_a_warning_each() {
    let nginx = Nginx::start();
    let switch = Switch::with(
        &nginx,
        SCOPE,
        &format!(r#"{{ "error_log": "{}" }}"#, nginx.path("other.log")),
    );
    let text = std::fs::read_to_string(nginx.conf()).unwrap();
    std::fs::write(nginx.conf(), format!("worker_shutdown_timeout 5s;\n{text}")).unwrap();
    let features = switch.features().unwrap();
    let warnings = features.warnings.join("\n");
    for words in [
        "keep-alive clients may see resets",
        "`worker_shutdown_timeout 5s` cuts requests",
        "`error_log` is",
        "`proxy_pass http://$agente_shop_production_pool;`",
        "`add_header X-Agente-Slot $agente_shop_production_slot always;`",
    ] {
        assert!(warnings.contains(words), "{words} is not in\n{warnings}");
    }
    assert_eq!(features.lock_key, format!("nginx:{}:{}", nginx.conf(), nginx.path("nginx.pid")));
}

#[test]
fn reading_never_writes() {
    let nginx = Nginx::start();
    let blue = App::start("blue");
    let switch = Switch::new(&nginx, SCOPE);
    switch.features().unwrap();
    switch.plan(&switch.desired(Some((10_000, &blue)), None));
    switch.observe().unwrap();
    switch.drain(&blue);
    assert_eq!(std::fs::read_dir(nginx.path("agente")).unwrap().count(), 0);
    // The host of these tests refuses each write outside the write phase.
    let failure = <nginx_switch::NginxSwitch as agente_plugin_sdk::TrafficSwitcher>::apply(
        &switch.host,
        &switch.config,
        "op",
        &switch.desired(Some((10_000, &blue)), None),
    )
    .unwrap_err();
    assert_eq!(failure.code, Code::Denied, "{failure}");
}
