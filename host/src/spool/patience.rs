//! A read of the disk that nobody waits for longer than a moment: a card that stalls holds up no message that is in memory, and
//! no sign of life of a connection.

use std::time::Duration;

use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, timeout_at};

use super::Stored;
use super::keeper::Shared;

/// A disk that works gives what it is asked for well within this.
const MOMENT: Duration = Duration::from_millis(250);
/// Most reads of one place at a time, so that a disk that hangs holds so many threads: one of what is late, one of the rest.
const READS: usize = 2;

/// What one place reads from the disk.
#[derive(Debug, Default)]
pub(super) struct DiskReads {
    running: Vec<DiskRead>,
}

#[derive(Debug)]
struct DiskRead {
    after: u64,
    begun: Instant,
    messages: JoinHandle<Vec<Stored>>,
}

impl DiskReads {
    /// The first messages after a number. None when the disk does not give them within a moment: whoever waits for messages
    /// is told when it does, and asks again.
    pub(super) async fn messages(
        &mut self,
        keeper: &Shared,
        after: u64,
        most: usize,
    ) -> Vec<Stored> {
        loop {
            let is_asked_for = |read: &DiskRead| read.after == after;
            let at = match self.running.iter().position(is_asked_for) {
                Some(at) => at,
                None if self.running.len() < READS => {
                    self.running.push(DiskRead::begin(keeper, after, most));
                    continue;
                }
                // One that nobody asks for any more makes room.
                None => {
                    self.running.iter().position(|read| read.messages.is_finished()).unwrap_or(0)
                }
            };
            // It stays here while it is awaited: whoever asked may go away, and the disk goes on.
            let Some(read) = self.running.get_mut(at) else { return Vec::new() };
            let Ok(messages) = timeout_at(read.begun + MOMENT, &mut read.messages).await else {
                return Vec::new();
            };
            if self.running.swap_remove(at).after == after {
                // It fails when the process ends.
                let mut messages = messages.unwrap_or_default();
                // Some may have been given up while it took its time.
                let queue = keeper.queue();
                messages.retain(|stored| queue.is_kept(stored.seq));
                return messages;
            }
        }
    }
}

impl DiskRead {
    fn begin(keeper: &Shared, after: u64, most: usize) -> DiskRead {
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
        DiskRead { after, begun, messages: spawn_blocking(read) }
    }
}
