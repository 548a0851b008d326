//! The alarms of one device, as they were told last. Bounded.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::clocks::{Clocks, Place};
use super::moment::{Moment, print};
use crate::uplink::wire::Event;

/// Most alarms of a device; cleared ones give way first.
const ALARMS: usize = 256;

#[derive(Clone, Debug, Default, Serialize)]
#[serde(transparent)]
pub(super) struct Alarms {
    list: Vec<Alarm>,
    /// A process that began: what it does not tell again is over.
    #[serde(skip)]
    began: Option<Moment>,
    /// The process that began last: older alarms say nothing of how it is now.
    #[serde(skip)]
    latest: Place,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Alarm {
    #[serde(flatten)]
    what: What,
    /// When it was told last, and the device's clock then.
    #[serde(flatten)]
    pub(super) told: Moment,
    /// Since when it is in its state.
    #[serde(serialize_with = "print")]
    pub(super) since: Moment,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct What {
    alarm: Arc<str>,
    sensor: Arc<str>,
    condition: Box<str>,
    state: Box<str>,
    severity: Box<str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    value: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    limit: Option<f64>,
}

impl What {
    fn is_about_the_same(&self, other: &What) -> bool {
        (&self.alarm, &self.sensor, &self.condition)
            == (&other.alarm, &other.sensor, &other.condition)
    }
}

impl Alarm {
    pub(super) fn new(what: What, told: Moment, since: Moment) -> Alarm {
        Alarm { what, told, since }
    }

    pub(super) fn is_active(&self) -> bool {
        &*self.what.state == "active"
    }

    pub(super) fn what(&self) -> &What {
        &self.what
    }
}

impl Alarms {
    pub(super) fn iter(&self) -> impl Iterator<Item = &Alarm> {
        self.list.iter()
    }

    /// As they were kept.
    pub(super) fn restored(list: Vec<Alarm>, began: Option<Moment>, latest: Place) -> Alarms {
        Alarms { list, began, latest }
    }

    /// What is kept of processes: one whose alarms may be told again, and where the last one began.
    pub(super) fn processes(&self) -> (Option<Moment>, Place) {
        (self.began, self.latest)
    }

    /// The device's process began anew. It tells what is still active before anything is measured, so that an alarm
    /// which goes on is not shown as cleared in between.
    pub(super) fn begin(&mut self, start: Moment) {
        let Place { stream, .. } = start.place;
        let is_older = stream < self.latest.stream || start.place.is_before(self.latest);
        // Of a device that numbers nothing each comes in its turn.
        if stream == 0 || !is_older {
            self.latest = start.place;
            self.began = Some(start);
        }
    }

    /// The process that began has told its alarms: all others are over. Gives whether there were any.
    pub(super) fn settle(&mut self) -> bool {
        let Some(start) = self.began.take() else { return false };
        let mut any = false;
        for alarm in self.list.iter_mut() {
            let told = alarm.told.place;
            if alarm.is_active()
                && (told.stream != start.place.stream || told.is_before(start.place))
            {
                alarm.what.state = "cleared".into();
                (alarm.told, alarm.since) = (start, start);
                any = true;
            }
        }
        any
    }

    /// Corrects the times that wait for it. Gives whether there were any.
    pub(super) fn put_right(&mut self, clocks: &Clocks) -> bool {
        let mut any = false;
        for alarm in self.list.iter_mut() {
            any |= alarm.told.put_right(clocks);
            any |= alarm.since.put_right(clocks);
        }
        any
    }

    /// Takes an alarm's message; others are none of it. Gives whether it says how the alarm is now.
    pub(super) fn take(&mut self, event: &Event, place: Place, clocks: &Clocks) -> bool {
        let Event::Alarm { alarm, sensor, condition, state, severity, value, limit, time, clock } =
            event
        else {
            return false;
        };
        let told = Moment::of_message(time, clock.as_deref(), place, clocks);
        let what = What {
            alarm: alarm.clone(),
            sensor: sensor.clone(),
            condition: condition.clone(),
            state: state.clone(),
            severity: severity.clone(),
            value: *value,
            limit: *limit,
        };
        let mut taken = Alarm::new(what, told, told);
        if let Some(known) = self.list.iter_mut().find(|a| a.what.is_about_the_same(&taken.what)) {
            if place.is_before(known.told.place) {
                return false;
            }
            if known.what.state == taken.what.state {
                // A repeat: it is active since it became so.
                taken.since = known.since;
            }
            *known = taken;
            return true;
        }
        if place.is_before(self.latest) && taken.is_active() {
            // Of a process that is gone, and nothing newer was told: it is over.
            return false;
        }
        if self.list.len() >= ALARMS {
            let cleared = self.list.iter().position(|alarm| !alarm.is_active());
            self.list.remove(cleared.unwrap_or(0));
        }
        self.list.push(taken);
        true
    }
}
