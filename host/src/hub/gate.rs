//! Who may speak for a device: whoever shows its token, or anybody on a machine that nobody else reaches.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use tokio::sync::{Semaphore, watch};

use super::tokens::{self, KnownToken, TokensError};
use super::told::Told;
use crate::causes::with_causes;
use crate::file::{Stamp, excerpt, stamp};
use crate::uplink::Token;

/// A refusal takes so long: who tries one token after the other tries few.
const REFUSAL_DELAY: Duration = Duration::from_secs(1);
/// Most that are refused slowly at once; when there are more, the others are refused at once.
const SLOW_REFUSALS: usize = 64;

/// Who is asked for a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// Every device.
    Everybody,
    /// Every device as soon as there is a file of tokens.
    WithAFile,
}

/// Lets devices in.
#[derive(Debug)]
pub struct Gate {
    tokens: Option<Tokens>,
    refusing: Semaphore,
    told: Told,
}

/// `None` while nobody is asked.
type Known = Option<Arc<[KnownToken]>>;

/// The tokens as they are now.
#[derive(Debug)]
struct Tokens {
    /// Where they come from, if that can change.
    folder: Option<PathBuf>,
    read: Mutex<Read>,
    known: watch::Sender<Known>,
}

/// How the file was when it was read.
#[derive(Debug, Default)]
struct Read {
    stamp: Option<Stamp>,
    /// What is wrong with it now, which is told once. It is tried again until it is read.
    trouble: Option<String>,
}

impl Gate {
    /// Asks nobody.
    pub fn open() -> Gate {
        Gate::new(None)
    }

    /// Lets one device in, by a token that is nowhere but in this process.
    pub fn of_one(device: &str, token: &Token) -> Gate {
        let known = [tokens::known(device, token)].into();
        Gate::new(Some(Tokens {
            folder: None,
            read: Mutex::default(),
            known: watch::Sender::new(Some(known)),
        }))
    }

    /// Asks for the tokens that are in this folder. Later changes of them are seen.
    pub fn of_folder(folder: &Path, asked: Asked) -> Result<Gate, TokensError> {
        let read = Read { stamp: stamp(&tokens::file(folder)), trouble: None };
        let known: Known = tokens::read(folder)?.map(Into::into);
        let known = match asked {
            Asked::Everybody => known.or_else(|| Some(Arc::new([]))),
            Asked::WithAFile => known,
        };
        Ok(Gate::new(Some(Tokens {
            folder: Some(folder.to_path_buf()),
            read: Mutex::new(read),
            known: watch::Sender::new(known),
        })))
    }

    fn new(tokens: Option<Tokens>) -> Gate {
        Gate { tokens, refusing: Semaphore::new(SLOW_REFUSALS), told: Told::default() }
    }

    /// How many tokens there are; `None` when nobody is asked for one.
    pub fn count(&self) -> Option<usize> {
        Some(self.known()?.len())
    }

    /// Whether devices from elsewhere are asked for tokens.
    pub(super) fn asks_for_tokens_of_others(&self) -> bool {
        let is_of_folder = self.tokens.as_ref().is_some_and(|tokens| tokens.folder.is_some());
        is_of_folder && self.count().is_some()
    }

    fn known(&self) -> Known {
        self.tokens.as_ref()?.known.borrow().clone()
    }

    /// Reads the tokens again when their file has changed. Waits for the disk.
    pub(super) fn refresh(&self) {
        let Some(Tokens { folder: Some(folder), read, known }) = &self.tokens else { return };
        // One at a time, so that no older file comes after a newer one, and a disk that hangs holds up no more than one.
        let Ok(mut read) = read.try_lock() else { return };
        let now = stamp(&tokens::file(folder));
        if read.stamp == now && read.trouble.is_none() {
            return;
        }
        let found = tokens::read(folder);
        if found.is_ok() {
            *read = Read { stamp: now, trouble: None };
        }
        match found {
            Ok(Some(tokens)) => {
                let count = tokens.len();
                known.send_replace(Some(tokens.into()));
                tracing::info!(tokens = count, "The devices' tokens have changed.");
            }
            // A file that was there and is not any more opens no door.
            Ok(None) if known.borrow().is_some() => {
                known.send_replace(Some(Arc::new([])));
                tracing::warn!("The file of tokens is gone: no device is let in.");
            }
            Ok(None) => {}
            Err(error) => {
                let why = excerpt(&with_causes(&error));
                if read.trouble.as_ref() != Some(&why) {
                    tracing::warn!("The tokens stay as they were: {why}.");
                    read.trouble = Some(why);
                }
            }
        }
    }

    /// Lets a device in by what its request shows, or answers why not: slowly, and with a line in the log.
    pub(super) async fn admit(
        self: &Arc<Self>,
        headers: &HeaderMap,
        certificate: ClientCertificate,
        peer: SocketAddr,
    ) -> Result<Admission, Response> {
        if certificate == ClientCertificate::Missing {
            let why = "this hub wants a certificate of the device";
            return Err(self.refuse(StatusCode::FORBIDDEN, why, peer).await);
        }
        if self.known().is_none() {
            return Ok(Admission { token: None });
        }
        let Some(shown) = bearer(headers) else {
            let why = "it shows no token";
            return Err(self.refuse(StatusCode::UNAUTHORIZED, why, peer).await);
        };
        if let Some(admission) = self.find(&shown) {
            return Ok(admission);
        }
        // It may have been made a moment ago.
        let gate = self.clone();
        let look = tokio::task::spawn_blocking(move || gate.refresh());
        // A disk that hangs does not hold the answer up: the token counts as unknown.
        let _looked = tokio::time::timeout(REFUSAL_DELAY, look).await;
        match self.find(&shown) {
            Some(admission) => Ok(admission),
            None => {
                let why = "its token is not known here";
                Err(self.refuse(StatusCode::UNAUTHORIZED, why, peer).await)
            }
        }
    }

    fn find(&self, shown: &Token) -> Option<Admission> {
        let tokens = self.tokens.as_ref()?;
        let changes = tokens.known.subscribe();
        let token = tokens::find(self.known()?.as_ref(), shown)?.clone();
        Some(Admission { token: Some((token, changes)) })
    }

    async fn refuse(&self, status: StatusCode, why: &'static str, peer: SocketAddr) -> Response {
        if self.told.is_due(peer.ip()) {
            tracing::warn!(
                %peer,
                "A device was refused: {why}. This is told once a minute for each address."
            );
        }
        if let Ok(_place) = self.refusing.try_acquire() {
            tokio::time::sleep(REFUSAL_DELAY).await;
        }
        let challenge = [(header::WWW_AUTHENTICATE, "Bearer")];
        match status {
            StatusCode::UNAUTHORIZED => (status, challenge, why).into_response(),
            _ => (status, why).into_response(),
        }
    }
}

/// What a device showed when the connection was encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ClientCertificate {
    /// One that the hub's authority signed, or the hub wants none.
    Enough,
    /// None, and the hub wants one.
    Missing,
}

/// By what a device was let in.
pub(super) struct Admission {
    token: Option<(KnownToken, watch::Receiver<Known>)>,
}

impl Admission {
    /// The device's name: it must be that of its token. One that does not name itself is called by that.
    pub(super) fn name(&self, given: Option<String>) -> Result<Option<String>, String> {
        match (&self.token, given) {
            (None, given) => Ok(given),
            (Some((token, _)), None) => Ok(Some(token.device.clone())),
            (Some((token, _)), Some(given)) if token.device == given => Ok(Some(given)),
            (Some((token, _)), Some(given)) => {
                Err(format!("its token is that of `{}`, not of `{given}`", token.device))
            }
        }
    }

    /// Comes back when the token is not among those that are known any more, and never without one.
    pub(super) async fn revoked(&mut self) {
        let Some((token, changes)) = &mut self.token else { return std::future::pending().await };
        let is_gone = |known: &Known| known.as_ref().is_none_or(|known| !known.contains(token));
        // Without its gate there is no hub any more, which ends the connection by itself.
        if changes.wait_for(is_gone).await.is_err() {
            std::future::pending().await
        }
    }
}

fn bearer(headers: &HeaderMap) -> Option<Token> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| Token::parse(token.trim()))?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> HeaderMap {
        HeaderMap::from_iter([(header::AUTHORIZATION, text.parse().unwrap())])
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_lets_its_device_in_until_it_is_revoked() {
        let folder = tempfile::tempdir().unwrap();
        let peer = "192.0.2.1:1".parse().unwrap();
        let gate = Arc::new(Gate::of_folder(folder.path(), Asked::WithAFile).unwrap());
        let enough = ClientCertificate::Enough;
        assert!(gate.admit(&HeaderMap::new(), enough, peer).await.is_ok(), "nobody is asked");
        let missing = ClientCertificate::Missing;
        assert_eq!(
            gate.admit(&HeaderMap::new(), missing, peer).await.err().unwrap().status(),
            StatusCode::FORBIDDEN
        );

        let token = tokens::make(folder.path(), "d").unwrap();
        gate.refresh();
        let bearer = shown(&format!("bearer {}", token.reveal()));
        let mut admission = gate.admit(&bearer, enough, peer).await.unwrap();
        assert_eq!(admission.name(None).unwrap().as_deref(), Some("d"));
        assert_eq!(admission.name(Some("d".to_owned())).unwrap().as_deref(), Some("d"));
        assert!(admission.name(Some("e".to_owned())).is_err());
        let basic = format!("Basic {}", token.reveal());
        for wrong in ["", "Bearer", "Bearer ", "Bearer 0123", &basic] {
            let begun = tokio::time::Instant::now();
            let refused = gate.admit(&shown(wrong), enough, peer).await.err().unwrap();
            assert_eq!(refused.status(), StatusCode::UNAUTHORIZED, "{wrong}");
            assert_eq!(begun.elapsed(), REFUSAL_DELAY);
        }
        // One that the gate has not heard of yet is looked up.
        let newer = tokens::make(folder.path(), "e").unwrap();
        let newer = shown(&format!("Bearer {}", newer.reveal()));
        assert!(gate.admit(&newer, enough, peer).await.is_ok());

        tokens::revoke(folder.path(), "d", None).unwrap();
        tokens::revoke(folder.path(), "e", None).unwrap();
        gate.refresh();
        admission.revoked().await;
        assert!(gate.admit(&bearer, enough, peer).await.is_err());
        assert_eq!(gate.count(), Some(0), "the last token's end does not open the door");
        std::fs::remove_file(tokens::file(folder.path())).unwrap();
        gate.refresh();
        assert_eq!(gate.count(), Some(0), "nor does the end of the file");
    }

    #[tokio::test(start_paused = true)]
    async fn slow_refusals_are_bounded() {
        let token = tokens::new_token().unwrap();
        let gate = Arc::new(Gate::of_one("d", &token));
        let mut refusals = tokio::task::JoinSet::new();
        for _ in 0..SLOW_REFUSALS + 10 {
            let gate = gate.clone();
            refusals.spawn(async move {
                let begun = tokio::time::Instant::now();
                let peer = "192.0.2.1:1".parse().unwrap();
                let enough = ClientCertificate::Enough;
                assert!(gate.admit(&HeaderMap::new(), enough, peer).await.is_err());
                begun.elapsed() >= REFUSAL_DELAY
            });
        }
        let slow = refusals.join_all().await.into_iter().filter(|slow| *slow).count();
        assert_eq!(slow, SLOW_REFUSALS);
    }
}
