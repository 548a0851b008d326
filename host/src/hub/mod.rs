//! The receiver: takes devices' messages, acks them, keeps their recent history, and shows it on a page.

mod alarms;
mod api;
mod clocks;
mod device;
mod history;
mod known;
mod live;
mod moment;
mod page;
mod ranges;
mod receive;
mod state;
mod store;
mod streams;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, Extension, Request};
use axum::http::{HeaderValue, header};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::get;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::stop::Stop;
use state::{Hub, Keeps};
pub use store::{Limits, Store};

/// How long open pages and devices are waited for when the hub stops.
const STOP_DEADLINE: Duration = Duration::from_millis(500);
/// How long the disk may take for what is not acked yet when the hub stops.
const STORE_DEADLINE: Duration = Duration::from_secs(1);
/// Most questions that the store answers at the same time: each may read a million entries.
const QUESTIONS: usize = 2;
/// Most connections of pages and programs, and of devices that have not become a WebSocket yet.
const CONNECTIONS: usize = 1_024;
/// Who connects, or keeps a connection open, asks for something within this.
const REQUEST_DEADLINE: Duration = Duration::from_secs(15);
/// Who takes nothing of what was sent for so long is gone.
const TAKE_DEADLINE: Duration = Duration::from_secs(30);
/// When the system has no connection to give, the next try is so much later.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Takes the address, so that a port in use is noticed before anything starts.
pub async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .map_err(|e| io::Error::new(e.kind(), format!("cannot listen on {address}: {e}")))
}

/// Serves devices and browsers until told to stop. Without a store, what was taken is in memory alone and acked at once.
pub async fn serve(listener: TcpListener, store: Option<Store>, mut stop: Stop) {
    let store = store.map(Arc::new);
    let hub = Arc::new(Hub::new(if store.is_some() { Keeps::OnDisk } else { Keeps::InMemory }));
    let mut writer = JoinSet::new();
    if let Some(store) = store.clone() {
        let hub = hub.clone();
        writer.spawn_blocking(move || store::write(&store, &hub));
    }
    let routes = Router::new()
        .route("/uplink", get(device::uplink))
        .route("/api/live", get(live::live))
        .route("/api/devices", get(api::devices))
        .route("/api/readings", get(api::readings))
        .route("/api/messages", get(api::messages))
        .route("/api/alarms", get(api::alarms))
        .route("/healthz", get(api::healthz))
        .route("/metrics", get(api::metrics))
        .merge(page::routes())
        .layer(middleware::from_fn(harden))
        .with_state(Served {
            hub: hub.clone(),
            store,
            questions: Arc::new(Semaphore::new(QUESTIONS)),
            stop: stop.clone(),
        });
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    // Dropped with this function: connections that do not end by themselves end then.
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = stop.wait() => break,
            Some(ended) = writer.join_next() => {
                // Without it nothing would ever be acked again: whoever started the hub can start it anew.
                tracing::error!("The store's thread has ended by itself: {ended:?}.");
                break;
            }
            // Finished tasks are taken off the set as they end.
            Some(_) = connections.join_next() => continue,
            accepted = accept(&listener, &room) => accepted,
        };
        match accepted {
            Ok((stream, peer, place)) => {
                let routes = routes.clone().layer(Extension(ConnectInfo(peer)));
                connections.spawn(async move {
                    let connection = http1::Builder::new()
                        .timer(TokioTimer::new())
                        .header_read_timeout(REQUEST_DEADLINE)
                        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes))
                        .with_upgrades();
                    if let Err(error) = connection.await {
                        tracing::debug!(%peer, "A connection ended: {error}.");
                    }
                    drop(place);
                });
            }
            Err(error) => {
                // Out of file descriptors, for instance: the next moment may have some.
                tracing::warn!("Cannot take a connection: {error}.");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    // Open pages have heard the stop too and end by themselves.
    let ended = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(STOP_DEADLINE, ended).await.is_err() {
        tracing::debug!("Some connections did not end in time.");
    }
    hub.close();
    if timeout(STORE_DEADLINE, writer.join_next()).await.is_err() {
        tracing::warn!("The disk did not take what was not acked yet: devices will send it again.");
    }
}

/// Waits for room first: connections beyond the bound wait in the system's queue.
async fn accept(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
) -> io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let place = room.clone().acquire_owned().await.map_err(io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    // A peer that reads nothing would hold its place for as long as it likes.
    SockRef::from(&stream).set_tcp_user_timeout(Some(TAKE_DEADLINE))?;
    Ok((stream, peer, place))
}

/// What every handler gets.
#[derive(Clone)]
struct Served {
    hub: Arc<Hub>,
    store: Option<Arc<Store>>,
    /// Room for questions that the store answers.
    questions: Arc<Semaphore>,
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
