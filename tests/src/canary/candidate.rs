//! The candidates: each is bad in one way.

/// What watches a candidate besides whether it still runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Watched {
    /// Errors and latency.
    Rates,
    /// The same, and a health check of what it depends on.
    Dependencies,
    /// The same as rates, and how many requests it has in flight.
    Saturation,
}

/// One candidate and how it is watched.
#[derive(Debug, Clone, Copy)]
pub struct Candidate {
    /// What the table calls it.
    pub name: &'static str,
    /// The switches of the stable release.
    pub stable: &'static str,
    /// The switches of the candidate.
    pub flags: &'static str,
    /// The weight, in percent, at which its process is killed.
    pub killed_at: Option<u64>,
    /// What watches it.
    pub watched: Watched,
    /// The smallest additional share of errors that must not be missed.
    pub detect: &'static str,
    /// The quantile of latency that is limited.
    pub quantile: f64,
    /// From one look at the numbers to the next.
    pub interval: &'static str,
    /// Requests per second.
    pub rate: f64,
    /// One request in this many is a POST.
    pub posts: usize,
    /// An answer that takes longer than this is bad, too.
    pub slow_ms: Option<u64>,
    /// What its end must speak of.
    pub cause: &'static str,
}

impl Candidate {
    const ERRORS: Self = Self {
        name: "",
        stable: "",
        flags: "",
        killed_at: None,
        watched: Watched::Rates,
        detect: "5%",
        quantile: 0.95,
        interval: "1s",
        rate: 200.0,
        posts: 2,
        slow_ms: None,
        cause: "analysis `errors`",
    };

    /// As good as the stable release.
    pub const HEALTHY: Self = Self { name: "healthy", cause: "", ..Self::ERRORS };
    /// Every second request fails.
    pub const FAILS_HALF: Self =
        Self { name: "fails 50 % of requests", flags: "--fail 50", ..Self::ERRORS };
    /// The same, at a load of 50 requests a second.
    pub const FAILS_HALF_SLOWLY: Self =
        Self { name: "fails 50 % of 50 requests/s", rate: 50.0, ..Self::FAILS_HALF };
    /// One request in twenty fails.
    pub const FAILS_5: Self =
        Self { name: "fails 5 % of requests", flags: "--fail 5", detect: "1%", ..Self::ERRORS };
    /// One request in a hundred fails.
    pub const FAILS_1: Self = Self {
        name: "fails 1 % of requests",
        flags: "--fail 1",
        detect: "0.5%",
        rate: 300.0,
        ..Self::ERRORS
    };
    /// Its 99th percentile is three times stable's; half, 90 and 95 % of all requests are as fast.
    pub const SLOW_TAIL: Self = Self {
        name: "3 times slower at p99 only",
        stable: "--slow 180 --slow-percent 4",
        flags: "--slow 540 --slow-percent 4",
        quantile: 0.99,
        rate: 300.0,
        slow_ms: Some(500),
        cause: "analysis `latency`",
        ..Self::ERRORS
    };
    /// It answers less and less, with a health endpoint that says so in the end.
    pub const LEAKS: Self = Self {
        name: "leaks until it stalls, a health endpoint tells",
        flags: "--leak",
        watched: Watched::Dependencies,
        cause: "check `dependencies`",
        ..Self::ERRORS
    };
    /// The same without such an endpoint.
    pub const LEAKS_UNSEEN: Self = Self {
        name: "leaks until it stalls, only its saturation tells",
        flags: "--leak",
        watched: Watched::Saturation,
        cause: "analysis `in-flight`",
        ..Self::ERRORS
    };
    /// It ends at 25 %.
    pub const CRASHES: Self = Self {
        name: "crashes at 25 %",
        killed_at: Some(25),
        cause: "is receiving requests and is",
        ..Self::ERRORS
    };
    /// One request in ten is a POST, and of the candidate's all fail.
    pub const FAILS_POST: Self = Self {
        name: "fails for POST only, 10 % of requests",
        flags: "--fail-method POST",
        posts: 10,
        ..Self::ERRORS
    };

    /// All bad ones.
    pub const BAD: [Self; 8] = [
        Self::FAILS_HALF,
        Self::FAILS_5,
        Self::FAILS_1,
        Self::SLOW_TAIL,
        Self::LEAKS,
        Self::LEAKS_UNSEEN,
        Self::CRASHES,
        Self::FAILS_POST,
    ];
}
