//! Opens the byte stream to an endpoint: a TCP connection, with TLS where the address says so.

use std::io;

use tokio::io::{AsyncRead, AsyncWrite};

use super::dial::dial;
use super::tls::Explained;
use super::{Endpoint, Tls};

/// Bytes both ways.
pub(super) trait Bytes: AsyncRead + AsyncWrite + Send + Sync + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Sync + Unpin> Bytes for S {}

/// Looks the name up, anew each time, and connects.
pub(super) async fn open(endpoint: &Endpoint, tls: Option<&Tls>) -> io::Result<Box<dyn Bytes>> {
    let stream = dial(endpoint.host(), endpoint.port()).await?;
    match tls {
        _ if !endpoint.is_encrypted() => Ok(Box::new(stream)),
        Some(tls) => Ok(Box::new(tls.secure(endpoint.host(), stream).await?)),
        // Never in the clear what was to be encrypted.
        None => Err(io::Error::other("TLS was not set up for this address")),
    }
}

/// Why a byte stream did not come about, or ended.
pub(super) fn explain(error: &io::Error, tls: Option<&Tls>) -> Explained {
    let cause = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match (cause, tls) {
        (Some(cause), Some(tls)) => tls.explain(cause),
        _ => error.to_string().into(),
    }
}
