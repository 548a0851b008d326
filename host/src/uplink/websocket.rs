//! A WebSocket uplink that connects, delivers, and connects again, until it is told to stop.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::backoff::{Backoff, STABLE};
use super::connect::Turns;
use super::delivery::Order;
use super::link::Link;
use super::session::{self, Ended};
use super::tls::Explained;
use super::wire::{Connect, Event};
use super::{Endpoint, Tls, Token};
use crate::file::excerpt;
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
pub async fn run(uplink: WebSocketUplink, link: watch::Sender<Link>, mut stop: Stop) {
    let mut backoff = Backoff::default();
    let mut turns = Turns::new(&uplink);
    warn_of_eavesdroppers(&uplink);
    // An earlier process of this device may have sent all that has a number.
    let mut ever_sent = uplink.place.last();
    loop {
        let connected = tokio::select! {
            () = stop.wait() => return,
            connected = turns.connect(&uplink) => connected,
        };
        let Some(hub) = turns.endpoint(&uplink) else { return };
        let name = &uplink.name;
        match connected {
            Ok((socket, form)) => {
                let since = Instant::now();
                Link::up(&link);
                tracing::info!(uplink = %name, %hub, protocol = form.name(), "Uplink connected.");
                let mut patience = stop.clone();
                let ended = tokio::select! {
                    ended = session::deliver(socket, form, &uplink, &mut ever_sent, &mut stop) => ended,
                    // A hub that takes nothing may hold a write up for longer than the process may wait.
                    () = out_of_patience(&mut patience) => Ended::Stopped,
                };
                if since.elapsed() >= STABLE {
                    backoff.reset();
                    turns.start_over();
                } else {
                    turns.go_on();
                }
                let Ended::Lost(why) = ended else { return };
                let why = excerpt(&why);
                Link::down(&link, &why);
                let queued = uplink.place.state().queued;
                let retry_in = backoff.next();
                tracing::warn!(uplink = %name, %hub, queued, ?retry_in, "Uplink lost: {why}.");
                wait(retry_in, &mut stop).await;
            }
            Err(Explained { why, reason }) => {
                let why = excerpt(&why);
                Link::down(&link, &why);
                let attempt = backoff.attempt + 1;
                let retry_in = backoff.next();
                tracing::warn!(uplink = %name, %hub, attempt, ?retry_in, reason, "Cannot connect: {why}.");
                turns.go_on();
                wait(retry_in, &mut stop).await;
            }
        }
        if stop.is_said() {
            return;
        }
    }
}

fn warn_of_eavesdroppers(uplink: &WebSocketUplink) {
    let is_open = |endpoint: &&Endpoint| !endpoint.is_encrypted() && endpoint.is_elsewhere();
    if uplink.token.is_some()
        && let Some(hub) = uplink.endpoints.iter().find(is_open)
    {
        tracing::warn!(%hub, "The token travels unencrypted: whoever is on the way can read it. Use wss://.");
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
