//! The uplink against hubs that ack, do not ack, hang, lie and come back.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::{Message, WebSocket, accept_hdr};

use crate::support::{Live, Running, counted, in_one_of_three, pipeline, weir};

/// A hub in the hand of the test.
struct Hub {
    listener: TcpListener,
}

impl Hub {
    fn new() -> Hub {
        Hub { listener: TcpListener::bind("127.0.0.1:0").unwrap() }
    }

    fn address(&self) -> SocketAddr {
        self.listener.local_addr().unwrap()
    }

    /// The next connection, with the full form of the wire, and its first message.
    #[expect(clippy::result_large_err, reason = "the library's type")]
    fn accept(&self) -> (WebSocket<TcpStream>, Value) {
        let (stream, _) = self.listener.accept().unwrap();
        stream.set_read_timeout(Some(crate::support::PATIENCE)).unwrap();
        let choose = |request: &Request, mut response: Response| {
            assert_eq!(request.headers()["sec-websocket-protocol"], "weir.plain, weir.v1");
            response.headers_mut().insert("sec-websocket-protocol", "weir.v1".parse().unwrap());
            Ok(response)
        };
        let mut socket = accept_hdr(stream, choose).unwrap();
        let connect = serde_json::from_str(socket.read().unwrap().to_text().unwrap()).unwrap();
        (socket, connect)
    }
}

/// The messages of the next frame.
fn frame(socket: &mut WebSocket<TcpStream>) -> Vec<Value> {
    loop {
        match socket.read().unwrap() {
            Message::Text(text) => return serde_json::from_str(&text).unwrap(),
            Message::Ping(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

fn ack(socket: &mut WebSocket<TcpStream>, seq: u64) {
    socket.send(Message::text(format!(r#"{{"type":"ack","seq":{seq}}}"#))).unwrap();
}

fn numbers(messages: &[Value]) -> Vec<u64> {
    messages.iter().map(|message| message["seq"].as_u64().unwrap()).collect()
}

fn run(address: SocketAddr) -> (tempfile::TempDir, Running) {
    let (folder, file) = pipeline(&format!(
        "[device]\nname = \"d\"\n[[sensor]]\nname = \"s\"\ndriver = \"simulated\"\ninterval = \"100ms\"\n\
         [uplink]\nurl = \"ws://{address}\"\n"
    ));
    let run = Running::start(weir(&["run", &file]));
    (folder, run)
}

#[test]
fn what_was_not_acked_comes_again_and_what_was_acked_does_not() {
    in_one_of_three(|| {
        let lines = acked_in_part();
        // It waits for the last acks for a second only.
        let not_delivered = counted(&lines, "not_delivered");
        if not_delivered == 0 { Ok(()) } else { Err(format!("{lines:?}")) }
    });
}

/// Gives the lines of a device whose hub acked a part of what came over the first connection, and all over the second.
fn acked_in_part() -> Vec<String> {
    let hub = Hub::new();
    let (_folder, run) = run(hub.address());
    let (mut socket, first) = hub.accept();
    assert_eq!((&first["type"], &first["device"]), (&"connect".into(), &"d".into()));
    let mut seen = Vec::new();
    while seen.len() < 5 {
        seen.extend(numbers(&frame(&mut socket)));
    }
    let expected: Vec<u64> = (1..=seen.len() as u64).collect();
    assert_eq!(seen, expected);
    ack(&mut socket, 3);
    // The ack is read before the connection ends: a ping answered says so.
    socket.send(Message::Ping(Default::default())).unwrap();
    while !matches!(socket.read().unwrap(), Message::Pong(_)) {}
    drop(socket);

    let (mut socket, second) = hub.accept();
    assert_eq!(second["stream"], first["stream"], "one stream, whatever the connection");
    let again = frame(&mut socket);
    assert_eq!(numbers(&again)[0], 4);

    // At the end it waits for the ack of what is left: acked frame by frame, and not at once, nothing is.
    run.signal("INT");
    std::thread::sleep(Duration::from_millis(300));
    ack(&mut socket, *numbers(&again).last().unwrap());
    while let Ok(message) = socket.read() {
        if let Message::Text(text) = message {
            let messages: Vec<Value> = serde_json::from_str(&text).unwrap();
            let seq = *numbers(&messages).last().unwrap();
            // The socket may be closing already.
            drop(socket.send(Message::text(format!(r#"{{"type":"ack","seq":{seq}}}"#))));
        }
    }
    let (status, lines) = run.end();
    assert!(status.success());
    lines
}

/// Stops a device. Gives its last line, or an error where that took too long or readings did not get through its stages.
fn stop_in_time(run: Running) -> Result<String, String> {
    let begun = Instant::now();
    run.signal("TERM");
    let (status, mut lines) = run.end();
    let took = begun.elapsed();
    assert!(status.success());
    let last = lines.pop().unwrap();
    // A second for the last acks, and some of it for the end of the connection.
    if took >= Duration::from_secs(2) || !last.contains(" not_passed=0 ") {
        return Err(format!("it took {took:?}: {last}"));
    }
    Ok(last)
}

#[test]
fn a_hub_that_never_acks_is_counted_and_not_waited_for() {
    in_one_of_three(|| {
        let hub = Hub::new();
        let (_folder, run) = run(hub.address());
        let (mut socket, _) = hub.accept();
        frame(&mut socket);
        let last = stop_in_time(run)?;
        assert!(last.contains(" delivered=0 ") && !last.contains(" not_delivered=0"), "{last}");
        Ok(())
    });
}

#[test]
fn a_hub_that_lies_or_talks_rubbish_is_left_and_tried_again() {
    let hub = Hub::new();
    let (_folder, mut run) = run(hub.address());
    let (mut socket, first) = hub.accept();
    frame(&mut socket);
    socket.send(Message::text("rubbish")).unwrap();
    run.line("a message that is not of the wire");
    let (mut socket, _) = hub.accept();
    assert_eq!(numbers(&frame(&mut socket))[0], 1);
    ack(&mut socket, 1_000_000);
    // It has messages of this stream that this device does not know: they must not be mixed.
    run.line("the hub acked 1000000, which was never sent: what waits is sent under a new stream");
    let (mut socket, second) = hub.accept();
    assert_ne!(second["stream"], first["stream"]);
    assert_eq!(second["from"], 1);
    assert_eq!(numbers(&frame(&mut socket))[0], 1, "nothing was taken as delivered");
    // Later ones are lies.
    ack(&mut socket, 1);
    ack(&mut socket, 1_000_000);
    run.line("the hub acked 1000000, which was never sent.");
    let (mut socket, third) = hub.accept();
    assert_eq!((&third["stream"], &third["from"]), (&second["stream"], &2.into()));
    // A command is answered.
    socket
        .send(Message::text(r#"{"type":"command","id":"c1","command":"dance","arguments":{}}"#))
        .unwrap();
    let result = loop {
        if let Some(result) =
            frame(&mut socket).into_iter().find(|message| message["type"] == "result")
        {
            break result;
        }
    };
    assert_eq!((&result["id"], &result["status"]), (&"c1".into(), &"failed".into()));
    assert_eq!(result["reason"], "unknown command `dance`");
    drop(socket);
    drop(hub);
    run.line("Cannot connect");
}

#[test]
fn nothing_is_missing_and_nothing_twice_after_the_hub_was_killed() {
    let mut hub = Running::start(weir(&["hub", "--listen", "127.0.0.1:0"]));
    let address = hub.dashboard();
    let (_folder, mut run) = run(address);
    let values = |live: &mut Live| -> u64 {
        live.message(|m| m["type"] == "temperature")["seq"].as_u64().unwrap()
    };
    // With the second message seen, the ack of the first is on its way or there; what is seen last may come again.
    let mut live = Live::open(address);
    let before = values(&mut live);
    values(&mut live);
    hub.signal("KILL");
    hub.end();
    run.line("Uplink lost");
    let mut hub = Running::start(weir(&["hub", "--listen", &address.to_string()]));
    hub.line("A device connected");
    let mut live = Live::open(address);
    let (kind, snapshot) = live.next();
    assert_eq!(kind, "snapshot");
    let mut expected = None;
    let mut count = 0;
    while count < 10 {
        let (kind, json) = live.next();
        for message in json["messages"].as_array().into_iter().flatten() {
            assert_eq!(kind, "messages");
            let seq = message["seq"].as_u64().unwrap();
            assert!(seq >= before, "the acked {seq} came again");
            assert!(expected.is_none_or(|expected| seq == expected), "{seq} after {expected:?}");
            expected = Some(seq + 1);
            count += 1;
        }
    }
    assert_eq!(snapshot["devices"][0]["lost"], 0);
    run.signal("INT");
    run.end();
}

#[test]
fn a_hub_that_takes_nothing_does_not_hold_up_the_stop() {
    in_one_of_three(|| {
        let hub = Hub::new();
        let (_folder, mut run) = run(hub.address());
        // Connected, and never read again: the system's buffers take some, then writes wait.
        let (socket, _) = hub.accept();
        run.line("Uplink connected");
        let last = stop_in_time(run)?;
        assert!(last.contains(" delivered=0 "), "{last}");
        drop(socket);
        Ok(())
    });
}
