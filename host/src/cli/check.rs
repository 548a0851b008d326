//! `weir check`: accepts or refuses a pipeline file.

use std::path::PathBuf;

use clap::Args;

use super::{Failure, load_pipeline, say};
use crate::file::printable;

/// Accept or refuse a pipeline file: all problems at once, each with line and column. Runs no plugin code.
#[derive(Args)]
pub(super) struct Check {
    /// The pipeline file.
    file: PathBuf,
}

impl Check {
    pub(super) fn run(self) -> Result<(), Failure> {
        let pipeline = load_pipeline(&self.file)?;
        say(format_args!(
            "{}: good (sensors: {}, stages: {}, outputs: {})",
            printable(&self.file.display().to_string()),
            pipeline.sensors.len(),
            pipeline.stages.len(),
            pipeline.outputs.len()
        ))?;
        Ok(())
    }
}
