//! The store is empty, missing, damaged, older than the world, or tampered with: it is never taken
//! for that of a service which was never deployed, and nothing is touched.

use agente_tests::scene::{Ended, Engine, Scene, Service, Setup, Traffic, wait_for};
use sqlx::Connection as _;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// What must be the same after every command that refuses.
#[derive(Debug, PartialEq)]
struct World {
    file: Option<Vec<u8>>,
    processes: Vec<u32>,
    serving: String,
}

impl World {
    fn of(shop: &Service) -> Self {
        let processes = shop.processes();
        Self { file: shop.nginx_file(), processes, serving: shop.serving() }
    }
}

/// Runs commands that must end with exit code 3, say what is live, and touch nothing.
#[track_caller]
fn refused(shop: &Service, state: &Path, commands: &[&[&str]], words: &[&str]) {
    let before = World::of(shop);
    for command in commands {
        let ended = shop.host_with(state, command).expect_code(3);
        for word in words {
            let said = ended.said();
            assert!(said.contains(word), "`{}` does not say `{word}`:\n{said}", command.join(" "));
        }
        assert_eq!(World::of(shop), before, "`{}` changed something", command.join(" "));
    }
}

/// The state folder's database and its companions, and their bytes.
fn database(state: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    ["store.db", "store.db-wal", "store.db-shm"]
        .into_iter()
        .filter_map(|name| {
            let path = state.join(name);
            std::fs::read(&path).ok().map(|bytes| (path, bytes))
        })
        .collect()
}

/// Puts a copy of the database back, and takes away what is not in it.
fn restore(state: &Path, copy: &BTreeMap<PathBuf, Vec<u8>>) {
    for name in ["store.db", "store.db-wal", "store.db-shm"] {
        let _ = std::fs::remove_file(state.join(name));
    }
    for (path, bytes) in copy {
        std::fs::write(path, bytes).expect("the copy is put back");
    }
}

/// Changes the database past the host, as somebody with an editor for it does.
fn tamper(state: &Path, text: &str) {
    let options = SqliteConnectOptions::new().filename(state.join("store.db"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let mut connection = SqliteConnection::connect_with(&options).await.expect("the database");
        let text = format!(
            "DROP TRIGGER IF EXISTS entry_is_never_changed;
             DROP TRIGGER IF EXISTS entry_is_never_removed; {text}"
        );
        sqlx::raw_sql(sqlx::AssertSqlSafe(text)).execute(&mut connection).await.expect("SQL");
        connection.close().await.expect("the database is closed");
    });
}

const LOOKING: [&[&str]; 8] = [
    &["status"],
    &["up"],
    &["plan"],
    &["check"],
    &["history"],
    &["logs"],
    &["rollback"],
    &["watch", "--for", "1s"],
];

#[test]
fn a_state_folder_that_is_gone_is_told_from_a_first_deployment_and_the_service_is_adopted_back() {
    let (scene, shop) = Scene::deployed();
    let load = Traffic::on(&shop, 60.0, 2);
    let (address, _) = shop.backends().remove(0);
    let kept = shop.path("taken-away");
    std::fs::rename(&shop.state, &kept).expect("the folder is moved away");

    shop.write(&Setup::version("v2"));
    let adopt = ["adopt", "--backend", &address];
    let words = [address.as_str(), "shop.default.blue-r1-0", "(r1)"];
    let words = [&words[..], &["knows nothing of shop/default", "adopt --force"]].concat();
    for commands in [&LOOKING[..], &[&["deploy"], &["abort"], &adopt]] {
        refused(&shop, &shop.state, commands, &words);
        assert!(!shop.state.exists(), "no new store is made");
    }

    // The command of the hint brings the service back under management.
    let ended = shop.host(&["status"]);
    let command = ended
        .said()
        .split('`')
        .find(|part| part.starts_with("agente-host adopt --force"))
        .unwrap_or_else(|| panic!("no command in {}", ended.said()))
        .to_owned();
    let words: Vec<&str> = command.split(' ').skip(1).collect();
    shop.host(&words).expect_code(0);
    shop.host(&["status"]).expect_code(0);
    shop.deploy(&Setup::version("v2")).expect_code(0);
    assert_eq!(shop.serving(), "v2");
    shop.host(&["rollback"]).expect_code(0);
    assert_eq!(shop.serving(), "v1");
    load.nothing_lost();
    drop(scene);
}

#[test]
fn a_wrong_state_folder_is_not_made_and_the_right_one_is_named() {
    let (scene, shop) = Scene::deployed();
    let wrong = shop.path("another-state");
    shop.write(&Setup::version("v2"));
    let right = shop.state.display().to_string();
    let commands = [&LOOKING[..], &[&["deploy"]]].concat();
    refused(&shop, &wrong, &commands, &["knows nothing of shop/default", &right]);
    assert!(!wrong.exists(), "no new store is made");

    // A store that is there and holds other services only is no better.
    let mut scene = scene;
    let other = scene.service("other");
    scene.first_release(&other, &Setup::version("o1"));
    refused(&shop, &other.state, &commands, &["knows nothing of shop/default", &right]);
    other.host(&["status"]).expect_code(0);
    drop(scene);
}

#[test]
fn a_database_that_is_missing_empty_or_damaged_is_said_and_not_made_anew() {
    let (mut scene, shop) = Scene::deployed();
    shop.write(&Setup::version("v2"));
    let whole = database(&shop.state);
    let file = shop.state.join("store.db");
    // Folded into one file, so that nothing of it is in the log.
    tamper(&shop.state, "PRAGMA wal_checkpoint(TRUNCATE);");
    let folded = std::fs::read(&file).expect("the database");
    let half = folded[..folded.len() / 2].to_vec();
    let cut = folded[..1000].to_vec();
    let mut stamped = folded.clone();
    stamped[..64].fill(b'x');
    let damages: [(&str, Option<Vec<u8>>, &str); 5] = [
        ("missing", None, "missing"),
        ("empty", Some(Vec::new()), "empty"),
        ("half", Some(half), "damaged"),
        ("cut within its first page", Some(cut), "damaged"),
        ("written over", Some(stamped), "damaged"),
    ];
    for (what, bytes, word) in damages {
        restore(&shop.state, &BTreeMap::new());
        if let Some(bytes) = &bytes {
            std::fs::write(&file, bytes).expect("the damage");
        }
        let words = [word, "shop.default.blue-r1-0", "restore"];
        for command in [&["status"][..], &["up"], &["deploy"], &["rollback"], &["plan"]] {
            refused(&shop, &shop.state, &[command], &words);
            assert_eq!(std::fs::read(&file).ok(), bytes, "`{}`: {what}", command.join(" "));
        }
        // While the target is down too, the folder still says that there was something.
        scene.nginx.stop();
        for command in [&["status"][..], &["up"], &["deploy"]] {
            let ended = shop.host(command).expect_code(3);
            let said = ended.said();
            assert!(said.contains(word), "{what}: {said}");
            assert_eq!(std::fs::read(&file).ok(), bytes, "`{}`: {what}", command.join(" "));
        }
        scene.nginx.start();
    }
    restore(&shop.state, &whole);
    shop.host(&["status"]).expect_code(0);
    shop.host(&["deploy"]).expect_code(0);
    assert_eq!(shop.serving(), "v2");
    drop(scene);
}

#[test]
fn a_backup_that_is_older_than_the_target_is_not_believed() {
    let (scene, shop) = Scene::deployed();
    let old = database(&shop.state);
    shop.deploy(&Setup::version("v2")).expect_code(0);
    let new = database(&shop.state);
    restore(&shop.state, &old);

    shop.write(&Setup::version("v3"));
    let commands: [&[&str]; 6] =
        [&["status"], &["up"], &["plan"], &["check"], &["deploy"], &["rollback"]];
    let words =
        ["older than what is live", "release 1 is stable", "release 2", "shop.default.green-r2-0"];
    refused(&shop, &shop.state, &commands, &words);

    restore(&shop.state, &new);
    shop.host(&["status"]).expect_code(0);
    shop.host(&["deploy"]).expect_code(0);
    assert_eq!(shop.serving(), "v3");
    drop(scene);
}

#[test]
fn a_journal_whose_end_was_cut_off_with_care_is_found_by_what_the_target_holds() {
    let (scene, shop) = Scene::deployed();
    shop.deploy(&Setup::version("v2")).expect_code(0);
    // The last deployment never was: its entries, its row, its lease, and the state.
    tamper(
        &shop.state,
        "CREATE TEMP TABLE last AS SELECT id FROM deployment ORDER BY number DESC LIMIT 1;
         PRAGMA foreign_keys = OFF;
         DELETE FROM entry WHERE deployment IN (SELECT id FROM last);
         DELETE FROM effect WHERE deployment IN (SELECT id FROM last);
         DELETE FROM run WHERE deployment IN (SELECT id FROM last);
         DELETE FROM deployment WHERE id IN (SELECT id FROM last);
         DELETE FROM release WHERE number = 2;
         UPDATE lease SET fence = fence - 1;
         UPDATE scope SET head_position = (SELECT max(position) FROM entry),
           head_hash = (SELECT hash FROM entry ORDER BY position DESC LIMIT 1);",
    );
    shop.write(&Setup::version("v3"));
    for command in [&["status"][..], &["up"], &["deploy"], &["rollback"]] {
        refused(&shop, &shop.state, &[command], &["older than what is live"]);
    }
    drop(scene);
}

#[test]
fn a_changed_entry_stops_what_goes_forward_and_is_said_while_going_back_still_works() {
    let (scene, shop) = Scene::deployed();
    shop.deploy(&Setup::version("v2")).expect_code(0);
    tamper(&shop.state, "UPDATE entry SET at = at + 1 WHERE position = 3;");

    shop.write(&Setup::version("v3"));
    let words = ["was changed at entry 3", "restore"];
    refused(&shop, &shop.state, &[&["status"], &["deploy"], &["plan"]], &words);

    // What brings back what was live goes on, and says it.
    let load = Traffic::on(&shop, 60.0, 2);
    let said = |ended: &Ended| {
        assert!(ended.stderr.contains("was changed at entry 3"), "{}", ended.stderr);
    };
    said(&shop.host(&["up"]).expect_code(3));
    said(&shop.host(&["rollback"]).expect_code(0));
    assert_eq!(shop.serving(), "v1");
    load.nothing_lost();
    // It still stands in the journal.
    let ended = shop.host(&["status", "--verify"]).expect_code(3);
    assert!(ended.said().contains("entry 3"), "{}", ended.said());

    drop(scene);
}

#[test]
fn a_deployment_that_was_left_open_is_not_resumed_on_a_changed_journal_and_is_aborted() {
    let (scene, shop) = Scene::deployed();
    let run = shop.begin_deploy(&Setup { bake: "5m".to_owned(), ..Setup::version("v2") });
    wait_for("the candidate's requests", || (shop.serving() == "v2").then_some(()));
    run.kill();
    tamper(&shop.state, "UPDATE entry SET at = at + 1 WHERE position = 2;");
    refused(&shop, &shop.state, &[&["resume"], &["deploy"]], &["was changed at entry 2"]);
    let ended = shop.host(&["abort"]).expect_code(0);
    assert!(ended.stderr.contains("was changed at entry 2"), "{}", ended.stderr);
    assert_eq!(shop.serving(), "v1");
    drop(scene);
}

#[test]
fn a_folder_that_may_not_be_read_is_not_an_empty_one() {
    let mut scene = Scene::new();
    let mut shop = scene.service("shop");
    scene.first_release(&shop, &Setup::version("v1"));
    let user = scene.unprivileged(&mut shop);
    user.let_group_write(&scene.nginx.path("agente"));
    std::fs::set_permissions(&shop.state, std::fs::Permissions::from_mode(0o000)).expect("a mode");
    let commands: [&[&str]; 4] = [&["status"], &["up"], &["deploy"], &["history"]];
    let state = shop.state.display().to_string();
    refused(&shop, &shop.state, &commands, &[&state, "Permission denied", "blue-r1-0"]);
    drop(scene);
}

#[test]
fn containers_tell_by_their_labels_what_an_empty_store_does_not() {
    let engine = Engine::start();
    let image = engine.image();
    let setup = |version: &str| Setup {
        docker: Some((engine.socket.clone(), image.clone())),
        ..Setup::version(version)
    };
    let mut scene = Scene::new();
    let shop = scene.service("shop");
    scene.first_release(&shop, &setup("v1"));
    std::fs::rename(&shop.state, shop.path("taken-away")).expect("the folder is moved away");
    shop.write(&setup("v2"));
    let commands: [&[&str]; 4] = [&["status"], &["up"], &["deploy"], &["plan"]];
    let words = ["knows nothing of shop/default", "container", "shop.default.blue-r1-0"];
    refused(&shop, &shop.state, &commands, &words);

    // The balancer is down: the labels alone say it, and that the target could not be asked.
    scene.nginx.stop();
    for command in commands {
        let ended = shop.host(command).expect_code(3);
        let said = ended.said();
        for word in words.iter().chain(&["can't be inspected"]) {
            assert!(said.contains(word), "`{word}`: {said}");
        }
    }
    assert!(!shop.state.exists(), "no new store is made");
    assert_eq!(engine.running().len(), 1);
    drop(scene);
}

#[test]
fn where_nothing_says_otherwise_a_fresh_store_is_a_fresh_store() {
    let mut scene = Scene::new();
    let shop = scene.service("shop");
    scene.nginx.route(&shop, "127.0.0.1:9");
    shop.write(&Setup::version("v1"));
    shop.grant();
    // The target is down: that is said, and nobody is alarmed.
    let ended = shop.host(&["status"]).expect_code(0);
    assert_eq!(ended.events[0]["managed"], false);
    assert!(ended.events[0]["target"]["error"].is_string(), "{}", ended.events[0]);
    shop.host(&["up"]).expect_code(0);
    scene.nginx.start();
    shop.host(&["status"]).expect_code(0);
    shop.host(&["up"]).expect_code(0);
    assert!(!shop.state.exists(), "nothing is made by looking");
    // A first deployment that is taken back leaves no alarm behind.
    shop.deploy(&Setup { healthy: "1s".into(), ..Setup::version("v1") }.flag("--never-ready"))
        .expect_code(1);
    shop.host(&["status"]).expect_code(0);
    shop.host(&["up"]).expect_code(0);
    shop.deploy(&Setup::version("v1")).expect_code(0);
    drop(scene);
}

#[test]
fn an_adoption_whose_first_entry_is_not_written_has_touched_nothing() {
    let mut scene = Scene::new();
    let shop = scene.service("shop");
    let address = shop.start_by_hand("v1");
    scene.nginx.route(&shop, &address);
    scene.nginx.start();
    shop.write(&Setup::version("v2"));
    shop.grant();
    // Makes the store, and nothing else.
    shop.host(&["adopt", "--backend", "127.0.0.1:1"]).expect_code(1);
    let before = (shop.nginx_file(), scene.nginx.errors());
    tamper(
        &shop.state,
        "CREATE TRIGGER no_more BEFORE INSERT ON entry BEGIN SELECT RAISE(ABORT, 'no'); END;",
    );
    let ended = shop.host(&["adopt", "--backend", &address]).expect_code(3);
    assert!(ended.said().contains("nothing was changed"), "{}", ended.said());
    assert_eq!((shop.nginx_file(), scene.nginx.errors()), before, "NGINX was changed or reloaded");
    let status = shop.status();
    assert_eq!((&status["managed"], &status["open"]), (&false.into(), &().into()), "{status}");
    tamper(&shop.state, "DROP TRIGGER no_more;");
    shop.host(&["adopt", "--backend", &address]).expect_code(0);
    scene.use_pool(&shop);
    assert_eq!(shop.serving(), "v1");
    drop(scene);
}
