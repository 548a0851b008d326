//! The alarms of one device, as they were told last. Bounded.

use std::sync::Arc;

use serde::Serialize;

use super::moment::{ClockStep, Moment, print};
use crate::reading::Timestamp;
use crate::uplink::wire::Event;

/// Most alarms of a device; cleared ones give way first.
const ALARMS: usize = 256;

#[derive(Clone, Debug, Default, Serialize)]
#[serde(transparent)]
pub(super) struct Alarms {
    list: Vec<Alarm>,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Alarm {
    alarm: Arc<str>,
    pub(super) sensor: Arc<str>,
    condition: Box<str>,
    state: Box<str>,
    severity: Box<str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<f64>,
    /// When it was told last, and the device's clock then.
    #[serde(flatten)]
    told: Moment,
    /// Since when it is in its state.
    #[serde(serialize_with = "print")]
    since: Moment,
}

impl Alarm {
    pub(super) fn is_active(&self) -> bool {
        &*self.state == "active"
    }
}

impl Alarms {
    pub(super) fn iter(&self) -> impl Iterator<Item = &Alarm> {
        self.list.iter()
    }

    /// The device's alerts began anew: what was active is over.
    pub(super) fn end(&mut self, now: Timestamp) {
        let now = Moment::right(now);
        for alarm in self.list.iter_mut() {
            alarm.told.leave();
            alarm.since.leave();
            if alarm.is_active() {
                alarm.state = "cleared".into();
                (alarm.told, alarm.since) = (now, now);
            }
        }
    }

    /// Corrects the times that wait for it. Gives whether there were any.
    pub(super) fn correct(&mut self, step: ClockStep) -> bool {
        let mut any = false;
        for alarm in self.list.iter_mut() {
            any |= alarm.told.correct(step);
            any |= alarm.since.correct(step);
        }
        any
    }

    /// Takes an alarm's message; others are none of it.
    pub(super) fn take(&mut self, event: &Event) {
        let Event::Alarm { alarm, sensor, condition, state, severity, value, limit, time, clock } =
            event
        else {
            return;
        };
        let told = Moment::of_message(time, clock.as_deref());
        let mut taken = Alarm {
            alarm: alarm.clone(),
            sensor: sensor.clone(),
            condition: condition.clone(),
            state: state.clone(),
            severity: severity.clone(),
            value: *value,
            limit: *limit,
            told,
            since: told,
        };
        let same = |known: &Alarm| {
            (&known.alarm, &known.sensor, &known.condition)
                == (&taken.alarm, &taken.sensor, &taken.condition)
        };
        if let Some(position) = self.list.iter().position(same)
            && let Some(known) = self.list.get_mut(position)
        {
            if known.state == taken.state {
                // A repeat: it is active since it became so.
                taken.since = known.since;
            }
            *known = taken;
            return;
        }
        if self.list.len() >= ALARMS {
            let cleared = self.list.iter().position(|alarm| !alarm.is_active());
            self.list.remove(cleared.unwrap_or(0));
        }
        self.list.push(taken);
    }
}
