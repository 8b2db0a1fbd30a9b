//! What a share may be measured as, by chance alone.

use std::ops::RangeInclusive;

/// The counts that `sample` independent draws of probability `share` give in 99.9 % of all cases:
/// at most 0.05 % lie beyond each end.
pub fn interval(sample: u32, share: f64) -> RangeInclusive<u32> {
    let mut below = 0.0;
    let mut ends = (0, sample);
    for (hits, chance) in (0..=sample).zip(chances(sample, share)) {
        below += chance;
        if below <= 0.0005 {
            ends.0 = hits + 1;
        }
        if below >= 0.9995 {
            ends.1 = hits;
            break;
        }
    }
    ends.0..=ends.1
}

/// The binomial distribution, by the ratio of neighbours, in logarithms against underflow.
fn chances(sample: u32, share: f64) -> impl Iterator<Item = f64> {
    let odds = (share / (1.0 - share)).ln();
    let mut log = f64::from(sample) * (1.0 - share).ln();
    (0..=sample).map(move |hits| {
        let chance = log.exp();
        log += (f64::from(sample - hits) / f64::from(hits + 1)).ln() + odds;
        chance
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_is_that_of_the_binomial_distribution() {
        // Of 20 tosses of a coin 2 or fewer come up heads with 0.0201 %, 3 or fewer with 0.1288 %.
        assert_eq!(interval(20, 0.5), 3..=17);
        assert_eq!(interval(20_000, 0.1), 1_862..=2_141);
        assert_eq!(interval(20_000, 0.25), 4_799..=5_202);
    }
}
