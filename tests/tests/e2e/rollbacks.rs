//! The way back from a release that fails our own requests, too.

use agente_tests::scene::{Scene, Service, Setup, wait_for};

/// Waits until each of several requests in a row has failed.
fn wait_failing(shop: &Service) {
    wait_for("a release that fails every request", || {
        (0..5).all(|_| shop.ask("/api/items").status == 500).then_some(())
    });
}

#[test]
fn failures_of_the_release_that_is_left_do_not_hold_up_the_way_back() {
    let (scene, shop) = Scene::deployed();
    // Its endpoints say that all is well, and no budget is left for a failed request.
    shop.deploy(&Setup::version("v2").flag("--fail-after 3")).expect_code(0);
    wait_failing(&shop);
    let ended = shop.host(&["rollback"]).expect_code(0);
    assert_eq!(ended.outcome()["outcome"], "promoted");
    assert_eq!(shop.serving(), "v1");

    // By a new launch, where nothing is kept; a baseline of what fails would say nothing.
    let none = Setup { keep_previous: "\"none\"".to_owned(), ..Setup::version("v3") };
    shop.deploy(&none.flag("--fail-after 3")).expect_code(0);
    wait_failing(&shop);
    shop.write(&Setup { baseline: "5s".to_owned(), ..Setup::version("v3") });
    let ended = shop.host(&["rollback"]).expect_code(0);
    assert_eq!(ended.outcome()["outcome"], "promoted");
    assert_eq!(shop.serving(), "v1");
    drop(scene);
}
