//! The receiver: takes devices' messages, acks them, keeps their recent history, and shows it on a page.

mod alarms;
mod api;
mod clocks;
mod device;
mod door;
mod gate;
mod history;
mod host;
mod known;
mod live;
mod moment;
mod page;
mod receive;
mod state;
mod store;
mod streams;
mod tls;
mod tokens;
mod told;

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
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

pub use gate::{Asked, Gate};
pub use tls::{HubTls, TlsFiles};
pub use tokens::{KnownToken, TokensError, list, make, new_token, revoke};

use crate::stop::Stop;
use state::{Hub, Keeps};
pub use store::{COMMIT_INTERVALS, KEEP_RANGE, Limits, Store};

/// How often tokens and certificates are looked at: what is revoked is out within seconds.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How long the disk may take for what is not acked yet when the hub stops.
const STORE_DEADLINE: Duration = Duration::from_secs(1);
/// Most questions that the store answers at the same time: each may read a million entries.
const QUESTIONS: usize = 2;

/// Most pages that are told of changes: half of a door's connections, so that there always are some for devices.
const PAGES: usize = 512;

/// How a hub is reached, and by whom.
pub struct Listening {
    /// Where: all of them lead to the same hub.
    pub doors: Vec<Door>,
    /// Which devices are let in, whatever the door.
    pub gate: Gate,
}

/// An address that is taken, so that a port in use is noticed before anything starts.
pub struct Door {
    listener: TcpListener,
    address: SocketAddr,
    tls: Option<Arc<HubTls>>,
}

impl Door {
    /// Takes an address.
    pub async fn open(address: SocketAddr, tls: Option<HubTls>) -> io::Result<Door> {
        let failed =
            |e: io::Error| io::Error::new(e.kind(), format!("cannot listen on {address}: {e}"));
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Door { listener, address, tls: tls.map(Arc::new) })
    }

    /// The address, with the port that was free.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where a browser goes.
    pub fn page(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}/", self.address)
    }

    /// Where a device goes.
    pub fn uplink(&self) -> String {
        let scheme = if self.tls.is_some() { "wss" } else { "ws" };
        format!("{scheme}://{}/uplink", self.address)
    }
}

/// Whether no other machine reaches what listens there.
pub fn is_private(address: SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

/// Serves devices and browsers until told to stop. Without a store, what was taken is in memory alone and acked at once.
pub async fn serve(listening: Listening, store: Option<Store>, mut stop: Stop) {
    let store = store.map(Arc::new);
    let hub = Arc::new(Hub::new(if store.is_some() { Keeps::OnDisk } else { Keeps::InMemory }));
    let mut writer = JoinSet::new();
    if let Some(store) = store.clone() {
        let hub = hub.clone();
        writer.spawn_blocking(move || store::write(&store, &hub));
    }
    let gate = Arc::new(listening.gate);
    let served = Served {
        hub: hub.clone(),
        gate: gate.clone(),
        store,
        questions: Arc::new(Semaphore::new(QUESTIONS)),
        pages: Arc::new(Semaphore::new(PAGES)),
        stop: stop.clone(),
    };
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
        .layer(middleware::from_fn_with_state(served.clone(), host::by_its_name))
        .layer(middleware::from_fn(harden))
        .with_state(served);
    let certificates: Vec<Arc<HubTls>> =
        listening.doors.iter().filter_map(|door| door.tls.clone()).collect();
    let mut doors = JoinSet::new();
    for door in listening.doors {
        doors.spawn(door::attend(door, routes.clone(), stop.clone()));
    }
    let mut looks = tokio::time::interval(LOOK_EVERY);
    loop {
        tokio::select! {
            () = stop.wait() => break,
            Some(ended) = writer.join_next() => {
                // Without it nothing would ever be acked again: whoever started the hub can start it anew.
                tracing::error!("The store's thread has ended by itself: {ended:?}.");
                doors.abort_all();
                break;
            }
            _ = looks.tick() => {}
        }
        let (gate, certificates) = (gate.clone(), certificates.clone());
        let look = tokio::task::spawn_blocking(move || {
            gate.refresh();
            certificates.iter().for_each(|tls| tls.refresh());
        });
        tokio::select! {
            () = stop.wait() => break,
            // A disk that hangs holds up nothing but this.
            _ = look => {}
        }
    }
    while doors.join_next().await.is_some() {}
    hub.close();
    if timeout(STORE_DEADLINE, writer.join_next()).await.is_err() {
        tracing::warn!("The disk did not take what was not acked yet: devices will send it again.");
    }
}

/// What every handler gets.
#[derive(Clone)]
struct Served {
    hub: Arc<Hub>,
    gate: Arc<Gate>,
    store: Option<Arc<Store>>,
    /// Room for questions that the store answers.
    questions: Arc<Semaphore>,
    /// Room for pages that are told of changes.
    pages: Arc<Semaphore>,
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
