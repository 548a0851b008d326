//! Moments: how they are counted, printed and read.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A moment in UTC, in nanoseconds since the Unix epoch: good from 1970 to 2554.
///
/// Within a live pipeline it is that of the steady clock: the wall clock as it stood when the process began, going on
/// without jumps. It is turned into the wall clock's own time where it leaves for the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    /// Nanoseconds since the Unix epoch.
    pub nanos: u64,
}

const NANOS_PER_MILLI: u64 = 1_000_000;

impl Timestamp {
    /// What the wall clock shows.
    pub fn now() -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_epoch(since)
    }

    /// So long after the Unix epoch.
    pub fn from_epoch(since: Duration) -> Timestamp {
        Timestamp { nanos: u64::try_from(since.as_nanos()).unwrap_or(u64::MAX) }
    }

    /// So much later.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Timestamp {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Timestamp { nanos: self.nanos.saturating_add(nanos) }
    }

    /// So much earlier; not before the epoch.
    #[must_use]
    pub fn before(self, duration: Duration) -> Timestamp {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Timestamp { nanos: self.nanos.saturating_sub(nanos) }
    }

    /// So many nanoseconds later, or earlier.
    #[must_use]
    pub fn shifted(self, nanos: i64) -> Timestamp {
        Timestamp { nanos: self.nanos.saturating_add_signed(nanos) }
    }

    /// How long it was since an earlier moment; nothing when that is later.
    pub fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_nanos(self.nanos.saturating_sub(earlier.nanos))
    }
}

/// As on the wire: `2026-11-21T23:00:00.000Z`, cut to milliseconds.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = Duration::from_millis(self.nanos / NANOS_PER_MILLI);
        humantime::format_rfc3339_millis(UNIX_EPOCH + millis).fmt(f)
    }
}

/// `2026-11-21T23:00:00Z`, with or without fractions, zone letter, or `T` (a space will do). A text without a zone is UTC.
impl FromStr for Timestamp {
    type Err = TimestampError;

    fn from_str(text: &str) -> Result<Self, TimestampError> {
        let time = humantime::parse_rfc3339_weak(text.trim()).map_err(|_| TimestampError)?;
        let since = time.duration_since(UNIX_EPOCH).map_err(|_| TimestampError)?;
        // All that prints can be read again: whatever fits the nanoseconds.
        let nanos = u64::try_from(since.as_nanos()).map_err(|_| TimestampError)?;
        Ok(Timestamp { nanos })
    }
}

/// A text that is not a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be a time in UTC from 1970 on, such as 2026-11-21T23:00:00Z")]
pub struct TimestampError;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_the_forms_that_recordings_have() {
        for (text, printed) in [
            ("2026-11-21T23:00:00Z", "2026-11-21T23:00:00.000Z"),
            ("2026-11-21T23:00:00.1239Z", "2026-11-21T23:00:00.123Z"),
            ("2017-11-04T21:53:16", "2017-11-04T21:53:16.000Z"),
            (" 2013-07-04 00:00:00 ", "2013-07-04T00:00:00.000Z"),
        ] {
            let time: Timestamp = text.parse().unwrap();
            assert_eq!(time.to_string(), printed);
        }
    }

    #[test]
    fn what_prints_can_be_read() {
        for nanos in [0, 1_000_000, u64::MAX / 1_000_000 * 1_000_000] {
            let time = Timestamp { nanos };
            assert_eq!(time.to_string().parse(), Ok(time));
        }
    }

    #[test]
    fn a_text_that_is_not_a_time_is_refused() {
        for text in [
            "",
            "yesterday",
            "2026-13-01T00:00:00Z",
            "1969-12-31T23:59:59Z",
            "9999-01-01T00:00:00Z",
        ] {
            assert_eq!(text.parse::<Timestamp>(), Err(TimestampError), "{text}");
        }
    }
}
