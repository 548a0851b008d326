//! The HTTP interface for programs.

use std::time::Duration;

use axum::extract::{Query, State};
use axum::http::{HeaderName, StatusCode, header};
use axum::response::{AppendHeaders, IntoResponse, Response};
use serde::Deserialize;

use super::Served;
use super::store::{Asked, Found, Messages, Trouble};
use crate::reading::Timestamp;

/// Entries or messages in one answer, where nobody says how many, and at most.
const USUAL_LIMIT: usize = 10_000;
const MOST: usize = 50_000;
/// Who asks is told what was taken before; a store that takes longer is not waited for.
const SETTLED: Duration = Duration::from_secs(1);
const JSON: [(header::HeaderName, &str); 1] = [(header::CONTENT_TYPE, "application/json")];
/// The version of the Prometheus text form.
const METRICS: [(header::HeaderName, &str); 1] =
    [(header::CONTENT_TYPE, "text/plain; version=0.0.4")];

/// All devices with their sensors and alarms.
pub(super) async fn devices(State(served): State<Served>) -> Response {
    (JSON, served.hub.devices_json()).into_response()
}

/// All alarms of all devices.
pub(super) async fn alarms(State(served): State<Served>) -> Response {
    (JSON, served.hub.alarms_json()).into_response()
}

/// Which readings are asked for.
#[derive(Deserialize)]
pub(super) struct AskedReadings {
    device: String,
    sensor: String,
    from: Option<String>,
    to: Option<String>,
    /// Of those at `from` the ones that arrived later than this, as a `Link` header says.
    after: Option<u64>,
    limit: Option<usize>,
}

/// The readings and faults of one sensor, in order of time, as far as they are kept. What does not fit into one answer
/// is where the `Link` header says.
pub(super) async fn readings(
    State(served): State<Served>,
    Query(asked): Query<AskedReadings>,
) -> Response {
    match find_readings(&served, &asked).await {
        Err(refused) => refused,
        Ok((found, to)) => {
            let json = format!("[{}]", found.entries.join(","));
            let next = found.next.map(|(from, after)| {
                let limit = limit(asked.limit);
                let (device, sensor) = (escaped(&asked.device), escaped(&asked.sensor));
                format!(
                    "/api/readings?device={device}&sensor={sensor}&from={from}&after={after}&to={to}&limit={limit}"
                )
            });
            (link(next), JSON, json).into_response()
        }
    }
}

async fn find_readings(
    served: &Served,
    asked: &AskedReadings,
) -> Result<(Found, Timestamp), Response> {
    let from = time("from", asked.from.as_deref(), Timestamp { nanos: 0 }).map_err(bad)?;
    let to = time("to", asked.to.as_deref(), Timestamp { nanos: u64::MAX }).map_err(bad)?;
    let limit = limit(asked.limit);
    if let Some(store) = &served.store {
        served.hub.settled(SETTLED).await;
        let found = served.hub.find(&asked.device, &asked.sensor);
        let (device, sensor, clocks) = found.ok_or_else(|| unknown("device or sensor"))?;
        let after = asked.after.unwrap_or(0);
        let question = Asked { device, sensor, from, after, to, limit };
        let store = store.clone();
        let answer = ask(served, move || store.readings(&question, &clocks)).await?;
        if let Some(found) = answer {
            return Ok((found, to));
        }
        // While the store is not open, memory has the newest.
    }
    let recent = served.hub.recent(&asked.device, &asked.sensor, (from, to), limit);
    recent.map(|found| (found, to)).ok_or_else(|| unknown("device or sensor"))
}

/// Which messages are asked for.
#[derive(Deserialize)]
pub(super) struct AskedMessages {
    device: String,
    after: Option<u64>,
    limit: Option<usize>,
}

/// The messages of one device as they are stored, in the order in which they came.
pub(super) async fn messages(
    State(served): State<Served>,
    Query(asked): Query<AskedMessages>,
) -> Response {
    let Some(store) = served.store.clone() else {
        let why = "this hub keeps no messages: they are kept with --data-dir\n";
        return (StatusCode::NOT_FOUND, why).into_response();
    };
    served.hub.settled(SETTLED).await;
    let Some(device) = served.hub.find_device(&asked.device) else { return unknown("device") };
    let (after, limit) = (asked.after.unwrap_or(0), limit(asked.limit));
    match ask(&served, move || store.messages(device, after, limit)).await {
        Err(refused) => refused,
        Ok(None) => unavailable("the store is not open"),
        Ok(Some(Messages { texts, next })) => {
            let next = next.map(|next| {
                let device = escaped(&asked.device);
                format!("/api/messages?device={device}&after={next}&limit={limit}")
            });
            (link(next), JSON, format!("[{}]", texts.join(","))).into_response()
        }
    }
}

/// Asks the store on a thread that may wait for the disk.
async fn ask<T: Send + 'static>(
    served: &Served,
    question: impl FnOnce() -> Option<Result<T, Trouble>> + Send + 'static,
) -> Result<Option<T>, Response> {
    let Ok(room) = served.questions.clone().acquire_owned().await else {
        return Err(unavailable("the hub is stopping"));
    };
    let asked = move || {
        let answer = question();
        // Who asked may be gone: the room is free when the disk is.
        drop(room);
        answer
    };
    match tokio::task::spawn_blocking(asked).await {
        Ok(None) => Ok(None),
        Ok(Some(Ok(answer))) => Ok(Some(answer)),
        Ok(Some(Err(Trouble::Full(why) | Trouble::Disk(why) | Trouble::Damaged(why)))) => {
            Err(unavailable(&why))
        }
        Err(error) => Err(unavailable(&error.to_string())),
    }
}

/// The error says what is wrong with it.
fn time(key: &str, text: Option<&str>, default: Timestamp) -> Result<Timestamp, String> {
    let parsed = text.map_or(Ok(default), |text| text.parse::<Timestamp>());
    parsed.map_err(|e| format!("`{key}` {e}\n"))
}

fn bad(why: String) -> Response {
    (StatusCode::BAD_REQUEST, why).into_response()
}

fn limit(asked: Option<usize>) -> usize {
    asked.unwrap_or(USUAL_LIMIT).clamp(1, MOST)
}

fn unknown(what: &str) -> Response {
    (StatusCode::NOT_FOUND, format!("no such {what}\n")).into_response()
}

fn unavailable(why: &str) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response()
}

/// Where an answer goes on (RFC 8288).
fn link(next: Option<String>) -> AppendHeaders<Option<(HeaderName, String)>> {
    AppendHeaders(next.map(|next| (header::LINK, format!("<{next}>; rel=\"next\""))))
}

/// A name as part of an address (RFC 3986, 2.1).
fn escaped(name: &str) -> String {
    let mut text = String::new();
    for byte in name.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                text.push(byte.into());
            }
            _ => text.push_str(&format!("%{byte:02X}")),
        }
    }
    text
}

/// Whether the hub is there, and can store what it is sent.
pub(super) async fn healthz(State(served): State<Served>) -> Response {
    match served.hub.trouble() {
        None => "ok\n".into_response(),
        Some(trouble) => {
            unavailable(&format!("nothing is stored since {}: {}", trouble.since, trouble.reason))
        }
    }
}

/// Counters for Prometheus.
pub(super) async fn metrics(State(served): State<Served>) -> Response {
    (METRICS, served.hub.metrics()).into_response()
}
