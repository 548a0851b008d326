//! One try to connect: an address, its name's numbers, TLS, the token, the WebSocket's handshake.

use std::error::Error as _;
use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::{HeaderValue, Response, StatusCode, header};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, error::ProtocolError, error::SubProtocolError};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use super::Endpoint;
use super::dial::dial;
use super::session::Form;
use super::tls::Explained;
use super::websocket::WebSocketUplink;
use super::wire::{PLAIN_PROTOCOL, PROTOCOL};

/// Longest time for name look-up, connection, TLS and the WebSocket's own handshake together.
const CONNECT_DEADLINE: Duration = Duration::from_secs(15);
/// Largest message from a hub: acks and commands are short.
const LARGEST_MESSAGE: usize = 256 << 10;
/// Most bytes that wait for a slow hub beside the spool.
const WRITE_BUFFER: usize = 1 << 20;

/// TCP, or TLS over it.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

pub(super) type Socket = WebSocketStream<Box<dyn Stream>>;

/// The addresses of one uplink, taken in turn.
pub(super) struct Turns {
    next: usize,
    /// What each is offered.
    offers: Vec<Offer>,
}

/// What a handshake offers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Offer {
    Protocols,
    /// This server was seen to know none.
    Nothing,
}

impl Turns {
    pub(super) fn new(uplink: &WebSocketUplink) -> Turns {
        Turns { next: 0, offers: vec![Offer::Protocols; uplink.endpoints.len()] }
    }

    /// The address whose turn it is.
    pub(super) fn endpoint<'u>(&self, uplink: &'u WebSocketUplink) -> Option<&'u Endpoint> {
        uplink.endpoints.get(self.next)
    }

    /// The one after it: this one failed.
    pub(super) fn go_on(&mut self) {
        self.next = (self.next + 1).checked_rem(self.offers.len()).unwrap_or(0);
    }

    /// The first one, which is preferred.
    pub(super) fn start_over(&mut self) {
        self.next = 0;
    }

    pub(super) async fn connect(
        &mut self,
        uplink: &WebSocketUplink,
    ) -> Result<(Socket, Form), Explained> {
        let (Some(endpoint), Some(offer)) = (self.endpoint(uplink), self.offers.get_mut(self.next))
        else {
            return Err("the uplink has no address".to_owned().into());
        };
        match handshake(uplink, endpoint, *offer).await {
            // A server that knows no subprotocol answers without one. The library takes that for an error, so it is
            // asked again without an offer.
            Err(Failed::Protocol) => *offer = Offer::Nothing,
            Err(Failed::Other(why)) => {
                // It may come back as another server.
                *offer = Offer::Protocols;
                return Err(why);
            }
            Ok(connected) => return Ok(connected),
        }
        handshake(uplink, endpoint, *offer).await.map_err(|failed| match failed {
            Failed::Protocol => "it insists on a protocol that was not offered".to_owned().into(),
            Failed::Other(why) => why,
        })
    }
}

enum Failed {
    /// The server answered without any of the subprotocols that it was offered.
    Protocol,
    Other(Explained),
}

async fn handshake(
    uplink: &WebSocketUplink,
    endpoint: &Endpoint,
    offer: Offer,
) -> Result<(Socket, Form), Failed> {
    match timeout(CONNECT_DEADLINE, try_handshake(uplink, endpoint, offer)).await {
        Ok(Ok(connected)) => Ok(connected),
        Ok(Err(Error::Protocol(ProtocolError::SecWebSocketSubProtocolError(
            SubProtocolError::NoSubProtocol,
        )))) if offer == Offer::Protocols => Err(Failed::Protocol),
        Ok(Err(error)) => Err(Failed::Other(explain(&error, uplink))),
        Err(_) => Err(Failed::Other(format!("no answer within {CONNECT_DEADLINE:?}").into())),
    }
}

async fn try_handshake(
    uplink: &WebSocketUplink,
    endpoint: &Endpoint,
    offer: Offer,
) -> Result<(Socket, Form), Error> {
    let mut request = endpoint.uri().into_client_request()?;
    if offer == Offer::Protocols {
        // Some servers, Node's `ws` among them, choose the first that is offered without knowing it.
        let offered = HeaderValue::from_str(&format!("{PLAIN_PROTOCOL}, {PROTOCOL}"))
            .map_err(|e| Error::HttpFormat(e.into()))?;
        request.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, offered);
    }
    if let Some(token) = &uplink.token {
        let mut value = HeaderValue::from_str(&format!("Bearer {}", token.reveal()))
            .map_err(|e| Error::HttpFormat(e.into()))?;
        value.set_sensitive(true);
        request.headers_mut().insert(header::AUTHORIZATION, value);
    }
    let mut config = WebSocketConfig::default();
    config.max_message_size = Some(LARGEST_MESSAGE);
    config.max_frame_size = Some(LARGEST_MESSAGE);
    config.max_write_buffer_size = WRITE_BUFFER;
    config.read_buffer_size = 8 << 10;
    let stream = dial(endpoint.host(), endpoint.port()).await?;
    let stream: Box<dyn Stream> = match &uplink.tls {
        _ if !endpoint.is_encrypted() => Box::new(stream),
        Some(tls) => Box::new(tls.secure(endpoint.host(), stream).await?),
        // Never in the clear what was to be encrypted.
        None => return Err(io::Error::other("TLS was not set up for this address").into()),
    };
    let (socket, response) = client_async_with_config(request, stream, Some(config)).await?;
    let chosen = response.headers().get(header::SEC_WEBSOCKET_PROTOCOL);
    let form =
        if chosen.is_some_and(|chosen| chosen == PROTOCOL) { Form::Weir } else { Form::Plain };
    Ok((socket, form))
}

fn explain(error: &Error, uplink: &WebSocketUplink) -> Explained {
    match error {
        Error::Io(error) => {
            let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
            match (tls, &uplink.tls) {
                (Some(error), Some(tls)) => tls.explain(error),
                _ => error.to_string().into(),
            }
        }
        Error::Http(response) => explain_status(response, uplink).into(),
        Error::Protocol(ProtocolError::HandshakeIncomplete) => {
            "the connection was closed in the middle of the handshake: does the hub want wss://…?"
                .to_owned()
                .into()
        }
        Error::Protocol(ProtocolError::HttparseError(_)) => {
            "its answer is not HTTP: does the hub want wss://…?".to_owned().into()
        }
        Error::Protocol(ProtocolError::SecWebSocketSubProtocolError(_)) => {
            "it insists on a protocol that was not offered".to_owned().into()
        }
        other => match other.source() {
            Some(source) => format!("{other}: {source}").into(),
            None => other.to_string().into(),
        },
    }
}

fn explain_status(response: &Response<Option<Vec<u8>>>, uplink: &WebSocketUplink) -> String {
    let status = response.status();
    // A hub says why in a word or two; a web server answers with a page, which is left out.
    let said = response.body().as_deref().and_then(|body| std::str::from_utf8(body).ok());
    let said = said.map(str::trim).filter(|said| !said.is_empty() && !said.contains('<'));
    let said = said.map(|said| format!(": {said}")).unwrap_or_default();
    let what = match status {
        StatusCode::UNAUTHORIZED if uplink.token.is_none() => {
            "the hub wants a token: name its file in `token_file`"
        }
        StatusCode::UNAUTHORIZED => "the hub refuses the token",
        StatusCode::FORBIDDEN => "the hub refuses this device",
        StatusCode::NOT_FOUND => "there is nothing at this path; a Weir hub has /uplink",
        StatusCode::OK => "this is a web page, not a WebSocket; a Weir hub has /uplink",
        _ => "the hub does not take the connection",
    };
    format!("{what} (HTTP {}{said})", status.as_u16())
}
