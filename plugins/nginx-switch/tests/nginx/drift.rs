//! The target is not as we left it: told apart, refused, and taken over only on request.

use crate::client::ask;
use crate::rig::{App, Nginx, Switch};
use agente_plugin_sdk::traffic::ObservedState;
use agente_plugin_sdk::{Code, Desired, label};

const SCOPE: &str = "shop/production";

fn live() -> (Nginx, App, App, Switch) {
    let nginx = Nginx::start();
    let (blue, green) = (App::start("blue"), App::start("green"));
    let switch = Switch::new(&nginx, SCOPE);
    switch.switch(&switch.desired(Some((10_000, &blue)), None));
    (nginx, blue, green, switch)
}

/// Drift is reported and refused, nothing is touched, and `force` takes over.
#[track_caller]
fn refused_until_forced(switch: &Switch, green: &App, drift: &str, words: &str) {
    let seen = switch.observe().unwrap();
    assert_eq!(
        (seen.state, label(&seen.labels, "drift")),
        (ObservedState::Drifted, Some(drift)),
        "{}",
        seen.message
    );
    assert!(seen.message.contains(words), "{}", seen.message);
    let before = switch.bytes();
    let next = switch.desired(None, Some((10_000, green)));
    let failure = switch.apply(&next).unwrap_err();
    assert_eq!(
        (failure.code, label(&failure.labels, "drift")),
        (Code::Conflict, Some(drift)),
        "{failure}"
    );
    assert_eq!(switch.bytes(), before);
    let mut forced: Desired = next;
    forced.labels.push(("adopt".into(), "force".into()));
    let seen = switch.switch(&forced);
    assert_eq!(seen.routes[1].weight, 10_000);
}

#[test]
fn an_edited_file() {
    let (_nginx, _blue, green, switch) = live();
    let edited = switch.bytes().unwrap().replace("max_fails=0", "max_fails=1");
    std::fs::write(switch.file(), edited).unwrap();
    refused_until_forced(&switch, &green, "edited", "was edited after it was written");
}

#[test]
fn an_edited_comment() {
    let (_nginx, _blue, green, switch) = live();
    let edited = switch.bytes().unwrap().replace("# fence 1", "# fence 0");
    std::fs::write(switch.file(), edited).unwrap();
    refused_until_forced(&switch, &green, "edited", "was edited");
}

#[test]
fn an_older_file_of_ours_from_a_backup() {
    let (_nginx, blue, green, switch) = live();
    let old = switch.bytes().unwrap();
    switch.switch(&switch.desired(Some((5_000, &blue)), Some((5_000, &green))));
    std::fs::write(switch.file(), old).unwrap();
    refused_until_forced(&switch, &green, "edited", "is not the file that was last written");
}

#[test]
fn a_removed_file() {
    let (_nginx, _blue, green, switch) = live();
    std::fs::remove_file(switch.file()).unwrap();
    refused_until_forced(&switch, &green, "edited", "was removed");
}

#[test]
fn a_file_of_somebody_else() {
    let (nginx, _blue, green, switch) = live();
    std::fs::write(switch.file(), "# mine\n").unwrap();
    nginx.reload(&switch.host);
    refused_until_forced(&switch, &green, "foreign", "was not written by agente-host");
}

#[test]
fn a_file_that_is_there_and_not_loaded() {
    let (nginx, _blue, green, switch) = live();
    // An older generation is loaded: the file was away during somebody's reload.
    let bytes = switch.bytes().unwrap();
    let aside = nginx.path("aside");
    std::fs::rename(switch.file(), &aside).unwrap();
    nginx.reload(&switch.host);
    std::fs::write(switch.file(), bytes).unwrap();
    refused_until_forced_as(&switch, &green, "not-loaded", "not-included", "has not loaded");
}

#[test]
fn an_include_that_was_removed() {
    let (nginx, _blue, _green, switch) = live();
    let text = std::fs::read_to_string(nginx.conf()).unwrap();
    std::fs::write(nginx.conf(), text.replace("include ", "# include ")).unwrap();
    nginx.reload(&switch.host);
    let seen = switch.observe().unwrap();
    assert_eq!(
        (seen.state, label(&seen.labels, "drift")),
        (ObservedState::Drifted, Some("not-included")),
        "{}",
        seen.message
    );
    assert!(seen.message.contains("does not include"), "{}", seen.message);
    let failure = switch.features().unwrap_err();
    assert!(failure.hint.as_ref().unwrap().contains("include "), "{failure:?}");
}

#[test]
fn another_store_is_refused_and_may_take_over() {
    let (nginx, _blue, green, switch) = live();
    let mut other = Switch::new(&nginx, SCOPE);
    other.host = agente_plugin_sdk::native::NativeHost::new("shop", "production")
        .with_label("store", "store-2");
    other.store = "store-2".into();
    other.fence = 0; // its tokens have nothing to do with ours
    let seen = other.observe().unwrap();
    assert_eq!(label(&seen.labels, "store"), Some("store-1"));
    refused_until_forced(&other, &green, "foreign", "belongs to the store `store-1`");
    let failure = switch.apply(&switch.desired(None, Some((10_000, &green)))).unwrap_err();
    assert!(failure.message.contains("belongs to the store `store-2`"), "{failure}");
}

#[test]
fn services_whose_names_read_the_same_are_apart_in_one_nginx() {
    let scopes = ["a-b/c", "a/b-c", "a-/b", "a/b"];
    let nginx = Nginx::start_with("", &scopes);
    let apps = scopes.map(App::start);
    let switches = scopes.map(|scope| Switch::new(&nginx, scope));
    for (switch, app) in switches.iter().zip(&apps) {
        switch.switch(&switch.desired(Some((10_000, app)), None));
    }
    nginx.configure("", &scopes, true);
    nginx.reload(&switches[0].host);
    for (scope, switch) in scopes.iter().zip(&switches) {
        assert_eq!(ask(&nginx, scope, "/", &[]).text(), *scope);
        assert_eq!(switch.observe().unwrap().state, ObservedState::Converged);
    }
}

#[test]
fn a_file_of_another_service_is_never_touched() {
    let nginx = Nginx::start_with("", &["other/one"]);
    let blue = App::start("blue");
    let first = Switch::new(&nginx, "a-b/c");
    first.switch(&first.desired(Some((10_000, &blue)), None));
    let second = Switch::new(&nginx, "a/b-c");
    std::fs::copy(first.file(), second.file()).unwrap();
    let mut wanted = second.desired(Some((10_000, &blue)), None);
    wanted.labels.push(("adopt".into(), "force".into()));
    let failure = second.apply(&wanted).unwrap_err();
    assert_eq!(failure.code, Code::Conflict);
    std::fs::remove_file(second.file()).unwrap();
    assert_eq!(first.observe().unwrap().state, ObservedState::Converged);
}

/// As [`refused_until_forced`], where looking can tell more than applying does.
#[track_caller]
fn refused_until_forced_as(
    switch: &Switch,
    green: &App,
    observed: &str,
    applied: &str,
    words: &str,
) {
    let seen = switch.observe().unwrap();
    assert_eq!(
        (seen.state, label(&seen.labels, "drift")),
        (ObservedState::Drifted, Some(observed)),
        "{}",
        seen.message
    );
    assert!(seen.message.contains(words), "{}", seen.message);
    let mut next = switch.desired(None, Some((10_000, green)));
    let failure = switch.apply(&next).unwrap_err();
    assert_eq!(
        (failure.code, label(&failure.labels, "drift")),
        (Code::Conflict, Some(applied)),
        "{failure}"
    );
    next.labels.push(("adopt".into(), "force".into()));
    switch.switch(&next);
}
