//! The folder of saved states: a file a stage.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::saved::{SavedState, SavedStateError, sha256};
use crate::causes::with_causes;
use crate::data_dir::DataDir;
use crate::file;
use crate::pipeline::Stage;
use crate::reading::Timestamp;

/// What each stage starts from, by its name.
pub type SavedStates = BTreeMap<String, SavedState>;

/// Where in the data folder.
const FOLDER: &str = "state";
const EXTENSION: &str = ".state";
/// Behind the name of a file that could not be used.
const DAMAGED: &str = ".damaged";
/// Longest file that is read: the largest that `state_kib` allows, and room for the alarms.
const LONGEST_FILE: u64 = 80 << 20;
/// How much of a name that is no file name is kept for people.
const NAME_KEPT: usize = 32;

/// The folder of saved states.
#[derive(Clone, Debug)]
pub(in crate::pipeline) struct StateFolder {
    pub(super) path: PathBuf,
}

/// What became of a stage's file.
enum Found {
    State(SavedState),
    /// There is none.
    Nothing,
    Unreadable(io::Error),
    Damaged(SavedStateError),
}

impl StateFolder {
    pub(in crate::pipeline) fn open(data_dir: &DataDir) -> io::Result<StateFolder> {
        data_dir.folder(FOLDER).map(|path| StateFolder { path })
    }

    /// The states of these stages. One that cannot be used is told of, set aside, and left out.
    pub(in crate::pipeline) fn read(&self, stages: &[Stage]) -> SavedStates {
        let mut states = SavedStates::new();
        for stage in stages {
            let path = self.file_of(&stage.name);
            let (stage, file) = (&stage.name, path.display());
            match read(&path) {
                Found::State(state) if state.stage == *stage => {
                    states.insert(stage.clone(), state);
                }
                Found::State(state) => {
                    let of = file::excerpt(&state.stage);
                    tracing::warn!(stage, of, %file, "The file holds another stage's state: the stage starts anew.");
                }
                Found::Nothing => tracing::debug!(stage, "The stage has no saved state."),
                Found::Unreadable(error) => {
                    tracing::warn!(stage, %file, "The saved state cannot be read, and the stage starts anew: {error}.");
                }
                Found::Damaged(error) => set_aside(stage, &path, &error),
            }
        }
        self.say_what_is_left(stages);
        states
    }

    /// Where a stage's state is.
    pub(super) fn file_of(&self, stage: &str) -> PathBuf {
        self.path.join(file_name(stage))
    }

    fn say_what_is_left(&self, stages: &[Stage]) {
        let known: Vec<String> = stages.iter().map(|stage| file_name(&stage.name)).collect();
        let Ok(entries) = fs::read_dir(&self.path) else { return };
        for name in entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()) {
            if name.ends_with(EXTENSION) && !name.starts_with('.') && !known.contains(&name) {
                let file = file::printable(&name);
                tracing::debug!(file, "A saved state of no stage in this pipeline is left alone.");
            }
        }
    }
}

/// The latest time that any of the states bears, and how far the wall clock was ahead of it then.
pub(in crate::pipeline) fn latest(states: &SavedStates) -> Option<(Timestamp, i64)> {
    states.values().map(|state| (state.saved_at, state.ahead_nanos)).max()
}

fn read(path: &Path) -> Found {
    match file::read(path, LONGEST_FILE) {
        Ok(bytes) => match SavedState::from_bytes(&bytes) {
            Ok(state) => Found::State(state),
            Err(error) => Found::Damaged(error),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Found::Nothing,
        // Nothing so long was written here.
        Err(error) if error.kind() == io::ErrorKind::FileTooLarge => {
            Found::Damaged(SavedStateError::Sum)
        }
        Err(error) => Found::Unreadable(error),
    }
}

/// Out of the way of the next write, and there for whoever wants to know. One a stage, so that they never fill a disk.
fn set_aside(stage: &str, path: &Path, error: &SavedStateError) {
    let cause = with_causes(error);
    let mut aside = path.as_os_str().to_owned();
    aside.push(DAMAGED);
    let aside = PathBuf::from(aside);
    match fs::rename(path, &aside) {
        Ok(()) => tracing::warn!(
            stage,
            set_aside = %aside.display(),
            "The saved state cannot be used, and the stage starts anew: {cause}."
        ),
        Err(why) => tracing::warn!(
            stage,
            file = %path.display(),
            "The saved state cannot be used, and the stage starts anew: {cause}. It cannot be set aside: {why}."
        ),
    }
}

/// A stage's name as that of a file. Most are used as they are. Those that a file system may take for one another, for
/// a hidden file or for too long get a sum of the name behind a `~`, which no stage has in its name.
fn file_name(stage: &str) -> String {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c);
    if stage.chars().all(plain) && !stage.starts_with('.') {
        return format!("{stage}{EXTENSION}");
    }
    let kept: String = stage
        .chars()
        .take(NAME_KEPT)
        .map(|c| c.to_ascii_lowercase())
        .map(|c| if plain(c) && c != '.' { c } else { '_' })
        .collect();
    let sum: String = sha256(stage.as_bytes()).chars().take(16).collect();
    format!("{kept}~{sum}{EXTENSION}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn no_name_leaves_the_folder_or_meets_another() {
        let longest: String = "𝔘".repeat(64);
        let names = [
            "a",
            "A",
            "a.state",
            "a.state.damaged",
            ".",
            "..",
            "...",
            ".new-a",
            ".new-a.state",
            "ä",
            "a\u{308}",
            "Ä",
            "_",
            "é",
            &longest,
            "con",
            "a~b",
        ];
        let mut seen = BTreeSet::new();
        for name in names {
            let file = file_name(name);
            assert!(file.len() < 200 && file.is_ascii() && !file.starts_with('.'), "{file}");
            assert!(!file.contains('/') && file.ends_with(".state"), "{file}");
            assert!(seen.insert(file.to_lowercase()), "{name}: {file}");
            // What is written beside it meets no other's file.
            assert!(seen.insert(format!(".new-{file}")) && seen.insert(format!("{file}.damaged")));
        }
        assert_eq!(file_name("too-warm"), "too-warm.state");
    }
}
