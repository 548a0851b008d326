//! Whether an uplink is connected, since when, and why not: what log, health message, page and status LED show.

use tokio::sync::watch;
use tokio::time::Instant;

/// How an uplink stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Link {
    /// Whether it is connected.
    pub state: LinkState,
    /// Since when.
    pub since: Instant,
    /// Why it is not.
    pub reason: Option<Box<str>>,
}

/// Whether an uplink is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkState {
    /// Not now.
    Down,
    /// And delivering.
    Up,
}

impl LinkState {
    /// Its word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            LinkState::Down => "down",
            LinkState::Up => "up",
        }
    }
}

impl Link {
    /// Not connected yet.
    pub fn new() -> watch::Sender<Link> {
        watch::Sender::new(Link { state: LinkState::Down, since: Instant::now(), reason: None })
    }

    /// It is connected.
    pub(super) fn up(link: &watch::Sender<Link>) {
        link.send_replace(Link { state: LinkState::Up, since: Instant::now(), reason: None });
    }

    /// It is not connected, for this reason.
    pub(super) fn down(link: &watch::Sender<Link>, why: &str) {
        link.send_modify(|link| {
            if link.state == LinkState::Up {
                link.since = Instant::now();
            }
            link.state = LinkState::Down;
            link.reason = Some(why.into());
        });
    }
}
