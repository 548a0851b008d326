//! Reads whole files that somebody else wrote: only regular ones, and never more than expected. Writes files that are
//! whole or not there, through no link that somebody else laid. Shows texts and bytes from elsewhere.

use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, fchown};
use std::path::Path;

/// A regular file's bytes; an error when it is something else, or has more than `most` bytes.
pub fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    // Asked before it is opened: opening a FIFO would wait for its writer.
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, NOT_REGULAR));
    }
    bounded(File::open(path)?, most)
}

/// All that a reader gives; an error when that is more than `most` bytes.
pub fn bounded(input: impl Read, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    input.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("it has more than {most} bytes"),
        ));
    }
    Ok(bytes)
}

/// As [`read`], and the bytes must be UTF-8.
pub fn read_text(path: &Path, most: u64) -> io::Result<String> {
    String::from_utf8(read(path, most)?)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, NOT_TEXT))
}

/// As [`read_text`], and nobody else may read or change it: it is of this user, for its owner alone, or of root, who may let
/// a group read it (as systemd does with a service's credentials).
pub fn read_secret(path: &Path, most: u64) -> io::Result<String> {
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, NOT_REGULAR));
    }
    let file = File::open(path)?;
    // Of what was opened, not of what the name leads to by now.
    let found = file.metadata()?;
    let (owner, mode) = (found.uid(), found.mode() & 0o7777);
    let is_ours = owner == rustix::process::geteuid().as_raw();
    if !is_ours && owner != 0 {
        let text = format!("it belongs to another user (uid {owner}), who can change it");
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
    }
    let forbidden = if is_ours { 0o077 } else { 0o037 };
    if mode & forbidden != 0 {
        let text = format!("others may read or change it (mode {mode:04o}): `chmod 600` it");
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
    }
    String::from_utf8(bounded(file, most)?)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, NOT_TEXT))
}

const NOT_REGULAR: &str = "it is not a regular file";
const NOT_TEXT: &str = "it is not UTF-8 text";

/// Writes a file of these parts for this user alone, so that after a power cut either the old or the new one is there, whole.
/// Two that write the same file at once are the caller's to keep apart.
pub fn write_atomically(path: &Path, parts: &[&[u8]]) -> io::Result<()> {
    write_new(path, parts, None)
}

/// As [`write_atomically`], for the user and the group with these numbers alone. Only root may do that.
pub fn write_atomically_for(owner: (u32, u32), path: &Path, parts: &[&[u8]]) -> io::Result<()> {
    write_new(path, parts, Some(owner))
}

fn write_new(path: &Path, parts: &[&[u8]], owner: Option<(u32, u32)>) -> io::Result<()> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not the path of a file"));
    };
    // One name for all tries: what a killed process leaves behind is replaced by the next.
    let mut new_name = std::ffi::OsString::from(".new-");
    new_name.push(name);
    let new = folder.join(new_name);
    if std::fs::symlink_metadata(&new).is_ok_and(|found| found.is_symlink()) {
        std::fs::remove_file(&new)?;
    }
    // The folder may be another user's, and this one root: neither a link that was laid meanwhile is followed, nor is a
    // file that he holds open given to him.
    let mut options = OpenOptions::new();
    options.write(true).mode(0o600).custom_flags(libc::O_NOFOLLOW);
    let mut file = match owner {
        None => options.create(true).truncate(true).open(&new)?,
        Some((user, group)) => {
            match std::fs::remove_file(&new) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let file = options.create_new(true).open(&new)?;
            fchown(&file, Some(user), Some(group))?;
            file
        }
    };
    for part in parts {
        file.write_all(part)?;
    }
    file.sync_all()?;
    drop(file);
    std::fs::rename(&new, path)?;
    // The name itself is on the disk when its folder is.
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    File::open(folder)?.sync_all()
}

/// What tells a file from the one that takes its place: which it is, how long, and when it was written or given away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    inode: (u64, u64),
    length: u64,
    written: (i64, i64),
    changed: (i64, i64),
}

/// The stamp of the file that a path leads to; `None` without one.
pub fn stamp(path: &Path) -> Option<Stamp> {
    let found = std::fs::metadata(path).ok()?;
    Some(Stamp {
        inode: (found.dev(), found.ino()),
        length: found.len(),
        written: (found.mtime(), found.mtime_nsec()),
        changed: (found.ctime(), found.ctime_nsec()),
    })
}

/// Bytes as two digits each.
pub fn hex(bytes: &[u8]) -> String {
    let mut digits = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing to a text cannot fail.
        let _written = write!(digits, "{byte:02x}");
    }
    digits
}

/// Text from elsewhere as a terminal may be shown it: control characters, and those that reverse the writing, as escapes.
pub fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for letter in text.chars() {
        let reverses = matches!(letter, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if letter.is_control() || reverses {
            shown.extend(letter.escape_default());
        } else {
            shown.push(letter);
        }
    }
    shown
}

/// The beginning of a text from elsewhere, printable: long enough to know it by, too short to fill a log.
pub fn excerpt(text: &str) -> String {
    let mut shown = printable(&text.chars().take(LONGEST_EXCERPT).collect::<String>());
    if text.chars().nth(LONGEST_EXCERPT).is_some() {
        shown.push('…');
    }
    shown
}

/// In characters.
const LONGEST_EXCERPT: usize = 300;

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn only_regular_files_of_a_bounded_size_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("f");
        std::fs::write(&file, b"12345").unwrap();
        assert_eq!(read(&file, 5).unwrap(), b"12345");
        assert_eq!(read(&file, 4).unwrap_err().to_string(), "it has more than 4 bytes");
        for other in [folder.path(), Path::new("/dev/zero")] {
            assert_eq!(read(other, 4).unwrap_err().to_string(), "it is not a regular file");
        }
    }

    #[test]
    fn a_secret_is_its_owners_alone() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        std::fs::write(&file, "secret").unwrap();
        for (mode, fits) in
            [(0o600, true), (0o400, true), (0o640, false), (0o604, false), (0o620, false)]
        {
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
            let read = read_secret(&file, 100);
            assert_eq!(read.is_ok(), fits, "{mode:o}: {read:?}");
            if let Err(error) = read {
                let text = error.to_string();
                assert!(text.contains(&format!("(mode {mode:04o}): `chmod 600` it")), "{text}");
            }
        }
    }

    #[test]
    fn what_a_killed_process_left_behind_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("f");
        write_atomically(&folder.path().join(".new-f"), &[b"longer than the new one"]).unwrap();
        write_atomically(&file, &[b"whole", b"", b" file"]).unwrap();
        assert_eq!(std::fs::read(&file).unwrap(), b"whole file");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_link_that_somebody_laid_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (file, other) = (folder.path().join("f"), folder.path().join("other"));
        std::fs::write(&other, "of somebody else").unwrap();
        std::os::unix::fs::symlink(&other, folder.path().join(".new-f")).unwrap();
        write_atomically(&file, &[b"new"]).unwrap();
        assert_eq!(std::fs::read(&other).unwrap(), b"of somebody else");
        assert!(std::fs::symlink_metadata(&file).unwrap().is_file());
        assert_eq!(std::fs::read(&file).unwrap(), b"new");
    }

    #[test]
    fn each_byte_has_two_digits() {
        assert_eq!(hex(&[0, 0x0a, 0xff]), "000aff");
    }

    #[test]
    fn nothing_that_moves_the_cursor_is_printed() {
        assert_eq!(printable("é\u{1b}[31m\n\u{9b}\u{202e}x"), "é\\u{1b}[31m\\n\\u{9b}\\u{202e}x");
    }
}
