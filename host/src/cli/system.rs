//! The arguments that say where the kernel shows its sensors.

use std::path::PathBuf;

use clap::Args;

use crate::sensor::SystemPaths;

/// Where sensors are looked for.
#[derive(Args)]
pub(super) struct System {
    /// The folder of 1-Wire devices [default: /sys/bus/w1/devices].
    #[arg(long, value_name = "DIR")]
    w1_root: Option<PathBuf>,
    /// Look for /sys, /proc and /boot in this folder.
    #[arg(long, value_name = "DIR", default_value = "/")]
    root: PathBuf,
}

impl System {
    pub(super) fn paths(self) -> SystemPaths {
        SystemPaths::new(&self.root, self.w1_root)
    }
}
