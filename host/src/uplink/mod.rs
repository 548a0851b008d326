//! The way out: the wire's messages, and a WebSocket that delivers them.

mod backoff;
pub mod certificate;
mod connect;
mod dial;
mod endpoint;
mod scribe;
mod session;
mod tls;
mod websocket;
pub mod wire;

pub use endpoint::{Endpoint, Token, read_token};
pub use scribe::Scribe;
pub use tls::{Tls, TlsSettings, client_config};
pub use websocket::{LinkState, WebSocketUplink, run};
