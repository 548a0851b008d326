//! After an outage live messages go first, and what waited follows at its pace, marked as late; or all in order.

use std::collections::BTreeSet;
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::{Message, WebSocket, accept_hdr};
use weir::reading::Timestamp;

use crate::support::{PATIENCE, Running, held_address, pipeline, weir};

/// With ten readings a second of each, more than a window waits after a few seconds.
const SENSORS: usize = 100;
const OUTAGE: Duration = Duration::from_secs(10);
const RATE: usize = 1_000;
/// A live message gets through within this, on a machine that is busy with other tests; one that waited for those of the
/// outage would take longer than that.
const LIVE: Duration = Duration::from_secs(6);

/// What a hub got, in the order in which it came.
struct Got {
    seq: u64,
    is_late: bool,
    /// How old a reading was when it came.
    age: Option<Duration>,
    at: Instant,
}

/// A gateway whose hub comes late: when it was there, and all that it got until everything was acked and a hundred more came.
fn deliver(order: &str) -> (Instant, Vec<Got>, String) {
    let address = held_address();
    let sensors: String = (0..SENSORS)
        .map(|number| {
            format!(
                "[[sensor]]\nname = \"s{number}\"\ndriver = \"simulated\"\ninterval = \"100ms\"\n"
            )
        })
        .collect();
    // Room for all that waits and comes meanwhile.
    let (_folder, file) = pipeline(&format!(
        "[device]\nname = \"d\"\n{sensors}[spool]\nmemory_kib = 16384\n[uplink]\nurl = \"ws://{address}\"\n{order}\n"
    ));
    let mut device = Running::start(weir(&["run", &file]));
    device.line("Running.");
    std::thread::sleep(OUTAGE);
    let listener = TcpListener::bind(address).unwrap();
    let (mut socket, accepted) = accept(&listener);
    let mut numbers = BTreeSet::new();
    let mut got = Vec::new();
    let end = Instant::now() + PATIENCE;
    let mut caught_up = None;
    while caught_up.is_none_or(|count| got.len() < count + 100) {
        assert!(Instant::now() < end, "{} messages in {PATIENCE:?}", got.len());
        let Message::Text(text) = socket.read().unwrap() else { continue };
        let messages: Vec<Value> = serde_json::from_str(&text).unwrap();
        for message in &messages {
            let seq = message["seq"].as_u64().unwrap();
            assert!(numbers.insert(seq), "{seq} came twice over one connection");
            let time = message["time"].as_str().filter(|_| message["type"] == "temperature");
            let age = time.map(|time| Timestamp::now().since(time.parse().unwrap()));
            got.push(Got { seq, is_late: message["late"] == true, age, at: Instant::now() });
        }
        let (ack, highest) = ack(&numbers);
        // The last that came is a live one: nothing waits any more.
        let is_young = |got: &Got| got.age.is_some_and(|age| age < LIVE / 4);
        let is_live = got.last().is_some_and(|got| !got.is_late && is_young(got));
        if ack == highest && is_live && caught_up.is_none() {
            caught_up = Some(got.len());
        }
        let ahead = if ack == highest {
            String::new()
        } else {
            let from = (ack..=highest).rev().take_while(|seq| numbers.contains(seq)).last();
            format!(r#","ahead":[{},{highest}]"#, from.unwrap())
        };
        socket.send(Message::text(format!(r#"{{"type":"ack","seq":{ack}{ahead}}}"#))).unwrap();
    }
    device.signal("TERM");
    // The rest of this connection's messages are not of interest, only that it ends in order.
    while socket.read().is_ok() {}
    let (status, lines) = device.end();
    assert!(status.success());
    (accepted, got, lines.join("\n"))
}

/// All up to the first is there, and the second is the highest.
fn ack(numbers: &BTreeSet<u64>) -> (u64, u64) {
    let highest = numbers.last().copied().unwrap_or_default();
    if highest == numbers.len() as u64 {
        return (highest, highest);
    }
    let ack = (1..).zip(numbers).take_while(|(expected, seq)| expected == *seq).count() as u64;
    (ack, highest)
}

#[expect(clippy::result_large_err, reason = "the library's type")]
fn accept(listener: &TcpListener) -> (WebSocket<TcpStream>, Instant) {
    let (stream, _) = listener.accept().unwrap();
    let accepted = Instant::now();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let choose = |_: &Request, mut response: Response| {
        response.headers_mut().insert("sec-websocket-protocol", "weir.v1".parse().unwrap());
        Ok(response)
    };
    let mut socket = accept_hdr(stream, choose).unwrap();
    socket.read().unwrap();
    (socket, accepted)
}

#[test]
fn live_readings_overtake_what_waited_which_comes_late_and_paced() {
    let (accepted, got, log) = deliver(&format!("order = \"live-first\"\ncatch_up_rate = {RATE}"));
    let waited = got.iter().filter(|got| got.is_late).count();
    assert!(waited > 1_024, "{waited} messages waited: {log}");
    // The very first that came is a live one or the first of those that waited; no live one waited for all of these.
    let live = got.iter().filter(|got| !got.is_late);
    let oldest = live.filter_map(|got| got.age).max().unwrap();
    assert!(oldest < LIVE, "a live reading was {oldest:?} old");
    let late: Vec<&Got> = got.iter().filter(|got| got.is_late).collect();
    assert!(late.is_sorted_by_key(|got| got.seq), "late ones are in order among themselves");
    // Not from the first one's arrival on: this process may have been late to read it.
    let took = late.last().unwrap().at - accepted;
    let fastest = Duration::from_secs_f64(waited as f64 / RATE as f64).mul_f64(0.8);
    eprintln!("{waited} late messages in {took:?}; the oldest live reading had {oldest:?}");
    assert!(
        took >= fastest,
        "{waited} late messages came in {took:?}, quicker than {RATE} a second"
    );
}

#[test]
fn in_order_nothing_overtakes_and_nothing_is_late() {
    let (_, got, _) = deliver("order = \"in-order\"");
    assert!(got.iter().all(|got| !got.is_late));
    assert!(got.iter().map(|got| got.seq).eq(1..=got.len() as u64));
}
