//! Names and numbers that identify things. Each can only be built valid.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing there.
    #[error("the {what} name is empty")]
    Empty {
        /// What the name was to be of.
        what: &'static str,
    },
    /// Over 31 characters.
    #[error("the {what} name `{name}` has more than 31 characters")]
    TooLong {
        /// What the name was to be of.
        what: &'static str,
        name: String,
    },
    /// A character outside the grammar.
    #[error(
        "the {what} name `{name}` must start with a lower-case letter and contain only lower-case \
        letters, digits and `-`"
    )]
    Grammar {
        /// What the name was to be of.
        what: &'static str,
        name: String,
    },
}

fn check_name(what: &'static str, name: &str) -> Result<(), NameError> {
    let mut characters = name.chars();
    let Some(first) = characters.next() else {
        return Err(NameError::Empty { what });
    };
    if name.len() > 31 {
        return Err(NameError::TooLong { what, name: name.to_owned() });
    }
    if !first.is_ascii_lowercase()
        || !characters.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
    {
        return Err(NameError::Grammar { what, name: name.to_owned() });
    }
    Ok(())
}

macro_rules! name_type {
    ($(#[$doc:meta])* $type:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[derive(JsonSchema, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(String);

        impl $type {
            /// Parses a name: `[a-z][a-z0-9-]{0,30}`.
            pub fn new(name: impl Into<String>) -> Result<Self, NameError> {
                let name = name.into();
                check_name($what, &name)?;
                Ok(Self(name))
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $type {
            type Error = NameError;
            fn try_from(name: String) -> Result<Self, NameError> {
                Self::new(name)
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> Self {
                name.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name_type!(
    /// What is deployed.
    ServiceName,
    "service"
);
name_type!(
    /// Where it is deployed: staging, production …
    EnvironmentName,
    "environment"
);
name_type!(
    /// A plugin, as the manifest and the lock file call it.
    PluginName,
    "plugin"
);

/// The service and environment that a deployment, a lease and a journal belong to.
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, JsonSchema, Serialize, Deserialize,
)]
pub struct Scope {
    pub service: ServiceName,
    pub environment: EnvironmentName,
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.service, self.environment)
    }
}

/// A release's number within its scope, from 1.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, JsonSchema, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct ReleaseNumber(pub u64);

impl fmt::Display for ReleaseNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "r{}", self.0)
    }
}

macro_rules! id_type {
    ($(#[$doc:meta])* $type:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[derive(JsonSchema, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $type(pub String);

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

id_type!(
    /// One attempt to deploy. Made by the command line: sortable by time, unique.
    DeploymentId
);
id_type!(
    /// One running instance. Deterministic: `<service>.<environment>.<slot>-r<release>-<index>`.
    BackendId
);
id_type!(
    /// One effect of one deployment; the same for each repetition of it.
    OpId
);

/// `sha256:` and 64 hexadecimal digits.
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, JsonSchema, Serialize, Deserialize,
)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(String);

/// A text that is not a digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a digest: `sha256:` followed by 64 hexadecimal digits")]
pub struct DigestError(pub String);

impl Digest {
    /// Parses `sha256:` and 64 lower-case hexadecimal digits.
    pub fn new(text: impl Into<String>) -> Result<Self, DigestError> {
        let text = text.into();
        match text.strip_prefix("sha256:") {
            Some(hex)
                if hex.len() == 64
                    && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) =>
            {
                Ok(Self(text))
            }
            _ => Err(DigestError(text)),
        }
    }

    /// The whole text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first twelve digits, for people.
    pub fn short(&self) -> &str {
        self.0.get(7..19).unwrap_or(&self.0)
    }
}

impl TryFrom<String> for Digest {
    type Error = DigestError;
    fn try_from(text: String) -> Result<Self, DigestError> {
        Self::new(text)
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A moment: milliseconds since the Unix epoch.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    JsonSchema,
    Serialize,
    Deserialize,
    Default,
)]
#[serde(transparent)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// The time from `earlier` to here; zero if that is later.
    pub fn since(self, earlier: Timestamp) -> std::time::Duration {
        std::time::Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// This moment and `duration` more.
    #[must_use]
    pub fn after(self, duration: std::time::Duration) -> Timestamp {
        Timestamp(self.0.saturating_add(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_outside_the_grammar_is_refused() {
        for bad in ["", "Shop", "1shop", "shop_a", "-shop", "a234567890123456789012345678901234"] {
            assert!(ServiceName::new(bad).is_err(), "`{bad}` was taken");
        }
        assert_eq!(ServiceName::new("shop-2").map(String::from), Ok("shop-2".to_owned()));
    }

    #[test]
    fn a_digest_is_exactly_sha256_in_lower_case() {
        let good = format!("sha256:{}", "0a".repeat(32));
        assert_eq!(Digest::new(&good).map(|d| d.short().to_owned()), Ok("0a0a0a0a0a0a".to_owned()));
        for bad in ["sha256:", "md5:00", &good.to_uppercase(), &good[..70]] {
            assert!(Digest::new(bad).is_err());
        }
    }
}
