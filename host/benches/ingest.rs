//! How fast a hub takes messages, beside a plain server that echoes the same frames, over loopback in the same run.
//! `cargo bench --bench ingest`. The client, both servers and the disk share the machine.

#![expect(clippy::unwrap_used, reason = "a benchmark may fail loudly")]

use std::path::Path;
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpListener;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};
use tokio_tungstenite::{accept_async, connect_async};
use weir::hub::{Door, Gate, Limits, Listening, Store, serve};
use weir::stop;

/// As many as a device puts into one frame.
const IN_A_FRAME: u64 = 128;
const FRAMES: u64 = 2_000;
const MESSAGES: u64 = FRAMES * IN_A_FRAME;
/// As many as a device sends before the first of them is acked.
const WINDOW: u64 = 1_024;
const ROUNDS: usize = 3;

fn main() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let frames: Vec<Utf8Bytes> = (0..FRAMES).map(frame).collect();
    let bytes: usize = frames.iter().map(|frame| frame.len()).sum();
    println!(
        "{MESSAGES} readings of 20 sensors in frames of {IN_A_FRAME}, {} bytes each; the median of {ROUNDS} rounds.\n",
        bytes as u64 / MESSAGES
    );
    let echo = median(|| runtime.block_on(echoed(&frames)));
    let print = |what: &str, took: Duration| {
        println!(
            "{what:<44} {:>9.0} messages/s   {:.2} of the echo",
            MESSAGES as f64 / took.as_secs_f64(),
            echo.as_secs_f64() / took.as_secs_f64()
        );
    };
    print("an echo of the same frames", echo);
    print("a hub in memory", median(|| runtime.block_on(taken(&frames, None, u64::MAX))));
    for folder in ["/dev/shm", "/var/tmp"] {
        for (window, what) in [(u64::MAX, "without a window"), (WINDOW, "with the device's window")]
        {
            let took = median(|| {
                let folder = tempfile::tempdir_in(folder).unwrap();
                runtime.block_on(taken(&frames, Some(folder.path()), window))
            });
            print(&format!("a hub on {folder}, {what}"), took);
        }
    }
}

fn median(run: impl Fn() -> Duration) -> Duration {
    let mut times: Vec<Duration> = (0..ROUNDS).map(|_| run()).collect();
    times.sort();
    times.get(ROUNDS / 2).copied().unwrap()
}

fn frame(number: u64) -> Utf8Bytes {
    let messages = (1..=IN_A_FRAME).map(|position| {
        let seq = number * IN_A_FRAME + position;
        let (secs, millis) = (seq / 20, seq % 20 * 50);
        format!(
            r#"{{"type":"temperature","seq":{seq},"sensor":"probe-{}","time":"2026-01-01T{:02}:{:02}:{:02}.{millis:03}Z","value":{}.{:03},"quality":"good"}}"#,
            seq % 20,
            secs / 3600 % 24,
            secs / 60 % 60,
            secs % 60,
            seq % 40,
            seq % 997,
        )
    });
    format!("[{}]", messages.collect::<Vec<_>>().join(",")).into()
}

/// How long until all came back.
async fn echoed(frames: &[Utf8Bytes]) -> Duration {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut socket = accept_async(stream).await.unwrap();
        while let Some(Ok(message)) = socket.next().await {
            if message.is_text() {
                socket.send(message).await.unwrap();
            }
        }
    });
    let (socket, _) = connect_async(format!("ws://{address}/")).await.unwrap();
    let (mut sender, mut receiver) = socket.split();
    let begun = Instant::now();
    let sending = async {
        for frame in frames {
            sender.send(Message::Text(frame.clone())).await.unwrap();
        }
    };
    let receiving = async {
        for frame in frames {
            let back = receiver.next().await.unwrap().unwrap();
            assert_eq!(back.into_data().len(), frame.len());
        }
    };
    tokio::join!(sending, receiving);
    let took = begun.elapsed();
    server.abort();
    took
}

/// How long until all was acked. At most so many messages are sent and not acked.
async fn taken(frames: &[Utf8Bytes], folder: Option<&Path>, window: u64) -> Duration {
    let store = folder.map(|folder| Store::new(folder, Limits::default()).unwrap());
    let door = Door::open(([127, 0, 0, 1], 0).into(), None).await.unwrap();
    let address = door.address();
    let listening = Listening { doors: vec![door], gate: Gate::open() };
    let (stopper, stopped) = stop::channel();
    let hub = tokio::spawn(serve(listening, store, stopped));
    let mut request = format!("ws://{address}/uplink").into_client_request().unwrap();
    request.headers_mut().insert("sec-websocket-protocol", "weir.v1".parse().unwrap());
    let (mut socket, _) = connect_async(request).await.unwrap();
    let connect = r#"{"type":"connect","device":"d","stream":"00000000-0000-0000-0000-000000000001","from":1}"#;
    socket.send(Message::text(connect)).await.unwrap();
    let (mut sender, mut receiver) = socket.split();
    let (acks, mut acked) = tokio::sync::watch::channel(0);
    let begun = Instant::now();
    let sending = async {
        for (number, frame) in (1..).zip(frames) {
            let sent = number * IN_A_FRAME;
            acked.wait_for(|acked| sent.saturating_sub(*acked) <= window).await.unwrap();
            sender.send(Message::Text(frame.clone())).await.unwrap();
        }
    };
    let receiving = async {
        while *acks.borrow() < MESSAGES {
            let message = receiver.next().await.unwrap().unwrap();
            let Message::Text(text) = message else { continue };
            let digits = text.split_once("\"seq\":").unwrap().1;
            let digits: String = digits.chars().take_while(char::is_ascii_digit).collect();
            acks.send_replace(digits.parse().unwrap());
        }
    };
    tokio::join!(sending, receiving);
    let took = begun.elapsed();
    stopper.stop();
    hub.await.unwrap();
    took
}
