//! What the pipeline file may say of the spool, and the limits behind it.

use std::ops::RangeInclusive;
use std::time::Duration;

/// How the spool keeps what is not delivered.
#[derive(Clone, Debug, PartialEq)]
pub struct SpoolSettings {
    /// What waits undelivered for so long is written to the disk: what a power cut can cost.
    pub commit_interval: Duration,
    /// Most bytes of messages on the disk.
    pub most_bytes: u64,
    /// What waited for so long is given up.
    pub longest: Duration,
    /// What goes when there is no room.
    pub when_full: WhenFull,
    /// Most bytes of messages in memory.
    pub memory_bytes: usize,
}

/// What goes when the disk holds all that it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenFull {
    /// The oldest messages.
    DropOldest,
    /// Of old readings all but one in so many of each sensor; then the oldest messages.
    ThinOut {
        /// Of how many one is kept.
        keep_one_in: u32,
    },
}

/// Each commit costs about 20 KB on a card, most of it the filesystem's own journal, whatever it holds. At one reading a
/// second half a minute's readings share that, which makes less than 1 KB each.
pub const COMMIT_INTERVAL: Duration = Duration::from_secs(30);
/// Below a second cards wear out for nothing; an hour is more than anybody wants to lose.
pub const COMMIT_INTERVALS: RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_secs(3_600);
/// About 24 days of one reading a second, and little beside the smallest card.
pub const MOST_BYTES: u64 = 256 << 20;
/// Below, a few commits fill it; above, a start after a power cut, which reads all, would take minutes.
pub const MOST_BYTES_RANGE: RangeInclusive<u64> = 1 << 20..=4 << 30;
/// A month: whoever was away for longer looks at trends, not at readings.
pub const LONGEST: Duration = Duration::from_secs(30 * 86_400);
/// From what a busy hub may need to what a card outlives.
pub const LONGEST_RANGE: RangeInclusive<Duration> =
    Duration::from_secs(60)..=Duration::from_secs(10 * 31_557_600);
/// One reading in ten shows the same curve.
pub const KEEP_ONE_IN: u32 = 10;
/// Two is the least that is thinned at all.
pub const KEEP_ONE_IN_RANGE: RangeInclusive<u32> = 2..=1_000;
/// About five hours of one reading a second where there is no disk, and little beside the 512 MiB of a Pi Zero.
pub const MEMORY_BYTES: usize = 2 << 20;
/// Below, the messages of a few seconds do not fit.
pub const MEMORY_BYTES_RANGE: RangeInclusive<usize> = 64 << 10..=256 << 20;

impl Default for SpoolSettings {
    fn default() -> Self {
        SpoolSettings {
            commit_interval: COMMIT_INTERVAL,
            most_bytes: MOST_BYTES,
            longest: LONGEST,
            when_full: WhenFull::DropOldest,
            memory_bytes: MEMORY_BYTES,
        }
    }
}
