//! The queue before each uplink, in memory, as it was before the spool; it goes when uplinks take places in that.

use tokio::sync::watch;
use uuid::Uuid;

pub use super::memory::{CAPACITY_BYTES as MEMORY_BYTES, MemorySpool};
use super::{Added, Stored};

use crate::uplink::wire::Body;

/// A queue of numbered messages between the chain and one uplink.
///
/// `append` and `read` are short and never wait for the network; the spool is bounded, and when it is full the oldest
/// messages give way to a message that says so.
pub trait Spool: Send + Sync {
    /// The stream that the numbers belong to.
    fn stream(&self) -> Uuid;
    /// Numbers messages and keeps them. Gives those that it had to add of its own accord, which took numbers too.
    fn append(&self, messages: Vec<Body>) -> Vec<Added>;
    /// The first messages after a number, at most so many.
    fn read(&self, after: u64, most: usize) -> Vec<Stored>;
    /// All messages up to this number are delivered.
    fn ack(&self, upto: u64);
    /// How it stands.
    fn state(&self) -> SpoolState;
    /// Changes whenever something was appended.
    fn appended(&self) -> watch::Receiver<u64>;
}

/// How a spool stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpoolState {
    /// The number given last; also how many messages were ever appended.
    pub last: u64,
    /// How many wait.
    pub queued: u64,
    /// How many were dropped undelivered.
    pub dropped: u64,
}
