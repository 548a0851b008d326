//! `weir run`: runs a pipeline.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::engine::EngineArguments;
use super::system::System;
use super::{Failure, block_on, load_pipeline, parse_duration};
use crate::causes::with_causes;
use crate::pipeline::{LiveError, LiveOptions, ReloadAt, run};

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
    /// Take over changes of the file, and of its plugins, as soon as they are written. SIGHUP does so once.
    #[arg(long, conflicts_with = "record")]
    watch: bool,
    /// Record what comes from the sensors, so that `weir replay` repeats the run.
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// The folder for what must outlive the process: what waits for a hub, the state of plugins, and their compiled code. Default: the first folder of
    /// $STATE_DIRECTORY, which systemd sets; else nothing is kept.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

impl Run {
    pub(super) fn run(self) -> Result<(), Failure> {
        let pipeline = load_pipeline(&self.file)?;
        let data_dir = self.data_dir.or_else(state_directory);
        let at = if self.watch { ReloadAt::HangupOrChange } else { ReloadAt::Hangup };
        let is_forgetful = data_dir.is_none();
        let options = LiveOptions {
            system: self.system.paths(),
            duration: self.duration,
            engine: self.engine.settings(),
            record: self.record,
            reload: Some((self.file.clone(), at)),
            data_dir,
        };
        let ran = block_on(run(pipeline, &options, |dashboard| {
            if is_forgetful {
                tracing::info!(
                    "No --data-dir: a restart begins delays, windows and alarms of plugins anew, and loses what waits for a hub."
                );
            }
            if let Some(page) = dashboard {
                tracing::info!("Dashboard: {page}");
            }
        }))?;
        ran.map_err(|refused| all_of(&refused))
    }
}

/// The folder that systemd made for this service, by `StateDirectory=`: the first of a list.
pub(super) fn state_directory() -> Option<PathBuf> {
    let list = std::env::var_os("STATE_DIRECTORY")?;
    let first = list.as_encoded_bytes().split(|&byte| byte == b':').next()?;
    (!first.is_empty()).then(|| PathBuf::from(OsStr::from_bytes(first)))
}

/// A line for each thing that stands in the way.
pub(super) fn all_of(refused: &[LiveError]) -> Failure {
    refused.iter().map(|error| with_causes(error)).collect::<Vec<_>>().join("\n").into()
}
