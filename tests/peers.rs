//! Peers that nobody here wrote, in both roles and with the whole wire: Python's `websockets` and Node's `ws` as a hub that
//! acks, and as a device that numbers its messages. (As servers that know nothing of Weir: `plain_server.rs`.)

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{
    Came, PATIENCE, Running, all_but_the_last_came, get, pipeline, repository, weir,
};

/// A hub: chooses `weir.v1`, prints the number of each message, acks each frame but the first one of the first connection,
/// which it leaves after three frames, and not before the device has the ack of the second.
const PYTHON_HUB: &str = r#"
import asyncio, json, websockets

connections = 0

async def serve(socket):
    global connections
    connections += 1
    first = connections == 1
    frames = 0
    async for text in socket:
        messages = json.loads(text)
        if isinstance(messages, dict):
            print("connect", messages["device"], messages["stream"], flush=True)
            continue
        frames += 1
        print("frame", " ".join(str(m["seq"]) for m in messages), flush=True)
        if first and frames == 3:
            return
        if frames > 1:
            await socket.send(json.dumps({"type": "ack", "seq": messages[-1]["seq"]}))

async def main():
    async with websockets.serve(serve, "127.0.0.1", 0, subprotocols=["weir.v1"]) as server:
        print("port", server.sockets[0].getsockname()[1], flush=True)
        await asyncio.Future()

asyncio.run(main())
"#;

const NODE_HUB: &str = r#"
const { WebSocketServer } = require("ws");
let connections = 0;
const server = new WebSocketServer({
  host: "127.0.0.1", port: 0, handleProtocols: (offered) => offered.has("weir.v1") && "weir.v1",
}, () => console.log("port", server.address().port));
server.on("connection", (socket) => {
  const first = ++connections === 1;
  let frames = 0, ponged = false;
  const leave = () => first && ponged && frames >= 3 && socket.terminate();
  socket.on("pong", () => { ponged = true; leave(); });
  socket.on("message", (text) => {
    const messages = JSON.parse(text);
    if (!Array.isArray(messages)) return console.log("connect", messages.device, messages.stream);
    frames += 1;
    console.log("frame", messages.map((message) => message.seq).join(" "));
    if (first && frames > 2) return leave();
    if (frames > 1) socket.send(JSON.stringify({ type: "ack", seq: messages.at(-1).seq }));
    // A connection that is cut off loses what is on its way. What is read before the ping is not.
    if (first && frames === 2) socket.ping();
  });
});
"#;

/// A device: numbers from 1 to 50, then 31 to 60 again as after a lost connection; ends when all 60 are acked.
const PYTHON_DEVICE: &str = r#"
import asyncio, json, sys, websockets

def reading(seq):
    return {"type": "temperature", "seq": seq, "sensor": "a", "time": "2026-11-21T23:00:%02d.000Z" % (seq % 60),
            "value": seq / 4, "quality": "good"}

async def main():
    connect = {"type": "connect", "device": "python", "stream": "7f1a7c52-8f2f-4b4e-9a25-2f8c8f3f0001", "version": "1",
               "sensors": [{"sensor": "a", "unit": "celsius"}]}
    for numbers in (range(1, 51), range(31, 61)):
        async with websockets.connect(sys.argv[1], subprotocols=["weir.v1"]) as socket:
            await socket.send(json.dumps(connect))
            await socket.send(json.dumps([reading(seq) for seq in numbers]))
            async for text in socket:
                message = json.loads(text)
                if message["type"] == "ack" and message["seq"] >= numbers[-1]:
                    break
    print("acked", message["seq"], flush=True)

asyncio.run(main())
"#;

const NODE_DEVICE: &str = r#"
const WebSocket = require("ws");
const reading = (seq) => ({ type: "temperature", seq, sensor: "a",
  time: `2026-11-21T23:00:${String(seq % 60).padStart(2, "0")}.000Z`, value: seq / 4, quality: "good" });
const connect = { type: "connect", device: "node", stream: "7f1a7c52-8f2f-4b4e-9a25-2f8c8f3f0002", version: "1",
  sensors: [{ sensor: "a", unit: "celsius" }] };
const range = (from, to) => Array.from({ length: to - from + 1 }, (_, i) => from + i);
const send = (numbers, then) => {
  const socket = new WebSocket(process.argv[1], ["weir.v1"]);
  socket.on("open", () => {
    socket.send(JSON.stringify(connect));
    socket.send(JSON.stringify(numbers.map(reading)));
  });
  socket.on("message", (text) => {
    const message = JSON.parse(text);
    if (message.type === "ack" && message.seq >= numbers.at(-1)) { socket.close(); then(message.seq); }
  });
};
send(range(1, 50), () => send(range(31, 60), (seq) => console.log("acked", seq)));
"#;

/// A program of one of the two, or `None` (said) where its package is missing.
fn peer(language: &str, program: &str) -> Option<Command> {
    let (interpreter, flag, probe) = match language {
        "python" => ("python3", "-c", "import websockets"),
        _ => ("node", "-e", "require('ws')"),
    };
    // Where `.ci/run` installs Node's; a global installation serves as well.
    let command = |text: &str| {
        let mut command = Command::new(interpreter);
        command.args([flag, text]).env("NODE_PATH", repository("target/node/node_modules"));
        command
    };
    if command(probe).output().is_ok_and(|output| output.status.success()) {
        return Some(command(program));
    }
    eprintln!("SKIPPED: {interpreter} lacks its WebSocket package ({probe})");
    None
}

fn is_a_hub(language: &str, program: &str) {
    let Some(program) = peer(language, program) else { return };
    let mut hub = Running::start(program);
    let port = hub.line("port ").split(' ').nth(1).unwrap().to_owned();
    let (_folder, file) = pipeline(&format!(
        "[device]\nname = \"d\"\n[[sensor]]\nname = \"a\"\ndriver = \"simulated\"\ninterval = \"100ms\"\n\
         [uplink]\nurl = \"ws://127.0.0.1:{port}\"\n"
    ));
    let device = Running::start(weir(&["run", &file]));
    let stream = hub.line("connect d ").split(' ').nth(2).unwrap().to_owned();
    let mut first = Vec::new();
    while first.len() < 3 {
        first.push(numbers(&hub.line("frame ")));
    }
    // The second frame was acked and the third was not: what comes again begins with it.
    let again = hub.line("connect d ");
    assert_eq!(again.split(' ').nth(2), Some(&*stream), "another stream");
    let mut expected = *first[1].last().unwrap() + 1;
    assert_eq!(first.concat(), (1..=*first[2].last().unwrap()).collect::<Vec<_>>());
    for _ in 0..10 {
        for number in numbers(&hub.line("frame ")) {
            assert_eq!(number, expected);
            expected += 1;
        }
    }
    device.signal("TERM");
    let (status, lines) = device.end();
    assert!(status.success());
    hub.signal("KILL");
    let seen = hub.seen.len();
    let (_, told) = hub.end();
    let rest = told[seen..].iter().filter(|line| line.starts_with("frame "));
    let rest: Vec<u64> = rest.flat_map(|line| numbers(line)).collect();
    assert_eq!(rest, (expected..expected + rest.len() as u64).collect::<Vec<_>>());
    let to = rest.last().map_or(expected - 1, |last| *last);
    all_but_the_last_came(&lines, Came::Messages(to), 10);
}

fn numbers(line: &str) -> Vec<u64> {
    line.split(' ').skip(1).map(|number| number.parse().unwrap()).collect()
}

fn is_a_device(language: &str, program: &str) {
    let Some(mut program) = peer(language, program) else { return };
    let mut hub = Running::start(weir(&["hub", "--listen", "127.0.0.1:0"]));
    let address = hub.dashboard();
    program.arg(format!("ws://{address}/uplink"));
    let mut device = Running::start(program);
    assert_eq!(device.line("acked"), "acked 60");
    assert!(device.end().0.success());
    let path = format!("/api/readings?device={language}&sensor=a");
    let end = Instant::now() + PATIENCE;
    let readings: Value = loop {
        let readings: Value = serde_json::from_str(&get(address, &path)).unwrap();
        let count = readings.as_array().unwrap().len();
        if count >= 60 || Instant::now() > end {
            break readings;
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    let values: Vec<f64> =
        readings.as_array().unwrap().iter().map(|r| r["value"].as_f64().unwrap()).collect();
    let mut expected: Vec<f64> = (1..=60).map(|seq| f64::from(seq) / 4.0).collect();
    // The sixtieth is of the full minute, so the first in order of time, where the hub orders by it.
    let mut sorted = values.clone();
    sorted.sort_by(f64::total_cmp);
    expected.sort_by(f64::total_cmp);
    assert_eq!(sorted, expected, "each once");
}

#[test]
fn pythons_websockets_is_a_hub_that_acks() {
    is_a_hub("python", PYTHON_HUB);
}

#[test]
fn nodes_ws_is_a_hub_that_acks() {
    is_a_hub("node", NODE_HUB);
}

#[test]
fn pythons_websockets_is_a_device_with_numbers() {
    is_a_device("python", PYTHON_DEVICE);
}

#[test]
fn nodes_ws_is_a_device_with_numbers() {
    is_a_device("node", NODE_DEVICE);
}
