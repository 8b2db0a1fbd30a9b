//! A short form of `make soak`.

use agente_tests::soak::{Pass, run};

#[test]
fn switches_in_a_row_lose_nothing_although_old_backends_are_killed_when_they_are_retired() {
    let soaked = run(&Pass::debian_closing(), 3, |_, _| {});
    assert_eq!(soaked.wrong(), Vec::<String>::new(), "{}", soaked.load);
}
