//! Where an uplink goes, and what it shows at the door.

use std::fmt;
use std::io;
use std::path::Path;

use tokio_tungstenite::tungstenite::http::Uri;

/// A WebSocket address that can be connected to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    uri: Uri,
}

impl Endpoint {
    /// Reads `ws://host[:port][/path]` or `wss://…`.
    pub fn parse(text: &str) -> Option<Endpoint> {
        Endpoint::parse_as(&["ws", "wss"], text)
    }

    /// Reads an address with one of these schemes.
    pub fn parse_as(schemes: &[&str], text: &str) -> Option<Endpoint> {
        let uri: Uri = text.parse().ok()?;
        let known = uri.scheme_str().is_some_and(|scheme| schemes.contains(&scheme));
        // A name and password in the address would end up in logs: tokens have a file of their own.
        let plain = uri.authority().is_some_and(|authority| !authority.as_str().contains('@'));
        let port =
            uri.authority().zip(uri.host()).and_then(|(all, host)| all.as_str().strip_prefix(host));
        // A port that is no port would silently become the usual one.
        let port_fits = port.is_some_and(|port| {
            port.is_empty()
                || port.strip_prefix(':').is_some_and(|p| p.parse::<u16>().is_ok_and(|p| p > 0))
        });
        (known && plain && port_fits && uri.host().is_some_and(|host| !host.is_empty()))
            .then_some(Endpoint { uri })
    }

    /// The address.
    pub fn uri(&self) -> &Uri {
        &self.uri
    }

    /// The name or number of the host; an IPv6 address without its brackets.
    pub fn host(&self) -> &str {
        self.uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']')
    }

    /// The port: that of the address, else the usual one of its scheme.
    pub fn port(&self) -> u16 {
        let usual = match self.uri.scheme_str() {
            Some("mqtt") => 1_883,
            Some("mqtts") => 8_883,
            Some("wss" | "https") => 443,
            _ => 80,
        };
        self.uri.port_u16().unwrap_or(usual)
    }

    /// Whether it is to be reached by TLS.
    pub fn is_encrypted(&self) -> bool {
        matches!(self.uri.scheme_str(), Some("wss" | "https" | "mqtts"))
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.uri.fmt(f)
    }
}

/// Longest token file, in bytes.
const LONGEST_TOKEN: u64 = 4_096;

/// The first line of a token file.
pub fn read_token(file: &Path) -> io::Result<String> {
    let text = crate::file::read_text(file, LONGEST_TOKEN)?;
    let token = text.lines().next().unwrap_or_default().trim();
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "its first line must be the token: printable ASCII without spaces",
        ));
    }
    Ok(token.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn websocket_addresses_are_accepted_and_others_not() {
        for text in ["ws://localhost:8080", "wss://hub.example/uplink", "ws://[::1]:9000/x?y=z"] {
            assert!(Endpoint::parse(text).is_some(), "{text}");
        }
        for text in [
            "",
            "localhost:8080",
            "http://hub",
            "ws://",
            "ws://user:secret@hub/",
            "ws://:80",
            "ws://hub:99999",
            "ws://hub:0",
            "ws://hub:",
        ] {
            assert!(Endpoint::parse(text).is_none(), "{text}");
        }
    }
}
