//! Counts the calls of one stage's plugin. What ends a call may be the machine and not the plugin, a deadline for
//! instance: a replay then ends the call of the same number.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::reading::FaultReason;

/// Most ended calls that are kept for whoever records them. One batch or tick ends a few at most.
const MOST_ENDED: usize = 256;

/// The calls of one stage since its chain began, whichever instance made them. Clones count together.
#[derive(Clone, Debug, Default)]
pub struct Calls(Arc<Counted>);

/// A call that the machine ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndedCall {
    /// Its number, counted from 1.
    pub call: u64,
    /// What became of the readings that it held.
    pub reason: FaultReason,
}

#[derive(Debug, Default)]
struct Counted {
    made: AtomicU64,
    /// Whether any call is still to end: spares each call the lock.
    is_any_to_end: AtomicBool,
    ends: Mutex<Ends>,
}

#[derive(Debug, Default)]
struct Ends {
    to_end: BTreeMap<u64, FaultReason>,
    ended: VecDeque<EndedCall>,
}

impl Calls {
    /// In a replay: the call of this number ends before it begins.
    pub fn end(&self, ended: EndedCall) {
        let mut ends = self.ends();
        // A recording that names more is not one of ours.
        if ends.to_end.len() < MOST_ENDED {
            ends.to_end.insert(ended.call, ended.reason);
        }
        self.0.is_any_to_end.store(true, Ordering::Relaxed);
    }

    /// The calls that the machine ended since this was asked last.
    pub fn take_ended(&self) -> Vec<EndedCall> {
        self.ends().ended.drain(..).collect()
    }

    /// Counts a call; an `Err` when it is one that must end.
    pub(super) fn begin(&self) -> Result<(), FaultReason> {
        let call = self.0.made.fetch_add(1, Ordering::Relaxed) + 1;
        if !self.0.is_any_to_end.load(Ordering::Relaxed) {
            return Ok(());
        }
        let mut ends = self.ends();
        let mut later = ends.to_end.split_off(&call);
        let ending = later.remove(&call);
        ends.to_end = later;
        self.0.is_any_to_end.store(!ends.to_end.is_empty(), Ordering::Relaxed);
        ending.map_or(Ok(()), Err)
    }

    /// The machine ended the call that was counted last.
    pub(super) fn ended(&self, reason: FaultReason) {
        let call = self.0.made.load(Ordering::Relaxed);
        let mut ends = self.ends();
        if ends.ended.len() == MOST_ENDED {
            ends.ended.pop_front();
        }
        ends.ended.push_back(EndedCall { call, reason });
    }

    fn ends(&self) -> MutexGuard<'_, Ends> {
        // Every change leaves it whole, so a panic elsewhere has not broken it.
        self.0.ends.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ended_once_ends_again_at_the_same_call() {
        let live = Calls::default();
        for _ in 0..3 {
            assert_eq!(live.begin(), Ok(()));
        }
        live.ended(FaultReason::PluginDeadline);
        let ended = live.take_ended();
        assert_eq!(ended, [EndedCall { call: 3, reason: FaultReason::PluginDeadline }]);
        assert_eq!(live.take_ended(), []);

        let replayed = Calls::default();
        ended.into_iter().for_each(|ended| replayed.end(ended));
        let calls: Vec<_> = (0..5).map(|_| replayed.begin().is_ok()).collect();
        assert_eq!(calls, [true, true, false, true, true]);
    }

    #[test]
    fn nobody_who_asks_costs_little() {
        let calls = Calls::default();
        for _ in 0..MOST_ENDED + 10 {
            calls.begin().unwrap();
            calls.ended(FaultReason::PluginDeadline);
        }
        let ended = calls.take_ended();
        assert_eq!((ended.len(), ended[0].call), (MOST_ENDED, 11));
    }
}
