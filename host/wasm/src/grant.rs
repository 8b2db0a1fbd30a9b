//! A grant: what the operator allowed one plugin in one environment, and to what it was an answer.
//!
//! When the plugin's bytes or the request (with the manifest's values filled in) change, it no
//! longer holds and the operator is asked again. A grant that was narrowed by hand goes on holding:
//! *effective = requested ∩ granted*.

use crate::capability::Capabilities;
use agente_engine::names::Digest;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeSet;

/// What one plugin was granted in one environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// Where the component came from, as the operator wrote it.
    pub source: String,
    /// Of the component's bytes.
    pub digest: Digest,
    /// Of the request that the operator answered.
    asked: Digest,
    /// What it may do.
    #[serde(default, skip_serializing_if = "Capabilities::is_empty")]
    pub granted: Capabilities,
}

impl Grant {
    /// A grant of everything that was asked for.
    pub fn of_all(source: impl Into<String>, digest: Digest, asked: Capabilities) -> Self {
        Self { source: source.into(), digest, asked: digest_of_request(&asked), granted: asked }
    }

    /// How a plugin as it is now differs from what was granted.
    pub fn difference(&self, digest: &Digest, asks: &Capabilities) -> Option<Difference> {
        let digest_changed =
            (self.digest != *digest).then(|| (self.digest.clone(), digest.clone()));
        let request_changed = self.asked != digest_of_request(asks);
        (digest_changed.is_some() || request_changed).then(|| {
            let next = Self::of_all("", digest.clone(), asks.clone()).keeping_prefixes_of(self);
            Difference::between(digest_changed, &self.granted, &next.granted)
        })
    }

    /// The same grant with what the operator had put before a command (`prefix`) kept for the same
    /// command, for it says how and not whether.
    #[must_use]
    pub fn keeping_prefixes_of(mut self, earlier: &Grant) -> Self {
        for rule in &mut self.granted.exec {
            let same = earlier.granted.exec.iter().find(|old| {
                (&old.program, &old.args, &old.place) == (&rule.program, &rule.args, &rule.place)
            });
            if let Some(old) = same.filter(|_| rule.prefix.is_empty()) {
                rule.prefix.clone_from(&old.prefix);
            }
        }
        self
    }

    /// What changes when another grant takes the place of this one; nothing where it allows the
    /// same to the same component under the same request.
    pub fn replaced_by(&self, next: &Grant) -> Option<Difference> {
        let digest =
            (self.digest != next.digest).then(|| (self.digest.clone(), next.digest.clone()));
        let difference = Difference::between(digest, &self.granted, &next.granted);
        let same = self.asked == next.asked
            && difference.digest.is_none()
            && difference.more.is_empty()
            && difference.less.is_empty();
        (!same).then_some(difference)
    }
}

/// How a plugin that was granted something has changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The digest that was granted, and the one that was found, where they differ.
    pub digest: Option<(Digest, Digest)>,
    /// What it asks for beyond its grant, one rule a line.
    pub more: BTreeSet<String>,
    /// What its grant allows and it no longer asks for.
    pub less: BTreeSet<String>,
}

impl Difference {
    fn between(
        digest: Option<(Digest, Digest)>,
        granted: &Capabilities,
        asks: &Capabilities,
    ) -> Self {
        let (granted, asks) = (granted.lines(), asks.lines());
        Self {
            digest,
            more: asks.difference(&granted).cloned().collect(),
            less: granted.difference(&asks).cloned().collect(),
        }
    }

    /// For people: `+` and `-` before each line.
    pub fn lines(&self) -> Vec<String> {
        let digest = self.digest.iter().map(|(granted, found)| {
            format!("component {} instead of {}", found.short(), granted.short())
        });
        let more = self.more.iter().map(|line| format!("+ {line}"));
        let less = self.less.iter().map(|line| format!("- {line}"));
        let lines: Vec<String> = digest.chain(more).chain(less).collect();
        if lines.is_empty() {
            vec!["only in what it requests; all of that is already granted".to_owned()]
        } else {
            lines
        }
    }
}

/// Of a request in its written form, which is stable.
fn digest_of_request(asks: &Capabilities) -> Digest {
    let lines: Vec<String> = asks.lines().into_iter().collect();
    crate::component::digest_of(&Sha256::digest(lines.join("\n").as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::component::digest_of;

    fn capabilities(folder: &str) -> Capabilities {
        toml::from_str(&format!(
            r#"
            files = [{{ path = "{folder}/*", access = "write" }}]
            exec = [{{ program = "/usr/sbin/nginx", args = ["-t"], phase = "read" }}, {{ program = "/usr/sbin/nginx", args = ["-s", "reload"], phase = "write" }}]
            tcp = [{{ address = "@backends" }}]
            "#
        ))
        .unwrap()
    }

    #[test]
    fn a_changed_component_or_value_is_told_in_words_and_a_narrowed_grant_still_holds() {
        let grant = Grant::of_all("x.wasm", digest_of(b"a"), capabilities("/etc/nginx/conf.d"));
        assert_eq!(grant.difference(&digest_of(b"a"), &capabilities("/etc/nginx/conf.d")), None);

        let moved = grant.difference(&digest_of(b"a"), &capabilities("/srv/conf.d")).unwrap();
        assert_eq!(
            moved.lines(),
            [
                "+ read and write the files in the directory `/srv/conf.d`",
                "- read and write the files in the directory `/etc/nginx/conf.d`"
            ]
        );

        let rebuilt =
            grant.difference(&digest_of(b"b"), &capabilities("/etc/nginx/conf.d")).unwrap();
        assert_eq!(rebuilt.lines().len(), 1, "{:?}", rebuilt.lines());

        let mut narrowed = grant;
        narrowed.granted.tcp.clear();
        assert_eq!(narrowed.difference(&digest_of(b"a"), &capabilities("/etc/nginx/conf.d")), None);
    }

    #[test]
    fn the_operators_prefix_survives_an_upgrade() {
        let mut first = Grant::of_all("x.wasm", digest_of(b"a"), capabilities("/etc"));
        first.granted.exec[1].prefix = vec!["/usr/bin/sudo".to_owned(), "-n".to_owned()];
        let next = Grant::of_all("x.wasm", digest_of(b"b"), capabilities("/etc"))
            .keeping_prefixes_of(&first);
        assert_eq!(next.granted.exec[1].prefix, ["/usr/bin/sudo", "-n"]);
        assert!(next.granted.exec[0].prefix.is_empty());
        // It is kept, so it is no difference.
        assert_eq!(first.replaced_by(&next).unwrap().lines().len(), 1);
        assert_eq!(
            first.difference(&digest_of(b"b"), &capabilities("/etc")).unwrap().lines().len(),
            1
        );
        let mut other = next.clone();
        other.granted.exec[1].prefix = vec!["/usr/bin/doas".to_owned()];
        assert_eq!(other.clone().keeping_prefixes_of(&first), other);
    }

    #[test]
    fn a_grant_that_takes_the_place_of_another_differs_by_what_each_allows() {
        let whole = Grant::of_all("x.wasm", digest_of(b"a"), capabilities("/etc"));
        assert_eq!(whole.replaced_by(&whole), None);
        let mut narrowed = whole.clone();
        narrowed.granted.tcp.clear();
        let restored = narrowed.replaced_by(&whole).unwrap();
        assert_eq!(
            restored.more.into_iter().collect::<Vec<_>>(),
            whole.granted.tcp.iter().map(ToString::to_string).collect::<Vec<_>>()
        );
        let mut other_request = capabilities("/etc");
        other_request.tcp.clear();
        let asks_less = Grant::of_all("x.wasm", digest_of(b"a"), other_request);
        let lines = narrowed.replaced_by(&asks_less).unwrap().lines();
        assert_eq!(lines, ["only in what it requests; all of that is already granted"]);
    }
}
