//! What is wrong with the wiring of 1-Wire sensors, and what to do about it.

mod facts;
mod findings;

pub use facts::{Bulk, Bus, Chip, Facts, Measuring, Overlay, facts};
pub use findings::{Finding, Weight, findings};
