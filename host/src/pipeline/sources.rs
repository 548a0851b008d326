//! Where a live pipeline's readings come from: buses and recordings, opened before the start.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::live::LiveError;
use super::{Driver, Pipeline};
use crate::file;
use crate::reading::Input;
use crate::sensor::recording::{self, RecordingError};
use crate::sensor::{
    Bus, BusDriver, BusSensor, Replay, Sampled, Simulated, W1Sensor, bus_of, sample,
};
use crate::stop::Stop;

/// Where the readings come from.
pub(super) struct Sources {
    buses: Vec<Bus>,
    replays: Vec<Replay>,
}

impl Sources {
    pub(super) fn open(pipeline: &Pipeline, w1_root: &Path) -> Result<Sources, LiveError> {
        // Sensors of one bus and one interval make one cycle; buses run beside each other.
        let mut buses: BTreeMap<(Option<PathBuf>, Duration), Vec<BusSensor>> = BTreeMap::new();
        let mut replays: BTreeMap<(PathBuf, u64), Replay> = BTreeMap::new();
        for (series, sensor) in (0_u32..).zip(&pipeline.sensors) {
            match &sensor.driver {
                Driver::Ds18b20 { id, interval } => {
                    let driver = BusDriver::W1(W1Sensor::new(w1_root, *id));
                    let bus = buses.entry((Some(bus_of(w1_root, *id)), *interval)).or_default();
                    bus.push(BusSensor { series, driver });
                }
                Driver::Simulated { settings, interval } => {
                    let driver = BusDriver::Simulated(Box::new(Simulated::new(settings.clone())));
                    buses.entry((None, *interval)).or_default().push(BusSensor { series, driver });
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
        let buses = buses.into_iter().map(|((_, interval), sensors)| Bus { interval, sensors });
        Ok(Sources { buses: buses.collect(), replays: replays.into_values().collect() })
    }

    pub(super) fn spawn(
        self,
        tasks: &mut JoinSet<()>,
        inputs: &mpsc::Sender<Input>,
        counts: &Arc<Sampled>,
        stop: &Stop,
    ) {
        for bus in self.buses {
            tasks.spawn(sample(bus, inputs.clone(), counts.clone(), stop.clone()));
        }
        for replay in self.replays {
            tasks.spawn(replay.play(inputs.clone(), counts.clone(), stop.clone()));
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
