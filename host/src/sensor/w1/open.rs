//! A chip in its turn, from the first read to its reading or fault.

use std::time::Duration;

use super::bus::Placed;
use super::chip::{Chip, LONGEST_CONVERSION};
use super::track::Verdict;
use crate::clock::Clock;
use crate::reading::{Batch, Doubt, FaultReason, Measured, Measurement, Timestamp};

/// Reads of one chip in one cycle, the first included.
const READS: u32 = 3;
/// After so many reads in a row that did not end in time the bus itself is stuck, and the rest is not tried.
const STUCK: u32 = 2;

/// A chip whose reading is not decided yet.
pub(super) struct Open<'t> {
    pub(super) placed: &'t mut Placed,
    pub(super) reads: u32,
    /// What it is when there is no further read: with its time and text.
    last: Option<(Timestamp, String, Measurement)>,
}

impl<'t> Open<'t> {
    pub(super) fn new(placed: &'t mut Placed) -> Open<'t> {
        Open { placed, reads: 0, last: None }
    }

    /// Reads, unless too many before it on the same bus did not end in time. A read that hangs since an earlier cycle
    /// says nothing about the others.
    pub(super) async fn read(&mut self, stuck: &mut u32) -> Result<String, FaultReason> {
        if *stuck >= STUCK {
            return Err(FaultReason::Timeout);
        }
        let hung_before = self.placed.chip.hangs();
        let read = self.placed.chip.read().await;
        match read {
            Err(FaultReason::Timeout) if hung_before => {}
            Err(FaultReason::Timeout) => *stuck += 1,
            _ => *stuck = 0,
        }
        read
    }

    /// What a read gave. `true` when another is to be made.
    pub(super) fn take(
        &mut self,
        time: Timestamp,
        read: Result<String, FaultReason>,
        batch: &mut Batch,
    ) -> bool {
        self.reads += 1;
        let (text, verdict) = match read {
            Ok(text) => {
                let Placed { chip, .. } = &mut self.placed;
                let verdict = chip.track.judge(&text);
                let reads = &mut chip.reads;
                reads.failed += u64::from(verdict.measurement().is_err());
                let verdict = if chip.has_forgotten(&text) { may_be_old(verdict) } else { verdict };
                (text, verdict)
            }
            // Neither would be otherwise a moment later.
            Err(reason @ (FaultReason::NotPresent | FaultReason::Timeout)) => {
                (String::new(), Verdict::Take(Err(reason)))
            }
            Err(reason) => (String::new(), Verdict::ReadAgain(Err(reason))),
        };
        let again = matches!(verdict, Verdict::ReadAgain(_)) && self.reads < READS;
        self.last = Some((time, text, verdict.measurement()));
        if !again {
            self.decide(batch);
        }
        again
    }

    /// Whether its reading or fault is not told yet.
    pub(super) fn is_open(&self) -> bool {
        self.reads == 0 || self.last.is_some()
    }

    pub(super) fn decide(&mut self, batch: &mut Batch) {
        let Some((time, text, measurement)) = self.last.take() else { return };
        let chip = &mut self.placed.chip;
        match measurement {
            Ok(_) => chip.track.remember(&text),
            Err(FaultReason::NotPresent) => chip.appeared(),
            // So it looks while a chip is without power or unplugged: the kernel keeps its folder for a while.
            Err(
                FaultReason::NoAnswer
                | FaultReason::AllZero
                | FaultReason::PowerOnValue
                | FaultReason::InsufficientPower,
            ) => chip.track.appeared(),
            Err(_) => {}
        }
        batch.put(self.placed.series, time, measurement);
    }
}

/// A value that the kernel did not wait for long enough.
fn may_be_old(verdict: Verdict) -> Verdict {
    let doubtful = |measured: Measured| Measured { doubt: Some(Doubt::Stale), ..measured };
    Verdict::ReadAgain(verdict.measurement().map(doubtful))
}

/// None of them gives a reading.
pub(super) fn lose(open: Vec<Open<'_>>, reason: FaultReason, clock: &Clock, batch: &mut Batch) {
    for open in open {
        batch.put(open.placed.series, clock.now(), Err(reason));
    }
}

/// Of the chips that a command to all reaches.
pub(super) fn longest_conversion(open: &[Open<'_>]) -> Duration {
    let chips = open.iter().map(|open| &open.placed.chip).filter(|chip| chip.serves_bulk());
    chips.map(Chip::conversion).max().unwrap_or(LONGEST_CONVERSION)
}
