//! The spool on simulated disks: cut off, full, read-only, broken and lying ones.

mod cuts;
mod day;
mod device;
mod disk;
mod faults;
mod real;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::queue::DiskState;
use super::*;
use crate::ranges::Ranges;

/// A reading as the chain makes them.
fn reading(sensor: usize, count: u64) -> Body {
    let time = format!(
        "2026-11-21T{:02}:{:02}:{:02}.000Z",
        count / 3_600 % 24,
        count / 60 % 60,
        count % 60
    );
    Body::Measured(crate::uplink::wire::Measured {
        quantity: "temperature".into(),
        sensor: format!("sensor-{sensor}").into(),
        time: time.into(),
        value: (count % 320) as f64 / 16.0,
        unit: None,
        quality: "good".into(),
        doubt: None,
        clock: None,
    })
}

fn alarm() -> Body {
    Body::Event(Event::Result { id: "1".into(), status: "failed".into(), reason: None })
}

/// The numbers that a message declares.
fn declared(stored: &Stored) -> Option<(u64, u64)> {
    let json: serde_json::Value = serde_json::from_str(&stored.json).unwrap();
    assert_eq!(json["seq"].as_u64(), Some(stored.seq), "{}", stored.json);
    (json["type"] == "dropped")
        .then(|| (json["from"].as_u64().unwrap(), json["to"].as_u64().unwrap()))
}

/// What a hub has of one stream.
#[derive(Debug, Default)]
struct Hub {
    got: BTreeMap<u64, Arc<str>>,
    declared: Ranges,
}

impl Hub {
    fn take(&mut self, messages: &[Stored]) {
        for stored in messages {
            if let Some((from, to)) = declared(stored) {
                self.declared.insert(from, to);
            }
            self.got.insert(stored.seq, stored.json.clone());
        }
    }

    /// Each number came, or was declared, and none both.
    fn account(&self, last: u64) {
        let both = self.got.keys().find(|seq| self.declared.contains(**seq));
        assert_eq!(both, None, "it came, and was declared");
        let ways = self.got.len() as u64 + self.declared.count_in(1, last);
        assert_eq!(ways, last, "{:?}", self.declared.without(1, last));
    }

    fn declared(&self) -> u64 {
        self.declared.count_in(1, u64::MAX)
    }
}

/// Reads all that there is, from an uplink's place on.
fn drain(keeper: &Keeper, hub: &mut Hub, now: Duration) {
    let mut after = keeper.queue().acked(0);
    loop {
        let messages = keeper.read(after, 100, now);
        let Some(last) = messages.last() else { return };
        assert!(messages.iter().all(|stored| stored.seq > after));
        assert!(messages.is_sorted_by(|one, next| one.seq < next.seq));
        after = last.seq;
        hub.take(&messages);
        keeper.ack(0, after, now);
    }
}
