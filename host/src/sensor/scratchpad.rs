//! What a `w1_slave` text says: nine bytes of scratchpad, their checksum, a temperature. No I/O.
//!
//! The form is the kernel's (`drivers/w1/slaves/w1_therm.c`, `w1_slave_show`):
//! `2b 01 55 05 7f a5 81 66 cf : crc=cf YES`, then the same bytes with `t=18687`. The value is computed from the
//! bytes of line 1: on a failed read line 2 repeats older ones.

use crate::reading::FaultReason;

/// The bytes of a scratchpad, checksum included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scratchpad(pub [u8; 9]);

/// What a DS18B20 can measure, in °C (data sheet, "Features").
const RANGE: std::ops::RangeInclusive<f64> = -55.0..=125.0;
/// What a MAX31850's thermocouple input can (data sheet, table 3).
const THERMOCOUPLE_RANGE: std::ops::RangeInclusive<f64> = -270.0..=1_800.0;
/// The scratchpad's temperature after power-on, 85 °C (data sheet, "Memory").
const POWER_ON: i16 = 0x0550;
/// The same for a DS18S20, in half degrees.
const POWER_ON_DS18S20: i16 = 0x00aa;
/// 127.9375 °C: what a chip without enough power for its conversion holds (`w1_therm.rst`, "features").
const INSUFFICIENT_POWER: i16 = 0x07ff;
/// Bit 7 of the configuration: a GX20MH01 with 13 or 14 bit, or, in family 3b, a MAX31850.
const FINER: u8 = 0x80;
/// Byte 6 when no conversion was made (`w1_therm.rst`, "features").
pub(super) const NO_CONVERSION: u8 = 0x0c;

/// Reads a `w1_slave` text.
pub fn parse_w1_slave(text: &str) -> Result<Scratchpad, FaultReason> {
    if text.trim().is_empty() {
        // Success with nothing in it: how newer kernels tell of a failed read.
        return Err(FaultReason::NoAnswer);
    }
    let line = text.lines().next().unwrap_or_default();
    let (bytes, verdict) = line.split_once(" : crc=").ok_or(FaultReason::IoError)?;
    let bytes = parse_bytes(bytes).ok_or(FaultReason::IoError)?;
    let stated = verdict.get(..2).and_then(|stated| u8::from_str_radix(stated, 16).ok());
    let [.., checksum] = bytes;
    if !verdict.trim_end().ends_with("YES") || stated != Some(checksum) || crc8(&bytes) != 0 {
        return Err(FaultReason::CrcMismatch);
    }
    Ok(Scratchpad(bytes))
}

fn parse_bytes(text: &str) -> Option<[u8; 9]> {
    let mut words = text.split_ascii_whitespace();
    let mut bytes = [0; 9];
    for byte in &mut bytes {
        let is_byte = |word: &&str| word.len() == 2 && word.bytes().all(|b| b.is_ascii_hexdigit());
        *byte = u8::from_str_radix(words.next().filter(is_byte)?, 16).ok()?;
    }
    words.next().is_none().then_some(bytes)
}

impl Scratchpad {
    /// The temperature that it holds, in °C, by the rule of a family (the first two digits of a ROM id).
    pub fn celsius(self, family: u8) -> Result<f64, FaultReason> {
        let Scratchpad(bytes) = self;
        if bytes == [0; 9] {
            // The checksum of zeros is zero, so a shorted line passes it. Never t=0 alone: 0 °C is real.
            return Err(FaultReason::AllZero);
        }
        let [_, _, _, _, config, _, reserved_6, reserved_7, _] = bytes;
        let raw = self.raw();
        let (value, range) = match family {
            0x10 => (ds18s20(raw, reserved_6, reserved_7), RANGE),
            0x3b if config & FINER != 0 => (self.thermocouple()?, THERMOCOUPLE_RANGE),
            _ if raw == INSUFFICIENT_POWER && reserved_6 == NO_CONVERSION => {
                return Err(FaultReason::InsufficientPower);
            }
            _ => (self.degrees(), RANGE),
        };
        if range.contains(&value) { Ok(value) } else { Err(FaultReason::OutOfRange) }
    }

    /// A MAX31850 shares the family 3b with the DS1825, whose configuration never has bit 7 (data sheets, "Configuration
    /// Register"). It counts quarter degrees and tells of a broken thermocouple (data sheet, tables 2 to 4).
    fn thermocouple(self) -> Result<f64, FaultReason> {
        const ANY_FAULT: u8 = 0b001;
        const OPEN: u8 = 0b001;
        let Scratchpad([low, _, cold_low, ..]) = self;
        if low & ANY_FAULT != 0 {
            let is_open = cold_low & OPEN != 0;
            return Err(if is_open { FaultReason::NotPresent } else { FaultReason::IoError });
        }
        Ok(f64::from(self.raw() & !0b11) / 16.0)
    }

    /// The temperature register.
    pub fn raw(self) -> i16 {
        let Scratchpad([low, high, ..]) = self;
        i16::from_le_bytes([low, high])
    }

    /// Byte 6, and what a genuine chip has there after a conversion.
    pub(super) fn reserved_6(self) -> (u8, u8) {
        let Scratchpad([low, _, _, _, _, _, reserved_6, ..]) = self;
        (reserved_6, 0x10 - (low & 0x0f))
    }

    /// Whether the register holds 85 °C and byte 6 says that no conversion was made.
    pub fn is_at_power_on(self, family: u8) -> bool {
        let power_on = if family == 0x10 { POWER_ON_DS18S20 } else { POWER_ON };
        (self.raw(), self.reserved_6().0) == (power_on, NO_CONVERSION)
    }

    /// Whether the bytes around the temperature are those of a genuine DS18B20 as it leaves the factory; recorded copies
    /// that keep `0c` in byte 6 have other ones. A DS18S20's 85 °C cannot be told from its power-on value.
    pub fn looks_genuine(self) -> bool {
        let Scratchpad([_, _, high_alarm, low_alarm, _, reserved_5, _, reserved_7, _]) = self;
        [high_alarm, low_alarm, reserved_5, reserved_7] == [0x4b, 0x46, 0xff, 0x10]
    }

    /// Bits of the temperature, as the configuration says: 9 to 12 (data sheet, table 2), 13 or 14 for a GX20MH01. A
    /// DS18S20 has none, and neither has a MAX31850.
    pub fn resolution(self, family: u8) -> Option<u8> {
        let Scratchpad([_, _, _, _, config, ..]) = self;
        let finer = config & FINER != 0;
        match family {
            0x10 => None,
            0x3b if finer => None,
            _ if finer => Some(13 + ((config >> 5) & 1)),
            _ => Some(9 + ((config >> 5) & 0b11)),
        }
    }

    /// The temperature in sixteenths of a degree; in sixty-fourths with two bits in the configuration for a GX20MH01,
    /// as the kernel has it. Below 12 bit the lowest bits are undefined, and the kernel does not mask them.
    fn degrees(self) -> f64 {
        let Scratchpad([_, _, _, _, config, ..]) = self;
        if config & FINER != 0 {
            return (f64::from(self.raw()) * 4.0 + f64::from(config & 0b11)) / 64.0;
        }
        let defined = !0_i16 << (3 - ((config >> 5) & 0b11));
        f64::from(self.raw() & defined) / 16.0
    }
}

/// A DS18S20 counts half degrees and tells the rest by its count registers (data sheet DS18S20, "Operation").
fn ds18s20(raw: i16, remain: u8, per_degree: u8) -> f64 {
    match per_degree {
        // The kernel prints 0 °C here; the half degrees are there all the same.
        0 => f64::from(raw) / 2.0,
        _ => f64::from(raw >> 1) - 0.25 + 1.0 - f64::from(remain) / f64::from(per_degree),
    }
}

/// The Dallas/Maxim checksum, polynomial x⁸+x⁵+x⁴+1 (application note 27). Over nine bytes with the right
/// checksum at their end it is 0.
pub fn crc8(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ byte, |crc, _| if crc & 1 == 1 { (crc >> 1) ^ 0x8c } else { crc >> 1 })
    })
}

/// The text that the kernel prints for a scratchpad, for drivers that only behave like one.
pub fn print_w1_slave(Scratchpad(mut bytes): Scratchpad, break_checksum: Option<u8>) -> String {
    let [data @ .., checksum] = &mut bytes;
    *checksum = crc8(data);
    let computed = *checksum;
    *checksum ^= break_checksum.unwrap_or(0);
    let verdict = if break_checksum.is_none() { "YES" } else { "NO" };
    let hex: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let hex = hex.join(" ");
    let [low, high, ..] = bytes;
    let milli = i32::from(i16::from_le_bytes([low, high])) * 1_000 / 16;
    format!("{hex} : crc={computed:02x} {verdict}\n{hex} t={milli}\n")
}

/// A scratchpad as a genuine 12-bit chip fills it after a conversion.
pub fn genuine(celsius: f64) -> Scratchpad {
    // Saturates: a value that the chip's register cannot hold is clipped to its ends.
    let raw = (celsius * 16.0).round() as i16;
    let [low, high] = raw.to_le_bytes();
    Scratchpad([low, high, 0x4b, 0x46, 0x7f, 0xff, 0x10 - (low & 0x0f), 0x10, 0])
}

#[cfg(test)]
mod tests {
    use super::*;
    use FaultReason::{
        AllZero, CrcMismatch, InsufficientPower, IoError, NoAnswer, NotPresent, OutOfRange,
    };

    fn celsius(text: &str, family: u8) -> Result<f64, FaultReason> {
        parse_w1_slave(text)?.celsius(family)
    }

    /// Nine bytes as hex, without their checksum, as the kernel would print them.
    fn text(hex: &str) -> String {
        let mut bytes = [0; 9];
        for (byte, word) in bytes.iter_mut().zip(hex.split(' ')) {
            *byte = u8::from_str_radix(word, 16).unwrap();
        }
        print_w1_slave(Scratchpad(bytes), None)
    }

    #[test]
    fn the_checksum_is_the_data_sheets() {
        // Application note 27, "Example": ROM 02 1c b8 01 00 00 00 has the checksum a2.
        assert_eq!(crc8(&[0x02, 0x1c, 0xb8, 0x01, 0, 0, 0]), 0xa2);
        assert_eq!(crc8(&[0xff; 8]), 0xc9);
    }

    #[test]
    fn temperatures_of_the_data_sheet_are_read() {
        for (raw, value) in [
            ("d0 07", 125.0),
            ("50 05", 85.0),
            ("91 01", 25.0625),
            ("a2 00", 10.125),
            ("08 00", 0.5),
            ("00 00", 0.0),
            ("f8 ff", -0.5),
            ("5e ff", -10.125),
            ("6f fe", -25.0625),
            ("90 fc", -55.0),
        ] {
            for family in [0x22, 0x28, 0x3b, 0x42] {
                let text = text(&format!("{raw} 4b 46 7f ff 10 10"));
                assert_eq!(celsius(&text, family), Ok(value), "{raw}");
            }
        }
    }

    #[test]
    fn each_way_to_fail_has_its_reason() {
        for (text, reason) in [
            (String::new(), NoAnswer),
            ("\n".to_owned(), NoAnswer),
            ("nonsense".to_owned(), IoError),
            ("50 05 4b : crc=1c YES\n".to_owned(), IoError),
            ("50 05 4b 46 7f ff 0c 10 1c 00 : crc=1c YES\n".to_owned(), IoError),
            ("5o 05 4b 46 7f ff 0c 10 1c : crc=1c YES\n".to_owned(), IoError),
            ("+5 05 4b 46 7f ff 0c 10 1c : crc=1c YES\n".to_owned(), IoError),
            (
                "ff ff ff ff ff ff ff ff ff : crc=c9 NO\n63 01 4b 46 7f ff 0d 10 15 t=-62\n"
                    .to_owned(),
                CrcMismatch,
            ),
            ("50 06 4b 46 7f ff 0c 10 1c : crc=1c YES\n".to_owned(), CrcMismatch),
            (text("00 00 00 00 00 00 00 00"), AllZero),
            (text("ff 07 4b 46 7f ff 0c 10"), InsufficientPower),
            (text("f0 07 4b 46 7f ff 10 10"), OutOfRange),
            (text("00 80 4b 46 7f ff 10 10"), OutOfRange),
        ] {
            assert_eq!(celsius(&text, 0x28), Err(reason), "{text:?}");
        }
    }

    #[test]
    fn power_on_is_seen_by_byte_6() {
        let at_power_on = |hex, family| parse_w1_slave(&text(hex)).unwrap().is_at_power_on(family);
        assert!(at_power_on("50 05 4b 46 7f ff 0c 10", 0x28));
        assert!(at_power_on("aa 00 4b 46 ff ff 0c 10", 0x10));
        assert!(!at_power_on("50 05 4b 46 7f ff 10 10", 0x28), "a true 85 degrees");
        assert!(!at_power_on("aa 00 4b 46 ff ff 0c 10", 0x28), "10.625 degrees");
    }

    #[test]
    fn undefined_bits_below_12_bit_are_masked() {
        for (config, value, bits) in
            [("7f", 25.9375, 12), ("5f", 25.875, 11), ("3f", 25.75, 10), ("1f", 25.5, 9)]
        {
            let pad = parse_w1_slave(&text(&format!("9f 01 4b 46 {config} ff 01 10"))).unwrap();
            assert_eq!(
                (pad.celsius(0x28), pad.resolution(0x28)),
                (Ok(value), Some(bits)),
                "{config}"
            );
        }
        // A GX20MH01 has two bits more.
        let pad = parse_w1_slave(&text("91 01 4b 46 a3 ff 0f 10")).unwrap();
        assert_eq!((pad.celsius(0x28), pad.resolution(0x28)), (Ok(25.109375), Some(14)));
        // A DS1825 has its address in the low bits.
        let pad = parse_w1_slave(&text("9f 01 4b 46 13 ff 01 10")).unwrap();
        assert_eq!((pad.celsius(0x3b), pad.resolution(0x3b)), (Ok(25.5), Some(9)));
    }

    #[test]
    fn a_ds18s20_is_decoded_by_its_counters() {
        for (hex, value) in [
            ("2d 00 4b 46 ff ff 03 10", 22.5625),
            ("0f 00 4b 46 ff ff 06 10", 7.375),
            ("ff ff 4b 46 ff ff 0c 10", -1.0),
            ("ff ff 4b 46 ff ff 0c 00", -0.5),
        ] {
            assert_eq!(celsius(&text(hex), 0x10), Ok(value), "{hex}");
        }
    }

    #[test]
    fn a_max31850_is_told_by_its_configuration_and_tells_of_a_broken_thermocouple() {
        for (hex, told) in [
            ("48 01 00 1a f0 ff ff ff", Ok(20.5)),
            ("00 64 00 19 f3 ff ff ff", Ok(1_600.0)),
            ("60 f0 00 19 f0 ff ff ff", Ok(-250.0)),
            ("49 01 01 1a f0 ff ff ff", Err(NotPresent)),
            ("49 01 04 1a f0 ff ff ff", Err(IoError)),
            ("00 7f 00 19 f0 ff ff ff", Err(OutOfRange)),
        ] {
            assert_eq!(celsius(&text(hex), 0x3b), told, "{hex}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text: String, bytes: [u8; 9], family: u8) {
            let _any = celsius(&text, family);
            if let Ok(celsius) = celsius(&print_w1_slave(Scratchpad(bytes), None), family) {
                let range = if family == 0x3b { -270.0..=1_800.0 } else { -55.0..=125.0 };
                proptest::prop_assert!(range.contains(&celsius), "{celsius}");
            }
        }
    }
}
