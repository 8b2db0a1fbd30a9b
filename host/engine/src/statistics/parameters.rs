//! The parameters of tests: numbers that are in their range by construction.

use std::fmt;

/// A number strictly between 0 and 1: an error rate, a limit, a quantile.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Proportion(f64);

/// How many times as much is still fine: a finite number of at least 1.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Multiple(f64);

/// Why a number is not a parameter.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ParameterError {
    /// Not strictly between 0 and 1.
    #[error("{value} is not between 0 and 1 (both excluded)")]
    NotAProportion { value: f64 },
    /// Below 1, or not finite.
    #[error("{value} is not a finite number of at least 1")]
    NotAMultiple { value: f64 },
}

impl Proportion {
    /// One in a hundred.
    pub const ONE_PERCENT: Proportion = Proportion(0.01);
    /// Two in a hundred: the customary confidence of 98 % for series of values.
    pub const TWO_PERCENT: Proportion = Proportion(0.02);
    /// 0.64, from which Vargha and Delaney call a probability of superiority a medium effect.
    pub const MEDIUM_EFFECT: Proportion = Proportion(0.64);

    /// Builds a proportion.
    ///
    /// # Errors
    ///
    /// [`ParameterError::NotAProportion`] outside 0 to 1 or at either end.
    pub fn new(value: f64) -> Result<Proportion, ParameterError> {
        if value > 0.0 && value < 1.0 {
            Ok(Proportion(value))
        } else {
            Err(ParameterError::NotAProportion { value })
        }
    }

    /// The number.
    pub fn value(self) -> f64 {
        self.0
    }

    /// What is left to 1, kept inside the range where rounding would leave it.
    #[must_use]
    pub fn rest(self) -> Proportion {
        Proportion((1.0 - self.0).clamp(f64::MIN_POSITIVE, 1.0 - f64::EPSILON / 2.0))
    }

    /// An equal part of it, for `parts` tests that share it; 0 parts count as 1.
    #[must_use]
    pub fn split(self, parts: u32) -> Proportion {
        Proportion((self.0 / f64::from(parts.max(1))).max(f64::MIN_POSITIVE))
    }
}

impl Multiple {
    /// No more than as much.
    pub const ONE: Multiple = Multiple(1.0);
    /// Half as much again.
    pub const ONE_AND_A_HALF: Multiple = Multiple(1.5);

    /// Builds a multiple.
    ///
    /// # Errors
    ///
    /// [`ParameterError::NotAMultiple`] below 1 or when not finite.
    pub fn new(value: f64) -> Result<Multiple, ParameterError> {
        if value >= 1.0 && value.is_finite() {
            Ok(Multiple(value))
        } else {
            Err(ParameterError::NotAMultiple { value })
        }
    }

    /// The number.
    pub fn value(self) -> f64 {
        self.0
    }
}

impl fmt::Display for Proportion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Multiple {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_out_of_range_are_no_parameters() {
        for value in [0.0, 1.0, -0.1, 1.1, f64::NAN, f64::INFINITY] {
            assert!(Proportion::new(value).is_err(), "{value}");
        }
        for value in [0.99, -1.0, f64::NAN, f64::INFINITY] {
            assert!(Multiple::new(value).is_err(), "{value}");
        }
        assert_eq!(Proportion::new(0.02), Ok(Proportion::TWO_PERCENT));
        assert_eq!(Multiple::new(1.5), Ok(Multiple::ONE_AND_A_HALF));
        assert!(Proportion::new(1e-300).unwrap().rest().value() < 1.0);
        assert!(Proportion::new(f64::MIN_POSITIVE).unwrap().split(1000).value() > 0.0);
    }
}
