//! Weights, stickiness and overrides, measured by what real requests get.

use crate::client::{ask, ask_all, ask_from};
use crate::rig::{App, Nginx, Switch, rule};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::ops::RangeInclusive;

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

/// How many requests, or users, each measured split takes.
const SAMPLE: usize = 20_000;

/// The weights that a canary goes through, in basis points.
const STAGES: [u32; 3] = [1_000, 2_500, 5_000];

/// The counts that `sample` independent draws of probability `share` give in 99.9 % of all cases:
/// beyond each end lies at most 0.05 %, summed up from the binomial distribution itself.
fn interval(sample: usize, share: f64) -> RangeInclusive<usize> {
    let odds = (share / (1.0 - share)).ln();
    let count = |value: usize| f64::from(u32::try_from(value).unwrap());
    let mut log = count(sample) * (1.0 - share).ln();
    let mut chances = vec![log.exp()];
    for hits in 0..sample {
        log += (count(sample - hits) / count(hits + 1)).ln() + odds;
        chances.push(log.exp());
    }
    let end = |chances: &mut dyn Iterator<Item = &f64>| {
        let mut sum = 0.0;
        chances.take_while(|chance| (sum += **chance, sum <= 0.0005).1).count()
    };
    end(&mut chances.iter())..=sample - end(&mut chances.iter().rev())
}

#[test]
fn the_interval_is_that_of_the_binomial_distribution() {
    // Of 20 tosses of a coin 2 or fewer come up with 0.0201 %, 3 or fewer with 0.1288 %.
    assert_eq!(interval(20, 0.5), 3..=17);
    assert_eq!(
        (interval(20_000, 0.1), interval(20_000, 0.25), interval(20_000, 0.5)),
        (1_862..=2_141, 4_799..=5_202, 9_767..=10_233)
    );
}

/// The users of [`SAMPLE`] that get green, each told by a cookie.
fn green_users(nginx: &Nginx) -> BTreeSet<usize> {
    let answers = ask_all(nginx, SCOPE, SAMPLE, |user, headers| {
        write!(headers, "Cookie: a=b; uid=user-{user}\r\n").unwrap();
    });
    answers.iter().enumerate().filter(|(_, slot)| *slot == "green").map(|(user, _)| user).collect()
}

/// Which user gets what is fixed by the key `agente_shop_production:user-N`, so this measures the
/// same numbers each time.
#[test]
fn twenty_thousand_users_split_as_weighted_and_none_moves_back_while_the_weight_grows() {
    let (nginx, blue, green, switch) = routed(r#"{ "sticky": { "cookie": "uid" } }"#);
    let at = |weight: u32| {
        switch.switch(&switch.desired(Some((10_000 - weight, &blue)), Some((weight, &green))));
        green_users(&nginx)
    };
    let mut before = at(0);
    assert!(before.is_empty(), "{} of them at weight 0", before.len());
    for weight in STAGES {
        let now = at(weight);
        let expected = interval(SAMPLE, f64::from(weight) / 10_000.0);
        assert!(
            expected.contains(&now.len()),
            "{} of {SAMPLE} users at {weight} basis points are not within {expected:?}",
            now.len()
        );
        assert!(
            before.is_subset(&now),
            "{:?} moved back at {weight} basis points",
            before.difference(&now)
        );
        before = now;
    }
    assert_eq!(at(10_000).len(), SAMPLE);
    assert_eq!(at(5_000), before, "who comes back to a weight meets the slot that it had");
}

/// Loopback addresses are users as well: 5,000 of them, each on connections of its own.
#[test]
fn five_thousand_addresses_split_as_weighted_and_none_moves_back_while_the_weight_grows() {
    const USERS: u32 = 5_000;
    let (nginx, blue, green, switch) = routed(r#"{ "sticky": "address" }"#);
    let mut before = BTreeSet::new();
    for weight in STAGES.into_iter().chain([10_000]) {
        switch.switch(&switch.desired(Some((10_000 - weight, &blue)), Some((weight, &green))));
        let address = |user: u32| Ipv4Addr::from(u32::from(Ipv4Addr::new(127, 1, 0, 0)) + user);
        let now: BTreeSet<u32> =
            (0..USERS).filter(|user| ask_from(&nginx, SCOPE, address(*user)) == "green").collect();
        let expected = if weight == 10_000 {
            5_000..=5_000
        } else {
            interval(5_000, f64::from(weight) / 10_000.0)
        };
        assert!(
            expected.contains(&now.len()),
            "{} of {USERS} addresses at {weight} basis points are not within {expected:?}",
            now.len()
        );
        assert!(
            before.is_subset(&now),
            "{:?} moved back at {weight} basis points",
            before.difference(&now)
        );
        before = now;
    }
}

/// The key is `$request_id`, so this is chance indeed: a true split misses the interval once in a
/// thousand times. A miss is measured once more, with as many new requests: a true split misses
/// twice once in a million times, a wrong one again.
#[test]
fn without_stickiness_chance_decides_each_request() {
    let (nginx, blue, green, switch) = routed("{}");
    for weight in STAGES {
        switch.switch(&switch.desired(Some((10_000 - weight, &blue)), Some((weight, &green))));
        let expected = interval(SAMPLE, f64::from(weight) / 10_000.0);
        let measure = || {
            ask_all(&nginx, SCOPE, SAMPLE, |_, _| {}).iter().filter(|slot| *slot == "green").count()
        };
        let first = measure();
        if !expected.contains(&first) {
            let second = measure();
            assert!(
                expected.contains(&second),
                "{first} and {second} of {SAMPLE} requests at {weight} basis points are not \
                 within {expected:?}"
            );
        }
    }
}

#[test]
fn each_step_of_a_hundredth_of_a_percent_is_taken() {
    let (nginx, blue, green, switch) = routed("{}");
    for weight in [1, 10, 50, 1_234, 9_999] {
        let seen =
            switch.switch(&switch.desired(Some((10_000 - weight, &blue)), Some((weight, &green))));
        assert_eq!(seen.routes[1].weight, weight);
    }
    let green = (0..100).filter(|_| ask(&nginx, SCOPE, "/", &[]).text() == "green").count();
    assert!(green >= 98, "{green}");
}

#[test]
fn a_header_or_cookie_sends_a_request_to_its_slot_at_any_weight() {
    let (nginx, blue, green, switch) = routed("{}");
    let mut wanted = switch.desired(Some((10_000, &blue)), Some((0, &green)));
    wanted.overrides = vec![
        rule("blue", "header", "X-Canary", "never"),
        rule("green", "header", "X-Canary", "v1.2"),
        rule("green", "cookie", "my-canary", "always"),
    ];
    switch.switch(&wanted);
    let slot = |headers: &[(&str, &str)]| ask(&nginx, SCOPE, "/", headers).text();
    assert_eq!(slot(&[("X-Canary", "v1.2")]), "green");
    assert_eq!(slot(&[("x-canary", "v1.2")]), "green", "names of headers have no case");
    assert_eq!(slot(&[("Cookie", "a=b; my-canary=always; c=d")]), "green");
    assert_eq!(
        slot(&[("Cookie", "my-canary=always"), ("X-Canary", "never")]),
        "blue",
        "the first rule wins"
    );
    for other in [
        [("X-Canary", "v1x2")],
        [("X-Canary", "V1.2")],
        [("X-Canary", "v1.2.3")],
        [("Cookie", "not-my-canary=always")],
        [("Cookie", "my-canary=always2")],
    ] {
        assert_eq!(slot(&other), "blue", "{other:?}");
    }
    switch.switch(&switch.desired(Some((10_000, &blue)), Some((0, &green))));
    assert_eq!(slot(&[("X-Canary", "v1.2")]), "blue", "taken away again");
}

#[test]
fn an_override_reaches_the_candidate_at_weight_zero_whichever_slot_its_user_has() {
    const USERS: usize = 5_000;
    let (nginx, blue, green, switch) = routed(r#"{ "sticky": { "cookie": "uid" } }"#);
    let mut wanted = switch.desired(Some((10_000, &blue)), Some((0, &green)));
    wanted.overrides =
        vec![rule("green", "header", "X-Canary", "yes"), rule("green", "cookie", "canary", "yes")];
    switch.switch(&wanted);
    let all_get = |slot: &str, more: &str, cookie: &str| {
        let answers = ask_all(&nginx, SCOPE, USERS, |user, headers| {
            write!(headers, "{more}Cookie: uid=user-{user}{cookie}\r\n").unwrap();
        });
        let others = answers.iter().filter(|answer| *answer != slot).count();
        assert_eq!(others, 0, "of {USERS} with `{more:?}` and `{cookie}` are not in {slot}");
    };
    all_get("green", "X-Canary: yes\r\n", "");
    all_get("green", "", "; canary=yes");
    all_get("blue", "X-Canary: no\r\n", "; canary=no");
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
