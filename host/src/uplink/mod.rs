//! The ways out: the wire's messages, and what delivers them.

mod again;
mod backoff;
pub mod certificate;
mod connect;
mod credentials;
mod delivery;
mod dial;
mod endpoint;
mod link;
pub mod mqtt;
mod open;
mod scribe;
mod session;
mod socket;
pub mod socketio;
mod tls;
mod websocket;
pub mod wire;

/// The name of the way out to the hub inside this process, which no other has.
pub const DASHBOARD: &str = "dashboard";

pub use credentials::{CredentialError, CredentialFiles, Credentials};
pub use delivery::Order;
pub use endpoint::{Endpoint, Token};
pub use link::{Link, LinkState};
pub use scribe::Scribe;
pub use tls::{TlsSettings, client_config};
pub use websocket::{Answer, WebSocketUplink, run};
