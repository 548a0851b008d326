//! Sets of numbers, as ranges; pure.

use serde::{Deserialize, Serialize};

/// Numbers, as ranges from low to high that do not touch each other.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Ranges(Vec<(u64, u64)>);

impl Ranges {
    /// How many ranges there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// How many numbers are in them.
    pub(crate) fn count(&self) -> u64 {
        self.0.iter().map(|(first, last)| last - first + 1).fold(0, u64::saturating_add)
    }

    /// The highest range.
    pub(crate) fn last(&self) -> Option<(u64, u64)> {
        self.0.last().copied()
    }

    /// Takes the lowest range out, if it begins at this number or before.
    pub(crate) fn pop_from(&mut self, number: u64) -> Option<(u64, u64)> {
        let first = *self.0.first().filter(|(first, _)| *first <= number)?;
        self.0.remove(0);
        Some(first)
    }

    /// Whether a number is in one of them, or directly beside one.
    pub(crate) fn touches(&self, number: u64) -> bool {
        let next = self.0.partition_point(|(_, last)| last.saturating_add(1) < number);
        self.0.get(next).is_some_and(|(first, _)| first.saturating_sub(1) <= number)
    }

    /// Whether a number is in one of them.
    pub(crate) fn contains(&self, number: u64) -> bool {
        let next = self.0.partition_point(|(_, last)| *last < number);
        self.0.get(next).is_some_and(|(first, _)| *first <= number)
    }

    /// Adds a range. Gives how many numbers of it are new.
    pub(crate) fn insert(&mut self, from: u64, to: u64) -> u64 {
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
    pub(crate) fn remove(&mut self, from: u64, to: u64) -> u64 {
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

    /// The ranges, low to high.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.0.iter().copied()
    }

    /// How many numbers of a range are in it.
    pub(crate) fn count_in(&self, from: u64, to: u64) -> u64 {
        let at = self.0.partition_point(|&(_, last)| last < from);
        let later = self.0.get(at..).unwrap_or_default();
        let cut = later.iter().take_while(|&&(first, _)| first <= to);
        cut.map(|&(first, last)| last.min(to) - first.max(from) + 1).sum()
    }

    /// The parts of a range that are not in it.
    pub(crate) fn without(&self, from: u64, to: u64) -> Ranges {
        let mut left = Vec::new();
        let mut next = from;
        let at = self.0.partition_point(|&(_, last)| last < from);
        for &(first, last) in self.0.get(at..).unwrap_or_default() {
            if first > to || next > to {
                break;
            }
            if next < first {
                left.push((next, first - 1));
            }
            next = last.saturating_add(1);
        }
        if next <= to {
            left.push((next, to));
        }
        Ranges(left)
    }

    /// Ranges with nothing between them but numbers of another set become one.
    pub(crate) fn bridged(&self, over: &Ranges) -> Ranges {
        let mut bridged: Vec<(u64, u64)> = Vec::new();
        for &(from, to) in &self.0 {
            match bridged.last_mut() {
                Some((_, last)) if over.count_in(*last + 1, from - 1) == from - 1 - *last => {
                    *last = to;
                }
                _ => bridged.push((from, to)),
            }
        }
        Ranges(bridged)
    }

    /// Leaves out all up to a number.
    pub(crate) fn forget_upto(&mut self, number: u64) {
        let whole = self.0.partition_point(|&(_, last)| last <= number);
        self.0.drain(..whole);
        if let Some(first) = self.0.first_mut() {
            first.0 = first.0.max(number.saturating_add(1));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn ranges_are_what_a_set_of_numbers_is(
            inserted in prop::collection::vec((0_u64..60, 0_u64..8), 0..20),
            (from, length) in (0_u64..60, 0_u64..40),
            forgotten in 0_u64..30,
        ) {
            let mut ranges = Ranges::default();
            let mut set = BTreeSet::new();
            for (first, length) in inserted {
                let before = set.len();
                set.extend(first..=first + length);
                let new = (set.len() - before) as u64;
                prop_assert_eq!(ranges.insert(first, first + length), new);
            }
            prop_assert_eq!(ranges.count(), set.len() as u64);
            let to = from + length;
            let inside = set.range(from..=to).count() as u64;
            prop_assert_eq!(ranges.count_in(from, to), inside);
            let without: Vec<u64> =
                ranges.without(from, to).iter().flat_map(|(first, last)| first..=last).collect();
            let expected: Vec<u64> = (from..=to).filter(|n| !set.contains(n)).collect();
            prop_assert_eq!(without, expected);
            let mut bridged = Ranges(vec![]);
            for (first, last) in ranges.iter().step_by(2) {
                bridged.insert(first, last);
            }
            let others = bridged.clone();
            bridged = bridged.bridged(&ranges);
            prop_assert_eq!(bridged.count_in(0, 99), others.count_in(0, 99), "no gap is all in it");
            bridged = others.bridged(&others.without(0, 99));
            prop_assert_eq!(bridged.len(), others.len().min(1));
            ranges.forget_upto(forgotten);
            set.retain(|&n| n > forgotten);
            let taken = ranges.remove(to, to + 5);
            prop_assert_eq!(taken, set.range(to..=to + 5).count() as u64);
            set.retain(|n| !(to..=to + 5).contains(n));
            for number in 0..80 {
                prop_assert_eq!(ranges.contains(number), set.contains(&number));
                let is_beside = [number.wrapping_sub(1), number, number + 1];
                let is_beside = is_beside.iter().any(|n| set.contains(n));
                prop_assert_eq!(ranges.touches(number), is_beside, "{}", number);
            }
            for (one, next) in ranges.iter().zip(ranges.iter().skip(1)) {
                prop_assert!(one.1 + 1 < next.0);
            }
        }
    }
}
