//! A WebSocket as all ways out over one use it: its bounds, its signs of life, and a write that does not wait for ever.

use std::time::Duration;

use futures_util::SinkExt;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

use super::open::Stream;

/// Over TCP or TLS.
pub(super) type Socket = WebSocketStream<Box<dyn Stream>>;

/// A link is asked for a sign of life so often…
pub(super) const PING_EVERY: Duration = Duration::from_secs(15);
/// …and given up when there was none for so long: two pings without an answer, noticed within 35 s.
pub(super) const SILENCE: Duration = Duration::from_secs(32);
/// A peer that does not say of anything for so long that it has it is given up: something on the way answers pings in its place,
/// or its disk takes nothing.
pub(super) const ACK_DEADLINE: Duration = Duration::from_secs(60);
/// Most messages that are on their way to a server that says by the answers to pings what it has. Those come behind the messages,
/// as our answers to its own pings do: one that deals with four messages a second is to have them in time.
pub(super) const UNANSWERED: usize = 64;
/// Most messages between two pings.
pub(super) const BURST: usize = 32;
/// Longest time for one write: a peer that takes nothing for so long is as good as gone.
const WRITE_DEADLINE: Duration = Duration::from_secs(20);
/// Largest message from a peer. Acks and commands are short, and of what other servers say nothing is of use.
const LARGEST_MESSAGE: usize = 256 << 10;
/// Most bytes that wait for a slow peer beside the spool.
const WRITE_BUFFER: usize = 1 << 20;
/// What is read at once.
const READ_BUFFER: usize = 8 << 10;

/// The bounds of a socket.
pub(super) fn config() -> WebSocketConfig {
    let mut config = WebSocketConfig::default();
    config.max_message_size = Some(LARGEST_MESSAGE);
    config.max_frame_size = Some(LARGEST_MESSAGE);
    config.max_write_buffer_size = WRITE_BUFFER;
    config.read_buffer_size = READ_BUFFER;
    config
}

/// Which of the two pings behind a message. Frames are read in order, so that the answer to the first says that the peer's
/// WebSocket has read all before it. The second is sent then: Node runs the handlers of what it read before it reads on, so
/// that its answer says that they have run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Ping {
    First = 1,
    Second = 2,
}

impl Ping {
    /// A ping that comes back with the number of the last message before it.
    pub(super) fn behind(self, number: u64) -> Message {
        let mut told = number.to_be_bytes().to_vec();
        told.push(self as u8);
        Message::Ping(told.into())
    }

    /// Which one an answer is to, and its number; nothing when it is only a sign of life.
    pub(super) fn answered(told: &[u8]) -> Option<(Ping, u64)> {
        let (number, round) = told.split_first_chunk()?;
        let ping = match round {
            [1] => Ping::First,
            [2] => Ping::Second,
            _ => return None,
        };
        Some((ping, u64::from_be_bytes(*number)))
    }
}

/// Sends frames, all at once. `peer` is what an error calls the other end.
pub(super) async fn write(
    socket: &mut Socket,
    frames: Vec<Message>,
    peer: &str,
) -> Result<(), String> {
    let all = async {
        for frame in frames {
            socket.feed(frame).await?;
        }
        socket.flush().await
    };
    match timeout(WRITE_DEADLINE, all).await {
        Ok(written) => written.map_err(|e: tokio_tungstenite::tungstenite::Error| e.to_string()),
        Err(_) => Err(format!("the {peer} took nothing for {WRITE_DEADLINE:?}")),
    }
}
