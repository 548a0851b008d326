//! The address of a 1-Wire chip.

use std::fmt;
use std::str::FromStr;

/// A ROM id as the kernel spells it: family code, a dash, and the serial number, `28-0316a2794dff`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RomId {
    family: u8,
    serial: u64,
}

/// The families of thermometers that the kernel's w1_therm driver serves.
const FAMILIES: [u8; 5] = [0x10, 0x22, 0x28, 0x3b, 0x42];

impl RomId {
    /// The family code: 28 (hex) is the DS18B20.
    pub fn family(self) -> u8 {
        self.family
    }

    /// Whether Maxim has given a DS18B20 such an address: theirs have zeros in the two highest bytes of the serial
    /// number, and no other maker's were ever seen to (counterfeit_DS18B20, "How do I know").
    pub fn is_of_maxim(self) -> bool {
        self.family != 0x28 || self.serial >> 32 == 0
    }
}

impl fmt::Display for RomId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02x}-{:012x}", self.family, self.serial)
    }
}

/// A text that is not the ROM id of a thermometer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be the ROM id of a thermometer such as 28-0316a2794dff: family 10, 22, 28, 3b or 42, a dash, twelve hex digits"
)]
pub struct RomIdError;

impl FromStr for RomId {
    type Err = RomIdError;

    fn from_str(text: &str) -> Result<Self, RomIdError> {
        let (family, serial) = text.split_once('-').ok_or(RomIdError)?;
        let all_hex =
            |part: &str| part.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        if family.len() != 2 || serial.len() != 12 || !all_hex(family) || !all_hex(serial) {
            return Err(RomIdError);
        }
        let family = u8::from_str_radix(family, 16).map_err(|_| RomIdError)?;
        if !FAMILIES.contains(&family) {
            return Err(RomIdError);
        }
        let serial = u64::from_str_radix(serial, 16).map_err(|_| RomIdError)?;
        Ok(RomId { family, serial })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_as_it_was_read() {
        for text in ["28-0316a2794dff", "10-000802b4abcd", "3b-000000000001"] {
            assert_eq!(text.parse::<RomId>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_thermometer_is_refused() {
        for text in [
            "",
            "28",
            "28-",
            "28-0316A2794DFF",
            "00-400000000000",
            "28-0316a2794df",
            "28-+316a2794dff",
            "../28-0316a2794dff",
        ] {
            assert_eq!(text.parse::<RomId>(), Err(RomIdError), "{text}");
        }
    }
}
