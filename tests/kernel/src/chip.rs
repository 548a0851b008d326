//! The chip on the wire: what it is, and the state that it keeps by itself.

use std::fmt;
use std::time::{Duration, Instant};

use crate::registers::{Layout, Registers};
use crate::scratchpad::{Scratchpad, with_checksum};

/// What a DS18B20 typically takes at 12 bit; its data sheet's 750 ms are the most it may take.
const TYPICAL_CONVERSION: Duration = Duration::from_millis(600);
/// What a MAX31850 takes at most (its data sheet, "Thermal characteristics").
const THERMOCOUPLE_CONVERSION: Duration = Duration::from_millis(100);

/// What a chip does differently from the data sheet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// By the data sheet of its family.
    Genuine,
    /// Byte 6 is 0c at every temperature.
    Constant0c,
    /// 25 °C after power-on instead of 85 °C.
    PowerOn25,
    /// Ignores writes to its configuration.
    Fixed12Bit,
    /// A thermocouple converter, which shares family 3b with the DS1825.
    Max31850,
}

enum Source {
    Celsius(f64),
    Of(Box<dyn Fn(Duration) -> f64 + Send>),
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Celsius(celsius) => write!(f, "{celsius} °C"),
            Self::Of(_) => f.write_str("a function of time"),
        }
    }
}

/// A chip before it is plugged in. Its family is that of the ROM id that it is plugged in with.
#[derive(Debug)]
pub struct Chip {
    kind: Kind,
    source: Source,
    parasite: bool,
    conversion: Duration,
    /// TH, TL and configuration as the EEPROM holds them.
    eeprom: [u8; 3],
    reserved: Option<(u8, u8)>,
    seed: u64,
}

impl Chip {
    fn new(kind: Kind, celsius: f64) -> Self {
        let conversion = match kind {
            Kind::Max31850 => THERMOCOUPLE_CONVERSION,
            _ => TYPICAL_CONVERSION,
        };
        Self {
            kind,
            source: Source::Celsius(celsius),
            parasite: false,
            conversion,
            eeprom: [0x4b, 0x46, 0x7f],
            reserved: None,
            seed: 1,
        }
    }

    /// A chip as its family's data sheet has it, externally powered, at 12 bit.
    pub fn genuine(celsius: f64) -> Self {
        Self::new(Kind::Genuine, celsius)
    }

    /// A clone whose byte 6 is 0c at every temperature, as a genuine one's is after power-on.
    pub fn clone_with_constant_0c(celsius: f64) -> Self {
        Self::new(Kind::Constant0c, celsius)
    }

    /// A clone that holds 25 °C after power-on.
    pub fn clone_with_power_on_25(celsius: f64) -> Self {
        Self::new(Kind::PowerOn25, celsius).reserved_bytes(0xa5, 0x66)
    }

    /// A clone whose resolution is 12 bit whatever is written.
    pub fn clone_with_fixed_12_bit(celsius: f64) -> Self {
        Self::new(Kind::Fixed12Bit, celsius)
    }

    /// A MAX31850 thermocouple converter; family 3b.
    pub fn max31850(celsius: f64) -> Self {
        Self::new(Kind::Max31850, celsius)
    }

    /// Powered by the data line.
    #[must_use]
    pub const fn parasite(mut self) -> Self {
        self.parasite = true;
        self
    }

    /// What a conversion of 12 bit really takes (of a MAX31850: any conversion); half for each bit less.
    #[must_use]
    pub const fn real_conversion(mut self, conversion: Duration) -> Self {
        self.conversion = conversion;
        self
    }

    /// The resolution that its EEPROM holds, in bits; without a meaning for family 10.
    #[must_use]
    pub fn resolution(mut self, bits: u8) -> Self {
        let [th, tl, _] = self.eeprom;
        self.eeprom = [th, tl, ((bits.clamp(9, 12) - 9) << 5) | 0x1f];
        self
    }

    /// The temperature as a function of the time since the chip was first plugged in.
    #[must_use]
    pub fn following(mut self, celsius: impl Fn(Duration) -> f64 + Send + 'static) -> Self {
        self.source = Source::Of(Box::new(celsius));
        self
    }

    /// Bytes 5 and 7 of the scratchpad; a genuine chip's are ff and 10.
    #[must_use]
    pub const fn reserved_bytes(mut self, byte_5: u8, byte_7: u8) -> Self {
        self.reserved = Some((byte_5, byte_7));
        self
    }

    /// What the undefined low bits below 12 bit are drawn from; 0 keeps them 0.
    #[must_use]
    pub const fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }
}

/// What becomes of a convert command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Convert {
    Done,
    /// The chip did not hear it.
    Lost,
    /// The chip starts, and has not the power to measure.
    Starved,
    /// The chip loses its power and starts anew, without a conversion.
    PowerLost,
}

/// A chip with power.
#[derive(Debug)]
pub(crate) struct LiveChip {
    chip: Chip,
    layout: Layout,
    plugged: Instant,
    /// TH, TL and configuration.
    settings: [u8; 3],
    registers: Registers,
    /// The number of the conversion whose value the registers hold; 0 after power-on.
    held: u64,
    pending: Option<(Instant, Registers, u64)>,
    conversions: u64,
    eeprom_writes: u64,
    random: u64,
}

impl LiveChip {
    pub fn new(chip: Chip, family: u8) -> Self {
        let layout = Layout::new(chip.kind, family, chip.reserved);
        Self {
            layout,
            plugged: Instant::now(),
            settings: chip.eeprom,
            registers: layout.power_on(),
            held: 0,
            pending: None,
            conversions: 0,
            eeprom_writes: 0,
            random: chip.seed,
            chip,
        }
    }

    pub const fn is_parasite(&self) -> bool {
        self.chip.parasite
    }

    pub const fn set_parasite(&mut self, parasite: bool) {
        self.chip.parasite = parasite;
    }

    pub const fn conversions(&self) -> u64 {
        self.conversions
    }

    pub const fn eeprom_writes(&self) -> u64 {
        self.eeprom_writes
    }

    pub fn set_celsius(&mut self, celsius: f64) {
        self.chip.source = Source::Celsius(celsius);
    }

    pub fn set_following(&mut self, celsius: impl Fn(Duration) -> f64 + Send + 'static) {
        self.chip.source = Source::Of(Box::new(celsius));
    }

    /// Power off and on.
    pub fn power_cycle(&mut self) {
        self.settings = self.chip.eeprom;
        self.registers = self.layout.power_on();
        self.held = 0;
        self.pending = None;
    }

    /// What a conversion takes now.
    pub fn conversion_time(&self) -> Duration {
        let [_, _, config] = self.settings;
        self.chip.conversion / (1 << (12 - self.layout.resolution(config)))
    }

    /// Hears a convert command. The value is that of now, and is in the registers after the real time.
    pub fn convert(&mut self, lasting: Duration, outcome: Convert) {
        self.settle();
        match outcome {
            Convert::Lost => return,
            Convert::PowerLost => return self.power_cycle(),
            Convert::Done | Convert::Starved => {}
        }
        self.conversions += 1;
        let celsius = match &self.chip.source {
            Source::Celsius(celsius) => *celsius,
            Source::Of(celsius) => celsius(self.plugged.elapsed()),
        };
        let [_, _, config] = self.settings;
        let registers = if outcome == Convert::Starved {
            self.layout.starved()
        } else {
            let junk = self.draw();
            self.layout.measured(celsius, config, junk)
        };
        self.pending = Some((Instant::now() + lasting, registers, self.conversions));
    }

    /// Moves the value of a conversion that is over by now into the registers.
    fn settle(&mut self) {
        if let Some((_, registers, number)) =
            self.pending.take_if(|(ready, ..)| *ready <= Instant::now())
        {
            (self.registers, self.held) = (registers, number);
        }
    }

    /// What the chip answers to a read of its scratchpad, and the number of the conversion in it.
    pub fn scratchpad(&mut self) -> (Scratchpad, u64) {
        self.settle();
        (with_checksum(self.layout.scratchpad(self.registers, self.settings)), self.held)
    }

    /// Replaces the value, whatever was converted: for faults that come to light only when the chip is read.
    pub fn starve(&mut self) {
        self.registers = self.layout.starved();
    }

    /// Hears a write of TH, TL and, except of family 10, the configuration.
    pub fn write(&mut self, th: u8, tl: u8, config: u8) {
        self.settings = self.layout.written(self.settings, [th, tl, config]);
    }

    /// Hears the command to copy its settings to EEPROM.
    pub fn save(&mut self) {
        self.eeprom_writes += 1;
        self.chip.eeprom = self.settings;
    }

    /// Hears the command to recall its settings from EEPROM.
    pub const fn restore(&mut self) {
        self.settings = self.chip.eeprom;
    }

    /// An xorshift, in which 0 stays 0: the junk need only differ.
    fn draw(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn live(chip: Chip, family: u8) -> LiveChip {
        LiveChip::new(chip, family)
    }

    #[test]
    fn the_value_is_old_until_the_conversion_is_over() {
        let mut chip = live(Chip::genuine(20.0), 0x28);
        chip.convert(Duration::from_secs(60), Convert::Done);
        let (bytes, number) = chip.scratchpad();
        assert_eq!((&bytes[..2], bytes[6], number), (&[0x50, 0x05][..], 0x0c, 0));
        chip.convert(Duration::ZERO, Convert::Done);
        let (bytes, number) = chip.scratchpad();
        assert_eq!((&bytes[..2], bytes[6], number), (&[0x40, 0x01][..], 0x10, 2));
        chip.convert(Duration::ZERO, Convert::Lost);
        assert_eq!(chip.scratchpad().1, 2);
        chip.power_cycle();
        assert_eq!(chip.scratchpad().1, 0);
    }

    #[test]
    fn settings_survive_power_only_in_the_eeprom() {
        let mut chip = live(Chip::genuine(20.0), 0x28);
        chip.write(1, 2, 0x1f);
        assert_eq!(chip.conversion_time(), TYPICAL_CONVERSION / 8);
        chip.power_cycle();
        assert_eq!(&chip.scratchpad().0[2..5], &[0x4b, 0x46, 0x7f]);
        chip.write(1, 2, 0x1f);
        chip.save();
        chip.power_cycle();
        assert_eq!(&chip.scratchpad().0[2..5], &[1, 2, 0x1f]);
        assert_eq!(chip.eeprom_writes(), 1);
    }
}
