//! What a read of `w1_slave`, `temperature` or hwmon's `temp1_input` gives.

use std::sync::Arc;

use fuser::Errno;

use crate::bus::{Bulk, Bus, Slave};
use crate::chip::LiveChip;
use crate::options::Release;
use crate::pace::lock;
use crate::scratchpad::{millidegrees, print};
use crate::script::Fail;
use crate::sensor::Sensor;
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
        let (fault, suffered) = begin(slave);
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

    /// The number of `temp1_input`: always of an own conversion, and failures are told.
    pub fn show_hwmon(&self, bus: &Arc<Bus>, slave: &Slave) -> Result<String, Errno> {
        let _pending = bus.begin_read();
        let (fault, _) = begin(slave);
        if let Fail::Errno(errno) = fault {
            return Err(errno);
        }
        let readout = if self.release() == Release::V5_4 {
            self.convert_before_5_8(bus, slave, &fault)?
        } else {
            self.convert(bus, slave, &fault)?
        };
        if readout.right { Ok(self.print(slave, readout, false)) } else { Err(Errno::EIO) }
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

fn begin(slave: &Slave) -> (Fail, bool) {
    slave.sensor.as_ref().map_or((Fail::Nothing, false), Sensor::begin_read)
}

/// A fault of the conversion that was ordered after the conversion: it shows all the same, except that a convert
/// command that was heard cannot be lost any more.
fn suffer_late(slave: &Slave, fault: &Fail) {
    if let Some(sensor) = &slave.sensor {
        match fault {
            Fail::PowerOn => sensor.power_cycle(),
            Fail::InsufficientPower => sensor.with_chip(LiveChip::starve),
            _ => {}
        }
    }
}
