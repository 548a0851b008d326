//! `/uplink`: one WebSocket a device.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::extract::{ConnectInfo, Extension, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use tokio::time::{Instant, timeout};
use uuid::Uuid;

use super::Served;
use super::gate::{Admission, ClientCertificate};
use super::receive::receive;
use super::state::Hub;
use crate::file::excerpt;
use crate::uplink::wire::{Connect, HubMessage, PLAIN_PROTOCOL, PROTOCOL, to_json};

/// Largest frame from a device: about two thousand readings.
const LARGEST_MESSAGE: usize = 256 << 10;
/// A device that opens a connection says who it is within this.
const CONNECT_DEADLINE: Duration = Duration::from_secs(10);
/// A device is asked for a sign of life so often, and given up after two pings without an answer.
const PING_EVERY: Duration = Duration::from_secs(15);
const SILENCE: Duration = Duration::from_secs(32);
/// Longest time for one write to a device.
const WRITE_DEADLINE: Duration = Duration::from_secs(10);

/// Takes a device's connection. A page of another origin may not speak for a device.
pub(super) async fn uplink(
    State(served): State<Served>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Extension(certificate): Extension<ClientCertificate>,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Response {
    if !is_of_this_hub(&headers, served.gate.count().is_some()) {
        return (StatusCode::FORBIDDEN, "this page is not of this hub").into_response();
    }
    let admission = match served.gate.admit(&headers, certificate, peer).await {
        Ok(admission) => admission,
        Err(refusal) => return refusal,
    };
    upgrade
        .max_message_size(LARGEST_MESSAGE)
        .max_frame_size(LARGEST_MESSAGE)
        .protocols([PROTOCOL, PLAIN_PROTOCOL])
        .on_upgrade(move |socket| serve(socket, served, peer, admission))
}

/// Whether a page that a browser has open may connect; who sends no `Origin` is no browser. Where nobody is asked for a
/// token, the host must be named by its number or as `localhost`: any page can give this machine a name of its own.
fn is_of_this_hub(headers: &HeaderMap, asks_for_tokens: bool) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else { return true };
    let same = || {
        let (scheme, origin) = origin.to_str().ok()?.split_once("://")?;
        let usual = if scheme.eq_ignore_ascii_case("https") { 443 } else { 80 };
        let origin: Authority = origin.parse().ok()?;
        let host: Authority = headers.get(header::HOST)?.to_str().ok()?.parse().ok()?;
        let port = |of: &Authority| of.port_u16().unwrap_or(usual);
        let is_same =
            origin.host().eq_ignore_ascii_case(host.host()) && port(&origin) == port(&host);
        let bare = host.host().trim_start_matches('[').trim_end_matches(']');
        let is_nobodys = bare.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok();
        Some(is_same && (asks_for_tokens || is_nobodys))
    };
    same().unwrap_or(false)
}

async fn serve(socket: WebSocket, mut served: Served, peer: SocketAddr, admission: Admission) {
    let acks = socket.protocol().is_some_and(|protocol| protocol == PROTOCOL);
    let mut connection = Connection {
        socket,
        hub: &served.hub,
        peer,
        admission,
        acks,
        name: None,
        stream: None,
        heard: Instant::now(),
    };
    let ended = tokio::select! {
        // The device keeps what was not acked, and comes back.
        () = served.stop.wait() => Err("the hub is stopping".to_owned()),
        ended = connection.run() => ended,
    };
    let device = connection.name.clone();
    let stream = connection.stream;
    let shown = device.as_deref().unwrap_or("?").escape_debug();
    match ended {
        Ok(()) => tracing::info!(device = %shown, %peer, "The device left."),
        Err(why) => {
            let why = excerpt(&why);
            tracing::warn!(device = %shown, %peer, "The device's connection ended: {why}.");
            // A peer that is gone cannot be told.
            let _told = connection.close(&why).await;
        }
    }
    if let Some(name) = device {
        served.hub.disconnect(&name, stream);
    }
}

struct Connection<'h> {
    socket: WebSocket,
    hub: &'h Hub,
    peer: SocketAddr,
    admission: Admission,
    acks: bool,
    name: Option<String>,
    stream: Option<Uuid>,
    heard: Instant,
}

impl Connection<'_> {
    async fn run(&mut self) -> Result<(), String> {
        let begun = Instant::now();
        let mut pings = tokio::time::interval_at(begun + PING_EVERY, PING_EVERY);
        loop {
            tokio::select! {
                incoming = self.socket.recv() => {
                    self.heard = Instant::now();
                    match incoming {
                        Some(Ok(Message::Text(text))) => self.hear(&text).await?,
                        Some(Ok(Message::Binary(_))) => return Err("it sent a binary frame: messages are JSON text".to_owned()),
                        Some(Ok(Message::Close(_))) | None => return Ok(()),
                        Some(Ok(_)) => {}
                        Some(Err(error)) => return Err(error.to_string()),
                    }
                }
                () = self.admission.revoked() => return Err("its token was revoked".to_owned()),
                _ = pings.tick() => {
                    self.send(Message::Ping(Default::default())).await?;
                }
                () = tokio::time::sleep_until(self.heard + SILENCE) => {
                    return Err(format!("no sign of life for {} s", SILENCE.as_secs()));
                }
                () = tokio::time::sleep_until(begun + CONNECT_DEADLINE), if self.name.is_none() => {
                    return Err(format!("it did not send `connect` within {CONNECT_DEADLINE:?}"));
                }
            }
        }
    }

    async fn hear(&mut self, text: &str) -> Result<(), String> {
        let Some(name) = &self.name else {
            let taken = self.connect(text)?;
            return self.ack(taken).await;
        };
        let taken = self.hub.take(name, self.stream, receive(text)?).map_err(|e| e.to_string())?;
        self.ack(taken).await
    }

    /// The first message. A plain device need not name itself: it is called by its address.
    fn connect(&mut self, text: &str) -> Result<u64, String> {
        #[derive(Deserialize)]
        struct Unnamed {
            #[serde(rename = "type")]
            kind: Box<str>,
            device: Option<String>,
        }
        let first: Unnamed = serde_json::from_str(text).map_err(|e| not_of_the_wire(&e))?;
        if &*first.kind != "connect" {
            return Err("its first message is not `connect`".to_owned());
        }
        let mut json: serde_json::Value =
            serde_json::from_str(text).map_err(|e| not_of_the_wire(&e))?;
        let name = self.admission.name(first.device)?;
        let name = name.unwrap_or_else(|| self.peer.ip().to_string());
        if let Some(fields) = json.as_object_mut() {
            fields.insert("device".to_owned(), name.clone().into());
        }
        let connect: Connect = serde_json::from_value(json).map_err(|e| not_of_the_wire(&e))?;
        let stream = connect.stream;
        let taken = self.hub.connect(connect).map_err(|e| e.to_string())?;
        tracing::info!(device = %name.escape_debug(), peer = %self.peer, acks = self.acks, "A device connected.");
        self.name = Some(name);
        self.stream = stream;
        Ok(taken)
    }

    async fn ack(&mut self, seq: u64) -> Result<(), String> {
        if !self.acks || seq == 0 {
            return Ok(());
        }
        self.send(Message::Text(to_json(&HubMessage::Ack { seq, ahead: None }).into())).await
    }

    async fn send(&mut self, message: Message) -> Result<(), String> {
        match timeout(WRITE_DEADLINE, self.socket.send(message)).await {
            Ok(sent) => sent.map_err(|e| e.to_string()),
            Err(_) => Err(format!("it took nothing for {WRITE_DEADLINE:?}")),
        }
    }

    async fn close(&mut self, why: &str) -> Result<(), String> {
        // A close frame has room for 123 bytes of reason (RFC 6455, 5.5).
        let reason: String = why.chars().filter(char::is_ascii).take(120).collect();
        let frame = CloseFrame { code: close_code::POLICY, reason: reason.into() };
        self.send(Message::Close(Some(frame))).await
    }
}

fn not_of_the_wire(error: &serde_json::Error) -> String {
    format!("it sent what is not of the wire: {error}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_speaks_to_its_own_hub_alone() {
        for (origin, host, with_tokens, without) in [
            ("http://127.0.0.1:8080", "127.0.0.1:8080", true, true),
            ("http://localhost:8080", "LOCALHOST:8080", true, true),
            ("http://[::1]:8080", "[::1]:8080", true, true),
            ("https://192.168.1.5", "192.168.1.5:443", true, true),
            ("https://Hub.example", "hub.example", true, false),
            ("https://hub.example", "hub.example:443", true, false),
            ("http://hub.example:80", "hub.example", true, false),
            ("https://hub.example", "hub.example:8443", false, false),
            ("http://127.0.0.1:8080", "127.0.0.1:8081", false, false),
            ("http://evil.example", "127.0.0.1:8080", false, false),
            ("http://evil.example:8080", "evil.example:8080", true, false),
            ("null", "127.0.0.1:8080", false, false),
            ("", "", false, false),
            ("http://", "127.0.0.1", false, false),
            ("http://127.0.0.1/x", "127.0.0.1", false, false),
        ] {
            let headers = HeaderMap::from_iter([
                (header::ORIGIN, origin.parse().unwrap()),
                (header::HOST, host.parse().unwrap()),
            ]);
            assert_eq!(is_of_this_hub(&headers, true), with_tokens, "{origin} {host}");
            assert_eq!(is_of_this_hub(&headers, false), without, "{origin} {host}");
        }
        assert!(is_of_this_hub(&HeaderMap::new(), false));
    }
}
