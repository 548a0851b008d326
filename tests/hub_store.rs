//! The hub's store: what was acked is there once, whatever happened to the hub, its disk and the order of messages.
//! Long because kills, disks, floods and orders all need the same device that numbers its messages.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::client::Request;
use tokio_tungstenite::tungstenite::stream::MaybeTlsStream;
use tokio_tungstenite::tungstenite::{Message, WebSocket, connect};

use crate::support::{Live, PATIENCE, Running, get, held_address, http, may_open, weir};

const STREAM: &str = "00000000-0000-0000-0000-000000000001";
/// Why a hub lets a device go that waited for long enough.
const NOT_OPEN: &str = "has not opened its store";

fn hub(address: SocketAddr, folder: &Path, more: &[&str]) -> Running {
    let address = address.to_string();
    let mut arguments = vec!["hub", "--listen", &address, "--data-dir", folder.to_str().unwrap()];
    arguments.extend(more);
    let mut hub = Running::start(weir(&arguments));
    hub.dashboard();
    hub
}

fn request(address: SocketAddr) -> Request {
    let mut request = format!("ws://{address}/uplink").into_client_request().unwrap();
    request.headers_mut().insert("sec-websocket-protocol", "weir.v1".parse().unwrap());
    request
}

/// A device in the hand of the test.
struct Device {
    socket: WebSocket<MaybeTlsStream<TcpStream>>,
}

impl Device {
    /// Connects, and gives the first ack. As often as it is refused because the hub has not opened its store.
    fn connect(address: SocketAddr, from: u64) -> (Device, u64) {
        let end = Instant::now() + PATIENCE;
        loop {
            let (mut socket, _) = connect(request(address)).unwrap();
            let MaybeTlsStream::Plain(stream) = socket.get_mut() else { panic!() };
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let mut device = Device { socket };
            device.send(&json!({"type": "connect", "device": "d", "stream": STREAM, "from": from,
                "sensors": [{"sensor": "a", "unit": "celsius"}]}));
            match device.ack() {
                Ok((seq, _)) => return (device, seq),
                Err(why) => assert!(why.contains(NOT_OPEN) && Instant::now() < end, "{why}"),
            }
        }
    }

    fn send(&mut self, frame: &Value) {
        self.socket.send(Message::text(frame.to_string())).unwrap();
    }

    /// The next ack, or how the connection ended.
    fn ack(&mut self) -> Result<(u64, Option<(u64, u64)>), String> {
        let end = Instant::now() + PATIENCE;
        loop {
            // Pings of the hub end no wait.
            assert!(Instant::now() < end, "no ack");
            match self.socket.read() {
                Ok(Message::Text(text)) => {
                    let ack: Value = serde_json::from_str(&text).unwrap();
                    assert_eq!(ack["type"], "ack", "{text}");
                    let ahead =
                        ack.get("ahead").map(|a| (a[0].as_u64().unwrap(), a[1].as_u64().unwrap()));
                    return Ok((ack["seq"].as_u64().unwrap(), ahead));
                }
                Ok(Message::Close(why)) => return Err(format!("{why:?}")),
                Ok(_) => {}
                Err(error) => return Err(error.to_string()),
            }
        }
    }

    /// Waits until all up to this number is stored.
    fn acked(&mut self, seq: u64) -> (u64, Option<(u64, u64)>) {
        loop {
            let (acked, ahead) = self.ack().unwrap();
            if acked >= seq {
                return (acked, ahead);
            }
        }
    }
}

fn time(seq: u64) -> String {
    format!("2026-01-01T{:02}:{:02}:{:02}.000Z", seq / 3600 % 24, seq / 60 % 60, seq % 60)
}

fn reading(seq: u64) -> Value {
    json!({"type": "temperature", "seq": seq, "sensor": "a", "time": time(seq), "value": seq, "quality": "good"})
}

fn get_json(address: SocketAddr, path: &str) -> Value {
    serde_json::from_str(&get(address, path)).unwrap()
}

/// All that an answer and those after it hold, as their `Link` headers lead.
fn all(address: SocketAddr, path: &str) -> Vec<Value> {
    let mut found = Vec::new();
    let mut next = Some(path.to_owned());
    while let Some(path) = next {
        let (head, reader) = http(address, "HTTP/1.0", &format!("GET {path}"), "");
        assert!(head.starts_with("HTTP/1.0 200"), "{path}: {head}");
        let Value::Array(part) = serde_json::from_reader(reader).unwrap() else { panic!("{head}") };
        found.extend(part);
        let link = head.lines().find_map(|line| line.strip_prefix("link: <"));
        next = link.map(|link| link.split('>').next().unwrap().to_owned());
    }
    found
}

/// Waits until so many messages are stored, by asking for them.
fn wait_for(address: SocketAddr, messages: usize) {
    let end = Instant::now() + PATIENCE;
    while stored(address).len() < messages {
        assert!(Instant::now() < end, "they are not stored");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// How often each number is stored.
fn stored(address: SocketAddr) -> BTreeMap<u64, usize> {
    let mut counts = BTreeMap::new();
    for message in all(address, "/api/messages?device=d&limit=700") {
        assert_eq!(message["stream"], STREAM);
        *counts.entry(message["message"]["seq"].as_u64().unwrap()).or_default() += 1;
    }
    counts
}

#[test]
fn what_was_acked_is_stored_once_though_the_hub_is_killed_again_and_again() {
    const KILLS: usize = 20;
    const MESSAGES: u64 = 6_000;
    let folder = TempDir::new().unwrap();
    let address = held_address();
    let mut random = fastrand::Rng::with_seed(7);
    let (mut acked, mut frames, mut repeats) = (0, 0, 0);
    let mut sent = BTreeSet::new();
    for round in 0..=KILLS {
        let hub = hub(address, folder.path(), &[]);
        let (mut device, first) = Device::connect(address, acked + 1);
        assert!(first >= acked, "{acked} was acked, and {first} is known");
        acked = first;
        // Whatever is not acked comes again, in any order.
        let waiting: Vec<u64> = (acked + 1..=MESSAGES).collect();
        let mut waiting: Vec<&[u64]> = waiting.chunks(20).take(60).collect();
        random.shuffle(&mut waiting);
        let kill_after = if round == KILLS { waiting.len() } else { random.usize(1..30) };
        for numbers in waiting.iter().take(kill_after) {
            repeats += numbers.iter().filter(|seq| !sent.insert(**seq)).count();
            device.send(&numbers.iter().map(|seq| reading(*seq)).collect());
            frames += 1;
        }
        // Until something that was sent is stored.
        while random.bool() {
            let (seq, ahead) = device.ack().unwrap();
            acked = acked.max(seq);
            if seq > first || ahead.is_some() {
                break;
            }
        }
        hub.signal("KILL");
        let (_, lines) = hub.end();
        let is_repair = |line: &String| line.contains("its store is gone through");
        assert!(!lines.iter().any(is_repair), "a file that was not closed opens at once");
        while let Ok((seq, _)) = device.ack() {
            acked = acked.max(seq);
        }
    }
    let _hub = hub(address, folder.path(), &[]);
    let (mut device, first) = Device::connect(address, acked + 1);
    assert!(first >= acked);
    let rest: Vec<u64> = (first + 1..=MESSAGES).collect();
    for numbers in rest.chunks(100) {
        device.send(&numbers.iter().map(|seq| reading(*seq)).collect());
    }
    if first < MESSAGES {
        device.acked(MESSAGES);
    }
    let counts = stored(address);
    assert_eq!(counts, (1..=MESSAGES).map(|seq| (seq, 1)).collect());
    let readings = all(address, "/api/readings?device=d&sensor=a&limit=999");
    let numbers: Vec<u64> = readings.iter().map(|r| r["seq"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (1..=MESSAGES).collect::<Vec<_>>(), "in order of time");
    let metrics = get(address, "/metrics");
    assert!(metrics.contains("weir_device_gaps{device=\"d\"} 0"), "{metrics}");
    eprintln!(
        "{KILLS} kills, {frames} frames, {repeats} messages sent again, the last ack before the end {acked}: \
         {MESSAGES} of {MESSAGES} messages are stored once"
    );
}

#[test]
fn a_hub_that_writes_seldom_writes_at_once_for_those_who_wait() {
    const INTERVAL: Duration = Duration::from_secs(20);
    let folder = TempDir::new().unwrap();
    let address = held_address();
    let hub = hub(address, folder.path(), &["--commit-interval", "20s"]);
    let (mut device, _) = Device::connect(address, 1);
    // Somebody asks.
    device.send(&json!([reading(1), reading(2)]));
    wait_for(address, 2);
    device.acked(2);
    // Much waits: less than what a device may send without an ack.
    let sent = Instant::now();
    let frames = (3..=4_002).map(reading).collect::<Vec<_>>();
    for frame in frames.chunks(100) {
        device.send(&json!(frame));
    }
    let (some, _) = device.ack().unwrap();
    assert!(some > 2, "{some}");
    wait_for(address, 4_002);
    if some < 4_002 {
        device.acked(4_002);
    }
    assert!(sent.elapsed() < INTERVAL, "{:?}", sent.elapsed());
    // Little waits, and nobody asks.
    device.send(&json!([reading(4_003)]));
    device.acked(4_003);
    assert!(sent.elapsed() >= INTERVAL, "{:?}", sent.elapsed());
    // The hub ends.
    device.send(&json!([reading(4_004)]));
    let came = "weir_device_readings_total{device=\"d\"} 4004";
    while !get(address, "/metrics").contains(came) {
        assert!(sent.elapsed() < 3 * INTERVAL);
        std::thread::sleep(Duration::from_millis(50));
    }
    hub.signal("INT");
    hub.end();
    let _hub = self::hub(address, folder.path(), &[]);
    // Until the hub knows what it knew.
    let (_device, first) = Device::connect(address, 4_005);
    assert_eq!((first, stored(address).len()), (4_004, 4_004));
}

#[test]
fn a_restart_shows_the_same_page() {
    let folder = TempDir::new().unwrap();
    let address = held_address();
    let first = hub(address, folder.path(), &[]);
    let (mut device, _) = Device::connect(address, 1);
    let unset = "unsynchronized";
    let alarm = |seq: u64, name: &str, state: &str| {
        json!({"type": "alarm", "seq": seq, "alarm": name, "sensor": "a", "condition": "above", "state": state,
               "severity": "critical", "value": 9.5, "limit": 8, "time": time(seq)})
    };
    device.send(&json!([
        {"type": "start", "seq": 1, "time": "2026-01-01T00:00:00Z", "version": "9", "clock": unset},
        {"type": "humidity", "seq": 2, "sensor": "b", "time": "2026-01-01T00:00:01Z", "value": 50, "quality": "good", "clock": unset},
        {"type": "clock", "seq": 3, "time": "2026-01-01T00:00:00Z", "synchronized": true, "step_secs": 3600},
        reading(4), alarm(5, "warm", "active"), alarm(6, "hot", "active"), alarm(7, "hot", "cleared"),
        {"type": "fault", "seq": 8, "sensor": "a", "time": time(8), "reason": "crc-mismatch"},
        {"type": "sensor", "seq": 9, "id": "28-ff", "state": "found", "time": time(9)},
        {"type": "tomorrow", "seq": 10, "new": {"x": 1}},
        {"type": "health", "seq": 11, "time": time(11), "uptime_secs": 1, "queued": 3, "dropped": 0, "missed_cycles": 0,
         "plugin_traps": 0, "uplinks": [{"uplink": "hub", "state": "up", "queued": 3, "since": time(1)}],
         "spool": {"on_disk": true, "bytes": 4096}},
        reading(14), {"type": "dropped", "seq": 15, "from": 12, "to": 12, "reason": "spool-full"},
    ]));
    assert_eq!(device.acked(12), (12, Some((14, 15))));
    // Its clock was set to what it is by a message that comes late.
    device.send(&json!([{"type": "temperature", "seq": 13, "late": true, "sensor": "a", "time": time(13), "value": 1, "quality": "uncertain"}]));
    device.acked(15);
    drop(device);
    let shown = |address| {
        let end = Instant::now() + PATIENCE;
        loop {
            let (kind, mut snapshot) = Live::open(address).next();
            assert_eq!(kind, "snapshot");
            if snapshot["devices"][0]["connected"] == false {
                return snapshot["devices"].take();
            }
            assert!(Instant::now() < end);
        }
    };
    let before = shown(address);
    assert_eq!((&before[0]["lost"], &before[0]["uplinks"][0]["state"]), (&json!(1), &json!("up")));
    let (messages, readings) = (
        "/api/messages?device=d",
        ["/api/readings?device=d&sensor=a", "/api/readings?device=d&sensor=b"],
    );
    let (all_messages, all_readings) =
        (get_json(address, messages), readings.map(|path| get_json(address, path)));
    assert_eq!(all_readings[1][0]["time"], "2026-01-01T01:00:01.000Z");
    assert_eq!(all_messages.as_array().unwrap().len(), 14, "{all_messages}");
    first.signal("INT");
    let (status, _) = first.end();
    assert!(status.success());

    let second = hub(address, folder.path(), &[]);
    assert_eq!(shown(address), before);
    assert_eq!(get_json(address, messages), all_messages);
    assert_eq!(readings.map(|path| get_json(address, path)), all_readings);
    let (_device, acked) = Device::connect(address, 16);
    assert_eq!(acked, 15);
    // One hub a folder.
    let other =
        weir(&["hub", "--listen", "127.0.0.1:0", "--data-dir", folder.path().to_str().unwrap()])
            .output();
    let other = String::from_utf8(other.unwrap().stderr).unwrap();
    assert!(other.contains("in use by another weir"), "{other}");
    drop(second);
}

#[test]
fn readings_are_asked_for_by_their_times_as_they_were_put_right() {
    let folder = TempDir::new().unwrap();
    let address = held_address();
    let _hub = hub(address, folder.path(), &[]);
    let (mut device, _) = Device::connect(address, 1);
    let unset = |seq: u64| {
        let mut reading = reading(seq);
        reading["clock"] = "unsynchronized".into();
        reading["time"] = format!("1970-01-01T00:{:02}:{:02}Z", seq / 60, seq % 60).into();
        reading
    };
    // The newest come first, then the clock, then what it puts right, and what a process before never could.
    device.send(&(300..=400).map(reading).collect());
    device.send(
        &json!([{"type": "clock", "seq": 299, "late": true, "time": time(299), "synchronized": true,
                         "step_secs": 1_767_225_600}]),
    );
    device.send(&(200..=298).rev().map(unset).collect());
    device.send(&json!([{"type": "start", "seq": 150, "late": true, "time": time(150), "version": "1", "clock": "unsynchronized"}]));
    device.send(&(1..=149).map(unset).collect());
    device.send(
        &json!([{"type": "dropped", "seq": 401, "from": 151, "to": 199, "reason": "unclean-stop"}]),
    );
    assert_eq!(device.acked(401), (401, None));
    let ask = |more: &str| -> Vec<u64> {
        let found = all(address, &format!("/api/readings?device=d&sensor=a&{more}"));
        found.iter().map(|reading| reading["seq"].as_u64().unwrap()).collect()
    };
    // 299 says how the clock was set.
    let range = |from: u64, to: u64| (from..=to).filter(|n| *n != 299).collect::<Vec<u64>>();
    assert_eq!(ask("from=2026-01-01T00:00:00Z&limit=7"), range(200, 400));
    assert_eq!(ask(&format!("from={}&to={}", time(250), time(350))), range(250, 350));
    assert_eq!(ask("to=2025-01-01T00:00:00Z&limit=3"), range(1, 149), "never put right");
    assert_eq!(ask("limit=50"), [range(1, 149), range(200, 400)].concat());
    let found = all(address, "/api/readings?device=d&sensor=a");
    assert!(found.iter().all(|r| r.get("clock").is_some() == (r["seq"].as_u64().unwrap() < 150)));
    let metrics = get(address, "/metrics");
    for line in [
        "weir_device_lost_total{device=\"d\"} 0",
        "weir_device_unclean_stops_total{device=\"d\"} 1",
    ] {
        assert!(metrics.contains(line), "{metrics}");
    }
    // Nobody else's.
    for path in ["/api/readings?device=d&sensor=c", "/api/messages?device=e"] {
        assert!(
            http(address, "HTTP/1.0", &format!("GET {path}"), "").0.starts_with("HTTP/1.0 404")
        );
    }
}

#[test]
fn what_does_not_fit_into_an_answer_is_where_its_link_leads() {
    let folder = TempDir::new().unwrap();
    let address = held_address();
    let _hub = hub(address, folder.path(), &[]);
    let (mut device, _) = Device::connect(address, 1);
    // All at the same time: the time alone does not say where an answer goes on.
    let at_once = |seq: u64| {
        let mut reading = reading(seq);
        reading["time"] = time(1).into();
        reading
    };
    device.send(&(1..=500).map(at_once).collect());
    device.send(&(501..=600).map(reading).collect());
    // What nobody knows, and long: not stored as it is.
    device.send(&json!([{"type": "tomorrow", "seq": 601, "new": "x".repeat(100_000)}]));
    // Short enough to be stored, and many megabytes in all.
    for seq in 602..=3_101 {
        device.send(&json!([{"type": "tomorrow", "seq": seq, "new": "\u{1}".repeat(600)}]));
    }
    device.acked(3_101);
    let ask = |limit: usize| -> Vec<u64> {
        let path = format!("/api/readings?device=d&sensor=a&limit={limit}");
        all(address, &path).iter().map(|r| r["seq"].as_u64().unwrap()).collect()
    };
    for limit in [7, 100, 500, 600, 601] {
        assert_eq!(ask(limit), (1..=600).collect::<Vec<_>>(), "{limit}");
    }
    let messages = all(address, "/api/messages?device=d&limit=50000");
    assert_eq!(messages.len(), 3_101);
    assert_eq!(messages[600]["message"], Value::Null);
    let whole = get(address, "/api/messages?device=d&limit=50000").len();
    assert!(((1 << 20)..(2 << 20)).contains(&whole), "{whole}");
    eprintln!("3,101 messages in answers of at most {whole} bytes");
}

#[test]
fn a_damaged_file_is_set_aside_and_the_hub_goes_on() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("hub/messages.redb");
    let address = held_address();
    let first = hub(address, folder.path(), &[]);
    let (mut device, _) = Device::connect(address, 1);
    for frame in 0..20 {
        device.send(&(frame * 50 + 1..=frame * 50 + 50).map(reading).collect());
    }
    device.acked(1_000);
    first.signal("INT");
    first.end();
    let good = std::fs::read(&file).unwrap();
    let mut random = fastrand::Rng::with_seed(3);
    let mut damages: Vec<(String, Vec<u8>)> = vec![
        ("nonsense".into(), b"nonsense".repeat(1_000)),
        ("cut in half".into(), good[..good.len() / 2].to_vec()),
        ("cut off after 100 bytes".into(), good[..100].to_vec()),
        ("nothing but zeros".into(), vec![0; good.len()]),
    ];
    for bytes in [1, 10, 1_000, 100_000] {
        let mut bad = good.clone();
        for _ in 0..bytes {
            let position = random.usize(..bad.len());
            bad[position] = random.u8(..);
        }
        damages.push((format!("{bytes} bytes of {} wrong", bad.len()), bad));
    }
    for (what, bad) in damages {
        for old in std::fs::read_dir(folder.path().join("hub")).unwrap() {
            std::fs::remove_file(old.unwrap().path()).unwrap();
        }
        std::fs::write(&file, bad).unwrap();
        let mut hub = hub(address, folder.path(), &[]);
        let (mut device, known) = Device::connect(address, 1_001);
        device.send(&(1_001..=1_100).map(reading).collect());
        device.acked(1_100);
        let healthy = get(address, "/healthz");
        let names: Vec<PathBuf> = std::fs::read_dir(folder.path().join("hub"))
            .unwrap()
            .map(|f| f.unwrap().path())
            .collect();
        let aside = names.iter().filter(|name| name.to_str().unwrap().contains(".bad-")).count();
        let spare = usize::from(names.iter().any(|name| name.ends_with("spare")));
        assert!(names.contains(&file) && names.len() == aside + spare + 1, "{names:?}");
        assert!(aside <= 2, "{names:?}");
        if aside > 0 {
            hub.said("The store is damaged and set aside");
        }
        assert!(known == 1_000 || aside > 0, "{what}: {known}");
        eprintln!("{what}: known {known}, {aside} file set aside, then {}", healthy.trim());
        hub.signal("KILL");
        hub.end();
    }
}

/// A file system of its own in memory, where this may be mounted.
struct SmallDisk {
    folder: TempDir,
}

impl SmallDisk {
    fn mount(mib: u32) -> Option<SmallDisk> {
        let disk = SmallDisk { folder: TempDir::new().unwrap() };
        let size = format!("size={mib}m");
        let path = disk.folder.path().to_str().unwrap();
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", &size, "weir", path]).output();
        if mounted.is_ok_and(|output| output.status.success()) {
            return Some(disk);
        }
        eprintln!("SKIPPED: no file system can be mounted here (are you root?)");
        None
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        drop(Command::new("umount").args(["-l", self.folder.path().to_str().unwrap()]).output());
    }
}

#[test]
fn a_full_disk_acks_nothing_and_loses_nothing() {
    let Some(disk) = SmallDisk::mount(12) else { return };
    let address = held_address();
    let mut hub = hub(address, disk.folder.path(), &[]);
    let (mut device, _) = Device::connect(address, 1);
    device.send(&json!([reading(1)]));
    device.acked(1);
    let ballast = disk.folder.path().join("ballast");
    // All that is left but little.
    let full = Command::new("dd")
        .args(["if=/dev/zero", &format!("of={}", ballast.display()), "bs=64k"])
        .output()
        .unwrap();
    assert!(!full.status.success(), "the disk was to be full");
    let mut sent = 1;
    let (mut acked, end) = (1, Instant::now() + PATIENCE);
    // Until the store needs more room than its file has.
    while http(address, "HTTP/1.0", "GET /healthz", "").0.starts_with("HTTP/1.0 200") {
        assert!(Instant::now() < end);
        device.send(&(sent + 1..=sent + 100).map(reading).collect());
        sent += 100;
    }
    hub.line("Nothing can be stored");
    let (head, mut body) = http(address, "HTTP/1.0", "GET /healthz", "");
    let mut why = String::new();
    std::io::Read::read_to_string(&mut body, &mut why).unwrap();
    assert!(head.starts_with("HTTP/1.0 503") && why.contains("No space left"), "{head}{why}");
    // Another device still is heard, and its answer is all that is stored of it.
    let (mut other, known) = Device::connect(address, 1);
    assert!(known < sent, "{known} of {sent}");
    device.send(&json!([reading(sent + 1)]));
    sent += 1;
    let (kind, snapshot) = Live::open(address).next();
    assert_eq!(kind, "snapshot");
    assert!(
        snapshot["trouble"]["reason"].as_str().unwrap().contains("No space left"),
        "{snapshot}"
    );
    let missing = sent - known;
    std::fs::remove_file(&ballast).unwrap();
    hub.line("is stored");
    while acked < sent {
        acked = device.ack().unwrap().0;
    }
    other.acked(sent);
    assert_eq!(get(address, "/healthz"), "ok\n");
    // What was stored before may have made room.
    let counts = stored(address);
    let first = *counts.keys().next().unwrap();
    assert_eq!(counts, (first..=sent).map(|seq| (seq, 1)).collect());
    assert!(first <= known, "{first} of {known}");
    eprintln!("a full disk: {missing} of {sent} messages waited, none is lost");
}

#[test]
fn a_hub_whose_disk_is_smaller_than_its_limit_goes_on_with_the_newest() {
    // Room for several times what it keeps, and for several disks in all.
    const FRAMES: u64 = 1_400;
    let Some(disk) = SmallDisk::mount(48) else { return };
    let address = held_address();
    let mut hub = hub(address, disk.folder.path(), &[]);
    let (mut device, _) = Device::connect(address, 1);
    let mut sent = 0;
    for frame in 0..FRAMES {
        device.send(&(sent + 1..=sent + 400).map(reading).collect());
        sent += 400;
        // As far behind as a device's window allows.
        if frame % 5 == 4 {
            device.acked(sent);
        }
        if frame == FRAMES / 2 {
            // Somebody else takes what is left.
            let ballast = disk.folder.path().join("ballast");
            let full = Command::new("dd")
                .args(["if=/dev/zero", &format!("of={}", ballast.display()), "bs=64k"])
                .output()
                .unwrap();
            assert!(!full.status.success(), "the disk was to be full");
        }
    }
    hub.line("The disk is nearly full");
    assert_eq!(get(address, "/healthz"), "ok\n");
    let counts = stored(address);
    let (first, last) = (counts.keys().next().unwrap(), counts.keys().last().unwrap());
    assert_eq!(*last, sent);
    assert_eq!(counts.len() as u64, last - first + 1, "the newest, without a gap");
    assert!(*first > 1 && counts.len() > 10_000, "{}", counts.len());
    eprintln!("{} of {sent} messages are kept on a full disk of 48 MiB", counts.len());
}

#[test]
fn a_hub_whose_disk_is_read_only_says_so_and_begins_when_it_is_not() {
    let Some(disk) = SmallDisk::mount(12) else { return };
    std::fs::create_dir(disk.folder.path().join("hub")).unwrap();
    std::fs::write(disk.folder.path().join("lock"), "").unwrap();
    let remount = |how: &str| {
        let path = disk.folder.path().to_str().unwrap();
        let done = Command::new("mount").args(["-o", &format!("remount,{how}"), path]).status();
        assert!(done.unwrap().success());
    };
    remount("ro");
    let address = held_address();
    let mut hub = hub(address, disk.folder.path(), &[]);
    hub.said("Nothing can be stored");
    let (head, _) = http(address, "HTTP/1.0", "GET /healthz", "");
    assert!(head.starts_with("HTTP/1.0 503"), "{head}");
    // Who goes while it waits is not held. Both frames in one write: it does not wait for long.
    let (mut socket, _) = connect(request(address)).unwrap();
    socket.write(Message::text(r#"{"type":"connect","device":"d"}"#)).unwrap();
    socket.close(None).unwrap();
    hub.line("The device left.");
    // What it knew before is not known, so a device is let wait, and then refused.
    let (mut socket, _) = connect(request(address)).unwrap();
    socket.send(Message::text(r#"{"type":"connect","device":"d"}"#)).unwrap();
    let why = socket.read().unwrap().to_string();
    assert!(why.contains(NOT_OPEN), "{why}");
    remount("rw");
    let (mut device, _) = Device::connect(address, 1);
    device.send(&json!([reading(1)]));
    device.acked(1);
    assert_eq!(get(address, "/healthz"), "ok\n");
}

#[test]
fn the_oldest_make_room() {
    let folder = TempDir::new().unwrap();
    let address = held_address();
    let _hub = hub(address, folder.path(), &["--most-mib", "1"]);
    let (mut device, _) = Device::connect(address, 1);
    let mut seq = 0;
    for frame in 1..=200 {
        device.send(&(seq + 1..=seq + 100).map(reading).collect());
        seq += 100;
        // As far behind as a device's window allows: what waits in memory may exceed the limit.
        if frame % 40 == 0 {
            device.acked(seq);
        }
    }
    let counts = stored(address);
    let bytes = std::fs::metadata(folder.path().join("hub/messages.redb")).unwrap().len();
    let (first, last) = (counts.keys().next().unwrap(), counts.keys().last().unwrap());
    assert_eq!(*last, seq);
    assert_eq!(counts.len() as u64, last - first + 1, "the newest, without a gap");
    assert!((1_000..10_000).contains(&counts.len()), "{}", counts.len());
    let readings = all(address, "/api/readings?device=d&sensor=a");
    assert_eq!(readings.len(), counts.len());
    eprintln!("{} of {seq} readings are kept in a file of {bytes} bytes, for 1 MiB", counts.len());
    assert!(bytes < 8 << 20, "{bytes}");
}

#[test]
fn a_device_that_leaves_too_much_out_is_told_so() {
    let address = held_address();
    let folder = TempDir::new().unwrap();
    let _hub = hub(address, folder.path(), &[]);
    let (mut device, _) = Device::connect(address, 1);
    device.send(&(1..=1_500).map(|n| reading(2 * n)).collect());
    let why = loop {
        match device.ack() {
            Ok((acked, _)) => assert_eq!(acked, 0),
            Err(why) => break why,
        }
    };
    assert!(why.contains("ranges of its numbers are missing"), "{why}");
    // What it declares then lets it go on.
    let (mut device, acked) = Device::connect(address, 1);
    assert_eq!(acked, 0);
    device.send(
        &json!([{"type": "dropped", "seq": 2049, "from": 1, "to": 2047, "reason": "spool-full"}]),
    );
    device.acked(2049);
}

#[test]
fn a_thousand_devices_come_back_at_once() {
    const DEVICES: u64 = 1_000;
    // Each needs a file here; the hub sees to its own.
    if !may_open(2 * DEVICES + 100) {
        return;
    }
    let folder = TempDir::new().unwrap();
    let address = held_address();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    for round in 0..2 {
        let hub = hub(address, folder.path(), &[]);
        let begun = Instant::now();
        let all = async {
            let mut tasks = tokio::task::JoinSet::new();
            for device in 0..DEVICES {
                tasks.spawn(come_back(address, device, round + 1));
            }
            let mut last = Duration::ZERO;
            while let Some(took) = tasks.join_next().await {
                last = last.max(took.unwrap());
            }
            last
        };
        let last = runtime.block_on(async { tokio::time::timeout(PATIENCE, all).await }).unwrap();
        eprintln!(
            "{DEVICES} devices connected and had 10 messages acked each within {:?}, the slowest after {last:?}",
            begun.elapsed()
        );
        hub.signal("KILL");
        hub.end();
    }
}

/// Connects, sends ten messages, and waits until they are stored. Gives how long that took.
async fn come_back(address: SocketAddr, device: u64, round: u64) -> Duration {
    let begun = Instant::now();
    let first = (round - 1) * 10 + 1;
    let stream = format!("00000000-0000-0000-0000-{device:012}");
    let connect =
        json!({"type": "connect", "device": format!("d{device}"), "stream": stream, "from": first});
    let frame: Value = (first..first + 10).map(reading).collect();
    // Again where the hub has not opened its store yet. The whole has its end.
    loop {
        let (mut socket, _) = tokio_tungstenite::connect_async(request(address)).await.unwrap();
        for text in [&connect, &frame] {
            // The hub may have let go already, which is told where it is read.
            drop(socket.send(Message::text(text.to_string())).await);
        }
        loop {
            match socket.next().await {
                Some(Ok(Message::Text(text))) => {
                    let ack: Value = serde_json::from_str(&text).unwrap();
                    if ack["seq"] == first + 9 {
                        return begun.elapsed();
                    }
                }
                Some(Ok(Message::Close(Some(why)))) if why.reason.contains(NOT_OPEN) => break,
                Some(Ok(Message::Ping(_))) => {}
                other => panic!("device {device} was left without an ack: {other:?}"),
            }
        }
    }
}
