//! How the kernel's files are read and written: each call with a deadline, and none beside one that hangs.

use std::io::{self, Read as _, Write as _};
use std::path::Path;
use std::time::Duration;

use tokio::task::AbortHandle;

use crate::reading::FaultReason;

/// The kernel's texts have one page at most; a file that is longer is not one of them.
const LONGEST_TEXT: u64 = 4_096;

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

/// The text of an attribute. Blocks while the kernel talks to the chip.
pub(super) fn read_attribute(file: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    std::fs::File::open(file)?.take(LONGEST_TEXT).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Writes an attribute in one piece, as the kernel wants it. Never makes a file.
pub(super) fn write_attribute(file: &Path, text: &str) -> io::Result<()> {
    std::fs::OpenOptions::new().write(true).open(file)?.write_all(text.as_bytes())
}

/// What the kernel's refusal of a read means; see `errno(3)`.
pub(super) fn fault_of(error: &io::Error) -> FaultReason {
    match error.kind() {
        io::ErrorKind::NotFound => FaultReason::NotPresent,
        io::ErrorKind::TimedOut => FaultReason::Timeout,
        _ => match error.raw_os_error() {
            // The chip is not there, though its folder still is.
            Some(libc::ENODEV | libc::ENXIO) => FaultReason::NotPresent,
            // What hwmon says of a channel that is switched off.
            Some(libc::ENODATA) => FaultReason::NoAnswer,
            _ => FaultReason::IoError,
        },
    }
}
