//! The only reader of the wall clock.

use chrono::{DateTime, Utc};

/// The present in UTC, cut to microseconds as PostgreSQL stores it, so that a value read back equals the one written.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the one place that reads the clock")]
pub fn now() -> DateTime<Utc> {
    let now = Utc::now();
    DateTime::from_timestamp_micros(now.timestamp_micros()).unwrap_or(now)
}
