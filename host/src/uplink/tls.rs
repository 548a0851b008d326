//! TLS for ways out: whom they trust, what they show, and what a handshake that failed means.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{AlertDescription, CertificateError, ClientConfig, Error, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::certificate::{CertificateFiles, TlsError, authorities, date, provider};
use crate::file::printable;

/// Whom a way out trusts, and what it shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsSettings {
    /// PEM: the only authorities that are trusted. Without it, those of the system.
    pub ca_file: Option<PathBuf>,
    /// What is shown to a peer that asks for a certificate.
    pub certificate: Option<CertificateFiles>,
}

/// What rustls needs to connect. All files are read and fitted to each other here, before the start. Certificates are
/// always checked: there is no setting that leaves that out.
pub fn client_config(settings: &TlsSettings) -> Result<Arc<ClientConfig>, TlsError> {
    let roots = match &settings.ca_file {
        Some(file) => authorities(file)?,
        None => system_authorities()?,
    };
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Setup)?
        .with_root_certificates(roots);
    let config = match &settings.certificate {
        Some(files) => {
            let shown = rustls::sign::SingleCertAndKey::from(files.read()?);
            builder.with_client_cert_resolver(Arc::new(shown))
        }
        None => builder.with_no_client_auth(),
    };
    Ok(Arc::new(config))
}

fn system_authorities() -> Result<Arc<RootCertStore>, TlsError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // A system's list may hold one that rustls does not read; the others serve.
    let (added, _ignored) = roots.add_parsable_certificates(found.certs);
    if added == 0 {
        return Err(TlsError::NoAuthority);
    }
    Ok(Arc::new(roots))
}

/// TLS of one uplink.
#[derive(Clone, Debug)]
pub(super) struct Tls {
    config: Arc<ClientConfig>,
    settings: TlsSettings,
}

impl Tls {
    /// Reads the files of the settings.
    pub(super) fn new(settings: &TlsSettings) -> Result<Tls, TlsError> {
        Ok(Tls { config: client_config(settings)?, settings: settings.clone() })
    }

    /// Shakes hands over a connection with the host of that name.
    pub(super) async fn secure(
        &self,
        host: &str,
        stream: TcpStream,
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from(host.to_owned()).map_err(std::io::Error::other)?;
        TlsConnector::from(self.config.clone()).connect(name, stream).await
    }

    /// What went wrong, and what to do about it.
    pub(super) fn explain(&self, error: &Error) -> Explained {
        let unset = (!crate::clock::is_synchronized()).then_some(CLOCK_UNSYNCED);
        let (why, reason) = match error {
            Error::InvalidCertificate(certificate) => match certificate {
                CertificateError::NotValidYetContext { time, not_before } => {
                    let (now, begins) = (date(*time), date(*not_before));
                    let text = format!(
                        "the hub's certificate is valid from {begins} on, and this device's clock shows {now}"
                    );
                    (text, unset)
                }
                CertificateError::ExpiredContext { time, not_after } => {
                    let (now, ended) = (date(*time), date(*not_after));
                    let text = format!(
                        "the hub's certificate expired on {ended}, and this device's clock shows {now}"
                    );
                    (text, unset)
                }
                other => (self.explain_certificate(other), None),
            },
            Error::AlertReceived(alert) => (self.explain_alert(*alert), None),
            Error::InvalidMessage(_) => {
                ("its answer is not TLS: is the hub's address ws://…?".to_owned(), None)
            }
            other => (format!("TLS: {other}"), None),
        };
        Explained { why, reason }
    }

    fn explain_certificate(&self, error: &CertificateError) -> String {
        match error {
            // Of an authority with the same name and another key the signature is bad.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => match &self.settings.ca_file {
                Some(file) => format!(
                    "the hub's certificate has an unknown issuer: none of those in {}",
                    printable(&file.display().to_string())
                ),
                None => "the hub's certificate has an unknown issuer: none that this system trusts; \
                         name the hub's own authority in `ca_file`"
                    .to_owned(),
            },
            CertificateError::NotValidForNameContext { expected, presented } => {
                let names: Vec<&str> = presented.iter().map(|name| bare(name)).collect();
                let names = if names.is_empty() { "no name".to_owned() } else { names.join(", ") };
                format!("the hub's certificate is for {names}, not for {}", expected.to_str())
            }
            // What `openssl req -x509` makes unless it is told otherwise.
            CertificateError::Other(other) if other.to_string().contains("CaUsedAsEndEntity") => {
                "the hub's certificate is that of an authority (CA:TRUE), and an authority's must not be used by a hub: \
                 let it sign one for the hub"
                    .to_owned()
            }
            other => format!("the hub's certificate cannot be accepted: {other}"),
        }
    }

    fn explain_alert(&self, alert: AlertDescription) -> String {
        use AlertDescription as A;
        let has_own = self.settings.certificate.is_some();
        match alert {
            A::CertificateRequired | A::NoCertificate | A::HandshakeFailure if !has_own => {
                "the hub wants a certificate of this device: `certificate_file` and `key_file`"
                    .to_owned()
            }
            A::UnknownCA
            | A::BadCertificate
            | A::CertificateUnknown
            | A::CertificateExpired
            | A::CertificateRevoked
            | A::UnsupportedCertificate
            | A::AccessDenied
            | A::DecryptError => {
                format!("the hub refuses the certificate of this device ({alert:?})")
            }
            A::UnrecognisedName => "the hub does not know the name that it is called by".to_owned(),
            A::ProtocolVersion => "the hub speaks neither TLS 1.2 nor 1.3".to_owned(),
            other => format!("the hub broke the TLS handshake off ({other:?})"),
        }
    }
}

/// `DnsName("hub.example")` without the library's own words.
fn bare(name: &str) -> &str {
    let inner = name.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')'));
    inner.unwrap_or(name).trim_matches('"')
}

/// The reason of an uplink that fails because nobody has set the clock yet. It comes right by itself with the clock.
const CLOCK_UNSYNCED: &str = "clock_unsynced";

/// Why there is no connection.
#[derive(Debug)]
pub(super) struct Explained {
    pub(super) why: String,
    /// A word for programs, where there is one.
    pub(super) reason: Option<&'static str>,
}

impl From<String> for Explained {
    fn from(why: String) -> Self {
        Explained { why, reason: None }
    }
}
