//! Connects, delivers, and connects again after a pause that grows: the same for every way out that is a connection.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::Endpoint;
use super::backoff::{Backoff, STABLE};
use super::link::Link;
use super::session::{CLOSE_DEADLINE, Ended, LAST_DELIVERY};
use crate::file::excerpt;
use crate::spool::Place;
use crate::stop::Stop;

/// Longest time for name look-up, connection, TLS and the protocol's own handshake together.
pub(super) const CONNECT_DEADLINE: Duration = Duration::from_secs(15);

/// A way out: how it connects, and what it does while it is connected.
pub(super) trait Way: Send {
    /// What a connection is made of.
    type Connection: Send;

    /// What it speaks, for the log.
    const PROTOCOL: &'static str;

    /// Connects, within a deadline of its own.
    fn connect(
        &mut self,
        endpoint: &Endpoint,
    ) -> impl Future<Output = Result<Self::Connection, String>> + Send;

    /// Delivers until the connection ends.
    fn deliver(
        &mut self,
        connection: Self::Connection,
        stop: &mut Stop,
    ) -> impl Future<Output = Ended> + Send;
}

/// What the loop itself needs to know of an uplink.
pub(super) struct Known {
    /// Its name, in logs.
    pub(super) name: Arc<str>,
    /// Where to: each attempt takes the next.
    pub(super) endpoints: Vec<Endpoint>,
    /// What waits.
    pub(super) place: Place,
}

/// Delivers until `stop` is said, then for a moment what is left.
pub(super) async fn run<W: Way>(
    known: Known,
    mut way: W,
    link: watch::Sender<Link>,
    mut stop: Stop,
) {
    let mut backoff = Backoff::default();
    let name = &known.name;
    for endpoint in known.endpoints.iter().cycle() {
        let connected = tokio::select! {
            () = stop.wait() => return,
            connected = way.connect(endpoint) => connected,
        };
        let hub = endpoint;
        match connected {
            Ok(connection) => {
                let since = Instant::now();
                Link::up(&link);
                tracing::info!(uplink = %name, %hub, protocol = W::PROTOCOL, "Uplink connected.");
                let mut patience = stop.clone();
                let ended = tokio::select! {
                    ended = way.deliver(connection, &mut stop) => ended,
                    // A peer that takes nothing may hold a write up for longer than the process may wait.
                    () = out_of_patience(&mut patience) => Ended::Stopped,
                };
                if since.elapsed() >= STABLE {
                    backoff.reset();
                }
                let Ended::Lost(why) = ended else { return };
                let why = excerpt(&why);
                Link::down(&link, &why);
                let queued = known.place.state().queued;
                let retry_in = backoff.next();
                tracing::warn!(uplink = %name, %hub, queued, ?retry_in, "Uplink lost: {why}.");
                wait(retry_in, &mut stop).await;
            }
            Err(why) => {
                let why = excerpt(&why);
                Link::down(&link, &why);
                let attempt = backoff.attempt + 1;
                let retry_in = backoff.next();
                tracing::warn!(uplink = %name, %hub, attempt, ?retry_in, "Cannot connect: {why}.");
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
    tokio::time::sleep(LAST_DELIVERY + CLOSE_DEADLINE + CLOSE_DEADLINE).await;
}

async fn wait(backoff: Duration, stop: &mut Stop) {
    tokio::select! {
        () = stop.wait() => {}
        () = tokio::time::sleep(backoff) => {}
    }
}

/// Waits for a moment, or for ever where there is none.
pub(super) async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}
