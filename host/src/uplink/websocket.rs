//! A WebSocket uplink that connects, delivers, and connects again, until it is told to stop.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::backoff::{Backoff, STABLE};
use super::connect::Turns;
use super::session::{self, Ended};
use super::tls::Explained;
use super::wire::Connect;
use super::{Endpoint, Tls, Token};
use crate::file::excerpt;
use crate::spool::Spool;
use crate::stop::Stop;

/// What an uplink needs.
pub struct WebSocketUplink {
    /// Where to: the first is preferred, each further one is tried after the one before it failed.
    pub endpoints: Vec<Endpoint>,
    /// Sent as `Authorization: Bearer …`.
    pub token: Option<Token>,
    /// What endpoints with `wss://` need.
    pub tls: Option<Tls>,
    /// The first message of each connection.
    pub connect: Connect,
    /// What is delivered.
    pub spool: Arc<dyn Spool>,
}

/// Whether the uplink is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkState {
    /// Not now.
    Down,
    /// And delivering.
    Up,
}

/// Delivers until `stop` is true, then for at most a second what is left.
pub async fn run(uplink: WebSocketUplink, state: watch::Sender<LinkState>, mut stop: Stop) {
    let mut backoff = Backoff::default();
    let mut turns = Turns::new(&uplink);
    warn_of_eavesdroppers(&uplink);
    let mut ever_sent = 0;
    loop {
        let connected = tokio::select! {
            () = stop.wait() => return,
            connected = turns.connect(&uplink) => connected,
        };
        let Some(hub) = turns.endpoint(&uplink) else { return };
        match connected {
            Ok((socket, form)) => {
                let since = Instant::now();
                state.send_replace(LinkState::Up);
                tracing::info!(%hub, protocol = form.name(), "Uplink connected.");
                let mut patience = stop.clone();
                let ended = tokio::select! {
                    ended = session::deliver(socket, form, &uplink, &mut ever_sent, &mut stop) => ended,
                    // A hub that takes nothing may hold a write up for longer than the process may wait.
                    () = out_of_patience(&mut patience) => Ended::Stopped,
                };
                state.send_replace(LinkState::Down);
                if since.elapsed() >= STABLE {
                    backoff.reset();
                    turns.start_over();
                } else {
                    turns.go_on();
                }
                let Ended::Lost(why) = ended else { return };
                let why = excerpt(&why);
                let queued = uplink.spool.state().queued;
                let retry_in = backoff.next();
                tracing::warn!(%hub, queued, ?retry_in, "Uplink lost: {why}.");
                wait(retry_in, &mut stop).await;
            }
            Err(Explained { why, reason }) => {
                let why = excerpt(&why);
                let attempt = backoff.attempt + 1;
                let retry_in = backoff.next();
                tracing::warn!(%hub, attempt, ?retry_in, reason, "Cannot connect: {why}.");
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
