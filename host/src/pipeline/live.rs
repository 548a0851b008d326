//! A pipeline on real time: sensors → chain thread → spools → uplinks, and outputs and a hub beside it.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::chain::{Chain, StartError};
use super::health::Health;
use super::sink::{Passed, Sink, spawn_chain};
use super::sources::Sources;
use super::ticks::tick;
use super::{Pipeline, Shows};
use crate::clock::Clock;
use crate::hub;
use crate::output::{AlarmOutputs, Pin, PinError, PinSettings, open, show_status};
use crate::plugin::{CompileError, Engine};
use crate::reading::{Series, WallClock};
use crate::sensor::recording::RecordingError;
use crate::sensor::w1::scan;
use crate::sensor::{Sampled, Sampling, SystemPaths};
use crate::spool::{MEMORY_BYTES, MemorySpool, Spool};
use crate::stop;
use crate::uplink::wire::Connect;
use crate::uplink::{self, Endpoint, LinkState, Scribe, WebSocketUplink, read_token};

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
}

/// Why a checked pipeline does not run.
#[derive(Debug, thiserror::Error)]
pub enum LiveError {
    /// The engine did not start.
    #[error("the plugin engine does not start")]
    Engine(#[source] CompileError),
    /// A stage did not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// A pin cannot be had.
    #[error(transparent)]
    Pin(#[from] PinError),
    /// The dashboard's address is taken.
    #[error("[dashboard]")]
    Dashboard(#[source] io::Error),
    /// The token cannot be read.
    #[error("[uplink]: cannot use the token file {}", file.display())]
    Token {
        /// Which file.
        file: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A recording cannot be read.
    #[error("sensor `{sensor}`: recording {}", file.display())]
    Recording {
        /// Whose.
        sensor: String,
        /// Which file.
        file: PathBuf,
        /// Why.
        #[source]
        source: RecordingError,
    },
    /// A recording does not have the sensor.
    #[error("sensor `{sensor}`: the recording {} has no sensor `{column}` (it has: {})", file.display(), known.join(", "))]
    NotRecorded {
        /// Whose.
        sensor: String,
        /// Which file.
        file: PathBuf,
        /// What was looked for.
        column: String,
        /// What there is.
        known: Vec<String>,
    },
    /// `id = "all"`, and there is none.
    #[error("there is no thermometer in {}: `weir sensors` says why", folder.display())]
    NoThermometer {
        /// Where they were looked for.
        folder: PathBuf,
    },
    /// A part of the host ended by itself.
    #[error("the {0} ended, though nobody stopped it: this is a mistake in the host")]
    Ended(&'static str),
    /// A thread or a signal handler cannot be had.
    #[error("the system does not give what is needed")]
    System(#[from] io::Error),
}

/// Runs a pipeline until a signal or its duration ends it. `ready` is told the dashboard's address.
pub async fn run(
    mut pipeline: Pipeline,
    options: &LiveOptions,
    ready: impl FnOnce(Option<SocketAddr>),
) -> Result<(), Vec<LiveError>> {
    let begun = Instant::now();
    let clock = Clock::start();
    // All that can be refused is refused before anything starts, and all of it is told together.
    let mut refused = Refusals::default();
    let taken_in = refused.of(take_in_all(&mut pipeline, &options.system));
    let sources = refused.of(Sources::open(&pipeline, &options.system));
    let series = sources
        .as_ref()
        .map_or_else(|| pipeline.series().into(), |sources| sources.series(&pipeline));
    let chain = match Engine::start() {
        Ok(engine) => refused.of_all(Chain::start(&engine, &pipeline.stages, &series)),
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
    let signals = refused.of(Signals::new());
    let (
        Some(()),
        Some(sources),
        Some(chain),
        Some((alarm_outputs, status_pins)),
        Some(token),
        Some(dashboard),
        Some(mut signals),
    ) = (taken_in, sources, chain, outputs, token, dashboard, signals)
    else {
        return Err(refused.errors);
    };
    let uplinks = uplinks(&pipeline, &series, token, dashboard.as_ref());

    // Three stops, one after the other, so that nothing in flight is lost.
    let (stop_sensors, sensors_stopped) = stop::channel();
    let (stop_uplinks, uplinks_stopped) = stop::channel();
    let (stop_hub, hub_stopped) = stop::channel();
    let address = dashboard.as_ref().and_then(|listener| listener.local_addr().ok());
    let mut hub_task = JoinSet::new();
    if let Some(listener) = dashboard {
        hub_task.spawn(hub::serve(listener, hub_stopped));
    }
    let spools: Vec<Arc<dyn Spool>> = uplinks.iter().map(|uplink| uplink.spool.clone()).collect();
    let mut uplink_tasks = JoinSet::new();
    let mut links = Vec::new();
    for uplink in uplinks {
        let (link, state) = watch::channel(LinkState::Down);
        links.push(state);
        uplink_tasks.spawn(uplink::run(uplink, link, uplinks_stopped.clone()));
    }
    let mut status_tasks = JoinSet::new();
    for pin in status_pins {
        status_tasks.spawn(show_status(pin, links.clone(), uplinks_stopped.clone()));
    }

    let counts = Arc::new(Sampled::default());
    let (observed, chain_inputs) = mpsc::channel(CHAIN_QUEUE);
    let wall_clock = clock.look(WallClock::default());
    let sink = Sink {
        stages: pipeline.stages.iter().map(|stage| stage.name.as_str().into()).collect(),
        scribe: Scribe { series: series.clone(), wall_clock },
        spools: spools.clone(),
        outputs: alarm_outputs,
    };
    let passed = Arc::new(Passed::default());
    let mut chain_end = spawn_chain(chain, chain_inputs, sink, passed.clone())
        .map_err(|e| vec![LiveError::System(e)])?;
    let mut sensor_tasks = JoinSet::new();
    let to = Sampling { clock, out: observed, counts: counts.clone(), stop: sensors_stopped };
    sources.spawn(&mut sensor_tasks, &to);
    sensor_tasks.spawn(tick(to, wall_clock));
    let health =
        Health { begun, counts: counts.clone(), passed: passed.clone(), spools: spools.clone() };
    uplink_tasks.spawn(health.tell(uplinks_stopped));
    tracing::info!(
        device = pipeline.device,
        sensors = series.len(),
        stages = pipeline.stages.len(),
        "Running."
    );
    ready(address);

    let why = tokio::select! {
        why = signals.wait(options.duration) => Ok(why),
        // Neither ends before it is told to, unless it panics.
        _ = &mut chain_end => Err(LiveError::Ended("chain")),
        _ = uplink_tasks.join_next(), if !uplink_tasks.is_empty() => Err(LiveError::Ended("uplink")),
    };
    tracing::info!("Stopping: {}.", why.as_ref().unwrap_or(&"something ended that should not"));
    let deadline = tokio::time::Instant::now() + STOP_DEADLINE;
    stop_sensors.stop();
    // With its last sender gone the chain ends when its queue is empty, or when it is told to leave the rest.
    let chain = async {
        all(&mut sensor_tasks).await;
        if why.is_ok() {
            drop((&mut chain_end).await);
        }
    };
    let chain_ended = tokio::time::timeout(CHAIN_DEADLINE, chain).await.is_ok();
    if !chain_ended {
        passed.abandon();
    }
    stop_uplinks.stop();
    let rest = async {
        if !chain_ended {
            // It holds the pins: they go off when it ends.
            drop((&mut chain_end).await);
        }
        all(&mut uplink_tasks).await;
        all(&mut status_tasks).await;
    };
    if tokio::time::timeout_at(deadline, rest).await.is_err() {
        tracing::warn!("Not everything ended within {STOP_DEADLINE:?}.");
    }
    stop_hub.stop();
    report(&counts, &passed, &spools);
    why.map(|_| ()).map_err(|error| vec![error])
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

/// What stands in the way of a start.
#[derive(Default)]
struct Refusals {
    errors: Vec<LiveError>,
}

impl Refusals {
    fn of<T>(&mut self, result: Result<T, impl Into<LiveError>>) -> Option<T> {
        self.of_all(result.map_err(|error| vec![error]))
    }

    fn of_all<T>(&mut self, result: Result<T, Vec<impl Into<LiveError>>>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(errors) => {
                self.errors.extend(errors.into_iter().map(Into::into));
                None
            }
        }
    }
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

type Outputs = (AlarmOutputs, Vec<Box<dyn Pin>>);

fn open_outputs(pipeline: &Pipeline) -> Result<Outputs, Vec<PinError>> {
    let mut alarms = AlarmOutputs::default();
    let mut status = Vec::new();
    let mut refused = Vec::new();
    for output in &pipeline.outputs {
        let settings = PinSettings {
            gpio: output.gpio,
            active_low: output.active_low,
            simulate: output.simulate,
        };
        match (open(settings), &output.shows) {
            (Ok(pin), Shows::Status) => status.push(pin),
            (Ok(pin), Shows::Alarm(name)) => {
                if let Some(stage) = pipeline.stages.iter().position(|stage| stage.name == *name) {
                    alarms.add(stage, pin);
                }
            }
            (Err(error), _) => refused.push(error),
        }
    }
    if refused.is_empty() { Ok((alarms, status)) } else { Err(refused) }
}

fn read_uplink_token(pipeline: &Pipeline) -> Result<Option<String>, LiveError> {
    let Some(file) = pipeline.uplink.as_ref().and_then(|uplink| uplink.token_file.as_ref()) else {
        return Ok(None);
    };
    let token =
        read_token(file).map_err(|source| LiveError::Token { file: file.clone(), source })?;
    Ok(Some(token))
}

/// The uplink of the file first, then the one to the hub inside this process: the same code, over loopback.
fn uplinks(
    pipeline: &Pipeline,
    series: &[Series],
    token: Option<String>,
    dashboard: Option<&TcpListener>,
) -> Vec<WebSocketUplink> {
    let mut targets = Vec::new();
    if let Some(uplink) = &pipeline.uplink {
        targets.push((uplink.endpoint.clone(), token));
    }
    if let Some(mut address) = dashboard.and_then(|listener| listener.local_addr().ok()) {
        if address.ip().is_unspecified() {
            address.set_ip(match address {
                SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
                SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
            });
        }
        let own = Endpoint::parse(&format!("ws://{address}/uplink"));
        targets.extend(own.map(|endpoint| (endpoint, None)));
    }
    let uplinks = targets.into_iter().map(|(endpoint, token)| {
        let spool = Arc::new(MemorySpool::new(MEMORY_BYTES));
        let connect = Connect::new(&pipeline.device, spool.stream(), series);
        WebSocketUplink { endpoint, token, connect, spool }
    });
    uplinks.collect()
}

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
