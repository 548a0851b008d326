//! One connection to a socket.io server: what is sent, what counts as delivered, and how its end is noticed.

use std::collections::VecDeque;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde::Deserialize;
use tokio::time::{Instant, timeout};
use tokio_tungstenite::tungstenite::{Bytes, Error, Message};

use super::packet::{self, Packet};
use super::{Connection, Delivered, Limits, SocketIo, SocketIoUplink};
use crate::spool::Stored;
use crate::stop::Stop;
use crate::uplink::again::{NEW_STREAM, at};
use crate::uplink::session::{CLOSE_DEADLINE, Ended, LAST_DELIVERY};
use crate::uplink::socket::{
    ACK_DEADLINE, BURST, PING_EVERY, Ping, SILENCE, Socket, UNANSWERED, write,
};

struct Session<'u> {
    socket: Socket,
    limits: Limits,
    uplink: &'u SocketIoUplink,
    /// Up to this number all is sent.
    sent: u64,
    /// Those that are sent and not delivered, in order, and whether each of them is after all.
    in_flight: VecDeque<(u64, Taken)>,
    heard: Instant,
    /// When something was delivered, or nothing waited for it.
    progressed: Instant,
}

/// Whether the server took a message.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Taken {
    NotYet,
    Yes,
}

/// Delivers over one connection until it ends.
pub(super) async fn deliver(
    connection: Connection,
    uplink: &SocketIoUplink,
    stop: &mut Stop,
) -> Ended {
    let Connection { socket, limits } = connection;
    let now = Instant::now();
    let mut session = Session {
        socket,
        limits,
        uplink,
        sent: uplink.place.acked(),
        in_flight: VecDeque::new(),
        heard: now,
        progressed: now,
    };
    match session.run(stop).await {
        Ok(()) => {
            session.close().await;
            Ended::Stopped
        }
        Err(why) => Ended::Lost(why),
    }
}

impl Session<'_> {
    async fn run(&mut self, stop: &mut Stop) -> Result<(), String> {
        let stream = self.uplink.place.stream();
        self.write(vec![Message::text(SocketIo::device(self.uplink, stream))]).await?;
        // What it says itself, where that is shorter.
        let silence = self.limits.silence.clamp(Duration::from_secs(1), SILENCE);
        let mut appended = self.uplink.place.appended();
        let mut pings = tokio::time::interval_at(Instant::now() + PING_EVERY, PING_EVERY);
        let mut last_delivery: Option<Instant> = None;
        loop {
            if self.uplink.place.stream() != stream {
                return Err(NEW_STREAM.to_owned());
            }
            let has_more = self.send_some().await?;
            if last_delivery.is_some() && self.uplink.place.state().queued == 0 {
                return Ok(());
            }
            tokio::select! {
                // What came is heard before its silence is judged, and between any two bursts: pings are answered then.
                biased;
                () = stop.wait(), if last_delivery.is_none() => {
                    last_delivery = Some(Instant::now() + LAST_DELIVERY);
                }
                () = at(last_delivery) => return Ok(()),
                incoming = self.socket.next() => match incoming {
                    Some(Ok(message)) => self.hear(message).await?,
                    Some(Err(error)) => return Err(error.to_string()),
                    None => return Err("the server closed the connection".to_owned()),
                },
                _ = pings.tick() => self.write(vec![self.ping()]).await?,
                () = tokio::time::sleep_until(self.heard + silence) => {
                    return Err(format!("no sign of life for {} s", silence.as_secs()));
                }
                () = tokio::time::sleep_until(self.progressed + ACK_DEADLINE), if !self.in_flight.is_empty() => {
                    return Err(format!("the server took nothing for {} s", ACK_DEADLINE.as_secs()));
                }
                () = std::future::ready(()), if has_more => {}
                changed = appended.changed() => changed.map_err(|e| e.to_string())?,
            }
        }
    }

    /// Sends a burst of what the spool holds, as far as the window allows. Gives whether there may be more.
    async fn send_some(&mut self) -> Result<bool, String> {
        let most = BURST.min(UNANSWERED.saturating_sub(self.in_flight.len()));
        if most == 0 || self.uplink.place.last() == self.sent {
            return Ok(false);
        }
        let mut waiting = self.uplink.place.read(self.sent, most).await;
        let mut frames = Vec::new();
        for stored in &waiting {
            match self.event(stored) {
                Ok(event) => frames.push(Message::text(event)),
                // The connection ends with it, when what goes before it is delivered.
                Err(why) if frames.is_empty() && self.in_flight.is_empty() => return Err(why),
                Err(_) => break,
            }
        }
        waiting.truncate(frames.len());
        let Some(last) = waiting.last().map(|stored| stored.seq) else { return Ok(false) };
        if self.uplink.settings.delivered == Delivered::Read {
            frames.push(Ping::First.behind(last));
        }
        if self.in_flight.is_empty() {
            self.progressed = Instant::now();
        }
        self.write(frames).await?;
        self.in_flight.extend(waiting.iter().map(|stored| (stored.seq, Taken::NotYet)));
        self.sent = last;
        Ok(true)
    }

    fn event(&self, stored: &Stored) -> Result<String, String> {
        #[derive(Default, Deserialize)]
        struct Head {
            #[serde(rename = "type")]
            kind: String,
        }
        let settings = &self.uplink.settings;
        // The spool's messages are our own: each has a type.
        let head: Head = serde_json::from_str(&stored.json).unwrap_or_default();
        let number = (settings.delivered == Delivered::Acked).then_some(stored.seq);
        let packet = packet::event(&settings.namespace, number, &head.kind, &stored.json);
        if packet.len() > self.limits.packet {
            let (most, size) = (self.limits.packet, packet.len());
            return Err(format!(
                "the server takes packets of at most {most} bytes, and message {} has {size}",
                stored.seq
            ));
        }
        Ok(packet)
    }

    /// Asks for a sign of life, and again for the answer that the server owes: it may answer the last ping alone.
    fn ping(&self) -> Message {
        match self.in_flight.back() {
            Some((last, _)) if self.uplink.settings.delivered == Delivered::Read => {
                Ping::First.behind(*last)
            }
            _ => Message::Ping(Bytes::new()),
        }
    }

    async fn write(&mut self, frames: Vec<Message>) -> Result<(), String> {
        write(&mut self.socket, frames, "server").await
    }

    async fn hear(&mut self, message: Message) -> Result<(), String> {
        self.heard = Instant::now();
        let text = match message {
            Message::Text(text) => text,
            Message::Pong(told) => {
                match Ping::answered(&told) {
                    Some((Ping::First, number)) => {
                        // A server that is slow has at least read it.
                        self.progressed = self.heard;
                        self.write(vec![Ping::Second.behind(number)]).await?;
                    }
                    Some((Ping::Second, number)) => self.take(|seq| seq <= number),
                    None => {}
                }
                return Ok(());
            }
            Message::Close(_) => return Err("the server closed the connection".to_owned()),
            // What it sends to all of its clients may be binary.
            _ => return Ok(()),
        };
        match Packet::parse(&text, &self.uplink.settings.namespace) {
            Packet::Ping => self.write(vec![Message::text(packet::PONG)]).await,
            Packet::Ack(number) => {
                self.take(|seq| seq == number);
                Ok(())
            }
            Packet::Close => Err("the server closed the connection".to_owned()),
            Packet::Disconnected => Err("the server let us go".to_owned()),
            Packet::Refused(why) => Err(format!("the server refuses us: {why}")),
            Packet::Open(_) | Packet::Connected | Packet::Other => Ok(()),
        }
    }

    /// The server took these. A server may take later messages before earlier ones: those wait here for the earlier.
    fn take(&mut self, is_taken: impl Fn(u64) -> bool) {
        let mut upto = None;
        for (seq, taken) in &mut self.in_flight {
            if is_taken(*seq) {
                *taken = Taken::Yes;
                self.progressed = Instant::now();
            }
        }
        while let Some((seq, Taken::Yes)) = self.in_flight.front() {
            upto = Some(*seq);
            self.in_flight.pop_front();
        }
        if let Some(upto) = upto {
            self.uplink.place.ack(upto);
        }
    }

    async fn close(&mut self) {
        let leaving = Message::text(packet::disconnect(&self.uplink.settings.namespace));
        let closing = async {
            self.socket.send(leaving).await?;
            self.socket.close(None).await?;
            while let Some(message) = self.socket.next().await {
                message?;
            }
            Ok::<(), Error>(())
        };
        if let Ok(Err(error)) = timeout(CLOSE_DEADLINE, closing).await {
            tracing::debug!("The connection did not close in order: {error}.");
        }
    }
}
