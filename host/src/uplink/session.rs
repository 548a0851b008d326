//! One connection: what is sent, what is acked, and how its end is noticed.

use std::time::Duration;

use futures_util::StreamExt;
use tokio::time::{Instant, timeout};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Bytes, Message, protocol::CloseFrame};
use uuid::Uuid;

use super::again::at;
use super::delivery::{Delivery, Kind, Order, Turn};
use super::socket::{ACK_DEADLINE, BURST, PING_EVERY, Ping, SILENCE, Socket, UNANSWERED, write};
use super::websocket::WebSocketUplink;
use super::wire::{self, Connect, Event, GIVEN_UP, HubMessage, as_late, to_json};
use crate::spool::Stored;
use crate::stop::Stop;

/// Most messages in one frame.
const FRAME_MESSAGES: usize = 128;
/// Most bytes of messages in one frame: half of what a hub takes, so that marks of late messages fit as well.
const FRAME_BYTES: usize = 128 << 10;
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
    let place = &uplink.place;
    let state = place.state();
    // A server that acks nothing could not tell a late message from a new one either.
    let order = if form == Form::Weir { uplink.order } else { Order::InOrder };
    let delivery = Delivery::new(order, state.acked, state.queued, place.last());
    let now = Instant::now();
    let mut session = Session {
        socket,
        form,
        uplink,
        ever_sent,
        delivery,
        stream: place.stream(),
        has_acked: false,
        commands: 0,
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

struct Session<'u> {
    socket: Socket,
    form: Form,
    uplink: &'u WebSocketUplink,
    /// The highest number that went out over any connection: none above it can be acked.
    ever_sent: &'u mut u64,
    delivery: Delivery,
    /// The one that this connection began with.
    stream: Uuid,
    has_acked: bool,
    commands: usize,
    heard: Instant,
    /// When something was acked, or nothing waited for it.
    progressed: Instant,
}

impl Session<'_> {
    async fn run(&mut self, stop: &mut Stop) -> Result<(), String> {
        // What comes before was acked, and is kept no more.
        let from = (self.form == Form::Weir).then(|| self.uplink.place.acked() + 1);
        let connect = Connect { from, stream: Some(self.stream), ..self.uplink.connect.clone() };
        self.write(vec![Message::text(to_json(&connect))]).await?;
        let mut appended = self.uplink.place.appended();
        let mut pings = tokio::time::interval_at(Instant::now() + PING_EVERY, PING_EVERY);
        let mut last_delivery: Option<Instant> = None;
        loop {
            let has_more = self.send_some().await?;
            if last_delivery.is_some() && self.uplink.place.state().queued == 0 {
                return Ok(());
            }
            let late = self.delivery.next_late();
            tokio::select! {
                // What came is heard before its silence is judged, and between any two frames: pings are answered then.
                biased;
                () = stop.wait(), if last_delivery.is_none() => {
                    last_delivery = Some(Instant::now() + LAST_DELIVERY);
                }
                () = at(last_delivery) => return Ok(()),
                incoming = self.socket.next() => match incoming {
                    Some(Ok(message)) => self.hear(message).await?,
                    Some(Err(error)) => return Err(error.to_string()),
                    None => return Err("the hub closed the connection".to_owned()),
                },
                _ = pings.tick() => self.write(vec![self.ping()]).await?,
                () = tokio::time::sleep_until(self.heard + SILENCE) => {
                    return Err(format!("no sign of life for {} s", SILENCE.as_secs()));
                }
                () = tokio::time::sleep_until(self.progressed + ACK_DEADLINE), if self.delivery.is_waiting() => {
                    return Err(format!("the hub acked nothing for {} s", ACK_DEADLINE.as_secs()));
                }
                () = std::future::ready(()), if has_more => {}
                () = at(late) => {}
                changed = appended.changed() => changed.map_err(|e| e.to_string())?,
            }
        }
    }

    /// Sends a frame of what the spool holds and one of late messages, as far as the window and their pace allow. Gives
    /// whether there may be more.
    async fn send_some(&mut self) -> Result<bool, String> {
        if self.form == Form::Plain && self.delivery.unacked() >= UNANSWERED as u64 {
            return Ok(false);
        }
        let mut sent = false;
        if let Some(turn) = self.delivery.live_turn() {
            sent |= self.send(turn).await?;
        }
        let now = Instant::now();
        if let Some(turn) = self.delivery.late_turn(now) {
            let some = self.send(turn).await?;
            if !some {
                // The disk may have taken a moment to give none.
                self.delivery.has_none(Instant::now());
            }
            sent |= some;
        }
        Ok(sent)
    }

    /// Sends the messages of one turn, in one frame where the server takes that. Gives whether there was anything.
    async fn send(&mut self, turn: Turn) -> Result<bool, String> {
        let most = match self.form {
            Form::Plain => BURST,
            Form::Weir => FRAME_MESSAGES,
        };
        let most = most.min(usize::try_from(turn.most).unwrap_or(most));
        let mut waiting = self.uplink.place.read(turn.after, most).await;
        let is_beyond = waiting.first().is_some_and(|stored| stored.seq > turn.upto);
        waiting.retain(|stored| stored.seq <= turn.upto);
        let count = fitting(&waiting);
        waiting.truncate(count);
        let last = match waiting.last() {
            Some(stored) => stored.seq,
            None if is_beyond => turn.upto,
            None => return Ok(false),
        };
        let now = Instant::now();
        if !self.delivery.is_waiting() {
            self.progressed = now;
        }
        match self.form {
            Form::Plain => {
                let messages = waiting.iter().map(|stored| Message::text(stored.json.as_ref()));
                self.write(messages.chain([Ping::First.behind(last)]).collect()).await?;
            }
            Form::Weir => {
                let frame = array(&waiting, turn.kind, (turn.after, last));
                self.write(vec![Message::text(frame)]).await?;
            }
        }
        self.delivery.has_sent(turn.kind, waiting.len() as u64, last, now);
        *self.ever_sent = last.max(*self.ever_sent);
        Ok(true)
    }

    /// Asks for a sign of life. A plain server is asked again for the answer that it owes: it may answer the last ping alone.
    fn ping(&self) -> Message {
        match self.form {
            Form::Plain if self.delivery.unacked() > 0 => Ping::First.behind(self.delivery.sent()),
            _ => Message::Ping(Bytes::new()),
        }
    }

    async fn write(&mut self, frames: Vec<Message>) -> Result<(), String> {
        write(&mut self.socket, frames, "hub").await
    }

    async fn hear(&mut self, message: Message) -> Result<(), String> {
        self.heard = Instant::now();
        let text = match message {
            Message::Text(text) if self.form == Form::Weir => text,
            Message::Close(Some(CloseFrame { code, reason })) => {
                let reason = reason.escape_debug().to_string();
                let reason = if reason.is_empty() { reason } else { format!(" {reason}") };
                return Err(format!("the hub closed the connection: {code}{reason}"));
            }
            Message::Close(None) => return Err("the hub closed the connection".to_owned()),
            Message::Pong(told) if self.form == Form::Plain => {
                match Ping::answered(&told) {
                    Some((Ping::First, number)) => {
                        // A server that is slow has at least read it.
                        self.progressed = self.heard;
                        self.write(vec![Ping::Second.behind(number)]).await?;
                    }
                    Some((Ping::Second, number)) if number <= *self.ever_sent => {
                        self.take_ack(number, None);
                    }
                    _ => {}
                }
                return Ok(());
            }
            // A plain server may say what it likes.
            _ => return Ok(()),
        };
        match serde_json::from_str(&text) {
            Ok(HubMessage::Ack { seq, ahead }) => {
                let highest = ahead.map_or(seq, |(_, to)| to.max(seq));
                if highest > *self.ever_sent {
                    return Err(self.never_sent(highest));
                }
                self.has_acked = true;
                self.take_ack(seq, ahead);
                Ok(())
            }
            Ok(HubMessage::Command { id, command }) => self.refuse(id, &command),
            Err(error) => Err(format!("the hub sent a message that is not of the wire: {error}")),
        }
    }

    fn take_ack(&mut self, seq: u64, ahead: Option<(u64, u64)>) {
        let before = self.delivery.acked_of_all();
        self.uplink.place.ack(self.delivery.ack(seq, ahead));
        if self.delivery.acked_of_all() != before {
            self.progressed = Instant::now();
        }
    }

    /// The first ack of a connection is of what came before it. Where this device is a copy of what it was, because its card was
    /// restored or failed for long, the hub has messages under numbers that this one gives again: it would take the new
    /// ones for those.
    fn never_sent(&self, acked: u64) -> String {
        let what = format!("the hub acked {acked}, which was never sent");
        if self.has_acked {
            return what;
        }
        self.uplink.place.leave_stream(self.stream);
        format!("{what}: what waits is sent under a new stream")
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
        (self.uplink.answer)(result);
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

/// How many of the messages go into one frame; one that is too large by itself goes alone.
fn fitting(messages: &[Stored]) -> usize {
    let mut bytes = 0;
    let fits = messages.iter().take_while(|stored| {
        bytes += stored.json.len();
        bytes <= FRAME_BYTES
    });
    fits.count().max(1)
}

/// A frame of the messages after one number and up to another. What is missing between them is declared where it is missing:
/// the spool's own notice of it may be far behind, and a hub acks no further than what it knows of.
fn array(messages: &[Stored], kind: Kind, (after, upto): (u64, u64)) -> String {
    let mut text =
        String::with_capacity(messages.iter().map(|m| m.json.len() + 13).sum::<usize>() + 128);
    let mut put = |message: &str| {
        text.push(if text.is_empty() { '[' } else { ',' });
        text.push_str(message);
    };
    let mut next = after + 1;
    for stored in messages {
        if next < stored.seq && !declares(&stored.json, next, stored.seq - 1) {
            put(&gap(next, stored.seq - 1));
        }
        match kind {
            Kind::Current => put(&stored.json),
            Kind::Late => put(&as_late(&stored.json)),
        }
        next = stored.seq + 1;
    }
    if next <= upto {
        put(&gap(next, upto));
    }
    text.push(']');
    text
}

/// A message without a number: these numbers are not kept any more.
fn gap(from: u64, to: u64) -> String {
    let reason = GIVEN_UP.into();
    wire::Message { seq: None, late: false, body: Event::Dropped { from, to, reason }.into() }
        .to_json()
}

/// Whether a message is itself the spool's notice of these numbers.
fn declares(json: &str, first: u64, last: u64) -> bool {
    const NOTICE: &str = r#"{"type":"dropped","#;
    if !json.starts_with(NOTICE) {
        return false;
    }
    match serde_json::from_str(json) {
        Ok(Event::Dropped { from, to, .. }) => from <= first && last <= to,
        _ => false,
    }
}
