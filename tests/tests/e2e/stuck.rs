//! A deployment that can go neither on nor back.

use agente_tests::scene::{Scene, Setup};

#[test]
fn a_stuck_step_is_in_status_in_its_json_and_in_its_exit_code_until_it_is_undone() {
    let (mut scene, shop) = Scene::deployed();
    let more = "undo = \"3s\"\n".to_owned();
    let run = shop.begin_deploy(&Setup { bake: "5m".to_owned(), more, ..Setup::version("v2") });
    assert!(run.wait_step("bake", "started"));
    let id = run.id();
    let open = shop.host(&["status"]).expect_code(0);
    assert_eq!(open.events[0]["open"]["stuck"], false);
    scene.nginx.stop();
    run.wait().expect_code(3);

    let told = shop.host(&["status"]).expect_code(3);
    let open = &told.events[0]["open"];
    assert_eq!((&open["deployment"], &open["stuck"]), (&id.as_str().into(), &true.into()));
    let steps = open["steps"].as_array().expect("steps");
    let stuck: Vec<_> = steps.iter().filter(|step| step["state"] == "stuck").collect();
    assert_eq!(stuck.len(), 1, "{open}");
    assert_eq!(stuck[0]["kind"], "shift", "{open}");
    assert!(stuck[0]["fault"]["message"].as_str().is_some_and(|it| !it.is_empty()), "{open}");
    let entries = shop.journal(&id);
    assert_eq!(entries.last().expect("an entry")["event"]["event"], "undo-failed", "{entries:?}");
    // Nobody goes on with it, so following ends at once, and with the same code.
    let followed = shop.host(&["status", "--follow"]).expect_code(3);
    assert!(followed.stderr.contains("it is stuck"), "{}", followed.stderr);
    let manifest = shop.path("agente.toml").display().to_string();
    let people = shop.type_in(&format!("agente-host -f {manifest} status"));
    let text = String::from_utf8_lossy(&people.stdout);
    assert_eq!(people.status.code(), Some(3), "{text}");
    assert!(
        text.contains("STUCK: needs manual intervention") && text.contains("shift: STUCK: "),
        "{text}"
    );

    scene.nginx.start();
    shop.host(&["resume"]).expect_code(1);
    let told = shop.host(&["status"]).expect_code(0);
    assert!(told.events[0]["open"].is_null(), "{}", told.events[0]);
    assert_eq!(shop.serving(), "v1");
    drop(scene);
}
