//! What is wrong with the wiring of 1-Wire sensors, and what to do about it.

mod facts;
mod findings;

pub use facts::{Asking, Bulk, Bus, Chip, Facts, Overlay, facts};
pub use findings::{Finding, Weight, findings};
