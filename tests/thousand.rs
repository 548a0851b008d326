//! A thousand devices whose hub is gone for a while: they come back spread over time, and all of them.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinSet;
use uuid::Uuid;
use weir::spool::Spool;
use weir::stop::{self, Stop};
use weir::uplink::wire::{Connect, Event};
use weir::uplink::{self, Credentials, Endpoint, Link, LinkState, Order, WebSocketUplink};

use crate::support::{PATIENCE, Running, get, in_one_of_three, may_open, weir};

const DEVICES: usize = 1_000;
/// No more of them may come back within a tenth of a second.
const MOST_AT_ONCE: usize = DEVICES / 4;
/// How long the hub is gone.
const GONE: Duration = Duration::from_secs(1);

#[test]
fn a_thousand_devices_come_back_to_a_restarted_hub_and_not_all_at_once() {
    // The hub sees to its own.
    if !may_open(DEVICES as u64 + 200) {
        return;
    }
    in_one_of_three(|| match most_at_once() {
        busiest if busiest > MOST_AT_ONCE => Err(format!("{busiest} came back at once")),
        _ => Ok(()),
    });
}

/// Gives how many new devices came back to a restarted hub within the same tenth of a second, at most.
fn most_at_once() -> usize {
    let mut hub = Running::start(weir(&["hub", "--listen", "127.0.0.1:0"]));
    let address = hub.dashboard();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (stopper, stop) = stop::channel();
    let mut tasks = JoinSet::new();
    let mut links: Vec<_> =
        (0..DEVICES).map(|number| start(number, address, &stop, &mut tasks, &runtime)).collect();
    runtime.block_on(all(&mut links, LinkState::Up));
    all_connected(address);
    hub.signal("KILL");
    drop(hub);
    runtime.block_on(all(&mut links, LinkState::Down));
    std::thread::sleep(GONE);
    // Before the hub listens: none comes back earlier.
    let back = Instant::now();
    let mut hub = Running::start(weir(&["hub", "--listen", &address.to_string()]));
    hub.dashboard();
    let mut waits = runtime.block_on(all(&mut links, LinkState::Up));
    waits.sort_unstable();
    let waits: Vec<Duration> = waits.iter().map(|up| *up - back).collect();
    let tenth = |wait: &Duration| wait.as_millis() / 100;
    let busiest = waits.chunk_by(|a, b| tenth(a) == tenth(b)).map(<[_]>::len).max().unwrap();
    let at = |part: usize| waits[(DEVICES - 1) * part / 100];
    eprintln!(
        "{DEVICES} devices came back after {:?} (median; 1 % {:?}, 99 % {:?}, last {:?}); at most {busiest} within 0.1 s",
        at(50),
        at(1),
        at(99),
        at(100)
    );
    all_connected(address);
    stopper.stop();
    runtime.block_on(async { while tasks.join_next().await.is_some() {} });
    busiest
}

fn start(
    number: usize,
    address: SocketAddr,
    stop: &Stop,
    tasks: &mut JoinSet<()>,
    runtime: &tokio::runtime::Runtime,
) -> watch::Receiver<Link> {
    let name = format!("device-{number}");
    let spool = Spool::memory(64 << 10, &["uplink"]);
    let fault = Event::Fault {
        sensor: "a".into(),
        time: "2026-11-21T23:00:00.000Z".into(),
        reason: "stale".into(),
        clock: None,
    };
    spool.append(vec![fault.into()]);
    let link = Link::new();
    let state = link.subscribe();
    let uplink = WebSocketUplink {
        name: "uplink".into(),
        endpoints: vec![Endpoint::parse(&format!("ws://{address}/uplink")).unwrap()],
        credentials: Credentials::default(),
        connect: Connect::new(&name, Uuid::new_v4(), &[]),
        place: spool.place("uplink").unwrap(),
        order: Order::InOrder,
        answer: Box::new(|_| {}),
    };
    tasks.spawn_on(uplink::run(uplink, link, stop.clone()), runtime.handle());
    state
}

/// Waits until all links are in a state; gives since when each is.
async fn all(links: &mut [watch::Receiver<Link>], state: LinkState) -> Vec<Instant> {
    let waited = async {
        let mut since = Vec::new();
        for link in links {
            since.push(link.wait_for(|link| link.state == state).await.unwrap().since.into_std());
        }
        since
    };
    tokio::time::timeout(PATIENCE, waited).await.expect("not all of them in time")
}

/// A device knows that it is connected a moment before its hub does.
fn all_connected(address: SocketAddr) {
    let end = Instant::now() + PATIENCE;
    while connected(address) < DEVICES {
        assert!(Instant::now() < end, "the hub has {} devices", connected(address));
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn connected(address: SocketAddr) -> usize {
    let metrics = get(address, "/metrics");
    let is_up = |line: &&str| line.starts_with("weir_device_connected{") && line.ends_with(" 1");
    metrics.lines().filter(is_up).count()
}
