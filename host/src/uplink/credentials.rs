//! What a way out shows at the other end, and whom it trusts: read from files at the start, and anew before a connection when
//! one of them has changed, as a renewed certificate or a new token does.

use std::path::PathBuf;
use std::time::Duration;

use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::timeout;

use super::certificate::TlsError;
use super::endpoint::{Token, read_token};
use super::tls::{Tls, TlsSettings};
use crate::causes::with_causes;
use crate::file::{Stamp, excerpt, stamp};

/// A disk that does not give the files within this does not hold a connection up: it is made with what was read before.
const READING: Duration = Duration::from_secs(2);

/// The files of an uplink's credentials.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CredentialFiles {
    /// Its first line is the token, or the password.
    pub token: Option<PathBuf>,
    /// What encrypted addresses need, where there are any.
    pub tls: Option<TlsSettings>,
}

/// Why credentials cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// The token or the password cannot be read.
    #[error("cannot use the token or password in {}", file.display())]
    Token {
        /// Which file.
        file: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The certificates or the key cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// What an uplink shows, and whom it trusts.
#[derive(Debug, Default)]
pub struct Credentials {
    pub(super) token: Option<Token>,
    pub(super) tls: Option<Tls>,
    files: CredentialFiles,
    stamps: Vec<Option<Stamp>>,
    /// A reading that the disk has not answered yet.
    reading: Option<JoinHandle<Option<Read>>>,
}

/// What is in files that have changed.
type Read = Result<Credentials, Vec<CredentialError>>;

impl Credentials {
    /// Reads the files; all that is wrong with them is told.
    pub fn read(files: CredentialFiles) -> Result<Credentials, Vec<CredentialError>> {
        let stamps = files.stamps();
        let mut refused = Vec::new();
        let token = files.token.as_ref().and_then(|file| match read_token(file) {
            Ok(token) => Some(token),
            Err(source) => {
                refused.push(CredentialError::Token { file: file.clone(), source });
                None
            }
        });
        let tls = files.tls.as_ref().and_then(|settings| match Tls::new(settings) {
            Ok(tls) => Some(tls),
            Err(error) => {
                refused.push(error.into());
                None
            }
        });
        if !refused.is_empty() {
            return Err(refused);
        }
        Ok(Credentials { token, tls, files, stamps, reading: None })
    }

    /// A token that is in no file.
    pub fn of_token(token: Token) -> Credentials {
        Credentials { token: Some(token), ..Credentials::default() }
    }

    /// Reads the files again where one has changed. Those that cannot be used, half of a renewal perhaps, leave all as it is
    /// and are tried again.
    pub(super) async fn refresh(&mut self, uplink: &str) {
        let (files, before) = (self.files.clone(), self.stamps.clone());
        let mut reading = self.reading.take().unwrap_or_else(|| {
            spawn_blocking(move || (files.stamps() != before).then(|| Credentials::read(files)))
        });
        match timeout(READING, &mut reading).await {
            Ok(Ok(Some(Ok(read)))) => {
                *self = read;
                tracing::info!(%uplink, "The uplink's token and certificates were read anew.");
            }
            Ok(Ok(Some(Err(errors)))) => {
                for error in errors {
                    let why = excerpt(&with_causes(&error));
                    tracing::warn!(
                        %uplink,
                        "The uplink goes on with the token and the certificates that it has: {why}."
                    );
                }
            }
            // It fails when the process ends.
            Ok(Ok(None) | Err(_)) => {}
            Err(_) => self.reading = Some(reading),
        }
    }
}

impl CredentialFiles {
    fn stamps(&self) -> Vec<Option<Stamp>> {
        let tls = self.tls.as_ref();
        let own = tls.and_then(|tls| tls.certificate.as_ref());
        let own = own.map(|own| [&own.certificate_file, &own.key_file]);
        let ca = tls.and_then(|tls| tls.ca_file.as_ref());
        let all = own.into_iter().flatten().chain(ca).chain(&self.token);
        all.map(|file| stamp(file)).collect()
    }
}
