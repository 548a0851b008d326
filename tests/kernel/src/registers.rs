//! Where each family keeps what in its scratchpad.

use crate::chip::Kind;

/// What conversions change: the temperature and the three bytes after the configuration. Of a MAX31850 the two
/// bytes of the cold junction too, where others have their alarms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Registers {
    value: [u8; 2],
    junction: [u8; 2],
    tail: [u8; 3],
}

/// The scratchpad of one chip.
#[derive(Debug, Clone, Copy)]
pub struct Layout {
    kind: Kind,
    family: u8,
    reserved: (u8, u8),
}

impl Layout {
    pub fn new(kind: Kind, family: u8, reserved: Option<(u8, u8)>) -> Self {
        Self { kind, family, reserved: reserved.unwrap_or((0xff, 0x10)) }
    }

    const fn registers(&self, value: [u8; 2], byte_6: u8) -> Registers {
        let (byte_5, byte_7) = self.reserved;
        Registers { value, junction: [0, 0], tail: [byte_5, byte_6, byte_7] }
    }

    /// What is there before the first conversion.
    pub const fn power_on(&self) -> Registers {
        match (self.kind, self.family) {
            (Kind::Max31850, _) => {
                Registers { value: [0, 0], junction: [0, 0], tail: [0xff, 0xff, 0xff] }
            }
            // 85 °C in half degrees.
            (_, 0x10) => self.registers([0xaa, 0x00], 0x0c),
            (Kind::PowerOn25, _) => self.registers([0x90, 0x01], 0xa5),
            _ => self.registers([0x50, 0x05], 0x0c),
        }
    }

    /// What is there after a conversion without enough power (`w1_therm.rst`, "features").
    pub const fn starved(&self) -> Registers {
        self.registers([0xff, 0x07], 0x0c)
    }

    /// What is there after a conversion. `junk` fills the bits that a resolution leaves undefined.
    pub fn measured(&self, celsius: f64, config: u8, junk: u64) -> Registers {
        if self.kind == Kind::Max31850 {
            return thermocouple(celsius);
        }
        // Saturates: a value that the register cannot hold is clipped to its ends.
        let sixteenths = (celsius * 16.0).round() as i16;
        if self.family == 0x10 {
            return self.half_degrees(sixteenths);
        }
        let undefined = (1_i16 << (12 - self.resolution(config))) - 1;
        let [junk, ..] = junk.to_le_bytes();
        let raw = (sixteenths & !undefined) | (i16::from(junk) & undefined);
        let [low, high] = raw.to_le_bytes();
        let byte_6 = match (self.kind, self.family) {
            // The DS28EA00 keeps it; of the DS18B20 the data sheet only says "reserved".
            (Kind::Constant0c, _) | (_, 0x42) => 0x0c,
            _ => 0x10 - (low & 0x0f),
        };
        self.registers([low, high], byte_6)
    }

    /// A DS18S20 holds half degrees, and in byte 6 what was left to count of the 16 steps of a degree, so that
    /// temperature = whole degrees − 0.25 + (16 − left) / 16 (its data sheet, "Operation").
    fn half_degrees(&self, sixteenths: i16) -> Registers {
        let halves = sixteenths.saturating_add(4).div_euclid(8);
        let whole = halves.div_euclid(2);
        let left = whole.saturating_mul(16).saturating_add(12).saturating_sub(sixteenths);
        let [low, high] = halves.to_le_bytes();
        self.registers([low, high], u8::try_from(left).unwrap_or(0x0c))
    }

    /// The resolution that a configuration stands for, in bits.
    pub const fn resolution(&self, config: u8) -> u8 {
        match (self.kind, self.family) {
            (Kind::Max31850, _) | (_, 0x10) => 12,
            _ => 9 + ((config >> 5) & 3),
        }
    }

    /// The settings after a write. A DS18S20 has no configuration, and bits outside the resolution are fixed.
    pub const fn written(&self, old: [u8; 3], new: [u8; 3]) -> [u8; 3] {
        let ([_, _, old_config], [th, tl, config]) = (old, new);
        match (self.kind, self.family) {
            (Kind::Max31850, _) => old,
            (Kind::Fixed12Bit, _) | (_, 0x10) => [th, tl, old_config],
            _ => [th, tl, (config & 0x60) | (old_config & !0x60)],
        }
    }

    /// The eight bytes before the checksum.
    pub const fn scratchpad(&self, registers: Registers, settings: [u8; 3]) -> [u8; 8] {
        let Registers { value: [low, high], junction, tail: [five, six, seven] } = registers;
        let [th, tl, config] = settings;
        match (self.kind, self.family) {
            (Kind::Max31850, _) => {
                let [a, b] = junction;
                // The upper half is fixed, the lower one the address pins.
                [low, high, a, b, 0xf0, five, six, seven]
            }
            (_, 0x10) => [low, high, th, tl, 0xff, five, six, seven],
            _ => [low, high, th, tl, config, five, six, seven],
        }
    }
}

/// Quarter degrees in the upper 14 bits; the cold junction, here at 25 °C, in sixteenths in the upper 12 bits.
fn thermocouple(celsius: f64) -> Registers {
    let quarters = (celsius * 4.0).round().clamp(-8_192.0, 8_191.0) as i16;
    Registers {
        value: (quarters << 2).to_le_bytes(),
        junction: (400_i16 << 4).to_le_bytes(),
        tail: [0xff, 0xff, 0xff],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Release;
    use crate::scratchpad::{millidegrees, with_checksum};

    fn milli(kind: Kind, family: u8, celsius: f64) -> i32 {
        let layout = Layout::new(kind, family, None);
        let bytes = layout.scratchpad(layout.measured(celsius, 0x7f, 0), [0x4b, 0x46, 0x7f]);
        millidegrees(with_checksum(bytes), family, Release::V6_6)
    }

    #[test]
    fn the_kernel_reads_of_each_family_what_was_measured() {
        for celsius in
            [-55.0, -10.125, -0.5, -0.0625, 0.0, 0.0625, 0.4375, 7.375, 22.5625, 85.0, 125.0]
        {
            for family in [0x10, 0x22, 0x28, 0x3b, 0x42] {
                let read = f64::from(milli(Kind::Genuine, family, celsius));
                assert!((read - celsius * 1_000.0).abs() < 1.0, "{family:02x} {celsius}: {read}");
            }
        }
        assert_eq!(milli(Kind::Max31850, 0x3b, 1_250.25), 1_250_250);
        assert_eq!(milli(Kind::Max31850, 0x3b, -100.5), -100_500);
    }

    #[test]
    fn low_bits_are_junk_below_12_bit() {
        let layout = Layout::new(Kind::Genuine, 0x28, None);
        let of = |junk| layout.measured(20.0, 0x1f, junk).value[0];
        assert_eq!((of(0), of(0xff)), (0x40, 0x47));
    }
}
