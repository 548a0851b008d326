//! Records a run (`weir run --record`): what came from the sensors before any plugin saw it, so that `weir replay` gives
//! the bytes that the run gave to its uplinks.
//!
//! The file is JSON, an object a line, in the order in which the messages got their numbers. Times are nanoseconds of the
//! steady clock, a series or a stage is its position in the first line, counted from 0.
//!
//! | line | says |
//! |---|---|
//! | `{"recording":1,"weir":…,"device":…,"started":…,"after":…,"clock":{"ahead":…,"synchronized":…},"series":[{"sensor":…,"id":…,"quantity":…,"interval":…}],"stages":[{"stage":…,"plugin":…,"version":…,"sha256":…,"settings":{…}}]}` | the first: the format's number, who wrote it, the number of the last message before it, how the wall clock stood to the steady one, what was measured, and which plugins ran (`sha256` of the file). `id` and `interval` can be missing |
//! | `{"state":{"stage":0,"part":"0aff…"}}` | what a stage's plugin went on from, in hex digits. A long state has several such lines; a stage that began anew has none |
//! | `{"batch":{"readings":[[0,1795000000000000000,4.312,"good"]],"faults":[[1,1795000000000000000,"crc-mismatch"]],"doubts":[[0,1795000000000000000,"stale"]]}}` | a cycle: series, time, value, quality; series, time, reason; series, time, doubt. What is empty is left out |
//! | `{"tick":1795000000000000000}` | the plugins were told the time |
//! | `{"sighting":{"id":"28-…","time":…,"present":true}}` | a sensor beside the pipeline came or went |
//! | `{"clock":{"ahead":…,"synchronized":…,"time":…}}` | the wall clock was set, or is known to be right or not from now on |
//! | `{"ended":{"stage":0,"call":17,"reason":"plugin-deadline"}}` | the machine ended this call of the stage's plugin, counted from 1, while it passed what the next line says |
//! | `{"message":{"type":"health",…}}` | a message that did not come from the chain |
//! | `{"added":{"seq":12,"message":{"type":"dropped",…}}}` | a message that the spool made itself among those of the next line |
//! | `{"end":{"seq":4711}}` | the last, after an orderly stop: the number of the last message. A run that was killed has none |
//!
//! Only the last line can be torn, when the process was killed or the disk is full.

mod line;
mod read;

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use self::line::Line;
pub(super) use self::line::{Header, Recorded, ended_line, observed_line};
pub use self::read::BadRecording;
pub(super) use self::read::{Next, Reader};
use crate::file::hex;
use crate::spool::{Added, Spool};
use crate::uplink::wire::{Body, to_json};

/// How often lines are handed to the system: what a killed process loses. A power cut may take some more.
const FLUSH: Duration = Duration::from_secs(1);
/// Longest line, in bytes: far more than a cycle of all sensors.
const LONGEST_LINE: usize = 4 << 20;
/// Most bytes that wait for the disk. A disk that takes nothing for so long ends the recording, not the run.
const WAITING: usize = 8 << 20;
/// A state goes into lines of so many bytes each.
const STATE_PART: usize = 64 << 10;

/// The way into the spool of a run that is recorded. Whatever gets a number there is recorded under the same lock, so that
/// the order of the lines is that of the numbers.
pub(super) struct Recorder {
    spool: Arc<Spool>,
    waiting: Arc<Waiting>,
}

/// What the recording's thread has still to write.
#[derive(Default)]
struct Waiting {
    lines: Mutex<Lines>,
    changed: Condvar,
}

#[derive(Default)]
struct Lines {
    text: Vec<u8>,
    state: State,
}

#[derive(Clone, Copy, Default, PartialEq)]
enum State {
    #[default]
    Open,
    /// Nothing comes any more; what waits is still written.
    Closed,
    /// Nothing is written any more.
    Failed,
}

/// Takes a new file, or an empty one: a recording is never written over.
pub(super) fn open(path: &Path) -> io::Result<File> {
    // Asked before it is opened: opening a FIFO would wait for its reader.
    if std::fs::metadata(path).is_ok_and(|file| !file.is_file()) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
    }
    let file = OpenOptions::new().append(true).create(true).open(path)?;
    if let Err(TryLockError::WouldBlock) = file.try_lock() {
        return Err(in_use("another weir records to it"));
    }
    if file.metadata()?.len() > 0 {
        return Err(in_use(
            "it is not empty, and a recording is never written over: --record names a new file",
        ));
    }
    Ok(file)
}

fn in_use(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::AlreadyExists, what)
}

impl Recorder {
    /// Begins a recording on a thread of its own. The receiver is told when everything is written.
    pub(super) fn start(
        mut out: impl Write + Send + 'static,
        header: &Header,
        states: &[Option<Vec<u8>>],
        spool: Arc<Spool>,
    ) -> io::Result<(Arc<Recorder>, oneshot::Receiver<()>)> {
        let recorder = Arc::new(Recorder { spool, waiting: Arc::default() });
        let mut first = to_json(header) + "\n";
        for (stage, state) in (0_u32..).zip(states) {
            for part in state.as_deref().unwrap_or_default().chunks(STATE_PART) {
                first += &to_json(&Line::State { stage, part: hex(part) });
                first.push('\n');
            }
        }
        let (ended, end) = oneshot::channel();
        let waiting = recorder.waiting.clone();
        std::thread::Builder::new().name("recording".to_owned()).stack_size(128 << 10).spawn(
            move || {
                let written = out.write_all(first.as_bytes());
                drop(first);
                if let Err(error) = written.and_then(|()| waiting.write(out)) {
                    waiting.lines().fail(&error);
                }
                // Nobody waits any more when the stop took too long.
                let _late = ended.send(());
            },
        )?;
        Ok((recorder, end))
    }

    /// Numbers what the chain made of an input, and records the input. `taken` are its lines.
    pub(super) fn append_taken(&self, taken: &[String], messages: Vec<Body>) {
        let mut lines = self.waiting.lines();
        let added = self.spool.append(messages);
        lines.put_added(added);
        taken.iter().for_each(|line| lines.put(line));
        self.waiting.wake(&lines);
    }

    /// Numbers messages that do not come from the chain: they are recorded as they are.
    pub(super) fn append(&self, messages: Vec<Body>) {
        let mut lines = self.waiting.lines();
        let added = self.spool.append(messages.clone());
        lines.put_added(added);
        for message in messages {
            // Only the chain has readings.
            if let Body::Event(event) = message {
                lines.put(&to_json(&Line::Message(event)));
            }
        }
        self.waiting.wake(&lines);
    }

    /// Ends the recording in order.
    pub(super) fn close(&self) {
        let mut lines = self.waiting.lines();
        if lines.state == State::Open {
            // The spool may have made some since the last append.
            let (added, seq) = self.spool.notices();
            lines.put_added(added);
            lines.put(&to_json(&Line::End { seq }));
        }
        if lines.state == State::Open {
            lines.state = State::Closed;
        }
        self.waiting.changed.notify_one();
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.close();
    }
}

impl Waiting {
    fn lines(&self) -> MutexGuard<'_, Lines> {
        // Every change leaves whole lines, so a panic elsewhere has not broken them.
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does not wait for the next second when much waits.
    fn wake(&self, lines: &Lines) {
        if lines.text.len() > WAITING / 8 {
            self.changed.notify_one();
        }
    }

    fn write(&self, mut out: impl Write) -> io::Result<()> {
        loop {
            let lines = self.lines();
            let is_idle =
                |lines: &mut Lines| lines.state == State::Open && lines.text.len() <= WAITING / 8;
            let (mut lines, _) = self
                .changed
                .wait_timeout_while(lines, FLUSH, is_idle)
                .unwrap_or_else(PoisonError::into_inner);
            let text = std::mem::take(&mut lines.text);
            let state = lines.state;
            drop(lines);
            if state == State::Failed {
                return Ok(());
            }
            out.write_all(&text)?;
            out.flush()?;
            if state == State::Closed {
                return Ok(());
            }
        }
    }
}

impl Lines {
    fn put(&mut self, line: &str) {
        if self.state != State::Open {
            return;
        }
        if line.len() > LONGEST_LINE {
            let why =
                format!("a cycle takes {} bytes, and a line at most {LONGEST_LINE}", line.len());
            self.fail(&io::Error::other(why));
        } else if self.text.len() + line.len() > WAITING {
            let why = format!("the disk does not keep up: {} bytes wait", self.text.len());
            self.fail(&io::Error::other(why));
        } else {
            self.text.extend_from_slice(line.as_bytes());
            self.text.push(b'\n');
        }
    }

    fn put_added(&mut self, added: Vec<Added>) {
        for Added { seq, event } in added {
            self.put(&to_json(&Line::Added { seq, message: event }));
        }
    }

    /// Told once: nothing is tried after it.
    fn fail(&mut self, error: &io::Error) {
        if self.state != State::Failed {
            tracing::error!("The recording ended, the run goes on: {error}.");
        }
        self.state = State::Failed;
        self.text = Vec::new();
    }
}

#[cfg(test)]
mod tests;
