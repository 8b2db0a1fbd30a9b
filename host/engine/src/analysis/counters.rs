//! How much counters have grown, from raw samples: exact, reset-aware, and without the
//! extrapolation of `increase()`.

use crate::names::Timestamp;
use crate::ports::Reading;
use std::collections::BTreeMap;
use std::time::Duration;

/// The labels of a series.
type Labels = Vec<(String, String)>;

/// How old the newest sample may be before anything is known of the source's own interval.
const FIRST_PATIENCE: Duration = Duration::from_mins(1);

/// The shortest age that counts as stale, however often the source samples.
const LEAST_PATIENCE: Duration = Duration::from_secs(5);

/// Follows the counters of one query about one side.
///
/// Each look gives what was counted since the look before. Nothing is counted twice and nothing is
/// lost while the source is away, as the samples carry their own times and the counters go on.
#[derive(Debug, Clone, Default)]
pub(crate) struct Counters {
    last: BTreeMap<Labels, (Timestamp, f64)>,
    newest: Option<Timestamp>,
    spacing: Option<Duration>,
    looked: bool,
}

/// What a look gave.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Growth {
    /// By labels: how much more than at the last look.
    pub(crate) by_labels: Vec<(Labels, f64)>,
}

impl Growth {
    /// All of it together.
    pub(crate) fn total(&self) -> f64 {
        self.by_labels.iter().map(|(_, grown)| grown).sum()
    }
}

impl Counters {
    /// Takes a reading in. `origin`: from when on is counted. `from_zero`: whether a counter that
    /// appears later began at 0, as those of backends do that were started after `origin` or
    /// for it.
    pub(crate) fn advance(
        &mut self,
        reading: &Reading,
        origin: Timestamp,
        from_zero: bool,
    ) -> Growth {
        // A series that was not there while another was has begun since.
        let began = self.looked
            || reading
                .series
                .iter()
                .any(|series| series.points.first().is_some_and(|(at, _)| *at <= origin));
        self.looked = true;
        let mut growth = Growth::default();
        for series in &reading.series {
            let known = self.last.get(&series.labels).copied();
            // What a counter of a process that began before us showed last before `origin` is where
            // it is counted from.
            let before = series.points.iter().rev().find(|(at, _)| *at <= origin).copied();
            let base = known.or(before).or_else(|| match series.points.first() {
                Some(first) if !began && !from_zero => Some(*first),
                Some((at, _)) => Some((Timestamp(at.0.saturating_sub(1)), 0.0)),
                None => None,
            });
            let Some((mut at, mut value)) = base else { continue };
            let mut grown = 0.0;
            for (next_at, next) in series
                .points
                .iter()
                .filter(|(next_at, _)| *next_at > at)
                .copied()
                .collect::<Vec<_>>()
            {
                // A counter that fell began anew.
                grown += if next < value { next } else { next - value };
                if known.is_some() || series.points.len() > 1 {
                    self.spaced(next_at.since(at));
                }
                (at, value) = (next_at, next);
            }
            self.newest = self.newest.max(Some(at));
            self.last.insert(series.labels.clone(), (at, value));
            growth.by_labels.push((series.labels.clone(), grown));
        }
        growth
    }

    fn spaced(&mut self, gap: Duration) {
        if gap > Duration::from_millis(1) {
            self.spacing = Some(self.spacing.map_or(gap, |shortest| shortest.min(gap)));
        }
    }

    /// Whether any counter was ever seen.
    pub(crate) fn has_any(&self) -> bool {
        !self.last.is_empty()
    }

    /// How old the newest sample is, where that is older than three of the source's own intervals.
    pub(crate) fn stale(&self, now: Timestamp) -> Option<Duration> {
        let age = now.since(self.newest?);
        let patience =
            self.spacing.map_or(FIRST_PATIENCE, |spacing| (spacing * 3).max(LEAST_PATIENCE));
        (age > patience).then_some(age)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::Series;

    fn reading(series: &[(&str, &[(u64, f64)])]) -> Reading {
        let series = series.iter().map(|(code, points)| Series {
            labels: vec![("code".into(), (*code).to_owned())],
            points: points.iter().map(|(at, value)| (Timestamp(*at), *value)).collect(),
        });
        Reading { series: series.collect(), doubts: Vec::new() }
    }

    #[test]
    fn a_counter_of_before_counts_from_its_last_sample_at_the_origin() {
        let mut counters = Counters::default();
        let first = counters.advance(
            &reading(&[("200", &[(1_000, 90.0), (3_000, 100.0), (5_000, 107.0)])]),
            Timestamp(3_500),
            false,
        );
        assert!((first.total() - 7.0).abs() < 1e-9, "{first:?}");
        let again = counters.advance(
            &reading(&[("200", &[(3_000, 100.0), (5_000, 107.0), (7_000, 110.0)])]),
            Timestamp(3_500),
            false,
        );
        assert!((again.total() - 3.0).abs() < 1e-9, "samples seen before count once: {again:?}");
    }

    #[test]
    fn a_series_that_appears_with_its_first_error_counts_from_zero() {
        let mut counters = Counters::default();
        counters.advance(&reading(&[("200", &[(2_000, 10.0)])]), Timestamp(1_000), true);
        let next = counters.advance(
            &reading(&[("200", &[(2_000, 10.0), (4_000, 18.0)]), ("500", &[(4_000, 3.0)])]),
            Timestamp(1_000),
            true,
        );
        assert!((next.total() - 11.0).abs() < 1e-9, "{next:?}");
    }

    #[test]
    fn a_counter_of_a_restarted_process_counts_on_from_zero() {
        let mut counters = Counters::default();
        counters.advance(
            &reading(&[("200", &[(1_000, 50.0), (2_000, 60.0)])]),
            Timestamp(1_000),
            false,
        );
        let next = counters.advance(
            &reading(&[("200", &[(3_000, 4.0), (4_000, 9.0)])]),
            Timestamp(1_000),
            false,
        );
        assert!((next.total() - 9.0).abs() < 1e-9, "{next:?}");
    }

    #[test]
    fn samples_older_than_three_intervals_are_stale() {
        let mut counters = Counters::default();
        counters.advance(
            &reading(&[("200", &[(2_000, 1.0), (4_000, 2.0), (6_000, 3.0)])]),
            Timestamp(1_000),
            true,
        );
        assert_eq!(counters.stale(Timestamp(11_900)), None);
        assert_eq!(counters.stale(Timestamp(12_100)), Some(Duration::from_millis(6_100)));
    }
}
