//! Tokens of devices: made for one device, shown once, kept as hashes in the file `tokens` of the hub's data folder.
//!
//! The file is text: the line `weir-tokens 1`, then a line for each token: the device, the SHA-256 of the token in
//! hexadecimal, and when it was made, with a space between. A device may have several, so that it can be given a new one
//! before the old one is taken away. A slow hash would help nobody: a token is 256 random bits, which are not guessed, and
//! not found by trying words.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, fchown};
use std::path::{Path, PathBuf};

use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom as _, SystemRandom};
use subtle::ConstantTimeEq as _;

use crate::file::{self, hex};
use crate::reading::Timestamp;
use crate::uplink::Token;

/// The first line of the file.
const HEAD: &str = "weir-tokens 1";
/// Most tokens of one hub: each connection compares with all of them.
const MOST: usize = 4_096;
/// Longest file: each line has at most a name of 64 letters, a hash, a time.
const LONGEST_FILE: u64 = 2 << 20;
/// Longest name of a device, in characters; the same as in a pipeline file.
const LONGEST_NAME: usize = 64;
/// Bytes of a token.
const TOKEN_BYTES: usize = 32;
/// A file is opened that is one itself, and none that a link leads to.
const NO_LINK: i32 = libc::O_NOFOLLOW;
/// Digits of the hash by which a list calls a token.
const ID_DIGITS: usize = 8;

type Hash = [u8; 32];

/// Why tokens cannot be used or changed.
#[derive(Debug, thiserror::Error)]
pub enum TokensError {
    /// The file or its folder cannot be read or written.
    #[error("cannot use the tokens in {}", file.display())]
    File {
        /// Which file.
        file: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A line is none of ours.
    #[error("{}:{line}: must be {must_be}; put the file back from a copy, or remove it and make all tokens anew", file.display())]
    Damaged {
        /// Which file.
        file: PathBuf,
        /// Which line.
        line: usize,
        /// What should stand there.
        must_be: &'static str,
    },
    /// A name that no device has.
    #[error(
        "`{0}` cannot be a device's name: must be 1 to {LONGEST_NAME} letters, digits, dashes, dots or underscores"
    )]
    Name(String),
    /// There are enough.
    #[error("there are {MOST} tokens: revoke some first")]
    TooMany,
    /// Nothing to revoke.
    #[error("no token of `{device}` was revoked: {why}")]
    Unknown {
        /// Whose.
        device: String,
        /// What there is instead.
        why: String,
    },
}

/// A token as a list shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownToken {
    /// Whose it is.
    pub device: String,
    /// When it was made.
    pub made: Timestamp,
    hash: Hash,
}

impl KnownToken {
    /// The beginning of its hash, by which it can be revoked alone.
    pub fn id(&self) -> String {
        let mut digits = hex(&self.hash);
        digits.truncate(ID_DIGITS);
        digits
    }
}

/// A token that nobody has yet.
pub fn new_token() -> io::Result<Token> {
    let mut bytes = [0; TOKEN_BYTES];
    let none = || io::Error::other("the system gives no random numbers");
    SystemRandom::new().fill(&mut bytes).map_err(|_| none())?;
    Token::parse(&hex(&bytes)).ok_or_else(none)
}

/// Makes a token for a device. It cannot be had again.
pub fn make(folder: &Path, device: &str) -> Result<Token, TokensError> {
    if !is_device(device) {
        return Err(TokensError::Name(device.to_owned()));
    }
    let token = new_token().map_err(|source| failed(folder, source))?;
    change(folder, |tokens| {
        if tokens.len() >= MOST {
            return Err(TokensError::TooMany);
        }
        tokens.push(known(device, &token));
        Ok(())
    })?;
    Ok(token)
}

/// All tokens, in the order in which they were made.
pub fn list(folder: &Path) -> Result<Vec<KnownToken>, TokensError> {
    Ok(read(folder)?.unwrap_or_default())
}

/// Takes a device's tokens away, all or the one with this id. Gives how many there were.
pub fn revoke(folder: &Path, device: &str, id: Option<&str>) -> Result<usize, TokensError> {
    let mut revoked = 0;
    change(folder, |tokens| {
        let before = tokens.len();
        let others: Vec<String> =
            tokens.iter().filter(|t| t.device == device).map(KnownToken::id).collect();
        tokens.retain(|token| token.device != device || id.is_some_and(|id| token.id() != id));
        revoked = before - tokens.len();
        if revoked > 0 {
            return Ok(());
        }
        let why = if others.is_empty() {
            "it has none".to_owned()
        } else {
            format!("it has {}", others.join(", "))
        };
        Err(TokensError::Unknown { device: device.to_owned(), why })
    })?;
    Ok(revoked)
}

pub(super) fn known(device: &str, token: &Token) -> KnownToken {
    KnownToken { device: device.to_owned(), made: Timestamp::now(), hash: hash(token) }
}

/// The one among them that was made from this token. All are compared, each to its end: the time says nothing.
pub(super) fn find<'t>(tokens: &'t [KnownToken], token: &Token) -> Option<&'t KnownToken> {
    let shown = hash(token);
    let mut found = None;
    for token in tokens {
        if bool::from(token.hash.ct_eq(&shown)) {
            found = Some(token);
        }
    }
    found
}

/// What the file holds; `None` without a file.
pub(super) fn read(folder: &Path) -> Result<Option<Vec<KnownToken>>, TokensError> {
    let file = file(folder);
    let text = match file::read_text(&file, LONGEST_FILE) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(TokensError::File { file, source }),
    };
    let mut lines = text.lines().zip(1..);
    if lines.next().is_none_or(|(head, _)| head != HEAD) {
        return Err(TokensError::Damaged { file, line: 1, must_be: HEAD });
    }
    let mut tokens = Vec::new();
    for (text, line) in lines {
        let Some(token) = parse(text) else {
            let must_be = "a device, the SHA-256 of its token and a time";
            return Err(TokensError::Damaged { file, line, must_be });
        };
        if tokens.len() >= MOST {
            return Err(TokensError::TooMany);
        }
        tokens.push(token);
    }
    Ok(Some(tokens))
}

pub(super) fn file(folder: &Path) -> PathBuf {
    folder.join("tokens")
}

fn hash(token: &Token) -> Hash {
    let mut hash = Hash::default();
    // Both have 32 bytes.
    for (to, from) in hash.iter_mut().zip(digest(&SHA256, token.reveal().as_bytes()).as_ref()) {
        *to = *from;
    }
    hash
}

fn parse(line: &str) -> Option<KnownToken> {
    let mut words = line.split(' ');
    let (device, digits, made) = (words.next()?, words.next()?, words.next()?);
    let fits = words.next().is_none() && is_device(device) && digits.len() == 2 * TOKEN_BYTES;
    let mut hash = Hash::default();
    for (position, byte) in hash.iter_mut().enumerate() {
        *byte = u8::from_str_radix(digits.get(2 * position..2 * position + 2)?, 16).ok()?;
    }
    fits.then_some(KnownToken { device: device.to_owned(), made: made.parse().ok()?, hash })
}

fn is_device(name: &str) -> bool {
    let allowed = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
    (1..=LONGEST_NAME).contains(&name.chars().count()) && name.chars().all(allowed)
}

/// Changes the file. Two commands at once take turns; a hub that reads meanwhile sees the old file or the new one.
fn change(
    folder: &Path,
    change: impl FnOnce(&mut Vec<KnownToken>) -> Result<(), TokensError>,
) -> Result<(), TokensError> {
    let failed = |source| failed(folder, source);
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
    // Root makes tokens for a hub that runs as another user, who must be able to read them.
    let owner = std::fs::metadata(folder).map_err(failed)?;
    let is_anothers = rustix::process::geteuid().is_root() && owner.uid() != 0;
    let owner = is_anothers.then(|| (owner.uid(), owner.gid()));
    // Not the folder's own lock: a hub that runs holds that one.
    let path = folder.join("tokens.lock");
    let lock = lock(&path, owner).map_err(|source| TokensError::File { file: path, source })?;
    let mut tokens = read(folder)?.unwrap_or_default();
    change(&mut tokens)?;
    let mut text = format!("{HEAD}\n");
    for KnownToken { device, hash, made } in &tokens {
        text.push_str(&format!("{device} {} {made}\n", hex(hash)));
    }
    let file = file(folder);
    let parts = [text.as_bytes()];
    let written = match owner {
        Some(owner) => file::write_atomically_for(owner, &file, &parts),
        None => file::write_atomically(&file, &parts),
    };
    drop(lock);
    written.map_err(failed)
}

/// Takes the lock. One that is new is given to this user; no other is, for it might be a name of a file elsewhere.
fn lock(path: &Path, owner: Option<(u32, u32)>) -> io::Result<File> {
    // The folder may be of another user, who must not lead root to a file elsewhere.
    let mut options = OpenOptions::new();
    options.write(true).mode(0o600).custom_flags(NO_LINK);
    let lock = match options.clone().create_new(true).open(path) {
        Ok(new) => {
            if let Some((user, group)) = owner {
                fchown(&new, Some(user), Some(group))?;
            }
            new
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => options.open(path)?,
        Err(error) => return Err(error),
    };
    lock.lock()?;
    Ok(lock)
}

fn failed(folder: &Path, source: io::Error) -> TokensError {
    TokensError::File { file: file(folder), source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_token_is_kept_as_a_hash_until_it_is_revoked() {
        let folder = tempfile::tempdir().unwrap();
        let folder = &folder.path().join("new");
        let first = make(folder, "cold-room").unwrap();
        let second = make(folder, "cold-room").unwrap();
        let other = make(folder, "Gerät.2").unwrap();
        let tokens = read(folder).unwrap().unwrap();
        assert_eq!(list(folder).unwrap(), tokens);
        for (token, device) in [(&first, "cold-room"), (&second, "cold-room"), (&other, "Gerät.2")]
        {
            assert_eq!(find(&tokens, token).unwrap().device, device);
            assert_eq!(token.reveal().len(), 64);
            let text = std::fs::read_to_string(file(folder)).unwrap();
            assert!(!text.contains(token.reveal()), "{text}");
        }
        assert!(find(&tokens, &new_token().unwrap()).is_none());
        let mode = std::fs::metadata(file(folder)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);

        let id = find(&tokens, &first).unwrap().id();
        assert_eq!(revoke(folder, "cold-room", Some(&id)).unwrap(), 1);
        let tokens = list(folder).unwrap();
        assert!(find(&tokens, &first).is_none() && find(&tokens, &second).is_some());
        let error = revoke(folder, "cold-room", Some("0")).unwrap_err().to_string();
        let left = find(&tokens, &second).unwrap().id();
        assert_eq!(error, format!("no token of `cold-room` was revoked: it has {left}"));
        assert_eq!(revoke(folder, "cold-room", None).unwrap(), 1);
        let error = revoke(folder, "cold-room", None).unwrap_err().to_string();
        assert_eq!(error, "no token of `cold-room` was revoked: it has none");
        assert_eq!(list(folder).unwrap().len(), 1);
    }

    #[test]
    fn a_command_of_root_follows_no_link_of_the_hubs_user_and_its_tokens_are_his() {
        let folder = tempfile::tempdir().unwrap();
        let (hub, other) = (folder.path().join("hub"), folder.path().join("other"));
        std::fs::create_dir(&hub).unwrap();
        std::fs::write(&other, "of root").unwrap();
        let link = |name: &str| std::os::unix::fs::symlink(&other, hub.join(name)).unwrap();
        link("tokens.lock");
        assert!(make(&hub, "d").is_err());
        std::fs::remove_file(hub.join("tokens.lock")).unwrap();
        link(".new-tokens");
        let user = if rustix::process::geteuid().is_root() { 12_345 } else { 0 };
        if user == 0 {
            eprintln!("SKIPPED: whom the file belongs to (are you root?)");
        } else {
            std::os::unix::fs::chown(&hub, Some(user), Some(user)).unwrap();
        }
        make(&hub, "d").unwrap();
        let untouched = std::fs::metadata(&other).unwrap();
        assert_eq!(std::fs::read(&other).unwrap(), b"of root");
        assert_eq!(untouched.uid(), rustix::process::geteuid().as_raw());
        if user != 0 {
            for file in [file(&hub), hub.join("tokens.lock")] {
                assert_eq!(std::fs::metadata(&file).unwrap().uid(), user, "{}", file.display());
            }
        }
    }

    #[test]
    fn a_damaged_file_is_refused_by_its_line_and_a_bad_name_by_itself() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        assert!(read(folder).unwrap().is_none());
        let (hash, time) = ("ab".repeat(32), "2026-11-21T23:00:00.000Z");
        for (text, line) in [
            (String::new(), 1),
            ("weir-tokens 2\n".to_owned(), 1),
            (format!("{HEAD}\nd {hash} {time}\nd {hash}\n"), 3),
            (format!("{HEAD}\nd {hash} {time} more\n"), 2),
            (format!("{HEAD}\nd {} {time}\n", "é".repeat(32)), 2),
            (format!("{HEAD}\nd {} {time}\n", "ab".repeat(33)), 2),
            (format!("{HEAD}\n\n"), 2),
            (format!("{HEAD}\nd/e {hash} {time}\n"), 2),
            (format!("{HEAD}\nd {hash} yesterday\n"), 2),
        ] {
            std::fs::write(file(folder), &text).unwrap();
            let error = read(folder).unwrap_err();
            let fits = matches!(error, TokensError::Damaged { line: found, .. } if found == line);
            assert!(fits, "{text:?}: {error}");
            assert!(make(folder, "d").is_err(), "a damaged file is not written over");
        }
        for name in ["", "a b", "a\n", &"x".repeat(65)] {
            assert!(matches!(make(folder, name), Err(TokensError::Name(_))), "{name:?}");
        }
    }
}
