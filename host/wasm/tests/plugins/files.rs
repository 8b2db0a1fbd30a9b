//! Files: within the grant and the phase, and not a step beyond.

use crate::fixture::{World, words};
use agente_engine::fault::{Failure, FaultKind};
use serde_json::json;
use std::os::unix::fs::{PermissionsExt as _, symlink};

#[tokio::test]
async fn granted_files_are_read_listed_replaced_and_removed() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().display().to_string();
    let may = json!({ "write": format!("{root}/*") });
    let world = World::default();
    let file = format!("{root}/shop.conf");
    assert_eq!(
        world.look(json!({ "act": "read", "path": file, "may": may })).await.unwrap(),
        "(absent)"
    );
    let replace = |text: &str| json!({ "act": "replace", "path": file, "text": text, "mode": 0o640, "may": may });
    assert_eq!(world.change(replace("one")).await.unwrap(), "replaced");
    assert_eq!(world.change(replace("two")).await.unwrap(), "replaced");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "two");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o7777, 0o640);
    assert_eq!(
        world.look(json!({ "act": "list", "path": root, "may": may })).await.unwrap(),
        "shop.conf",
        "a temporary file was left"
    );
    let stat = world.look(json!({ "act": "stat", "path": file, "may": may })).await.unwrap();
    assert_eq!(stat, "shop.conf file Some((\"mode\", \"640\")) Some((\"writable\", \"true\"))");
    assert_eq!(
        world.change(json!({ "act": "remove", "path": file, "may": may })).await.unwrap(),
        "true"
    );
    assert_eq!(
        world.change(json!({ "act": "remove", "path": file, "may": may })).await.unwrap(),
        "false"
    );
    assert!(world.recorded().contains(&format!("replace the file `{file}`")));
}

#[tokio::test]
async fn nothing_is_replaced_or_removed_while_only_looking() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a");
    std::fs::write(&file, "old").unwrap();
    let world = World::default();
    for act in ["replace", "remove"] {
        let fault = world
            .look(json!({ "act": act, "path": file, "text": "new", "may": { "write": file } }))
            .await
            .unwrap_err();
        assert_eq!(fault.kind, FaultKind::Denied);
        assert!(fault.message.contains("the operation is read-only"), "{}", fault.message);
    }
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "old");
}

#[tokio::test]
async fn a_path_outside_the_grant_is_denied_with_the_line_that_would_allow_it() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("granted");
    let secret = folder.path().join("secret");
    std::fs::create_dir(&root).unwrap();
    std::fs::write(&secret, "hidden").unwrap();
    let may = json!({ "read": format!("{}/*", root.display()) });
    for path in [
        secret.display().to_string(),
        format!("{}/../secret", root.display()),
        format!("{}/./../secret", root.display()),
        format!("{}-other/x", root.display()),
        "relative".to_owned(),
        String::new(),
    ] {
        let fault = World::default()
            .look(json!({ "act": "read", "path": path, "may": may }))
            .await
            .unwrap_err();
        assert_eq!(fault.kind, FaultKind::Denied, "{path}");
    }
    let fault = World::default()
        .look(json!({ "act": "read", "path": secret, "may": may }))
        .await
        .unwrap_err();
    let line = format!("files = [{{ path = \"{}\", access = \"read\" }}]", secret.display());
    assert!(words(&fault).contains(&line), "{}", words(&fault));
    assert!(
        fault.message.contains("the plugin `test-guest` may not read the file"),
        "{}",
        fault.message
    );
}

#[tokio::test]
async fn a_link_does_not_lead_out_of_the_grant() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("granted");
    std::fs::create_dir(&root).unwrap();
    std::fs::create_dir(folder.path().join("elsewhere")).unwrap();
    let secret = folder.path().join("elsewhere/secret");
    std::fs::write(&secret, "hidden").unwrap();
    symlink(&secret, root.join("file")).unwrap();
    symlink(folder.path().join("elsewhere"), root.join("folder")).unwrap();
    let may = json!({ "write": format!("{}/**", root.display()) });
    for (act, path) in [
        ("read", "file"),
        ("read", "folder/secret"),
        ("list", "folder"),
        ("replace", "folder/secret"),
        ("remove", "folder/secret"),
        ("stat", "folder/secret"),
    ] {
        let failure = World::default()
            .change(json!({ "act": act, "path": root.join(path), "text": "x", "may": may }))
            .await
            .unwrap_err();
        assert_eq!(failure.fault().kind, FaultKind::Denied, "{act} {path}: {failure:?}");
        assert!(matches!(failure, Failure::Refused { .. }), "{act} {path}: {failure:?}");
    }
    // What a link stands for is never replaced through it, also where it leads into the grant.
    std::fs::write(root.join("target"), "old").unwrap();
    symlink(root.join("target"), root.join("alias")).unwrap();
    let failure = World::default()
        .change(json!({ "act": "replace", "path": root.join("alias"), "text": "x", "may": may }))
        .await
        .unwrap_err();
    assert!(failure.fault().message.contains("it is a symbolic link"), "{failure}");
    assert_eq!(std::fs::read_to_string(&secret).unwrap(), "hidden");
    assert_eq!(std::fs::read_to_string(root.join("target")).unwrap(), "old");
}

#[tokio::test]
async fn a_grant_through_a_link_of_the_system_holds() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("run")).unwrap();
    std::fs::write(folder.path().join("run/nginx.pid"), "12").unwrap();
    symlink(folder.path().join("run"), folder.path().join("var-run")).unwrap();
    let path = folder.path().join("var-run/nginx.pid");
    assert_eq!(
        World::default()
            .look(json!({ "act": "read", "path": path, "may": { "read": path } }))
            .await
            .unwrap(),
        "12"
    );
    // The operator named this very path: what stands there may be a link.
    symlink(folder.path().join("run/nginx.pid"), folder.path().join("pid")).unwrap();
    let path = folder.path().join("pid");
    assert_eq!(
        World::default()
            .look(json!({ "act": "read", "path": path, "may": { "read": path } }))
            .await
            .unwrap(),
        "12"
    );
}

#[tokio::test]
async fn only_files_are_read_and_never_more_than_a_call_may_carry() {
    let folder = tempfile::tempdir().unwrap();
    let may = json!({ "read": format!("{}/*", folder.path().display()) });
    std::fs::write(folder.path().join("large"), vec![0; 2 * 1024 * 1024]).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        folder.path().join("pipe"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .unwrap();
    for (name, told) in [("large", "larger than 1MiB"), ("pipe", "is not a file")] {
        let fault = World::default()
            .look(json!({ "act": "read", "path": folder.path().join(name), "may": may }))
            .await
            .unwrap_err();
        assert!(fault.message.contains(told), "{}", fault.message);
    }
}
