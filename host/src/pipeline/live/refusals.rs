//! Why a checked pipeline does not run: all of it is told together.

use std::io;
use std::path::PathBuf;

use crate::data_dir::DataDirError;
use crate::output::PinError;
use crate::pipeline::StartError;
use crate::plugin::CompileError;
use crate::sensor::recording::RecordingError;
use crate::uplink::CredentialError;
use crate::uplink::certificate::TlsError;

/// Why a checked pipeline does not run.
#[derive(Debug, thiserror::Error)]
pub enum LiveError {
    /// The engine did not start.
    #[error("the plugin engine does not start")]
    Engine(#[source] CompileError),
    /// A stage did not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The data folder is another process's.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// A pin cannot be had.
    #[error(transparent)]
    Pin(#[from] PinError),
    /// The dashboard's address is taken.
    #[error("[dashboard]")]
    Dashboard(#[source] io::Error),
    /// The uplink's token, certificates or key cannot be used.
    #[error("uplink `{uplink}`")]
    Credentials {
        /// Whose.
        uplink: String,
        /// Why.
        #[source]
        source: CredentialError,
    },
    /// The dashboard's certificate or key cannot be used.
    #[error("[dashboard]")]
    DashboardTls(#[source] TlsError),
    /// The run cannot be recorded.
    #[error("cannot record to {}", file.display())]
    Record {
        /// To which file.
        file: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A recording cannot be read.
    #[error("sensor `{sensor}`: recording {}", file.display())]
    Recording {
        /// Whose.
        sensor: String,
        /// Which file.
        file: PathBuf,
        /// Why.
        #[source]
        source: RecordingError,
    },
    /// A recording does not have the sensor.
    #[error("sensor `{sensor}`: the recording {} has no sensor `{column}` (it has: {})", file.display(), known.join(", "))]
    NotRecorded {
        /// Whose.
        sensor: String,
        /// Which file.
        file: PathBuf,
        /// What was looked for.
        column: String,
        /// What there is.
        known: Vec<String>,
    },
    /// `id = "all"`, and there is none.
    #[error("there is no thermometer in {}: `weir sensors` says why", folder.display())]
    NoThermometer {
        /// Where they were looked for.
        folder: PathBuf,
    },
    /// Nothing would be sent, so a replay would have nothing to give.
    #[error("--record needs [uplink] or [dashboard]: a recording is of what is sent there")]
    NothingToRecord,
    /// A part of the host ended by itself.
    #[error("the {0} ended, though nobody stopped it: this is a mistake in the host")]
    Ended(&'static str),
    /// A thread or a signal handler cannot be had.
    #[error("the system does not give what is needed")]
    System(#[from] io::Error),
}

/// What stands in the way of a start.
#[derive(Default)]
pub(super) struct Refusals {
    pub(super) errors: Vec<LiveError>,
}

impl Refusals {
    pub(super) fn of<T>(&mut self, result: Result<T, impl Into<LiveError>>) -> Option<T> {
        self.of_all(result.map_err(|error| vec![error]))
    }

    pub(super) fn of_all<T>(&mut self, result: Result<T, Vec<impl Into<LiveError>>>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(errors) => {
                self.errors.extend(errors.into_iter().map(Into::into));
                None
            }
        }
    }
}
