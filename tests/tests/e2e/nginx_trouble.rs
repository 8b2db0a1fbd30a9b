//! NGINX says no, or is not there: each cause has its own clear words, the file is as it was, and
//! the old version serves throughout.

use agente_tests::scene::{Ended, Scene, Service, Setup, Traffic};
use std::net::TcpListener;

/// What must be the same after a deployment that came to nothing.
struct Before {
    file: Option<Vec<u8>>,
    backends: Vec<(String, u32)>,
}

fn before(shop: &Service) -> Before {
    Before { file: shop.nginx_file(), backends: shop.backends() }
}

impl Before {
    /// The deployment ended with this code and these words, and left nothing behind.
    #[track_caller]
    fn came_to_nothing(&self, shop: &Service, ended: Ended, code: i32, words: &[&str]) {
        let ended = ended.expect_code(code);
        for words in words {
            assert!(ended.said().contains(words), "`{words}` is not in\n{}", ended.said());
        }
        let outcome = &ended.outcome()["outcome"];
        assert!(outcome == "refused" || outcome == "unwound", "{outcome}");
        assert_eq!(
            shop.nginx_file().map(text),
            self.file.clone().map(text),
            "the file is as it was"
        );
        self.nothing_left(shop);
    }

    /// The same where the new file had been in place: the one that was put back carries the token
    /// of the host that did it.
    #[track_caller]
    fn was_put_back(&self, shop: &Service, ended: Ended, words: &[&str]) {
        let ended = ended.expect_code(1);
        for words in words {
            assert!(ended.said().contains(words), "`{words}` is not in\n{}", ended.said());
        }
        assert_eq!(ended.outcome()["outcome"], "unwound");
        assert_eq!(
            shop.nginx_file().map(without_token),
            self.file.clone().map(without_token),
            "the file is as it was"
        );
        self.nothing_left(shop);
    }

    #[track_caller]
    fn nothing_left(&self, shop: &Service) {
        assert_eq!(
            shop.backends(),
            self.backends,
            "the candidate is gone, the stable side untouched"
        );
    }
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).expect("a file of text")
}

/// A file without its digest and fencing token.
fn without_token(bytes: Vec<u8>) -> String {
    let text = text(bytes);
    let lines = text.lines().skip(1).map(|line| {
        // Once in a comment, once in what the marker says, where `\n` is written out.
        let parts =
            line.split("\\n").filter(|part| !part.trim_start_matches("# ").starts_with("fence "));
        parts.collect::<Vec<_>>().join("\\n")
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn a_configuration_that_somebody_broke_before_or_meanwhile() {
    let (mut scene, shop) = Scene::deployed();
    let load = Traffic::on(&shop, 50.0, 1);
    let before = before(&shop);

    scene.nginx.http = "no_such_directive on;".to_owned();
    scene.nginx.write();
    let ended = shop.deploy(&Setup::version("v2"));
    before.came_to_nothing(
        &shop,
        ended,
        1,
        &["is already invalid", "unknown directive \"no_such_directive\""],
    );

    scene.nginx.http.clear();
    scene.nginx.write();
    let run = shop.begin_deploy(&Setup::version("v2").flag("--startup 1"));
    assert!(run.wait_step("await-healthy", "started"));
    scene.nginx.http = "no_such_directive on;".to_owned();
    scene.nginx.write();
    before.came_to_nothing(
        &shop,
        run.wait(),
        1,
        &["unknown directive \"no_such_directive\"", "is invalid even without our change"],
    );
    assert_eq!(shop.serving(), "v1");

    scene.nginx.http.clear();
    scene.nginx.write();
    shop.deploy(&Setup::version("v2")).expect_code(0);
    assert_eq!(shop.serving(), "v2");
    load.nothing_lost();
}

#[test]
fn a_configuration_that_is_accepted_and_not_loaded() {
    let (mut scene, shop) = Scene::deployed();
    let zone = |key: &str| format!("limit_req_zone {key} zone=zz:1m rate=1000r/s;");
    scene.nginx.http = zone("$host");
    scene.nginx.write();
    scene.nginx.reload();
    let load = Traffic::on(&shop, 50.0, 1);
    let before = before(&shop);

    let taken = TcpListener::bind(("127.0.0.1", scene.spare_port())).expect("the spare port");
    let address = taken.local_addr().expect("its address");
    scene.nginx.http = format!("{} server {{ listen {address}; }}", zone("$host"));
    scene.nginx.write();
    let ended = shop.deploy(&Setup::version("v2"));
    before.was_put_back(
        &shop,
        ended,
        &["did not accept the new routes", &format!("bind() to {address} failed (98")],
    );
    assert_eq!(shop.serving(), "v1");
    drop(taken);

    scene.nginx.http = zone("$uri");
    scene.nginx.write();
    let ended = shop.deploy(&Setup::version("v2"));
    let words = "limit_req \"zz\" uses the \"$uri\" key while previously it used the \"$host\" key";
    before.was_put_back(&shop, ended, &["did not accept the new routes", words]);
    assert_eq!(shop.serving(), "v1");

    scene.nginx.http = zone("$host");
    scene.nginx.write();
    shop.deploy(&Setup::version("v2")).expect_code(0);
    assert_eq!(shop.serving(), "v2");
    load.nothing_lost();
}

#[test]
fn an_nginx_that_is_not_there_or_not_the_one_that_was_meant() {
    let (mut scene, shop) = Scene::deployed();
    let before = before(&shop);
    let pid_file = scene.nginx.path("nginx.pid");
    let pid = std::fs::read_to_string(&pid_file).expect("a pid file");
    let v2 = Setup::version("v2");

    std::fs::remove_file(&pid_file).expect("removed");
    before.came_to_nothing(&shop, shop.deploy(&v2), 1, &["is missing, although NGINX answers at"]);
    assert_eq!(shop.serving(), "v1");
    std::fs::write(&pid_file, &pid).expect("put back");

    // The pid file names an NGINX, and it is another one.
    let mut other = Scene::new();
    other.nginx.start();
    std::fs::write(&pid_file, other.nginx.master().to_string()).expect("written");
    before.came_to_nothing(&shop, shop.deploy(&v2), 4, &["was started with `-c"]);
    assert_eq!(shop.serving(), "v1");
    std::fs::write(&pid_file, &pid).expect("put back");

    // The `include` is gone from the file on the disk; the running NGINX still has it.
    scene.nginx.includes = false;
    scene.nginx.write();
    before.came_to_nothing(&shop, shop.deploy(&v2), 1, &["does not include"]);
    assert_eq!(shop.serving(), "v1");
    scene.nginx.includes = true;
    scene.nginx.write();

    scene.nginx.stop();
    before.came_to_nothing(
        &shop,
        shop.deploy(&v2),
        1,
        &["NGINX is not running: there is no pid file"],
    );
    std::fs::write(&pid_file, &pid).expect("a stale one");
    before.came_to_nothing(&shop, shop.deploy(&v2), 1, &["is stale: its process is not running"]);
    std::fs::remove_file(&pid_file).expect("removed");

    scene.nginx.start();
    assert_eq!(shop.serving(), "v1");
    shop.deploy(&v2).expect_code(0);
    assert_eq!(shop.serving(), "v2");
}

#[test]
fn a_file_that_was_edited_by_hand_is_drift_and_not_written_over() {
    let (scene, shop) = Scene::deployed();
    let before = before(&shop);
    let mut edited = before.file.clone().expect("our file");
    edited.extend_from_slice(b"# a note by hand\n");
    std::fs::write(shop.nginx_path(), &edited).expect("edited");
    let edited = Before { file: Some(edited), backends: before.backends.clone() };
    edited.came_to_nothing(
        &shop,
        shop.deploy(&Setup::version("v2")),
        4,
        &["the target is not as agente-host left it", "was edited after it was written"],
    );
    assert_eq!(shop.serving(), "v1");

    std::fs::write(shop.nginx_path(), before.file.expect("our file")).expect("put back");
    shop.deploy(&Setup::version("v2")).expect_code(0);
    assert_eq!(shop.serving(), "v2");
    drop(scene);
}
