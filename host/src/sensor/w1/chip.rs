//! One chip through the kernel's files: reads with a deadline, its settings, its power.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Track;
use crate::reading::FaultReason;
use crate::sensor::RomId;
use crate::sensor::kernel::{Blocking, Hangs, fault_of, read_attribute, write_attribute};

/// Conversion time at 12 bit, the longest of a DS18B20 (data sheet, "AC Electrical Characteristics").
pub(super) const LONGEST_CONVERSION: Duration = Duration::from_millis(750);
/// What the kernel waits at 9 to 12 bit unless it is told otherwise, in milliseconds (`w1_therm.c`).
const KERNEL_CONVERSIONS: [u128; 4] = [95, 190, 375, 750];
/// What a read may take beside its conversion: the kernel tries a failed one up to five times, and waits for others that
/// use the bus. A sensor that needs longer must not stop the others of its bus.
const READ_SLACK: Duration = Duration::from_millis(1_750);

/// How a chip is set up, where it is not left as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChipSettings {
    /// Bits of the temperature, 9 to 12. Kept in the chip's memory until it loses power, never in its EEPROM.
    pub resolution: Option<u8>,
    /// How long the kernel waits for a conversion.
    pub conversion_time: Option<ConversionTime>,
}

/// How long the kernel waits for a conversion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConversionTime {
    /// It measures the chip once and adds a fifth.
    Measured,
    /// So long.
    Fixed(Duration),
}

/// Where a chip gets its power from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Power {
    /// From its own pin.
    External,
    /// From the data line.
    Parasite,
    /// The kernel does not say.
    Unknown,
}

/// One chip in a folder tree as under `/sys/bus/w1/devices`.
#[derive(Debug)]
pub struct Chip {
    /// Its address.
    pub rom_id: RomId,
    pub(super) folder: PathBuf,
    /// What its readings have told of it.
    pub track: Track,
    calls: Blocking,
    /// How long the kernel lets a conversion take.
    pub(super) conversion: Duration,
    /// The resolution that it had after it was set up, where it was set.
    set_up_with: Option<u8>,
    /// How often it was read, and how often without a reading in the text.
    pub reads: Reads,
}

/// How reads went, those again included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reads {
    /// All.
    pub all: u64,
    /// Those that gave a fault.
    pub failed: u64,
}

impl Chip {
    /// The chip with this ROM id, present or not.
    pub fn new(w1_root: &Path, rom_id: RomId) -> Chip {
        Chip {
            rom_id,
            folder: w1_root.join(rom_id.to_string()),
            track: Track::new(rom_id.family()),
            calls: Blocking::default(),
            conversion: LONGEST_CONVERSION,
            set_up_with: None,
            reads: Reads::default(),
        }
    }

    /// Reads `w1_slave`: a scratchpad after a conversion, or without one when one of the whole bus waits to be read.
    pub async fn read(&mut self) -> Result<String, FaultReason> {
        let file = self.folder.join("w1_slave");
        let deadline = self.conversion + READ_SLACK;
        let read = self.calls.call(deadline, move || read_attribute(&file)).await;
        read.map_err(|Hangs| FaultReason::Timeout)?.map_err(|error| {
            let reason = fault_of(&error);
            if reason == FaultReason::IoError {
                tracing::debug!(id = %self.rom_id, "The kernel cannot read the chip: {error}.");
            }
            reason
        })
    }

    /// Whether a read that did not end in time still hangs.
    pub(super) fn hangs(&self) -> bool {
        self.calls.hangs()
    }

    /// Whether a command to the whole bus reaches the chip. A DS28EA00 obeys it too, but the kernel does not keep book of
    /// it and makes a conversion of its own at the next read.
    pub(super) fn serves_bulk(&self) -> bool {
        self.rom_id.family() != 0x42
    }

    /// Sets the chip up and asks for its conversion time. What cannot be set is logged.
    pub(super) async fn set_up(&mut self, settings: ChipSettings) -> Result<(), Hangs> {
        let folder = self.folder.clone();
        let id = self.rom_id;
        let done = self.calls.call(LONGEST_CONVERSION + READ_SLACK, move || {
            let bits = apply(&folder, id, settings);
            (bits, conversion_time(&folder))
        });
        let (bits, conversion) = done.await?;
        self.set_up_with = bits;
        self.conversion = conversion.unwrap_or(LONGEST_CONVERSION);
        Ok(())
    }

    /// Whether its bytes show another resolution than it was set up with: it has lost power since.
    pub(super) fn has_forgotten(&self) -> bool {
        self.set_up_with.is_some() && self.set_up_with != self.track.resolution()
    }
}

/// Sets a chip's resolution, then its conversion time, which the kernel forgets at a change of the resolution. Gives the
/// resolution that it has now, where it was to be set.
fn apply(folder: &Path, id: RomId, settings: ChipSettings) -> Option<u8> {
    let set = settings.resolution.and_then(|bits| {
        if resolution(folder) != Some(bits)
            && let Err(error) = set_resolution(folder, bits)
        {
            tracing::warn!(%id, bits, "The resolution cannot be set: {error}.");
        }
        resolution(folder)
    });
    if let Some(time) = settings.conversion_time
        && let Err(error) = set_conversion_time(folder, time)
    {
        tracing::warn!(%id, "The conversion time cannot be set: {error}.");
    }
    set
}

/// Sets how long the kernel waits for a conversion and reads it back. It cannot measure a chip without a power pin.
fn set_conversion_time(folder: &Path, time: ConversionTime) -> io::Result<()> {
    let millis = match time {
        ConversionTime::Measured => 1,
        ConversionTime::Fixed(time) => time.as_millis(),
    };
    write_attribute(&folder.join("conv_time"), &format!("{millis}\n"))?;
    match (time, conversion_time(folder)) {
        (ConversionTime::Measured, Some(_)) => Ok(()),
        (ConversionTime::Fixed(time), Some(now)) if now == time => Ok(()),
        (_, now) => Err(io::Error::other(format!("it reads back as {now:?}"))),
    }
}

/// The chip's resolution, where the kernel tells it.
pub fn resolution(folder: &Path) -> Option<u8> {
    let text = read_attribute(&folder.join("resolution")).ok()?;
    // A failed read of the chip is printed as a negative error number.
    text.trim().parse().ok().filter(|bits| (9..=14).contains(bits))
}

/// Sets the resolution in the chip's memory and reads it back: some clones stay at 12 bit.
pub fn set_resolution(folder: &Path, bits: u8) -> io::Result<()> {
    write_attribute(&folder.join("resolution"), &format!("{bits}\n"))?;
    match resolution(folder) {
        Some(now) if now == bits => Ok(()),
        Some(now) => Err(io::Error::other(format!("the chip stays at {now} bit"))),
        None => Err(io::Error::other("it cannot be read back")),
    }
}

/// Keeps what was set in the chip's EEPROM, which bears some 50,000 writes, a clone's only ten: so never of our own
/// accord.
pub fn save_to_eeprom(folder: &Path) -> io::Result<()> {
    // The kernel takes the text with a line feed alone; its name changed in Linux 5.8 and again later.
    let newer = folder.join("eeprom_cmd");
    let file = if newer.exists() { newer } else { folder.join("eeprom") };
    write_attribute(&file, "save\n")
}

/// How the kernel says that the chip is powered.
pub fn power(folder: &Path) -> Power {
    match read_attribute(&folder.join("ext_power")).as_deref().map(str::trim) {
        Ok("1") => Power::External,
        Ok("0") => Power::Parasite,
        _ => Power::Unknown,
    }
}

/// How long the kernel waits for a conversion of this chip.
pub fn conversion_time(folder: &Path) -> Option<Duration> {
    let text = read_attribute(&folder.join("conv_time")).ok()?;
    text.trim().parse().ok().filter(|millis| *millis > 0).map(Duration::from_millis)
}

/// Lets the kernel measure a conversion of the chip and gives the time, a fifth added; then the kernel waits as long as
/// before. `None` without the right to write, without a power pin, or on kernels before 5.8.
pub fn measure_conversion_time(folder: &Path) -> Option<Duration> {
    let before = conversion_time(folder)?;
    write_attribute(&folder.join("conv_time"), "1\n").ok()?;
    let measured = conversion_time(folder);
    // 0 is the kernel's own time for the resolution, which follows that.
    let millis = before.as_millis();
    let back = if KERNEL_CONVERSIONS.contains(&millis) { 0 } else { millis };
    let restored = write_attribute(&folder.join("conv_time"), &format!("{back}\n"));
    if let Err(error) = restored {
        tracing::warn!("The conversion time cannot be set back to {before:?}: {error}.");
    }
    measured
}
