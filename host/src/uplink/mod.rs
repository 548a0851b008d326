//! The way out: the wire's messages, and a WebSocket that delivers them.

mod backoff;
mod endpoint;
mod scribe;
mod session;
mod websocket;
pub mod wire;

pub use endpoint::{Endpoint, read_token};
pub use scribe::Scribe;
pub use websocket::{LinkState, WebSocketUplink, run};
