//! The way out to a socket.io server: each message is an event, called as the message's type, with the message as what
//! comes with it.
//!
//! Socket.IO's protocol 5 over Engine.IO's protocol 4 (servers from 3.0 on), over a WebSocket from the start. The one
//! client that is a crate, `rust_socketio`, brings a second WebSocket, reqwest and OpenSSL; what an uplink needs of the
//! protocol is a few packets of text.

mod packet;
mod session;

use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_tungstenite::client_async_with_config;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::{Error, Message};
use uuid::Uuid;

use self::packet::{Hello, Packet};
use super::again::{self, CONNECT_DEADLINE, Known, Way, warn_of_eavesdroppers};
use super::link::Link;
use super::open::{self, open};
use super::session::Ended;
use super::socket::{self, Socket};
use super::tls::Explained;
use super::wire::{Connect, to_json};
use super::{Credentials, Endpoint, Token};
use crate::spool::Place;
use crate::stop::Stop;

/// Where socket.io listens unless it is told otherwise.
const PATH: &str = "/socket.io/";
/// What an event with what the device is is called: `connect`, its type, is a word of socket.io's own.
const DEVICE: &str = "device";

/// What the pipeline file says of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketIoSettings {
    /// Part of the server, `/` unless it says otherwise.
    pub namespace: String,
    /// When a message counts as delivered.
    pub delivered: Delivered,
}

/// When a message counts as delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivered {
    /// When the server has read it: it answered two pings that were sent behind it. Every server does.
    Read,
    /// When the server's own code called the function that came with it.
    Acked,
}

/// What an uplink to a socket.io server needs.
pub struct SocketIoUplink {
    /// Its name, in logs.
    pub name: Arc<str>,
    /// Where to: each attempt takes the next.
    pub endpoints: Vec<Endpoint>,
    /// What the file says.
    pub settings: SocketIoSettings,
    /// A token is shown as `auth.token`.
    pub credentials: Credentials,
    /// What the device is: told before anything else.
    pub connect: Connect,
    /// What is delivered.
    pub place: Place,
}

/// Delivers until `stop` is said, then for at most a second what is left.
pub async fn run(uplink: SocketIoUplink, link: watch::Sender<Link>, stop: Stop) {
    let known = Known {
        name: uplink.name.clone(),
        endpoints: uplink.endpoints.clone(),
        place: uplink.place.clone(),
    };
    if uplink.credentials.token.is_some() {
        warn_of_eavesdroppers(&uplink.endpoints, "token", "https");
    }
    again::run(known, SocketIo { uplink }, link, stop).await;
}

struct SocketIo {
    uplink: SocketIoUplink,
}

/// A server that took us.
struct Connection {
    socket: Socket,
    limits: Limits,
}

/// What a server asks for.
#[derive(Clone, Copy)]
struct Limits {
    /// It sends something at least so often.
    silence: Duration,
    /// Longest packet, in bytes.
    packet: usize,
}

impl Way for SocketIo {
    type Connection = Connection;

    fn protocol(_: &Connection) -> &'static str {
        "socket.io"
    }

    fn credentials(&mut self) -> &mut Credentials {
        &mut self.uplink.credentials
    }

    async fn connect(&mut self, endpoint: &Endpoint) -> Result<Connection, Explained> {
        let connected = timeout(CONNECT_DEADLINE, self.shake_hands(endpoint)).await;
        connected.map_err(|_| format!("no answer within {CONNECT_DEADLINE:?}"))?
    }

    async fn deliver(&mut self, connection: Connection, stop: &mut Stop) -> Ended {
        session::deliver(connection, &self.uplink, stop).await
    }
}

impl SocketIo {
    async fn shake_hands(&self, endpoint: &Endpoint) -> Result<Connection, Explained> {
        let tls = self.uplink.credentials.tls.as_ref();
        let stream = open(endpoint, tls).await.map_err(|error| open::explain(&error, tls))?;
        let request = address(endpoint).into_client_request().map_err(|e| e.to_string())?;
        let answer = client_async_with_config(request, stream, Some(socket::config())).await;
        let (mut socket, _) = answer.map_err(|error| explain(&error))?;
        let mut limits = None;
        loop {
            let text = match socket.next().await {
                Some(Ok(Message::Text(text))) => text,
                Some(Ok(Message::Close(_))) | None => {
                    return Err("the server closed the connection".to_owned().into());
                }
                Some(Ok(_)) => continue,
                Some(Err(error)) => return Err(explain(&error).into()),
            };
            let namespace = &self.uplink.settings.namespace;
            let answer = match Packet::parse(&text, namespace) {
                Packet::Open(hello) => {
                    limits = Some(hello.map(limits_of).map_err(|e| {
                        format!("the server opens with what is not of the protocol: {e}")
                    })?);
                    let token = self.uplink.credentials.token.as_ref().map(Token::reveal);
                    packet::connect(namespace, token)
                }
                Packet::Ping => packet::PONG.to_owned(),
                Packet::Connected => match limits {
                    Some(limits) => return Ok(Connection { socket, limits }),
                    None => return Err("the server connects before it opens".to_owned().into()),
                },
                Packet::Refused(why) => return Err(format!("the server refuses us: {why}").into()),
                Packet::Disconnected | Packet::Close => {
                    return Err("the server closed the connection".to_owned().into());
                }
                Packet::Ack(_) | Packet::Other => continue,
            };
            socket.send(Message::text(answer)).await.map_err(|e| e.to_string())?;
        }
    }

    /// The event that begins a connection.
    fn device(uplink: &SocketIoUplink, stream: Uuid) -> String {
        let connect = Connect { stream: Some(stream), ..uplink.connect.clone() };
        packet::event(&uplink.settings.namespace, None, DEVICE, &to_json(&connect))
    }
}

/// The address of its WebSocket.
fn address(endpoint: &Endpoint) -> String {
    let uri = endpoint.uri();
    let scheme = if endpoint.is_encrypted() { "wss" } else { "ws" };
    let authority = uri.authority().map(|all| all.as_str()).unwrap_or_default();
    let path = if uri.path() == "/" { PATH } else { uri.path() };
    let query = uri.query().map(|query| format!("{query}&")).unwrap_or_default();
    format!("{scheme}://{authority}{path}?{query}EIO=4&transport=websocket")
}

fn limits_of(hello: Hello) -> Limits {
    Limits { silence: hello.silence(), packet: hello.max_payload.unwrap_or(usize::MAX) }
}

fn explain(error: &Error) -> String {
    match error {
        Error::Http(answer) => format!(
            "the server answers with HTTP status {}: is it socket.io from 3.0 on, at this path?",
            answer.status().as_u16()
        ),
        Error::Protocol(ProtocolError::HandshakeIncomplete) => {
            "the server closes the connection unasked: is it socket.io from 3.0 on, at this path?"
                .to_owned()
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_become_those_of_the_websocket() {
        for (url, expected) in [
            ("http://hub:3000", "ws://hub:3000/socket.io/?EIO=4&transport=websocket"),
            ("https://hub", "wss://hub/socket.io/?EIO=4&transport=websocket"),
            ("http://hub/iot/?a=b", "ws://hub/iot/?a=b&EIO=4&transport=websocket"),
        ] {
            let endpoint = Endpoint::parse_as(&["http", "https"], url).unwrap();
            assert_eq!(address(&endpoint), expected);
        }
    }
}
