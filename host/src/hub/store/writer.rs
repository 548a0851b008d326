//! The thread of the store: writes one batch after the other, and deals with a disk that is full, fails, or gave back what
//! nobody wrote.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::fs::FallocateFlags;

use super::{Batch, COMMIT_INTERVALS, Store, Trouble, contained, tables};
use crate::hub::state::Hub;
use crate::reading::Timestamp;

/// The file in the data folder's `hub`.
const FILE: &str = "messages.redb";
/// What becomes of a file that is damaged: its name with this, and when.
const ASIDE: &str = ".bad-";
/// How long a disk that failed is left alone: at first, and at most, for to open the file may cost it much.
const RETRY: Duration = Duration::from_secs(1);
const LONGEST_RETRY: Duration = Duration::from_secs(60);
/// When the disk has less to give, no more is kept than now: a commit takes pages before it frees some, 8 MiB of messages
/// several times that.
const RESERVE_BYTES: u64 = 32 << 20;
/// A file that takes so much room while there is some, and gives it back when others have taken the rest: the oldest messages can
/// only go by a commit, which takes pages itself.
const SPARE: &str = "spare";
const SPARE_BYTES: u64 = 4 << 20;
/// So much is kept though the disk is full: somebody else fills it then, and what little the oldest would free helps nobody.
const LEAST_BYTES: u64 = 4 << 20;
/// Most files that one process sets aside: beyond that the disk, or this program, is what is broken.
const SET_ASIDE: usize = 3;
/// Most files that were set aside and are kept: each may be as large as the store.
const KEPT_ASIDE: usize = 2;

/// Opens the store, gives the hub what is in it, and writes what the hub takes, until the hub is closed.
pub(in crate::hub) fn write(store: &Store, hub: &Hub) {
    let mut writer = Writer::new(store, hub);
    let mut waiting = None;
    loop {
        if let Err(trouble) = writer.open() {
            if writer.recover(trouble, waiting.as_mut()) == Next::End {
                break;
            }
            continue;
        }
        if waiting.is_none() {
            writer.rest();
        }
        let Some(batch) = waiting.take().or_else(|| hub.next_batch()) else { break };
        match writer.commit(&batch) {
            Ok(()) => {
                hub.set_trouble(None);
                hub.stored(batch);
            }
            Err(trouble) => {
                // It is whole in the file or not at all, and the same again changes nothing that is there.
                if writer.recover(trouble, Some(waiting.insert(batch))) == Next::End {
                    break;
                }
            }
        }
    }
    store.set_database(None);
}

struct Writer<'w> {
    store: &'w Store,
    hub: &'w Hub,
    is_restored: bool,
    set_aside: usize,
    /// When the last commit began.
    last_commit: Option<Instant>,
    /// How long the disk is left alone when it fails again.
    retry: Duration,
    /// About how many bytes are kept, once that is known.
    kept_bytes: Option<u64>,
    /// So many are kept at most while the disk is short of room.
    ceiling: Option<u64>,
}

/// What a writer does after a trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::hub) enum Next {
    Again,
    End,
}

impl<'w> Writer<'w> {
    fn new(store: &'w Store, hub: &'w Hub) -> Writer<'w> {
        Writer {
            store,
            hub,
            is_restored: false,
            set_aside: 0,
            last_commit: None,
            retry: RETRY,
            kept_bytes: None,
            ceiling: None,
        }
    }

    fn path(&self) -> PathBuf {
        self.store.folder.join(FILE)
    }

    fn open(&mut self) -> Result<(), Trouble> {
        if self.store.database().is_some() {
            return Ok(());
        }
        let database = contained(|| tables::open(&self.path()))?;
        if !self.is_restored {
            let restored = contained(|| tables::load(&database))??;
            self.hub.restore(restored);
            self.is_restored = true;
        }
        self.store.set_database(Some(database));
        Ok(())
    }

    /// Waits until the next commit may begin; not at all when the hub is closed.
    fn rest(&self) {
        let Some(last) = self.last_commit else { return };
        let left = |interval| (last + interval).saturating_duration_since(Instant::now());
        if self.hub.pause(left(*COMMIT_INTERVALS.start())) == Next::Again {
            self.hub.rest(left(self.store.limits.commit_interval));
        }
    }

    fn commit(&mut self, batch: &Batch) -> Result<(), Trouble> {
        let closed = || Trouble::Disk("it is not open".to_owned());
        let database = self.store.database().ok_or_else(closed)?;
        self.last_commit = Some(Instant::now());
        self.watch_disk();
        let mut limits = self.store.limits;
        limits.most_bytes = self.ceiling.unwrap_or(u64::MAX).min(limits.most_bytes);
        let kept = contained(|| tables::commit(&database, batch, limits))?;
        self.kept_bytes = Some(kept);
        self.retry = RETRY;
        Ok(())
    }

    /// Keeps no more than now while the disk has little left, and as much as is asked for when it has more again.
    fn watch_disk(&mut self) {
        let Ok(disk) = rustix::fs::statvfs(&self.store.folder) else { return };
        if disk.f_bavail.saturating_mul(disk.f_frsize) >= RESERVE_BYTES {
            self.ceiling = None;
            self.keep_spare();
        } else if self.ceiling.is_none()
            && let Some(kept) = self.kept_bytes
        {
            self.lower(kept);
        }
    }

    /// Without it the store works all the same.
    fn keep_spare(&self) {
        let path = self.store.folder.join(SPARE);
        if path.exists() {
            return;
        }
        let kept = fs::File::create_new(&path).and_then(|file| {
            Ok(rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, SPARE_BYTES)?)
        });
        if let Err(error) = kept {
            tracing::debug!("No room is kept for a full disk: {error}.");
            self.give_spare();
        }
    }

    fn give_spare(&self) {
        // It may be gone already.
        drop(fs::remove_file(self.store.folder.join(SPARE)));
    }

    fn lower(&mut self, bytes: u64) {
        let bytes = bytes.max(LEAST_BYTES);
        let is_new = self.ceiling.is_none() && bytes < self.store.limits.most_bytes;
        self.ceiling = Some(self.ceiling.map_or(bytes, |ceiling| ceiling.min(bytes)));
        if is_new {
            tracing::warn!(
                bytes,
                "The disk is nearly full: the store keeps no more than now, and the oldest messages make room."
            );
        }
    }

    /// After an error the library wants its file closed and opened anew; then the batch is written that waits.
    fn recover(&mut self, trouble: Trouble, waiting: Option<&mut Batch>) -> Next {
        self.store.set_database(None);
        let why = match trouble {
            Trouble::Disk(why) => why,
            Trouble::Full(why) => match self.make_room() {
                Ok(Made::Room) => return Next::Again,
                Ok(Made::Nothing) => why,
                Err(Trouble::Full(also) | Trouble::Disk(also) | Trouble::Damaged(also)) => {
                    tracing::debug!("The oldest messages cannot make room: {also}.");
                    why
                }
            },
            Trouble::Damaged(why) if self.set_aside < SET_ASIDE => match self.put_aside(&why) {
                Ok(()) => {
                    // The new file knows nobody.
                    if let Some(batch) = waiting {
                        self.hub.describe(batch);
                    }
                    self.hub.touch_all();
                    return Next::Again;
                }
                Err(error) => format!("{why}; it cannot be set aside: {error}"),
            },
            Trouble::Damaged(why) => why,
        };
        self.hub.set_trouble(Some(why));
        let pause = self.retry;
        self.retry = (2 * pause).min(LONGEST_RETRY);
        self.hub.pause(pause)
    }

    /// On a full disk the oldest messages make room in the file.
    fn make_room(&mut self) -> Result<Made, Trouble> {
        self.give_spare();
        let database = contained(|| tables::open(&self.path()))?;
        let (before, after) = contained(|| tables::make_room(&database, LEAST_BYTES))?;
        self.kept_bytes = Some(after);
        if after == before {
            return Ok(Made::Nothing);
        }
        self.lower(after);
        Ok(Made::Room)
    }

    fn put_aside(&mut self, why: &str) -> io::Result<()> {
        let seconds = Timestamp::now().nanos / 1_000_000_000;
        let aside = self.store.folder.join(format!("{FILE}{ASIDE}{seconds}-{}", self.set_aside));
        fs::rename(self.path(), &aside)?;
        self.set_aside += 1;
        self.kept_bytes = None;
        tracing::error!(
            file = %aside.display(),
            "The store is damaged and set aside, the hub begins a new one: {why}."
        );
        self.forget_aside();
        Ok(())
    }

    /// Removes the oldest of the files that were set aside. Their names are in order of time.
    fn forget_aside(&self) {
        let Ok(found) = fs::read_dir(&self.store.folder) else { return };
        let begin = format!("{FILE}{ASIDE}");
        let is_aside = |name: &std::ffi::OsString| name.to_string_lossy().starts_with(&begin);
        let mut aside: Vec<_> =
            found.flatten().map(|entry| entry.file_name()).filter(is_aside).collect();
        aside.sort();
        for name in aside.iter().rev().skip(KEPT_ASIDE) {
            let file = self.store.folder.join(name);
            match fs::remove_file(&file) {
                Ok(()) => {
                    tracing::warn!(file = %file.display(), "An older store that was set aside is removed.")
                }
                Err(error) => {
                    tracing::warn!(file = %file.display(), "Cannot remove an older store: {error}.")
                }
            }
        }
    }
}

/// Whether the oldest messages made room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Made {
    Room,
    Nothing,
}
