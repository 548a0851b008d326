//! The uplink to servers made with the package `socket.io` of Node: the blog's, one that acks, one that refuses, one that
//! hangs.

use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use weir::reading::Timestamp;

use crate::support::{Came, Running, all_but_the_last_came, pipeline, repository, weir};

/// What [`run`] reads in a second.
const A_SECOND: u64 = 10;

/// Listens for temperatures and passes them on to the page, as the blog's server does, and tells everybody of its own
/// time too. Knows nothing of Weir.
const BLOG: &str = r#"
io.on("connection", (socket) => {
  console.log("connected");
  socket.on("temperature", (reading) => {
    console.log("temperature", reading.seq, reading.time);
    io.emit("temperature", reading);
  });
});
setInterval(() => { io.emit("time", Date.now()); io.emit("picture", Buffer.from("binary")); }, 50);
"#;

/// Says of each message that it took it, sometimes the later ones first.
const ACKS: &str = r#"
let turn = 0;
io.of("/weather").on("connection", (socket) => {
  console.log("connected");
  socket.onAny((name, message, taken) => {
    if (name === "device") return console.log("device", message.device, taken === undefined);
    console.log(name, message.seq, message.time);
    turn += 1;
    setTimeout(taken, turn % 3 === 0 ? 40 : 0);
  });
});
"#;

const REFUSES: &str = r#"
io.use((socket, next) => {
  next(socket.handshake.auth.token === "right" ? undefined : new Error("a stranger"));
});
io.on("connection", () => console.log("connected"));
"#;

/// What the page's script does.
const PAGE: &str = r#"
const socket = require("socket.io-client").io(process.argv[1]);
socket.on("connect", () => console.log("page is there"));
socket.on("temperature", (reading) => console.log("page", reading.seq, reading.value));
"#;

/// A Node process with the packages that `.ci/run` installs.
fn node(script: &str, argument: &str) -> Command {
    let mut node = Command::new("node");
    node.args(["-e", script, argument]).env("NODE_PATH", repository("target/node/node_modules"));
    node
}

/// Whether there is a Node with both packages; says so where there is not.
fn is_here() -> bool {
    let mut probe = node("require('socket.io'); require('socket.io-client')", "");
    let is_here = probe.output().is_ok_and(|output| output.status.success());
    if !is_here {
        eprintln!(
            "SKIPPED: node has no package `socket.io` or `socket.io-client` (npm install --prefix target/node socket.io socket.io-client)"
        );
    }
    is_here
}

/// A server with these handlers; port 0 takes a free one. Gives its port.
fn server(options: &str, handlers: &str, port: u16) -> (Running, u16) {
    let script = format!(
        "const http = require('http').createServer();\n\
         const io = new (require('socket.io').Server)(http, {options});\n{handlers}\n\
         http.listen({port}, '127.0.0.1', () => console.log('port', http.address().port));"
    );
    let mut server = Running::start(node(&script, ""));
    let port = server.line("port ").split(' ').nth(1).unwrap().parse().unwrap();
    (server, port)
}

/// A thermometer that is read every 100 ms, with an uplink to the server.
fn run(port: u16, further: &str) -> (TempDir, Running) {
    run_at(&format!("http://127.0.0.1:{port}"), further)
}

fn run_at(url: &str, further: &str) -> (TempDir, Running) {
    let (folder, file) = pipeline(&format!(
        "[device]\nname = \"d\"\n[[sensor]]\nname = \"s\"\ndriver = \"simulated\"\ninterval = \"100ms\"\n\
         [uplink]\nprotocol = \"socket.io\"\nurl = \"{url}\"\n{further}"
    ));
    let run = Running::start(weir(&["run", &file]));
    (folder, run)
}

/// The numbers of the lines that begin with a word.
fn numbers(lines: &[String], word: &str) -> Vec<u64> {
    let words = lines.iter().map(|line| line.split(' ').collect::<Vec<_>>());
    let fitting = words.filter(|words| words.len() > 1 && words[0] == word);
    fitting.map(|words| words[1].parse().unwrap()).collect()
}

/// Reads a server until a reading comes that was taken after this: what waited comes before it.
fn catch_up(server: &mut Running) {
    let now = Timestamp::now();
    let time = |line: String| line.split(' ').nth(2).unwrap().parse::<Timestamp>().unwrap();
    while time(server.line("temperature ")) <= now {}
}

fn stop(run: Running) -> Vec<String> {
    run.signal("INT");
    let (status, lines) = run.end();
    assert!(status.success(), "{lines:#?}");
    lines
}

fn kill(server: Running) -> Vec<String> {
    server.signal("KILL");
    server.end().1
}

#[test]
fn the_blogs_server_gets_temperatures_and_its_page_too_though_it_is_killed_in_between() {
    if !is_here() {
        return;
    }
    let (mut blog, port) = server("{}", BLOG, 0);
    let mut page = Running::start(node(PAGE, &format!("http://127.0.0.1:{port}")));
    page.line("page is there");
    let (_folder, mut run) = run(port, "");
    run.line("Uplink connected.");
    blog.line("temperature ");
    assert_eq!(page.line("page ").split(' ').count(), 3, "a number and a value");
    let mut seen = Vec::new();
    for _ in 0..3 {
        blog.line("temperature ");
        seen.extend(kill(blog));
        run.line("Uplink lost");
        blog = server("{}", BLOG, port).0;
        run.line("Uplink connected.");
        blog.line("temperature ");
    }
    page.line("page is there");
    page.line("page ");
    catch_up(&mut blog);
    let lines = stop(run);
    seen.extend(kill(blog));
    let mut got = numbers(&seen, "temperature");
    let all = got.len();
    got.sort_unstable();
    got.dedup();
    println!("{} readings, {} of them came more than once", got.len(), all - got.len());
    // Their numbers have gaps: the start's, and a health message's, which this server does not listen for.
    all_but_the_last_came(&lines, Came::Readings(got.len() as u64), A_SECOND);
    assert!(seen.iter().all(|line| !line.contains("Error")), "{seen:#?}");
}

#[test]
fn a_server_that_acks_misses_nothing_though_it_is_killed_again_and_again() {
    if !is_here() {
        return;
    }
    let keys = "acks = true\nnamespace = \"/weather\"\n";
    let (mut acks, port) = server("{}", ACKS, 0);
    let (_folder, mut run) = run(port, keys);
    assert_eq!(acks.line("device"), "device d true");
    assert!(acks.line("start").starts_with("start 1 "));
    let mut seen = Vec::new();
    for _ in 0..3 {
        acks.line("temperature ");
        seen.extend(kill(acks));
        run.line("Uplink lost");
        acks = server("{}", ACKS, port).0;
        run.line("Uplink connected.");
        acks.line("temperature ");
    }
    catch_up(&mut acks);
    let lines = stop(run);
    seen.extend(kill(acks));
    let mut got: Vec<u64> =
        ["start", "temperature", "health"].iter().flat_map(|name| numbers(&seen, name)).collect();
    let all = got.len();
    got.sort_unstable();
    got.dedup();
    println!("{} messages, {} of them more than once", got.len(), all - got.len());
    assert_eq!(got, (1..=got.len() as u64).collect::<Vec<_>>());
    all_but_the_last_came(&lines, Came::Messages(got.len() as u64), A_SECOND);
}

#[test]
fn a_server_that_refuses_says_why_and_the_right_token_opens() {
    if !is_here() {
        return;
    }
    let (_server, port) = server("{}", REFUSES, 0);
    for (token, expected) in
        [("wrong", "the server refuses us: a stranger"), ("right", "Uplink connected.")]
    {
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("token");
        std::fs::write(&file, token).unwrap();
        let mode = Command::new("chmod").arg("600").arg(&file).status();
        assert!(mode.unwrap().success());
        let (_folder, mut run) = run(port, &format!("token_file = \"{}\"\n", file.display()));
        run.line(expected);
        let lines = stop(run);
        assert!(!lines.iter().any(|line| line.contains("wrong")), "the token in the log");
    }
}

#[test]
fn a_server_that_hangs_is_noticed_and_one_that_lets_go_is_come_back_to() {
    if !is_here() {
        return;
    }
    let once = "let first = true;\nio.on('connection', (socket) => { if (first) socket.disconnect(); first = false;\n\
                socket.onAny((name, message) => console.log(name, message.seq, message.time)); });";
    let (mut server, port) = server("{ pingInterval: 3000, pingTimeout: 3000 }", once, 0);
    let (_folder, mut run) = run(port, "");
    run.line("Uplink lost: the server let us go");
    run.line("Uplink connected.");
    server.signal("STOP");
    let begun = Instant::now();
    let lost = run.line("Uplink lost");
    println!("noticed after {:?}: {lost}", begun.elapsed());
    assert!(lost.contains("no sign of life for 6 s"), "{lost}");
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    server.signal("CONT");
    run.line("Uplink connected.");
    catch_up(&mut server);
    let lines = stop(run);
    let mut got = numbers(&kill(server), "temperature");
    got.sort_unstable();
    got.dedup();
    all_but_the_last_came(&lines, Came::Readings(got.len() as u64), A_SECOND);
}

#[test]
fn over_tls_a_server_is_believed_that_the_authority_signed() {
    if !is_here() {
        return;
    }
    let folder = TempDir::new().unwrap();
    crate::mqtt::certificates(folder.path());
    let script = r#"
const [cert, key] = ["server.pem", "server.key"].map((name) => require("fs").readFileSync(`${process.argv[1]}/${name}`));
const server = require("https").createServer({ cert, key });
const io = new (require("socket.io").Server)(server);
io.on("connection", (socket) => socket.onAny((name, message) => console.log(name, message.seq)));
server.listen(0, "127.0.0.1", () => console.log("port", server.address().port));
"#;
    let mut server = Running::start(node(script, folder.path().to_str().unwrap()));
    let port: u16 = server.line("port ").split(' ').nth(1).unwrap().parse().unwrap();
    let ca = folder.path().join("ca.pem");
    let (_folder, mut run) =
        run_at(&format!("https://localhost:{port}"), &format!("ca_file = \"{}\"\n", ca.display()));
    run.line("Uplink connected.");
    assert_eq!(server.line("start "), "start 1");
    stop(run);
}

#[test]
fn what_is_not_a_socketio_server_is_called_so() {
    if !is_here() {
        return;
    }
    let (_server, port) = server("{ path: '/elsewhere/' }", "", 0);
    let (_folder, mut run) = run(port, "");
    let line = run.line("Cannot connect");
    assert!(line.contains("is it socket.io from 3.0 on, at this path?"), "{line}");
    stop(run);
}
