//! What a `w1_slave` text says: nine bytes of scratchpad, their checksum, a temperature. No I/O.
//!
//! The form is the kernel's (`drivers/w1/slaves/w1_therm.c`, `w1_slave_show`):
//! `2b 01 55 05 7f a5 81 66 cf : crc=cf YES`, then the same bytes with `t=18687`. The value is computed from the
//! bytes of line 1: on a failed read line 2 repeats older ones.

use crate::reading::{FaultReason, Quality};

use super::Measured;

/// The bytes of a scratchpad, checksum included.
pub type Scratchpad = [u8; 9];

/// What a DS18B20 can measure, in °C (data sheet, "Features").
const RANGE: std::ops::RangeInclusive<f64> = -55.0..=125.0;
/// The scratchpad's temperature after power-on, 85 °C (data sheet, "Memory").
const POWER_ON: i16 = 0x0550;
/// 127.9375 °C: what a chip without enough power for its conversion holds (`w1_therm.rst`, "features").
const INSUFFICIENT_POWER: i16 = 0x07ff;
/// Byte 6 when no conversion was made (`w1_therm.rst`, "features").
const NO_CONVERSION: u8 = 0x0c;

/// Reads a `w1_slave` text of a sensor of a family (the first two digits of its ROM id).
pub fn parse_w1_slave(text: &str, family: u8) -> Result<Measured, FaultReason> {
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
    measure(bytes, family)
}

fn parse_bytes(text: &str) -> Option<Scratchpad> {
    let mut words = text.split_ascii_whitespace();
    let mut bytes = [0; 9];
    for byte in &mut bytes {
        let word = words.next().filter(|word| word.len() == 2)?;
        *byte = u8::from_str_radix(word, 16).ok()?;
    }
    words.next().is_none().then_some(bytes)
}

/// The temperature that a scratchpad with a right checksum holds.
fn measure(bytes: Scratchpad, family: u8) -> Result<Measured, FaultReason> {
    if bytes == [0; 9] {
        // The checksum of zeros is zero, so a shorted line passes it. Never t=0 alone: 0 °C is real.
        return Err(FaultReason::AllZero);
    }
    let [low, high, _, _, config, reserved_5, reserved_6, reserved_7, _] = bytes;
    let raw = i16::from_le_bytes([low, high]);
    if family == 0x10 {
        return measure_ds18s20(raw, reserved_6, reserved_7);
    }
    if raw == INSUFFICIENT_POWER && reserved_6 == NO_CONVERSION {
        return Err(FaultReason::InsufficientPower);
    }
    let mut quality = Quality::Good;
    if raw == POWER_ON && reserved_6 == NO_CONVERSION {
        // A genuine chip has ff and 10 around byte 6. Some clones keep 0c there at every temperature, so their
        // 85 °C may be real.
        if (reserved_5, reserved_7) == (0xff, 0x10) {
            return Err(FaultReason::PowerOnValue);
        }
        quality = Quality::Uncertain;
    }
    let value = f64::from(raw & defined_bits(config)) / 16.0;
    // 3b is the DS1825's family, but a thermocouple chip (MAX31850) shares it and goes far beyond 125 °C.
    let in_range =
        if family == 0x3b { (-270.0..=1_800.0).contains(&value) } else { RANGE.contains(&value) };
    if in_range { Ok(Measured { value, quality }) } else { Err(FaultReason::OutOfRange) }
}

/// A DS18S20 counts half degrees and tells the rest by its count registers (data sheet DS18S20, "Operation").
fn measure_ds18s20(raw: i16, remain: u8, per_degree: u8) -> Result<Measured, FaultReason> {
    let value = match per_degree {
        0 => f64::from(raw) / 2.0,
        _ => f64::from(raw >> 1) - 0.25 + 1.0 - f64::from(remain) / f64::from(per_degree),
    };
    if !RANGE.contains(&value) {
        return Err(FaultReason::OutOfRange);
    }
    // Its power-on value, aa 00 with 0c, cannot be told from a true 85.00 °C.
    let at_power_on = raw == 0x00aa && remain == NO_CONVERSION;
    let quality = if at_power_on { Quality::Uncertain } else { Quality::Good };
    Ok(Measured { value, quality })
}

/// Below 12 bit the lowest bits of the temperature are undefined, and the kernel does not mask them.
const fn defined_bits(config: u8) -> i16 {
    match config {
        0x1f => !0b111,
        0x3f => !0b011,
        0x5f => !0b001,
        _ => !0,
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
pub fn print_w1_slave(mut bytes: Scratchpad, break_checksum: Option<u8>) -> String {
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
    [low, high, 0x4b, 0x46, 0x7f, 0xff, 0x10 - (low & 0x0f), 0x10, 0]
}

#[cfg(test)]
mod tests {
    use super::*;
    use FaultReason::{
        AllZero, CrcMismatch, InsufficientPower, IoError, NoAnswer, OutOfRange, PowerOnValue,
    };

    /// Nine bytes as hex, without their checksum, as the kernel would print them.
    fn text(hex: &str) -> String {
        let mut bytes = [0; 9];
        for (byte, word) in bytes.iter_mut().zip(hex.split(' ')) {
            *byte = u8::from_str_radix(word, 16).unwrap();
        }
        print_w1_slave(bytes, None)
    }

    #[test]
    fn the_checksum_is_the_data_sheets() {
        // Application note 27, "Example": ROM 02 1c b8 01 00 00 00 has the checksum a2.
        assert_eq!(crc8(&[0x02, 0x1c, 0xb8, 0x01, 0, 0, 0]), 0xa2);
        assert_eq!(crc8(&[0xff; 8]), 0xc9);
    }

    #[test]
    fn temperatures_of_the_data_sheet_are_read() {
        for (raw, celsius) in [
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
            let parsed = parse_w1_slave(&text(&format!("{raw} 4b 46 7f ff 10 10")), 0x28);
            assert_eq!(parsed, Ok(Measured { value: celsius, quality: Quality::Good }), "{raw}");
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
            (
                "ff ff ff ff ff ff ff ff ff : crc=c9 NO\n63 01 4b 46 7f ff 0d 10 15 t=-62\n"
                    .to_owned(),
                CrcMismatch,
            ),
            ("50 06 4b 46 7f ff 0c 10 1c : crc=1c YES\n".to_owned(), CrcMismatch),
            (text("00 00 00 00 00 00 00 00"), AllZero),
            (text("50 05 4b 46 7f ff 0c 10"), PowerOnValue),
            (text("ff 07 4b 46 7f ff 0c 10"), InsufficientPower),
            (text("f0 07 4b 46 7f ff 10 10"), OutOfRange),
            (text("00 80 4b 46 7f ff 10 10"), OutOfRange),
        ] {
            assert_eq!(parse_w1_slave(&text, 0x28), Err(reason), "{text:?}");
        }
    }

    #[test]
    fn a_true_85_degrees_is_a_reading_and_a_clones_is_uncertain() {
        let of = |hex| parse_w1_slave(&text(hex), 0x28).map(|m| (m.value, m.quality));
        assert_eq!(of("50 05 4b 46 7f ff 10 10"), Ok((85.0, Quality::Good)));
        assert_eq!(of("50 05 55 05 7f a5 0c 66"), Ok((85.0, Quality::Uncertain)));
    }

    #[test]
    fn undefined_bits_below_12_bit_are_masked() {
        for (config, celsius) in [("7f", 25.0625), ("5f", 25.0), ("3f", 25.0), ("1f", 25.0)] {
            let parsed = parse_w1_slave(&text(&format!("91 01 4b 46 {config} ff 0f 10")), 0x28);
            assert_eq!(parsed.map(|m| m.value), Ok(celsius), "{config}");
        }
    }

    #[test]
    fn a_ds18s20_is_decoded_by_its_counters() {
        for (hex, celsius) in [
            ("2d 00 4b 46 ff ff 03 10", 22.5625),
            ("0f 00 4b 46 ff ff 06 10", 7.375),
            ("ff ff 4b 46 ff ff 0c 10", -1.0),
        ] {
            assert_eq!(parse_w1_slave(&text(hex), 0x10).map(|m| m.value), Ok(celsius), "{hex}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text: String, bytes: [u8; 9], family: u8) {
            let _any = parse_w1_slave(&text, family);
            if let Ok(measured) = parse_w1_slave(&print_w1_slave(bytes, None), family) {
                proptest::prop_assert!(measured.value.is_finite());
            }
        }
    }
}
