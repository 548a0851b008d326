//! Waiting that ends when the file system is unmounted: nobody may hang on a mount that is gone.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Locks a mutex that a panicked test may have poisoned: what it guards is whole after each statement.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The clock of one mount.
#[derive(Debug)]
pub struct Pace {
    speed: u32,
    stopped: Mutex<bool>,
    changed: Condvar,
}

impl Pace {
    pub fn new(speed: u32) -> Self {
        Self { speed: speed.max(1), stopped: Mutex::new(false), changed: Condvar::new() }
    }

    /// What a time of the real bus lasts here.
    pub fn scaled(&self, nominal: Duration) -> Duration {
        nominal / self.speed
    }

    /// Sleeps for a time of the real bus.
    pub fn sleep(&self, nominal: Duration) {
        self.wait(Some(self.scaled(nominal)), || false);
    }

    /// Waits until `done`, which is asked anew after each [`Pace::notify`], or for a time as it is.
    pub fn wait(&self, at_most: Option<Duration>, done: impl Fn() -> bool) {
        let until = at_most.map(|at_most| Instant::now() + at_most);
        let mut stopped = lock(&self.stopped);
        while !*stopped && !done() {
            stopped = match until.map(|until| until.saturating_duration_since(Instant::now())) {
                Some(Duration::ZERO) => return,
                Some(left) => {
                    self.changed
                        .wait_timeout(stopped, left)
                        .unwrap_or_else(PoisonError::into_inner)
                        .0
                }
                None => self.changed.wait(stopped).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    /// Has every waiter ask its question again.
    pub fn notify(&self) {
        let _stopped = lock(&self.stopped);
        self.changed.notify_all();
    }

    /// Ends every wait, now and later.
    pub fn stop(&self) {
        *lock(&self.stopped) = true;
        self.changed.notify_all();
    }

    pub fn is_stopped(&self) -> bool {
        *lock(&self.stopped)
    }
}
