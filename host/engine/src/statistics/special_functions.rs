//! The few functions of analysis that the tests need and the standard library lacks.
//!
//! By `libm`, which gives the same bits on every machine. `statrs` is four digits worse in the
//! normal tail.

use super::counts::float;
use std::f64::consts::FRAC_1_SQRT_2;

/// The natural logarithm of `n!`.
pub(super) fn ln_factorial(n: u64) -> f64 {
    libm::lgamma(float(n) + 1.0)
}

/// ln(eᵃ + eᵇ), also where either is minus infinity.
pub(super) fn ln_add(a: f64, b: f64) -> f64 {
    let (high, low) = if a >= b { (a, b) } else { (b, a) };
    if low == f64::NEG_INFINITY { high } else { high + (low - high).exp().ln_1p() }
}

/// The probability that a standard normal variable is above `z`.
pub(super) fn normal_tail(z: f64) -> f64 {
    0.5 * libm::erfc(z * FRAC_1_SQRT_2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factorials_agree_with_scipy() {
        // scipy.special.gammaln(n + 1)
        for (n, expected) in [
            (0, 0.0),
            (1, 0.0),
            (10, 15.104_412_573_075_516),
            (2047, 13_564.326_353_384_677),
            (2048, 13_571.950_972_370_838),
            (1_000_000, 12_815_518.384_658_169),
        ] {
            let got = ln_factorial(n);
            assert!(
                (got - expected).abs() <= 1e-13 * expected.max(1.0),
                "{n}: {got} against {expected}"
            );
        }
    }

    #[test]
    fn normal_tails_agree_with_scipy() {
        // scipy.stats.norm.sf(z)
        for (z, expected) in [
            (-3.0, 0.998_650_101_968_369_9),
            (0.0, 0.5),
            (0.5, 0.308_537_538_725_986_9),
            (2.0, 0.022_750_131_948_179_195),
            (3.0, 0.001_349_898_031_630_093_3),
            (3.6, 0.000_159_108_590_157_533_64),
            (5.0, 2.866_515_718_791_933e-7),
            (20.0, 2.753_624_118_606_155_6e-89),
        ] {
            let got = normal_tail(z);
            assert!((got / expected - 1.0).abs() < 1e-11, "{z}: {got} against {expected}");
        }
    }

    #[test]
    fn sums_of_logarithms_stand_minus_infinity() {
        assert!((ln_add(f64::NEG_INFINITY, -3.0) + 3.0).abs() < 1e-15);
        assert!(ln_add(f64::NEG_INFINITY, f64::NEG_INFINITY).is_infinite());
        assert!((ln_add(0.0, 0.0) - 2.0_f64.ln()).abs() < 1e-15);
    }
}
