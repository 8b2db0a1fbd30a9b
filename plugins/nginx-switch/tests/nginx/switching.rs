//! Switching, adopting, looking, and doing nothing twice.

use crate::client::ask;
use crate::rig::{App, Nginx, Switch, rule};
use agente_plugin_sdk::Desired;
use agente_plugin_sdk::label;
use agente_plugin_sdk::traffic::ObservedState;

const SCOPE: &str = "shop/production";

#[test]
fn a_service_is_adopted_before_its_server_uses_the_pool_and_then_switched() {
    let nginx = Nginx::start();
    let (blue, green) = (App::start("blue"), App::start("green"));
    let switch = Switch::new(&nginx, SCOPE);
    assert_eq!(switch.observe().unwrap().state, ObservedState::Absent);
    let features = switch.features().unwrap();
    assert_eq!(label(&features.labels, "routed"), Some("false"));
    assert!(!features.names.contains(&"outside-identity".to_owned()));

    let seen = switch.switch(&switch.desired(Some((10_000, &blue)), None));
    assert_eq!(seen.routes[0].weight, 10_000);
    assert_eq!(
        ask(&nginx, SCOPE, "/", &[]).text(),
        "plain",
        "the operator has not changed the server yet"
    );

    nginx.configure("", &[SCOPE], true);
    nginx.reload(&switch.host);
    assert_eq!(
        switch.settle().state,
        ObservedState::Converged,
        "an operator's reload changes nothing of ours"
    );
    let answer = ask(&nginx, SCOPE, "/", &[]);
    assert_eq!((answer.text().as_str(), answer.header("x-agente-slot")), ("blue", Some("blue")));
    let features = switch.features().unwrap();
    assert_eq!(label(&features.labels, "routed"), Some("true"));
    assert_eq!(label(&features.labels, "public-identity-header"), Some("X-Agente-Slot"));

    switch.switch(&switch.desired(Some((0, &blue)), Some((10_000, &green))));
    for _ in 0..20 {
        let answer = ask(&nginx, SCOPE, "/", &[]);
        assert_eq!(
            (answer.text().as_str(), answer.header("x-agente-slot")),
            ("green", Some("green"))
        );
    }
    switch.switch(&switch.desired(Some((10_000, &blue)), Some((0, &green))));
    assert_eq!(ask(&nginx, SCOPE, "/", &[]).text(), "blue", "the way back is the same way");
}

#[test]
fn the_same_input_gives_the_same_bytes_and_no_second_reload() {
    let nginx = Nginx::start();
    let blue = App::start("blue");
    let switch = Switch::new(&nginx, SCOPE);
    let wanted = switch.desired(Some((10_000, &blue)), None);
    let first = switch.switch(&wanted);
    let (bytes, workers) = (switch.bytes(), nginx.accepting(&switch.host));
    assert_eq!(switch.plan(&wanted), "");
    let again = switch.apply(&wanted).unwrap();
    assert_eq!((again.state, &again.generation), (ObservedState::Converged, &first.generation));
    assert_eq!(switch.bytes(), bytes);
    switch.host.forget();
    assert_eq!(
        switch.apply(&wanted).unwrap().state,
        ObservedState::Converged,
        "not even without a memory"
    );
    assert_eq!(nginx.accepting(&switch.host), workers, "no worker was replaced");
}

#[test]
fn two_calls_in_a_row_tell_nginx_once() {
    let nginx = Nginx::start();
    let blue = App::start("blue");
    let switch = Switch::new(&nginx, SCOPE);
    let wanted = switch.desired(Some((10_000, &blue)), None);
    switch.apply(&wanted).unwrap();
    switch.apply(&wanted).unwrap();
    assert_eq!(switch.settle().state, ObservedState::Converged);
    let log = std::fs::read_to_string(nginx.path("error.log")).unwrap();
    assert_eq!(log.matches("(SIGHUP) received").count(), 1, "{log}");
}

#[test]
fn a_higher_token_is_written_without_a_reload_and_a_lower_one_refused() {
    let nginx = Nginx::start();
    let blue = App::start("blue");
    let mut switch = Switch::new(&nginx, SCOPE);
    switch.fence = 7;
    switch.switch(&switch.desired(Some((10_000, &blue)), None));
    let workers = nginx.accepting(&switch.host);
    switch.fence = 8;
    let seen = switch.apply(&switch.desired(Some((10_000, &blue)), None)).unwrap();
    assert_eq!((seen.state, seen.fence), (ObservedState::Converged, 8));
    assert_eq!(nginx.accepting(&switch.host), workers);
    switch.fence = 7;
    let before = switch.bytes();
    let failure = switch.apply(&switch.desired(None, Some((10_000, &blue)))).unwrap_err();
    assert_eq!(failure.code.as_str(), "conflict");
    assert!(failure.message.contains("token 8 of a newer host; ours is 7"), "{failure}");
    assert_eq!(switch.bytes(), before);
}

#[test]
fn what_is_loaded_is_read_back_with_backends_releases_and_overrides() {
    let nginx = Nginx::start();
    let (blue, green) = (App::start("blue"), App::start("green"));
    let switch = Switch::new(&nginx, SCOPE);
    let mut wanted = switch.desired(Some((9_000, &blue)), Some((1_000, &green)));
    wanted.overrides = vec![
        rule("green", "header", "X-Canary", "always"),
        rule("blue", "cookie", "canary", "never"),
    ];
    // More than one part of the marker: NGINX takes 4 KiB at most in one text.
    wanted.routes[0].backends = (1..=200)
        .map(|n| agente_plugin_sdk::Backend {
            id: format!("shop-production-blue-r1-{n}"),
            address: format!("127.0.0.2:{}", 2000 + n),
            labels: Vec::new(),
        })
        .collect();
    let seen = switch.switch(&wanted);
    assert_eq!(seen.routes, wanted.routes);
    assert_eq!(seen.overrides, wanted.overrides);
    assert_eq!(seen.fence, 1);
    assert_eq!(label(&seen.labels, "store"), Some("store-1"));
}

#[test]
fn routes_are_read_from_the_running_nginx_and_not_from_the_disk() {
    let nginx = Nginx::start();
    let (blue, green) = (App::start("blue"), App::start("green"));
    let switch = Switch::new(&nginx, SCOPE);
    let loaded = switch.switch(&switch.desired(Some((10_000, &blue)), None));
    let other = nginx_switch::render::render(
        &switch.config,
        &nginx_switch::names::Names::of(&agente_plugin_sdk::host::Host::context(&switch.host))
            .unwrap(),
        &switch.desired(None, Some((10_000, &green))),
    );
    std::fs::write(switch.file(), other.text).unwrap();
    switch.host.forget();
    let seen = switch.observe().unwrap();
    assert_eq!(seen.state, ObservedState::Drifted);
    assert_eq!((seen.generation, seen.routes), (loaded.generation, loaded.routes));
}

#[test]
fn two_services_on_one_nginx_never_meet() {
    let scopes = ["shop/production", "shop/staging"];
    let nginx = Nginx::start_with("", &scopes);
    let apps = [App::start("production"), App::start("staging")];
    let switches = scopes.map(|scope| Switch::new(&nginx, scope));
    for (switch, app) in switches.iter().zip(&apps) {
        switch.switch(&switch.desired(Some((10_000, app)), None));
    }
    nginx.configure("", &scopes, true);
    nginx.reload(&switches[0].host);
    for (scope, app) in scopes.iter().zip(&apps) {
        assert_eq!(ask(&nginx, scope, "/", &[]).text(), app.name);
    }
    assert_eq!(
        switches[0].features().unwrap().lock_key,
        switches[1].features().unwrap().lock_key,
        "they take turns"
    );
    // Removing one leaves the other alone; its own server still needs the variables, so a file that
    // serves nothing stays.
    let nothing = Desired { routes: Vec::new(), ..switches[1].desired(None, None) };
    switches[1].apply(&nothing).unwrap();
    let seen = switches[1].settle();
    assert!(
        seen.routes.iter().all(|route| route.weight == 0 && route.backends.is_empty()),
        "{seen:?}"
    );
    assert_eq!(ask(&nginx, scopes[0], "/", &[]).text(), "production");
    assert_eq!(switches[0].settle().state, ObservedState::Converged);
    assert!(ask(&nginx, scopes[1], "/", &[]).status >= 500);
}

#[test]
fn taking_the_routes_away_takes_the_file_away_where_nobody_uses_it() {
    let nginx = Nginx::start();
    let blue = App::start("blue");
    let switch = Switch::new(&nginx, SCOPE);
    switch.switch(&switch.desired(Some((10_000, &blue)), None));
    let nothing = Desired { routes: Vec::new(), ..switch.desired(None, None) };
    switch.apply(&nothing).unwrap();
    assert_eq!(switch.settle().state, ObservedState::Absent);
    assert_eq!(switch.bytes(), None);
    assert_eq!(switch.apply(&nothing).unwrap().state, ObservedState::Absent, "twice is safe");
    switch.switch(&switch.desired(Some((10_000, &blue)), None));
}

#[test]
fn the_plan_is_the_difference_and_changes_nothing() {
    let nginx = Nginx::start();
    let (blue, green) = (App::start("blue"), App::start("green"));
    let switch = Switch::new(&nginx, SCOPE);
    let first = switch.desired(Some((10_000, &blue)), None);
    let diff = switch.plan(&first);
    assert!(diff.contains(&format!("+    server 127.0.0.1:{} max_fails=0;", blue.port)), "{diff}");
    assert_eq!(switch.bytes(), None);
    switch.switch(&first);
    let before = switch.bytes();
    let diff = switch.plan(&switch.desired(Some((9_000, &blue)), Some((1_000, &green))));
    assert!(diff.contains("+    90% blue;\n+    * green;\n"), "{diff}");
    assert!(diff.starts_with(&format!("--- {} (now)\n", switch.file())), "{diff}");
    assert_eq!(switch.bytes(), before);
}

#[test]
fn a_host_that_died_between_writing_and_reloading_converges_on_the_next_call() {
    let nginx = Nginx::start();
    let (blue, green) = (App::start("blue"), App::start("green"));
    let switch = Switch::new(&nginx, SCOPE);
    switch.switch(&switch.desired(Some((10_000, &blue)), None));
    let next = switch.desired(Some((0, &blue)), Some((10_000, &green)));
    let names =
        nginx_switch::names::Names::of(&agente_plugin_sdk::host::Host::context(&switch.host))
            .unwrap();
    let rendered = nginx_switch::render::render(&switch.config, &names, &next);
    let mut record = nginx_switch::record::Record::load(&switch.host).unwrap();
    record.intent = Some(rendered.digest);
    record.save(&switch.host).unwrap();
    std::fs::write(switch.file(), rendered.text).unwrap();
    assert_eq!(switch.observe().unwrap().state, ObservedState::Drifted, "written and not loaded");
    assert_eq!(switch.switch(&next).routes[1].weight, 10_000);
}
