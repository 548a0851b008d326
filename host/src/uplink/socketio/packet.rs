//! Packets of Engine.IO 4 and, within its messages, of Socket.IO 5: text. Pure.

use std::time::Duration;

use serde::Deserialize;
use serde_json::json;

use crate::file::excerpt;

/// The answer to a ping.
pub(super) const PONG: &str = "3";
/// The namespace that is not named in packets.
const MAIN: &str = "/";

/// What a server opens with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Hello {
    /// From one ping to the next, in milliseconds.
    ping_interval: u64,
    /// How late a ping may be, in milliseconds.
    ping_timeout: u64,
    /// Longest packet, in bytes; some servers do not say it.
    #[serde(default)]
    pub(super) max_payload: Option<usize>,
}

impl Hello {
    /// A server that says nothing for so long is gone.
    pub(super) fn silence(self) -> Duration {
        Duration::from_millis(self.ping_interval.saturating_add(self.ping_timeout))
    }
}

/// What comes from a server.
#[derive(Debug)]
pub(super) enum Packet {
    /// The first one.
    Open(Result<Hello, serde_json::Error>),
    /// It wants a [`PONG`].
    Ping,
    /// The connection is going to be closed.
    Close,
    /// The namespace took us.
    Connected,
    /// The namespace did not, and why.
    Refused(String),
    /// The namespace let us go.
    Disconnected,
    /// The event with this number was taken.
    Ack(u64),
    /// Events of the server's, and what belongs to other namespaces.
    Other,
}

impl Packet {
    pub(super) fn parse(text: &str, namespace: &str) -> Packet {
        match text.split_at_checked(1) {
            Some(("0", rest)) => Packet::Open(serde_json::from_str(rest)),
            Some(("1", _)) => Packet::Close,
            Some(("2", _)) => Packet::Ping,
            Some(("4", message)) => Packet::of_message(message, namespace).unwrap_or(Packet::Other),
            _ => Packet::Other,
        }
    }

    fn of_message(message: &str, own: &str) -> Option<Packet> {
        let (kind, rest) = message.split_at_checked(1)?;
        let (namespace, rest) = match rest.split_once(',') {
            Some((namespace, rest)) if namespace.starts_with('/') => (namespace, rest),
            // A packet without anything behind its namespace may lack the comma.
            None if rest.starts_with('/') => (rest, ""),
            _ => (MAIN, rest),
        };
        // The server may tell its query again, as in `/part?token=…`.
        if namespace.split('?').next() != Some(own) {
            return None;
        }
        match kind {
            "0" => Some(Packet::Connected),
            "1" => Some(Packet::Disconnected),
            "3" => {
                let digits = rest.split('[').next()?;
                digits.parse().ok().map(Packet::Ack)
            }
            "4" => Some(Packet::Refused(reason(rest))),
            _ => None,
        }
    }
}

/// Why a namespace refuses: its error's message, else all that it says.
fn reason(json: &str) -> String {
    #[derive(Deserialize)]
    struct Reason {
        message: String,
    }
    let said = serde_json::from_str(json).map(|reason: Reason| reason.message);
    excerpt(&said.unwrap_or_else(|_| json.to_owned()))
}

/// Asks a namespace to take us.
pub(super) fn connect(namespace: &str, token: Option<&str>) -> String {
    let auth = token.map(|token| json!({ "token": token }).to_string()).unwrap_or_default();
    format!("40{}{auth}", prefix(namespace))
}

/// Leaves it.
pub(super) fn disconnect(namespace: &str) -> String {
    format!("41{}", prefix(namespace))
}

/// An event with a JSON text; with a number, the server is asked to say that it was taken.
pub(super) fn event(namespace: &str, number: Option<u64>, name: &str, json: &str) -> String {
    let number = number.map(|number| number.to_string()).unwrap_or_default();
    let name = json!(name);
    format!("42{}{number}[{name},{json}]", prefix(namespace))
}

fn prefix(namespace: &str) -> String {
    if namespace == MAIN { String::new() } else { format!("{namespace},") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, namespace: &str, expected: &str) {
        assert_eq!(format!("{:?}", Packet::parse(text, namespace)), expected, "{text}");
    }

    #[test]
    fn packets_are_read() {
        check(
            r#"0{"sid":"x","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}"#,
            "/",
            "Open(Ok(Hello { ping_interval: 25000, ping_timeout: 20000, max_payload: Some(1000000) }))",
        );
        check("2", "/", "Ping");
        check("1", "/", "Close");
        check(r#"40{"sid":"y"}"#, "/", "Connected");
        check(r#"40/part,{"sid":"y"}"#, "/part", "Connected");
        check(r#"40/part,{"sid":"y"}"#, "/", "Other");
        check(r#"40{"sid":"y"}"#, "/part", "Other");
        check("41", "/", "Disconnected");
        check("41/part,", "/part", "Disconnected");
        check("41/part", "/part", "Disconnected");
        check("43712[]", "/", "Ack(712)");
        check(r#"43/part,7[{"ok":true}]"#, "/part", "Ack(7)");
        check("43[]", "/", "Other");
        check("4399999999999999999999[]", "/", "Other");
        check(r#"44{"message":"not authorized","data":{}}"#, "/", r#"Refused("not authorized")"#);
        check(r#"44"no""#, "/", r#"Refused("\"no\"")"#);
        check(r#"42["temperature",{"value":1}]"#, "/", "Other");
        for text in ["", "4", "ä", "4ä", "45", "b4"] {
            check(text, "/", "Other");
        }
    }

    #[test]
    fn packets_are_written() {
        assert_eq!(connect("/", None), "40");
        assert_eq!(connect("/", Some("a\"b")), r#"40{"token":"a\"b"}"#);
        assert_eq!(connect("/part", Some("t")), r#"40/part,{"token":"t"}"#);
        assert_eq!(event("/", None, "fault", "{}"), r#"42["fault",{}]"#);
        assert_eq!(event("/part", Some(7), "fault", "{}"), r#"42/part,7["fault",{}]"#);
        assert_eq!(disconnect("/"), "41");
    }
}
