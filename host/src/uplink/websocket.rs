//! The way out over a WebSocket: to a hub of Weir's own, or to any server that takes messages one by one.

use std::sync::Arc;

use tokio::sync::watch;

use super::again::{self, Known, Way, warn_of_eavesdroppers};
use super::connect::Offers;
use super::delivery::Order;
use super::link::Link;
use super::session::{self, Ended, Form};
use super::socket::Socket;
use super::tls::Explained;
use super::wire::{Connect, Event};
use super::{Credentials, Endpoint};
use crate::spool::Place;
use crate::stop::Stop;

/// What an uplink over a WebSocket needs.
pub struct WebSocketUplink {
    /// Its name, in logs.
    pub name: Arc<str>,
    /// Where to: the first is preferred, each further one is tried after the one before it failed.
    pub endpoints: Vec<Endpoint>,
    /// A token is sent as `Authorization: Bearer …`.
    pub credentials: Credentials,
    /// The first message of each connection.
    pub connect: Connect,
    /// What is delivered.
    pub place: Place,
    /// In which order, after an outage.
    pub order: Order,
    /// Takes the results of commands.
    pub answer: Answer,
}

/// Takes what goes into the spool from here.
pub type Answer = Box<dyn Fn(Event) + Send + Sync>;

/// Delivers until `stop` is said, then for at most a second what is left.
pub async fn run(uplink: WebSocketUplink, link: watch::Sender<Link>, stop: Stop) {
    if uplink.credentials.token.is_some() {
        warn_of_eavesdroppers(&uplink.endpoints, "token", "wss");
    }
    let known = Known {
        name: uplink.name.clone(),
        endpoints: uplink.endpoints.clone(),
        place: uplink.place.clone(),
    };
    // An earlier process of this device may have sent all that has a number.
    let ever_sent = uplink.place.last();
    let way = WebSocket { uplink, offers: Offers::default(), ever_sent };
    again::run(known, way, link, stop).await;
}

struct WebSocket {
    uplink: WebSocketUplink,
    offers: Offers,
    /// The highest number that went out over any connection: none above it can be acked.
    ever_sent: u64,
}

impl Way for WebSocket {
    type Connection = (Socket, Form);

    fn protocol((_, form): &(Socket, Form)) -> &'static str {
        form.name()
    }

    fn credentials(&mut self) -> &mut Credentials {
        &mut self.uplink.credentials
    }

    async fn connect(&mut self, endpoint: &Endpoint) -> Result<(Socket, Form), Explained> {
        self.offers.connect(&self.uplink, endpoint).await
    }

    async fn deliver(&mut self, (socket, form): (Socket, Form), stop: &mut Stop) -> Ended {
        session::deliver(socket, form, &self.uplink, &mut self.ever_sent, stop).await
    }
}
