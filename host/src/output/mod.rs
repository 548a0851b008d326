//! Lamps, relays and buzzers on GPIO pins: the only code that names rppal.

mod alarms;
mod pin;
mod status;

pub use alarms::AlarmOutputs;
pub use pin::{Pin, PinError, PinSettings, open};
pub use status::show_status;
