//! Statistics for analysis: pure functions and accumulators, the same answer for the same data.
//!
//! Invariants: a test that may be asked after every look holds its error rates over all looks
//! together; a value that makes no sense can't be built; nothing here panics, and no number given
//! to people is NaN. What is tested, under which assumptions, is in `docs/reference/statistics.md`.
//!
//! A *stratum* is what one look adds: the events and the requests that both sides had since the
//! look before.

mod acceptance;
mod counts;
mod error_test;
mod evidence;
mod histogram;
mod hypergeometric;
mod latency_test;
mod limit_test;
mod parameters;
mod rank_test;
mod ratio_test;
mod samples;
mod sequential_rank;
mod special_functions;

pub use acceptance::{Acceptance, Accepted, lower_bound, upper_bound};
pub use counts::{Counts, CountsError};
pub use error_test::{ErrorTest, ErrorTestOptions, Judgement, JudgementKind};
pub use histogram::{BucketBounds, Histogram, HistogramError, QuantileEstimate};
pub use latency_test::{LatencyJudgement, LatencyTest, LatencyTestError, LatencyTestOptions, Tail};
pub use limit_test::LimitTest;
pub use parameters::{Multiple, ParameterError, Proportion};
pub use rank_test::{RankComparison, RankTestError, compare_histograms, compare_samples};
pub use ratio_test::RatioTest;
pub use samples::{SampleJudgement, SampleOptions, judge_samples};
pub use sequential_rank::{SequentialRankOptions, SequentialRankTest};
