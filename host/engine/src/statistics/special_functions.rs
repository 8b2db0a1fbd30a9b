//! The few functions of analysis that the tests need and the standard library lacks.

use super::counts::float;
use std::f64::consts::{FRAC_1_SQRT_2, PI, TAU};
use std::sync::LazyLock;

/// Factorials below this come from a table: nearly all that a stratum asks for.
const TABLE: usize = 2048;

static LN_FACTORIALS: LazyLock<Vec<f64>> = LazyLock::new(|| {
    let mut sum = 0.0_f64;
    (0..TABLE)
        .map(|n| {
            if n > 0 {
                sum += float(n as u64).ln();
            }
            sum
        })
        .collect()
});

/// The natural logarithm of `n!`.
pub(super) fn ln_factorial(n: u64) -> f64 {
    let known = usize::try_from(n).ok().and_then(|n| LN_FACTORIALS.get(n).copied());
    known.unwrap_or_else(|| {
        // Stirling's series: from 2,048 on, the first term left out is below 1e-19.
        let n = float(n);
        let square = n * n;
        n * n.ln() - n
            + 0.5 * (TAU * n).ln()
            + (1.0 / 12.0 - (1.0 / 360.0 - 1.0 / (1260.0 * square)) / square) / n
    })
}

/// ln(eᵃ + eᵇ), also where either is minus infinity.
pub(super) fn ln_add(a: f64, b: f64) -> f64 {
    let (high, low) = if a >= b { (a, b) } else { (b, a) };
    if low == f64::NEG_INFINITY { high } else { high + (low - high).exp().ln_1p() }
}

/// The probability that a standard normal variable is above `z`.
pub(super) fn normal_tail(z: f64) -> f64 {
    let x = z.abs() * FRAC_1_SQRT_2;
    let upper = 0.5 * if x < 2.5 { 1.0 - erf_series(x) } else { erfc_fraction(x) };
    if z < 0.0 { 1.0 - upper } else { upper }
}

/// The error function by its power series; for `x` from 0 to 2.5, where it loses at most three
/// digits.
fn erf_series(x: f64) -> f64 {
    let mut term = x;
    let mut sum = x;
    let mut n = 0.0;
    while term > sum * 1e-17 {
        n += 1.0;
        term *= 2.0 * x * x / (2.0 * n + 1.0);
        sum += term;
    }
    2.0 / PI.sqrt() * (-x * x).exp() * sum
}

/// The complementary error function by Laplace's continued fraction, from the far end; for `x` from
/// 2.5.
fn erfc_fraction(x: f64) -> f64 {
    let tail = (1..=80_u32).rev().fold(x, |below, k| x + f64::from(k) / 2.0 / below);
    (-x * x).exp() / PI.sqrt() / tail
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
