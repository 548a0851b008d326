//! Sets of numbers, as ranges; pure.

/// Numbers, as ranges from low to high that do not touch each other.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub(super) struct Ranges(Vec<(u64, u64)>);

impl Ranges {
    /// Adds all from one number to another.
    pub(super) fn insert(&mut self, from: u64, to: u64) {
        if from > to {
            return;
        }
        let begin = self.0.partition_point(|&(_, last)| last.saturating_add(1) < from);
        let end = self.0.partition_point(|&(first, _)| first <= to.saturating_add(1));
        let touched = self.0.get(begin..end).unwrap_or_default();
        let from = touched.first().map_or(from, |&(first, _)| first.min(from));
        let to = touched.last().map_or(to, |&(_, last)| last.max(to));
        self.0.splice(begin..end, [(from, to)]);
    }

    /// The ranges, low to high.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.0.iter().copied()
    }

    /// How many ranges there are.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether a number is in it.
    pub(super) fn contains(&self, number: u64) -> bool {
        let at = self.0.partition_point(|&(_, last)| last < number);
        self.0.get(at).is_some_and(|&(first, _)| first <= number)
    }

    /// How many numbers of a range are in it.
    pub(super) fn count_in(&self, from: u64, to: u64) -> u64 {
        let at = self.0.partition_point(|&(_, last)| last < from);
        let later = self.0.get(at..).unwrap_or_default();
        let cut = later.iter().take_while(|&&(first, _)| first <= to);
        cut.map(|&(first, last)| last.min(to) - first.max(from) + 1).sum()
    }

    /// The parts of a range that are not in it.
    pub(super) fn without(&self, from: u64, to: u64) -> Ranges {
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
    pub(super) fn bridged(&self, over: &Ranges) -> Ranges {
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
    pub(super) fn forget_upto(&mut self, number: u64) {
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
                ranges.insert(first, first + length);
                set.extend(first..=first + length);
            }
            let to = from + length;
            let inside = set.range(from..=to).count() as u64;
            prop_assert_eq!(ranges.count_in(from, to), inside);
            let without: Vec<u64> =
                ranges.without(from, to).iter().flat_map(|(first, last)| first..=last).collect();
            let expected: Vec<u64> = (from..=to).filter(|n| !set.contains(n)).collect();
            prop_assert_eq!(without, expected);
            let mut bridged = Ranges(vec![]);
            ranges.iter().step_by(2).for_each(|(first, last)| bridged.insert(first, last));
            let others = bridged.clone();
            bridged = bridged.bridged(&ranges);
            prop_assert_eq!(bridged.count_in(0, 99), others.count_in(0, 99), "no gap is all in it");
            bridged = others.bridged(&others.without(0, 99));
            prop_assert_eq!(bridged.len(), others.len().min(1));
            ranges.forget_upto(forgotten);
            set.retain(|&n| n > forgotten);
            for number in 0..80 {
                prop_assert_eq!(ranges.contains(number), set.contains(&number));
            }
            for (one, next) in ranges.iter().zip(ranges.iter().skip(1)) {
                prop_assert!(one.1 + 1 < next.0);
            }
        }
    }
}
