//! Weir: a gateway runtime for a Raspberry Pi with DS18B20 thermometers.
//!
//! In the order in which a reading walks through it; `ARCHITECTURE.md` beside this crate has the whole picture.

pub mod reading;

pub mod clock;

pub mod stop;

pub mod file;

mod causes;

mod ranges;

pub mod data_dir;

pub mod sensor;

pub mod plugin;

pub mod spool;

pub mod uplink;

pub mod output;

pub mod hub;

pub mod pipeline;

pub mod cli;
