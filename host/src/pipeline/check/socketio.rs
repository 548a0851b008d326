//! The keys of an `[uplink]` that speaks socket.io.

use super::Checker;
use crate::pipeline::Protocol;
use crate::pipeline::keys::Keys;
use crate::uplink::socketio::{Delivered, SocketIoSettings};

/// The namespace of a server that has no others.
const MAIN: &str = "/";
/// Longest name of a namespace, in characters.
const LONGEST: usize = 128;
const NAMESPACE_ALLOWED: &str =
    "`/` or a name that begins with it, 1 to 128 characters without commas, `?` and spaces";

/// The schemes of its addresses.
pub(super) const SCHEMES: [&str; 2] = ["http", "https"];
pub(super) const ADDRESS: &str =
    "a socket.io server's address such as \"http://localhost:3000\" or \"https://hub.example\"";

impl<'a> Checker<'_, 'a, '_> {
    pub(super) fn socketio(&mut self, keys: &mut Keys<'_, 'a>) -> Protocol {
        for key in ["order", "catch_up_rate"] {
            self.not_here(keys, key, "to a socket.io server messages go in order");
        }
        let namespace = keys.parsed(self.source, "namespace", NAMESPACE_ALLOWED, parse_namespace);
        let acks = keys.boolean(self.source, "acks", false);
        Protocol::SocketIo(SocketIoSettings {
            namespace: namespace.map_or_else(|| MAIN.to_owned(), |at| at.value),
            delivered: if acks { Delivered::Acked } else { Delivered::Read },
        })
    }
}

fn parse_namespace(text: &str) -> Option<String> {
    let wrong = |c: char| c.is_control() || c.is_whitespace() || matches!(c, ',' | '?');
    let fits = (1..=LONGEST).contains(&text.chars().count());
    (fits && text.starts_with('/') && !text.contains(wrong)).then(|| text.to_owned())
}
