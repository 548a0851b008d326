//! Sets of numbers as ranges. Pure.

use serde::{Deserialize, Serialize};

/// Ranges with their first and last number, in order; between two of them at least one number is missing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Ranges(Vec<(u64, u64)>);

impl Ranges {
    /// How many ranges there are.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// How many numbers are in them.
    pub(super) fn count(&self) -> u64 {
        self.0.iter().map(|(first, last)| last - first + 1).fold(0, u64::saturating_add)
    }

    pub(super) fn last(&self) -> Option<(u64, u64)> {
        self.0.last().copied()
    }

    /// Takes the lowest range out, if it begins at this number or before.
    pub(super) fn pop_from(&mut self, number: u64) -> Option<(u64, u64)> {
        let first = *self.0.first().filter(|(first, _)| *first <= number)?;
        self.0.remove(0);
        Some(first)
    }

    /// Whether a number is in one of them, or directly beside one.
    pub(super) fn touches(&self, number: u64) -> bool {
        let next = self.0.partition_point(|(_, last)| last.saturating_add(1) < number);
        self.0.get(next).is_some_and(|(first, _)| first.saturating_sub(1) <= number)
    }

    pub(super) fn contains(&self, number: u64) -> bool {
        let next = self.0.partition_point(|(_, last)| *last < number);
        self.0.get(next).is_some_and(|(first, _)| *first <= number)
    }

    /// Adds a range. Gives how many numbers of it are new.
    pub(super) fn insert(&mut self, from: u64, to: u64) -> u64 {
        if from > to {
            return 0;
        }
        // All that overlap or touch become one.
        let begin = self.0.partition_point(|(_, last)| last.saturating_add(1) < from);
        let end = self.0.partition_point(|(first, _)| *first <= to.saturating_add(1));
        let (mut low, mut high, mut known) = (from, to, 0);
        for (first, last) in self.0.drain(begin..end) {
            (low, high) = (low.min(first), high.max(last));
            let (first, last) = (first.max(from), last.min(to));
            known += if first > last { 0 } else { last - first + 1 };
        }
        self.0.insert(begin, (low, high));
        to - from + 1 - known
    }

    /// Takes a range out. Gives how many of its numbers were there.
    pub(super) fn remove(&mut self, from: u64, to: u64) -> u64 {
        let begin = self.0.partition_point(|(_, last)| *last < from);
        let end = self.0.partition_point(|(first, _)| *first <= to);
        if from > to || begin >= end {
            return 0;
        }
        let mut removed = 0;
        let mut left = Vec::new();
        for (first, last) in self.0.drain(begin..end) {
            let (low, high) = (first.max(from), last.min(to));
            removed += high - low + 1;
            left.extend((first < low).then(|| (first, low - 1)));
            left.extend((high < last).then(|| (high + 1, last)));
        }
        self.0.splice(begin..begin, left);
        removed
    }
}
