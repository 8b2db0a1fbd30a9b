//! Ids of backends: no two services in environments ever share one, whatever they are called.
#![expect(clippy::unwrap_used, reason = "a test fails on what it did not expect")]

use agente_engine::names::{
    BackendId, EnvironmentName, ReleaseNumber, Scope, ServiceName, Timestamp,
};
use agente_engine::release::{Artifact, Release, RuntimeSpec};
use agente_engine::route::Slot;
use proptest::prelude::*;

fn release(service: &str, environment: &str, number: u64) -> Release {
    Release {
        scope: Scope {
            service: ServiceName::new(service).unwrap(),
            environment: EnvironmentName::new(environment).unwrap(),
        },
        number: ReleaseNumber(number),
        artifact: Artifact::Adopted,
        runtime: RuntimeSpec::Adopted { addresses: Vec::new() },
        created: Timestamp(0),
    }
}

/// Two names from a few words, the text that they join to cut at one dash or another: different
/// names often join to the same text.
fn names() -> impl Strategy<Value = (String, String)> {
    let word = || prop_oneof!["a", "b1", "blue", "r1", "a-", "a--"];
    (prop::collection::vec(word(), 2..5), any::<prop::sample::Index>()).prop_map(|(words, at)| {
        let (service, environment) = words.split_at(1 + at.index(words.len() - 1));
        (service.join("-"), environment.join("-"))
    })
}

/// Service, environment, release, whether the slot is blue, index.
type Which = (String, String, u64, bool, usize);

fn which() -> impl Strategy<Value = Which> {
    (names(), 1u64..3, any::<bool>(), 0usize..3).prop_map(
        |((service, environment), number, blue, index)| (service, environment, number, blue, index),
    )
}

fn id((service, environment, number, blue, index): &Which) -> BackendId {
    let slot = if *blue { Slot::Blue } else { Slot::Green };
    BackendId::of(&release(service, environment, *number), slot, *index)
}

fn scope((service, environment, ..): &Which) -> Scope {
    release(service, environment, 1).scope
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]
    #[test]
    fn different_backends_have_different_ids(one in which(), other in which()) {
        prop_assert_eq!(one == other, id(&one) == id(&other));
        prop_assert!(id(&one).is_of(&scope(&one)));
        prop_assert_eq!(scope(&one) == scope(&other), id(&one).is_of(&scope(&other)));
    }
}

#[test]
fn the_longest_id_fits_wherever_it_is_used() {
    let (service, environment) = ("s".repeat(31), "e".repeat(31));
    let id = BackendId::of(&release(&service, &environment, u64::MAX), Slot::Green, 65_534);
    assert!(id.0.split('.').all(|label| label.len() <= 63), "{id} in the domain name system");
    assert!(id.0.len() <= 128, "{id} as a file's and a container's name");
    assert!(id.0.split('.').next_back().is_some_and(|last| last.parse::<u64>().is_err()));
}

#[test]
fn services_whose_names_join_to_the_same_text_are_told_apart() {
    let one = BackendId::of(&release("shop-eu", "prod", 1), Slot::Blue, 0);
    let other = BackendId::of(&release("shop", "eu-prod", 1), Slot::Blue, 0);
    assert_ne!(one, other);
}
