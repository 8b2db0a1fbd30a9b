//! Histograms of latency: how many requests took how long, in buckets.

use super::counts::{Counts, float};
use super::parameters::Proportion;
use std::sync::Arc;

/// The upper bounds of the buckets that have one, in seconds. One more bucket holds what is slower
/// than all.
#[derive(Debug, Clone, PartialEq)]
pub struct BucketBounds(Arc<[f64]>);

/// Requests by bucket.
#[derive(Debug, Clone, PartialEq)]
pub struct Histogram {
    bounds: BucketBounds,
    counts: Vec<u64>,
}

/// What a histogram tells of a quantile.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum QuantileEstimate {
    /// No requests.
    Empty,
    /// Between two bounds, interpolated as if the requests of a bucket were spread evenly over it.
    Within {
        /// The estimate.
        seconds: f64,
    },
    /// In the bucket without an upper bound: slower than this, by an unknown amount. Prometheus
    /// answers with this very bound as if it were the value.
    AboveTop {
        /// The highest bound.
        seconds: f64,
    },
}

/// Why numbers are not a histogram, or a histogram can't answer.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum HistogramError {
    /// Bounds must be finite, strictly growing and at least one.
    #[error("the bucket bounds are not finite and strictly increasing")]
    Bounds,
    /// One count per bound and one for the rest.
    #[error("got {counts} counts for {buckets} buckets")]
    Length {
        /// The counts given.
        counts: usize,
        buckets: usize,
    },
    /// A cumulative count is below the one before it.
    #[error("the cumulative count of bucket {bucket} is below the one before it")]
    NotCumulative {
        /// Its place, from 0.
        bucket: usize,
    },
    /// More requests than one look can have.
    #[error("more than {} requests in one look", Counts::MOST)]
    TooMany,
    /// The wanted bound is above all bounds: a limit there could never fire.
    #[error("no bucket bound is at or above {wanted} s; the highest is {top} s")]
    NoBound {
        /// What was wanted, in seconds.
        wanted: f64,
        /// The highest bound, in seconds.
        top: f64,
    },
    /// Two histograms with different bounds can't be compared.
    #[error("the histograms have different bucket bounds")]
    DifferentBounds,
}

impl BucketBounds {
    /// Builds bounds, in seconds, without the infinite one.
    ///
    /// # Errors
    ///
    /// [`HistogramError::Bounds`].
    pub fn new(bounds: &[f64]) -> Result<BucketBounds, HistogramError> {
        let growing = bounds.iter().zip(bounds.iter().skip(1)).all(|(low, high)| low < high);
        if bounds.is_empty() || !growing || bounds.iter().any(|bound| !bound.is_finite()) {
            return Err(HistogramError::Bounds);
        }
        Ok(BucketBounds(bounds.into()))
    }

    /// Builds a histogram of counts per bucket, the last one for what is slower than all bounds.
    ///
    /// # Errors
    ///
    /// [`HistogramError::Length`] and [`HistogramError::TooMany`].
    pub fn histogram(&self, counts: Vec<u64>) -> Result<Histogram, HistogramError> {
        let buckets = self.0.len() + 1;
        if counts.len() != buckets {
            return Err(HistogramError::Length { counts: counts.len(), buckets });
        }
        let total = counts.iter().try_fold(0_u64, |sum, count| sum.checked_add(*count));
        if total.is_none_or(|total| total > Counts::MOST) {
            return Err(HistogramError::TooMany);
        }
        Ok(Histogram { bounds: self.clone(), counts })
    }

    /// Builds a histogram of cumulative counts, as Prometheus' `le` buckets have them, the last one
    /// being that of all requests.
    ///
    /// # Errors
    ///
    /// As [`BucketBounds::histogram`], and [`HistogramError::NotCumulative`].
    pub fn cumulative(&self, counts: &[u64]) -> Result<Histogram, HistogramError> {
        let mut below = 0;
        let mut own = Vec::with_capacity(counts.len());
        for (bucket, count) in counts.iter().enumerate() {
            own.push(count.checked_sub(below).ok_or(HistogramError::NotCumulative { bucket })?);
            below = *count;
        }
        self.histogram(own)
    }

    /// A histogram without requests.
    pub fn empty(&self) -> Histogram {
        Histogram { bounds: self.clone(), counts: vec![0; self.0.len() + 1] }
    }

    /// The first bound that is at or above `wanted` seconds: what a limit of `wanted` can be tested
    /// by.
    ///
    /// # Errors
    ///
    /// [`HistogramError::NoBound`] above the highest.
    pub fn at_or_above(&self, wanted: f64) -> Result<f64, HistogramError> {
        self.0
            .iter()
            .copied()
            .find(|bound| *bound >= wanted)
            .ok_or(HistogramError::NoBound { wanted, top: self.top() })
    }

    /// The bounds, in seconds.
    pub fn seconds(&self) -> &[f64] {
        &self.0
    }

    fn top(&self) -> f64 {
        self.0.last().copied().unwrap_or(0.0)
    }
}

impl Histogram {
    /// The bounds.
    pub fn bounds(&self) -> &BucketBounds {
        &self.bounds
    }

    /// Requests per bucket, the last one for what is slower than all bounds.
    pub fn counts(&self) -> &[u64] {
        &self.counts
    }

    /// All requests.
    pub fn total(&self) -> u64 {
        self.counts.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// The requests that took longer than `bound` seconds, among all. Exact where `bound` is a
    /// bound of a bucket.
    pub fn slower_than(&self, bound: f64) -> Counts {
        let fast: u64 = self
            .bounds
            .0
            .iter()
            .zip(&self.counts)
            .filter(|(upper, _)| **upper <= bound)
            .fold(0, |sum, (_, count)| sum.saturating_add(*count));
        let total = self.total();
        Counts::unbounded(total.saturating_sub(fast), total)
    }

    /// Adds the other's requests to this one's.
    ///
    /// # Errors
    ///
    /// [`HistogramError::DifferentBounds`].
    pub fn add(&mut self, other: &Histogram) -> Result<(), HistogramError> {
        if self.bounds != other.bounds {
            return Err(HistogramError::DifferentBounds);
        }
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count = count.saturating_add(*more);
        }
        Ok(())
    }

    /// The time that `share` of the requests took at most, interpolated as Prometheus'
    /// `histogram_quantile` does it.
    pub fn quantile(&self, share: Proportion) -> QuantileEstimate {
        let total = self.total();
        if total == 0 {
            return QuantileEstimate::Empty;
        }
        let rank = share.value() * float(total);
        let (mut below, mut lower) = (0.0, 0.0_f64);
        for (place, (upper, count)) in self.bounds.0.iter().zip(&self.counts).enumerate() {
            let count = float(*count);
            if below + count >= rank {
                // The first bucket begins at zero, unless its bound is not above it.
                let seconds = if place == 0 && *upper <= 0.0 {
                    *upper
                } else {
                    lower + (upper - lower) * ((rank - below) / count)
                };
                return QuantileEstimate::Within { seconds };
            }
            below += count;
            lower = *upper;
        }
        QuantileEstimate::AboveTop { seconds: self.bounds.top() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounds() -> BucketBounds {
        BucketBounds::new(&[0.1, 0.5, 1.0]).unwrap()
    }

    fn share(value: f64) -> Proportion {
        Proportion::new(value).unwrap()
    }

    #[test]
    fn quantiles_are_interpolated_as_prometheus_does_it() {
        // histogram_quantile(0.5, …) over le="0.1" 10, "0.5" 30, "1" 40, "+Inf" 40: 0.1 + 0.4 · (20
        // − 10)/20.
        let histogram = bounds().cumulative(&[10, 30, 40, 40]).unwrap();
        let within = |value| match histogram.quantile(share(value)) {
            QuantileEstimate::Within { seconds } => seconds,
            other => panic!("{other:?}"),
        };
        assert!((within(0.5) - 0.3).abs() < 1e-12);
        assert!((within(0.125) - 0.05).abs() < 1e-12);
        assert!((within(0.999) - 0.998).abs() < 1e-12);
    }

    #[test]
    fn a_quantile_beyond_the_top_bound_is_said_to_be_unknown() {
        let histogram = bounds().histogram(vec![10, 0, 0, 10]).unwrap();
        assert_eq!(histogram.quantile(share(0.9)), QuantileEstimate::AboveTop { seconds: 1.0 });
        assert_eq!(bounds().empty().quantile(share(0.9)), QuantileEstimate::Empty);
    }

    #[test]
    fn a_limit_is_tested_at_the_next_bound_and_refused_beyond_the_last() {
        assert_eq!(bounds().at_or_above(0.2), Ok(0.5));
        assert_eq!(bounds().at_or_above(0.5), Ok(0.5));
        assert_eq!(
            bounds().at_or_above(1.5),
            Err(HistogramError::NoBound { wanted: 1.5, top: 1.0 })
        );
        let slow = bounds().histogram(vec![5, 3, 2, 1]).unwrap().slower_than(0.5);
        assert_eq!((slow.events(), slow.total()), (3, 11));
    }

    #[test]
    fn numbers_that_are_no_histogram_are_refused() {
        assert_eq!(BucketBounds::new(&[1.0, 1.0]), Err(HistogramError::Bounds));
        assert_eq!(BucketBounds::new(&[1.0, f64::NAN]), Err(HistogramError::Bounds));
        assert_eq!(BucketBounds::new(&[]), Err(HistogramError::Bounds));
        assert_eq!(
            bounds().histogram(vec![1]),
            Err(HistogramError::Length { counts: 1, buckets: 4 })
        );
        assert_eq!(bounds().histogram(vec![u64::MAX, 1, 0, 0]), Err(HistogramError::TooMany));
        assert_eq!(
            bounds().cumulative(&[1, 3, 2, 4]),
            Err(HistogramError::NotCumulative { bucket: 2 })
        );
        let mut histogram = bounds().empty();
        assert_eq!(
            histogram.add(&BucketBounds::new(&[0.1]).unwrap().empty()),
            Err(HistogramError::DifferentBounds)
        );
    }
}
