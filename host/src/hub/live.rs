//! `/api/live`: what changes, as server-sent events.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse as _, Response};
use futures_util::Stream;
use serde::Serialize;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Interval, MissedTickBehavior};

use super::Served;
use super::state::Update;
use crate::reading::Timestamp;
use crate::uplink::wire::to_json;

/// How often a browser is told the hub's time when nothing else happens, so that it notices a dead link.
const PING_EVERY: Duration = Duration::from_secs(15);

/// A device is told with all of its history at most so often: it can be megabytes, and again with the next message.
const RENEW_EVERY: Duration = Duration::from_secs(1);

/// Everything first, then each change. A browser that falls behind is sent everything anew.
pub(super) async fn live(State(served): State<Served>) -> Response {
    match served.pages.clone().try_acquire_owned() {
        Ok(place) => Sse::new(changes(served, place)).into_response(),
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "too many pages are open\n").into_response(),
    }
}

fn changes(
    served: Served,
    place: OwnedSemaphorePermit,
) -> impl Stream<Item = Result<Event, Infallible>> {
    let Served { hub, mut stop, .. } = served;
    let (snapshot, mut updates) = hub.look();
    let mut pings = every(PING_EVERY);
    let mut renewals = every(RENEW_EVERY);
    let mut begin = Some(snapshot);
    // Devices to tell with all of their history: those that wait for their turn, and those whose turn it is.
    let (mut waiting, mut due): (BTreeSet<Arc<str>>, BTreeSet<Arc<str>>) = Default::default();
    let next = async move || {
        // Taken as long as the page is told.
        let _place = &place;
        if let Some(snapshot) = begin.take() {
            return Some(event("snapshot", &snapshot));
        }
        loop {
            if let Some(name) = due.first()
                && let Some(device) = hub.renewed(name, &updates)
            {
                due.pop_first();
                match device {
                    Some(device) => return Some(event("renewed", &to_json(&device))),
                    None => continue,
                }
            }
            tokio::select! {
                () = stop.wait() => return None,
                _ = pings.tick() => {
                    let time = Timestamp::now().to_string();
                    return Some(event("ping", &to_json(&Ping { time })));
                }
                _ = renewals.tick(), if due.is_empty() && !waiting.is_empty() => {
                    due = std::mem::take(&mut waiting);
                }
                update = updates.recv() => match update {
                    Ok(Update::Told(kind, json)) => return Some(event(kind, &json)),
                    Ok(Update::Renewed(name)) => {
                        waiting.insert(name);
                    }
                    Err(RecvError::Lagged(_)) => {
                        let (snapshot, from_now_on) = hub.look();
                        updates = from_now_on;
                        waiting.clear();
                        due.clear();
                        return Some(event("snapshot", &snapshot));
                    }
                    Err(RecvError::Closed) => return None,
                },
            }
        }
    };
    futures_util::stream::unfold(next, async |mut next| {
        let event = next().await?;
        Some((Ok(event), next))
    })
}

/// At once, and then never sooner than so long after the last.
fn every(period: Duration) -> Interval {
    let mut interval = tokio::time::interval(period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

#[derive(Serialize)]
struct Ping {
    time: String,
}

fn event(kind: &str, json: &str) -> Event {
    Event::default().event(kind).data(json)
}
