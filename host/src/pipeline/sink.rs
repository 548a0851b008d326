//! Where the chain's outcomes go: to the outputs at once, and as messages into the spool.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::{mpsc, oneshot};

use super::chain::{Chain, Outcome};
use super::record::{Recorder, ended_line, observed_line};
use super::reload::Swap;
use crate::output::AlarmOutputs;
use crate::reading::{Input, Observed};
use crate::spool::Spool;
use crate::uplink::Scribe;
use crate::uplink::wire::Body;

/// Stack of the chain thread: the most that `stack_kib` allows to wasm, and room for the host's frames. Only what is used becomes
/// memory.
const CHAIN_STACK: usize = 2 << 20;

/// What the chain thread counts.
#[derive(Debug, Default)]
pub(super) struct Passed {
    /// Readings and faults that went into the chain.
    pub(super) measurements: AtomicU64,
    /// Messages that came out.
    pub(super) messages: AtomicU64,
    /// Readings that filters kept back.
    pub(super) kept_back: AtomicU64,
    /// How often plugins trapped.
    pub(super) traps: AtomicU64,
    /// Set when there is no time left for what is still in the queue.
    abandoned: AtomicBool,
}

impl Passed {
    /// Tells the chain to leave what is still in its queue.
    pub(super) fn abandon(&self) {
        self.abandoned.store(true, Ordering::Relaxed);
    }
}

/// Where the chain's outcomes go.
pub(super) struct Sink {
    pub(super) stages: Vec<Arc<str>>,
    pub(super) scribe: Scribe,
    pub(super) intake: Intake,
    pub(super) outputs: AlarmOutputs,
}

/// The way into the spool: through the recorder, when the run is recorded.
#[derive(Clone)]
pub(super) struct Intake {
    pub(super) spool: Arc<Spool>,
    pub(super) recorder: Option<Arc<Recorder>>,
}

impl Intake {
    /// Messages that do not come from the chain.
    pub(super) fn append(&self, messages: Vec<Body>) {
        match &self.recorder {
            Some(recorder) => recorder.append(messages),
            None => drop(self.spool.append(messages)),
        }
    }
}

impl Sink {
    fn take(&mut self, taken: &[String], outcome: &Outcome) -> u64 {
        for (stage, alarm) in &outcome.alarms {
            if let Some(stage) = self.stages.get(*stage) {
                self.outputs.show(stage, alarm);
            }
        }
        self.send(taken, outcome.to_bodies(&self.stages, &self.scribe))
    }

    /// Between two batches: a tick comes each second.
    fn swap(&mut self, chain: &mut Chain, swap: Swap, passed: &Passed) {
        let swapped = chain.swap(swap.stages).map(|outcome| {
            // Of the stages as they were.
            let messages = self.take(&[], &outcome);
            passed.messages.fetch_add(messages, Ordering::Relaxed);
            self.stages = chain.stage_names();
        });
        // Whoever asked may be gone by now.
        let _told = swap.taken.send(swapped);
    }

    /// The lines of what the chain takes now, where they are recorded.
    fn taken(&self, observed: &Observed) -> Vec<String> {
        self.intake.recorder.iter().map(|_| observed_line(observed)).collect()
    }

    fn send(&self, taken: &[String], bodies: Vec<Body>) -> u64 {
        let count = bodies.len() as u64;
        match &self.intake.recorder {
            Some(recorder) => recorder.append_taken(taken, bodies),
            None => drop(self.intake.spool.append(bodies)),
        }
        count
    }
}

/// The lines of calls that the machine ended.
pub(super) fn ended_lines(chain: &Chain) -> Vec<String> {
    chain.take_ended().into_iter().map(|(stage, call)| ended_line(stage, call)).collect()
}

/// Runs the chain on a thread of its own until all senders are gone and the queue is empty.
pub(super) fn spawn_chain(
    mut chain: Chain,
    mut observed: mpsc::Receiver<Observed>,
    mut swaps: mpsc::Receiver<Swap>,
    mut sink: Sink,
    passed: Arc<Passed>,
) -> io::Result<oneshot::Receiver<()>> {
    let (ended, end) = oneshot::channel();
    let thread = std::thread::Builder::new().name("chain".to_owned()).stack_size(CHAIN_STACK);
    thread.spawn(move || {
        while let Some(observed) = observed.blocking_recv() {
            if passed.abandoned.load(Ordering::Relaxed) {
                break;
            }
            if let Ok(swap) = swaps.try_recv() {
                sink.swap(&mut chain, swap, &passed);
            }
            let mut taken = sink.taken(&observed);
            let input = match observed {
                Observed::Input(input) => input,
                Observed::Sighting(sighting) => {
                    let messages = sink.send(&taken, vec![sink.scribe.sighting(&sighting)]);
                    passed.messages.fetch_add(messages, Ordering::Relaxed);
                    continue;
                }
                Observed::WallClock(clock, now) => {
                    chain.ahead_nanos = clock.ahead_nanos;
                    let body = sink.scribe.wall_clock(clock, now);
                    let messages = sink.send(&taken, vec![body]);
                    passed.messages.fetch_add(messages, Ordering::Relaxed);
                    continue;
                }
            };
            let measured = if let Input::Batch(batch) = &input { batch.len() as u64 } else { 0 };
            let outcome = chain.pass(input);
            let kept_back = measured.saturating_sub(outcome.batch.len() as u64);
            if sink.intake.recorder.is_some() {
                taken.splice(0..0, ended_lines(&chain));
            }
            let messages = sink.take(&taken, &outcome);
            passed.kept_back.fetch_add(kept_back, Ordering::Relaxed);
            passed.messages.fetch_add(messages, Ordering::Relaxed);
            passed.traps.store(chain.traps(), Ordering::Relaxed);
            passed.measurements.fetch_add(measured, Ordering::Relaxed);
        }
        chain.finish();
        chain.log_counters();
        // With it the last one goes that gives states to be written.
        drop(chain);
        // The pins go off with it.
        drop(sink);
        // Nobody waits any more when the stop took too long.
        let _late = ended.send(());
    })?;
    Ok(end)
}
