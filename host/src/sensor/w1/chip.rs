//! One chip through the kernel's files: reads with a deadline, its settings, its power.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Track;
use crate::reading::FaultReason;
use crate::sensor::RomId;
use crate::sensor::kernel::{Blocking, Hangs, fault_of, read_attribute, write_attribute};
use crate::sensor::scratchpad::parse_w1_slave;

/// Conversion time at 12 bit, the longest of a DS18B20 (data sheet, "AC Electrical Characteristics").
pub(super) const LONGEST_CONVERSION: Duration = Duration::from_millis(750);
/// What the kernel waits at 9 to 12 bit unless it is told otherwise, in milliseconds (`w1_therm.c`).
const KERNEL_CONVERSIONS: [u128; 4] = [95, 190, 375, 750];
/// A conversion time that is longer than this, in milliseconds, is nobody's: no read may hold its bus for so long.
const LONGEST_SET_MS: u64 = 10_000;
/// How often kernels before 5.8 try a failed read.
const OLD_TRIES: u32 = 10;
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
    /// How long the kernel lets a conversion take, where it says so.
    conversion_time: Option<Duration>,
    set_up: SetUp,
    /// How often it was read, and how often without a reading in the text.
    pub reads: Reads,
    /// What cannot be mended from here is said once.
    complained: bool,
}

/// How reads went, those again included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reads {
    /// All.
    pub all: u64,
    /// Those that gave a fault.
    pub failed: u64,
}

/// Whether a chip is as the pipeline wants it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SetUp {
    /// It has just appeared or lost power, or could not be asked.
    Needed,
    /// It is as far as it can be.
    Done {
        /// The resolution that its bytes must show, where one was set.
        bits: Option<u8>,
    },
}

impl Chip {
    /// The chip with this ROM id, present or not.
    pub fn new(w1_root: &Path, rom_id: RomId) -> Chip {
        Chip {
            rom_id,
            folder: w1_root.join(rom_id.to_string()),
            track: Track::new(rom_id.family()),
            calls: Blocking::default(),
            conversion_time: None,
            set_up: SetUp::Needed,
            reads: Reads::default(),
            complained: false,
        }
    }

    /// Reads `w1_slave`: a scratchpad after a conversion, or without one when one of the whole bus waits to be read.
    pub async fn read(&mut self) -> Result<String, FaultReason> {
        if self.hangs() {
            return Err(FaultReason::Timeout);
        }
        // A kernel that does not tell the time is one before 5.8, which makes a conversion for each try.
        let conversions = self.conversion_time.unwrap_or(OLD_TRIES * LONGEST_CONVERSION);
        let folder = self.folder.clone();
        let read = self.calls.call(conversions + READ_SLACK, move || {
            let read = read_attribute(&folder.join("w1_slave"));
            let is_driverless = read.as_ref().is_err_and(|e| e.kind() == io::ErrorKind::NotFound)
                && folder.exists();
            (read, is_driverless)
        });
        let read = match read.await {
            Err(Hangs) => {
                self.complain(
                    "A read of it does not end in time: it gives faults until the read has ended.",
                );
                Err(FaultReason::Timeout)
            }
            Ok((read, is_driverless)) => {
                if is_driverless {
                    self.complain("It is on its bus, but the driver w1_therm has not taken it: `sudo modprobe w1-therm`.");
                }
                read.map_err(|error| fault_of(&error))
            }
        };
        self.reads.all += 1;
        self.reads.failed += u64::from(read.is_err());
        read
    }

    /// Whether a read that did not end in time still hangs.
    pub(super) fn hangs(&self) -> bool {
        self.calls.hangs()
    }

    /// How long the kernel lets a conversion take, as far as is known.
    pub(super) fn conversion(&self) -> Duration {
        self.conversion_time.unwrap_or(LONGEST_CONVERSION)
    }

    /// Whether a command to the whole bus reaches the chip. A DS28EA00 obeys it too, but the kernel does not keep book of
    /// it and makes a conversion of its own at the next read.
    pub(super) fn serves_bulk(&self) -> bool {
        self.rom_id.family() != 0x42
    }

    /// It appeared, maybe from being without power.
    pub(super) fn appeared(&mut self) {
        self.set_up = SetUp::Needed;
        self.track.appeared();
    }

    /// Sets the chip up, where that is needed, and asks for its conversion time. What cannot be set is logged once; what
    /// cannot be asked is tried again the next time.
    pub(super) async fn prepare(&mut self, settings: ChipSettings) -> Result<(), Hangs> {
        if self.set_up != SetUp::Needed {
            return Ok(());
        }
        let folder = self.folder.clone();
        let done = self.calls.call(LONGEST_CONVERSION + READ_SLACK, move || {
            let applied = apply(&folder, settings);
            (applied, conversion_time(&folder))
        });
        let (applied, conversion_time) = done.await?;
        self.conversion_time = conversion_time;
        match applied {
            Ok(bits) => self.set_up = SetUp::Done { bits },
            Err(Refused { error, is_final, bits }) => {
                self.complain(&format!("It cannot be set up: {error}."));
                if is_final {
                    self.set_up = SetUp::Done { bits };
                }
            }
        }
        Ok(())
    }

    /// Looks whether the bytes of a read show another resolution than it was set up with: it has lost power since, and
    /// the kernel may have waited too short for it.
    pub(super) fn has_forgotten(&mut self, text: &str) -> bool {
        let SetUp::Done { bits: Some(bits) } = self.set_up else { return false };
        let shown = parse_w1_slave(text).ok().and_then(|pad| pad.resolution(self.rom_id.family()));
        let forgotten = shown.is_some_and(|shown| shown != bits);
        if forgotten {
            self.set_up = SetUp::Needed;
        }
        forgotten
    }

    fn complain(&mut self, text: &str) {
        if !std::mem::replace(&mut self.complained, true) {
            tracing::warn!(id = %self.rom_id, "{text}");
        }
    }
}

/// A setting that was not taken.
struct Refused {
    error: io::Error,
    /// Whether it will be no other the next time.
    is_final: bool,
    /// The resolution that the chip has instead.
    bits: Option<u8>,
}

/// Whether trying again is of no use.
fn is_final(error: &io::Error) -> bool {
    use io::ErrorKind::{NotFound, PermissionDenied, Unsupported};
    matches!(error.kind(), NotFound | PermissionDenied | Unsupported)
}

/// Sets a chip's resolution, then its conversion time, which the kernel forgets at a change of the resolution; the one also
/// when the other is refused. Gives the resolution that its bytes must show from now on, where it was to be set.
fn apply(folder: &Path, settings: ChipSettings) -> Result<Option<u8>, Refused> {
    let resolution_set = match settings.resolution {
        Some(bits) if resolution(folder) != Some(bits) => set_resolution(folder, bits),
        _ => Ok(()),
    };
    let time_set =
        settings.conversion_time.map_or(Ok(()), |time| set_conversion_time(folder, time));
    let bits = match resolution_set {
        Ok(()) => settings.resolution,
        Err(_) => resolution(folder),
    };
    match (resolution_set, time_set) {
        (Ok(()), Ok(())) => Ok(bits),
        (Ok(()), Err(error)) | (Err(error), Ok(())) => {
            Err(Refused { is_final: is_final(&error), error, bits })
        }
        (Err(error), Err(other)) => {
            Err(Refused { is_final: is_final(&error) && is_final(&other), error, bits })
        }
    }
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
    let written = write_attribute(&folder.join("resolution"), &format!("{bits}\n"));
    if written.as_ref().is_err_and(is_final) {
        return written;
    }
    // Newer kernels refuse the write when the chip does not follow, older ones do not notice.
    match resolution(folder) {
        Some(now) if now == bits => Ok(()),
        Some(now) => {
            Err(io::Error::new(io::ErrorKind::Unsupported, format!("the chip stays at {now} bit")))
        }
        None => Err(written.err().unwrap_or_else(|| io::Error::other("it cannot be read back"))),
    }
}

/// Keeps what was set in the chip's EEPROM, which bears some 50,000 writes, a clone's only ten: so never of our own
/// accord.
pub fn save_to_eeprom(folder: &Path) -> io::Result<()> {
    // Its name since Linux 5.13, and before. The kernel takes the text with its line feed, and no other.
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
    let millis = text.trim().parse().ok().filter(|millis| (1..=LONGEST_SET_MS).contains(millis));
    millis.map(Duration::from_millis)
}

/// Lets the kernel measure a conversion of the chip and gives the time, a fifth added; then the kernel waits as long as
/// before. `None` without the right to write, without a power pin, or on kernels before 5.8.
pub fn measure_conversion_time(folder: &Path) -> Option<Duration> {
    let before = conversion_time(folder)?;
    write_attribute(&folder.join("conv_time"), "1\n").ok()?;
    let measured = conversion_time(folder);
    // 0 is the kernel's own time for the resolution, which follows that.
    let millis = before.as_millis();
    let own = resolution(folder).and_then(|bits| KERNEL_CONVERSIONS.get(usize::from(bits) - 9));
    let back = if own == Some(&millis) { 0 } else { millis };
    let restored = write_attribute(&folder.join("conv_time"), &format!("{back}\n"));
    if let Err(error) = restored {
        tracing::warn!("The conversion time cannot be set back to {before:?}: {error}.");
    }
    measured
}
