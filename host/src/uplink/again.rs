//! Connects, delivers, and connects again after a pause that grows: the same for every way out.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::backoff::{Backoff, STABLE};
use super::link::Link;
use super::session::{CLOSE_DEADLINE, Ended, LAST_DELIVERY};
use super::tls::Explained;
use super::{Credentials, Endpoint};
use crate::file::excerpt;
use crate::spool::Place;
use crate::stop::Stop;

/// Longest time for name look-up, connection, TLS and the protocol's own handshake together.
pub(super) const CONNECT_DEADLINE: Duration = Duration::from_secs(15);

/// Why a connection ends whose peer was told of another stream.
pub(super) const NEW_STREAM: &str =
    "what waits goes on under a new stream, which a new connection tells";

/// A way out: how it connects, and what it does while it is connected.
pub(super) trait Way: Send {
    /// What a connection is made of.
    type Connection: Send;

    /// What is spoken over it, for the log.
    fn protocol(connection: &Self::Connection) -> &'static str;

    /// What it shows, and whom it trusts.
    fn credentials(&mut self) -> &mut Credentials;

    /// Connects to one of its addresses, within [`CONNECT_DEADLINE`].
    fn connect(
        &mut self,
        endpoint: &Endpoint,
    ) -> impl Future<Output = Result<Self::Connection, Explained>> + Send;

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
    /// Where to: the first is preferred, each further one is tried after the one before it failed.
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
    let mut turns = known.endpoints.iter().cycle();
    let Some(mut hub) = turns.next() else { return };
    loop {
        let connecting = async {
            way.credentials().refresh(name).await;
            way.connect(hub).await
        };
        let connected = tokio::select! {
            () = stop.wait() => return,
            connected = connecting => connected,
        };
        match connected {
            Ok(connection) => {
                let since = Instant::now();
                Link::up(&link);
                let protocol = W::protocol(&connection);
                tracing::info!(uplink = %name, %hub, protocol, "Uplink connected.");
                let mut patience = stop.clone();
                let ended = tokio::select! {
                    ended = way.deliver(connection, &mut stop) => ended,
                    // A hub that takes nothing may hold a write up for longer than the process may wait.
                    () = out_of_patience(&mut patience) => Ended::Stopped,
                };
                let Ended::Lost(why) = ended else { return };
                let why = excerpt(&why);
                Link::down(&link, &why);
                let queued = known.place.state().queued;
                if since.elapsed() >= STABLE {
                    backoff.reset();
                    turns = known.endpoints.iter().cycle();
                }
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
                wait(retry_in, &mut stop).await;
            }
        }
        if stop.is_said() {
            return;
        }
        hub = turns.next().unwrap_or(hub);
    }
}

/// Says that what opens the hub's door can be read on the way there.
pub(super) fn warn_of_eavesdroppers(endpoints: &[Endpoint], secret: &str, scheme: &str) {
    let is_open = |endpoint: &&Endpoint| !endpoint.is_encrypted() && endpoint.is_elsewhere();
    if let Some(hub) = endpoints.iter().find(is_open) {
        tracing::warn!(%hub, "The {secret} travels unencrypted: whoever is on the way can read it. Use {scheme}://.");
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
