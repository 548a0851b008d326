//! The blog's program: a server that knows only `{"type":"connect"}` and `{"type":"temperature","value":…}`, written
//! with the ordinary WebSocket packages of Python and Node, gets the messages of `pipelines/one-probe.toml`.

use std::process::Command;
use std::time::Instant;

use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::{Message, connect};
use tokio_tungstenite::{WebSocketStream, accept_async};
use weir::spool::Spool;
use weir::stop;
use weir::uplink::wire::{Connect, Event};
use weir::uplink::{self, Credentials, Endpoint, Link, Order, WebSocketUplink};

use crate::support::{PATIENCE, Running, W1Tree, pipeline, repository, weir};

/// Prints its port, then each message that it understands, a line each. Knows nothing of Weir.
const PYTHON: &str = r#"
import asyncio, json, websockets

async def serve(socket):
    async for text in socket:
        message = json.loads(text)
        if message["type"] == "connect":
            print("connected", flush=True)
        elif message["type"] == "temperature":
            print("temperature", message["value"], flush=True)

async def main():
    async with websockets.serve(serve, "127.0.0.1", 0) as server:
        print("port", server.sockets[0].getsockname()[1], flush=True)
        await asyncio.Future()

asyncio.run(main())
"#;

const NODE: &str = r#"
const { WebSocketServer } = require("ws");
const server = new WebSocketServer({ host: "127.0.0.1", port: 0 }, () => console.log("port", server.address().port));
server.on("connection", (socket) => socket.on("message", (text) => {
  const message = JSON.parse(text);
  if (message.type === "connect") console.log("connected");
  if (message.type === "temperature") console.log("temperature", message.value);
}));
"#;

#[test]
fn pythons_websockets_gets_the_blogs_messages() {
    if !succeeds(Command::new("python3").args(["-c", "import websockets"])) {
        eprintln!("SKIPPED: python3 has no package `websockets` (pip install websockets)");
        return;
    }
    let mut python = Command::new("python3");
    python.args(["-c", PYTHON]);
    gets_the_blogs_messages(python);
}

#[test]
fn nodes_ws_gets_the_blogs_messages() {
    // Where `.ci/run` installs it; a global installation serves as well.
    let modules = repository("target/node/node_modules");
    let mut probe = Command::new("node");
    probe.args(["-e", "require('ws')"]).env("NODE_PATH", &modules);
    if !succeeds(&mut probe) {
        eprintln!("SKIPPED: node has no package `ws` (npm install --prefix target/node ws)");
        return;
    }
    let mut node = Command::new("node");
    node.args(["-e", NODE]).env("NODE_PATH", &modules);
    gets_the_blogs_messages(node);
}

fn succeeds(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}

fn gets_the_blogs_messages(server: Command) {
    let mut server = Running::start(server);
    let port = server.line("port ").split(' ').nth(1).unwrap().to_owned();
    // The example as it is, but for the port and the probe's ROM id.
    let example = std::fs::read_to_string(repository("pipelines/one-probe.toml")).unwrap();
    let example = example.replace("ws://localhost:8080", &format!("ws://localhost:{port}"));
    let id =
        example.lines().find(|line| line.starts_with("id = ")).unwrap().split('"').nth(1).unwrap();
    let tree = W1Tree::new();
    tree.measure(id, 21.5);
    let (_folder, file) = pipeline(&example);
    let run = Running::start(weir(&["run", &file, "--w1-root", tree.path()]));
    server.line("connected");
    assert_eq!(server.line("temperature"), "temperature 21.5");
    tree.measure(id, -0.0625);
    while server.line("temperature") != "temperature -0.0625" {}
    // An array, or anything else that it does not understand, would have been an error of its own.
    for error in ["TypeError", "KeyError", "SyntaxError", "JSONDecodeError"] {
        assert!(!server.seen.iter().any(|line| line.contains(error)), "{:?}", server.seen);
    }
    run.signal("INT");
    let (status, lines) = run.end();
    assert!(status.success());
    assert!(lines.last().unwrap().contains(" not_delivered=0"), "{lines:?}");
}

/// A plain server in the hand of the test, and a device with so many messages for it.
struct Slow {
    listener: TcpListener,
    device: JoinHandle<()>,
    _stopper: stop::Stopper,
}

impl Slow {
    fn new(waiting: usize) -> Slow {
        let socket = TcpSocket::new_v4().unwrap();
        // What the system takes for it is a small part of all.
        socket.set_recv_buffer_size(16 << 10).unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(8).unwrap();
        let address = listener.local_addr().unwrap();
        let spool = Spool::memory(64 << 20, &["uplink"]);
        let fault = Event::Fault {
            sensor: "a".into(),
            time: "2026-11-21T23:00:00.000Z".into(),
            reason: "stale".into(),
            clock: None,
        };
        spool.append(vec![fault.into(); waiting]);
        let uplink = WebSocketUplink {
            name: "uplink".into(),
            endpoints: vec![Endpoint::parse(&format!("ws://{address}")).unwrap()],
            credentials: Credentials::default(),
            connect: Connect::new("d", spool.stream(), &[]),
            place: spool.place("uplink").unwrap(),
            order: Order::InOrder,
            answer: Box::new(|_| {}),
        };
        let (stopper, stop) = stop::channel();
        let device = tokio::spawn(uplink::run(uplink, Link::new(), stop));
        Slow { listener, device, _stopper: stopper }
    }

    /// The next connection, after its first message.
    async fn connection(&self) -> WebSocketStream<TcpStream> {
        loop {
            let accepted = timeout(PATIENCE, self.listener.accept()).await;
            let (stream, _) = accepted.expect("nobody comes").unwrap();
            let mut socket = accept_async(stream).await.unwrap();
            // The first try offers protocols, which such a server does not know.
            if let Some(Ok(Message::Text(_))) = socket.next().await {
                return socket;
            }
        }
    }
}

impl Drop for Slow {
    fn drop(&mut self) {
        self.device.abort();
    }
}

async fn next(socket: &mut WebSocketStream<TcpStream>) -> Message {
    let next = timeout(PATIENCE, socket.next()).await;
    next.expect("nothing comes").unwrap().unwrap()
}

/// The next message's number.
async fn number(socket: &mut WebSocketStream<TcpStream>) -> u64 {
    // Pings of the device end no wait.
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end {
        if let Message::Text(text) = next(socket).await {
            return serde_json::from_str::<Value>(&text).unwrap()["seq"].as_u64().unwrap();
        }
    }
    panic!("no message comes");
}

#[tokio::test]
async fn a_servers_ping_is_answered_while_a_backlog_goes_out() {
    const WAITING: usize = 100_000;
    let slow = Slow::new(WAITING);
    let mut socket = slow.connection().await;
    socket.send(Message::Ping("of the server".into())).await.unwrap();
    let mut before = 0;
    loop {
        match next(&mut socket).await {
            Message::Text(_) => before += 1,
            Message::Pong(_) => break,
            _ => {}
        }
    }
    println!("{before} of {WAITING} messages came before the answer to a ping");
    assert!(before < WAITING / 2, "{before}");
}

#[tokio::test]
async fn what_a_server_did_not_read_before_its_end_comes_again() {
    const WAITING: u64 = 10_000;
    let slow = Slow::new(usize::try_from(WAITING).unwrap());
    let mut socket = slow.connection().await;
    // The answers to its pings go out as it reads.
    let mut read = 0;
    while read < WAITING / 2 {
        read = number(&mut socket).await;
    }
    drop(socket);
    let mut socket = slow.connection().await;
    let again = number(&mut socket).await;
    println!("{read} were read, and it goes on with {again}");
    assert!(1 < again && again <= read + 1, "{again}");
    let mut expected = again + 1;
    while expected <= WAITING {
        assert_eq!(number(&mut socket).await, expected);
        expected += 1;
    }
}

/// The other way round: our hub takes a client that knows no more than the blog's.
#[test]
fn the_hub_takes_a_client_as_plain_as_the_blogs() {
    let mut hub = Running::start(weir(&["hub", "--listen", "127.0.0.1:0"]));
    let address = hub.dashboard();
    let (mut socket, _) = connect(format!("ws://{address}/uplink")).unwrap();
    socket.send(Message::text(r#"{"type":"connect"}"#)).unwrap();
    socket.send(Message::text(r#"{"type":"temperature","value":20.5}"#)).unwrap();
    socket.send(Message::Ping(Default::default())).unwrap();
    assert!(matches!(socket.read().unwrap(), Message::Pong(_)));
    let readings =
        crate::support::get(address, "/api/readings?device=127.0.0.1&sensor=temperature");
    let readings: Value = serde_json::from_str(&readings).unwrap();
    assert_eq!(readings[0]["value"], 20.5);
}
