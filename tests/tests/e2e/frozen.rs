//! Hosts that a signal stops at any moment: in the middle of a write, of a plugin's call, of a
//! step. Whoever comes takes the service over without a lost request.
//!
//! How long that may take is judged by what the program itself waits for, and by how long the same
//! takes in the same run where nobody is stopped: a busy machine is slow at both.

use agente_tests::scene::{Run, Scene, Service, Setup, Traffic, wait_for};
use rustix::process::Signal;
use std::hash::{BuildHasher as _, RandomState};
use std::os::unix::fs::MetadataExt as _;
use std::time::Duration;

/// How many hosts are stopped where nobody says otherwise by `AGENTE_TAKEOVERS`.
const TAKEOVERS: u32 = 6;

/// What an abort waits for at most before it unwinds: to be heard (5 s), to see that a host stays
/// stopped (0.5 s), twice, and for it to let go (5 s).
const WAITS: Duration = Duration::from_secs(11);

/// How much longer than one of a host that nobody stopped a takeover may take besides.
const TIMES: u32 = 10;

/// How many hosts are aborted that nobody stopped.
const PLAIN: u32 = 3;

#[test]
fn a_host_that_is_stopped_at_any_moment_is_taken_over() {
    let wanted = std::env::var("AGENTE_TAKEOVERS").ok();
    let takeovers = wanted.map_or(TAKEOVERS, |text| text.parse().expect("a number"));
    let random = RandomState::new();
    let (scene, shop) = Scene::deployed();
    // Until then a host is somewhere in its deployment.
    let span = shop.deploy(&Setup::version("whole")).expect_code(0).took;
    let load = Traffic::on(&shop, 60.0, 0);
    let somewhere = |number: u32| {
        let share = u32::try_from(random.hash_one(number) % 1_000).expect("small");
        std::thread::sleep(span.mul_f64(f64::from(share) / 1_000.0));
    };
    let mut plain = Duration::ZERO;
    for number in 0..PLAIN {
        let run = shop.begin_deploy(&Setup::version(&format!("p{number}")));
        run.id();
        somewhere(takeovers + number);
        plain = plain.max(shop.host(&["abort"]).took);
        run.wait();
    }
    let (mut longest, mut open) = (Duration::ZERO, 0);
    for number in 0..takeovers {
        let run = shop.begin_deploy(&Setup::version(&format!("v{number}-frozen")));
        somewhere(number);
        run.signal(Signal::STOP);
        let (ended, usual) = if number % 2 == 0 {
            let ended = shop.host(&["abort"]);
            // Unwound; past the point of no return and finished; not open yet or not any more.
            assert!(matches!(ended.code, Some(0 | 1 | 4)), "{number}: {ended:#?}");
            let none_open = ended.stderr.contains("is open");
            assert!(ended.code != Some(4) || none_open, "{number}: {ended:#?}");
            open += u32::from(ended.code != Some(4));
            (ended, plain)
        } else {
            let next = format!("v{number}-next");
            shop.write(&Setup::version(&next));
            let ended = shop.host(&["deploy", "--on-open", "supersede"]).expect_code(0);
            assert_eq!(shop.serving(), next);
            (ended, plain + span)
        };
        assert!(ended.took <= WAITS + usual * TIMES, "{number}: {usual:?} as usual, {ended:#?}");
        longest = longest.max(ended.took);
        run.kill();
        assert!(shop.status()["state"]["open"].is_null(), "{number}");
    }
    load.nothing_lost();
    println!(
        "{takeovers} hosts stopped, {open} of those to be aborted within their deployment; the \
         longest takeover took {longest:?}, an abort of a host that runs {plain:?}, a deployment \
         {span:?}"
    );
    drop(scene);
}

/// Whether a host keeps everybody from writing to its store at this moment.
fn writes(shop: &Service, run: &Run) -> bool {
    let index = std::fs::metadata(shop.state.join("store.db-shm")).expect("the store's index");
    let (holder, inode) = (format!(" {} ", run.pid()), format!(":{} ", index.ino()));
    let locks = std::fs::read_to_string("/proc/locks").expect("the machine's locks");
    // Others read; the byte of whoever writes is the 121st.
    locks.lines().any(|line| {
        line.contains(" WRITE ")
            && line.contains(&holder)
            && line.contains(&inode)
            && line.ends_with(" 120 120")
    })
}

/// Stops a host while it keeps everybody from writing to its store.
fn stop_in_a_write(shop: &Service, run: &Run) {
    wait_for("a host that is stopped in a write", || {
        run.signal(Signal::STOP);
        let found = writes(shop, run).then_some(());
        if found.is_none() {
            run.signal(Signal::CONT);
        }
        found
    });
}

#[test]
fn a_host_that_is_stopped_in_a_write_is_ended_by_a_rollback_too() {
    let (scene, shop) = Scene::deployed();
    let load = Traffic::on(&shop, 60.0, 0);
    let run = shop.begin_deploy(&Setup { bake: "5m".to_owned(), ..Setup::version("v2") });
    assert!(run.wait_step("bake", "started"));
    stop_in_a_write(&shop, &run);
    let rollback = shop.host(&["rollback"]).expect_code(0);
    assert!(rollback.stderr.contains("was stopped and kept the store locked"), "{rollback:#?}");
    run.kill();
    assert_eq!(shop.serving(), "v1");
    assert!(shop.status()["state"]["open"].is_null());
    load.nothing_lost();
    drop(scene);
}

#[test]
fn a_host_whose_program_was_replaced_is_still_known_when_it_is_stopped_in_a_write() {
    let (scene, mut shop) = Scene::deployed();
    let program = shop.with_own_program();
    let run = shop.begin_deploy(&Setup { bake: "5m".to_owned(), ..Setup::version("v2") });
    assert!(run.wait_step("bake", "started"));
    // As an update does it.
    let next = program.with_extension("next");
    std::fs::copy(&program, &next).expect("a new program");
    std::fs::rename(&next, &program).expect("in its place");
    stop_in_a_write(&shop, &run);
    let abort = shop.host(&["abort"]).expect_code(0);
    assert!(abort.stderr.contains("was stopped and kept the store locked"), "{abort:#?}");
    run.kill();
    assert_eq!(shop.serving(), "v1");
    assert!(shop.status()["state"]["open"].is_null());
    drop(scene);
}

#[test]
fn decisions_for_a_stopped_host_say_that_it_is_stopped_and_what_to_do() {
    let (scene, shop) = Scene::deployed();
    let run = shop.begin_deploy(&Setup { bake: "5m".to_owned(), ..Setup::version("v2") });
    assert!(run.wait_step("bake", "started"));
    // Not in a write, which is told as a store that is locked.
    wait_for("a host that is stopped outside of a write", || {
        run.signal(Signal::STOP);
        let free = !writes(&shop, &run);
        if !free {
            run.signal(Signal::CONT);
        }
        free.then_some(())
    });
    for (args, code) in [(["pause"].as_slice(), 5), (&["promote", "--full"], 5), (&["resume"], 4)] {
        let ended = shop.host(args).expect_code(code);
        for words in ["it is stopped", "`agente-host abort` takes"] {
            assert!(ended.stderr.contains(words), "{args:?}: {}", ended.stderr);
        }
    }
    shop.host(&["rollback"]).expect_code(0);
    run.kill();
    assert_eq!(shop.serving(), "v1");
    drop(scene);
}
