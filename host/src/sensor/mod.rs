//! Where readings come from: drivers, and the task that samples a bus.

mod bus;
pub mod recording;
mod replay;
mod rom_id;
pub mod scratchpad;
mod simulated;
mod w1;

use crate::reading::{FaultReason, Quality};

pub use bus::{Bus, BusDriver, BusSensor, Sampled, sample};
pub use replay::Replay;
pub use rom_id::{RomId, RomIdError};
pub use simulated::{Simulated, SimulatedSettings};
pub use w1::{W1Sensor, bus_of, scan};

/// One measured value, before it has a series and a time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measured {
    /// In the unit of the series.
    pub value: f64,
    /// How far it can be trusted.
    pub quality: Quality,
}

/// What a driver makes of one sensor in one cycle.
pub type Measurement = Result<Measured, FaultReason>;
