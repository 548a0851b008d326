//! What the kernel makes of nine bytes: their checksum, a temperature, the text of `w1_slave`.

use crate::options::Release;

/// The bytes of a scratchpad, checksum included.
pub type Scratchpad = [u8; 9];

/// The Dallas/Maxim checksum, polynomial x⁸+x⁵+x⁴+1 (application note 27).
pub fn crc8(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ byte, |crc, _| if crc & 1 == 1 { (crc >> 1) ^ 0x8c } else { crc >> 1 })
    })
}

/// Eight bytes with their checksum.
pub fn with_checksum(data: [u8; 8]) -> Scratchpad {
    let [a, b, c, d, e, f, g, h] = data;
    [a, b, c, d, e, f, g, h, crc8(&data)]
}

/// Whether the ninth byte is the checksum of the others.
pub fn has_right_checksum(bytes: Scratchpad) -> bool {
    crc8(&bytes) == 0
}

/// The temperature that `w1_therm` computes, in thousandths of a degree. It masks no undefined bits.
pub fn millidegrees(bytes: Scratchpad, family: u8, release: Release) -> i32 {
    let [low, high, _, _, config, _, remain, per_degree, _] = bytes;
    let raw = u16::from_le_bytes([low, high]);
    // A set bit 7 marks the finer chips that share a family: GX20MH01 with 28, MAX31850 with 3b.
    let marked = config & 0x80 != 0 && release == Release::V6_6;
    match family {
        0x10 => ds18s20_millidegrees(low, high, remain, per_degree),
        0x3b if marked => signed(raw & 0xfffc) * 1_000 / 16,
        _ if marked => signed((raw << 2) | u16::from(config & 3)) * 1_000 / 64,
        _ => signed(raw) * 1_000 / 16,
    }
}

fn signed(raw: u16) -> i32 {
    i32::from(raw.cast_signed())
}

/// Half degrees, refined by the count registers; any high byte but zero counts as negative.
fn ds18s20_millidegrees(low: u8, high: u8, remain: u8, per_degree: u8) -> i32 {
    if per_degree == 0 {
        return 0;
    }
    let half_degrees = if high == 0 { i32::from(low) } else { i32::from(low) - 0x100 };
    let (remain, per_degree) = (i32::from(remain), i32::from(per_degree));
    (half_degrees >> 1) * 1_000 - 250 + 1_000 * (per_degree - remain) / per_degree
}

/// The two lines of `w1_slave`: the bytes that were read, the bytes that were last read well, and the temperature
/// of the former.
pub fn print(bytes: Scratchpad, right: bool, retained: Scratchpad, millidegrees: i32) -> String {
    let [data @ .., _] = bytes;
    let computed = crc8(&data);
    let verdict = if right { "YES" } else { "NO" };
    format!("{}: crc={computed:02x} {verdict}\n{}t={millidegrees}\n", hex(bytes), hex(retained))
}

fn hex(bytes: Scratchpad) -> String {
    bytes.iter().map(|byte| format!("{byte:02x} ")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_the_data_sheets() {
        // Application note 27, "Example": ROM 02 1c b8 01 00 00 00 has the checksum a2.
        assert_eq!(crc8(&[0x02, 0x1c, 0xb8, 0x01, 0, 0, 0]), 0xa2);
    }

    #[test]
    fn a_ds18s20_is_computed_by_its_counters() {
        let of = |low, high, remain, per_degree| {
            millidegrees([low, high, 0, 0, 0xff, 0xff, remain, per_degree, 0], 0x10, Release::V6_6)
        };
        assert_eq!(of(0x2d, 0, 0x03, 0x10), 22_562);
        assert_eq!(of(0xff, 0xff, 0x0c, 0x10), -1_000);
        assert_eq!(of(0xaa, 0, 0x0c, 0x10), 85_000);
        assert_eq!(of(0xaa, 0, 0x0c, 0), 0);
    }

    #[test]
    fn a_text_has_the_kernels_form() {
        let bytes = with_checksum([0x63, 0x01, 0x4b, 0x46, 0x7f, 0xff, 0x0d, 0x10]);
        let milli = millidegrees(bytes, 0x28, Release::V6_6);
        let text = print(bytes, true, bytes, milli);
        assert_eq!(text.lines().next(), Some("63 01 4b 46 7f ff 0d 10 15 : crc=15 YES"));
        assert_eq!(text.lines().nth(1), Some("63 01 4b 46 7f ff 0d 10 15 t=22187"));
    }
}
