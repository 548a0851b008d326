//! Waiting that ends when the file system is unmounted, or when who waits is killed: a killed process only ends once
//! its reads are answered, and tests wait for processes that they killed.

use std::cell::Cell;
use std::fs;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Locks a mutex that a panicked test may have poisoned: what it guards is whole after each statement.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How often a waiter looks whether its requester was killed.
pub const GLANCE: Duration = Duration::from_millis(20);

thread_local! {
    /// The thread whose request this thread answers.
    static REQUESTER: Cell<Option<u32>> = const { Cell::new(None) };
}

/// Notes whose request this thread answers.
pub fn answer_to(thread: u32) {
    REQUESTER.set(Some(thread));
}

/// Whether the thread whose request is answered here was killed. FUSE tells of it by a message that fuser keeps for
/// itself; procfs tells too.
pub fn requester_is_killed() -> bool {
    const KILL: u64 = 1 << (9 - 1);
    let Some(thread) = REQUESTER.get() else { return false };
    let status = fs::read_to_string(format!("/proc/{thread}/status")).unwrap_or_default();
    let pending = status.lines().find_map(|line| line.strip_prefix("SigPnd:"));
    let pending = pending.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    pending.is_some_and(|pending| pending & KILL != 0)
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
        while !*stopped && !done() && !requester_is_killed() {
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                return;
            }
            let glance = left.unwrap_or(GLANCE).min(GLANCE);
            let woken = self.changed.wait_timeout(stopped, glance);
            stopped = woken.unwrap_or_else(PoisonError::into_inner).0;
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
