//! What the author of a Weir plugin depends on.
//!
//! A plugin is a crate of type `cdylib` with three things in it: a settings struct, one of the traits
//! [`Filter`], [`Calibration`] or [`Alert`], and one line that exports it.
//!
//! ```
//! use serde::Deserialize;
//! use weir_plugin::{Calibration, Reading, SeriesInfo, Settings};
//!
//! /// Adds a constant.
//! struct Shift {
//!     by: f64,
//! }
//!
//! #[derive(Deserialize, Settings)]
//! struct ShiftSettings {
//!     /// What is added to every value.
//!     #[setting(default = 0.0, min = -10.0, max = 10.0, unit = "celsius")]
//!     by: f64,
//! }
//!
//! impl Calibration for Shift {
//!     type Settings = ShiftSettings;
//!     type Sensor = ();
//!
//!     fn new(settings: ShiftSettings, _series: &[SeriesInfo]) -> Result<Self, String> {
//!         Ok(Shift { by: settings.by })
//!     }
//!
//!     fn apply(&mut self, _sensor: &mut (), reading: Reading) -> f64 {
//!         reading.value + self.by
//!     }
//! }
//!
//! weir_plugin::export!(calibration: Shift);
//! ```
//!
//! Built with `cargo build --release --target wasm32-unknown-unknown`, the `.wasm` file that cargo
//! makes is named in the pipeline file as it is. The manifest in it (name, version and description come from the
//! crate, the parameters from the settings struct) lets the host check `[stage.config]` without running the plugin.

mod alert;
mod calibration;
mod filter;
mod manifest;
mod reading;
mod sensors;
mod settings;

pub use alert::{Alarm, AlarmState, Alarms, Alert, AlertStage, Severity};
pub use calibration::{Calibration, CalibrationStage};
pub use filter::{Filter, FilterStage};
pub use manifest::{Manifest, PluginKind};
pub use reading::{Fault, FaultReason, Quality, Reading, Readings, SeriesInfo};
pub use settings::{Choice, Duration, Kind, Parameter, Setting, Settings};
pub use weir_plugin_derive::{Choice, Settings};

#[doc(hidden)]
pub mod bindings;
mod export;
mod host;

#[doc(hidden)]
pub use host::log_panics;
pub use host::{Level, count, log};
