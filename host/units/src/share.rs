//! Shares of a whole.

use crate::{Misread, as_text};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A share of a whole: `1%`, `0.25%`.
///
/// Unit: percent with up to four decimals, 0 to 100.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Share(f64);

as_text!(Share, "share", "^\\s*[0-9]{1,3}(\\.[0-9]{1,4})?\\s*%\\s*$");

impl Share {
    /// A share by its ratio, 0 to 1.
    pub const fn from_ratio(ratio: f64) -> Self {
        Self(ratio)
    }

    /// As a ratio, 0 to 1.
    pub const fn ratio(self) -> f64 {
        self.0
    }
}

impl FromStr for Share {
    type Err = Misread;

    fn from_str(text: &str) -> Result<Self, Misread> {
        let misread = |why: &str| Misread {
            message: format!("`{text}` is not a percentage: {why}"),
            fix: "write a percentage with at most four decimals, such as `1%` or \
            `0.25%`"
                .to_owned(),
        };
        let Some(number) = text.trim().strip_suffix('%') else {
            let no_sign = misread("it has no `%`");
            return Err(match text.trim().parse::<f64>() {
                Ok(ratio) if (0.0..=1.0).contains(&ratio) => {
                    Misread { fix: format!("write `{}`", Self(ratio)), ..no_sign }
                }
                _ => no_sign,
            });
        };
        let number = number.trim_end();
        if number.starts_with('-') {
            return Err(misread("it is negative"));
        }
        let (whole, decimals) = number.split_once('.').unwrap_or((number, "0"));
        let digits =
            |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(whole) || !digits(decimals) {
            return Err(misread("there is no number before the `%`"));
        }
        if decimals.len() > 4 {
            return Err(misread("it has more than four decimals"));
        }
        // In millionths, so that the ratio is the one nearest to what is written.
        format!("{whole}{decimals:0<4}")
            .parse::<u32>()
            .ok()
            .filter(|&millionths| millionths <= 1_000_000)
            .map(|millionths| Self(f64::from(millionths) / 1e6))
            .ok_or_else(|| misread("it is more than `100%`"))
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = format!("{:.4}", self.0 * 100.0);
        write!(f, "{}%", percent.trim_end_matches('0').trim_end_matches('.'))
    }
}
