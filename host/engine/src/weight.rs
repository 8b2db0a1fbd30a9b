//! A slot's share of the requests.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A share of requests in basis points: 0 to 10,000.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, JsonSchema, Serialize, Deserialize,
)]
#[serde(try_from = "u32", into = "u32")]
pub struct Weight(u16);

/// Why a number is not a weight.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum WeightError {
    /// Below 0 or above 100 %.
    #[error("the weight {percent} % is not between 0 and 100")]
    OutOfRange {
        /// The value.
        percent: f64,
    },
    /// Finer than 0.01 %.
    #[error("the weight {percent} % has more than two decimals")]
    TooFine {
        /// The value.
        percent: f64,
    },
}

impl Weight {
    /// No requests.
    pub const ZERO: Weight = Weight(0);
    /// All requests.
    pub const FULL: Weight = Weight(10_000);

    /// Builds a weight from percent with up to two decimals, 0 to 100.
    ///
    /// # Errors
    ///
    /// [`WeightError::OutOfRange`] outside 0 to 100, [`WeightError::TooFine`] for a third decimal;
    /// both carry the value.
    pub fn from_percent(percent: f64) -> Result<Weight, WeightError> {
        if !(0.0..=100.0).contains(&percent) {
            return Err(WeightError::OutOfRange { percent });
        }
        let scaled = percent * 100.0;
        if (scaled - scaled.round()).abs() > 1e-6 {
            return Err(WeightError::TooFine { percent });
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "checked to lie in 0 to 10,000"
        )]
        Ok(Weight(scaled.round() as u16))
    }

    /// Builds a weight from basis points.
    pub fn from_basis_points(basis_points: u32) -> Result<Weight, WeightError> {
        match u16::try_from(basis_points) {
            Ok(points) if points <= 10_000 => Ok(Weight(points)),
            _ => Err(WeightError::OutOfRange { percent: f64::from(basis_points) / 100.0 }),
        }
    }

    /// The share in basis points.
    pub fn basis_points(self) -> u32 {
        u32::from(self.0)
    }

    /// The other side's share.
    #[must_use]
    pub fn rest(self) -> Weight {
        Weight(10_000 - self.0)
    }

    /// Whether no request is meant to go there.
    pub fn is_zero(self) -> bool {
        self.0 == 0
    }
}

impl TryFrom<u32> for Weight {
    type Error = WeightError;
    fn try_from(basis_points: u32) -> Result<Self, WeightError> {
        Self::from_basis_points(basis_points)
    }
}

impl From<Weight> for u32 {
    fn from(weight: Weight) -> Self {
        weight.basis_points()
    }
}

impl fmt::Display for Weight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, part) = (self.0 / 100, self.0 % 100);
        match part {
            0 => write!(f, "{whole} %"),
            part if part % 10 == 0 => write!(f, "{whole}.{} %", part / 10),
            part => write!(f, "{whole}.{part:02} %"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_is_kept_to_two_decimals_and_refused_beyond() {
        assert_eq!(Weight::from_percent(0.01).map(Weight::basis_points), Ok(1));
        assert_eq!(Weight::from_percent(33.33).map(|w| w.rest().basis_points()), Ok(6667));
        assert_eq!(Weight::from_percent(0.005), Err(WeightError::TooFine { percent: 0.005 }));
        assert_eq!(Weight::from_percent(100.5), Err(WeightError::OutOfRange { percent: 100.5 }));
        assert!(Weight::from_percent(f64::NAN).is_err());
    }

    #[test]
    fn a_weight_is_shown_without_needless_decimals() {
        let shown =
            [0, 1, 10, 1250, 10_000].map(|p| Weight::from_basis_points(p).unwrap().to_string());
        assert_eq!(shown, ["0 %", "0.01 %", "0.1 %", "12.5 %", "100 %"]);
    }
}
