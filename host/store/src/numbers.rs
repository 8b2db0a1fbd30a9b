//! Numbers as `SQLite` keeps them: signed, ours never are.

/// A number as `SQLite` keeps it. Ours stay far below its limit.
pub(crate) fn to_sql(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A number as `SQLite` kept it.
pub(crate) fn from_sql(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}
