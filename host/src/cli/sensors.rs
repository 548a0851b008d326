//! `weir sensors`: finds every thermometer and reads it once.

use std::path::PathBuf;

use clap::Args;

use super::{Failure, block_on, say};
use crate::reading::{CELSIUS, Fault, Quality, Reading, Series, Timestamp};
use crate::sensor::{Measurement, RomId, W1Sensor, scan};
use crate::uplink::wire::{Body, Message};

/// Find every thermometer and read it once.
#[derive(Args)]
pub(super) struct Sensors {
    /// The folder of 1-Wire devices.
    #[arg(long, value_name = "DIR", default_value = super::run::W1_ROOT)]
    w1_root: PathBuf,
    /// One JSON line a sensor, as on the wire.
    #[arg(long)]
    json: bool,
}

impl Sensors {
    pub(super) fn run(self) -> Result<(), Failure> {
        let shown = self.w1_root.display();
        let found = scan(&self.w1_root).map_err(|e| {
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
        block_on(async {
            for (rom_id, seq) in found.into_iter().zip(1..) {
                let time = Timestamp::now();
                let measurement = W1Sensor::new(&self.w1_root, rom_id).read().await;
                if self.json {
                    say(json(rom_id, seq, time, measurement))?;
                } else {
                    say(line(rom_id, measurement))?;
                }
            }
            Ok(())
        })?
    }
}

fn json(rom_id: RomId, seq: u64, time: Timestamp, measurement: Measurement) -> String {
    let name = rom_id.to_string();
    let series = [Series {
        sensor: name.as_str().into(),
        id: Some(name.into()),
        unit: CELSIUS,
        interval: None,
    }];
    let body = match measurement {
        Ok(m) => {
            let reading = Reading { series: 0, time, value: m.value, quality: m.quality };
            Body::reading(&reading, &series)
        }
        Err(reason) => Body::fault(&Fault { series: 0, time, reason }, &series),
    };
    Message { seq: Some(seq), body }.to_json()
}

fn line(rom_id: RomId, measurement: Measurement) -> String {
    match measurement {
        Ok(m) if m.quality == Quality::Good => format!("{rom_id}  {:8.4} °C", m.value),
        Ok(m) => format!("{rom_id}  {:8.4} °C  uncertain", m.value),
        Err(reason) => format!("{rom_id}  fault: {reason}"),
    }
}
