//! Opens the bytes' way to an endpoint: a TCP connection, and TLS over it where the address says so.

use std::io;

use tokio::io::{AsyncRead, AsyncWrite};

use super::Endpoint;
use super::dial::dial;
use super::tls::{Explained, Tls};

/// TCP, or TLS over it.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Sync + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Sync + Unpin> Stream for S {}

/// Looks the name up, anew each time, and connects.
pub(super) async fn open(endpoint: &Endpoint, tls: Option<&Tls>) -> io::Result<Box<dyn Stream>> {
    let stream = dial(endpoint.host(), endpoint.port()).await?;
    match tls {
        _ if !endpoint.is_encrypted() => Ok(Box::new(stream)),
        Some(tls) => Ok(Box::new(tls.secure(endpoint.host(), stream).await?)),
        // Never in the clear what was to be encrypted.
        None => Err(io::Error::other("TLS was not set up for this address")),
    }
}

/// What an error of such a stream means.
pub(super) fn explain(error: &io::Error, tls: Option<&Tls>) -> Explained {
    let broken = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match (broken, tls) {
        (Some(broken), Some(tls)) => tls.explain(broken),
        _ => error.to_string().into(),
    }
}
