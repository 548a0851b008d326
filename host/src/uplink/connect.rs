//! One try to connect: an address, its name's numbers, TLS, the token, the WebSocket's handshake.

use std::error::Error as _;

use tokio::time::timeout;
use tokio_tungstenite::client_async_with_config;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::{HeaderValue, Response, StatusCode, header};
use tokio_tungstenite::tungstenite::{Error, error::ProtocolError, error::SubProtocolError};

use super::Endpoint;
use super::again::CONNECT_DEADLINE;
use super::open::{self, open};
use super::session::Form;
use super::socket::{self, Socket};
use super::tls::Explained;
use super::websocket::WebSocketUplink;
use super::wire::{PLAIN_PROTOCOL, PROTOCOL};

/// What each address is offered: those that were seen to know no subprotocol are offered none.
#[derive(Default)]
pub(super) struct Offers {
    plain: Vec<Endpoint>,
}

/// What a handshake offers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Offer {
    Protocols,
    Nothing,
}

impl Offers {
    pub(super) async fn connect(
        &mut self,
        uplink: &WebSocketUplink,
        endpoint: &Endpoint,
    ) -> Result<(Socket, Form), Explained> {
        let is_plain = self.plain.contains(endpoint);
        let offer = if is_plain { Offer::Nothing } else { Offer::Protocols };
        match handshake(uplink, endpoint, offer).await {
            // A server that knows no subprotocol answers without one. The library takes that for an error, so it is
            // asked again without an offer.
            Err(Failed::Protocol) => self.plain.push(endpoint.clone()),
            Err(Failed::Other(why)) => {
                // It may come back as another server.
                self.plain.retain(|plain| plain != endpoint);
                return Err(why);
            }
            Ok(connected) => return Ok(connected),
        }
        handshake(uplink, endpoint, Offer::Nothing).await.map_err(|failed| match failed {
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
    if let Some(token) = &uplink.credentials.token {
        let mut value = HeaderValue::from_str(&format!("Bearer {}", token.reveal()))
            .map_err(|e| Error::HttpFormat(e.into()))?;
        value.set_sensitive(true);
        request.headers_mut().insert(header::AUTHORIZATION, value);
    }
    let stream = open(endpoint, uplink.credentials.tls.as_ref()).await?;
    let (socket, response) =
        client_async_with_config(request, stream, Some(socket::config())).await?;
    let chosen = response.headers().get(header::SEC_WEBSOCKET_PROTOCOL);
    let form =
        if chosen.is_some_and(|chosen| chosen == PROTOCOL) { Form::Weir } else { Form::Plain };
    Ok((socket, form))
}

fn explain(error: &Error, uplink: &WebSocketUplink) -> Explained {
    match error {
        Error::Io(error) => open::explain(error, uplink.credentials.tls.as_ref()),
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
        StatusCode::UNAUTHORIZED if uplink.credentials.token.is_none() => {
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
