//! Where an uplink goes, and the token that it shows at the door.

use std::fmt;
use std::io;
use std::net::IpAddr;
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
        // Of no meaning here, and left out by the parser.
        let text = Some(text).filter(|text| !text.contains('#'))?;
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
        // A broker has topics, and no paths that could be meant.
        let is_broker = uri.scheme_str().is_some_and(|scheme| scheme.starts_with("mqtt"));
        let path_fits = !is_broker || (matches!(uri.path(), "" | "/") && uri.query().is_none());
        (known
            && plain
            && port_fits
            && path_fits
            && uri.host().is_some_and(|host| !host.is_empty()))
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

    /// Whether it is reached by TLS.
    pub fn is_encrypted(&self) -> bool {
        matches!(self.uri.scheme_str(), Some("wss" | "https" | "mqtts"))
    }

    /// Whether what is sent there leaves this machine.
    pub fn is_elsewhere(&self) -> bool {
        let host = self.host();
        let is_here = host.eq_ignore_ascii_case("localhost")
            || host.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback());
        !is_here
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.uri.fmt(f)
    }
}

/// What a device shows at a hub's door. It is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    text: Box<str>,
}

impl Token {
    /// A token of printable ASCII without spaces.
    pub fn parse(text: &str) -> Option<Token> {
        let fits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        fits.then(|| Token { text: text.into() })
    }

    /// The token itself, for the header that it is sent in.
    pub fn reveal(&self) -> &str {
        &self.text
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// Longest token file, in bytes.
const LONGEST_TOKEN: u64 = 4_096;

/// The first line of a token file, which nobody else may read.
pub(super) fn read_token(file: &Path) -> io::Result<Token> {
    let text = crate::file::read_secret(file, LONGEST_TOKEN)?;
    Token::parse(text.lines().next().unwrap_or_default().trim()).ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::InvalidData,
            "its first line must be the token: printable ASCII without spaces",
        )
    })
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

    #[test]
    fn a_broker_has_no_path() {
        let parse = |text: &str| Endpoint::parse_as(&["mqtt", "mqtts"], text);
        for text in ["mqtt://broker", "mqtts://broker:8883/"] {
            assert!(parse(text).is_some(), "{text}");
        }
        for text in ["mqtt://broker/plant/cold", "mqtt://broker?keep_alive=5", "mqtt://broker/?a"] {
            assert!(parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn an_address_says_who_is_called_and_whether_that_is_this_machine() {
        for (text, host, port, elsewhere) in [
            ("ws://localhost:8080", "localhost", 8080, false),
            ("ws://127.0.0.2/", "127.0.0.2", 80, false),
            ("wss://[::1]/x", "::1", 443, false),
            ("ws://[::ffff:127.0.0.1]:1/", "::ffff:127.0.0.1", 1, false),
            ("wss://hub.example/uplink", "hub.example", 443, true),
            ("ws://localhost.example:9000", "localhost.example", 9000, true),
            ("ws://192.168.1.5", "192.168.1.5", 80, true),
        ] {
            let endpoint = Endpoint::parse(text).unwrap();
            assert_eq!(
                (endpoint.host(), endpoint.port(), endpoint.is_elsewhere()),
                (host, port, elsewhere),
                "{text}"
            );
        }
    }

    #[test]
    fn a_token_is_not_printed() {
        assert_eq!(format!("{:?}", Some(Token::parse("s3cret").unwrap())), "Some(Token(…))");
        assert!(Token::parse("two words").is_none() && Token::parse("").is_none());
    }
}
