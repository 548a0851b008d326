//! A changed pipeline file or plugin, taken over by a running pipeline: checked and prepared aside, then swapped in between
//! two batches.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::signal::unix::Signal;
use tokio::sync::{mpsc, oneshot};

use super::chain::StartError;
use super::swap::{NewStages, prepare};
use super::{Pipeline, Problems, Stage, load};
use crate::file::printable;
use crate::plugin::Engine;
use crate::reading::Series;
use crate::sensor::RomId;
use crate::stop::Stop;

/// How often `--watch` looks at the files.
const LOOK: Duration = Duration::from_millis(300);

/// Takes over changes of a pipeline's file.
pub(super) struct Reload {
    pub(super) file: PathBuf,
    pub(super) engine: Engine,
    pub(super) series: Arc<[Series]>,
    /// What `id = "all"` took in at the start.
    pub(super) found: Vec<RomId>,
    /// What runs.
    pub(super) running: Arc<Pipeline>,
    /// To the chain thread.
    pub(super) swaps: mpsc::Sender<Swap>,
}

/// Stages for the chain in place of those that it has.
pub(super) struct Swap {
    pub(super) stages: NewStages,
    /// Whether the chain took them.
    pub(super) taken: oneshot::Sender<Result<(), Vec<StartError>>>,
}

/// What makes a reload begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReloadAt {
    /// SIGHUP.
    Hangup,
    /// SIGHUP, or a file that changed.
    HangupOrChange,
}

/// Why a changed file is not taken over. What ran before runs on.
#[derive(Debug, thiserror::Error)]
enum ReloadError {
    #[error("{0}")]
    Wrong(#[from] Problems),
    #[error(
        "{} cannot change while it runs: start weir again for that. Stages can, with their plugins, settings and limits",
        .0.join(", ")
    )]
    NeedsRestart(Vec<&'static str>),
    #[error("{}", StartError::lines(.0))]
    Start(Vec<StartError>),
    #[error("the pipeline is stopping")]
    Ended,
}

impl Reload {
    /// Reloads whenever it is time to, until stopped.
    pub(super) async fn run(mut self, at: ReloadAt, mut hangups: Signal, mut stop: Stop) {
        let mut seen = look(&self.files());
        loop {
            tokio::select! {
                () = stop.wait() => return,
                _ = hangups.recv() => {}
                () = changed(&mut seen, self.files()), if at == ReloadAt::HangupOrChange => {}
            }
            let before = look(&self.files());
            let reloaded = tokio::select! {
                () = stop.wait() => return,
                reloaded = self.reload() => reloaded,
            };
            // What changed while it was read is another change.
            seen = look(&self.files());
            seen.extend(before.into_iter().filter(|(file, _)| self.files().contains(file)));
            match reloaded {
                Ok(changed) if changed.is_empty() => {
                    tracing::info!("Nothing that runs has changed.");
                }
                Ok(changed) => {
                    tracing::info!(stages = changed.join(", "), "The pipeline was changed.");
                }
                Err(error) => {
                    let file = self.file.display();
                    tracing::error!(%file, "The change is not taken over, and all runs on as before.");
                    for line in error.to_string().lines() {
                        tracing::error!("{}", printable(line));
                    }
                }
            }
        }
    }

    /// The pipeline's file and those of its plugins.
    fn files(&self) -> Vec<PathBuf> {
        let plugins = self.running.stages.iter().filter_map(|stage| stage.plugin.path.clone());
        std::iter::once(self.file.clone()).chain(plugins).collect()
    }

    /// Gives the names of the stages that are new, changed or gone.
    async fn reload(&mut self) -> Result<Vec<String>, ReloadError> {
        let (file, engine, series) = (self.file.clone(), self.engine.clone(), self.series.clone());
        let (found, running) = (self.found.clone(), self.running.clone());
        // Compiling takes its time: not on an async worker.
        let prepared = tokio::task::spawn_blocking(move || {
            let mut pipeline = load(&file)?;
            pipeline.take_in(found);
            let fixed = running.differences(&pipeline);
            if !fixed.is_empty() {
                return Err(ReloadError::NeedsRestart(fixed));
            }
            let stages = prepare(&engine, &running.stages, &pipeline.stages, &series)
                .map_err(ReloadError::Start)?;
            Ok((pipeline, stages))
        });
        let (pipeline, stages) = prepared.await.unwrap_or(Err(ReloadError::Ended))?;
        let changed = changed_stages(&self.running.stages, &pipeline.stages);
        let (taken, answer) = oneshot::channel();
        self.swaps.send(Swap { stages, taken }).await.map_err(|_| ReloadError::Ended)?;
        answer.await.map_err(|_| ReloadError::Ended)?.map_err(ReloadError::Start)?;
        self.running = Arc::new(pipeline.without_code());
        Ok(changed)
    }
}

fn changed_stages(before: &[Stage], after: &[Stage]) -> Vec<String> {
    let is_among = |stage: &Stage, others: &[Stage]| others.contains(stage);
    let new = after.iter().filter(|stage| !is_among(stage, before));
    let gone = before.iter().filter(|stage| !after.iter().any(|other| other.name == stage.name));
    let mut names: Vec<String> = new.chain(gone).map(|stage| stage.name.clone()).collect();
    let kept = |stages: &[Stage]| -> Vec<String> {
        stages.iter().map(|stage| stage.name.clone()).filter(|name| !names.contains(name)).collect()
    };
    if kept(before) != kept(after) {
        names.push("their order".to_owned());
    }
    names
}

/// A run that is recorded does not change: says so at each SIGHUP.
pub(super) async fn refuse(mut hangups: Signal, mut stop: Stop) {
    loop {
        tokio::select! {
            () = stop.wait() => return,
            _ = hangups.recv() => {
                tracing::warn!("A run that is recorded cannot change: SIGHUP does nothing.");
            }
        }
    }
}

/// How a file was when it was looked at; `None` when it could not be.
type Look = Option<(SystemTime, u64)>;

fn look(files: &[PathBuf]) -> BTreeMap<PathBuf, Look> {
    let of = |file: &Path| -> Look {
        let metadata = std::fs::metadata(file).ok()?;
        Some((metadata.modified().ok()?, metadata.len()))
    };
    files.iter().map(|file| (file.clone(), of(file))).collect()
}

/// Waits until a file is another than it was, and stays so: whoever writes it may need more than one moment.
async fn changed(seen: &mut BTreeMap<PathBuf, Look>, files: Vec<PathBuf>) {
    let mut last = look(&files);
    loop {
        tokio::time::sleep(LOOK).await;
        let now = look(&files);
        if now == last && now != *seen {
            *seen = now;
            return;
        }
        last = now;
    }
}
