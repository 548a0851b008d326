//! What a read of `w1_slave` or `temperature` gives.

use std::sync::Arc;

use fuser::Errno;

use crate::bus::{Bulk, Bus, Slave};
use crate::options::Release;
use crate::pace::lock;
use crate::scratchpad::{millidegrees, print};
use crate::script::Fail;
use crate::therm::Readout;
use crate::world::World;

impl World {
    /// The text of `w1_slave`, or the number of `temperature`.
    pub fn show_measurement(
        &self,
        bus: &Arc<Bus>,
        slave: &Slave,
        whole: bool,
    ) -> Result<String, Errno> {
        let _pending = bus.begin_read();
        let (fault, suffered) = match &slave.sensor {
            Some(sensor) => sensor.begin_read(),
            None => (Fail::Nothing, false),
        };
        match fault {
            Fail::Empty => return Ok(String::new()),
            Fail::Errno(errno) => return Err(errno),
            Fail::Text(text) => return Ok(text),
            _ => {}
        }
        let readout = if self.release() == Release::V5_4 {
            Ok(self.convert_before_5_8(bus, slave, &fault)?)
        } else {
            self.measure(bus, slave, &fault, suffered)
        };
        // The driver makes an empty success of every failure.
        let text = readout
            .map_or_else(|_failure| String::new(), |readout| self.print(slave, readout, whole));
        Ok(text)
    }

    /// The value of a bulk conversion if one waits, of an own one otherwise.
    fn measure(
        &self,
        bus: &Arc<Bus>,
        slave: &Slave,
        fault: &Fail,
        suffered: bool,
    ) -> Result<Readout, Errno> {
        let bulk = if slave.supports_bulk() { lock(&slave.driver).bulk } else { Bulk::None };
        match bulk {
            Bulk::Running => Err(Errno::EAGAIN),
            Bulk::Unread => {
                if !suffered {
                    suffer_late(slave, fault);
                }
                let readout = self.read_scratchpad(bus, slave, fault);
                lock(&slave.driver).bulk = Bulk::None;
                readout
            }
            Bulk::None => self.convert(bus, slave, fault),
        }
    }

    fn print(&self, slave: &Slave, readout: Readout, whole: bool) -> String {
        let Readout { bytes, right, conversion } = readout;
        let milli = millidegrees(bytes, slave.family, self.release());
        if let Some(sensor) = slave.sensor.as_ref().filter(|_| right) {
            sensor.note_read(conversion);
        }
        if !whole {
            return format!("{milli}\n");
        }
        let mut driver = lock(&slave.driver);
        if right {
            driver.retained = bytes;
        }
        print(bytes, right, driver.retained, milli)
    }
}

/// A fault of the conversion that was ordered after the conversion: it shows all the same, except that a convert
/// command that was heard cannot be lost any more.
fn suffer_late(slave: &Slave, fault: &Fail) {
    if let Some(sensor) = &slave.sensor {
        match fault {
            Fail::PowerOn => sensor.power_cycle(),
            Fail::InsufficientPower => sensor.with_chip(crate::chip::LiveChip::starve),
            _ => {}
        }
    }
}
