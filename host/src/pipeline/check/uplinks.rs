//! `[uplink]`, once or several times, and `[spool]`: the ways out, and where messages wait for them.

use std::ops::RangeInclusive;
use std::path::PathBuf;

use toml::Spanned;
use toml::de::DeValue;

use super::{Checker, Unique, mqtt, parse_name, place, socketio};
use crate::pipeline::keys::Keys;
use crate::pipeline::{Protocol, Uplink};
use crate::spool::{self, SpoolSettings, WhenFull};
use crate::uplink::{DASHBOARD, Endpoint, Order, TlsSettings};

/// Most uplinks: each is a connection and a place in the spool.
const MOST_UPLINKS: usize = 8;
/// Most addresses of one uplink.
const MOST_ADDRESSES: usize = 8;
const WEBSOCKET_ADDRESS: &str =
    "a WebSocket address such as \"ws://localhost:8080\" or \"wss://hub.example/uplink\"";
/// How an uplink is called that has no name.
const USUAL_NAME: &str = "uplink";
/// Most messages a second of those that waited, as long as live ones go first.
const CATCH_UP_RATES: RangeInclusive<i64> = 1..=100_000;
/// What it is when the file does not say it: an hour at one reading a second of twenty sensors comes in 72 s, with 125 kB/s.
const CATCH_UP_RATE: u32 = 1_000;

/// What of the rest of the file an uplink depends on.
pub(super) struct Whole<'n> {
    /// The device's name, if it is right.
    pub(super) device: Option<&'n str>,
    /// The names of the sensors.
    pub(super) sensors: &'n [&'n str],
}

/// What an uplink speaks, before its settings are known.
#[derive(Clone, Copy)]
enum Speaks {
    WebSocket,
    Mqtt,
    SocketIo,
}

impl<'a> Checker<'_, 'a, '_> {
    /// The ways out, and whether the file names any.
    pub(super) fn uplinks(
        &mut self,
        top: &mut Keys<'_, 'a>,
        whole: &Whole<'_>,
    ) -> (Vec<Option<Uplink>>, bool) {
        let Some(value) = top.get("uplink") else { return (Vec::new(), false) };
        let tables = match value.get_ref().as_table() {
            Some(table) => vec![(table, value.span())],
            None => self.tables(top, "uplink"),
        };
        if tables.len() > MOST_UPLINKS {
            let text = format!(
                "there are {} [[uplink]]: at most {MOST_UPLINKS} are allowed",
                tables.len()
            );
            self.source.problem(&value.span(), text);
        }
        let mut names = Unique::new("name");
        let mut uplinks = Vec::new();
        for (position, (table, span)) in tables.iter().take(MOST_UPLINKS).enumerate() {
            let place = if tables.len() == 1 {
                "uplink".to_owned()
            } else {
                place("uplink", position, table)
            };
            let mut keys = Keys::new(place, table, span.clone());
            uplinks.push(self.uplink(&mut keys, &mut names, whole));
        }
        (uplinks, true)
    }

    fn uplink(
        &mut self,
        keys: &mut Keys<'_, 'a>,
        names: &mut Unique,
        whole: &Whole<'_>,
    ) -> Option<Uplink> {
        let allowed = "1 to 64 letters, digits, dashes, dots or underscores, and not \"dashboard\"";
        let parse = |text: &str| parse_name(text).filter(|name| name != DASHBOARD);
        let is_named = keys.get("name").is_some();
        let name = keys.parsed(self.source, "name", allowed, parse);
        let span = name.as_ref().map_or_else(|| keys.span().clone(), |at| at.span.clone());
        let name = match name {
            Some(at) => Some(at.value),
            None => (!is_named).then(|| USUAL_NAME.to_owned()),
        };
        if let Some(name) = &name {
            names.check(self.source, keys, name, &span);
        }
        let protocols = [
            ("websocket", Speaks::WebSocket),
            ("mqtt", Speaks::Mqtt),
            ("socket.io", Speaks::SocketIo),
        ];
        let speaks = keys.choice(self.source, "protocol", &protocols);
        let (endpoints, protocol, token_file, order);
        match speaks.map_or(Speaks::WebSocket, |at| at.value) {
            Speaks::WebSocket => {
                endpoints = self.endpoints(keys, &["ws", "wss"], WEBSOCKET_ADDRESS);
                (protocol, token_file) = (Some(Protocol::WebSocket), self.token_file(keys));
                order = self.order(keys);
            }
            Speaks::Mqtt => {
                endpoints = self.endpoints(keys, &mqtt::SCHEMES, mqtt::ADDRESS);
                (protocol, token_file) = self.mqtt(keys, whole);
                order = Order::InOrder;
            }
            Speaks::SocketIo => {
                endpoints = self.endpoints(keys, &socketio::SCHEMES, socketio::ADDRESS);
                token_file = self.token_file(keys);
                protocol = Some(self.socketio(keys));
                order = Order::InOrder;
            }
        }
        let tls = self.tls(keys);
        let is_plain = |endpoints: &Vec<Endpoint>| !endpoints.iter().any(Endpoint::is_encrypted);
        if tls.as_ref().is_some_and(|tls| *tls != TlsSettings::default())
            && endpoints.as_ref().is_some_and(is_plain)
        {
            let scheme = match protocol {
                Some(Protocol::Mqtt(_)) => "an mqtts",
                Some(Protocol::SocketIo(_)) => "an https",
                _ => "a wss",
            };
            let text =
                format!("{}: certificates are of use with {scheme}:// address alone", keys.place);
            self.source.problem(keys.span(), text);
        }
        keys.finish(self.source);
        let (name, protocol, endpoints) = (name?, protocol?, endpoints?);
        Some(Uplink { name, protocol, endpoints, token_file, tls: tls?, order })
    }

    fn token_file(&mut self, keys: &mut Keys<'_, 'a>) -> Option<PathBuf> {
        let parse = |text: &str| Some(self.folder.join(text));
        keys.parsed(self.source, "token_file", "the path of a file", parse).map(|at| at.value)
    }

    /// Refuses a key that another protocol has, and says what to do instead.
    pub(super) fn not_here(&mut self, keys: &mut Keys<'_, 'a>, key: &'static str, why: &str) {
        if let Some(value) = keys.get(key) {
            let text = format!("{}: `{key}` is not for this protocol: {why}", keys.place);
            self.source.problem(&value.span(), text);
        }
    }

    /// One address, or several that are tried in turn.
    fn endpoints(
        &mut self,
        keys: &mut Keys<'_, 'a>,
        schemes: &[&str],
        address: &str,
    ) -> Option<Vec<Endpoint>> {
        let allowed = &format!("{address}, or a list of them");
        let Some(value) = keys.get("url") else {
            keys.missing(self.source, "url", allowed);
            return None;
        };
        let values: Vec<&Spanned<DeValue<'_>>> = match value.get_ref().as_array() {
            Some(array) => array.iter().collect(),
            None => vec![value],
        };
        if values.is_empty() || values.len() > MOST_ADDRESSES {
            let allowed = format!("{allowed}, from 1 to {MOST_ADDRESSES}");
            keys.refuse(self.source, "url", &value.span(), allowed);
            return None;
        }
        let mut endpoints = Vec::new();
        let count = values.len();
        for value in values {
            match value.get_ref().as_str().and_then(|text| Endpoint::parse_as(schemes, text)) {
                Some(endpoint) => endpoints.push(endpoint),
                None => keys.refuse(self.source, "url", &value.span(), allowed),
            }
        }
        (endpoints.len() == count).then_some(endpoints)
    }

    fn order(&mut self, keys: &mut Keys<'_, 'a>) -> Order {
        let rate = keys.integer(self.source, "catch_up_rate", CATCH_UP_RATES);
        let span = rate.as_ref().map(|at| at.span.clone());
        let rate = rate.and_then(|at| u32::try_from(at.value).ok()).unwrap_or(CATCH_UP_RATE);
        let live_first = Order::LiveFirst { catch_up_rate: rate };
        let orders = [("live-first", live_first), ("in-order", Order::InOrder)];
        let order = keys.choice(self.source, "order", &orders).map_or(live_first, |at| at.value);
        if let (Order::InOrder, Some(span)) = (order, span) {
            let text = format!(
                "{}: `catch_up_rate` is for `order = \"live-first\"`: in order nothing is held back",
                keys.place
            );
            self.source.problem(&span, text);
        }
        order
    }

    /// Where messages wait.
    pub(super) fn spool(&mut self, top: &mut Keys<'_, 'a>) -> SpoolSettings {
        let usual = SpoolSettings::default();
        let Some(mut keys) = self.table(top, "spool") else { return usual };
        let keys = &mut keys;
        let commit_interval = keys.duration(
            self.source,
            "commit_interval",
            spool::COMMIT_INTERVALS,
            usual.commit_interval,
        );
        let mebibytes = in_units(spool::MOST_BYTES_RANGE, 20);
        let most_bytes = self.count(keys, "max_size_mib", mebibytes, 20, usual.most_bytes);
        let longest = keys.duration(self.source, "max_age", spool::LONGEST_RANGE, usual.longest);
        let kibibytes = in_units(spool::MEMORY_BYTES_RANGE, 10);
        let memory_bytes = self.count(keys, "memory_kib", kibibytes, 10, usual.memory_bytes);
        let ratios = in_units(spool::KEEP_ONE_IN_RANGE, 0);
        let keep_span = keys.get("keep_one_in").map(Spanned::span);
        let keep_one_in = self.count(keys, "keep_one_in", ratios, 0, spool::KEEP_ONE_IN);
        let policies = [
            ("drop-oldest", WhenFull::DropOldest),
            ("thin-out", WhenFull::ThinOut { keep_one_in }),
        ];
        let when_full = keys.choice(self.source, "when_full", &policies);
        let when_full = when_full.map_or(usual.when_full, |at| at.value);
        if let (WhenFull::DropOldest, Some(span)) = (when_full, keep_span) {
            let text = format!("{}: `keep_one_in` is for `when_full = \"thin-out\"`", keys.place);
            self.source.problem(&span, text);
        }
        keys.finish(self.source);
        SpoolSettings { commit_interval, most_bytes, longest, when_full, memory_bytes }
    }
}

/// A range in units of 2 to the power of `shift`.
fn in_units<T: Copy + TryInto<i64>>(range: RangeInclusive<T>, shift: u32) -> RangeInclusive<i64> {
    let [low, high] = [*range.start(), *range.end()].map(|end| end.try_into().unwrap_or(i64::MAX));
    low >> shift..=high >> shift
}
