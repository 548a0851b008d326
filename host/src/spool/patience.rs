//! A read of the disk that nobody waits for longer than a moment: a card that stalls holds up no message that is in memory, and
//! no sign of life of a connection.

use std::time::Duration;

use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, timeout_at};

use super::Stored;
use super::keeper::Shared;

/// A disk that works gives what it is asked for well within this.
const MOMENT: Duration = Duration::from_millis(250);

/// What one place reads from the disk: one read at a time, so that a disk that hangs holds one thread.
#[derive(Debug, Default)]
pub(super) struct DiskRead {
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    after: u64,
    messages: JoinHandle<Vec<Stored>>,
}

impl DiskRead {
    /// The first messages after a number. None when the disk does not give them within a moment: whoever waits for messages
    /// is told when it does, and asks again.
    pub(super) async fn messages(
        &mut self,
        keeper: &Shared,
        after: u64,
        most: usize,
    ) -> Vec<Stored> {
        let end = Instant::now() + MOMENT;
        loop {
            // It stays here while it is awaited: whoever asked may go away, and the disk goes on.
            let running = self.running.get_or_insert_with(|| Running::begin(keeper, after, most));
            let Ok(messages) = timeout_at(end, &mut running.messages).await else {
                return Vec::new();
            };
            let is_asked_for = running.after == after;
            self.running = None;
            if is_asked_for {
                // It fails when the process ends.
                return messages.unwrap_or_default();
            }
        }
    }
}

impl Running {
    fn begin(keeper: &Shared, after: u64, most: usize) -> Running {
        let keeper = keeper.clone();
        let begun = Instant::now();
        let read = move || {
            let messages = keeper.read(after, most, keeper.now());
            // One that came just in time is told of too: then somebody looks once for nothing.
            if begun.elapsed() >= MOMENT / 2 {
                keeper.tell_readers();
            }
            messages
        };
        Running { after, messages: spawn_blocking(read) }
    }
}
