//! The state of plugins on disk: read at the start, written by a thread of its own while the pipeline runs.

mod folder;
mod saved;
mod writer;

pub use folder::SavedStates;
pub(super) use folder::{StateFolder, latest};
pub(super) use saved::sha256;
pub use saved::{SavedAlarm, SavedState, SavedStateError};
pub(super) use writer::StateWriter;
