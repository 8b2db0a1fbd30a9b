//! What a newcomer types first, and what every command says where nothing was ever deployed.

use crate::sandbox::{Sandbox, snapshot, warm};
use std::fmt::Write as _;
use std::fs;

/// Enough to judge, to grant and to plan; its NGINX is nowhere.
const SHOP: &str = r#"service = "shop"

[runtime.process]
artifact = "shop"
command = ["./shop", "127.0.0.1:{port}"]
ports = "18100-18199"

[switch]
plugin = "nginx-switch"

[plugins.nginx-switch.config]
directory = "/nowhere/agente"
"#;

#[test]
fn init_writes_a_manifest_that_is_good_once_its_artifact_is_there() {
    let sandbox = Sandbox::empty();
    snapshot!("init", sandbox.expect(0, &["init"]).shown());
    let said = sandbox.expect(2, &["check"]).stderr;
    assert!(
        said.contains("agente.toml:8:12: the artifact `target/release/shop` does not exist"),
        "{said}"
    );
    fs::create_dir_all(sandbox.folder().join("target/release")).unwrap();
    sandbox.write_program("target/release/shop");
    // Nothing but the grants is missing now.
    let said = sandbox.expect(4, &["check"]).stderr;
    assert!(
        said.contains(
            "agente-host plugin add nginx-switch --env default --yes && agente-host plugin add \
             http-health --env default --yes"
        ),
        "{said}"
    );
    sandbox.grant(&["nginx-switch", "http-health"]);
    let plan = sandbox.expect(0, &["plan"]).stdout;
    assert!(plan.starts_with("deploy release r1 of shop/default: shop ("), "{plan}");
}

#[test]
fn init_takes_what_it_is_told() {
    let sandbox = Sandbox::empty();
    let arguments = [
        "init",
        "--service",
        "billing",
        "--artifact",
        "shop",
        "--url",
        "http://127.0.0.1:9999/pay",
    ];
    sandbox.expect(0, &arguments);
    let text = sandbox.read("agente.toml");
    for line in
        ["service = \"billing\"", "artifact = \"shop\"", "url = \"http://127.0.0.1:9999/pay\""]
    {
        assert!(text.lines().any(|written| written == line), "`{line}` is not in\n{text}");
    }
    assert_eq!(
        sandbox.expect(0, &["status"]).stdout,
        "billing/default: not under management yet\ntarget: can't be inspected: the plugin \
         `nginx-switch` has no matching grant for billing/default; nothing was changed\nstate: \
         [root]/state (no store)\n"
    );
}

#[test]
fn init_for_containers_writes_a_good_manifest() {
    let sandbox = Sandbox::empty();
    sandbox.expect(0, &["init", "--docker", "--image", "shop:7"]);
    assert!(sandbox.read("agente.toml").contains("image = \"shop:7\""));
    sandbox.expect(0, &["status"]);
    sandbox.expect(4, &["check"]);
}

#[test]
fn init_never_writes_over_a_manifest_unless_it_is_forced() {
    let sandbox = Sandbox::with("# mine\n");
    snapshot!("init_refuses", sandbox.expect(2, &["init"]).shown());
    assert_eq!(sandbox.read("agente.toml"), "# mine\n");
    sandbox.expect(0, &["init", "--force"]);
    assert!(sandbox.read("agente.toml").contains("service = \"shop\""));
    sandbox.expect(2, &["init", "--file", "nowhere/agente.toml"]);
    sandbox.expect(2, &["init", "--force", "--service", "Not A Name"]);
    assert!(sandbox.read("agente.toml").contains("service = \"shop\""));
}

#[test]
fn where_nothing_was_deployed_every_command_says_so_and_makes_nothing() {
    let sandbox = Sandbox::with(SHOP);
    sandbox.grant(&["nginx-switch"]);
    let before = sandbox.files();
    let mut shown = String::new();
    for (code, arguments) in [
        (0, &["status"][..]),
        (0, &["status", "--follow"]),
        (0, &["status", "--offline", "--output", "json"]),
        (0, &["history"]),
        (2, &["history", "--deployment", "20260101T000000-abcdef"]),
        (4, &["abort"]),
        (4, &["abort", "--reason", "checkout fails"]),
        (4, &["pause"]),
        (4, &["resume"]),
        (4, &["rollback"]),
        (4, &["rollback", "--to", "3"]),
        (4, &["logs"]),
        (0, &["up"]),
        (2, &["plugin", "remove", "http-health"]),
    ] {
        let run = sandbox.expect(code, arguments);
        writeln!(shown, "$ agente-host {}\n{}", arguments.join(" "), run.shown()).unwrap();
    }
    assert_eq!(sandbox.files(), before);
    assert!(!sandbox.state().exists());
    snapshot!("nothing_deployed", shown);
}

#[test]
fn a_file_that_is_just_being_built_keeps_nobody_from_looking_or_going_back() {
    let sandbox = Sandbox::with(SHOP);
    sandbox.grant(&["nginx-switch"]);
    fs::remove_file(sandbox.folder().join("shop")).unwrap();
    for (code, arguments) in [
        (0, ["status"]),
        (0, ["history"]),
        (4, ["abort"]),
        (4, ["resume"]),
        (4, ["rollback"]),
        (0, ["up"]),
        (2, ["deploy"]),
        (2, ["plan"]),
    ] {
        sandbox.expect(code, &arguments);
    }
}

#[test]
fn plan_shows_steps_limits_way_back_and_difference_and_changes_nothing() {
    let sandbox = Sandbox::with(SHOP);
    warm();
    let nginx = sandbox.folder().join("agente");
    fs::create_dir(&nginx).unwrap();
    sandbox.write("agente.toml", &SHOP.replace("/nowhere/agente", &nginx.display().to_string()));
    sandbox.grant(&["nginx-switch"]);
    let before = sandbox.files();
    let run = sandbox.expect(0, &["plan"]);
    // The target's own file is the plugin's business; here it counts that it is shown.
    let (plan, difference) = run.stdout.split_once("\n--- ").expect("a difference is shown");
    snapshot!("plan", plan);
    for line in ["+upstream agente_shop_default_blue {", "+    server 127.0.0.1:18100"] {
        assert!(
            difference.lines().any(|shown| shown.starts_with(line)),
            "`{line}` is not in\n{difference}"
        );
    }
    assert_eq!(
        sandbox.expect(0, &["deploy", "--dry-run"]).stdout.lines().count(),
        run.stdout.lines().count()
    );
    assert_eq!(sandbox.files(), before);
    assert!(!sandbox.state().exists());
}

#[test]
fn a_refused_first_deployment_says_what_was_found_and_how_to_mend_it() {
    let sandbox = Sandbox::with(SHOP);
    sandbox.grant(&["nginx-switch"]);
    let checked = sandbox.expect(2, &["check"]);
    assert!(
        checked.stdout.contains("bad      target: ") && checked.stdout.contains("/nowhere/agente"),
        "{}",
        checked.stdout
    );
    let run = sandbox.expect(2, &["deploy"]);
    assert_eq!(run.stdout, "");
    assert!(run.stderr.contains("refused: nothing was changed\n"), "{}", run.stderr);
    assert_eq!(run.stderr.matches("\n  Hint: ").count(), 1, "{}", run.stderr);
    // What was refused is in the history, with its reason.
    let history = sandbox.expect(0, &["history"]).stdout;
    assert!(
        history
            .lines()
            .nth(1)
            .is_some_and(|row| row.contains("  deploy  ") && row.contains("refused: ")),
        "{history}"
    );
    let status = sandbox.expect(0, &["status"]).stdout;
    assert!(status.contains("  stable    nothing\n"), "{status}");
    assert!(
        sandbox
            .expect(0, &["status", "--verify"])
            .stdout
            .starts_with("the journal of shop/default is intact: ")
    );
}
