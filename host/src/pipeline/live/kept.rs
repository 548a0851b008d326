//! What outlives the process: its folder, and what was found in there.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::oneshot;

use super::LiveError;
use crate::causes::with_causes;
use crate::data_dir::{DataDir, DataDirError};
use crate::pipeline::chain::Beginning;
use crate::pipeline::state::{SavedStates, StateFolder, StateWriter, latest};
use crate::pipeline::{Chain, Stage};
use crate::plugin::CodeCache;
use crate::reading::Timestamp;

/// The data folder and what the stages go on from. All empty without one.
#[derive(Default)]
pub(super) struct Kept {
    pub(super) data_dir: Option<DataDir>,
    /// Where it is, or will be when its disk works.
    path: Option<PathBuf>,
    folder: Option<StateFolder>,
    states: SavedStates,
}

impl Kept {
    /// Opens the folder and reads what is in it. Only a folder that another process uses is a reason not to start: a
    /// gateway with a broken disk still measures.
    pub(super) fn open(path: Option<&Path>, stages: &[Stage]) -> Result<Kept, LiveError> {
        let Some(path) = path else { return Ok(Kept::default()) };
        let data_dir = match DataDir::open(path) {
            Ok(data_dir) => data_dir,
            Err(error @ DataDirError::InUse { .. }) => return Err(error.into()),
            Err(error @ DataDirError::Open { .. }) => {
                tracing::warn!(
                    "State is kept in memory, until the process ends: {}.",
                    with_causes(&error)
                );
                return Ok(Kept { path: Some(path.to_path_buf()), ..Kept::default() });
            }
        };
        let folder = StateFolder::open(&data_dir)
            .map_err(|error| {
                let data_dir = path.display();
                tracing::warn!(%data_dir, "State is kept in memory, until the process ends: no folder for it: {error}.");
            })
            .ok();
        let states = folder.as_ref().map(|folder| folder.read(stages)).unwrap_or_default();
        Ok(Kept { data_dir: Some(data_dir), path: Some(path.to_path_buf()), folder, states })
    }

    /// Where messages wait on the disk. The spool makes the folder itself, as often as it takes.
    pub(super) fn spool_folder(&self) -> Option<PathBuf> {
        self.path.as_ref().map(|path| path.join("spool"))
    }

    /// Where compiled plugins are kept; without it each start compiles them.
    pub(super) fn code_cache(&self) -> Option<Arc<CodeCache>> {
        let data_dir = self.data_dir.as_ref()?;
        match CodeCache::of(data_dir) {
            Ok(cache) => Some(Arc::new(cache)),
            Err(error) => {
                tracing::warn!("The compiled plugins in the data folder are not used: {error}.");
                None
            }
        }
    }

    /// What each stage goes on from.
    pub(super) fn beginnings(&self, stages: &[Stage]) -> Vec<Beginning> {
        let beginning = |stage: &Stage| Beginning {
            saved: self.states.get(&stage.name).cloned(),
            ..Beginning::default()
        };
        stages.iter().map(beginning).collect()
    }

    /// The same as a recording holds it.
    pub(super) fn states_of(&self, stages: &[Stage]) -> Vec<Option<Vec<u8>>> {
        let bytes = |stage: &Stage| Some(self.states.get(&stage.name)?.to_bytes());
        stages.iter().map(bytes).collect()
    }

    /// The latest time that anything kept bears, and how far the wall clock was ahead of it.
    pub(super) fn latest(&self) -> Option<(Timestamp, i64)> {
        latest(&self.states)
    }

    /// From now on what the chain's stages save is written. Gives who hears of the end of that, and the folder's lock.
    pub(super) fn write_states_of(
        self,
        chain: &mut Chain,
    ) -> io::Result<(Option<oneshot::Receiver<()>>, Option<DataDir>)> {
        let Some(folder) = self.folder else { return Ok((None, self.data_dir)) };
        let (writer, end) = StateWriter::spawn(folder, &self.states)?;
        chain.write_states(writer);
        Ok((Some(end), self.data_dir))
    }
}
