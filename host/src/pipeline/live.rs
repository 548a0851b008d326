//! A pipeline on real time: sensors → chain thread → spool → uplinks, and outputs and a hub beside it.

mod kept;
mod prepared;
mod refusals;
mod signals;
mod ways_out;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

pub use refusals::LiveError;
pub use signals::Signals;

use self::prepared::Prepared;
use self::ways_out::{open_spool, spawn_uplinks};
use super::Pipeline;
use super::health::Health;
use super::record::{Header, Recorder};
use super::reload::{Reload, ReloadAt, refuse};
use super::sink::{Intake, Passed, Sink, ended_lines, spawn_chain};
use super::ticks::tick;
use crate::data_dir::DataDir;
use crate::hub;
use crate::output::show_status;
use crate::plugin::EngineSettings;
use crate::reading::WallClock;
use crate::sensor::{Sampled, Sampling, SystemPaths};
use crate::spool::{Place, Spool};
use crate::stop::{self, Stopper};
use crate::uplink::{DASHBOARD, Scribe};

/// Most batches and ticks that wait for the chain. When it is full, sampling waits and counts the cycles it misses.
const CHAIN_QUEUE: usize = 64;
/// The chain has this long to empty its queue when the pipeline stops; then it leaves the rest, which is counted.
const CHAIN_DEADLINE: Duration = Duration::from_millis(400);
/// The chain and the uplinks together end within this, so that a stop takes less than two seconds.
const STOP_DEADLINE: Duration = Duration::from_millis(1_700);

/// What waits in the spool is written within this after everything else.
const SPOOL_DEADLINE: Duration = Duration::from_secs(5);
/// A recording's last lines are written within this after everything else.
const RECORDING_DEADLINE: Duration = Duration::from_millis(200);

/// What `weir run` can be told beside the file.
#[derive(Clone, Debug)]
pub struct LiveOptions {
    /// Where sensors are looked for.
    pub system: SystemPaths,
    /// Stops by itself after this.
    pub duration: Option<Duration>,
    /// How plugins are compiled and run.
    pub engine: EngineSettings,
    /// Where the run is recorded.
    pub record: Option<PathBuf>,
    /// The pipeline's file, which can change, and when that is looked at.
    pub reload: Option<(PathBuf, ReloadAt)>,
    /// The folder for what must outlive the process; without it that stays in memory.
    pub data_dir: Option<PathBuf>,
}

/// Runs a pipeline until a signal or its duration ends it. `ready` is told where the dashboard's page is.
pub async fn run(
    pipeline: Pipeline,
    options: &LiveOptions,
    ready: impl FnOnce(Option<&str>),
) -> Result<(), Vec<LiveError>> {
    let begun = Instant::now();
    let system = |e| vec![LiveError::System(e)];
    // From here on no signal ends the process by itself: compiling takes its time.
    let mut signals = Signals::new().map_err(system)?;
    let hangups = options.reload.as_ref().map(|_| signal(SignalKind::hangup())).transpose();
    let hangups = hangups.map_err(system)?;
    let prepared = Prepared::new(pipeline, options).await?;
    let page = prepared.dashboard.as_ref().map(|own| own.page.clone());
    let spool = tokio::select! {
        spool = open_spool(&prepared.pipeline, prepared.dashboard.as_ref(), &prepared.kept) => spool,
        // Its disk may hang.
        why = signals.wait(None) => {
            tracing::info!("Stopping: {why}, before the spool was open.");
            return Ok(());
        }
    };
    let mut running = Running::start(prepared, spool, hangups, begun).map_err(system)?;
    ready(page.as_deref());
    let why = tokio::select! {
        why = signals.wait(options.duration) => Ok(why),
        ended = running.ended() => Err(ended),
    };
    tracing::info!("Stopping: {}.", why.as_ref().unwrap_or(&"something ended that should not"));
    running.stop().await;
    why.map(|_| ()).map_err(|error| vec![error])
}

/// A pipeline at work.
struct Running {
    // Three stops, one after the other, so that nothing in flight is lost.
    stop_sensors: Stopper,
    stop_uplinks: Stopper,
    stop_hub: Stopper,
    sensor_tasks: JoinSet<()>,
    uplink_tasks: JoinSet<()>,
    status_tasks: JoinSet<()>,
    /// Ends with the runtime, after all others.
    _hub_task: JoinSet<()>,
    chain_end: oneshot::Receiver<()>,
    has_chain_ended: bool,
    recording: Option<Recording>,
    /// Hears when the last states are written.
    states_end: Option<oneshot::Receiver<()>>,
    /// Locked until all is over.
    _data_dir: Option<DataDir>,
    counts: Arc<Sampled>,
    passed: Arc<Passed>,
    spool: Arc<Spool>,
    /// The number of the last message of earlier processes.
    begun_after: u64,
    /// Each uplink, and how many messages of earlier processes waited for it.
    places: Vec<(Place, u64)>,
}

impl Running {
    fn start(
        prepared: Prepared,
        spool: Arc<Spool>,
        hangups: Option<Signal>,
        begun: Instant,
    ) -> io::Result<Running> {
        let Prepared { pipeline, kept, clock, series, dashboard, mut chain, .. } = prepared;
        // What the spool says of the process before belongs to that: it is before this run's first message.
        let (_of_before, begun_after) = spool.notices();
        let names = pipeline.uplinks.iter().map(|uplink| &*uplink.name).chain([DASHBOARD]);
        let places = names.filter_map(|name| spool.place(name));
        let places = places.map(|place| (place.clone(), place.state().queued)).collect();
        let wall_clock = clock.look(WallClock::default());
        let recording = match prepared.record {
            Some(file) => {
                let (device, stages) = (&pipeline.device, &pipeline.stages);
                let header = Header::new(device, begun_after, wall_clock, &series, stages);
                let states = kept.states_of(&pipeline.stages);
                let (recorder, end) = Recorder::start(file, &header, &states, spool.clone())?;
                recorder.append_taken(&ended_lines(&chain), Vec::new());
                Some(Recording { recorder, end })
            }
            None => None,
        };
        let recorder = recording.as_ref().map(|recording| recording.recorder.clone());
        let intake = Intake { spool: spool.clone(), recorder };
        let scribe = Scribe { series: series.clone(), wall_clock };
        intake.append(vec![scribe.start(clock.now())]);
        let (stop_sensors, sensors_stopped) = stop::channel();
        let (stop_uplinks, uplinks_stopped) = stop::channel();
        let (stop_hub, hub_stopped) = stop::channel();
        let mut uplink_tasks = JoinSet::new();
        let links = spawn_uplinks(
            &mut uplink_tasks,
            &pipeline,
            &series,
            prepared.credentials,
            dashboard.as_ref(),
            &intake,
            &uplinks_stopped,
        );
        let mut hub_task = JoinSet::new();
        if let Some(own) = dashboard {
            // In memory: it must not wear out this device's card for what the page shows.
            hub_task.spawn(hub::serve(own.hub, None, hub_stopped));
        }
        let mut status_tasks = JoinSet::new();
        for pin in prepared.status_pins {
            let links = links.iter().map(|link| link.link.clone()).collect();
            status_tasks.spawn(show_status(pin, links, uplinks_stopped.clone()));
        }

        let counts = Arc::new(Sampled::default());
        let (observed, chain_inputs) = mpsc::channel(CHAIN_QUEUE);
        let sink = Sink {
            stages: chain.stage_names(),
            scribe,
            intake: intake.clone(),
            outputs: prepared.outputs,
        };
        let passed = Arc::new(Passed::default());
        chain.ahead_nanos = wall_clock.ahead_nanos;
        let (states_end, data_dir) = kept.write_states_of(&mut chain)?;
        let (swaps, swapped) = mpsc::channel(1);
        let chain_end = spawn_chain(chain, chain_inputs, swapped, sink, passed.clone())?;
        let mut sensor_tasks = JoinSet::new();
        let to = Sampling { clock, out: observed, counts: counts.clone(), stop: sensors_stopped };
        prepared.sources.spawn(&mut sensor_tasks, &to);
        sensor_tasks.spawn(tick(to.clone(), wall_clock));
        let health = Health {
            begun,
            counts: counts.clone(),
            passed: passed.clone(),
            spool: spool.clone(),
            intake,
            links,
        };
        uplink_tasks.spawn(health.tell(uplinks_stopped));
        tracing::info!(
            device = pipeline.device,
            sensors = series.len(),
            stages = pipeline.stages.len(),
            "Running."
        );
        if let (Some((file, at)), Some(hangups)) = (prepared.reload, hangups) {
            let (engine, found, series) = (prepared.engine, prepared.found, series.clone());
            let running = Arc::new(pipeline.without_code());
            let reload = Reload { file, engine, series, found, running, swaps };
            if recording.is_some() {
                sensor_tasks.spawn(refuse(hangups, to.stop));
            } else {
                sensor_tasks.spawn(reload.run(at, hangups, to.stop));
            }
        }
        Ok(Running {
            stop_sensors,
            stop_uplinks,
            stop_hub,
            sensor_tasks,
            uplink_tasks,
            status_tasks,
            _hub_task: hub_task,
            chain_end,
            has_chain_ended: false,
            recording,
            states_end,
            _data_dir: data_dir,
            counts,
            passed,
            spool,
            begun_after,
            places,
        })
    }

    /// Waits for a part that ends before it is told to: none does, unless it panics.
    async fn ended(&mut self) -> LiveError {
        tokio::select! {
            _ = &mut self.chain_end => {
                self.has_chain_ended = true;
                LiveError::Ended("chain")
            }
            _ = self.uplink_tasks.join_next(), if !self.uplink_tasks.is_empty() => LiveError::Ended("uplink"),
        }
    }

    async fn stop(mut self) {
        let deadline = tokio::time::Instant::now() + STOP_DEADLINE;
        self.stop_sensors.stop();
        // With its last sender gone the chain ends when its queue is empty, or when it is told to leave the rest.
        let chain = async {
            all(&mut self.sensor_tasks).await;
            if !self.has_chain_ended {
                drop((&mut self.chain_end).await);
                self.has_chain_ended = true;
            }
        };
        if tokio::time::timeout(CHAIN_DEADLINE, chain).await.is_err() {
            self.passed.abandon();
        }
        self.stop_uplinks.stop();
        let rest = async {
            if !self.has_chain_ended {
                // It holds the pins: they go off when it ends.
                drop((&mut self.chain_end).await);
            }
            all(&mut self.uplink_tasks).await;
            all(&mut self.status_tasks).await;
        };
        let states_end = self.states_end.take();
        let written = async {
            if let Some(end) = states_end {
                // A disk that hangs is left behind.
                drop(end.await);
            }
        };
        let rest = async { tokio::join!(rest, written) };
        if tokio::time::timeout_at(deadline, rest).await.is_err() {
            tracing::warn!("Not everything ended within {STOP_DEADLINE:?}.");
        }
        if tokio::time::timeout(SPOOL_DEADLINE, self.spool.close()).await.is_err() {
            tracing::error!("The spool lacks its last messages: the disk took too long.");
        }
        if let Some(Recording { recorder, end }) = self.recording.take() {
            recorder.close();
            if tokio::time::timeout(RECORDING_DEADLINE, end).await.is_err() {
                tracing::error!("The recording lacks its end: the disk took too long.");
            }
        }
        self.stop_hub.stop();
        self.report();
    }

    /// The last line: where every reading went. With two uplinks each message counts for both.
    fn report(&self) {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let state = self.spool.state();
        let numbered = state.last.saturating_sub(self.begun_after);
        let (mut delivered, mut not_delivered) = (0, 0);
        for (place, waited) in &self.places {
            let undelivered = place.state().queued + state.dropped;
            not_delivered += undelivered;
            delivered += (waited + numbered).saturating_sub(undelivered);
        }
        let taken = count(&self.counts.taken);
        let missed_cycles = count(&self.counts.missed_cycles);
        // A stage that is still at work on the last ones has not handed them on.
        let not_passed = taken.saturating_sub(count(&self.passed.measurements));
        let kept_back = count(&self.passed.kept_back);
        let messages = count(&self.passed.messages);
        let kept = if state.memory_only.is_none() { " and kept" } else { "" };
        tracing::info!(
            taken,
            not_passed,
            kept_back,
            messages,
            delivered,
            not_delivered,
            missed_cycles,
            "Stopped: {taken} readings and faults taken; {delivered} messages delivered, {not_delivered} not delivered{kept}."
        );
    }
}

/// A run that is being recorded.
struct Recording {
    recorder: Arc<Recorder>,
    /// Told when everything is written.
    end: oneshot::Receiver<()>,
}

/// Waits for all tasks; one that panicked is told of.
async fn all(tasks: &mut JoinSet<()>) {
    while let Some(ended) = tasks.join_next().await {
        if let Err(error) = ended {
            tracing::error!("A task ended badly: {error}.");
        }
    }
}
