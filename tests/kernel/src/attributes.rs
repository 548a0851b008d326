//! The files of buses and devices: which there are, what they say, what they take.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use fuser::Errno;

use crate::bus::{Bulk, Bus, Slave};
use crate::options::Release;
use crate::pace::lock;
use crate::scratchpad::crc8;
use crate::script::Fail;
use crate::therm::POLL_COMPLETION;
use crate::world::World;

/// A file that the kernel makes of its state.
#[derive(Debug, Clone)]
pub(crate) enum Attribute {
    /// Of a bus.
    Bus(Arc<Bus>, &'static str),
    /// Of a device.
    Slave(Arc<Bus>, Arc<Slave>, &'static str),
    /// Of a device's hwmon device.
    Hwmon(Arc<Bus>, Arc<Slave>, &'static str),
}

impl Attribute {
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Bus(_, name) | Self::Slave(_, _, name) | Self::Hwmon(_, _, name) => name,
        }
    }

    /// What `ls` shows as its size.
    pub fn size(&self) -> u64 {
        if self.name() == "id" { 8 } else { 4_096 }
    }
}

/// The files of a hwmon device, with their modes.
pub(crate) const HWMON: [(&str, u16); 2] = [("name", 0o444), ("temp1_input", 0o444)];

/// The files of a bus, with their modes.
const BUS: [(&str, u16); 12] = [
    ("w1_master_name", 0o444),
    ("w1_master_slaves", 0o444),
    ("w1_master_slave_count", 0o444),
    ("w1_master_max_slave_count", 0o444),
    ("w1_master_attempts", 0o444),
    ("w1_master_timeout", 0o444),
    ("w1_master_timeout_us", 0o444),
    ("w1_master_pointer", 0o444),
    ("w1_master_search", 0o664),
    ("w1_master_pullup", 0o664),
    ("w1_master_add", 0o664),
    ("w1_master_remove", 0o664),
];

impl World {
    /// The files of a bus and their modes.
    pub fn bus_files(&self, bus: &Bus) -> Vec<(&'static str, u16)> {
        let bulk = self.has_bulk_file(bus).then_some(("therm_bulk_read", 0o644));
        BUS.into_iter().chain(bulk).collect()
    }

    /// The files of a device and their modes.
    pub fn slave_files(&self, slave: &Slave) -> Vec<(&'static str, u16)> {
        let mut files = vec![("name", 0o444), ("id", 0o444)];
        if !self.drives(slave) {
            // The default driver's raw access, here without a chip behind it.
            files.push(("rw", 0o644));
            return files;
        }
        files.push(("w1_slave", 0o644));
        if self.release() == Release::V5_4 {
            return files;
        }
        files.extend([("temperature", 0o444), ("ext_power", 0o444)]);
        if slave.family != 0x10 {
            files.push(("resolution", 0o644));
        }
        files.push((self.options.eeprom_file.name(), 0o200));
        files.extend([("alarms", 0o644), ("conv_time", 0o644), ("features", 0o644)]);
        files
    }

    /// The mode of an attribute by the lists above, less what the test refuses.
    pub fn mode(&self, attribute: &Attribute) -> u16 {
        let files = match attribute {
            Attribute::Bus(bus, _) => self.bus_files(bus),
            Attribute::Slave(_, slave, _) => self.slave_files(slave),
            Attribute::Hwmon(..) => HWMON.to_vec(),
        };
        let mode = files.into_iter().find(|(name, _)| *name == attribute.name());
        let mode = mode.map_or(0, |(_, mode)| mode);
        if self.refusal(attribute.name()).is_some() { mode & !0o222 } else { mode }
    }

    /// What a read from the beginning gives.
    pub fn show(&self, attribute: &Attribute) -> Result<Vec<u8>, Errno> {
        match attribute {
            Attribute::Bus(bus, name) => Ok(self.show_bus(bus, name).into_bytes()),
            Attribute::Slave(_, slave, _) | Attribute::Hwmon(_, slave, _) if !slave.is_listed() => {
                Err(Errno::ENODEV)
            }
            Attribute::Hwmon(_, _, "name") => Ok(b"w1_slave_temp\n".to_vec()),
            Attribute::Hwmon(bus, slave, _) => Ok(self.show_hwmon(bus, slave)?.into_bytes()),
            Attribute::Slave(_, slave, "id") => Ok(id(&slave.name)),
            Attribute::Slave(bus, slave, name) => {
                Ok(self.show_slave(bus, slave, name)?.into_bytes())
            }
        }
    }

    fn show_bus(&self, bus: &Bus, name: &str) -> String {
        match name {
            "w1_master_name" => format!("{}\n", bus.id.name()),
            "w1_master_slave_count" => format!("{}\n", bus.slaves().len()),
            "w1_master_slaves" => {
                let slaves = bus.slaves();
                match slaves.as_slice() {
                    [] => "not found.\n".to_owned(),
                    _ => slaves.iter().map(|slave| format!("{}\n", slave.name)).collect(),
                }
            }
            "w1_master_max_slave_count" => "64\n".to_owned(),
            "w1_master_attempts" | "w1_master_timeout_us" => "0\n".to_owned(),
            "w1_master_timeout" => "10\n".to_owned(),
            // Kernels print pointers hashed; what it is says nothing.
            "w1_master_pointer" => "0x0000000000000001\n".to_owned(),
            "w1_master_search" => format!("{}\n", bus.search.load(Ordering::SeqCst)),
            "w1_master_pullup" => format!("{}\n", bus.pull_up.load(Ordering::SeqCst)),
            "therm_bulk_read" => format!("{}\n", self.bulk_state(bus)),
            _ => "write device id xx-xxxxxxxxxxxx\n".to_owned(),
        }
    }

    /// −1 while a bulk conversion runs, 1 while a value of it is unread, 0 else.
    fn bulk_state(&self, bus: &Bus) -> i32 {
        let slaves = bus.slaves();
        let in_bulk = slaves.iter().filter(|slave| self.drives_in_bulk(slave));
        in_bulk.map(|slave| lock(&slave.driver).bulk).fold(0, |state, bulk| match (state, bulk) {
            (-1, _) | (_, Bulk::Running) => -1,
            (_, Bulk::Unread) => 1,
            _ => state,
        })
    }

    fn show_slave(&self, bus: &Arc<Bus>, slave: &Slave, name: &str) -> Result<String, Errno> {
        let number = match name {
            "name" => return Ok(format!("{}\n", slave.name)),
            "w1_slave" | "temperature" => {
                return self.show_measurement(bus, slave, name == "w1_slave");
            }
            "alarms" => return Ok(self.show_alarms(bus, slave)),
            "ext_power" => {
                let power = self.ask_external_power(bus, slave);
                lock(&slave.driver).external_power = power;
                power
            }
            "resolution" => {
                let resolution = self.ask_resolution(bus, slave);
                lock(&slave.driver).resolution = resolution;
                resolution
            }
            "conv_time" => {
                let time = slave.conversion_time(self.release()).as_millis();
                i32::try_from(time).unwrap_or(i32::MAX)
            }
            "features" => lock(&slave.driver).features.cast_signed(),
            _ => return Err(Errno::EIO),
        };
        Ok(format!("{number}\n"))
    }

    /// TL and TH; zeros if the chip cannot be read.
    fn show_alarms(&self, bus: &Arc<Bus>, slave: &Slave) -> String {
        let readout = self.read_scratchpad(bus, slave, &Fail::Nothing);
        let (th, tl) = readout.map_or((0, 0), |readout| {
            let [_, _, th, tl, ..] = readout.bytes;
            (th, tl)
        });
        format!("{} {}\n", tl.cast_signed(), th.cast_signed())
    }

    /// What a write does. The size is returned as written even where nothing was understood, as the driver does.
    pub fn store(&self, attribute: &Attribute, data: &[u8]) -> Result<(), Errno> {
        if let Some(errno) = self.refusal(attribute.name()) {
            return Err(errno);
        }
        match attribute {
            Attribute::Bus(bus, name) => self.store_bus(bus, name, data),
            Attribute::Slave(_, slave, _) if !slave.is_listed() => Err(Errno::ENODEV),
            Attribute::Slave(bus, slave, name) => self.store_slave(bus, slave, name, data),
            Attribute::Hwmon(..) => Err(Errno::EACCES),
        }
    }

    fn store_bus(&self, bus: &Arc<Bus>, name: &str, data: &[u8]) -> Result<(), Errno> {
        match name {
            // Eight bytes: a newline or a NUL, or anything, after the word.
            "therm_bulk_read" if data.len() == 8 && data.starts_with(b"trigger") => {
                self.trigger(bus)
            }
            "w1_master_search" => {
                bus.search.store(number(data).ok_or(Errno::EINVAL)?, Ordering::SeqCst);
                Ok(())
            }
            "w1_master_pullup" => {
                bus.pull_up.store(number(data).ok_or(Errno::EINVAL)?, Ordering::SeqCst);
                Ok(())
            }
            "w1_master_add" => {
                let rom = rom(data).filter(|rom| bus.slave(rom).is_none()).ok_or(Errno::EINVAL)?;
                self.attach(bus, rom, bus.chip(rom));
                Ok(())
            }
            "w1_master_remove" => {
                let rom = rom(data).filter(|rom| bus.slave(rom).is_some()).ok_or(Errno::EINVAL)?;
                self.detach(bus, rom);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn store_slave(
        &self,
        bus: &Arc<Bus>,
        slave: &Slave,
        name: &str,
        data: &[u8],
    ) -> Result<(), Errno> {
        match name {
            "w1_slave" => self.store_w1_slave(bus, slave, data),
            "resolution" => match number(data) {
                Some(bits) => self.store_resolution(bus, slave, bits),
                None => Ok(()),
            },
            "alarms" => {
                self.store_alarms(bus, slave, data);
                Ok(())
            }
            "conv_time" => {
                let time = match number(data).filter(|time| *time >= 0).ok_or(Errno::EINVAL)? {
                    1 => self.measure_conversion(bus, slave).map_err(|_any| Errno::EIO)?,
                    time => time,
                };
                lock(&slave.driver).conversion_override = time;
                Ok(())
            }
            "features" => {
                let features = number(data).and_then(|number| u32::try_from(number).ok());
                let features = features.filter(|features| *features <= 3).ok_or(Errno::EINVAL)?;
                let unusable = if self.strong_pull_up(slave) { POLL_COMPLETION } else { 0 };
                lock(&slave.driver).features = features & !unusable;
                Ok(())
            }
            _ => {
                self.store_eeprom(bus, slave, data);
                Ok(())
            }
        }
    }

    /// 0 saves to EEPROM and, in 5.8 and later, is noted as a resolution that nobody knows.
    fn store_w1_slave(&self, bus: &Arc<Bus>, slave: &Slave, data: &[u8]) -> Result<(), Errno> {
        match (number(data), self.release()) {
            (None, Release::V5_4) => Err(Errno::EINVAL),
            (None, _) => Ok(()),
            (Some(0), _) => {
                self.command(bus, slave, |chip| chip.save())?;
                let mut driver = lock(&slave.driver);
                (driver.resolution, driver.conversion_override) = (0, 0);
                Ok(())
            }
            (Some(_), _) if slave.family == 0x10 => Ok(()),
            (Some(bits), _) => self.store_resolution(bus, slave, bits),
        }
    }

    fn store_resolution(&self, bus: &Arc<Bus>, slave: &Slave, bits: i32) -> Result<(), Errno> {
        self.set_resolution(bus, slave, bits)?;
        let mut driver = lock(&slave.driver);
        (driver.resolution, driver.conversion_override) = (bits, 0);
        Ok(())
    }

    /// Two whole degrees; the lower is TL. The driver tells nobody of what it does not understand.
    fn store_alarms(&self, bus: &Arc<Bus>, slave: &Slave, data: &[u8]) {
        let mut words = data.split(|byte| *byte == b' ');
        let mut next =
            || words.next().and_then(number).map(|degrees| degrees.clamp(-55, 125) as i8);
        if let (Some(one), Some(other)) = (next(), next()) {
            let (tl, th) = (one.min(other).cast_unsigned(), one.max(other).cast_unsigned());
            let _unnoticed = self.write_settings(bus, slave, |[_, _, config]| [th, tl, config]);
        }
    }

    fn store_eeprom(&self, bus: &Arc<Bus>, slave: &Slave, data: &[u8]) {
        let _unnoticed = match data {
            [b's', b'a', b'v', b'e', _] => self.command(bus, slave, |chip| chip.save()),
            [b'r', b'e', b's', b't', b'o', b'r', b'e', _] => {
                self.command(bus, slave, |chip| chip.restore())
            }
            _ => Ok(()),
        };
    }
}

/// A whole number as the kernel reads one: one newline may follow.
fn number(data: &[u8]) -> Option<i32> {
    let text = data.split(|byte| *byte == 0).next()?;
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    str::from_utf8(text).ok()?.parse().ok()
}

/// A ROM id that was written to a bus.
fn rom(data: &[u8]) -> Option<&str> {
    str::from_utf8(data).ok().map(str::trim_end).filter(|rom| rom.get(2..3) == Some("-"))
}

/// The eight bytes of a ROM id: family, serial number with its lowest byte first, checksum.
fn id(rom: &str) -> Vec<u8> {
    let (family, serial) = rom.split_once('-').unwrap_or_default();
    let family = u8::from_str_radix(family, 16).unwrap_or_default();
    let serial = u64::from_str_radix(serial, 16).unwrap_or_default();
    let mut bytes = vec![family];
    bytes.extend(serial.to_le_bytes().into_iter().take(6));
    bytes.push(crc8(&bytes));
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_the_kernel_reads_them() {
        assert_eq!(number(b"12\n"), Some(12));
        assert_eq!(number(b"-3"), Some(-3));
        assert_eq!(number(b"12\n\n"), None);
        assert_eq!(number(b" 12"), None);
        assert_eq!(number(b""), None);
    }

    #[test]
    fn an_id_is_the_rom_with_its_checksum() {
        // The application note's example.
        assert_eq!(id("02-00000001b81c"), [0x02, 0x1c, 0xb8, 0x01, 0, 0, 0, 0xa2]);
    }
}
