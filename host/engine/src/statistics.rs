//! Statistics for analysis: pure functions and accumulators, the same answer for the same data.
