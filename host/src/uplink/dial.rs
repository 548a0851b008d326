//! Connects to one of the addresses that a name has now.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpStream, lookup_host};
use tokio::task::JoinSet;

/// An address has so long before the next one is tried beside it (RFC 8305, section 5): one that never answers does not
/// use up the time of the others.
const HEAD_START: Duration = Duration::from_millis(250);
/// Most addresses of a name that are tried.
const ADDRESSES: usize = 8;
/// What was sent and not taken for so long is lost, and the connection with it.
const TAKE_DEADLINE: Duration = Duration::from_secs(30);
/// The system's own sign of life, for a peer that answers no ping of ours: after so long, so often, so many.
const IDLE: Duration = Duration::from_secs(15);
const PROBE_EVERY: Duration = Duration::from_secs(5);
const PROBES: u32 = 3;

/// Looks a name up, anew each time, and connects to the first of its addresses that answers.
pub(super) async fn dial(host: &str, port: u16) -> io::Result<TcpStream> {
    let found = lookup_host((host, port)).await;
    let found = found.map_err(|e| io::Error::new(e.kind(), format!("cannot find {host}: {e}")))?;
    let stream = first_that_answers(by_turns(found.collect())).await?;
    stream.set_nodelay(true)?;
    let socket = SockRef::from(&stream);
    socket.set_tcp_user_timeout(Some(TAKE_DEADLINE))?;
    let keepalive =
        TcpKeepalive::new().with_time(IDLE).with_interval(PROBE_EVERY).with_retries(PROBES);
    socket.set_tcp_keepalive(&keepalive)?;
    Ok(stream)
}

async fn first_that_answers(addresses: Vec<SocketAddr>) -> io::Result<TcpStream> {
    let mut addresses = addresses.into_iter();
    let mut tries = JoinSet::new();
    let mut failed = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    loop {
        match addresses.next() {
            Some(address) => {
                tries.spawn(async move {
                    let connected = TcpStream::connect(address).await;
                    connected.map_err(|e| io::Error::new(e.kind(), format!("{address}: {e}")))
                });
            }
            None if tries.is_empty() => return Err(failed),
            None => {}
        }
        let is_last = addresses.len() == 0;
        tokio::select! {
            Some(tried) = tries.join_next() => match tried {
                // The others are given up with the set.
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => failed = error,
                Err(error) => failed = io::Error::other(error),
            },
            () = tokio::time::sleep(HEAD_START), if !is_last => {}
            else => return Err(failed),
        }
    }
}

/// The families by turns, beginning with the one that the system prefers: when one of them leads nowhere, the second
/// address is of the other.
fn by_turns(found: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let prefers_v6 = found.first().is_some_and(SocketAddr::is_ipv6);
    let (first, second): (Vec<_>, Vec<_>) =
        found.into_iter().partition(|address| address.is_ipv6() == prefers_v6);
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut turns = Vec::new();
    while turns.len() < ADDRESSES {
        let before = turns.len();
        turns.extend(first.next());
        turns.extend(second.next());
        if turns.len() == before {
            break;
        }
    }
    turns
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn families_take_turns() {
        let found = addresses(&["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1"]);
        let turns = addresses(&["[::1]:1", "1.1.1.1:1", "[::2]:1", "[::3]:1"]);
        assert_eq!(by_turns(found), turns);
        assert_eq!(by_turns(vec!["1.1.1.1:1".parse().unwrap(); 100]).len(), ADDRESSES);
    }

    #[tokio::test]
    async fn an_address_that_is_dead_or_silent_does_not_hold_up_the_next() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let alive = listener.local_addr().unwrap();
        // One that refuses, and one of a network that is nowhere (RFC 5737), which answers nothing.
        let held = tokio::net::TcpSocket::new_v4().unwrap();
        held.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let dead = held.local_addr().unwrap();
        let silent: SocketAddr = "192.0.2.1:9".parse().unwrap();
        let begun = tokio::time::Instant::now();
        let stream = first_that_answers(vec![silent, dead, alive]).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), alive);
        // The silent one alone would take the system's two minutes.
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
        let error = first_that_answers(vec![dead]).await.unwrap_err().to_string();
        assert!(error.starts_with(&format!("{dead}: Connection refused")), "{error}");
    }
}
