//! `weir run`: runs a pipeline.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::engine::EngineArguments;
use super::system::System;
use super::{Failure, block_on, load_pipeline, parse_duration, with_causes};
use crate::pipeline::{LiveError, LiveOptions, run};

/// Run a pipeline until it is interrupted.
#[derive(Args)]
pub(super) struct Run {
    /// The pipeline file.
    file: PathBuf,
    #[command(flatten)]
    system: System,
    #[command(flatten)]
    engine: EngineArguments,
    /// Stop after this, for instance 10s.
    #[arg(long, value_parser = parse_duration)]
    duration: Option<Duration>,
    /// Record what comes from the sensors, so that `weir replay` repeats the run.
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
}

impl Run {
    pub(super) fn run(self) -> Result<(), Failure> {
        let pipeline = load_pipeline(&self.file)?;
        let options = LiveOptions {
            system: self.system.paths(),
            duration: self.duration,
            engine: self.engine.settings(),
            record: self.record,
        };
        let ran = block_on(run(pipeline, &options, |dashboard| {
            if let Some(address) = dashboard {
                tracing::info!("Dashboard: http://{address}/");
            }
        }))?;
        ran.map_err(|refused| all_of(&refused))
    }
}

/// A line for each thing that stands in the way.
pub(super) fn all_of(refused: &[LiveError]) -> Failure {
    refused.iter().map(|error| with_causes(error)).collect::<Vec<_>>().join("\n").into()
}
