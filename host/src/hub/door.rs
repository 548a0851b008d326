//! One address at which the hub listens: takes connections, encrypted or not, and ends those that ask for nothing.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, Extension};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::gate::ClientCertificate;
use super::host::Encryption;
use super::told::Told;
use super::{Door, HubTls};
use crate::file::excerpt;
use crate::stop::Stop;

/// How long open pages and devices are waited for when the hub stops.
const STOP_DEADLINE: Duration = Duration::from_millis(500);
/// Most connections of pages and programs, and of devices that have not become a WebSocket yet.
const CONNECTIONS: usize = 1_024;
/// Most of them for one address, or one network of IPv6: a stranger does not keep all others out. A proxy, or many devices
/// behind one address, have room: a device that has become a WebSocket is not counted.
const OF_ONE_PEER: usize = CONNECTIONS / 4;
/// Who connects to an encrypted door has shaken hands within this.
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);
/// Who connects, or keeps a connection open, asks for something within this.
const REQUEST_DEADLINE: Duration = Duration::from_secs(15);
/// Who takes nothing of what was sent for so long is gone.
const TAKE_DEADLINE: Duration = Duration::from_secs(30);
/// When the system has no connection to give, the next try is so much later.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Takes connections until told to stop.
pub(super) async fn attend(door: Door, routes: Router, mut stop: Stop) {
    let told = Arc::new(Told::default());
    // Each door has its own: strangers who fill one do not keep the device of this process from the other.
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    let peers = Arc::new(Peers::default());
    // Dropped with this function: connections that do not end by themselves end then.
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = stop.wait() => break,
            // Finished tasks are taken off the set as they end.
            Some(_) = connections.join_next() => continue,
            accepted = accept(&door.listener, &room) => accepted,
        };
        match accepted {
            Ok((stream, peer, place)) => {
                let Some(of_peer) = Peers::enter(&peers, peer.ip()) else {
                    if told.is_due(peer.ip()) {
                        tracing::warn!(
                            %peer,
                            "It has {OF_ONE_PEER} connections, more are closed. This is told once a minute for each address."
                        );
                    }
                    continue;
                };
                let encryption =
                    if door.tls.is_some() { Encryption::Tls } else { Encryption::Plain };
                let routes = routes.clone().layer(Extension(ConnectInfo(peer)));
                let routes = routes.layer(Extension(encryption));
                let (tls, told) = (door.tls.clone(), told.clone());
                connections.spawn(async move {
                    match tls {
                        Some(tls) => encrypted(stream, &tls, routes, &told, peer).await,
                        None => {
                            let enough = Extension(ClientCertificate::Enough);
                            converse(stream, routes.layer(enough), peer).await;
                        }
                    }
                    drop((place, of_peer));
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
    if timeout(STOP_DEADLINE, ended).await.is_err() {
        tracing::debug!("Some connections did not end in time.");
    }
}

/// How many connections each peer has.
#[derive(Debug, Default)]
struct Peers(Mutex<HashMap<IpAddr, usize>>);

/// A connection of a peer; one less when it is dropped.
struct OfPeer {
    peers: Arc<Peers>,
    peer: IpAddr,
}

impl Peers {
    fn counts(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One more of this peer; `None` when it has enough. This machine's own are not bounded beyond the door's bound.
    fn enter(peers: &Arc<Peers>, peer: IpAddr) -> Option<OfPeer> {
        let peer = network(peer);
        let mut counts = peers.counts();
        let count = counts.entry(peer).or_default();
        if *count >= OF_ONE_PEER && !peer.is_loopback() {
            return None;
        }
        *count += 1;
        Some(OfPeer { peers: peers.clone(), peer })
    }
}

impl Drop for OfPeer {
    fn drop(&mut self) {
        if let Entry::Occupied(mut count) = self.peers.counts().entry(self.peer) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

/// Whoever has one address of IPv6 has at least all of its network (RFC 4291, 2.5.1).
fn network(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) if !address.is_loopback() => {
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64))
        }
        address => address,
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

async fn encrypted(stream: TcpStream, tls: &HubTls, routes: Router, told: &Told, peer: SocketAddr) {
    let why = match timeout(HANDSHAKE_DEADLINE, tls.acceptor().accept(stream)).await {
        Ok(Ok(stream)) => {
            let is_missing = tls.wants_certificate()
                && stream.get_ref().1.peer_certificates().is_none_or(<[_]>::is_empty);
            let certificate =
                if is_missing { ClientCertificate::Missing } else { ClientCertificate::Enough };
            return converse(stream, routes.layer(Extension(certificate)), peer).await;
        }
        // Who looks whether somebody listens, as programs do that watch over services.
        Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
            tracing::debug!(%peer, "A connection ended before it was encrypted.");
            return;
        }
        Ok(Err(error)) => excerpt(&error.to_string()),
        Err(_) => format!("it was not done within {HANDSHAKE_DEADLINE:?}"),
    };
    if told.is_due(peer.ip()) {
        tracing::warn!(
            %peer,
            "A TLS handshake failed: {why}. This is told once a minute for each address."
        );
    }
}

async fn converse<S>(stream: S, routes: Router, peer: SocketAddr)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(REQUEST_DEADLINE)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes))
        .with_upgrades();
    if let Err(error) = connection.await {
        tracing::debug!(%peer, "A connection ended: {error}.");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_peer_leaves_room_for_others() {
        let peers = Arc::new(Peers::default());
        let enter = |peer: &str| Peers::enter(&peers, peer.parse().unwrap());
        let mut of_one: Vec<OfPeer> =
            (0..2 * OF_ONE_PEER).filter_map(|n| enter(&format!("2001:db8::{n:x}"))).collect();
        assert_eq!(of_one.len(), OF_ONE_PEER, "a network of IPv6 is one peer");
        assert!(enter("2001:db8:0:1::1").is_some() && enter("192.0.2.1").is_some());
        of_one.pop();
        assert!(enter("2001:db8::1").is_some(), "a place is free again");
        drop(of_one);
        assert!(peers.counts().is_empty());
        let own: Vec<OfPeer> = (0..2 * OF_ONE_PEER).filter_map(|_| enter("127.0.0.1")).collect();
        assert_eq!(own.len(), 2 * OF_ONE_PEER);
    }
}
