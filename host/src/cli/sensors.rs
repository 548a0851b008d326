//! `weir sensors`: finds every thermometer and reads it once.

use clap::Args;

use super::system::System;
use super::{Failure, block_on, say};
use crate::clock::Clock;
use crate::reading::{Fault, Quality, Quantity, Reading, Series};
use crate::sensor::w1::{measure_all, scan};
use crate::uplink::Scribe;
use crate::uplink::wire::Message;

/// Find every thermometer and read it once.
#[derive(Args)]
pub(super) struct Sensors {
    #[command(flatten)]
    system: System,
    /// One JSON line a sensor, as on the wire.
    #[arg(long)]
    json: bool,
}

impl Sensors {
    pub(super) fn run(self) -> Result<(), Failure> {
        let system = self.system.paths();
        let shown = system.w1.display();
        let found = scan(&system.w1).map_err(|e| {
            format!(
                "cannot list {shown}: {e}. On a Raspberry Pi the 1-Wire bus is switched on by the line \
                 `dtoverlay=w1-gpio` in /boot/firmware/config.txt and a restart"
            )
        })?;
        if found.is_empty() && !self.json {
            say(format_args!(
                "no thermometer in {shown}: check the wiring (data on GPIO 4, 4.7 kΩ from data to 3.3 V) and the line \
                 `dtoverlay=w1-gpio` in /boot/firmware/config.txt"
            ))?;
        }
        let clock = Clock::start();
        let batch = block_on(measure_all(&found, &system.w1, &clock))?;
        let series: Vec<Series> = found
            .keys()
            .map(|id| Series {
                sensor: id.to_string().into(),
                id: Some(id.to_string().into()),
                quantity: Quantity::Temperature,
                interval: None,
            })
            .collect();
        let scribe = Scribe::offline(series.into());
        let mut measured = batch.in_order();
        measured.sort_by_key(|measured| match measured {
            Ok(reading) => reading.series,
            Err(fault) => fault.series,
        });
        for (measured, seq) in measured.into_iter().zip(1..) {
            if self.json {
                let body = match &measured {
                    Ok(reading) => scribe.reading(reading, batch.doubt(reading)),
                    Err(fault) => scribe.fault(fault),
                };
                say(Message { seq: Some(seq), body }.to_json())?;
            } else {
                say(line(&scribe.series, measured))?;
            }
        }
        Ok(())
    }
}

fn line(series: &[Series], measured: Result<Reading, Fault>) -> String {
    let name = |number: u32| series.get(number as usize).map_or("", |series| &*series.sensor);
    match measured {
        Ok(Reading { series, value, quality: Quality::Good, .. }) => {
            format!("{}  {value:8.4} °C", name(series))
        }
        Ok(Reading { series, value, .. }) => format!("{}  {value:8.4} °C  uncertain", name(series)),
        Err(Fault { series, reason, .. }) => format!("{}  fault: {reason}", name(series)),
    }
}
