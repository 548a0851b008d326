//! What ends a run.

use std::io;
use std::time::Duration;

/// What ends a run.
pub struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

impl Signals {
    /// Takes the signals: from here on they do not end the process by themselves.
    pub fn new() -> io::Result<Signals> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Signals {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    /// Waits for one of them, or for the duration, and says which it was.
    pub async fn wait(&mut self, duration: Option<Duration>) -> &'static str {
        let end = tokio::time::sleep(duration.unwrap_or_default());
        tokio::select! {
            _ = self.interrupt.recv() => "interrupted",
            _ = self.terminate.recv() => "terminated",
            () = end, if duration.is_some() => "its duration is over",
        }
    }
}
