//! What everything of one service and environment is called. Nothing here may meet another
//! service's names by chance.

use crate::config::is_word;
use agente_plugin_sdk::host::Context;
use agente_plugin_sdk::{Failure, label};
use sha2::{Digest, Sha256};

/// Every name of one service and environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    pub service: String,
    pub environment: String,
    /// The store that asks; empty where the host names none.
    pub store: String,
    base: String,
}

/// The longest name of a server that fits NGINX's smallest usual hash bucket.
const MAX_SERVER_NAME: usize = 40;

impl Names {
    /// The names for an operation's surroundings.
    pub fn of(context: &Context) -> Result<Self, Failure> {
        let name = |what: &str, text: &str| {
            let mut characters = text.chars();
            let begins = characters.next().is_some_and(|first| first.is_ascii_lowercase());
            if begins
                && text.len() <= 31
                && characters.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
            {
                Ok(text.to_owned())
            } else {
                Err(Failure::invalid_config(format!(
                    "the {what} `{}` is not a valid name: `[a-z][a-z0-9-]*`, at most 31 characters",
                    text.escape_debug()
                )))
            }
        };
        let service = name("service", &context.service)?;
        let environment = name("environment", &context.environment)?;
        let store = label(&context.labels, "store").unwrap_or_default().to_owned();
        if !store.is_empty() && !is_word(&store, "._:-", 128) {
            return Err(Failure::invalid_config(format!(
                "`{}` is not a store id",
                store.escape_debug()
            )));
        }
        // An environment begins with a letter, so that of several underscores the last one of an odd
        // number parts it from the service, and the others are the dashes of names.
        let base =
            format!("agente_{}_{}", service.replace('-', "__"), environment.replace('-', "__"));
        Ok(Self { service, environment, store, base })
    }

    /// The file's name.
    pub fn file(&self) -> String {
        format!("agente-{}.{}.conf", self.service, self.environment)
    }

    /// A slot's upstream.
    pub fn upstream(&self, slot: &str) -> String {
        format!("{}_{slot}", self.base)
    }

    /// A variable, without its `$`: `pool` and `slot` are for the operator's configuration, the
    /// rest is ours.
    pub fn variable(&self, what: &str) -> String {
        format!("{}_{what}", self.base)
    }

    /// What begins all upstreams and variables.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// The name of the server that tells what is loaded.
    pub fn marker_host(&self) -> String {
        let plain = format!("{}.{}.agente.internal", self.service, self.environment);
        if plain.len() <= MAX_SERVER_NAME {
            return plain;
        }
        let digest = hex::encode(Sha256::digest(plain.as_bytes()));
        format!("{}.agente.internal", digest.get(..16).unwrap_or(&digest))
    }

    /// Service and environment in words.
    pub fn scope(&self) -> String {
        format!("{}/{}", self.service, self.environment)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::SLOTS;
    use proptest::prelude::*;
    use std::collections::BTreeSet;
    use std::time::Duration;

    fn names(service: &str, environment: &str) -> Result<Names, Failure> {
        Names::of(&Context {
            deployment: String::new(),
            service: service.into(),
            environment: environment.into(),
            write: false,
            remaining: Duration::ZERO,
            labels: vec![("store".into(), "s1".into())],
        })
    }

    #[test]
    fn all_names_carry_service_and_environment() {
        let names = names("web-shop", "production").unwrap();
        assert_eq!(names.file(), "agente-web-shop.production.conf");
        assert_eq!(names.upstream("blue"), "agente_web__shop_production_blue");
        assert_eq!(names.variable("pool"), "agente_web__shop_production_pool");
        assert_eq!(names.marker_host(), "web-shop.production.agente.internal");
    }

    /// Two names from a few words, the text that they join to cut at one dash or another: different
    /// names often join to the same text.
    fn joined() -> impl Strategy<Value = (String, String)> {
        let word = || prop_oneof!["a", "b1", "blue", "pool", "a-", "a--"];
        (prop::collection::vec(word(), 2..5), any::<prop::sample::Index>()).prop_map(
            |(words, at)| {
                let (service, environment) = words.split_at(1 + at.index(words.len() - 1));
                (service.join("-"), environment.join("-"))
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn no_two_services_share_a_name(one in joined(), other in joined()) {
            prop_assume!(one != other);
            let (one, other) = (names(&one.0, &one.1).unwrap(), names(&other.0, &other.1).unwrap());
            let variables = ["pool", "slot", "split", "key", "rule_1"];
            let all = |names: &Names| -> BTreeSet<String> {
                let upstreams = SLOTS.map(|slot| names.upstream(slot));
                let variables = variables.map(|what| names.variable(what));
                upstreams.into_iter().chain(variables).chain([names.base().to_owned()]).collect()
            };
            prop_assert!(all(&one).is_disjoint(&all(&other)), "{:?} {:?}", all(&one), all(&other));
            prop_assert_ne!(one.file(), other.file());
            prop_assert_ne!(one.marker_host(), other.marker_host());
        }
    }

    #[test]
    fn a_long_name_still_fits_the_hash_of_server_names() {
        let names = names(&"a".repeat(31), &"b".repeat(31)).unwrap();
        assert!(names.marker_host().len() <= MAX_SERVER_NAME, "{}", names.marker_host());
    }

    #[test]
    fn text_that_is_no_name_goes_nowhere() {
        for bad in ["", "Shop", "1shop", "shop;", "shop_x", "shop/..", &"a".repeat(32)] {
            assert!(names(bad, "production").is_err(), "{bad}");
            assert!(names("shop", bad).is_err(), "{bad}");
        }
    }
}
