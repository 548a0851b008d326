//! Opens the byte stream to an endpoint: a TCP connection, with TLS where the address says so.

use std::io;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::Endpoint;

/// Bytes both ways.
pub(super) trait Bytes: AsyncRead + AsyncWrite + Send + Sync + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Sync + Unpin> Bytes for S {}

/// Looks the name up, anew each time, and connects.
pub(super) async fn open(
    endpoint: &Endpoint,
    tls: Option<&Arc<ClientConfig>>,
) -> io::Result<Box<dyn Bytes>> {
    let (host, port) = (endpoint.host(), endpoint.port());
    let stream = TcpStream::connect((host, port)).await?;
    stream.set_nodelay(true)?;
    match (endpoint.is_encrypted(), tls) {
        (false, _) => Ok(Box::new(stream)),
        (true, Some(tls)) => {
            let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
            let stream = TlsConnector::from(tls.clone()).connect(name, stream).await?;
            Ok(Box::new(stream))
        }
        // Never in the clear what was to be encrypted.
        (true, None) => Err(io::Error::other("TLS was not set up for this address")),
    }
}
