//! What the hub keeps of one sensor: what it measures, and its recent readings and faults. Bounded.

use std::collections::VecDeque;

use serde::{Serialize, Serializer};
use uuid::Uuid;

use super::clocks::{Clocks, Place};
use super::moment::{By, Moment};
use super::receive::{Measured, Said};
use crate::reading::{Quality, Quantity};
use crate::uplink::wire::{ConnectSensor, Event, to_json};

/// Most entries that are kept of a sensor: half an hour at one a second, five hours at one in ten seconds.
pub(super) const RECENT: usize = 1_800;
/// Most entries of all devices together, about 40 MB, but for the first of each sensor. At this bound a sensor gives its
/// oldest entry for a new one.
pub(super) const HISTORY: usize = 500_000;

#[derive(Clone, Debug, Serialize)]
pub(super) struct Sensor {
    pub(super) sensor: String,
    pub(super) id: Option<String>,
    /// What it measures; a thermometer does not say so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) quantity: Option<&'static str>,
    /// Empty until it is known.
    pub(super) unit: String,
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
        #[serde(serialize_with = "print_quality")]
        quality: Quality,
        #[serde(skip_serializing_if = "Option::is_none")]
        doubt: Option<Box<str>>,
    },
    Fault {
        fault: Box<str>,
    },
}

fn print_quality<S: Serializer>(quality: &Quality, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(quality.as_str())
}

impl Entry {
    /// A reading.
    pub(super) fn reading(measured: &Measured, place: Place, clocks: &Clocks) -> Entry {
        let Measured { time, value, quality, doubt, clock, .. } = measured;
        let doubt = doubt.as_deref().map(Into::into);
        Entry {
            when: Moment::told(*time, By::of(clock.as_deref()), place, clocks),
            what: What::Reading { value: *value, quality: *quality, doubt },
        }
    }

    /// A fault; `None` when it is another event.
    pub(super) fn fault(event: &Event, place: Place, clocks: &Clocks) -> Option<Entry> {
        let Event::Fault { time, reason, clock, .. } = event else { return None };
        let when = Moment::of_message(time, clock.as_deref(), place, clocks);
        Some(Entry { when, what: What::Fault { fault: reason.clone() } })
    }

    /// What a message says of its sensor; `None` when it says nothing of any.
    pub(super) fn of(said: &Said, place: Place, clocks: &Clocks) -> Option<Entry> {
        match said {
            Said::Measured(measured) => Some(Entry::reading(measured, place, clocks)),
            Said::Event(event) => Entry::fault(event, place, clocks),
            Said::Unknown => None,
        }
    }
}

impl Entry {
    /// As programs are told it, with where it comes from.
    pub(super) fn show(&self, stream: Option<Uuid>, seq: Option<u64>) -> String {
        #[derive(Serialize)]
        struct Shown<'e> {
            #[serde(flatten)]
            entry: &'e Entry,
            #[serde(skip_serializing_if = "Option::is_none")]
            stream: Option<Uuid>,
            #[serde(skip_serializing_if = "Option::is_none")]
            seq: Option<u64>,
        }
        to_json(&Shown { entry: self, stream, seq })
    }
}

/// Where a new entry went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Put {
    /// At the end.
    Last,
    /// Before others.
    Between,
    /// Nowhere: it is older than all, and there is no room.
    Nowhere,
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

    /// Learns from a reading what the sensor measures. Gives whether that is new.
    pub(super) fn learn(&mut self, measured: &Measured) -> bool {
        let is_unknown = self.unit.is_empty();
        if is_unknown {
            self.measures(Some(measured.quantity), measured.unit.as_deref());
        }
        is_unknown
    }

    /// Keeps an entry behind those that belong before it.
    pub(super) fn keep(&mut self, entry: Entry, entries: &mut usize) -> Put {
        let place = entry.when.place;
        let later = self.recent.iter().rev().take_while(|known| place.is_before(known.when.place));
        let mut position = self.recent.len() - later.count();
        // A sensor that has none is shown all the same.
        if self.recent.len() >= RECENT || (*entries >= HISTORY && !self.recent.is_empty()) {
            if position == 0 {
                return Put::Nowhere;
            }
            self.recent.pop_front();
            *entries -= 1;
            position -= 1;
        }
        *entries += 1;
        if position == self.recent.len() {
            self.recent.push_back(entry);
            return Put::Last;
        }
        self.recent.insert(position, entry);
        Put::Between
    }

    /// The newest that were kept, as they were read from the store.
    pub(super) fn remember(&mut self, mut recent: Vec<Entry>, entries: &mut usize) {
        recent.sort_by_key(|entry| entry.when.place);
        *entries += recent.len();
        self.recent = recent.into();
        self.sort();
    }

    /// Corrects the times that wait for it, and puts all in order of time again. Gives whether there were any.
    pub(super) fn put_right(&mut self, clocks: &Clocks) -> bool {
        let corrected =
            self.recent.iter_mut().filter_map(|e| e.when.put_right(clocks).then_some(()));
        if corrected.count() == 0 {
            return false;
        }
        self.sort();
        true
    }

    fn sort(&mut self) {
        // Most have all moved by the same, and a device may send many steps.
        let recent = self.recent.make_contiguous();
        if !recent.is_sorted_by_key(|entry| entry.when.time) {
            recent.sort_by_key(|entry| entry.when.time);
        }
    }
}
