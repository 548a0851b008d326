//! A WebSocket uplink that connects, delivers, and connects again, until it is told to stop.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::{HeaderValue, header};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, error::ProtocolError, error::SubProtocolError};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_with_config};

use super::Endpoint;
use super::backoff::{Backoff, STABLE};
use super::session::{self, Ended, Form};
use super::wire::{Connect, PLAIN_PROTOCOL, PROTOCOL};
use crate::file::excerpt;
use crate::spool::old::Spool;
use crate::stop::Stop;

/// Longest time for name look-up, connection, TLS and the WebSocket's own handshake together.
const CONNECT_DEADLINE: Duration = Duration::from_secs(15);
/// Largest message from a hub: acks and commands are short.
const LARGEST_MESSAGE: usize = 256 << 10;
/// Most bytes that wait for a slow hub beside the spool.
const WRITE_BUFFER: usize = 1 << 20;

pub(super) type Socket = WebSocketStream<MaybeTlsStream<tokio::net::TcpStream>>;

/// What an uplink needs.
pub struct WebSocketUplink {
    /// Where to.
    pub endpoint: Endpoint,
    /// Sent as `Authorization: Bearer …`.
    pub token: Option<String>,
    /// The first message of each connection.
    pub connect: Connect,
    /// What is delivered.
    pub spool: Arc<dyn Spool>,
}

/// Whether the uplink is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkState {
    /// Not now.
    Down,
    /// And delivering.
    Up,
}

/// Delivers until `stop` is true, then for at most a second what is left.
pub async fn run(uplink: WebSocketUplink, state: watch::Sender<LinkState>, mut stop: Stop) {
    let mut backoff = Backoff::default();
    let mut offer = Offer::Protocols;
    let mut ever_sent = 0;
    loop {
        let connected = tokio::select! {
            () = stop.wait() => return,
            connected = connect(&uplink, &mut offer) => connected,
        };
        let hub = &uplink.endpoint;
        match connected {
            Ok((socket, form)) => {
                let since = Instant::now();
                state.send_replace(LinkState::Up);
                tracing::info!(%hub, protocol = form.name(), "Uplink connected.");
                let mut patience = stop.clone();
                let ended = tokio::select! {
                    ended = session::deliver(socket, form, &uplink, &mut ever_sent, &mut stop) => ended,
                    // A hub that takes nothing may hold a write up for longer than the process may wait.
                    () = out_of_patience(&mut patience) => Ended::Stopped,
                };
                state.send_replace(LinkState::Down);
                if since.elapsed() >= STABLE {
                    backoff.reset();
                }
                let Ended::Lost(why) = ended else { return };
                let why = excerpt(&why);
                let queued = uplink.spool.state().queued;
                let retry_in = backoff.next();
                tracing::warn!(%hub, queued, ?retry_in, "Uplink lost: {why}.");
                wait(retry_in, &mut stop).await;
            }
            Err(why) => {
                let why = excerpt(&why);
                let attempt = backoff.attempt + 1;
                let retry_in = backoff.next();
                tracing::warn!(%hub, attempt, ?retry_in, "Cannot connect: {why}.");
                wait(retry_in, &mut stop).await;
            }
        }
        if stop.is_said() {
            return;
        }
    }
}

async fn out_of_patience(stop: &mut Stop) {
    stop.wait().await;
    tokio::time::sleep(session::LAST_DELIVERY + session::CLOSE_DEADLINE).await;
}

async fn wait(backoff: Duration, stop: &mut Stop) {
    tokio::select! {
        () = stop.wait() => {}
        () = tokio::time::sleep(backoff) => {}
    }
}

/// What a handshake offers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Offer {
    Protocols,
    /// This server was seen to know none.
    Nothing,
}

async fn connect(uplink: &WebSocketUplink, offer: &mut Offer) -> Result<(Socket, Form), String> {
    let answer = timeout(CONNECT_DEADLINE, handshake(uplink, *offer)).await;
    let no_protocol = SubProtocolError::NoSubProtocol;
    match answer.map_err(|_| format!("no answer within {CONNECT_DEADLINE:?}"))? {
        Ok(connected) => Ok(connected),
        // A server that knows no subprotocol answers without one. The library takes that for an error, so it is asked
        // again without an offer.
        Err(Error::Protocol(ProtocolError::SecWebSocketSubProtocolError(why)))
            if why == no_protocol =>
        {
            *offer = Offer::Nothing;
            let answer = timeout(CONNECT_DEADLINE, handshake(uplink, *offer)).await;
            answer
                .map_err(|_| format!("no answer within {CONNECT_DEADLINE:?}"))?
                .map_err(|e| e.to_string())
        }
        Err(error) => {
            // It may come back as another server.
            *offer = Offer::Protocols;
            Err(error.to_string())
        }
    }
}

async fn handshake(uplink: &WebSocketUplink, offer: Offer) -> Result<(Socket, Form), Error> {
    let mut request = uplink.endpoint.uri().into_client_request()?;
    if offer == Offer::Protocols {
        // Some servers, Node's `ws` among them, choose the first that is offered without knowing it.
        let offered = HeaderValue::from_str(&format!("{PLAIN_PROTOCOL}, {PROTOCOL}"))
            .map_err(|e| Error::HttpFormat(e.into()))?;
        request.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, offered);
    }
    if let Some(token) = &uplink.token {
        let mut value = HeaderValue::from_str(&format!("Bearer {token}"))
            .map_err(|e| Error::HttpFormat(e.into()))?;
        value.set_sensitive(true);
        request.headers_mut().insert(header::AUTHORIZATION, value);
    }
    let mut config = WebSocketConfig::default();
    config.max_message_size = Some(LARGEST_MESSAGE);
    config.max_frame_size = Some(LARGEST_MESSAGE);
    config.max_write_buffer_size = WRITE_BUFFER;
    config.read_buffer_size = 8 << 10;
    let (socket, response) = connect_async_with_config(request, Some(config), true).await?;
    let chosen = response.headers().get(header::SEC_WEBSOCKET_PROTOCOL);
    let form =
        if chosen.is_some_and(|chosen| chosen == PROTOCOL) { Form::Weir } else { Form::Plain };
    Ok((socket, form))
}
