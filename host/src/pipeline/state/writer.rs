//! Writes states to the disk on a thread of its own: the chain never waits for a disk.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use super::folder::{SavedStates, StateFolder};
use super::saved::SavedState;
use crate::file;

/// After this a state that could not be written is tried again, if no newer one came.
const RETRY: Duration = Duration::from_secs(60);
/// Stack of the thread: it prints JSON and computes sums.
const STACK: usize = 256 << 10;

/// Takes states to write. When the last clone is gone, what waits is written and the thread ends.
#[derive(Clone)]
pub(in crate::pipeline) struct StateWriter {
    desk: Arc<Desk>,
}

/// Where the chain leaves states for the thread.
struct Desk {
    tray: Arc<Tray>,
}

#[derive(Default)]
struct Tray {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

/// At most one state a stage: a newer one takes the place of one that is not written yet.
#[derive(Default)]
struct Waiting {
    states: BTreeMap<String, SavedState>,
    /// Something came since the thread looked last.
    has_news: bool,
    is_closed: bool,
}

impl StateWriter {
    /// Starts the thread. `known` is what the folder holds already. The receiver hears when all is written.
    pub(in crate::pipeline) fn spawn(
        folder: StateFolder,
        known: &SavedStates,
    ) -> io::Result<(StateWriter, oneshot::Receiver<()>)> {
        let (ended, end) = oneshot::channel();
        let tray = Arc::new(Tray::default());
        let desk = Arc::new(Desk { tray: tray.clone() });
        let written = known.iter().map(|(stage, state)| (stage.clone(), state.sum())).collect();
        let mut disk = Disk { folder, written, failures: BTreeMap::new(), failed: 0 };
        std::thread::Builder::new().name("state".to_owned()).stack_size(STACK).spawn(
            move || {
                loop {
                    let (states, is_closed) = tray.take();
                    let failed: Vec<SavedState> =
                        states.into_values().filter(|state| !disk.write(state)).collect();
                    if is_closed {
                        break;
                    }
                    tray.put_back(failed);
                }
                disk.say_what_is_not_written();
                // Nobody waits any more when the stop took too long.
                let _late = ended.send(());
            },
        )?;
        Ok((StateWriter { desk }, end))
    }

    /// Leaves a state for the thread; never waits for the disk.
    pub(in crate::pipeline) fn put(&self, state: SavedState) {
        let mut waiting = self.desk.tray.lock();
        waiting.states.insert(state.stage.clone(), state);
        waiting.has_news = true;
        self.desk.tray.changed.notify_one();
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        self.tray.lock().is_closed = true;
        self.tray.changed.notify_one();
    }
}

impl Tray {
    /// Nothing that holds the lock can panic half-way: what a panic left is whole.
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for something to do, and takes all of it.
    fn take(&self) -> (BTreeMap<String, SavedState>, bool) {
        let waiting = self.lock();
        let is_idle = |waiting: &mut Waiting| !waiting.has_news && !waiting.is_closed;
        // What is left from before could not be written: it is tried again later.
        let mut waiting = if waiting.states.is_empty() {
            self.changed.wait_while(waiting, is_idle).unwrap_or_else(PoisonError::into_inner)
        } else {
            let waited = self.changed.wait_timeout_while(waiting, RETRY, is_idle);
            waited.unwrap_or_else(PoisonError::into_inner).0
        };
        waiting.has_news = false;
        (std::mem::take(&mut waiting.states), waiting.is_closed)
    }

    fn put_back(&self, failed: Vec<SavedState>) {
        let mut waiting = self.lock();
        for state in failed {
            waiting.states.entry(state.stage.clone()).or_insert(state);
        }
    }
}

/// What the thread knows of the disk.
struct Disk {
    folder: StateFolder,
    /// The sum of what each stage's file holds.
    written: BTreeMap<String, String>,
    /// Why a stage's state could not be written last.
    failures: BTreeMap<String, String>,
    /// How often that was so.
    failed: u64,
}

impl Disk {
    /// Whether it is on the disk now.
    fn write(&mut self, state: &SavedState) -> bool {
        let sum = state.sum();
        if self.written.get(&state.stage) == Some(&sum) {
            return true;
        }
        // Until it is written the file may hold either.
        self.written.remove(&state.stage);
        match file::write_atomically(&self.folder.file_of(&state.stage), &[&state.to_bytes()]) {
            Ok(()) => {
                self.written.insert(state.stage.clone(), sum);
                if self.failures.remove(&state.stage).is_some() && self.failures.is_empty() {
                    tracing::info!(failed = self.failed, "States are written again.");
                }
                true
            }
            Err(error) => {
                self.fail(&state.stage, error.to_string());
                false
            }
        }
    }

    /// A full disk is said once, not by every stage and every minute.
    fn fail(&mut self, stage: &str, error: String) {
        self.failed += 1;
        if !self.failures.values().any(|known| *known == error) {
            let folder = self.folder.path.display();
            tracing::warn!(
                stage,
                %folder,
                failed = self.failed,
                "A state cannot be written and is kept in memory until it can: {error}."
            );
        }
        self.failures.insert(stage.to_owned(), error);
    }

    fn say_what_is_not_written(&self) {
        if self.failures.is_empty() {
            return;
        }
        let stages: Vec<&str> = self.failures.keys().map(String::as_str).collect();
        let (stages, failed) = (stages.join(", "), self.failed);
        tracing::warn!(stages, failed, "The last states of stages are not on the disk.");
    }
}

#[cfg(test)]
mod tests {
    use super::super::saved::tests::example;
    use super::*;
    use std::os::unix::fs::MetadataExt as _;

    fn named(stage: &str, state: &str) -> SavedState {
        SavedState { stage: stage.to_owned(), state: state.as_bytes().to_vec(), ..example() }
    }

    fn read(folder: &StateFolder, stage: &str) -> SavedState {
        SavedState::from_bytes(&std::fs::read(folder.file_of(stage)).unwrap()).unwrap()
    }

    #[test]
    fn the_latest_state_of_each_stage_is_on_the_disk_at_the_end() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = StateFolder { path: temporary.path().to_path_buf() };
        let (writer, end) = StateWriter::spawn(folder.clone(), &SavedStates::new()).unwrap();
        let other = writer.clone();
        for round in 0..50 {
            writer.put(named("a", &round.to_string()));
            other.put(named("b", &round.to_string()));
        }
        drop(writer);
        drop(other);
        end.blocking_recv().unwrap();
        assert_eq!((read(&folder, "a"), read(&folder, "b")), (named("a", "49"), named("b", "49")));
        let mode = std::fs::metadata(folder.file_of("a")).unwrap().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn what_is_there_already_is_not_written_again() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = StateFolder { path: temporary.path().to_path_buf() };
        let known = SavedStates::from([("a".to_owned(), named("a", "1"))]);
        let (writer, end) = StateWriter::spawn(folder.clone(), &known).unwrap();
        writer.put(named("a", "1"));
        writer.put(named("b", "1"));
        drop(writer);
        end.blocking_recv().unwrap();
        assert!(!folder.file_of("a").exists());
        read(&folder, "b");
    }

    #[test]
    fn a_full_disk_is_counted_and_the_state_is_written_when_there_is_room() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = StateFolder { path: temporary.path().to_path_buf() };
        let mut disk = Disk {
            folder: folder.clone(),
            written: BTreeMap::new(),
            failures: BTreeMap::new(),
            failed: 0,
        };
        assert!(disk.write(&named("a", "1")));
        // The kernel's own full disk, under the name that is written to: each write to it fails as on one.
        let new = temporary.path().join(".new-a.state");
        let made = std::process::Command::new("mknod").arg(&new).args(["c", "1", "7"]).status();
        if !made.is_ok_and(|made| made.success()) {
            eprintln!("SKIPPED: only root may make the device of a full disk");
            return;
        }
        assert!(!disk.write(&named("a", "2")) && !disk.write(&named("a", "2")));
        assert_eq!(disk.failed, 2);
        assert!(disk.failures["a"].contains("No space left"), "{:?}", disk.failures);
        assert_eq!(read(&folder, "a"), named("a", "1"));
        std::fs::remove_file(new).unwrap();
        assert!(disk.write(&named("a", "2")));
        assert_eq!((read(&folder, "a"), disk.failures.len()), (named("a", "2"), 0));
    }
}
