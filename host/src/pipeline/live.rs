//! A pipeline on real time: sensors → chain thread → spools → uplinks, and outputs and a hub beside it.

mod kept;
mod refusals;
mod signals;
mod ways_out;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

use self::kept::Kept;
pub use refusals::LiveError;
pub use signals::Signals;

use self::refusals::Refusals;
use self::ways_out::{open_outputs, read_uplink_token, uplinks};
use super::Pipeline;
use super::chain::Chain;
use super::health::Health;
use super::sink::{Passed, Sink, spawn_chain};
use super::sources::Sources;
use super::ticks::tick;
use crate::clock::Clock;
use crate::data_dir::DataDir;
use crate::hub;
use crate::output::{AlarmOutputs, Pin, show_status};
use crate::plugin::Engine;
use crate::reading::{Series, WallClock};
use crate::sensor::w1::scan;
use crate::sensor::{Sampled, Sampling, SystemPaths};
use crate::spool::Spool;
use crate::stop::{self, Stopper};
use crate::uplink::{self, LinkState, Scribe};

/// Most batches and ticks that wait for the chain. When it is full, sampling waits and counts the cycles it misses.
const CHAIN_QUEUE: usize = 64;
/// The chain has this long to empty its queue when the pipeline stops; then it leaves the rest, which is counted.
const CHAIN_DEADLINE: Duration = Duration::from_millis(400);
/// The chain and the uplinks together end within this, so that a stop takes less than two seconds.
const STOP_DEADLINE: Duration = Duration::from_millis(1_700);

/// What `weir run` can be told beside the file.
#[derive(Clone, Debug)]
pub struct LiveOptions {
    /// Where sensors are looked for.
    pub system: SystemPaths,
    /// Stops by itself after this.
    pub duration: Option<Duration>,
    /// The folder for what must outlive the process; without it that stays in memory.
    pub data_dir: Option<PathBuf>,
}

/// Runs a pipeline until a signal or its duration ends it. `ready` is told the dashboard's address.
pub async fn run(
    pipeline: Pipeline,
    options: &LiveOptions,
    ready: impl FnOnce(Option<SocketAddr>),
) -> Result<(), Vec<LiveError>> {
    let begun = Instant::now();
    let prepared = Prepared::new(pipeline, options).await?;
    let address = prepared.dashboard.as_ref().and_then(|listener| listener.local_addr().ok());
    let mut signals = Signals::new().map_err(|e| vec![LiveError::System(e)])?;
    let mut running = Running::start(prepared, begun).map_err(|e| vec![LiveError::System(e)])?;
    ready(address);
    let why = tokio::select! {
        why = signals.wait(options.duration) => Ok(why),
        ended = running.ended() => Err(ended),
    };
    tracing::info!("Stopping: {}.", why.as_ref().unwrap_or(&"something ended that should not"));
    running.stop().await;
    why.map(|_| ()).map_err(|error| vec![error])
}

/// All that a run needs, checked and taken hold of. Nothing of it goes on by itself yet.
struct Prepared {
    pipeline: Pipeline,
    kept: Kept,
    clock: Clock,
    series: Arc<[Series]>,
    sources: Sources,
    chain: Chain,
    outputs: AlarmOutputs,
    status_pins: Vec<Box<dyn Pin>>,
    token: Option<String>,
    dashboard: Option<TcpListener>,
}

impl Prepared {
    /// All that can be refused is refused before anything starts, and all of it is told together.
    async fn new(
        mut pipeline: Pipeline,
        options: &LiveOptions,
    ) -> Result<Prepared, Vec<LiveError>> {
        let mut refused = Refusals::default();
        // Before the clock, which must not go back behind what is kept.
        let kept = refused.of(Kept::open(options.data_dir.as_deref(), &pipeline.stages));
        let clock = Clock::start_after(kept.as_ref().map(Kept::latest).unwrap_or_default());
        let taken_in = refused.of(take_in_all(&mut pipeline, &options.system));
        let sources = refused.of(Sources::open(&pipeline, &options.system));
        let series = sources
            .as_ref()
            .map_or_else(|| pipeline.series().into(), |sources| sources.series(&pipeline));
        let states = kept.as_ref().map(|kept| kept.states.clone()).unwrap_or_default();
        let chain = match Engine::start() {
            Ok(engine) => {
                refused.of_all(Chain::start_from(&engine, &pipeline.stages, &series, &states))
            }
            Err(error) => refused.of(Err(LiveError::Engine(error))),
        };
        let outputs = refused.of_all(open_outputs(&pipeline));
        let token = refused.of(read_uplink_token(&pipeline));
        let dashboard = match pipeline.dashboard {
            Some(address) => {
                refused.of(hub::bind(address).await.map_err(LiveError::Dashboard)).map(Some)
            }
            None => Some(None),
        };
        let (
            Some(kept),
            Some(()),
            Some(sources),
            Some(chain),
            Some((outputs, status_pins)),
            Some(token),
            Some(dashboard),
        ) = (kept, taken_in, sources, chain, outputs, token, dashboard)
        else {
            return Err(refused.errors);
        };
        Ok(Prepared {
            pipeline,
            kept,
            clock,
            series,
            sources,
            chain,
            outputs,
            status_pins,
            token,
            dashboard,
        })
    }
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
    /// Hears when the last states are written.
    states_end: Option<oneshot::Receiver<()>>,
    /// Locked until all is over.
    _data_dir: Option<DataDir>,
    counts: Arc<Sampled>,
    passed: Arc<Passed>,
    spools: Vec<Arc<dyn Spool>>,
}

impl Running {
    fn start(prepared: Prepared, begun: Instant) -> io::Result<Running> {
        let Prepared { pipeline, kept, clock, series, dashboard, mut chain, .. } = prepared;
        let uplinks = uplinks(&pipeline, &series, prepared.token, dashboard.as_ref());
        let (stop_sensors, sensors_stopped) = stop::channel();
        let (stop_uplinks, uplinks_stopped) = stop::channel();
        let (stop_hub, hub_stopped) = stop::channel();
        let mut hub_task = JoinSet::new();
        if let Some(listener) = dashboard {
            hub_task.spawn(hub::serve(listener, hub_stopped));
        }
        let spools: Vec<Arc<dyn Spool>> =
            uplinks.iter().map(|uplink| uplink.spool.clone()).collect();
        let mut uplink_tasks = JoinSet::new();
        let mut links = Vec::new();
        for uplink in uplinks {
            let (link, state) = watch::channel(LinkState::Down);
            links.push(state);
            uplink_tasks.spawn(uplink::run(uplink, link, uplinks_stopped.clone()));
        }
        let mut status_tasks = JoinSet::new();
        for pin in prepared.status_pins {
            status_tasks.spawn(show_status(pin, links.clone(), uplinks_stopped.clone()));
        }

        let counts = Arc::new(Sampled::default());
        let (observed, chain_inputs) = mpsc::channel(CHAIN_QUEUE);
        let wall_clock = clock.look(WallClock::default());
        let sink = Sink {
            stages: pipeline.stages.iter().map(|stage| stage.name.as_str().into()).collect(),
            scribe: Scribe { series: series.clone(), wall_clock },
            spools: spools.clone(),
            outputs: prepared.outputs,
        };
        let passed = Arc::new(Passed::default());
        let (states_end, data_dir) = kept.write_states_of(&mut chain)?;
        let chain_end = spawn_chain(chain, chain_inputs, sink, passed.clone())?;
        let mut sensor_tasks = JoinSet::new();
        let to = Sampling { clock, out: observed, counts: counts.clone(), stop: sensors_stopped };
        prepared.sources.spawn(&mut sensor_tasks, &to);
        sensor_tasks.spawn(tick(to, wall_clock));
        let health = Health {
            begun,
            counts: counts.clone(),
            passed: passed.clone(),
            spools: spools.clone(),
        };
        uplink_tasks.spawn(health.tell(uplinks_stopped));
        tracing::info!(
            device = pipeline.device,
            sensors = series.len(),
            stages = pipeline.stages.len(),
            "Running."
        );
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
            states_end,
            _data_dir: data_dir,
            counts,
            passed,
            spools,
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
        self.stop_hub.stop();
        report(&self.counts, &self.passed, &self.spools);
    }
}

/// Waits for all tasks; one that panicked is told of.
async fn all(tasks: &mut JoinSet<()>) {
    while let Some(ended) = tasks.join_next().await {
        if let Err(error) = ended {
            tracing::error!("A task ended badly: {error}.");
        }
    }
}

/// The last line: where every reading went. With two uplinks each message counts for both.
fn report(counts: &Sampled, passed: &Passed, spools: &[Arc<dyn Spool>]) {
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let (mut delivered, mut not_delivered) = (0, 0);
    for state in spools.iter().map(|spool| spool.state()) {
        let undelivered = state.queued + state.dropped;
        not_delivered += undelivered;
        delivered += state.last.saturating_sub(undelivered);
    }
    let taken = count(&counts.taken);
    let missed_cycles = count(&counts.missed_cycles);
    // A stage that is still at work on the last ones has not handed them on.
    let not_passed = taken.saturating_sub(count(&passed.measurements));
    let kept_back = count(&passed.kept_back);
    let messages = count(&passed.messages);
    tracing::info!(
        taken,
        not_passed,
        kept_back,
        messages,
        delivered,
        not_delivered,
        missed_cycles,
        "Stopped: {taken} readings and faults taken; {delivered} messages delivered, {not_delivered} not delivered."
    );
}

/// With `id = "all"` a pipeline without any thermometer would watch nothing and say nothing.
fn take_in_all(pipeline: &mut Pipeline, system: &SystemPaths) -> Result<(), LiveError> {
    if pipeline.all.is_none() {
        return Ok(());
    }
    let found = scan(&system.w1).unwrap_or_default();
    pipeline.take_in(found.into_keys());
    if pipeline.sensors.is_empty() {
        return Err(LiveError::NoThermometer { folder: system.w1.clone() });
    }
    Ok(())
}
