//! TLS of the hub: its certificate, read again when it is renewed, and whether devices show one of theirs.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;
use rustls::sign::SingleCertAndKey;
use tokio_rustls::TlsAcceptor;

use crate::causes::with_causes;
use crate::file::{Stamp, excerpt, stamp};
use crate::uplink::certificate::{CertificateFiles, TlsError, authorities, provider};

/// The files of a hub's TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// What the hub shows.
    pub certificate: CertificateFiles,
    /// PEM: who signs the certificates of devices. With it each device needs one; the page does not.
    pub client_ca_file: Option<PathBuf>,
}

/// TLS of one door.
pub struct HubTls {
    files: TlsFiles,
    now: Mutex<Loaded>,
}

struct Loaded {
    stamps: Vec<Option<Stamp>>,
    acceptor: TlsAcceptor,
    /// What is wrong with the files now, which is told once. They are tried again until they are read.
    trouble: Option<String>,
}

impl HubTls {
    /// Reads the files.
    pub fn new(files: TlsFiles) -> Result<HubTls, TlsError> {
        let now = Loaded { stamps: stamps(&files), acceptor: acceptor(&files)?, trouble: None };
        Ok(HubTls { files, now: Mutex::new(now) })
    }

    /// What takes connections now.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        self.now.lock().unwrap_or_else(PoisonError::into_inner).acceptor.clone()
    }

    /// Whether a device must have shown a certificate.
    pub(super) fn wants_certificate(&self) -> bool {
        self.files.client_ca_file.is_some()
    }

    /// Reads the files again when one of them has changed, as certbot does every other month. Waits for the disk.
    pub(super) fn refresh(&self) {
        let stamps = stamps(&self.files);
        let now = || self.now.lock().unwrap_or_else(PoisonError::into_inner);
        let is_same = |now: &Loaded| now.stamps == stamps && now.trouble.is_none();
        if is_same(&now()) {
            return;
        }
        let renewed = acceptor(&self.files);
        let mut now = now();
        match renewed {
            Ok(acceptor) => {
                *now = Loaded { stamps, acceptor, trouble: None };
                tracing::info!("The hub's certificate was read anew.");
            }
            // Half of a renewal, perhaps: the other file comes next.
            Err(error) => {
                let why = excerpt(&with_causes(&error));
                if now.trouble.as_ref() != Some(&why) {
                    tracing::warn!("The hub goes on with the certificate that it has: {why}.");
                    now.trouble = Some(why);
                }
            }
        }
    }
}

fn stamps(files: &TlsFiles) -> Vec<Option<Stamp>> {
    let TlsFiles { certificate, client_ca_file } = files;
    let all = [&certificate.certificate_file, &certificate.key_file];
    all.into_iter().chain(client_ca_file).map(|file| stamp(file)).collect()
}

fn acceptor(files: &TlsFiles) -> Result<TlsAcceptor, TlsError> {
    let builder = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Setup)?;
    let builder = match &files.client_ca_file {
        Some(file) => {
            let verifier =
                WebPkiClientVerifier::builder_with_provider(authorities(file)?, provider())
                    // Browsers have none; devices without one are refused at their door.
                    .allow_unauthenticated()
                    .build()
                    .map_err(|error| TlsError::Setup(rustls::Error::General(error.to_string())))?;
            builder.with_client_cert_verifier(verifier)
        }
        None => builder.with_no_client_auth(),
    };
    let shown = SingleCertAndKey::from(files.certificate.read()?);
    Ok(TlsAcceptor::from(Arc::new(builder.with_cert_resolver(Arc::new(shown)))))
}
