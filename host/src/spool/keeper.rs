//! The queue and its disk together: carries out what the queue plans, and bears what the disk does.

mod load;
mod read;
mod told;

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use tokio::sync::{oneshot, watch};
use uuid::Uuid;

use super::full::Relief;
use super::queue::{DAMAGED, DiskState, FULL, Meta, Queue, TOO_OLD};
use super::store::{self, Change, Folder, Store, StoreError};
use super::{Added, SpoolSettings};
use crate::uplink::wire::Body;
use load::{first_load, load, set_aside};
use told::{GivenUp, tell_of_places};

/// Why a disk that works again is left alone.
const OTHERS: &str =
    "messages of an earlier process wait on it, and are delivered when weir is started again";
/// Bytes of chunks that are looked at at once when room is made.
const LOOKED_AT: u64 = 32 << 10;

/// See the module. All that takes time has it passed in, counted from the start.
pub(super) struct Keeper {
    queue: Mutex<Queue>,
    /// Told when the writer has something to do.
    wake: Condvar,
    /// Read by all; changed by the writer alone.
    store: RwLock<Option<Box<dyn Store>>>,
    folder: Option<Box<dyn Folder>>,
    given_up: Mutex<GivenUp>,
    /// What a reader found wrong with the store.
    complaint: Mutex<Option<StoreError>>,
    appended: watch::Sender<u64>,
    /// Those who wait for the end of the writer; nothing after it.
    waiting: Mutex<Option<Vec<oneshot::Sender<()>>>>,
    begun: Instant,
}

impl Keeper {
    /// Opens what is in a folder, and never fails.
    pub(super) fn open(
        settings: SpoolSettings,
        folder: Option<Box<dyn Folder>>,
        places: &[&str],
    ) -> Keeper {
        let now = Duration::ZERO;
        let mut queue = Queue::new(settings, places, DiskState::None);
        let mut store = None;
        if let Some(folder) = &folder {
            match first_load(folder.as_ref(), &mut queue) {
                Ok((opened, found, bytes)) => {
                    queue.disk.state = DiskState::Working;
                    if let Some((meta, gone)) = found {
                        queue.resume(meta.clone(), gone, bytes, now);
                        tell_of_places(&queue, &meta);
                    }
                    store = Some(opened);
                }
                Err(error) => {
                    tracing::warn!("The spool is kept in memory, until its disk works: {error}.");
                    queue.failed(&error.to_string(), now);
                    queue.failed(&error.to_string(), now);
                }
            }
            let unused = queue.unused();
            if unused > 0 {
                tracing::warn!(
                    unused,
                    "The spool was not closed in order: what it had not written in its last moments is lost, and the numbers that it did not use are declared."
                );
            }
        }
        let keeper = Keeper {
            appended: watch::Sender::new(queue.last()),
            queue: Mutex::new(queue),
            wake: Condvar::new(),
            store: RwLock::new(store),
            folder,
            given_up: Mutex::default(),
            complaint: Mutex::new(None),
            waiting: Mutex::new(Some(Vec::new())),
            begun: Instant::now(),
        };
        keeper.step(now);
        keeper.begin_anew_if_it_failed(places);
        keeper
    }

    /// Numbers that are not reserved must not go out under a stream that a later start goes on with: it would give them
    /// again, and a hub would take those messages for ones that it has. So a process that cannot write at its start has a
    /// stream of its own, and what is on the disk waits.
    fn begin_anew_if_it_failed(&self, places: &[&str]) {
        let mut queue = self.queue();
        if !matches!(queue.disk.state, DiskState::Failed { .. }) {
            return;
        }
        *queue = queue.anew(places);
        drop(queue);
        drop(self.store.write().unwrap_or_else(PoisonError::into_inner).take());
    }

    pub(super) fn now(&self) -> Duration {
        self.begun.elapsed()
    }

    pub(super) fn queue(&self) -> MutexGuard<'_, Queue> {
        // Every change leaves the queue whole, so a panic elsewhere has not broken it.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn appended(&self) -> watch::Receiver<u64> {
        self.appended.subscribe()
    }

    /// What may be sent has changed.
    pub(super) fn tell_readers(&self) {
        let last = self.queue().last();
        self.appended.send_replace(last);
    }

    pub(super) fn append(&self, bodies: Vec<Body>, now: Duration) -> Vec<Added> {
        self.append_and_look(bodies, now).0
    }

    /// What was added since the last append, and the number given last.
    pub(super) fn notices(&self, now: Duration) -> (Vec<Added>, u64) {
        self.append_and_look(Vec::new(), now)
    }

    fn append_and_look(&self, bodies: Vec<Body>, now: Duration) -> (Vec<Added>, u64) {
        let mut queue = self.queue();
        let added = queue.append(bodies, now);
        self.wake_when_due(&queue);
        let (last, dropped) = (queue.last(), queue.dropped());
        let runs_out = queue.runs_out();
        drop(queue);
        self.appended.send_replace(last);
        let mut given_up = self.given_up.lock().unwrap_or_else(PoisonError::into_inner);
        given_up.tell(dropped, &added, now);
        drop(given_up);
        if runs_out {
            tracing::error!(
                "The spool's disk fails for so long that the numbers reserved on it are used up: a restart would give later \
                 ones twice, and a hub would take what is new for what it has. Before a restart remove `spool` in the data \
                 folder, or mend the disk while this process runs."
            );
        }
        (added, last)
    }

    pub(super) fn ack(&self, place: usize, upto: u64, now: Duration) {
        let mut queue = self.queue();
        if queue.ack(place, upto, now) {
            self.wake_when_due(&queue);
        }
    }

    pub(super) fn leave_stream(&self, stream: Uuid) {
        let mut queue = self.queue();
        queue.leave_stream(stream);
        self.wake_when_due(&queue);
    }

    /// Writes the rest; `told` when that is done.
    pub(super) fn close(&self, told: Option<oneshot::Sender<()>>) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        match waiting.as_mut() {
            Some(waiting) => waiting.extend(told),
            // The writer has ended before. Whoever asked may be gone.
            None => drop(told.map(|told| told.send(()))),
        }
        drop(waiting);
        let mut queue = self.queue();
        queue.close();
        self.wake_when_due(&queue);
    }

    /// Nothing is written from now on.
    pub(super) fn end(&self) {
        // The last commit is on the disk; the file is closed.
        drop(self.store.write().unwrap_or_else(PoisonError::into_inner).take());
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).take();
        for told in waiting.into_iter().flatten() {
            // Whoever asked may be gone.
            let _late = told.send(());
        }
    }

    fn wake_when_due(&self, queue: &Queue) {
        let waits_for_less = match (queue.due(), queue.waiting) {
            (Some(due), Some(waiting)) => due < waiting,
            (Some(_), None) => true,
            (None, _) => queue.is_closed(),
        };
        if waits_for_less {
            self.wake.notify_one();
        }
    }

    /// Does what is due, until nothing is. Gives when to come again.
    pub(super) fn step(&self, now: Duration) -> Option<Duration> {
        loop {
            let complaint = self.complaint.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(error) = complaint {
                self.fail(&error, now);
            }
            let queue = self.queue();
            let due = queue.due();
            if due.is_none_or(|due| due > now) {
                return due;
            }
            let works = queue.disk.state == DiskState::Working;
            drop(queue);
            if works {
                self.commit(now)
            } else {
                self.retry(now)
            }
            self.tell_readers();
        }
    }

    /// The writer's thread, until the spool is closed.
    pub(super) fn run(&self) {
        loop {
            self.step(self.now());
            let mut queue = self.queue();
            if queue.is_closed() {
                break;
            }
            let complains = self.complaint.lock().unwrap_or_else(PoisonError::into_inner).is_some();
            let due = queue.due();
            let wait = due.map(|due| due.saturating_sub(self.now()));
            if complains || wait == Some(Duration::ZERO) {
                continue;
            }
            queue.waiting = due;
            let mut queue = match wait {
                Some(wait) => {
                    self.wake.wait_timeout(queue, wait).unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.wake.wait(queue).unwrap_or_else(PoisonError::into_inner),
            };
            // Nobody need wake one that is awake.
            queue.waiting = Some(Duration::ZERO);
        }
        self.end();
    }

    fn commit(&self, now: Duration) {
        let slot = self.store.read().unwrap_or_else(PoisonError::into_inner);
        let Some(store) = slot.as_deref() else {
            drop(slot);
            return self.fail(&StoreError::Disk(io::Error::other("it is not open")), now);
        };
        let committed = self.relieve(store, now).and_then(|change| {
            let plan = self.queue().plan(change, now);
            store.commit(&plan.commit).map(|committed| (plan, committed))
        });
        drop(slot);
        match committed {
            Ok((plan, committed)) => {
                if self.queue().committed(&plan, committed, now) {
                    tracing::info!("The spool's disk works again.");
                }
            }
            Err(error) => self.fail(&error, now),
        }
    }

    /// Makes room for the next commit.
    fn relieve(&self, store: &dyn Store, now: Duration) -> Result<Change, StoreError> {
        let room = self.folder.as_ref().and_then(|folder| folder.room().ok());
        let Some(surplus) = self.queue().surplus(room, now) else {
            return Err(StoreError::Disk(io::ErrorKind::StorageFull.into()));
        };
        let mut relief = Relief::of(surplus);
        if !relief.is_needed() {
            return Ok(relief.change);
        }
        let mut has_enough = surplus.bytes == 0;
        if let Some(keep_one_in) = surplus.thin.filter(|_| !has_enough) {
            let found = store.chunks(surplus.thinned + 1, surplus.bytes + LOOKED_AT)?;
            let (upto, enough) = relief.thin(&found, keep_one_in);
            has_enough = enough || upto > surplus.thinned;
            self.queue().was_thinned(upto);
            if has_enough {
                relief.wants_no_more();
            }
        }
        if !has_enough || surplus.older_than > 0 {
            let mut next = 1;
            loop {
                let mut found = store.chunks(next, LOOKED_AT)?;
                found.retain(|found| found.key >= next);
                let Some(last) = found.last() else { break };
                next = last.end.saturating_add(1);
                // Those that were thinned out are gone already.
                found.retain(|found| !relief.change.remove.contains(&found.key));
                if relief.take_oldest(&found) {
                    break;
                }
            }
        }
        let mut queue = self.queue();
        queue.give_up(relief.gone, FULL, now);
        queue.give_up(relief.old, TOO_OLD, now);
        for (from, to) in relief.damaged {
            queue.lose(from, to, DAMAGED, now);
        }
        Ok(relief.change)
    }

    /// The store is of no use any more.
    fn fail(&self, error: &StoreError, now: Duration) {
        drop(self.store.write().unwrap_or_else(PoisonError::into_inner).take());
        let Some(folder) = &self.folder else { return };
        if let StoreError::Damaged(why) = error {
            self.set_aside(folder.as_ref(), why);
        }
        let mut queue = self.queue();
        let is_news = queue.failed(&error.to_string(), now);
        let must_read = queue.needs_disk() && queue.is_waiting(now);
        drop(queue);
        if is_news {
            tracing::warn!("The spool goes on in memory: its disk failed: {error}.");
        }
        if must_read && !self.open_to_read(folder.as_ref(), now) {
            self.queue().unreadable(now);
        }
    }

    fn set_aside(&self, folder: &dyn Folder, why: &str) -> bool {
        let is_aside = set_aside(folder, why);
        if is_aside {
            self.queue().was_set_aside();
        }
        is_aside
    }

    fn retry(&self, now: Duration) {
        let Some(folder) = &self.folder else { return };
        drop(self.store.write().unwrap_or_else(PoisonError::into_inner).take());
        let mut loaded = load(folder.as_ref());
        if let Err(StoreError::Damaged(why)) = &loaded
            && self.set_aside(folder.as_ref(), why)
        {
            loaded = load(folder.as_ref());
        }
        match loaded {
            Ok((store, found, bytes)) => {
                let meta = found.as_ref().map(|(meta, _)| meta);
                let mut queue = self.queue();
                if queue.recovered(meta, bytes, now) {
                    drop(queue);
                    *self.store.write().unwrap_or_else(PoisonError::into_inner) = Some(store);
                } else {
                    queue.leave_disk(OTHERS);
                    drop(queue);
                    tracing::error!(
                        "The spool's disk works again, and this process goes on in memory: {OTHERS}."
                    );
                }
            }
            Err(error) => self.fail(&error, now),
        }
    }

    /// What is on a disk that cannot be written can still be delivered.
    fn open_to_read(&self, folder: &dyn Folder, now: Duration) -> bool {
        let opened = folder.open_to_read().map_err(StoreError::Disk).and_then(store::open);
        let Ok((store, known)) = opened else { return false };
        let Ok(Some((meta, _))) = Meta::of(&known) else { return false };
        if !self.queue().readable(&meta, now) {
            return false;
        }
        *self.store.write().unwrap_or_else(PoisonError::into_inner) = Some(store);
        true
    }
}

impl std::fmt::Debug for Keeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keeper").field("queue", &self.queue).finish_non_exhaustive()
    }
}

/// Shared by the spool, its places and its writer.
pub(super) type Shared = Arc<Keeper>;
