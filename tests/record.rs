//! `weir run --record` and `weir replay` of it: the bytes that a server got, and what becomes of other plugins.
//! Long because each kind of run that is recorded is compared with its replay here, by one set of helpers.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Output};
use std::sync::mpsc::{self, Receiver};

use serde_json::Value;
use serde_json::value::RawValue;
use tempfile::TempDir;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::{Message, WebSocket, accept_hdr};

use weir::pipeline::{Naming, SavedState, check, replay_run};
use weir::plugin::{Instance, Kept, Limits};
use weir::reading::{Quality, Reading, Timestamp};

use crate::bad_plugins::hostile;
use crate::clock::faketime;
use crate::support::{PATIENCE, Running, W1Tree, engine, engine_settings, repository, weir};

/// A server that keeps every message as it came.
struct Server {
    address: SocketAddr,
    messages: Receiver<String>,
}

impl Server {
    /// Speaks the full form when there is a command to send, else the plain one.
    fn start(command: Option<&'static str>) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, messages) = mpsc::channel();
        std::thread::spawn(move || {
            let mut socket = accept(&listener, command.map_or("weir.plain", |_| "weir.v1"));
            if let Some(command) = command {
                socket.send(Message::text(command)).unwrap();
            }
            let mut is_first = true;
            while let Ok(message) = socket.read() {
                let Message::Text(text) = message else { continue };
                if std::mem::take(&mut is_first) {
                    assert!(text.starts_with(r#"{"type":"connect""#), "{text}");
                    continue;
                }
                for message in split(&text) {
                    if command.is_some() {
                        let json: Value = serde_json::from_str(&message).unwrap();
                        let ack = format!(r#"{{"type":"ack","seq":{}}}"#, json["seq"]);
                        // The device may be closing already.
                        drop(socket.send(Message::text(ack)));
                    }
                    if sender.send(message).is_err() {
                        return;
                    }
                }
            }
        });
        Server { address, messages }
    }
}

#[expect(clippy::result_large_err, reason = "the library's type")]
fn accept(listener: &TcpListener, protocol: &'static str) -> WebSocket<TcpStream> {
    let (stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let choose = |_: &Request, mut response: Response| {
        response.headers_mut().insert("sec-websocket-protocol", protocol.parse().unwrap());
        Ok(response)
    };
    accept_hdr(stream, choose).unwrap()
}

/// The messages of a frame, to the byte.
fn split(text: &str) -> Vec<String> {
    if text.starts_with('{') {
        return vec![text.to_owned()];
    }
    let messages: Vec<Box<RawValue>> = serde_json::from_str(text).unwrap();
    messages.iter().map(|message| message.get().to_owned()).collect()
}

/// A folder with a pipeline file and, after a run, its recording.
struct Run {
    folder: TempDir,
    server: Server,
    /// What the server got so far.
    got: Vec<String>,
}

impl Run {
    /// `HERE` in the pipeline becomes the server's address.
    fn new(pipeline: &str, command: Option<&'static str>) -> Run {
        let folder = TempDir::new().unwrap();
        let server = Server::start(command);
        let url = format!("ws://{}", server.address);
        std::fs::write(folder.path().join("p.toml"), pipeline.replace("HERE", &url)).unwrap();
        Run { folder, server, got: Vec::new() }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    fn command(&self, more: &[&str]) -> Command {
        let (file, recording) = (self.path("p.toml"), self.path("r.jsonl"));
        let mut arguments = vec!["run", &file, "--record", &recording];
        arguments.extend(more);
        weir(&arguments)
    }

    /// Waits for a message that fits.
    fn wait_for(&mut self, fits: impl Fn(&Value) -> bool) {
        loop {
            let message = self.server.messages.recv_timeout(PATIENCE).unwrap_or_else(|e| {
                panic!("no such message ({e}) after {:?}", self.got.last());
            });
            let json = serde_json::from_str(&message).unwrap();
            self.got.push(message);
            if fits(&json) {
                return;
            }
        }
    }

    /// Stops the run; all that the server got then.
    fn end(&mut self, run: Running) {
        run.signal("INT");
        let (status, lines) = run.end();
        assert!(status.success(), "{lines:#?}");
        self.got.extend(self.server.messages.iter());
    }

    fn replay(&self, pipeline: &str, more: &[&str]) -> Output {
        let recording = self.path("r.jsonl");
        let mut arguments = vec!["replay", pipeline, "--input", &recording];
        arguments.extend(more);
        weir(&arguments).output().unwrap()
    }

    /// The replay's lines are what the server got, and it says nothing but its last line.
    #[track_caller]
    fn replays_to_the_same_bytes(&self) {
        let replayed = self.replay(&self.path("p.toml"), &[]);
        let said = String::from_utf8_lossy(&replayed.stderr).into_owned();
        assert!(replayed.status.success(), "{said}");
        let text = String::from_utf8(replayed.stdout).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        for (got, line) in self.got.iter().zip(&lines) {
            assert_eq!(line, got);
        }
        assert_eq!(lines.len(), self.got.len(), "{said}");
        let told: Vec<&str> = said.lines().filter(|line| line.contains("r.jsonl: ")).collect();
        let sent = format!("the run itself gave {}", self.got.len());
        assert!(told.len() == 1 && told[0].ends_with(&sent), "{said}");
        let interpreted = self.replay(&self.path("p.toml"), &["--interpret"]);
        assert!(interpreted.status.success());
        assert!(interpreted.stdout == text.as_bytes(), "the interpreter gives other bytes");
        println!("{} messages: {:?}", lines.len(), count(&self.got));
    }
}

fn count(messages: &[String]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for message in messages {
        let json: Value = serde_json::from_str(message).unwrap();
        let word = |key: &str| json[key].as_str().unwrap_or_default().to_owned();
        let kind = match word("type").as_str() {
            "fault" => word("reason"),
            "alarm" => format!("{} {}", word("alarm"), word("state")),
            kind => kind.to_owned(),
        };
        *counts.entry(kind).or_default() += 1;
    }
    counts
}

/// Doors, spikes, faults, a recording that is played, delays; a way out beside the recorded one.
const ROOM: &str = r#"
[device]
name = "cold-room"
[[sensor]]
name = "freezer"
driver = "simulated"
interval = "100ms"
seed = 7
mean_celsius = -18.0
noise_celsius = 0.3
door_every = "2s"
door_celsius = 50.0
[[sensor]]
name = "fermenter"
driver = "simulated"
interval = "150ms"
seed = 2
fault_percent = 20.0
[[sensor]]
name = "played"
driver = "replay"
file = "played.csv"
column = "T0"
speed = 10.0
[[stage]]
name = "despike"
plugin = "filter-median"
sensors = ["played", "freezer"]
config = { window = 3 }
[[stage]]
name = "calibrate"
plugin = "calibrate-linear"
[stage.config.sensor.fermenter]
low = { measured = 0.4, reference = 0.0 }
high = { measured = 25.3, reference = 25.0 }
[[stage]]
name = "played-warm"
plugin = "alert-limit"
sensors = ["played"]
config = { above = 30.0, deadband = 1.0, on_delay = "300ms", repeat = "1s", severity = "critical" }
[[stage]]
name = "silent"
plugin = "alert-limit"
config = { on_missing = "5s", above = 60.0 }
[uplink]
url = "HERE"
[dashboard]
listen = "127.0.0.1:0"
"#;

/// Twelve seconds: six of cold with a spike, six of warm.
fn played() -> String {
    let mut csv = "timestamp,sensor,celsius\n".to_owned();
    for second in 0..24 {
        let celsius = match second {
            3 => 99.0,
            0..12 => 20.0 + f64::from(second) / 3.0,
            _ => 35.0 + f64::from(second) / 7.0,
        };
        csv += &format!("2026-01-01T00:00:{second:02}Z,T0,{celsius}\n");
    }
    csv += "2026-01-01T00:00:30Z,T0,-300\n";
    for second in 40..50 {
        csv += &format!("2026-01-01T00:00:{second}Z,T0,20.{second}\n");
    }
    csv
}

#[test]
fn a_recorded_run_replays_to_the_bytes_that_were_sent() {
    let command = r#"{"type":"command","id":"c \"1\" é","command":"dance","arguments":{}}"#;
    let mut run = Run::new(ROOM, Some(command));
    std::fs::write(run.path("played.csv"), played()).unwrap();
    let process = Running::start(run.command(&[]));
    let is_played = |m: &Value, state: &str| m["alarm"] == "played-warm" && m["state"] == state;
    type Fits = Box<dyn Fn(&Value) -> bool>;
    let mut awaited: Vec<Fits> = vec![
        Box::new(|m| m["type"] == "result"),
        Box::new(|m| m["type"] == "health"),
        Box::new(|m| m["type"] == "fault" && m["sensor"] == "fermenter"),
        Box::new(move |m| is_played(m, "active")),
        Box::new(move |m| is_played(m, "cleared")),
    ];
    while !awaited.is_empty() {
        run.wait_for(|message| awaited.iter().any(|fits| fits(message)));
        let last: Value = serde_json::from_str(run.got.last().unwrap()).unwrap();
        awaited.retain(|fits| !fits(&last));
    }
    run.end(process);
    run.replays_to_the_same_bytes();
    // What was played is another file's now: the recording alone counts.
    std::fs::write(run.path("played.csv"), "timestamp,sensor,celsius\n2026-01-01T00:00:00Z,T0,1\n")
        .unwrap();
    run.replays_to_the_same_bytes();
}

#[test]
fn a_call_that_was_stopped_by_its_deadline_is_stopped_in_the_replay() {
    let pipeline = format!(
        r#"
        [device]
        name = "test"
        [[sensor]]
        name = "a"
        driver = "replay"
        file = "a.csv"
        [[sensor]]
        name = "b"
        driver = "simulated"
        interval = "100ms"
        [[stage]]
        name = "before"
        plugin = "calibrate-linear"
        config = {{ offset = 1.0 }}
        [[stage]]
        name = "middle"
        plugin = "{}"
        sensors = ["a"]
        config = {{ does = "loop" }}
        limits = {{ call_deadline = "100ms" }}
        [[stage]]
        name = "after"
        plugin = "alert-limit"
        config = {{ above = 55.0 }}
        [uplink]
        url = "HERE"
        "#,
        hostile().display()
    );
    let mut run = Run::new(&pipeline, None);
    let mut csv = "timestamp,sensor,celsius\n".to_owned();
    for (second, celsius) in [4.0, 60.0, 5.0, 60.0, 60.0, 6.0, 60.0, 7.0, 8.0].iter().enumerate() {
        csv += &format!("2026-01-01T00:00:0{second}.0Z,a,{celsius}\n");
    }
    std::fs::write(run.path("a.csv"), csv).unwrap();
    let process = Running::start(run.command(&[]));
    for _ in 0..3 {
        run.wait_for(|m| m["reason"] == "plugin-deadline");
    }
    run.wait_for(|m| m["sensor"] == "a" && m["type"] == "temperature");
    run.end(process);
    run.replays_to_the_same_bytes();
    let recording = std::fs::read_to_string(run.path("r.jsonl")).unwrap();
    let ended = recording.lines().filter(|line| line.starts_with(r#"{"ended":{"stage":1,"call":"#));
    assert!(ended.count() >= 2, "{recording}");

    // Another plugin in its place did not run then: nothing stops it, and it is said that it is another.
    let better = pipeline
        .replace(&hostile().display().to_string(), "filter-median")
        .replace(r#"does = "loop""#, "window = 3");
    std::fs::write(run.path("better.toml"), better.replace("HERE", "ws://127.0.0.1:1")).unwrap();
    let replayed = run.replay(&run.path("better.toml"), &[]);
    let said = String::from_utf8_lossy(&replayed.stderr).into_owned();
    assert!(said.contains("stage `middle`: plugin `filter-median` "), "{said}");
    assert!(said.contains("is another file than the recorded `hostile`"), "{said}");
    let text = String::from_utf8(replayed.stdout).unwrap();
    assert!(replayed.status.success() && !text.contains("plugin-deadline"), "{text}");
    assert!(text.contains(r#""type":"temperature","#) && text.contains(r#""sensor":"a""#));
}

#[test]
fn a_clock_that_is_set_replays() {
    let Some(library) = faketime() else { return };
    let mut run = Run::new(
        "[device]\nname = \"d\"\n[[sensor]]\nname = \"s\"\ndriver = \"simulated\"\ninterval = \"200ms\"\n\
         [uplink]\nurl = \"HERE\"\n",
        None,
    );
    let offset = run.path("offset");
    std::fs::write(&offset, "-60d\n").unwrap();
    let mut command = run.command(&[]);
    command
        .env("LD_PRELOAD", library)
        .env("FAKETIME_TIMESTAMP_FILE", &offset)
        .env("FAKETIME_NO_CACHE", "1")
        .env("DONT_FAKE_MONOTONIC", "1");
    let process = Running::start(command);
    run.wait_for(|m| m["type"] == "temperature");
    for step in ["+0\n", "-1d\n"] {
        std::fs::write(run.path("next"), step).unwrap();
        std::fs::rename(run.path("next"), &offset).unwrap();
        run.wait_for(|m| m["type"] == "clock" && m["step_secs"] != 0.0);
        run.wait_for(|m| m["type"] == "temperature");
    }
    run.end(process);
    run.replays_to_the_same_bytes();
}

#[test]
fn thermometers_that_no_file_names_replay_with_those_that_came_later() {
    let ids = ["28-0316a2794dff", "28-0000052cbc93"];
    for id in ["all", "any"] {
        let tree = W1Tree::new();
        let there = if id == "all" { 2 } else { 1 };
        for (id, celsius) in ids.into_iter().zip([-18.5, 21.0625]).take(there) {
            tree.measure(id, celsius);
        }
        let name = if id == "any" { "name = \"cellar\"\n" } else { "" };
        let mut run = Run::new(
            &format!(
                "[device]\nname = \"d\"\n[[sensor]]\n{name}driver = \"ds18b20\"\nid = \"{id}\"\ninterval = \"100ms\"\n\
                 [[stage]]\nname = \"despike\"\nplugin = \"filter-median\"\n\
                 [[stage]]\nname = \"warm\"\nplugin = \"alert-limit\"\nconfig = {{ above = -20.0 }}\n\
                 [uplink]\nurl = \"HERE\"\n"
            ),
            None,
        );
        let process = Running::start(run.command(&["--w1-root", tree.path()]));
        run.wait_for(|m| m["type"] == "alarm");
        tree.measure("28-00000a0b0c0d", 5.0);
        run.wait_for(|m| m["type"] == "sensor" && m["state"] == "found");
        tree.answer(ids[0], "");
        run.wait_for(|m| m["type"] == "fault");
        run.end(process);
        run.replays_to_the_same_bytes();
    }
}

#[test]
fn the_examples_replay() {
    // As they are, but for ports, pins, a quicker interval, and a way out that can be watched.
    for (example, messages) in [("demo", 20), ("freezer", 20), ("one-probe", 5), ("greenhouse", 12)]
    {
        let text = std::fs::read_to_string(repository(&format!("pipelines/{example}.toml")));
        let mut text = text
            .unwrap()
            .replace("ws://localhost:8080", "HERE")
            .replace("127.0.0.1:8080", "127.0.0.1:0")
            .replace("[[output]]", "[[output]]\nsimulate = true")
            .replace("simulate = true\n\n", "\n")
            .replace("interval = \"10s\"", "interval = \"200ms\"");
        if !text.contains("HERE") {
            text += "\n[uplink]\nurl = \"HERE\"\n";
        }
        let tree = W1Tree::new();
        let ids = ["28-0316a2794dff", "28-01131bcd22a1", "28-3c01f0965a74"];
        for id in &ids[..if example == "greenhouse" { 1 } else { 3 }] {
            tree.measure(id, -17.25);
        }
        let mut run = Run::new(&text, None);
        let folder = run.path("");
        let process = Running::start(run.command(&["--root", &folder, "--w1-root", tree.path()]));
        for _ in 0..messages {
            run.wait_for(|_| true);
        }
        run.end(process);
        println!("{example}:");
        run.replays_to_the_same_bytes();
    }
}

#[test]
fn a_recording_is_never_written_over() {
    let run = Run::new(ROOM, None);
    std::fs::write(run.path("played.csv"), played()).unwrap();
    for (there, text) in [
        (Some("something"), "it is not empty, and a recording is never written over"),
        (None, "it is not a regular file"),
    ] {
        let recording = run.path("r.jsonl");
        match there {
            Some(text) => std::fs::write(&recording, text).unwrap(),
            None => {
                std::fs::remove_file(&recording).unwrap();
                std::fs::create_dir(&recording).unwrap();
            }
        }
        let refused = run.command(&["--duration", "1s"]).output().unwrap();
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(1), "{said}");
        assert!(said.contains("cannot record to ") && said.contains(text), "{said}");
    }
    assert!(Path::new(&run.path("r.jsonl")).is_dir());
}

#[test]
fn a_run_that_is_killed_leaves_a_recording_of_what_came_before() {
    let mut run = Run::new(ROOM, None);
    std::fs::write(run.path("played.csv"), played()).unwrap();
    let process = Running::start(run.command(&[]));
    // Lines go to the disk each second.
    run.wait_for(|m| m["type"] == "health");
    process.signal("KILL");
    process.end();
    run.got.extend(run.server.messages.iter());
    let replayed = run.replay(&run.path("p.toml"), &[]);
    let said = String::from_utf8_lossy(&replayed.stderr).into_owned();
    assert!(replayed.status.success() && said.contains("the recording has no end"), "{said}");
    let text = String::from_utf8(replayed.stdout).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines.len() > 20 && lines.len() <= run.got.len() + 20, "{}", lines.len());
    for (got, line) in run.got.iter().zip(&lines) {
        assert_eq!(line, got);
    }
}

#[test]
fn a_run_after_one_that_was_killed_replays_to_the_same_bytes() {
    let pipeline = r#"
        [device]
        name = "test"
        [[sensor]]
        name = "a"
        driver = "simulated"
        interval = "100ms"
        [uplink]
        url = "HERE"
        "#;
    let command = r#"{"type":"command","id":"1","command":"dance","arguments":{}}"#;
    let mut run = Run::new(pipeline, Some(command));
    let (away, data) = (run.path("away.toml"), run.path("data"));
    std::fs::write(&away, pipeline.replace("HERE", "ws://127.0.0.1:1")).unwrap();
    let mut killed = Running::start(weir(&["run", &away, "--data-dir", &data]));
    killed.line("Running.");
    killed.signal("KILL");
    killed.end();
    let process = Running::start(run.command(&["--data-dir", &data]));
    run.wait_for(|m| m["type"] == "health");
    run.end(process);
    let recording = std::fs::read_to_string(run.path("r.jsonl")).unwrap();
    let header: Value = serde_json::from_str(recording.lines().next().unwrap()).unwrap();
    let after = header["after"].as_u64().unwrap();
    let seq = |message: &String| serde_json::from_str::<Value>(message).unwrap()["seq"].as_u64();
    let (before, of_run): (Vec<_>, Vec<_>) =
        run.got.iter().cloned().partition(|message| seq(message).unwrap() <= after);
    assert!(before.len() == 1 && before[0].contains("unclean-stop"), "{before:#?}");
    run.got = of_run;
    run.replays_to_the_same_bytes();
}

#[test]
fn a_state_that_was_recorded_goes_on_in_the_replay() {
    let text = r#"
        [device]
        name = "d"
        [[sensor]]
        name = "a"
        driver = "simulated"
        [[stage]]
        name = "despike"
        plugin = "filter-median"
        config = { window = 3 }
        [uplink]
        url = "ws://127.0.0.1:1"
        "#;
    let pipeline = check("p.toml", text, Path::new(".")).unwrap();
    let stage = &pipeline.stages[0];
    let plugin = engine().compile(&stage.plugin).unwrap();
    let mut instance =
        Instance::start(&plugin, "despike", Limits::default(), Kept::default()).unwrap();
    instance.configure(&stage.settings, &pipeline.series()).unwrap().unwrap();
    for value in [1.0, 100.0] {
        let reading =
            Reading { series: 0, time: Timestamp { nanos: 1 }, value, quality: Quality::Good };
        instance.begin_pass();
        instance.apply(&mut [reading].into_iter().collect()).unwrap();
    }
    let state = instance.save().unwrap();
    assert!(state.len() > 2);
    let header = r#"{"recording":1,"weir":"0.1.0","device":"d","started":"2026-01-01T00:00:00.000Z",
        "clock":{"ahead":0,"synchronized":true},"series":[{"sensor":"a","quantity":"temperature"}],
        "stages":[{"stage":"despike","plugin":"filter-median","version":"0.1.0","sha256":"","settings":{}}]}"#;
    let first_value = |state: &[u8]| {
        let saved = SavedState {
            stage: "despike".to_owned(),
            plugin: "filter-median".to_owned(),
            state: state.to_vec(),
            ..SavedState::default()
        };
        let mut recording = header.replace('\n', "") + "\n";
        for part in saved.to_bytes().chunks(50) {
            let part: String = part.iter().map(|byte| format!("{byte:02x}")).collect();
            recording += &format!("{{\"state\":{{\"stage\":0,\"part\":\"{part}\"}}}}\n");
        }
        recording += "{\"batch\":{\"readings\":[[0,2,200.0,\"good\"]]}}\n";
        let (mut out, naming) = (Vec::new(), Naming::default());
        replay_run(&pipeline, recording.as_bytes(), &naming, engine_settings(), &mut out, |_| {})
            .unwrap();
        serde_json::from_slice::<Value>(&out).unwrap()["value"].as_f64().unwrap()
    };
    assert_eq!(first_value(&state), 100.0);
    assert_eq!(first_value(&[]), 200.0);
    // Refused by the plugin, as it would be live.
    assert_eq!(first_value(&state[1..]), 200.0);
}
