//! Writes what a pipeline gives as messages: steady times become the wall clock's, numbers of series become names.

use std::sync::Arc;

use super::wire::{Body, Event, Measured, UNSYNCHRONIZED};
use crate::reading::{
    Alarm, AlarmState, Doubt, Fault, Quantity, Reading, Series, Sighting, Timestamp, WallClock,
};

/// How the chain's steady times become those of the wire, and which series have which names.
#[derive(Clone, Debug)]
pub struct Scribe {
    /// The series of the pipeline.
    pub series: Arc<[Series]>,
    /// How the wall clock stands.
    pub wall_clock: WallClock,
}

impl Scribe {
    /// For a recording, whose times are right as they are.
    pub fn offline(series: Arc<[Series]>) -> Self {
        Scribe { series, wall_clock: WallClock { ahead_nanos: 0, synchronized: true } }
    }

    /// A reading's message.
    pub fn reading(&self, reading: &Reading, doubt: Option<Doubt>) -> Body {
        let series = self.series.get(reading.series as usize);
        let quantity = series.map_or(Quantity::Temperature, |series| series.quantity);
        let unit = (quantity != Quantity::Temperature).then(|| quantity.unit().into());
        Body::Measured(Measured {
            quantity: quantity.as_str().into(),
            sensor: self.name_of(reading.series),
            time: self.time(reading.time),
            value: reading.value,
            unit,
            quality: reading.quality.as_str().into(),
            doubt: doubt.map(|doubt| doubt.as_str().into()),
            clock: self.clock(),
        })
    }

    /// A fault's message.
    pub fn fault(&self, fault: &Fault) -> Body {
        Body::Event(Event::Fault {
            sensor: self.name_of(fault.series),
            time: self.time(fault.time),
            reason: fault.reason.as_str().into(),
            clock: self.clock(),
        })
    }

    /// An alarm's message.
    pub fn alarm(&self, alarm: &Alarm, stage: &Arc<str>) -> Body {
        let state = match alarm.state {
            AlarmState::Active => "active",
            AlarmState::Cleared => "cleared",
        };
        Body::Event(Event::Alarm {
            alarm: stage.clone(),
            sensor: self.name_of(alarm.series),
            condition: alarm.condition.as_str().into(),
            state: state.into(),
            severity: alarm.severity.as_str().into(),
            value: alarm.value,
            limit: alarm.limit,
            time: self.time(alarm.time),
            clock: self.clock(),
        })
    }

    /// The message of a sensor that is not in the pipeline.
    pub fn sighting(&self, sighting: &Sighting) -> Body {
        let state = if sighting.present { "found" } else { "gone" };
        Body::Event(Event::Sensor {
            id: (&*sighting.id).into(),
            state: state.into(),
            time: self.time(sighting.time),
            clock: self.clock(),
        })
    }

    /// The message with which a process begins.
    pub fn start(&self, now: Timestamp) -> Body {
        Body::Event(Event::Start {
            time: self.time(now),
            version: env!("CARGO_PKG_VERSION").into(),
            clock: self.clock(),
        })
    }

    /// The message of a change of the wall clock, which is taken over.
    pub fn wall_clock(&mut self, clock: WallClock, now: Timestamp) -> Body {
        let step_secs = clock.step_secs_since(self.wall_clock);
        self.wall_clock = clock;
        Body::Event(Event::Clock {
            time: self.time(now),
            synchronized: clock.synchronized,
            step_secs,
        })
    }

    fn name_of(&self, number: u32) -> Arc<str> {
        self.series.get(number as usize).map_or_else(|| "".into(), |series| series.sensor.clone())
    }

    fn time(&self, steady: Timestamp) -> Box<str> {
        steady.shifted(self.wall_clock.ahead_nanos).to_string().into()
    }

    fn clock(&self) -> Option<Box<str>> {
        (!self.wall_clock.synchronized).then(|| UNSYNCHRONIZED.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reading::{FaultReason, Quality, Severity};
    use crate::uplink::wire::Message;
    use crate::uplink::wire::tests::series;

    fn time() -> Timestamp {
        "2026-11-21T23:00:00Z".parse().unwrap()
    }

    #[track_caller]
    fn check(seq: u64, body: impl Into<Body>, json: &str) {
        let body = body.into();
        assert_eq!(Message { seq: Some(seq), late: false, body: body.clone() }.to_json(), json);
        let read = match body {
            Body::Measured(_) => Body::Measured(serde_json::from_str(json).unwrap()),
            Body::Event(_) => Body::Event(serde_json::from_str(json).unwrap()),
        };
        assert_eq!(read, body);
    }

    #[test]
    fn messages_are_the_ones_that_were_promised() {
        let mut scribe = Scribe::offline(series().into());
        let reading = Reading { series: 0, time: time(), value: 4.312, quality: Quality::Good };
        check(
            7,
            scribe.reading(&reading, None),
            r#"{"type":"temperature","seq":7,"sensor":"evaporator","time":"2026-11-21T23:00:00.000Z","value":4.312,"quality":"good"}"#,
        );
        let fault = Fault { series: 0, time: time(), reason: FaultReason::CrcMismatch };
        check(
            8,
            scribe.fault(&fault),
            r#"{"type":"fault","seq":8,"sensor":"evaporator","time":"2026-11-21T23:00:00.000Z","reason":"crc-mismatch"}"#,
        );
        let alarm = Alarm {
            series: 0,
            time: time(),
            condition: "above".into(),
            state: AlarmState::Active,
            severity: Severity::Critical,
            value: Some(9.1),
            limit: Some(8.0),
        };
        check(
            9,
            scribe.alarm(&alarm, &"too-warm".into()),
            r#"{"type":"alarm","seq":9,"alarm":"too-warm","sensor":"evaporator","condition":"above","state":"active","severity":"critical","value":9.1,"limit":8.0,"time":"2026-11-21T23:00:00.000Z"}"#,
        );
        let reading = Reading { series: 1, quality: Quality::Uncertain, value: 51.5, ..reading };
        let humidity = scribe.reading(&reading, Some(Doubt::Stale));
        check(
            10,
            humidity,
            r#"{"type":"humidity","seq":10,"sensor":"air","time":"2026-11-21T23:00:00.000Z","value":51.5,"unit":"percent","quality":"uncertain","doubt":"stale"}"#,
        );
        let clock = WallClock { ahead_nanos: 90_500_000_000, synchronized: false };
        check(
            11,
            scribe.wall_clock(clock, time()),
            r#"{"type":"clock","seq":11,"time":"2026-11-21T23:01:30.500Z","synchronized":false,"step_secs":90.5}"#,
        );
        check(
            12,
            scribe.fault(&fault),
            r#"{"type":"fault","seq":12,"sensor":"evaporator","time":"2026-11-21T23:01:30.500Z","reason":"crc-mismatch","clock":"unsynchronized"}"#,
        );
        let ghost = Sighting { id: "28-0316a2794dff".into(), time: time(), present: true };
        check(
            13,
            scribe.sighting(&ghost),
            r#"{"type":"sensor","seq":13,"id":"28-0316a2794dff","state":"found","time":"2026-11-21T23:01:30.500Z","clock":"unsynchronized"}"#,
        );
        check(
            12,
            Event::Dropped { from: 10, to: 11, reason: "spool-full".into() },
            r#"{"type":"dropped","seq":12,"from":10,"to":11,"reason":"spool-full"}"#,
        );
        let result =
            Event::Result { id: "a,b".into(), status: "failed".into(), reason: Some("no".into()) };
        check(
            13,
            result,
            r#"{"type":"result","seq":13,"id":"a,b","status":"failed","reason":"no"}"#,
        );
    }
}
