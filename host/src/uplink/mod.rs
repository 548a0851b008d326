//! The ways out: the wire's messages, and what delivers them.

mod again;
mod backoff;
mod delivery;
mod endpoint;
mod link;
pub mod mqtt;
mod open;
mod scribe;
mod session;
pub mod socketio;
mod websocket;
pub mod wire;

pub use delivery::Order;
pub use endpoint::{Endpoint, read_token};
pub use link::{Link, LinkState};
pub use scribe::Scribe;
pub use websocket::{Answer, WebSocketUplink, run};
