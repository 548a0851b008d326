//! What a device makes of its messages.

use uuid::Uuid;

use super::{Device, FOUND, Found, Refused, Taken, Tell, check_name};
use crate::hub::clocks::{ClockStep, Place};
use crate::hub::history::{Entry, Put, Sensor};
use crate::hub::moment::{Moment, is_unset};
use crate::hub::receive::{Received, Said};
use crate::hub::streams::Number;
use crate::uplink::wire::{Event, UNCLEAN_STOP, UNSYNCHRONIZED};

impl Device {
    /// Whether a message's number is new, and where it stands then; `arrived` counts what came without one.
    pub(in crate::hub) fn number(
        &mut self,
        stream: Option<Uuid>,
        seq: Option<u64>,
        arrived: u64,
    ) -> Result<Option<Place>, Refused> {
        if self.streams.take(stream, seq)? == Number::Seen {
            self.counts.repeated += 1;
            return Ok(None);
        }
        let number = self.streams.number(stream);
        let place = match seq {
            Some(seq) if number > 0 => Place { stream: number, at: seq },
            _ => Place { stream: 0, at: arrived },
        };
        Ok(Some(place))
    }

    /// Takes a message that is new. `entries` counts those of all devices.
    pub(in crate::hub) fn take(
        &mut self,
        message: &Received,
        stream: Option<Uuid>,
        place: Place,
        entries: &mut usize,
    ) -> Result<Taken, Refused> {
        let mut taken = Taken { entry: None, is_news: true, tell: Tell::Message };
        let event = match &message.said {
            Said::Unknown => return Ok(taken),
            Said::Measured(measured) => {
                self.counts.readings += 1;
                let entry = Entry::reading(measured, place, &self.clocks);
                let known = self.keep(&measured.sensor, entry, entries, &mut taken)?;
                let is_new = known.learn(measured);
                self.is_changed |= is_new;
                return Ok(taken);
            }
            Said::Event(event) => event,
        };
        match event {
            Event::Fault { sensor, .. } => {
                self.counts.faults += 1;
                if let Some(entry) = Entry::fault(event, place, &self.clocks) {
                    self.keep(sensor, entry, entries, &mut taken)?;
                }
            }
            Event::Alarm { alarm, clock, .. } => {
                check_name("an alarm's name", alarm)?;
                self.hear_clock(clock.as_deref(), place);
                taken.is_news = self.alarms.take(event, place, &self.clocks);
                self.is_changed |= taken.is_news;
            }
            Event::Sensor { id, state, time, clock } => {
                self.hear_clock(clock.as_deref(), place);
                let since = Moment::of_message(time, clock.as_deref(), place, &self.clocks);
                self.sight(id, state, since);
                taken.tell = Tell::Device;
            }
            Event::Dropped { from, to, reason } => {
                let lost = self.streams.declare(stream, message.seq, (*from, *to));
                match &**reason == UNCLEAN_STOP {
                    true => self.counts.unclean_stops += 1,
                    false => self.lost = self.lost.saturating_add(lost),
                }
                if lost > 0 {
                    taken.tell = Tell::Device;
                }
            }
            Event::Health { queued, uplinks, spool, .. } => {
                taken.tell = self.settle_alarms();
                taken.is_news = !place.is_before(self.health_at);
                if taken.is_news {
                    self.health_at = place;
                    self.behind.queued = *queued;
                    if (uplinks, spool) != (&self.uplinks, &self.spool) {
                        (self.uplinks, self.spool) = (uplinks.clone(), spool.clone());
                        self.is_changed = true;
                        taken.tell = taken.tell.max(Tell::Device);
                    }
                }
            }
            Event::Start { time, clock, version } => {
                let start = Moment::of_message(time, clock.as_deref(), place, &self.clocks);
                self.begin(start);
                if self.alarms.processes().1 == place {
                    // None that began later is known.
                    self.version = version.to_string();
                }
                self.hear_clock(clock.as_deref(), place);
                self.is_changed = true;
                taken.tell = Tell::Device;
            }
            Event::Clock { synchronized, step_secs, .. } => {
                self.clocks.step(place, ClockStep::new(*step_secs, *synchronized));
                self.is_clock_new = true;
                self.is_changed = true;
                if self.is_newest(place) {
                    self.clock = (!synchronized).then_some(UNSYNCHRONIZED);
                }
                taken.tell = Tell::Device;
            }
            Event::Result { .. } => {}
        }
        Ok(taken)
    }

    /// Keeps a reading or a fault of a sensor, and gives the sensor.
    fn keep(
        &mut self,
        sensor: &str,
        entry: Entry,
        entries: &mut usize,
        taken: &mut Taken,
    ) -> Result<&mut Sensor, Refused> {
        let when = entry.when;
        self.hear_clock(when.is_marked.then_some(UNSYNCHRONIZED), when.place);
        taken.tell = self.settle_alarms();
        let (position, known) = self.sensor(sensor)?;
        taken.entry = Some((position, when));
        let put = known.keep(entry, entries);
        taken.is_news = put == Put::Last;
        if put == Put::Between {
            taken.tell = Tell::Everything;
        }
        Ok(known)
    }

    /// An entry as programs are told it.
    pub(in crate::hub) fn show(&self, entry: &Entry) -> String {
        let Place { stream, at } = entry.when.place;
        entry.show(self.streams.id(stream), (stream > 0).then_some(at))
    }

    fn hear_clock(&mut self, clock: Option<&str>, place: Place) {
        if self.is_newest(place) {
            self.clock = is_unset(clock).then_some(UNSYNCHRONIZED);
        }
    }

    /// What a process that began did not tell again is over as soon as it says something else.
    fn settle_alarms(&mut self) -> Tell {
        if self.alarms.settle() {
            self.is_changed = true;
            return Tell::Device;
        }
        Tell::Message
    }

    /// A sensor came or went that is not in the pipeline.
    fn sight(&mut self, id: &str, state: &str, since: Moment) {
        if since.place.is_before(self.alarms.processes().1) {
            // Of a process that is gone: the one after it tells again what it finds.
            return;
        }
        let same = self.found.iter().position(|found| &*found.id == id);
        if let Some(position) = same {
            let known = self.found.get(position);
            if known.is_some_and(|known| since.place.is_before(known.since.place)) {
                return;
            }
            self.found.remove(position);
        }
        if self.found.len() >= FOUND {
            let gone = self.found.iter().position(|found| !found.is_present);
            self.found.remove(gone.unwrap_or(0));
        }
        self.found.push(Found { id: id.into(), since, is_present: state == "found" });
        self.is_changed = true;
    }

    /// A frame has ended: its numbers are settled, and what waits for its clock is put right, once for any number of
    /// steps: all of it is gone through for that.
    pub(in crate::hub) fn settle(&mut self, stream: Option<Uuid>) -> Tell {
        self.streams.settle(stream);
        let gaps = self.streams.gaps();
        let mut tell = if gaps == self.gaps { Tell::Message } else { Tell::Device };
        self.gaps = gaps;
        if std::mem::take(&mut self.is_clock_new) && self.put_right() {
            tell = Tell::Everything;
        }
        tell
    }

    fn put_right(&mut self) -> bool {
        let clocks = &self.clocks;
        let mut corrected = self.alarms.put_right(clocks);
        for sensor in &mut self.sensors {
            corrected |= sensor.put_right(clocks);
        }
        for found in &mut self.found {
            corrected |= found.since.put_right(clocks);
        }
        corrected
    }
}
