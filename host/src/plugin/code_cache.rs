//! Compiled plugins on disk. What is read back becomes machine code that nothing confines, so a file counts only when it was
//! sealed with this folder's own key and nobody else can write it; anything else is compiled anew.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use ring::rand::{SecureRandom as _, SystemRandom};
use ring::{digest, hmac};

use super::code::CodeKind;
use super::compiler::{Compiler, MOST_CODE};
use crate::data_dir::DataDir;
use crate::file;

/// A folder of compiled plugins.
#[derive(Debug)]
pub struct CodeCache {
    folder: PathBuf,
    key: hmac::Key,
}

/// The file of the key.
const KEY: &str = "key";
/// In bytes.
const KEY_LENGTH: usize = 32;
/// The seal in front of the code: an HMAC-SHA256 over the file's name and the code.
const SEAL_LENGTH: usize = 32;
/// Most files that are kept; the oldest go first. A gateway has a few plugins, and as many again after each update.
const MOST_FILES: usize = 64;
/// Most bytes that all files have together; the oldest go first. An SD card is small, and ten plugins in Python fit.
const MOST_BYTES: u64 = 512 << 20;
/// What code depends on beside the plugin and its kind. The second is set by `build.rs`.
const VERSIONS: &str =
    concat!("weir ", env!("CARGO_PKG_VERSION"), ", wasmtime ", env!("WASMTIME_VERSION"));

impl CodeCache {
    /// That of a data folder.
    pub fn of(data_dir: &DataDir) -> io::Result<CodeCache> {
        CodeCache::open(&data_dir.folder("code")?)
    }

    /// Uses a folder, which only this user may write, with the key that is in it. Where there is none, or one that others could
    /// have read or written, a new one is made: then all that was there before is compiled anew. A host without a compiler
    /// could not do that, and refuses such a key.
    pub fn open(folder: &Path) -> io::Result<CodeCache> {
        CodeCache::open_for(folder, &Compiler::default())
    }

    fn open_for(folder: &Path, compiler: &Compiler) -> io::Result<CodeCache> {
        is_ours(&fs::metadata(folder)?, 0o022).map_err(io::Error::other)?;
        let path = folder.join(KEY);
        let key = match read_key(&path) {
            Ok(key) => key,
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    if *compiler == Compiler::Nobody {
                        return Err(io::Error::other(format!(
                            "its key, the file {}, is not used: {error}. With a new key none of its code could be used, and \
                             this host has no compiler: copy the folder here again, for its user alone (chmod -R go= on it)",
                            path.display()
                        )));
                    }
                    tracing::warn!(file = %path.display(), "The key of the compiled plugins is not used: {error}. Plugins are compiled anew.");
                }
                let mut key = vec![0; KEY_LENGTH];
                SystemRandom::new()
                    .fill(&mut key)
                    .map_err(|_| io::Error::other("the system gives no random bytes"))?;
                file::write_atomically(&path, &[&key])?;
                key
            }
        };
        let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
        Ok(CodeCache { folder: folder.to_path_buf(), key })
    }

    /// The code of a plugin, if it is there and sealed. `plugin` is the SHA-256 of its file.
    pub(super) fn load(&self, plugin: &[u8; 32], kind: &CodeKind) -> Option<Vec<u8>> {
        let name = name(plugin, kind);
        match self.read(&name) {
            Ok(code) => Some(code),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                let file = self.folder.join(&name);
                tracing::warn!(file = %file.display(), "A compiled plugin is not used: {error}.");
                None
            }
        }
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        let mut file = File::open(self.folder.join(name))?;
        is_ours(&file.metadata()?, 0o022).map_err(io::Error::other)?;
        // It is read, not mapped: nobody can change it after it was checked.
        let mut seal = [0; SEAL_LENGTH];
        file.read_exact(&mut seal).map_err(|_| io::Error::other("it is cut off"))?;
        let code = file::bounded(file, MOST_CODE)?;
        // Nobody outside learns how long this comparison takes.
        if self.seal(name, &code).as_ref() != seal {
            return Err(io::Error::other("it is damaged, or was made with another key"));
        }
        Ok(code)
    }

    /// The name is sealed too, so that code of one plugin is not taken for another's.
    fn seal(&self, name: &str, code: &[u8]) -> hmac::Tag {
        let mut seal = hmac::Context::with_key(&self.key);
        seal.update(name.as_bytes());
        seal.update(&[0]);
        seal.update(code);
        seal.sign()
    }

    /// Keeps the code of a plugin.
    pub(super) fn store(
        &self,
        plugin: &[u8; 32],
        kind: &CodeKind,
        code: &[u8],
    ) -> io::Result<PathBuf> {
        let name = name(plugin, kind);
        let seal = self.seal(&name, code);
        let path = self.folder.join(&name);
        file::write_atomically(&path, &[seal.as_ref(), code])?;
        if let Err(error) = self.tidy(&path, MOST_BYTES) {
            let folder = self.folder.display();
            tracing::warn!(%folder, "Old compiled plugins cannot be removed: {error}.");
        }
        Ok(path)
    }

    /// Removes the oldest files when there are too many, or too many bytes in them, but not the one that was just written.
    fn tidy(&self, keep: &Path, most_bytes: u64) -> io::Result<()> {
        let mut files: Vec<(SystemTime, u64, PathBuf)> = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            let path = entry.path();
            if path.extension().is_some_and(|extension| extension == "cwasm") && path != keep {
                let metadata = entry.metadata()?;
                files.push((metadata.modified()?, metadata.len(), path));
            }
        }
        files.sort();
        let mut bytes = fs::metadata(keep)?.len();
        for (newer, (_, length, file)) in files.iter().rev().enumerate() {
            bytes = bytes.saturating_add(*length);
            if newer + 1 >= MOST_FILES || bytes > most_bytes {
                fs::remove_file(file)?;
            }
        }
        Ok(())
    }
}

fn read_key(path: &Path) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    is_ours(&file.metadata()?, 0o077).map_err(io::Error::other)?;
    let key = file::bounded(file, KEY_LENGTH as u64)?;
    if key.len() == KEY_LENGTH { Ok(key) } else { Err(io::Error::other("it is cut off")) }
}

/// Whether a file or folder belongs to this user, or the system's, and others lack these rights.
fn is_ours(metadata: &fs::Metadata, forbidden: u32) -> Result<(), String> {
    let user = rustix::process::geteuid().as_raw();
    if metadata.uid() != user && metadata.uid() != 0 {
        return Err(format!("it belongs to user {}, not to {user}", metadata.uid()));
    }
    let mode = metadata.mode() & 0o777;
    if mode & forbidden != 0 {
        return Err(format!(
            "its permissions are {mode:03o}: others than its owner could {}",
            if forbidden == 0o022 { "write it" } else { "use it" }
        ));
    }
    Ok(())
}

/// The name of a file says all that its code depends on.
fn name(plugin: &[u8; 32], kind: &CodeKind) -> String {
    let mut of = digest::Context::new(&digest::SHA256);
    of.update(plugin);
    of.update(VERSIONS.as_bytes());
    of.update(kind.words().as_bytes());
    format!("{}-{}.cwasm", kind.words(), file::hex(of.finish().as_ref()))
}

#[cfg(test)]
mod tests {
    use super::super::code::{Bound, Execution};
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    const PLUGIN: [u8; 32] = [7; 32];

    fn kind() -> CodeKind {
        CodeKind::here(Execution::Native, Bound::Time)
    }

    fn cache() -> (tempfile::TempDir, CodeCache, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).unwrap();
        let cache = CodeCache::open(folder.path()).unwrap();
        let file = cache.store(&PLUGIN, &kind(), b"code").unwrap();
        (folder, cache, file)
    }

    #[test]
    fn what_was_stored_is_found_again_by_plugin_and_kind() {
        let (folder, _, _) = cache();
        let cache = CodeCache::open(folder.path()).unwrap();
        assert_eq!(cache.load(&PLUGIN, &kind()).unwrap(), b"code");
        assert_eq!(cache.load(&[8; 32], &kind()), None);
        assert_eq!(cache.load(&PLUGIN, &CodeKind::here(Execution::Native, Bound::Fuel)), None);
    }

    #[test]
    fn a_file_that_was_changed_in_any_byte_is_not_used() {
        let (_folder, cache, file) = cache();
        let good = fs::read(&file).unwrap();
        for place in 0..good.len() {
            let mut bad = good.clone();
            bad[place] ^= 1;
            fs::write(&file, &bad).unwrap();
            assert_eq!(cache.load(&PLUGIN, &kind()), None, "byte {place}");
            fs::write(&file, &good[..place]).unwrap();
            assert_eq!(cache.load(&PLUGIN, &kind()), None, "cut to {place}");
        }
    }

    #[test]
    fn a_file_under_another_plugins_name_is_not_used() {
        let (folder, cache, file) = cache();
        fs::copy(&file, folder.path().join(name(&[8; 32], &kind()))).unwrap();
        assert_eq!(cache.load(&[8; 32], &kind()), None);
    }

    #[test]
    fn a_file_made_with_another_key_is_not_used() {
        let (_theirs, _, forged) = cache();
        let (_ours, cache, file) = cache();
        fs::copy(forged, file).unwrap();
        assert_eq!(cache.load(&PLUGIN, &kind()), None);
    }

    #[test]
    fn what_others_could_write_is_not_used() {
        let (folder, cache, file) = cache();
        let set = |path: &Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        };
        set(&file, 0o620);
        assert_eq!(cache.load(&PLUGIN, &kind()), None);
        set(&file, 0o600);
        assert!(cache.load(&PLUGIN, &kind()).is_some());
        // A key that others could read may seal what they like.
        set(&folder.path().join(KEY), 0o640);
        let renewed =
            CodeCache::open_for(folder.path(), &Compiler::Process(PathBuf::new())).unwrap();
        assert_eq!(renewed.load(&PLUGIN, &kind()), None);
        set(folder.path(), 0o770);
        let refused = CodeCache::open(folder.path()).unwrap_err().to_string();
        assert!(refused.contains("permissions are 770"), "{refused}");
    }

    #[test]
    fn the_oldest_files_go_when_there_are_too_many() {
        let (folder, cache, _) = cache();
        for plugin in 0..100 {
            cache.store(&[plugin; 32], &kind(), b"code").unwrap();
        }
        let files = fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(files, MOST_FILES + 1, "and the key");
        assert!(cache.load(&[99; 32], &kind()).is_some());
    }

    #[test]
    fn the_oldest_files_go_when_they_have_too_many_bytes() {
        let (folder, cache, first) = cache();
        let aged = |plugin: u8, age| {
            let file = cache.store(&[plugin; 32], &kind(), &[0; 68]).unwrap();
            let time = SystemTime::now() - std::time::Duration::from_secs(age);
            File::options().write(true).open(&file).unwrap().set_modified(time).unwrap();
            file
        };
        let [older, newer, newest] = [(1, 30), (2, 20), (3, 10)].map(|(p, age)| aged(p, age));
        // The first one is the smallest, and is kept although it is the newest by its time no more.
        cache.tidy(&first, 36 + 250).unwrap();
        let there: Vec<_> = [&first, &older, &newer, &newest].map(|file| file.exists()).into();
        assert_eq!(there, [true, false, true, true]);
        cache.tidy(&older, 0).unwrap_err();
        cache.tidy(&newer, 0).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "that one and the key");
    }

    #[test]
    fn a_key_is_not_renewed_where_nothing_can_be_compiled_anew() {
        let (folder, _, _) = cache();
        let key = folder.path().join(KEY);
        fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
        let refused = CodeCache::open_for(folder.path(), &Compiler::Nobody).unwrap_err();
        assert!(refused.to_string().contains("its permissions are 640"), "{refused}");
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
        let cache = CodeCache::open_for(folder.path(), &Compiler::Nobody).unwrap();
        assert_eq!(cache.load(&PLUGIN, &kind()).unwrap(), b"code");
    }
}
