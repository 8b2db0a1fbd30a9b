//! Times and durations as people read them.

use agente_engine::names::Timestamp;
pub(crate) use agente_engine::words::span;
use jiff::tz::TimeZone;
use std::sync::OnceLock;

/// `2026-03-01 04:05:06 +01:00`, in the machine's time zone.
pub(crate) fn local(at: Timestamp) -> String {
    let millis = i64::try_from(at.0).unwrap_or(i64::MAX);
    match jiff::Timestamp::from_millisecond(millis) {
        Ok(time) => time.to_zoned(zone()).strftime("%Y-%m-%d %H:%M:%S %:z").to_string(),
        Err(_) => format!("{millis} ms"),
    }
}

/// The machine's time zone. Its rules are read from where they usually stand: a look-up by the
/// zone's name would read all names that there are first.
fn zone() -> TimeZone {
    static ZONE: OnceLock<TimeZone> = OnceLock::new();
    let usual = || {
        let rules =
            std::fs::read("/etc/localtime").ok().filter(|_| std::env::var_os("TZ").is_none())?;
        TimeZone::tzif("local", &rules).ok()
    };
    ZONE.get_or_init(|| usual().unwrap_or_else(TimeZone::system)).clone()
}

/// `20260301T040506`, for ids that sort by time.
pub(crate) fn compact(at: Timestamp) -> String {
    let millis = i64::try_from(at.0).unwrap_or(i64::MAX);
    jiff::Timestamp::from_millisecond(millis)
        .map(|time| time.strftime("%Y%m%dT%H%M%S").to_string())
        .unwrap_or_default()
}
