//! The one place that reads the wall clock.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Milliseconds since the Unix epoch; 0 when the clock stands before it.
#[must_use]
pub fn now_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .ok()
        .and_then(|d| u64::try_from(d.as_millis()).ok())
        .unwrap_or_default()
}

/// Whole milliseconds of a duration.
#[must_use]
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A time as people write it (RFC 3339), in whole seconds.
#[must_use]
pub fn rfc3339(ms: u64) -> String {
    let seconds = i64::try_from(ms / 1000).unwrap_or(i64::MAX);
    let time = OffsetDateTime::from_unix_timestamp(seconds).ok();
    time.and_then(|time| time.format(&Rfc3339).ok()).unwrap_or_else(|| format!("{ms} ms"))
}

/// Reads such a time; milliseconds since the Unix epoch.
///
/// # Errors
/// What is wrong with the text.
pub fn parse_rfc3339(text: &str) -> Result<u64, String> {
    let time = OffsetDateTime::parse(text, &Rfc3339);
    let time = time.map_err(|error| format!("{error}; write it as 2026-01-31T12:00:00Z"))?;
    u64::try_from(time.unix_timestamp_nanos() / 1_000_000).map_err(|_| "it is before 1970".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_reads_back() {
        assert_eq!(rfc3339(1_790_000_000_123), "2026-09-21T14:13:20Z");
        assert_eq!(parse_rfc3339("2026-09-21T16:13:20+02:00"), Ok(1_790_000_000_000));
        assert!(parse_rfc3339("yesterday").unwrap_err().contains("2026-01-31T12:00:00Z"));
    }
}
