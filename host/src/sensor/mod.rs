//! Where readings come from: drivers, and the tasks that sample them.

mod attributes;
pub mod doctor;
mod kernel;
pub mod recording;
mod replay;
mod rom_id;
mod sampling;
mod schedule;
pub mod scratchpad;
mod simulated;
mod system;
pub mod w1;

pub use attributes::{AttributeDevice, Channel, Class, Found, read_all};
pub use replay::Replay;
pub use rom_id::{RomId, RomIdError};
pub use sampling::{Driver, Sampled, Sampling, sample};
pub use schedule::{Due, Schedule};
pub use simulated::{Simulated, SimulatedSensors, SimulatedSettings};
pub use system::SystemPaths;
