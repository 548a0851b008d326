//! Where a live pipeline's readings come from: drivers and recordings, opened before the start.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use super::live::LiveError;
use super::{Driver, Pipeline};
use crate::file;
use crate::reading::Series;
use crate::sensor::recording::{self, RecordingError};
use crate::sensor::w1::{W1, W1Sensor, sample_w1};
use crate::sensor::{AttributeDevice, Channel, Class, Replay, Sampling, Schedule};
use crate::sensor::{Simulated, SimulatedSensors, SystemPaths, sample};

/// Where the readings come from.
pub(super) struct Sources {
    w1: W1,
    simulated: Vec<(u32, Simulated)>,
    simulated_intervals: Vec<Duration>,
    devices: Vec<(AttributeDevice, Vec<Duration>)>,
    replays: Vec<Replay>,
}

/// The channels of each device, with their series and intervals.
type Channels<'p> = BTreeMap<(Class, &'p str), (Vec<(u32, Channel)>, Vec<Duration>)>;

impl Sources {
    pub(super) fn open(pipeline: &Pipeline, system: &SystemPaths) -> Result<Sources, LiveError> {
        let (mut w1, mut simulated, mut simulated_intervals) = (Vec::new(), Vec::new(), Vec::new());
        let mut channels = Channels::new();
        let mut replays: BTreeMap<(PathBuf, u64), Replay> = BTreeMap::new();
        for (series, sensor) in (0_u32..).zip(&pipeline.sensors) {
            match &sensor.driver {
                Driver::Ds18b20 { id, interval, settings } => w1.push(W1Sensor {
                    series,
                    name: sensor.name.to_string(),
                    id: *id,
                    interval: *interval,
                    settings: *settings,
                }),
                Driver::Attribute { class, device, channel, interval } => {
                    let (of_device, intervals) = channels.entry((*class, device)).or_default();
                    of_device.push((series, channel.clone()));
                    intervals.push(*interval);
                }
                Driver::Simulated { settings, interval } => {
                    simulated.push((series, Simulated::new(settings.clone())));
                    simulated_intervals.push(*interval);
                }
                Driver::Replay { file, column, speed } => {
                    let replay = match replays.entry((file.clone(), speed.to_bits())) {
                        Entry::Occupied(known) => known.into_mut(),
                        Entry::Vacant(new) => new.insert(open_replay(&sensor.name, file, *speed)?),
                    };
                    let names = &replay.recording.names;
                    let Some(number) = names.iter().position(|name| name == column) else {
                        return Err(LiveError::NotRecorded {
                            sensor: sensor.name.to_string(),
                            file: file.clone(),
                            column: column.clone(),
                            known: names.clone(),
                        });
                    };
                    if let Some(of_name) = replay.series.get_mut(number) {
                        of_name.push(series);
                    }
                }
            }
        }
        let device = |((class, device), (channels, intervals))| {
            (AttributeDevice::new(&system.root, class, device, channels), intervals)
        };
        Ok(Sources {
            devices: channels.into_iter().map(device).collect(),
            w1: W1::new(&system.w1, w1),
            simulated,
            simulated_intervals,
            replays: replays.into_values().collect(),
        })
    }

    /// The series, with the addresses that were found.
    pub(super) fn series(&self, pipeline: &Pipeline) -> Arc<[Series]> {
        let mut series = pipeline.series();
        for (number, id) in self.w1.addresses() {
            if let Some(series) = series.get_mut(number as usize) {
                series.id = Some(id.to_string().into());
            }
        }
        series.into()
    }

    pub(super) fn spawn(self, tasks: &mut JoinSet<()>, to: &Sampling) {
        tasks.spawn(sample_w1(self.w1, to.clone()));
        // Schedules begin here: plugins were compiled since the sources were opened.
        let schedule = Schedule::new(self.simulated_intervals);
        tasks.spawn(sample(SimulatedSensors::new(self.simulated), schedule, to.clone()));
        for (device, intervals) in self.devices {
            tasks.spawn(sample(device, Schedule::new(intervals), to.clone()));
        }
        for replay in self.replays {
            tasks.spawn(replay.play(to.clone()));
        }
    }
}

fn open_replay(sensor: &str, path: &Path, speed: f64) -> Result<Replay, LiveError> {
    let failed = |source| LiveError::Recording {
        sensor: sensor.to_owned(),
        file: path.to_path_buf(),
        source,
    };
    let bytes =
        file::read(path, recording::LONGEST_FILE).map_err(|e| failed(RecordingError::Read(e)))?;
    let recording = recording::read(bytes.as_slice(), |_| {}).map_err(failed)?;
    if recording.problems > 0 {
        let (file, rows) = (path.display(), recording.problems);
        tracing::warn!(sensor, %file, rows, "The recording has bad rows; `weir replay` names them.");
    }
    let series = vec![Vec::new(); recording.names.len()];
    Ok(Replay { recording, series, speed })
}
