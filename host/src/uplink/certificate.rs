//! Certificates and keys in PEM files, for both ends of a connection: read, fitted to each other, looked at for their time.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, Error, RootCertStore};

use crate::file;
use crate::reading::Timestamp;

/// Longest file of certificates, in bytes: all public authorities together have 220 KB.
const LONGEST_FILE: u64 = 1 << 20;
/// A certificate that is over within this should have been renewed: certbot does it 30 days before.
const RENEWED_BEFORE: Duration = Duration::from_secs(14 * 86_400);

/// A certificate and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// PEM: the certificate first, then those between it and its authority.
    pub certificate_file: PathBuf,
    /// PEM: the private key, readable by its owner alone.
    pub key_file: PathBuf,
}

/// Why TLS cannot be had with these files.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read, or is open to others.
    #[error("cannot use {}", file.display())]
    Read {
        /// Which.
        file: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A file does not hold what it should.
    #[error("{} holds no {what}: must be PEM, with `-----BEGIN …-----`", file.display())]
    Empty {
        /// Which.
        file: PathBuf,
        /// What it should hold.
        what: &'static str,
    },
    /// A file is not PEM.
    #[error("{} is damaged: {why}", file.display())]
    Damaged {
        /// Which.
        file: PathBuf,
        /// Why.
        why: String,
    },
    /// A certificate is none.
    #[error("a certificate in {} cannot be used", file.display())]
    Certificate {
        /// In which file.
        file: PathBuf,
        /// Why.
        #[source]
        source: Error,
    },
    /// A key is not that of the certificate.
    #[error("the key in {} is not that of the certificate in {}", key_file.display(), certificate_file.display())]
    Mismatch {
        /// The key.
        key_file: PathBuf,
        /// The certificate.
        certificate_file: PathBuf,
    },
    /// A key cannot be used.
    #[error("the key in {} cannot be used", file.display())]
    Key {
        /// In which file.
        file: PathBuf,
        /// Why.
        #[source]
        source: Error,
    },
    /// The system has no list of authorities.
    #[error(
        "this system trusts no certificate authority: install its list (Debian: apt install ca-certificates), or name \
         the hub's own in `ca_file`"
    )]
    NoAuthority,
    /// rustls refuses.
    #[error("TLS cannot be set up")]
    Setup(#[source] Error),
}

/// The one implementation of cryptography in this binary.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// The authorities of a file, and no others.
pub fn authorities(file: &Path) -> Result<Arc<RootCertStore>, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(file)? {
        roots
            .add(certificate)
            .map_err(|source| TlsError::Certificate { file: file.to_path_buf(), source })?;
    }
    Ok(Arc::new(roots))
}

impl CertificateFiles {
    /// Reads both. A time that is over, or has not come, is only warned of: the clock may be wrong, and a renewed
    /// certificate may come.
    pub fn read(&self) -> Result<CertifiedKey, TlsError> {
        let chain = certificates(&self.certificate_file)?;
        if let Some(own) = chain.first() {
            warn_of_time(&self.certificate_file, own);
        }
        let file = || self.key_file.clone();
        let text = file::read_secret(&self.key_file, LONGEST_FILE)
            .map_err(|source| TlsError::Read { file: file(), source })?;
        let key = PrivateKeyDer::from_pem_slice(text.as_bytes())
            .map_err(|error| not_pem(&self.key_file, "private key", &error))?;
        CertifiedKey::from_der(chain, key, &provider()).map_err(|error| match error {
            Error::InconsistentKeys(_) => TlsError::Mismatch {
                key_file: file(),
                certificate_file: self.certificate_file.clone(),
            },
            Error::InvalidCertificate(_) => {
                TlsError::Certificate { file: self.certificate_file.clone(), source: error }
            }
            source => TlsError::Key { file: file(), source },
        })
    }
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let bytes = file::read(file, LONGEST_FILE)
        .map_err(|source| TlsError::Read { file: file.to_path_buf(), source })?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let found = found.map_err(|error| not_pem(file, "certificate", &error))?;
    if found.is_empty() {
        return Err(TlsError::Empty { file: file.to_path_buf(), what: "certificate" });
    }
    Ok(found)
}

fn not_pem(file: &Path, what: &'static str, error: &PemError) -> TlsError {
    let file = file.to_path_buf();
    match error {
        PemError::NoItemsFound => TlsError::Empty { file, what },
        // Not the library's own text: it repeats what stands in the file, which may be a key.
        PemError::MissingSectionEnd { .. } => {
            TlsError::Damaged { file, why: "an `-----END …-----` is missing".to_owned() }
        }
        PemError::Base64Decode(_) => {
            TlsError::Damaged { file, why: "what it holds is not base64".to_owned() }
        }
        _ => TlsError::Damaged { file, why: "it is not PEM".to_owned() },
    }
}

fn warn_of_time(file: &Path, certificate: &CertificateDer<'static>) {
    let now = UnixTime::now();
    let file = file.display();
    match time_error(certificate, now) {
        Some(CertificateError::ExpiredContext { not_after, .. }) => {
            tracing::warn!(%file, "This certificate expired on {}: renew it.", date(not_after));
        }
        Some(CertificateError::NotValidYetContext { not_before, .. }) => {
            tracing::warn!(%file, "This certificate is not valid before {}: is the clock right?", date(not_before));
        }
        _ => {
            let later = UnixTime::since_unix_epoch(
                Duration::from_secs(now.as_secs()).saturating_add(RENEWED_BEFORE),
            );
            if let Some(CertificateError::ExpiredContext { not_after, .. }) =
                time_error(certificate, later)
            {
                tracing::warn!(%file, "This certificate expires on {}: renew it.", date(not_after));
            }
        }
    }
}

/// What is wrong with a certificate's time. It is verified against itself, which looks at the time before anything else.
fn time_error(certificate: &CertificateDer<'static>, now: UnixTime) -> Option<CertificateError> {
    let mut itself = RootCertStore::empty();
    itself.add(certificate.clone()).ok()?;
    let verifier = WebPkiClientVerifier::builder_with_provider(itself.into(), provider());
    match verifier.build().ok()?.verify_client_cert(certificate, &[], now) {
        Err(Error::InvalidCertificate(error)) => Some(error),
        _ => None,
    }
}

/// A certificate's time as it is read.
pub(super) fn date(time: UnixTime) -> String {
    let mut text = Timestamp::from_epoch(Duration::from_secs(time.as_secs())).to_string();
    text.truncate("2026-11-21".len());
    text
}
