//! Opens the store, and sets aside what makes no sense.

use crate::ranges::Ranges;
use crate::spool::queue::{Meta, Queue};
use crate::spool::store::{self, Folder, Store, StoreError};

/// How often a file is opened at the start before the disk is taken for broken: some errors pass.
const OPENED: u32 = 3;
/// A store, what it knows, and the bytes in it.
pub(super) type Loaded = (Box<dyn Store>, Option<(Meta, Ranges)>, u64);

pub(super) fn load(folder: &dyn Folder) -> Result<Loaded, StoreError> {
    let (store, known) = store::open(folder.open().map_err(StoreError::Disk)?)?;
    let found = Meta::of(&known)?;
    Ok((store, found, known.bytes))
}

/// The first opening of a process, which finds what the one before left.
pub(super) fn first_load(folder: &dyn Folder, queue: &mut Queue) -> Result<Loaded, StoreError> {
    let mut loaded = load(folder);
    for _ in 1..OPENED {
        match &loaded {
            Ok(_) => break,
            Err(StoreError::Damaged(why)) => {
                if set_aside(folder, why) {
                    queue.was_set_aside();
                }
            }
            Err(StoreError::Disk(_)) => {}
        }
        loaded = load(folder);
    }
    loaded
}

/// A damaged file is out of the way, and whoever wants can look at it. Gives whether it is. It waits for the disk, so nobody
/// calls it who holds the queue.
pub(super) fn set_aside(folder: &dyn Folder, why: &str) -> bool {
    match folder.set_aside() {
        Ok(name) => {
            tracing::error!(
                file = name,
                "The spool's file is damaged: it is set aside, and a new one begun: {why}."
            );
            true
        }
        Err(error) => {
            tracing::error!(
                "The spool's file is damaged ({why}) and cannot be set aside: {error}."
            );
            false
        }
    }
}
