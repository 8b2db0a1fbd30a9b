//! Hosts that a signal stops at any moment: in the middle of a write, of a plugin's call, of a
//! step. Whoever comes takes the service over without a lost request. How long that took at worst is
//! printed, not judged: the machine may be busy. What never ends fails where it is waited for.

use agente_tests::scene::{Scene, Setup, Traffic};
use rustix::process::Signal;
use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

/// How many hosts are stopped where nobody says otherwise by `AGENTE_TAKEOVERS`.
const TAKEOVERS: u32 = 6;

#[test]
fn a_host_that_is_stopped_at_any_moment_is_taken_over() {
    let wanted = std::env::var("AGENTE_TAKEOVERS").ok();
    let takeovers = wanted.map_or(TAKEOVERS, |text| text.parse().expect("a number"));
    let random = RandomState::new();
    let (scene, shop) = Scene::deployed();
    // Until then a host is somewhere in its deployment.
    let span = shop.deploy(&Setup::version("whole")).expect_code(0).took;
    let load = Traffic::on(&shop, 60.0, 0);
    let (mut longest, mut open) = (Duration::ZERO, 0);
    for number in 0..takeovers {
        let run = shop.begin_deploy(&Setup::version(&format!("v{number}-frozen")));
        let share = u32::try_from(random.hash_one(number) % 1_000).expect("small");
        std::thread::sleep(span.mul_f64(f64::from(share) / 1_000.0));
        run.signal(Signal::STOP);
        let ended = if number % 2 == 0 {
            let ended = shop.host(&["abort"]);
            // Unwound; past the point of no return and finished; not open yet or not any more.
            assert!(matches!(ended.code, Some(0 | 1 | 4)), "{number}: {ended:#?}");
            let none_open = ended.stderr.contains("is open");
            assert!(ended.code != Some(4) || none_open, "{number}: {ended:#?}");
            open += u32::from(ended.code != Some(4));
            ended
        } else {
            let next = format!("v{number}-next");
            shop.write(&Setup::version(&next));
            let ended = shop.host(&["deploy", "--on-open", "supersede"]).expect_code(0);
            assert_eq!(shop.serving(), next);
            ended
        };
        longest = longest.max(ended.took);
        run.kill();
        assert!(shop.status()["state"]["open"].is_null(), "{number}");
    }
    load.nothing_lost();
    println!(
        "{takeovers} hosts stopped, {open} of those to be aborted within their deployment; the \
         longest takeover took {longest:?}"
    );
    drop(scene);
}
