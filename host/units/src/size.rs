//! Numbers of bytes.
//!
//! Read by our own table and not by the crate `bytesize`: that one takes `64MB` and `64m` as
//! decimal, where half the tools that people know mean binary, and makes a number that is too large
//! the largest one. Here a doubtful unit is a mistake with its correction.

use crate::misread::split_number;
use crate::{Misread, as_text};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// The units, largest first, in bytes.
const UNITS: [(&str, u64); 5] =
    [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// A number of bytes: `64MiB`, `1GiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Size(u64);

as_text!(Size, "size", "^\\s*[0-9]+\\s*(B|KiB|MiB|GiB|TiB)\\s*$");

impl Size {
    /// A size of so many bytes.
    pub const fn from_bytes(count: u64) -> Self {
        Self(count)
    }

    /// A size of so many mebibytes.
    pub const fn mebibytes(count: u64) -> Self {
        Self(count << 20)
    }

    /// In bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }
}

impl FromStr for Size {
    type Err = Misread;

    fn from_str(text: &str) -> Result<Self, Misread> {
        let usual = || "write a whole number and its unit, such as `64MiB` or `1GiB`".to_owned();
        let misread = |why: &str, fix: String| Misread {
            message: format!("`{text}` is not a size: {why}"),
            fix,
        };
        let (number, unit) = split_number(text.trim())
            .ok_or_else(|| misread("it must start with a whole number", usual()))?;
        let unit = unit.trim();
        let Some(&(_, factor)) = UNITS.iter().find(|(name, _)| *name == unit) else {
            let meant = unit.chars().next().and_then(|first| {
                UNITS.iter().find(|(name, _)| name.starts_with(first.to_ascii_uppercase()))
            });
            return Err(match meant {
                _ if unit.is_empty() => misread("the number has no unit", usual()),
                Some((name, _)) => misread(
                    &format!("the unit `{unit}` is unknown"),
                    format!("write `{number}{name}`"),
                ),
                None => misread("the units are `B`, `KiB`, `MiB`, `GiB`, `TiB`", usual()),
            });
        };
        number
            .checked_mul(factor)
            .filter(|&bytes| i64::try_from(bytes).is_ok())
            .map(Self)
            .ok_or_else(|| misread("it is too large", usual()))
    }
}

impl fmt::Display for Size {
    /// With the largest unit that divides it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, factor) = UNITS
            .into_iter()
            .find(|&(_, factor)| self.0 >= factor && self.0.is_multiple_of(factor))
            .unwrap_or(("B", 1));
        write!(f, "{}{unit}", self.0 / factor)
    }
}
