//! Faults that a test orders, in the order in which they come.

use std::time::Duration;

pub use fuser::Errno;

use crate::chip::Convert;
use crate::scratchpad::{Scratchpad, crc8};

/// What goes wrong with one measurement: one read of `w1_slave` or `temperature` and the conversion before it. A
/// healthy measurement takes nothing from the script only once the script is empty; [`Fail::Nothing`] is a
/// healthy one in between.
#[derive(Debug, Clone)]
pub enum Fail {
    /// Nothing.
    Nothing,
    /// The checksum is wrong however often the kernel tries.
    Crc,
    /// The checksum is wrong in the first tries; the kernel makes five.
    CrcTries(u8),
    /// Nobody answers: ff, whose checksum is wrong.
    AllOnes,
    /// A shorted line: 00, whose checksum is right.
    AllZero,
    /// The read succeeds with nothing in it.
    Empty,
    /// The read fails.
    Errno(Errno),
    /// The chip loses its power in the conversion: 85 °C.
    PowerOn,
    /// The chip has not the power for a conversion: 127.9375 °C.
    InsufficientPower,
    /// The chip does not hear the convert command: the old value, with a right checksum.
    LostConvert,
    /// The read takes longer. Nobody else has to wait; see `hold_bus` for that.
    Hang(Duration),
    /// The read takes until [`Sensor::release`](crate::Sensor::release).
    HangUntilReleased,
    /// These bytes, whatever their checksum.
    Bytes(Scratchpad),
    /// This text, whatever the kernel would say.
    Text(String),
}

impl Fail {
    /// What becomes of the convert command of this measurement.
    pub(crate) const fn conversion(&self) -> Convert {
        match self {
            Self::PowerOn => Convert::PowerLost,
            Self::InsufficientPower => Convert::Starved,
            Self::LostConvert => Convert::Lost,
            _ => Convert::Done,
        }
    }

    /// What arrives of a scratchpad at a try, counted from 0.
    pub(crate) fn received(&self, sent: Scratchpad, attempt: u8) -> Scratchpad {
        match self {
            Self::Crc => broken(sent),
            Self::CrcTries(tries) if attempt < *tries => broken(sent),
            Self::AllOnes => [0xff; 9],
            Self::AllZero => [0; 9],
            Self::Bytes(bytes) => *bytes,
            _ => sent,
        }
    }
}

/// The bytes with a bit of the temperature flipped.
fn broken(mut bytes: Scratchpad) -> Scratchpad {
    let [low, ..] = &mut bytes;
    *low ^= 0x20;
    debug_assert_ne!(crc8(&bytes), 0);
    bytes
}

/// What goes wrong with one trigger of a bulk conversion.
#[derive(Debug, Clone)]
pub enum BusFail {
    /// Nothing.
    Nothing,
    /// The write succeeds, and that is all.
    Ignored,
    /// No chip answers the reset: the kernel says at once that results are there.
    NoPresence,
    /// No chip hears the convert command, and the kernel does not notice.
    LostConvert,
    /// The write fails.
    Errno(Errno),
    /// The write takes longer.
    Hang(Duration),
    /// The write takes until [`EmulatedKernel::release_bus`](crate::EmulatedKernel::release_bus).
    HangUntilReleased,
}
