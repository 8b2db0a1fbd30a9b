//! Weights, stickiness and overrides, measured by what real requests get.

use crate::rig::{App, Nginx, Switch, ask, rule};
use std::collections::BTreeSet;

const SCOPE: &str = "shop/production";

fn routed(more: &str) -> (Nginx, App, App, Switch) {
    let nginx = Nginx::start();
    let (blue, green) = (App::start("blue"), App::start("green"));
    let switch = Switch::with(&nginx, SCOPE, more);
    switch.switch(&switch.desired(Some((10_000, &blue)), Some((0, &green))));
    nginx.configure("", &[SCOPE], true);
    nginx.reload(&switch.host);
    (nginx, blue, green, switch)
}

/// The users of 1,000 that get green.
fn green_users(nginx: &Nginx) -> BTreeSet<usize> {
    (0..1000).filter(|user| ask(nginx, SCOPE, "/", &[("Cookie", &format!("a=b; uid=user-{user}"))]).text() == "green").collect()
}

#[test]
fn a_thousand_users_split_as_weighted_and_none_moves_back_while_the_weight_grows() {
    let (nginx, blue, green, switch) = routed(r#"{ "sticky": { "cookie": "uid" } }"#);
    switch.switch(&switch.desired(Some((9_000, &blue)), Some((1_000, &green))));
    let ten = green_users(&nginx);
    switch.switch(&switch.desired(Some((8_000, &blue)), Some((2_000, &green))));
    let twenty = green_users(&nginx);
    switch.switch(&switch.desired(Some((9_000, &blue)), Some((1_000, &green))));
    let back = green_users(&nginx);
    assert!((70..=130).contains(&ten.len()), "{}", ten.len());
    assert!((170..=230).contains(&twenty.len()), "{}", twenty.len());
    assert!(ten.is_subset(&twenty), "{:?} moved back", ten.difference(&twenty));
    assert_eq!(ten, back);
}

#[test]
fn without_stickiness_chance_decides_each_request() {
    let (nginx, blue, green, switch) = routed("{}");
    switch.switch(&switch.desired(Some((7_500, &blue)), Some((2_500, &green))));
    let green = (0..1000).filter(|_| ask(&nginx, SCOPE, "/", &[]).text() == "green").count();
    assert!((200..=300).contains(&green), "{green}");
}

#[test]
fn each_step_of_a_hundredth_of_a_percent_is_taken() {
    let (nginx, blue, green, switch) = routed("{}");
    for weight in [1, 10, 50, 1_234, 9_999] {
        let seen = switch.switch(&switch.desired(Some((10_000 - weight, &blue)), Some((weight, &green))));
        assert_eq!(seen.routes[1].weight, weight);
    }
    let green = (0..100).filter(|_| ask(&nginx, SCOPE, "/", &[]).text() == "green").count();
    assert!(green >= 98, "{green}");
}

#[test]
fn a_header_or_cookie_sends_a_request_to_its_slot_at_any_weight() {
    let (nginx, blue, green, switch) = routed("{}");
    let mut wanted = switch.desired(Some((10_000, &blue)), Some((0, &green)));
    wanted.overrides =
        vec![rule("blue", "header", "X-Canary", "never"), rule("green", "header", "X-Canary", "v1.2"), rule("green", "cookie", "my-canary", "always")];
    switch.switch(&wanted);
    let slot = |headers: &[(&str, &str)]| ask(&nginx, SCOPE, "/", headers).text();
    assert_eq!(slot(&[("X-Canary", "v1.2")]), "green");
    assert_eq!(slot(&[("x-canary", "v1.2")]), "green", "names of headers have no case");
    assert_eq!(slot(&[("Cookie", "a=b; my-canary=always; c=d")]), "green");
    assert_eq!(slot(&[("Cookie", "my-canary=always"), ("X-Canary", "never")]), "blue", "the first rule wins");
    for other in
        [[("X-Canary", "v1x2")], [("X-Canary", "V1.2")], [("X-Canary", "v1.2.3")], [("Cookie", "not-my-canary=always")], [("Cookie", "my-canary=always2")]]
    {
        assert_eq!(slot(&other), "blue", "{other:?}");
    }
    switch.switch(&switch.desired(Some((10_000, &blue)), Some((0, &green))));
    assert_eq!(slot(&[("X-Canary", "v1.2")]), "blue", "taken away again");
}

#[test]
fn a_dead_candidate_shows_at_the_edge() {
    let (nginx, blue, green, switch) = routed("{}");
    let mut wanted = switch.desired(Some((5_000, &blue)), Some((5_000, &green)));
    wanted.routes[1].backends[0].address = format!("127.0.0.1:{}", crate::rig::free_port());
    switch.switch(&wanted);
    let bad = (0..60).filter(|_| ask(&nginx, SCOPE, "/", &[]).status == 502).count();
    assert!((10..=50).contains(&bad), "{bad} of 60 failed: the other slot must not hide it");
}
