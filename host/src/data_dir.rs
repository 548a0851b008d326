//! The folder for what must outlive the process: of a gateway the spool, the state of plugins and compiled plugins; of a hub its
//! store and the tokens of devices.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// The folder of one gateway process. No two share one.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    /// Locked as long as this lives, and by the kernel no longer than the process.
    _lock: File,
}

/// Why a folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// It cannot be made or opened.
    #[error("cannot use the data folder {}", folder.display())]
    Open {
        /// Which.
        folder: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Another process uses it.
    #[error(
        "the data folder {} is in use by another weir: each needs one of its own (--data-dir)",
        folder.display()
    )]
    InUse {
        /// Which.
        folder: PathBuf,
    },
}

impl DataDir {
    /// Makes the folder where it is missing, for this user alone, and takes it for this process.
    pub fn open(path: &Path) -> Result<DataDir, DataDirError> {
        let failed = |source| DataDirError::Open { folder: path.to_path_buf(), source };
        make(path).map_err(failed)?;
        let lock = path.join("lock");
        // Opening a FIFO would wait for somebody else.
        if std::fs::symlink_metadata(&lock).is_ok_and(|found| !found.is_file()) {
            let what = "its `lock` is not a regular file";
            return Err(failed(io::Error::new(io::ErrorKind::InvalidInput, what)));
        }
        let write =
            OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&lock);
        // A folder that was written once and is read-only now can be locked all the same.
        let file = write.or_else(|error| File::open(&lock).map_err(|_| error)).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => Ok(DataDir { path: path.to_path_buf(), _lock: file }),
            Err(TryLockError::WouldBlock) => {
                Err(DataDirError::InUse { folder: path.to_path_buf() })
            }
            Err(TryLockError::Error(source)) => Err(failed(source)),
        }
    }

    /// A folder inside, made where it is missing.
    pub fn folder(&self, name: &str) -> io::Result<PathBuf> {
        let folder = self.path.join(name);
        make(&folder)?;
        Ok(folder)
    }
}

fn make(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_serves_one_process_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/data");
        let first = DataDir::open(&path).unwrap();
        assert!(first.folder("state").unwrap().is_dir());
        let second = DataDir::open(&path).unwrap_err();
        assert!(matches!(second, DataDirError::InUse { .. }), "{second}");
        drop(first);
        DataDir::open(&path).unwrap();
    }
}
