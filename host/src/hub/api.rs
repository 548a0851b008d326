//! The HTTP interface for programs.

use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::Served;
use crate::reading::Timestamp;

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
pub(super) struct Asked {
    device: String,
    sensor: String,
    from: Option<String>,
    to: Option<String>,
}

/// The recent readings and faults of one sensor.
pub(super) async fn readings(State(served): State<Served>, Query(asked): Query<Asked>) -> Response {
    let bound = |text: Option<String>, default: u64| match text {
        None => Ok(Timestamp { nanos: default }),
        Some(text) => text.parse::<Timestamp>(),
    };
    let (from, to) = match (bound(asked.from, 0), bound(asked.to, u64::MAX)) {
        (Ok(from), Ok(to)) => (from, to),
        (Err(error), _) => {
            return (StatusCode::BAD_REQUEST, format!("`from` {error}\n")).into_response();
        }
        (_, Err(error)) => {
            return (StatusCode::BAD_REQUEST, format!("`to` {error}\n")).into_response();
        }
    };
    match served.hub.readings_json(&asked.device, &asked.sensor, from, to) {
        Some(json) => (JSON, json).into_response(),
        None => (StatusCode::NOT_FOUND, "no such device or sensor\n").into_response(),
    }
}

/// Whether the hub is there.
pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

/// Counters for Prometheus.
pub(super) async fn metrics(State(served): State<Served>) -> Response {
    (METRICS, served.hub.metrics()).into_response()
}
