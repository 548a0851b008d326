//! Where the kernel shows its sensors.

use std::path::{Path, PathBuf};

/// The folders that drivers look into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SystemPaths {
    /// The root of the file system, `/` but for tests.
    pub root: PathBuf,
    /// The folder of 1-Wire devices.
    pub w1: PathBuf,
}

impl SystemPaths {
    /// The usual folders under a root; another one for 1-Wire devices, where it is given.
    pub fn new(root: &Path, w1: Option<PathBuf>) -> SystemPaths {
        let w1 = w1.unwrap_or_else(|| root.join("sys/bus/w1/devices"));
        SystemPaths { root: root.to_path_buf(), w1 }
    }
}
