//! What the tests share: the binary as a process, an emulated 1-Wire tree, a plain HTTP client.

mod running;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::IntoRawFd as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;
use socket2::{Domain, Socket, Type};
use tempfile::TempDir;
use weir::plugin::{Compiler, Engine, EngineSettings, HostLimits};

pub use running::Running;

/// Longest wait for anything that must happen. Generous: the machine may be busy with other tests.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// The same after a long outage: the pause between two tries of a device has then grown to up to 60 s.
pub const AFTER_AN_OUTAGE: Duration = Duration::from_secs(90);

/// The recordings that are not part of the repository, where they are there.
pub fn recorded(path: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data").join(path);
    if path.exists() {
        return Some(path);
    }
    eprintln!("SKIPPED: {} is not here", path.display());
    None
}

/// A file of the repository.
pub fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// An engine in this process. The binary compiles for it, as it does for itself.
pub fn engine() -> Engine {
    Engine::start(engine_settings(), HostLimits::default()).unwrap()
}

/// The settings of such an engine.
pub fn engine_settings() -> EngineSettings {
    let compiler = Compiler::Process(env!("CARGO_BIN_EXE_weir").into());
    EngineSettings { compiler, ..EngineSettings::default() }
}

/// The `weir` binary with its arguments.
pub fn weir(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
    command.args(arguments);
    command
}

/// A folder tree as under `/sys/bus/w1/devices`, with plain files that hold what the kernel would print.
pub struct W1Tree {
    folder: TempDir,
}

impl W1Tree {
    pub fn new() -> W1Tree {
        W1Tree { folder: TempDir::new().unwrap() }
    }

    pub fn path(&self) -> &str {
        self.folder.path().to_str().unwrap()
    }

    /// The sensor answers with this text from now on. A reader sees the old or the new text, never half of one.
    pub fn answer(&self, id: &str, text: &str) {
        let folder = self.folder.path().join(id);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("next"), text).unwrap();
        std::fs::rename(folder.join("next"), folder.join("w1_slave")).unwrap();
    }

    /// The sensor measures this from now on.
    pub fn measure(&self, id: &str, celsius: f64) {
        use weir::sensor::scratchpad::{genuine, print_w1_slave};
        self.answer(id, &print_w1_slave(genuine(celsius), None));
    }

    /// The sensor is pulled out.
    pub fn remove(&self, id: &str) {
        std::fs::remove_dir_all(self.folder.path().join(id)).unwrap();
    }
}

/// An address that refuses connections and is nobody else's, until a process of the test listens there.
///
/// Its socket never listens and is never closed: the system gives its port to nobody who asks for any, and lets those who ask
/// for this one share it, for they reuse addresses as it does.
pub fn held_address() -> SocketAddr {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_reuse_address(true).unwrap();
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    // Open until this process ends.
    let _held = socket.into_raw_fd();
    address
}

/// Lets this process have so many files open, or says that it may not.
pub fn may_open(files: u64) -> bool {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let most = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let may =
        limit.maximum.is_none_or(|most| most >= files) && setrlimit(Resource::Nofile, most).is_ok();
    if !may {
        eprintln!("SKIPPED: a process may have too few files open here ({limit:?})");
    }
    may
}

/// A bound that a busy machine may break now and then holds in one of three attempts. A fault breaks it in all of them.
pub fn in_one_of_three(mut attempt: impl FnMut() -> Result<(), String>) {
    let mut broken = Vec::new();
    while broken.len() < 3 {
        match attempt() {
            Ok(()) => return,
            Err(why) => {
                eprintln!("not in attempt {}: {why}", broken.len() + 1);
                broken.push(why);
            }
        }
    }
    panic!("in none of three attempts: {broken:#?}");
}

/// How many the last line of a device counts under this word.
pub fn counted(lines: &[String], word: &str) -> u64 {
    let last = lines.iter().find(|line| line.contains("Stopped: ")).unwrap();
    let value = last.split(&format!(" {word}=")).nth(1).unwrap();
    value.split(' ').next().unwrap().parse().unwrap()
}

/// What a peer has of a device.
pub enum Came {
    /// So many of its messages, from the first on.
    Messages(u64),
    /// So many different ones of its readings.
    Readings(u64),
}

/// A device without a data folder delivered all but what it took in its last two seconds: a busy peer may be away for all of
/// the one second that is waited for it at the end. What the peer lacks is among what is said to be missing.
pub fn all_but_the_last_came(lines: &[String], came: Came, a_second: u64) {
    let not_delivered = counted(lines, "not_delivered");
    // And a message of its health.
    assert!(not_delivered <= 2 * a_second + 1, "{lines:#?}");
    let (came, all) = match came {
        Came::Messages(came) => (came, counted(lines, "delivered") + not_delivered),
        Came::Readings(came) => (came, counted(lines, "messages")),
    };
    assert!(came <= all && came + not_delivered >= all, "{came} of {all} came: {lines:#?}");
}

/// What waits in a data folder is delivered, over a link that holds.
pub fn deliver_the_rest(data: &str, file: &str) {
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end {
        let arguments = ["run", file, "--data-dir", data, "--duration", "2s"];
        let (status, lines) = Running::start(weir(&arguments)).end();
        assert!(status.success(), "{lines:?}");
        if counted(&lines, "not_delivered") == 0 {
            return;
        }
    }
    panic!("not all is delivered within {PATIENCE:?}");
}

/// A folder with one pipeline file in it.
pub fn pipeline(text: &str) -> (TempDir, String) {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("pipeline.toml");
    std::fs::write(&file, text).unwrap();
    let file = file.to_str().unwrap().to_owned();
    (folder, file)
}

/// One HTTP request: the head of the answer, and what follows it.
///
/// The hub is asked in HTTP/1.0, so that its streams come without chunks; chromedriver speaks 1.1 only.
pub fn http(
    address: SocketAddr,
    version: &str,
    request: &str,
    body: &str,
) -> (String, BufReader<TcpStream>) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let length = body.len();
    let head = format!(
        "{request} {version}\r\nHost: {address}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all((head + body).as_bytes()).unwrap();
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert_ne!(reader.read_line(&mut head).unwrap(), 0, "cut off: {head}");
    }
    (head, reader)
}

/// The body of a good answer.
pub fn get(address: SocketAddr, path: &str) -> String {
    let (head, mut reader) = http(address, "HTTP/1.0", &format!("GET {path}"), "");
    assert!(head.starts_with("HTTP/1.0 200"), "{path}: {head}");
    let mut body = String::new();
    reader.read_to_string(&mut body).unwrap();
    body
}

/// What a hub counts of its only device; nothing where it has not heard of it yet.
pub fn counter(metrics: &str, name: &str) -> u64 {
    let line = metrics.lines().find(|line| line.starts_with(&format!("{name}{{")));
    line.map_or(0, |line| line.split(' ').nth(1).unwrap().parse().unwrap())
}

/// All messages of a device that the hub has, each with its stream.
pub fn stored(address: SocketAddr, device: &str) -> Vec<Value> {
    let mut all = Vec::new();
    let mut next = Some(format!("/api/messages?device={device}"));
    while let Some(path) = next {
        let (head, mut reader) = http(address, "HTTP/1.0", &format!("GET {path}"), "");
        assert!(head.starts_with("HTTP/1.0 200"), "{path}: {head}");
        let mut body = String::new();
        reader.read_to_string(&mut body).unwrap();
        let page: Vec<Value> = serde_json::from_str(&body).unwrap();
        all.extend(page.into_iter().map(|mut stored| {
            let mut message = stored["message"].take();
            message["stream"] = stored["stream"].take();
            message
        }));
        next = head
            .lines()
            .find_map(|line| line.strip_prefix("link: <"))
            .map(|link| link.split('>').next().unwrap().to_owned());
    }
    all
}

/// What a browser receives: the messages of `/api/live`, one after the other.
pub struct Live {
    reader: BufReader<TcpStream>,
}

impl Live {
    pub fn open(address: SocketAddr) -> Live {
        let (head, reader) = http(address, "HTTP/1.0", "GET /api/live", "");
        assert!(head.contains("text/event-stream"), "{head}");
        Live { reader }
    }

    /// The next one: its kind and its JSON.
    pub fn next(&mut self) -> (String, Value) {
        let mut kind = String::new();
        loop {
            let mut line = String::new();
            assert_ne!(self.reader.read_line(&mut line).unwrap(), 0, "the hub ended the stream");
            if let Some(text) = line.strip_prefix("event: ") {
                kind = text.trim().to_owned();
            } else if let Some(text) = line.strip_prefix("data: ") {
                return (kind, serde_json::from_str(text).unwrap());
            }
        }
    }

    /// The next wire message that fits.
    pub fn message(&mut self, fits: impl Fn(&Value) -> bool) -> Value {
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            let (kind, json) = self.next();
            if kind != "messages" {
                continue;
            }
            let messages = json["messages"].as_array().unwrap();
            if let Some(found) = messages.iter().find(|message| fits(message)) {
                return found.clone();
            }
        }
        panic!("no such message within {PATIENCE:?}");
    }
}
