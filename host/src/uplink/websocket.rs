//! A WebSocket uplink that connects, delivers, and connects again, until it is told to stop.

use std::sync::Arc;

use tokio::sync::watch;

use super::again::{self, Known, Way};
use super::connect::{Offer, Socket, connect};
use super::delivery::Order;
use super::link::Link;
use super::session::{self, Ended, Form};
use super::tls::Explained;
use super::wire::{Connect, Event};
use super::{Endpoint, Tls, Token};
use crate::spool::Place;
use crate::stop::Stop;

/// What an uplink over a WebSocket needs.
pub struct WebSocketUplink {
    /// Its name, in logs.
    pub name: Arc<str>,
    /// Where to: the first is preferred, each further one is tried after the one before it failed.
    pub endpoints: Vec<Endpoint>,
    /// Sent as `Authorization: Bearer …`.
    pub token: Option<Token>,
    /// What endpoints with `wss://` need.
    pub tls: Option<Tls>,
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
    let known = Known {
        name: uplink.name.clone(),
        endpoints: uplink.endpoints.clone(),
        place: uplink.place.clone(),
        secret: uplink.token.as_ref().map(|_| "token"),
    };
    // An earlier process of this device may have sent all that has a number.
    let ever_sent = uplink.place.last();
    let offers = vec![Offer::Protocols; uplink.endpoints.len()];
    again::run(known, WebSocket { uplink, offers, ever_sent }, link, stop).await;
}

/// What outlives a connection.
struct WebSocket {
    uplink: WebSocketUplink,
    /// What each of the endpoints is offered.
    offers: Vec<Offer>,
    /// The highest number that went out over any connection.
    ever_sent: u64,
}

impl Way for WebSocket {
    type Connection = (Socket, Form);

    async fn connect(&mut self, endpoint: &Endpoint) -> Result<(Socket, Form), Explained> {
        let number = self.uplink.endpoints.iter().position(|known| known == endpoint);
        let offer = number.and_then(|number| self.offers.get_mut(number));
        let mut first = Offer::Protocols;
        connect(&self.uplink, endpoint, offer.unwrap_or(&mut first)).await
    }

    fn protocol(&self, (_, form): &(Socket, Form)) -> &'static str {
        form.name()
    }

    async fn deliver(&mut self, (socket, form): (Socket, Form), stop: &mut Stop) -> Ended {
        session::deliver(socket, form, &self.uplink, &mut self.ever_sent, stop).await
    }
}
