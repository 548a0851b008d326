//! What `w1_therm` does on the bus: conversions, readouts, triggers (`drivers/w1/slaves/w1_therm.c`).

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use fuser::Errno;

use crate::bus::{Bulk, Bus, BusHold, Slave};
use crate::chip::{Convert, LiveChip};
use crate::options::{Release, StrongPullUp};
use crate::pace::lock;
use crate::scratchpad::{Scratchpad, has_right_checksum};
use crate::script::{BusFail, Fail};
use crate::world::World;

/// How often the driver tries what fails.
const TRIES: u8 = 5;
/// The same before 5.8, a conversion each.
const OLD_TRIES: u8 = 10;
/// How often the driver asks whether a conversion is over, where it asks.
const POLL: Duration = Duration::from_millis(32);
/// How long it asks.
const POLL_AT_MOST: Duration = Duration::from_secs(2);
/// A bit of `features`: check whether a conversion was made.
const CHECK_RESULT: u32 = 1;
/// A bit of `features`: ask whether the conversion is over instead of sleeping.
pub(crate) const POLL_COMPLETION: u32 = 2;

/// A scratchpad as it came.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Readout {
    pub bytes: Scratchpad,
    /// Whether its checksum is right.
    pub right: bool,
    /// The number of the conversion that it is of.
    pub conversion: u64,
}

impl World {
    pub fn strong_pull_up(&self, slave: &Slave) -> bool {
        match self.options.strong_pull_up {
            StrongPullUp::Off => false,
            StrongPullUp::Auto => lock(&slave.driver).external_power == 0,
            StrongPullUp::Forced => true,
        }
    }

    /// One try to read a scratchpad. Nobody pulls an absent chip's bits low.
    fn receive(&self, bus: &Bus, slave: &Slave, fault: &Fail, attempt: u8) -> Readout {
        self.pace.sleep(self.options.timing.readout);
        let (bytes, conversion) = match bus.chip(&slave.name) {
            Some(chip) => chip.scratchpad(),
            None => ([0xff; 9], 0),
        };
        let bytes = fault.received(bytes, attempt);
        Readout { bytes, right: has_right_checksum(bytes), conversion }
    }

    /// Reads a scratchpad, with all its tries.
    pub fn read_scratchpad(
        &self,
        bus: &Arc<Bus>,
        slave: &Slave,
        fault: &Fail,
    ) -> Result<Readout, Errno> {
        let _held = bus.hold()?;
        let mut failure = Errno::ENODEV;
        for attempt in 0..TRIES {
            if !bus.has_presence() {
                continue;
            }
            let readout = self.receive(bus, slave, fault, attempt);
            if readout.right {
                return Ok(readout);
            }
            failure = Errno::EIO;
        }
        Err(failure)
    }

    /// Has a chip convert, waits, and reads its scratchpad.
    pub fn convert(&self, bus: &Arc<Bus>, slave: &Slave, fault: &Fail) -> Result<Readout, Errno> {
        let strong = self.strong_pull_up(slave);
        let time = slave.conversion_time(self.release());
        let held = bus.hold()?;
        if !bus.has_presence() {
            return Err(Errno::ENODEV);
        }
        self.start_conversion(bus, slave, fault);
        if strong {
            self.pace.sleep(time);
            if self.options.pull_up_waits_twice {
                self.sleep_in_conversion(held, time, self.release() == Release::V5_10);
            } else {
                drop(held);
            }
        } else if lock(&slave.driver).features & POLL_COMPLETION != 0 {
            let _held = held;
            self.poll_completion(bus, slave)?;
        } else {
            self.sleep_in_conversion(held, time, self.release() == Release::V6_6);
        }
        let readout = self.read_scratchpad(bus, slave, fault)?;
        let checked = lock(&slave.driver).features & CHECK_RESULT != 0;
        if checked && was_not_converted(readout.bytes) { Err(Errno::EIO) } else { Ok(readout) }
    }

    fn start_conversion(&self, bus: &Bus, slave: &Slave, fault: &Fail) {
        self.pace.sleep(self.options.timing.select_and_convert);
        if let Some(chip) = bus.chip(&slave.name) {
            chip.convert(fault.conversion());
        }
    }

    fn sleep_in_conversion(&self, held: BusHold, time: Duration, holding: bool) {
        if holding {
            self.pace.sleep(time);
            drop(held);
        } else {
            drop(held);
            self.pace.sleep(time);
        }
    }

    /// Asks until the chip says that its conversion is over: how long it took, by the number of questions.
    /// Nobody pulls the line low for an absent chip, which so says yes at once.
    fn poll_completion(&self, bus: &Bus, slave: &Slave) -> Result<Duration, Errno> {
        let lasting = match bus.chip(&slave.name) {
            Some(chip) => chip.with_chip(|chip| chip.conversion_time()),
            None => Duration::ZERO,
        };
        let mut asked = Duration::ZERO;
        while asked < POLL_AT_MOST {
            self.pace.sleep(POLL);
            asked += POLL;
            if asked >= lasting {
                return Ok(asked);
            }
        }
        Err(Errno::EIO)
    }

    /// Measures how long a conversion takes, for `conv_time`: in milliseconds, with a fifth to spare.
    pub fn measure_conversion(&self, bus: &Arc<Bus>, slave: &Slave) -> Result<i32, Errno> {
        if self.strong_pull_up(slave) {
            return Err(Errno::EINVAL);
        }
        let taken = {
            let _held = bus.hold()?;
            if !bus.has_presence() {
                return Err(Errno::ENODEV);
            }
            self.start_conversion(bus, slave, &Fail::Nothing);
            self.poll_completion(bus, slave)?
        };
        self.read_scratchpad(bus, slave, &Fail::Nothing)?;
        i32::try_from(taken.as_millis() * 12 / 10).map_err(|_too_long| Errno::EIO)
    }

    /// A conversion and its readout before 5.8: all of it again until the checksum is right. What came last is
    /// printed even if it never is; if nothing came, zeros, as wrong.
    pub fn convert_before_5_8(
        &self,
        bus: &Arc<Bus>,
        slave: &Slave,
        fault: &Fail,
    ) -> Result<Readout, Errno> {
        let time = slave.conversion_time(self.release());
        let mut readout = Readout { bytes: [0; 9], right: false, conversion: 0 };
        for attempt in 0..OLD_TRIES {
            let held = bus.hold()?;
            if !bus.has_presence() {
                continue;
            }
            let external = self.ask_power_bit(bus, slave);
            self.start_conversion(bus, slave, fault);
            self.sleep_in_conversion(held, time, !external);
            let _held = bus.hold()?;
            if !bus.has_presence() {
                continue;
            }
            readout = self.receive(bus, slave, fault, attempt);
            if readout.right {
                break;
            }
        }
        Ok(readout)
    }

    /// One bit: a chip with parasite power pulls it low, an absent one cannot.
    fn ask_power_bit(&self, bus: &Bus, slave: &Slave) -> bool {
        bus.chip(&slave.name).is_none_or(|chip| chip.with_chip(|chip| !chip.is_parasite()))
    }

    /// 1, 0 for parasite power, or a negative error number.
    pub fn ask_external_power(&self, bus: &Arc<Bus>, slave: &Slave) -> i32 {
        match bus.hold() {
            Ok(_held) if bus.has_presence() => self.ask_power_bit(bus, slave).into(),
            _ => -Errno::ENODEV.code(),
        }
    }

    /// In bits, or a negative error number; 0 of a family without.
    pub fn ask_resolution(&self, bus: &Arc<Bus>, slave: &Slave) -> i32 {
        if slave.family == 0x10 {
            return 0;
        }
        match self.read_scratchpad(bus, slave, &Fail::Nothing) {
            Ok(Readout { bytes: [_, _, _, _, config, ..], .. }) => match self.release() {
                // Three bits, because of finer chips that go up to 14.
                Release::V6_6 => (9 + i32::from(config >> 5)).min(14),
                _ => 9 + i32::from((config >> 5) & 3),
            },
            Err(errno) => -errno.code(),
        }
    }

    /// Sets a resolution and, since 5.8, reads it back. Kernels up to 5.10 compare the wrong bits of what they read
    /// back, so that they do not notice a chip that ignores it.
    pub fn set_resolution(&self, bus: &Arc<Bus>, slave: &Slave, bits: i32) -> Result<(), Errno> {
        let most = if self.release() == Release::V6_6 { 14 } else { 12 };
        let bits = u8::try_from(bits).ok().filter(|bits| (9..=most).contains(bits));
        let wanted = (bits.ok_or(Errno::EINVAL)? - 9) << 5;
        self.write_settings(bus, slave, |[th, tl, config]| [th, tl, (config & 0x1f) | wanted])?;
        match self.release() {
            Release::V5_4 => Ok(()),
            Release::V5_10 => self.read_config(bus, slave).map(|_not_compared| ()),
            Release::V6_6 if self.read_config(bus, slave)? & 0xe0 == wanted => Ok(()),
            Release::V6_6 => Err(Errno::EIO),
        }
    }

    fn read_config(&self, bus: &Arc<Bus>, slave: &Slave) -> Result<u8, Errno> {
        let Readout { bytes: [_, _, _, _, config, ..], .. } =
            self.read_scratchpad(bus, slave, &Fail::Nothing)?;
        Ok(config)
    }

    /// Reads TH, TL and configuration and writes them changed.
    pub fn write_settings(
        &self,
        bus: &Arc<Bus>,
        slave: &Slave,
        change: impl FnOnce([u8; 3]) -> [u8; 3],
    ) -> Result<(), Errno> {
        let Readout { bytes: [_, _, th, tl, config, ..], .. } =
            self.read_scratchpad(bus, slave, &Fail::Nothing)?;
        let [th, tl, config] = change([th, tl, config]);
        self.command(bus, slave, |chip| chip.write(th, tl, config))
    }

    /// A command that the chip does not answer.
    pub fn command(
        &self,
        bus: &Arc<Bus>,
        slave: &Slave,
        run: impl FnOnce(&mut LiveChip),
    ) -> Result<(), Errno> {
        let _held = bus.hold()?;
        if !bus.has_presence() {
            return Err(Errno::ENODEV);
        }
        if let Some(chip) = bus.chip(&slave.name) {
            chip.with_chip(run);
        }
        Ok(())
    }

    /// A bulk conversion of a bus.
    pub fn trigger(&self, bus: &Arc<Bus>) -> Result<(), Errno> {
        bus.triggers.fetch_add(1, Ordering::SeqCst);
        let fault = lock(&bus.script).pop_front().unwrap_or(BusFail::Nothing);
        match fault {
            BusFail::Ignored => return Ok(()),
            BusFail::Errno(errno) => return Err(errno),
            BusFail::Hang(time) => self.hang(bus, Some(time)),
            BusFail::HangUntilReleased => self.hang(bus, None),
            BusFail::Nothing | BusFail::NoPresence | BusFail::LostConvert => {}
        }
        let slaves = bus.slaves();
        if slaves.iter().any(|slave| !self.drives(slave)) {
            // A device of another driver, a ghost for example, and the kernel gives up without a word.
            return Ok(());
        }
        let in_bulk: Vec<_> = slaves.iter().filter(|slave| self.drives_in_bulk(slave)).collect();
        let time = in_bulk.iter().map(|slave| slave.conversion_time(self.release())).max();
        let Some(time) = time.filter(|time| !time.is_zero()) else { return Ok(()) };
        let strong = in_bulk.iter().any(|slave| self.strong_pull_up(slave));
        let held = bus.hold()?;
        if bus.has_presence() && !matches!(fault, BusFail::NoPresence) {
            self.convert_all(bus, matches!(fault, BusFail::LostConvert));
            if strong && self.options.pull_up_waits_twice {
                self.pace.sleep(time);
            }
            self.mark(bus, Bulk::Running);
            self.sleep_in_conversion(held, time, strong);
        }
        self.mark(bus, Bulk::Unread);
        Ok(())
    }

    /// Every chip on the wire hears it, whatever the kernel knows of it.
    fn convert_all(&self, bus: &Bus, lost: bool) {
        self.pace.sleep(self.options.timing.trigger);
        for chip in bus.chips() {
            let outcome = chip.outcome_of_next();
            chip.convert(if lost { Convert::Lost } else { outcome });
        }
    }

    /// All that are listed by now, even if they were not when the conversion started.
    fn mark(&self, bus: &Bus, state: Bulk) {
        for slave in bus.slaves() {
            if self.drives_in_bulk(&slave) {
                lock(&slave.driver).bulk = state;
            }
        }
    }

    fn hang(&self, bus: &Bus, at_most: Option<Duration>) {
        let before = bus.released.load(Ordering::SeqCst);
        self.pace.wait(at_most, || bus.released.load(Ordering::SeqCst) != before);
    }
}

/// 85 °C or 127.94 °C with 0c in byte 6.
fn was_not_converted(bytes: Scratchpad) -> bool {
    matches!(bytes, [0x50, 0x05, _, _, _, _, 0x0c, ..] | [0xff, 0x07, _, _, _, _, 0x0c, ..])
}
