//! One connection: what is sent, what is acked, and how its end is noticed.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::time::{Instant, timeout};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Bytes, Message, protocol::CloseFrame};

use super::websocket::{Socket, WebSocketUplink};
use super::wire::{Event, HubMessage, to_json};
use crate::spool::Stored;
use crate::stop::Stop;

/// A link is asked for a sign of life so often…
const PING_EVERY: Duration = Duration::from_secs(15);
/// …and given up when there was none for so long: two pings without an answer, noticed within 35 s.
const SILENCE: Duration = Duration::from_secs(32);
/// Most messages in one frame.
const FRAME_MESSAGES: usize = 128;
/// Most messages that are sent and not yet acked.
const WINDOW: u64 = 1_024;
/// Longest time for one write: a hub that takes nothing for so long is as good as gone.
const WRITE_DEADLINE: Duration = Duration::from_secs(20);
/// Most commands of one connection: what a hub sends in error must not push readings out of the spool.
const COMMANDS: usize = 64;
/// Longest id or name of a command that is repeated in its answer, in characters.
const LONGEST_WORD: usize = 64;
/// What is left when the process stops is delivered for at most this long.
pub(super) const LAST_DELIVERY: Duration = Duration::from_secs(1);
/// A close is answered within this, or not waited for.
pub(super) const CLOSE_DEADLINE: Duration = Duration::from_millis(200);

/// What the server understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// One message a frame, and nothing comes back.
    Plain,
    /// Arrays, acks and commands.
    Weir,
}

impl Form {
    pub(super) fn name(self) -> &'static str {
        match self {
            Form::Plain => "plain",
            Form::Weir => super::wire::PROTOCOL,
        }
    }
}

/// How a connection ended.
pub(super) enum Ended {
    /// The process stops.
    Stopped,
    /// The peer or the network is gone.
    Lost(String),
}

/// Delivers over one connection until it ends.
pub(super) async fn deliver(
    socket: Socket,
    form: Form,
    uplink: &WebSocketUplink,
    ever_sent: &mut u64,
    stop: &mut Stop,
) -> Ended {
    // What came before the first message that waits was acked in an earlier connection.
    let waiting = uplink.spool.read(0, 1);
    let acked = waiting.first().map_or(uplink.spool.state().last, |stored| stored.seq - 1);
    let heard = Instant::now();
    let mut session =
        Session { socket, form, uplink, ever_sent, sent: acked, acked, commands: 0, heard };
    match session.run(stop).await {
        Ok(()) => {
            session.close().await;
            Ended::Stopped
        }
        Err(why) => Ended::Lost(why),
    }
}

struct Session<'u> {
    socket: Socket,
    form: Form,
    uplink: &'u WebSocketUplink,
    /// The highest number that went out over any connection: none above it can be acked.
    ever_sent: &'u mut u64,
    sent: u64,
    acked: u64,
    commands: usize,
    heard: Instant,
}

impl Session<'_> {
    async fn run(&mut self, stop: &mut Stop) -> Result<(), String> {
        self.write(vec![Message::text(to_json(&self.uplink.connect))]).await?;
        let mut appended = self.uplink.spool.appended();
        let mut pings = tokio::time::interval_at(Instant::now() + PING_EVERY, PING_EVERY);
        let mut last_delivery: Option<Instant> = None;
        loop {
            self.send_waiting().await?;
            if last_delivery.is_some() && self.uplink.spool.state().queued == 0 {
                return Ok(());
            }
            tokio::select! {
                () = stop.wait(), if last_delivery.is_none() => {
                    last_delivery = Some(Instant::now() + LAST_DELIVERY);
                }
                () = tokio::time::sleep_until(last_delivery.unwrap_or_else(Instant::now)), if last_delivery.is_some() => {
                    return Ok(());
                }
                changed = appended.changed() => changed.map_err(|e| e.to_string())?,
                incoming = self.socket.next() => match incoming {
                    Some(Ok(message)) => self.hear(message)?,
                    Some(Err(error)) => return Err(error.to_string()),
                    None => return Err("the hub closed the connection".to_owned()),
                },
                _ = pings.tick() => self.write(vec![Message::Ping(Bytes::new())]).await?,
                () = tokio::time::sleep_until(self.heard + SILENCE) => {
                    return Err(format!("no sign of life for {} s", SILENCE.as_secs()));
                }
            }
        }
    }

    /// Sends what the spool holds, as far as the window allows.
    async fn send_waiting(&mut self) -> Result<(), String> {
        loop {
            let window = match self.form {
                Form::Plain => WINDOW,
                Form::Weir => WINDOW.saturating_sub(self.sent.saturating_sub(self.acked)),
            };
            let most = FRAME_MESSAGES.min(usize::try_from(window).unwrap_or(FRAME_MESSAGES));
            let waiting = self.uplink.spool.read(self.sent, most);
            let Some(last) = waiting.last().map(|stored| stored.seq) else { return Ok(()) };
            match self.form {
                Form::Plain => {
                    let frames =
                        waiting.iter().map(|stored| Message::text(stored.json.as_ref())).collect();
                    self.write(frames).await?;
                    // Nobody acks: what the socket took is delivered, as far as can be known.
                    self.uplink.spool.ack(last);
                    self.acked = last;
                }
                Form::Weir => self.write(vec![Message::text(array(&waiting))]).await?,
            }
            self.sent = last;
            *self.ever_sent = last.max(*self.ever_sent);
        }
    }

    async fn write(&mut self, frames: Vec<Message>) -> Result<(), String> {
        let all = async {
            for frame in frames {
                self.socket.feed(frame).await?;
            }
            self.socket.flush().await
        };
        match timeout(WRITE_DEADLINE, all).await {
            Ok(written) => written.map_err(|e| e.to_string()),
            Err(_) => Err(format!("the hub took nothing for {WRITE_DEADLINE:?}")),
        }
    }

    fn hear(&mut self, message: Message) -> Result<(), String> {
        self.heard = Instant::now();
        let text = match message {
            Message::Text(text) if self.form == Form::Weir => text,
            Message::Close(Some(CloseFrame { code, reason })) => {
                return Err(format!(
                    "the hub closed the connection: {code} {}",
                    reason.escape_debug()
                ));
            }
            Message::Close(None) => return Err("the hub closed the connection".to_owned()),
            // A plain server may say what it likes.
            _ => return Ok(()),
        };
        match serde_json::from_str(&text) {
            Ok(HubMessage::Ack { seq, .. }) if seq <= *self.ever_sent => {
                self.acked = self.acked.max(seq);
                self.sent = self.sent.max(seq);
                self.uplink.spool.ack(seq);
                Ok(())
            }
            Ok(HubMessage::Ack { seq, .. }) => {
                Err(format!("the hub acked {seq}, which was never sent"))
            }
            Ok(HubMessage::Command { id, command }) => self.refuse(id, &command),
            Err(error) => Err(format!("the hub sent a message that is not of the wire: {error}")),
        }
    }

    /// There are no commands yet; a hub that sends one is told so.
    fn refuse(&mut self, id: String, command: &str) -> Result<(), String> {
        self.commands += 1;
        if self.commands > COMMANDS || id.chars().count() > LONGEST_WORD {
            return Err(format!(
                "the hub sends more than {COMMANDS} commands, or longer ids than {LONGEST_WORD}"
            ));
        }
        let shown: String = command.chars().take(LONGEST_WORD).collect();
        let reason = format!("unknown command `{}`", shown.escape_debug());
        tracing::warn!("The hub sent a command that this version does not know: {reason}.");
        let result = Event::Result { id, status: "failed".into(), reason: Some(reason) };
        self.uplink.spool.append(vec![result.into()]);
        Ok(())
    }

    async fn close(&mut self) {
        let reason = CloseFrame { code: CloseCode::Away, reason: "stopping".into() };
        let closing = async {
            self.socket.close(Some(reason)).await?;
            while let Some(message) = self.socket.next().await {
                message?;
            }
            Ok::<(), tokio_tungstenite::tungstenite::Error>(())
        };
        if let Ok(Err(error)) = timeout(CLOSE_DEADLINE, closing).await {
            tracing::debug!("The connection did not close in order: {error}.");
        }
    }
}

fn array(messages: &[Stored]) -> String {
    let mut text =
        String::with_capacity(messages.iter().map(|m| m.json.len() + 1).sum::<usize>() + 2);
    for (position, message) in messages.iter().enumerate() {
        text.push(if position == 0 { '[' } else { ',' });
        text.push_str(&message.json);
    }
    text.push(']');
    text
}
