//! The receiver: takes devices' messages, acks them, keeps their recent history, and shows it on a page.

mod api;
mod device;
mod known;
mod live;
mod page;
mod receive;
mod state;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderValue, header};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::get;
use tokio::net::TcpListener;

use crate::stop::Stop;
use state::Hub;

/// How long open pages and devices are waited for when the hub stops.
pub const STOP_DEADLINE: Duration = Duration::from_millis(500);

/// Takes the address, so that a port in use is noticed before anything starts.
pub async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .map_err(|e| io::Error::new(e.kind(), format!("cannot listen on {address}: {e}")))
}

/// Serves devices and browsers until `stop` is true.
pub async fn serve(listener: TcpListener, stop: Stop) -> io::Result<()> {
    let hub = Arc::new(Hub::new());
    let routes = Router::new()
        .route("/uplink", get(device::uplink))
        .route("/api/live", get(live::live))
        .route("/api/devices", get(api::devices))
        .route("/api/readings", get(api::readings))
        .route("/api/alarms", get(api::alarms))
        .route("/healthz", get(api::healthz))
        .route("/metrics", get(api::metrics))
        .merge(page::routes())
        .layer(middleware::from_fn(harden))
        .with_state(Served { hub, stop: stop.clone() });
    let mut stopped = stop;
    let service = routes.into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, service).with_graceful_shutdown(async move { stopped.wait().await }).await
}

/// What every handler gets.
#[derive(Clone)]
struct Served {
    hub: Arc<Hub>,
    stop: Stop,
}

/// Nothing but this hub may be loaded, run or framed. The chart library writes styles of its own.
const CONTENT_SECURITY_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; connect-src 'self'; \
     base-uri 'none'; frame-ancestors 'none'",
);

async fn harden(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY);
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}
