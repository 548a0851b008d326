//! A disk that does what disks do when the power goes, and fails when it is told to.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};

use super::super::store::{Files, Folder, Medium, Room};

/// What a disk writes at once, or not at all.
const SECTOR: usize = 512;

/// The files of one spool, in the hands of a test.
#[derive(Clone, Debug, Default)]
pub(super) struct Disk(Arc<Mutex<State>>);

/// One of them: the store's own, and the journal.
#[derive(Clone, Debug)]
struct DiskFile(Disk, usize);

/// What a file holds.
#[derive(Clone, Debug, Default)]
struct Bytes {
    /// For sure.
    synced: Vec<u8>,
    /// As the process sees it.
    seen: Vec<u8>,
}

#[derive(Debug, Default)]
struct State {
    files: [Bytes; 2],
    /// What was written and not synced, in order.
    pending: Vec<(usize, Change)>,
    /// Calls so far.
    calls: u64,
    /// From this call on the power is off.
    cut: Option<u64>,
    fault: Option<Fault>,
    /// Of so many syncs one does nothing and says that it did.
    lies: Option<u32>,
    bad: u32,
    random: Option<fastrand::Rng>,
}

#[derive(Clone, Debug)]
enum Change {
    Len(usize),
    Write(usize, Vec<u8>),
}

/// Calls that fail.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fault {
    pub(super) kind: io::ErrorKind,
    /// The first that does.
    pub(super) from: u64,
    /// How many do.
    pub(super) count: u64,
}

#[derive(Clone, Copy, PartialEq)]
enum Call {
    Read,
    Write,
}

impl Disk {
    pub(super) fn new(seed: u64) -> Disk {
        let disk = Disk::default();
        disk.state().random = Some(fastrand::Rng::with_seed(seed));
        disk
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn calls(&self) -> u64 {
        self.state().calls
    }

    pub(super) fn len(&self) -> u64 {
        self.state().files[0].seen.len() as u64
    }

    /// How many files were set aside.
    pub(super) fn bad(&self) -> u32 {
        self.state().bad
    }

    pub(super) fn fail(&self, fault: Option<Fault>) {
        self.state().fault = fault;
    }

    pub(super) fn lie(&self, one_in: u32) {
        self.state().lies = Some(one_in);
    }

    /// No call is answered as long as what this gives is there.
    pub(super) fn stall(&self) -> mpsc::Sender<()> {
        let (end, ended) = mpsc::channel();
        let (begin, begun) = mpsc::channel();
        let disk = self.clone();
        std::thread::spawn(move || {
            let _held = disk.state();
            // The test waits for it, and then lets it go, by its end at the latest.
            begin.send(()).unwrap();
            let _end = ended.recv();
        });
        begun.recv().unwrap();
        end
    }

    /// The power goes after so many further calls.
    pub(super) fn cut_after(&self, calls: u64) {
        let mut state = self.state();
        state.cut = Some(state.calls + calls);
    }

    pub(super) fn is_cut(&self) -> bool {
        let state = self.state();
        state.cut.is_some_and(|cut| state.calls >= cut)
    }

    /// The power is back: of what was not synced, some is there, in parts and in any order.
    pub(super) fn boot(&self) {
        let mut guard = self.state();
        let state = &mut *guard;
        let Some(random) = &mut state.random else { return };
        let mut pending = std::mem::take(&mut state.pending);
        match random.u8(0..4) {
            0 => pending.clear(),
            1 => {}
            2 => pending.truncate(random.usize(0..=pending.len())),
            _ => random.shuffle(&mut pending),
        }
        let losing = random.u32(0..=100);
        for (file, change) in pending {
            let synced = &mut state.files[file].synced;
            match change {
                Change::Len(len) if random.u32(0..100) >= losing => synced.resize(len, 0),
                Change::Len(_) => {}
                Change::Write(offset, bytes) => {
                    for (index, sector) in bytes.chunks(SECTOR).enumerate() {
                        let from = offset + index * SECTOR;
                        if random.u32(0..100) >= losing
                            && let Some(space) = synced.get_mut(from..from + sector.len())
                        {
                            space.copy_from_slice(sector);
                        }
                    }
                }
            }
        }
        for file in &mut state.files {
            file.seen = file.synced.clone();
        }
        state.cut = None;
    }

    /// Turns some bytes over.
    pub(super) fn rot(&self, at: usize, count: usize) {
        let mut state = self.state();
        for index in at..at + count {
            state.files[0].synced[index] ^= 0x55;
            state.files[0].seen[index] ^= 0x55;
        }
    }

    /// Where a text is.
    pub(super) fn find(&self, text: &str) -> Vec<usize> {
        let state = self.state();
        let windows = state.files[0].seen.windows(text.len()).enumerate();
        windows.filter(|(_, bytes)| *bytes == text.as_bytes()).map(|(at, _)| at).collect()
    }

    pub(super) fn cut_off(&self, len: usize) {
        let mut state = self.state();
        state.files[0].synced.truncate(len);
        state.files[0].seen.truncate(len);
    }
}

impl State {
    fn call(&mut self, call: Call) -> io::Result<()> {
        self.calls += 1;
        if self.cut.is_some_and(|cut| self.calls >= cut) {
            return Err(io::Error::other("the power is off"));
        }
        if let Some(fault) = self.fault
            && (fault.from..fault.from.saturating_add(fault.count)).contains(&self.calls)
            && (call == Call::Write || fault.kind == io::ErrorKind::Other)
        {
            return Err(fault.kind.into());
        }
        Ok(())
    }

    fn lies(&mut self) -> bool {
        match (self.lies, &mut self.random) {
            (Some(one_in), Some(random)) => random.u32(0..one_in) == 0,
            _ => false,
        }
    }
}

impl Medium for DiskFile {
    fn len(&self) -> io::Result<u64> {
        let mut state = self.0.state();
        state.call(Call::Read)?;
        Ok(state.files[self.1].seen.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let mut state = self.0.state();
        state.call(Call::Read)?;
        let offset = usize::try_from(offset).unwrap();
        let bytes = state.files[self.1].seen.get(offset..offset + out.len());
        out.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.0.state();
        state.call(Call::Write)?;
        let len = usize::try_from(len).unwrap();
        state.files[self.1].seen.resize(len, 0);
        state.pending.push((self.1, Change::Len(len)));
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.0.state();
        state.call(Call::Write)?;
        if state.lies() {
            return Ok(());
        }
        // What was written to the other file may still be lost.
        let (mine, others) =
            std::mem::take(&mut state.pending).into_iter().partition(|(file, _)| *file == self.1);
        state.pending = others;
        let mine: Vec<(usize, Change)> = mine;
        let synced = &mut state.files[self.1].synced;
        for (_, change) in mine {
            match change {
                Change::Len(len) => synced.resize(len, 0),
                Change::Write(offset, bytes) => {
                    synced[offset..offset + bytes.len()].copy_from_slice(&bytes);
                }
            }
        }
        Ok(())
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.0.state();
        state.call(Call::Write)?;
        let offset = usize::try_from(offset).unwrap();
        state.files[self.1].seen[offset..offset + bytes.len()].copy_from_slice(bytes);
        state.pending.push((self.1, Change::Write(offset, bytes.to_vec())));
        Ok(())
    }
}

impl Disk {
    fn files(&self) -> Files {
        Files {
            pages: Arc::new(DiskFile(self.clone(), 0)),
            journal: Arc::new(DiskFile(self.clone(), 1)),
        }
    }
}

impl Folder for Disk {
    fn open(&self) -> io::Result<Files> {
        self.state().call(Call::Write)?;
        Ok(self.files())
    }

    fn open_to_read(&self) -> io::Result<Files> {
        let mut state = self.state();
        state.call(Call::Read)?;
        // All that is written to it is forgotten.
        let copy = Disk::new(0);
        let files =
            state.files.clone().map(|file| Bytes { synced: file.seen.clone(), seen: file.seen });
        copy.state().files = files;
        Ok(copy.files())
    }

    fn set_aside(&self) -> io::Result<String> {
        let mut state = self.state();
        state.call(Call::Write)?;
        state.bad += 1;
        state.files[0] = Bytes::default();
        state.pending.retain(|(file, _)| *file != 0);
        Ok(format!("bad-{}", state.bad))
    }

    fn room(&self) -> io::Result<Room> {
        Ok(Room { free: u64::MAX, file: self.len() })
    }
}
