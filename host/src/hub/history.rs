//! What the hub keeps of one sensor: what it measures, and its recent readings and faults. Bounded.

use std::collections::VecDeque;

use serde::Serialize;

use super::moment::{ClockStep, Moment};
use crate::reading::{Quality, Quantity};
use crate::uplink::wire::{Body, ConnectSensor, Event, Measured};

/// Most entries that are kept of a sensor: half an hour at one a second, five hours at one in ten seconds.
pub(super) const RECENT: usize = 1_800;
/// Most entries of all devices together, about 30 MB. At this bound a sensor gives its oldest entry for a new one.
pub(super) const HISTORY: usize = 500_000;

#[derive(Clone, Debug, Serialize)]
pub(super) struct Sensor {
    pub(super) sensor: String,
    pub(super) id: Option<String>,
    /// What it measures; a thermometer does not say so.
    #[serde(skip_serializing_if = "Option::is_none")]
    quantity: Option<&'static str>,
    /// Empty until it is known.
    unit: String,
    #[serde(skip_serializing_if = "VecDeque::is_empty")]
    pub(super) recent: VecDeque<Entry>,
}

/// A reading or a fault.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Entry {
    #[serde(flatten)]
    pub(super) when: Moment,
    #[serde(flatten)]
    what: What,
}

#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
enum What {
    Reading {
        value: f64,
        quality: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        doubt: Option<Box<str>>,
    },
    Fault {
        fault: Box<str>,
    },
}

fn known(quantity: &str) -> Option<Quantity> {
    Quantity::ALL.iter().copied().find(|known| known.as_str() == quantity)
}

impl Sensor {
    pub(super) fn new(name: &str) -> Sensor {
        Sensor {
            sensor: name.to_owned(),
            id: None,
            quantity: None,
            unit: String::new(),
            recent: VecDeque::new(),
        }
    }

    pub(super) fn without_recent(&self) -> Sensor {
        Sensor {
            recent: VecDeque::new(),
            sensor: self.sensor.clone(),
            id: self.id.clone(),
            quantity: self.quantity,
            unit: self.unit.clone(),
        }
    }

    /// What the device says of it. Texts were checked; a unit that is left out is that of the quantity.
    pub(super) fn describe(&mut self, told: ConnectSensor) {
        self.id = told.id;
        let quantity = told.quantity.as_deref().map_or(Some(Quantity::Temperature), known);
        self.measures(quantity, Some(&*told.unit).filter(|unit| !unit.is_empty()));
    }

    fn measures(&mut self, quantity: Option<Quantity>, unit: Option<&str>) {
        self.quantity = quantity.filter(|q| *q != Quantity::Temperature).map(Quantity::as_str);
        self.unit = unit.or(quantity.map(Quantity::unit)).unwrap_or_default().to_owned();
    }

    /// Keeps a reading or a fault; other messages are none of a sensor's.
    pub(super) fn take(&mut self, body: &Body, entries: &mut usize) {
        let (when, what) = match body {
            Body::Measured(measured) => {
                let Measured { quantity, time, value, unit, quality, doubt, clock, .. } = measured;
                if self.unit.is_empty() {
                    self.measures(known(quantity), unit.as_deref());
                }
                let qualities = [Quality::Good, Quality::Uncertain].map(Quality::as_str);
                let known = qualities.into_iter().find(|known| *known == &**quality);
                let quality = known.unwrap_or(Quality::Uncertain.as_str());
                let what = What::Reading { value: *value, quality, doubt: doubt.clone() };
                (Moment::of_message(time, clock.as_deref()), what)
            }
            Body::Event(Event::Fault { time, reason, clock, .. }) => {
                let what = What::Fault { fault: reason.clone() };
                (Moment::of_message(time, clock.as_deref()), what)
            }
            _ => return,
        };
        if self.recent.len() >= RECENT || *entries >= HISTORY {
            if self.recent.pop_front().is_none() {
                return;
            }
            *entries -= 1;
        }
        self.recent.push_back(Entry { when, what });
        *entries += 1;
    }

    /// Corrects the entries that wait for it, and puts all in order of time again. Gives whether there were any.
    pub(super) fn correct(&mut self, step: ClockStep) -> bool {
        let corrected = self.recent.iter_mut().filter_map(|e| e.when.correct(step).then_some(()));
        if corrected.count() == 0 {
            return false;
        }
        // Most have all moved by the same, and a device may send many steps.
        let recent = self.recent.make_contiguous();
        if !recent.is_sorted_by_key(|entry| entry.when.time) {
            recent.sort_by_key(|entry| entry.when.time);
        }
        true
    }

    /// The process that took these is gone.
    pub(super) fn leave(&mut self) {
        self.recent.iter_mut().for_each(|entry| entry.when.leave());
    }
}
