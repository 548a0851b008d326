//! Which alarms are active, as far as the messages tell: one stage may watch several conditions of a sensor, and whoever
//! looks at the pair wants to know whether any of them holds. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::topics::Head;

/// Most pairs of a stage and a sensor that are followed: 256 of each could be in a pipeline, and nobody has so many.
const PAIRS: usize = 4_096;
/// Most conditions of a pair that are active at once, as the chain itself keeps them.
const CONDITIONS: usize = 64;

/// A stage and a sensor that it watches.
pub(super) type Pair = (Arc<str>, Arc<str>);

/// All pairs, each with its active conditions.
#[derive(Debug)]
pub(super) struct Alarms {
    pairs: BTreeMap<Pair, BTreeSet<String>>,
    /// Whether it is known what is active: from the first start on that was told.
    is_known: bool,
}

/// What a message changed.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Changed {
    /// A pair that was not known before.
    pub(super) new: Option<Pair>,
    /// Pairs whose state is to be told.
    pub(super) states: Vec<(Pair, State)>,
}

/// Whether any condition of a pair holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    On,
    Off,
}

impl State {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            State::On => "ON",
            State::Off => "OFF",
        }
    }
}

impl Alarms {
    pub(super) fn new(pairs: impl Iterator<Item = Pair>) -> Alarms {
        let pairs = pairs.take(PAIRS).map(|pair| (pair, BTreeSet::new())).collect();
        Alarms { pairs, is_known: false }
    }

    /// The pairs that are known.
    pub(super) fn pairs(&self) -> impl Iterator<Item = &Pair> {
        self.pairs.keys()
    }

    /// Every state, once it is known.
    pub(super) fn states(&self) -> Vec<(Pair, State)> {
        let all = self.pairs.iter().filter(|_| self.is_known);
        all.map(|(pair, active)| (pair.clone(), state(active))).collect()
    }

    /// Takes in what a message says. The same message twice changes nothing more.
    pub(super) fn take(&mut self, head: &Head<'_>) -> Changed {
        match &*head.kind {
            // What a device told before it started anew is over, and told again where it is not.
            "start" => {
                self.pairs.values_mut().for_each(BTreeSet::clear);
                self.is_known = true;
                Changed { new: None, states: self.states() }
            }
            "alarm" => self.take_alarm(head).unwrap_or_default(),
            _ => Changed::default(),
        }
    }

    fn take_alarm(&mut self, head: &Head<'_>) -> Option<Changed> {
        let pair: Pair = (head.alarm.as_deref()?.into(), head.sensor.as_deref()?.into());
        let is_new = !self.pairs.contains_key(&pair);
        if is_new && self.pairs.len() >= PAIRS {
            return None;
        }
        let active = self.pairs.entry(pair.clone()).or_default();
        let condition = head.condition.as_deref().unwrap_or_default();
        if head.state.as_deref() != Some("active") {
            active.remove(condition);
        } else if active.len() < CONDITIONS {
            active.insert(condition.to_owned());
        }
        let states = vec![(pair.clone(), state(active))];
        Some(Changed { new: is_new.then_some(pair), states })
    }
}

fn state(active: &BTreeSet<String>) -> State {
    if active.is_empty() { State::Off } else { State::On }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alarm(condition: &'static str, state: &'static str) -> Head<'static> {
        Head {
            kind: "alarm".into(),
            alarm: Some("limits".into()),
            sensor: Some("air".into()),
            condition: Some(condition.into()),
            state: Some(state.into()),
        }
    }

    fn pair() -> Pair {
        ("limits".into(), "air".into())
    }

    #[test]
    fn a_pair_is_off_when_none_of_its_conditions_holds() {
        let mut alarms = Alarms::new([pair()].into_iter());
        assert_eq!(alarms.states(), [], "nothing is known before the first start");
        let start = Head { kind: "start".into(), ..Head::default() };
        assert_eq!(alarms.take(&start).states, [(pair(), State::Off)]);
        for (condition, state, expected) in [
            ("above", "active", State::On),
            ("missing", "active", State::On),
            ("missing", "active", State::On),
            ("above", "cleared", State::On),
            ("missing", "cleared", State::Off),
            ("missing", "cleared", State::Off),
        ] {
            let changed = alarms.take(&alarm(condition, state));
            assert_eq!(
                changed,
                Changed { new: None, states: vec![(pair(), expected)] },
                "{condition}"
            );
        }
        alarms.take(&alarm("above", "active"));
        assert_eq!(alarms.take(&start).states, [(pair(), State::Off)], "a new start ends it");
    }

    #[test]
    fn a_pair_that_a_changed_pipeline_brings_is_new_once() {
        let mut alarms = Alarms::new(std::iter::empty());
        assert_eq!(alarms.take(&alarm("above", "active")).new, Some(pair()));
        assert_eq!(alarms.take(&alarm("above", "cleared")).new, None);
    }
}
