//! `/api/live`: what changes, as server-sent events.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::response::sse::{Event, Sse};
use futures_util::Stream;
use serde::Serialize;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::MissedTickBehavior;

use super::Served;
use crate::reading::Timestamp;
use crate::uplink::wire::to_json;

/// How often a browser is told the hub's time when nothing else happens, so that it notices a dead link.
const PING_EVERY: Duration = Duration::from_secs(15);

/// Everything first, then each change. A browser that falls behind is sent everything anew.
pub(super) async fn live(
    State(served): State<Served>,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let Served { hub, mut stop } = served;
    let (snapshot, mut updates) = hub.look();
    let mut pings = tokio::time::interval(PING_EVERY);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut begin = Some(snapshot);
    let next = async move || {
        if let Some(snapshot) = begin.take() {
            return Some(event("snapshot", &snapshot));
        }
        tokio::select! {
            () = stop.wait() => None,
            _ = pings.tick() => Some(event("ping", &to_json(&Ping { time: Timestamp::now().to_string() }))),
            update = updates.recv() => match update {
                Ok(update) => Some(event(update.kind, &update.json)),
                Err(RecvError::Lagged(_)) => {
                    let (snapshot, from_now_on) = hub.look();
                    updates = from_now_on;
                    Some(event("snapshot", &snapshot))
                }
                Err(RecvError::Closed) => None,
            },
        }
    };
    Sse::new(futures_util::stream::unfold(next, async |mut next| {
        let event = next().await?;
        Some((Ok(event), next))
    }))
}

#[derive(Serialize)]
struct Ping {
    time: String,
}

fn event(kind: &str, json: &str) -> Event {
    Event::default().event(kind).data(json)
}
