//! The spool's file on a real disk.

use std::collections::BTreeMap;
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::{FallocateFlags, StatVfs};

use super::{Files, Folder, Medium, Room};

const NAME: &str = "spool.redb";
const JOURNAL: &str = "spool.journal";
/// Before the time at which a file was set aside.
const BAD: &str = "spool.bad-";
/// Most files that were set aside and are kept, for whoever wants to look.
const MOST_BAD: usize = 2;
/// So much of a filesystem stays free for others: the log and the system's own updates need some to go on. Of a small one, a twentieth.
const RESERVE: u64 = 64 << 20;

/// A folder for the spool alone.
pub(in crate::spool) struct DiskFolder {
    path: PathBuf,
}

impl DiskFolder {
    pub(in crate::spool) fn new(path: &Path) -> DiskFolder {
        DiskFolder { path: path.to_path_buf() }
    }

    fn open_file(&self, name: &str) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
        let file = options.open(self.path.join(name))?;
        regular(&file)?;
        Ok(file)
    }

    fn overlay(&self, name: &str) -> io::Result<Overlay> {
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
        let file = options.open(self.path.join(name))?;
        regular(&file)?;
        let len = file.metadata()?.len();
        Ok(Overlay { file, written: Mutex::new(Written { len, pages: BTreeMap::new() }) })
    }

    /// Leaves the newest ones.
    fn remove_old(&self) -> io::Result<()> {
        let mut bad = Vec::new();
        for entry in std::fs::read_dir(&self.path)? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if let Some(time) = name.strip_prefix(BAD).and_then(|time| time.parse::<u64>().ok()) {
                bad.push((time, path));
            }
        }
        bad.sort();
        let surplus = bad.len().saturating_sub(MOST_BAD);
        bad.iter().take(surplus).try_for_each(|(_, path)| std::fs::remove_file(path))
    }
}

impl Folder for DiskFolder {
    fn open(&self) -> io::Result<Files> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.path)?;
        let journal = self.open_file(JOURNAL)?;
        // The data folder's lock may be missing: a folder that could not be opened at the start is tried again here.
        if let Err(TryLockError::WouldBlock) = journal.try_lock() {
            return Err(io::Error::other("another weir uses it"));
        }
        let journal = Arc::new(DiskFile(journal));
        let pages = Arc::new(DiskFile(self.open_file(NAME)?));
        // Their names are on the disk when the folder is.
        File::open(&self.path)?.sync_all()?;
        Ok(Files { pages, journal })
    }

    fn open_to_read(&self) -> io::Result<Files> {
        let [pages, journal] = [NAME, JOURNAL].map(|name| self.overlay(name));
        Ok(Files { pages: Arc::new(pages?), journal: Arc::new(journal?) })
    }

    fn set_aside(&self) -> io::Result<String> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        // Several within one second, or a clock that went back.
        let name = (now..)
            .map(|time| format!("{BAD}{time}"))
            .find(|name| !self.path.join(name).exists())
            .unwrap_or_default();
        std::fs::rename(self.path.join(NAME), self.path.join(&name))?;
        self.remove_old()?;
        File::open(&self.path)?.sync_all()?;
        Ok(name)
    }

    fn room(&self) -> io::Result<Room> {
        let free = free(&rustix::fs::statvfs(&self.path)?);
        Ok(Room { free, file: std::fs::metadata(self.path.join(NAME))?.len() })
    }
}

/// What may still be written.
fn free(disk: &StatVfs) -> u64 {
    let all = disk.f_blocks.saturating_mul(disk.f_frsize);
    let available = disk.f_bavail.saturating_mul(disk.f_frsize);
    available.saturating_sub(RESERVE.min(all / 20))
}

fn regular(file: &File) -> io::Result<()> {
    if file.metadata()?.is_file() {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"))
}

#[derive(Debug)]
struct DiskFile(File);

impl Medium for DiskFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(out, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let now = self.0.metadata()?.len();
        if len > now {
            // It grows by much at once: that must not take what others need.
            if len - now > free(&rustix::fs::fstatvfs(&self.0)?) {
                return Err(io::ErrorKind::StorageFull.into());
            }
            // A full disk is noticed here, not at a later write, and fewer pieces are on a card.
            match rustix::fs::fallocate(&self.0, FallocateFlags::empty(), now, len - now) {
                Ok(()) => return Ok(()),
                // Some filesystems cannot.
                Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.0.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }
}

/// A file that cannot be written. What redb writes to be able to read it, which is little, stays here.
#[derive(Debug)]
struct Overlay {
    file: File,
    written: Mutex<Written>,
}

#[derive(Debug)]
struct Written {
    len: u64,
    pages: BTreeMap<u64, Box<[u8]>>,
}

/// In these pieces.
const PAGE: usize = 4_096;
/// Most that is kept so: what repairs a spool of the largest size, and more only in error.
const MOST_PAGES: usize = 4_096;

impl Overlay {
    /// Calls for each page that a piece of the file touches: the page, where in it, and where in the piece.
    fn each(
        offset: u64,
        len: usize,
        mut call: impl FnMut(u64, usize, usize, usize) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut done = 0;
        while done < len {
            let at = offset + done as u64;
            let within = usize::try_from(at % PAGE as u64).unwrap_or(0);
            let count = (PAGE - within).min(len - done);
            call(at / PAGE as u64, within, done, count)?;
            done += count;
        }
        Ok(())
    }

    fn load(&self, page: u64, out: &mut [u8]) -> io::Result<()> {
        out.fill(0);
        let mut have = 0;
        while let Some(rest) = out.get_mut(have..).filter(|rest| !rest.is_empty()) {
            match self.file.read_at(rest, page * PAGE as u64 + have as u64)? {
                0 => break,
                read => have += read,
            }
        }
        Ok(())
    }
}

impl Medium for Overlay {
    fn len(&self) -> io::Result<u64> {
        Ok(self.written.lock().unwrap_or_else(PoisonError::into_inner).len)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        if offset.saturating_add(out.len() as u64) > written.len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut page = vec![0; PAGE];
        Overlay::each(offset, out.len(), |number, within, done, count| {
            match written.pages.get(&number) {
                Some(kept) => page.copy_from_slice(kept),
                None => self.load(number, &mut page)?,
            }
            if let (Some(to), Some(from)) =
                (out.get_mut(done..done + count), page.get(within..within + count))
            {
                to.copy_from_slice(from);
            }
            Ok(())
        })
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner).len = len;
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        Overlay::each(offset, bytes.len(), |number, within, done, count| {
            if !written.pages.contains_key(&number) {
                if written.pages.len() >= MOST_PAGES {
                    return Err(io::ErrorKind::ReadOnlyFilesystem.into());
                }
                let mut page = vec![0; PAGE];
                self.load(number, &mut page)?;
                written.pages.insert(number, page.into_boxed_slice());
            }
            if let Some(page) = written.pages.get_mut(&number)
                && let (Some(to), Some(from)) =
                    (page.get_mut(within..within + count), bytes.get(done..done + count))
            {
                to.copy_from_slice(from);
            }
            Ok(())
        })
    }
}
