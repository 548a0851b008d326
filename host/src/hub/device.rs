//! `/uplink`: one WebSocket a device.

use std::net::SocketAddr;
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, WebSocketUpgrade, close_code};
use axum::extract::{ConnectInfo, Extension, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{Instant, timeout};
use uuid::Uuid;

use super::Served;
use super::gate::{Admission, ClientCertificate};
use super::host::is_of_this_hub;
use super::receive::receive;
use super::state::Hub;
use super::streams::Acked;
use crate::file::excerpt;
use crate::uplink::wire::{Connect, HubMessage, PLAIN_PROTOCOL, PROTOCOL, to_json};

/// Largest frame from a device: about two thousand readings.
const LARGEST_MESSAGE: usize = 256 << 10;
/// What is read at once: each connection holds so much.
const READ_BUFFER: usize = 8 << 10;
/// A device that opens a connection says who it is within this.
const CONNECT_DEADLINE: Duration = Duration::from_secs(10);
/// A hub that still opens its store lets a device wait for so long, and refuses it then: it comes back later.
const READY_DEADLINE: Duration = Duration::from_secs(5);
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
    if !is_of_this_hub(&headers) {
        return (StatusCode::FORBIDDEN, "this page is not of this hub").into_response();
    }
    let admission = match served.gate.admit(&headers, certificate, peer).await {
        Ok(admission) => admission,
        Err(refusal) => return refusal,
    };
    upgrade
        .max_message_size(LARGEST_MESSAGE)
        .max_frame_size(LARGEST_MESSAGE)
        .read_buffer_size(READ_BUFFER)
        .protocols([PROTOCOL, PLAIN_PROTOCOL])
        .on_upgrade(move |socket| serve(socket, served, peer, admission))
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
        stored: None,
        first: None,
        waiting: None,
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
    /// What is stored of its stream.
    stored: Option<watch::Receiver<Acked>>,
    /// Its first frame, while the hub does not know yet what it knew before.
    first: Option<Utf8Bytes>,
    /// A frame that waits for room, or for the first: nothing more is read meanwhile.
    waiting: Option<Utf8Bytes>,
    heard: Instant,
}

impl Connection<'_> {
    async fn run(&mut self) -> Result<(), String> {
        let begun = Instant::now();
        let hub = self.hub;
        let mut pings = tokio::time::interval_at(begun + PING_EVERY, PING_EVERY);
        loop {
            tokio::select! {
                () = hub.ready(), if self.first.is_some() => self.begin().await?,
                () = tokio::time::sleep_until(begun + READY_DEADLINE), if self.first.is_some() => self.begin().await?,
                room = hub.room(self.waiting.as_deref().unwrap_or_default()), if self.waiting.is_some() && self.first.is_none() => {
                    let text = self.waiting.take().unwrap_or_default();
                    // Nothing was read meanwhile, so nothing could be heard.
                    self.heard = Instant::now();
                    self.take(&text, room)?;
                }
                incoming = self.socket.recv(), if self.waiting.is_none() => {
                    self.heard = Instant::now();
                    match incoming {
                        Some(Ok(Message::Text(text))) if self.name.is_none() && self.first.is_none() => self.first = Some(text),
                        Some(Ok(Message::Text(text))) => self.waiting = Some(text),
                        Some(Ok(Message::Binary(_))) => return Err("it sent a binary frame: messages are JSON text".to_owned()),
                        Some(Ok(Message::Close(_))) | None => return Ok(()),
                        Some(Ok(_)) => {}
                        Some(Err(error)) => return Err(error.to_string()),
                    }
                }
                () = self.admission.revoked() => return Err("its token was revoked".to_owned()),
                acked = next_ack(&mut self.stored) => self.ack(acked).await?,
                _ = pings.tick() => {
                    self.send(Message::Ping(Default::default())).await?;
                }
                () = tokio::time::sleep_until(self.heard + SILENCE), if self.waiting.is_none() => {
                    return Err(format!("no sign of life for {} s", SILENCE.as_secs()));
                }
                () = tokio::time::sleep_until(begun + CONNECT_DEADLINE), if self.name.is_none() => {
                    return Err(format!("it did not send `connect` within {CONNECT_DEADLINE:?}"));
                }
            }
        }
    }

    /// Its first frame says who it is.
    async fn begin(&mut self) -> Result<(), String> {
        let Some(text) = self.first.take() else { return Ok(()) };
        self.stored = self.connect(&text)?;
        let stored = self.stored.as_mut().map(|stored| *stored.borrow_and_update());
        match stored {
            Some(stored) => self.ack(stored).await,
            None => Ok(()),
        }
    }

    fn take(&self, text: &str, room: Option<OwnedSemaphorePermit>) -> Result<(), String> {
        let Some(name) = &self.name else { return Ok(()) };
        let messages = receive(text, self.hub.texts())?;
        self.hub.take(name, self.stream, &messages, room).map_err(|e| e.to_string())
    }

    /// The first message. A plain device need not name itself: it is called by its address.
    fn connect(&mut self, text: &str) -> Result<Option<watch::Receiver<Acked>>, String> {
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
        let stored = self.hub.connect(connect).map_err(|e| e.to_string())?;
        tracing::info!(device = %name.escape_debug(), peer = %self.peer, acks = self.acks, "A device connected.");
        self.name = Some(name);
        self.stream = stream;
        Ok(stored)
    }

    async fn ack(&mut self, acked: Acked) -> Result<(), String> {
        if !self.acks {
            return Ok(());
        }
        let Acked { seq, ahead } = acked;
        self.send(Message::Text(to_json(&HubMessage::Ack { seq, ahead }).into())).await
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

/// More of its stream is stored. Never of a device without one.
async fn next_ack(stored: &mut Option<watch::Receiver<Acked>>) -> Acked {
    // The sender lives as long as the hub remembers the stream, which is at least as long as this connection.
    if let Some(stored) = stored
        && stored.changed().await.is_ok()
    {
        return *stored.borrow_and_update();
    }
    std::future::pending().await
}

fn not_of_the_wire(error: &serde_json::Error) -> String {
    format!("it sent what is not of the wire: {error}")
}
