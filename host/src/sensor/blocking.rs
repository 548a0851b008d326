//! Calls of the kernel that may hang: each has a deadline, and while one hangs no other is begun beside it.

use std::time::Duration;

use tokio::task::AbortHandle;

/// The last call, while it hangs.
#[derive(Debug, Default)]
pub(super) struct Blocking {
    overdue: Option<AbortHandle>,
}

/// It did not end in time, or one before it has not ended yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hangs;

impl Blocking {
    /// Whether a call that did not end in time still hangs.
    pub(super) fn hangs(&self) -> bool {
        self.overdue.as_ref().is_some_and(|call| !call.is_finished())
    }

    /// Makes a call off the async workers.
    pub(super) async fn call<T: Send + 'static>(
        &mut self,
        deadline: Duration,
        call: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Hangs> {
        if self.hangs() {
            return Err(Hangs);
        }
        let mut running = tokio::task::spawn_blocking(call);
        match tokio::time::timeout(deadline, &mut running).await {
            Ok(Ok(done)) => Ok(done),
            // None of these calls panics; one that does has given nothing either.
            Ok(Err(_)) => Err(Hangs),
            Err(_) => {
                self.overdue = Some(running.abort_handle());
                Err(Hangs)
            }
        }
    }
}
