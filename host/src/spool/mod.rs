//! Where messages wait until they are delivered. Each gets its number here.

mod memory;

use std::sync::Arc;

use tokio::sync::watch;
use uuid::Uuid;

pub use memory::{CAPACITY_BYTES as MEMORY_BYTES, MemorySpool};

use crate::uplink::wire::{Body, Event};

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

/// A message as it goes over the wire.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored {
    /// Its number in the stream.
    pub seq: u64,
    /// Its JSON text.
    pub json: Arc<str>,
}

/// A message that the spool made itself: a notice of numbers that will never come.
#[derive(Clone, Debug, PartialEq)]
pub struct Added {
    /// Its number in the stream.
    pub seq: u64,
    /// What it says.
    pub event: Event,
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
