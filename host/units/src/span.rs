//! Lengths of time.

use crate::{Misread, as_text};
use humantime::DurationError;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// Longer waits than this are a slip: nothing in a deployment takes a month.
const LONGEST: Duration = Duration::from_hours(30 * 24);

/// The units that are written, longest first, in milliseconds.
const UNITS: [(&str, u128); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// What numbers consist of.
const NUMERIC: [char; 11] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', '.'];

/// A length of time: `500ms`, `10s`, `1m30s`, `2h`, `1.5h`, `10 seconds`.
///
/// Unit: whole milliseconds, at most 30 days.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Span(Duration);

// Which words are units is left to the reader: the list of their spellings is long.
as_text!(Span, "duration", "^\\s*0\\s*$|^\\s*([0-9]+(\\.[0-9]+)?\\s*[a-zA-Zµ]+\\s*)+$");

impl Span {
    /// A span of so many milliseconds.
    pub const fn milliseconds(count: u64) -> Self {
        Self(Duration::from_millis(count))
    }

    /// A span of so many seconds.
    pub const fn seconds(count: u64) -> Self {
        Self(Duration::from_secs(count))
    }

    /// As a duration.
    pub const fn duration(self) -> Duration {
        self.0
    }
}

impl From<Duration> for Span {
    fn from(duration: Duration) -> Self {
        Self(duration)
    }
}

impl From<Span> for Duration {
    fn from(span: Span) -> Self {
        span.0
    }
}

impl FromStr for Span {
    type Err = Misread;

    fn from_str(text: &str) -> Result<Self, Misread> {
        let misread = |why: &str| Misread {
            message: format!("`{text}` is not a duration: {why}"),
            fix: "write a number and its unit, such as `500ms`, `10s`, `1m30s` or `2h`".to_owned(),
        };
        let bare = text.trim();
        if bare.starts_with('-') {
            return Err(misread("it is negative"));
        }
        let words: Vec<&str> = bare.split_whitespace().collect();
        let parted = |pair: &[&str]| match pair {
            [word, next] => word.ends_with(NUMERIC) && next.starts_with(NUMERIC),
            _ => false,
        };
        // `1 30s` would be taken for 130 seconds, where `1m 30s` is meant.
        if words.windows(2).any(parted) {
            return Err(misread("a number in it has no unit"));
        }
        let too_long = || misread("it is longer than 30 days");
        let duration = humantime::parse_duration(bare).map_err(|error| match error {
            DurationError::Empty => misread("it is empty"),
            DurationError::NumberExpected(_) => misread("each unit needs a number before it"),
            DurationError::InvalidCharacter(at) => {
                let odd = bare.get(at..).and_then(|rest| rest.chars().next()).unwrap_or(' ');
                misread(&format!("`{odd}` is not part of a duration"))
            }
            DurationError::UnknownUnit { unit, .. } if unit.is_empty() => {
                misread("the number has no unit")
            }
            DurationError::UnknownUnit { unit, .. } => {
                misread(&format!("`{unit}` is not one of the units `ms`, `s`, `m`, `h`, `d`"))
            }
            DurationError::NumberOverflow => too_long(),
        })?;
        if duration > LONGEST {
            return Err(too_long());
        }
        if !duration.subsec_nanos().is_multiple_of(1_000_000) {
            return Err(misread("it is finer than a millisecond"));
        }
        Ok(Self(duration))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0.as_millis();
        if rest == 0 {
            return f.write_str("0s");
        }
        for (unit, factor) in UNITS {
            if rest >= factor {
                write!(f, "{}{unit}", rest / factor)?;
                rest %= factor;
            }
        }
        Ok(())
    }
}

/// Writes a length of time that was measured, rounded to what matters: `250 ms`, `1.5 s`, `2 min
/// 5 s`, `3 h 20 min`.
pub fn for_people(duration: Duration) -> String {
    let millis = duration.as_millis();
    let (coarse, fine) = match millis {
        0..1000 => return format!("{millis} ms"),
        1000..60_000 if millis.is_multiple_of(1000) => return format!("{} s", millis / 1000),
        // Rounded down, as the other forms are: 59.96 s are not 60.
        1000..60_000 => return format!("{}.{} s", millis / 1000, millis % 1000 / 100),
        60_000..3_600_000 => ((millis / 60_000, "min"), (millis % 60_000 / 1000, "s")),
        _ => ((millis / 3_600_000, "h"), (millis % 3_600_000 / 60_000, "min")),
    };
    match (coarse, fine) {
        ((coarse, unit), (0, _)) => format!("{coarse} {unit}"),
        ((coarse, unit), (fine, finer)) => format!("{coarse} {unit} {fine} {finer}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_that_were_measured_are_shown_as_precisely_as_matters() {
        let cases = [
            (0, "0 ms"),
            (999, "999 ms"),
            (1_000, "1 s"),
            (1_560, "1.5 s"),
            (59_999, "59.9 s"),
            (60_000, "1 min"),
            (61_500, "1 min 1 s"),
            (3_600_000, "1 h"),
            (86_399_999, "23 h 59 min"),
        ];
        for (millis, shown) in cases {
            assert_eq!(for_people(Duration::from_millis(millis)), shown);
        }
    }
}
