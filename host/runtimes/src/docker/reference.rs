//! The name of an image, taken apart: registry, repository, tag or digest.

use agente_engine::fault::{Fault, FaultKind};
use std::fmt;

/// The registry of names that carry none.
const USUAL_REGISTRY: &str = "docker.io";

/// `[registry/]path[:tag][@digest]`, or an id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reference {
    /// As written, without tag and digest.
    repository: String,
    tag: Option<String>,
    digest: Option<String>,
}

impl Reference {
    /// Parses a reference.
    pub(crate) fn parse(text: &str) -> Result<Self, Fault> {
        let wrong = |why: &str| {
            Err(Fault::new(
                FaultKind::InvalidConfig,
                format!("`{text}` is not the name of an image: {why}"),
            )
            .hint("write `name:tag`, `registry:port/name:tag` or `name@sha256:…`"))
        };
        if text.starts_with("sha256:") && text.len() == 71 {
            return Ok(Self {
                repository: String::new(),
                tag: None,
                digest: Some(text.to_owned()),
            });
        }
        let (named, digest) = match text.split_once('@') {
            Some((named, digest)) if digest.starts_with("sha256:") && digest.len() == 71 => {
                (named, Some(digest.to_owned()))
            }
            Some(_) => {
                return wrong(
                    "its digest is not `sha256:` followed by 64 hexadecimal \
            digits",
                );
            }
            None => (text, None),
        };
        // A colon before the last slash belongs to the registry's port.
        let (repository, tag) = match named.rsplit_once(':') {
            Some((repository, tag)) if !tag.contains('/') => (repository, Some(tag.to_owned())),
            _ => (named, None),
        };
        if repository.is_empty() {
            return wrong("it is empty");
        }
        let good_part = |part: &str| {
            part.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '[')
                && part.chars().all(|c| {
                    c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | ':' | '[' | ']')
                })
        };
        if !repository.split('/').all(good_part)
            || repository
                .rsplit('/')
                .next()
                .is_some_and(|last| last.chars().any(|c| c.is_ascii_uppercase()))
        {
            return wrong("it contains a character that is not allowed in image names");
        }
        if tag.as_deref().is_some_and(|tag| {
            tag.is_empty()
                || tag.len() > 128
                || !tag.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
        }) {
            return wrong("its tag contains a character that is not allowed in tags");
        }
        Ok(Self { repository: repository.to_owned(), tag, digest })
    }

    /// Whether it is only an id, which no registry knows.
    pub(crate) fn is_id(&self) -> bool {
        self.repository.is_empty()
    }

    pub(crate) fn repository(&self) -> &str {
        &self.repository
    }

    /// What is asked of the registry: the digest if there is one, else the tag, `latest` by
    /// default.
    pub(crate) fn version(&self) -> &str {
        self.digest.as_deref().or(self.tag.as_deref()).unwrap_or("latest")
    }

    /// `host[:port]`.
    pub(crate) fn registry(&self) -> &str {
        match self.repository.split_once('/') {
            Some((first, _)) if first.contains(['.', ':']) || first == "localhost" => first,
            _ => USUAL_REGISTRY,
        }
    }

    /// The repository as the engine shows it: without what is understood by itself.
    fn familiar(&self) -> &str {
        let name = self.repository.strip_prefix("docker.io/").unwrap_or(&self.repository);
        name.strip_prefix("library/").unwrap_or(name)
    }

    /// Whether `name@sha256:…`, as the engine shows it, is of this repository.
    pub(crate) fn is_repository_of(&self, repository_digest: &str) -> bool {
        repository_digest.split_once('@').is_some_and(|(name, digest)| {
            name == self.familiar() && self.digest.as_deref().is_none_or(|own| own == digest)
        })
    }

    /// Whether `name:tag`, as the engine shows it, is this very reference.
    pub(crate) fn is_tag(&self, tag: &str) -> bool {
        !self.is_id()
            && tag.rsplit_once(':').is_some_and(|(name, tag)| {
                name == self.familiar() && tag == self.tag.as_deref().unwrap_or("latest")
            })
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        match &self.digest {
            Some(digest) if self.is_id() => f.write_str(digest),
            Some(digest) => write!(f, "@{digest}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_taken_apart() {
        let digest = format!("sha256:{}", "a".repeat(64));
        for (text, registry, repository, version) in [
            ("shop", "docker.io", "shop", "latest"),
            ("shop:2", "docker.io", "shop", "2"),
            ("127.0.0.1:5000/team/shop", "127.0.0.1:5000", "127.0.0.1:5000/team/shop", "latest"),
            ("localhost/shop:v1.2_x", "localhost", "localhost/shop", "v1.2_x"),
            (&format!("a.local:443/shop:3@{digest}"), "a.local:443", "a.local:443/shop", &digest),
        ] {
            let parsed = Reference::parse(text).expect(text);
            assert_eq!(
                (parsed.registry(), parsed.repository(), parsed.version()),
                (registry, repository, version),
                "`{text}`"
            );
            assert_eq!(parsed.to_string(), text);
        }
    }

    #[test]
    fn what_would_change_the_path_of_a_call_is_refused() {
        for bad in [
            "",
            ":1",
            "../x",
            "a/../b",
            "shop?x=1",
            "shop#1",
            "shop:1/2?",
            "Shop:1",
            "shop:a b",
            "shop@md5:1",
            "a//b",
            "shop:",
        ] {
            assert_eq!(
                Reference::parse(bad).map_err(|fault| fault.kind),
                Err(FaultKind::InvalidConfig),
                "`{bad}`"
            );
        }
    }

    #[test]
    fn only_its_own_names_are_its_own() {
        let shop = Reference::parse("docker.io/library/shop:2").unwrap();
        assert!(shop.is_tag("shop:2") && !shop.is_tag("shop:3") && !shop.is_tag("team/shop:2"));
        assert!(shop.is_repository_of(&format!("shop@sha256:{}", "b".repeat(64))));
        assert!(!shop.is_repository_of(&format!("other@sha256:{}", "b".repeat(64))));
    }
}
