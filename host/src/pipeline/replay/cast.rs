//! Who plays: the series of a recording, and which sensors of the pipeline they are.

use std::collections::BTreeMap;

use super::{Naming, ReplayError, quoted};
use crate::pipeline::{Pipeline, Sensor, Stage};

/// The series of a replay.
pub(super) struct Cast {
    /// In the pipeline's order, then the adopted ones in the recording's: the order must not depend on anything else.
    pub(super) players: Vec<Player>,
}

/// One series of a replay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Player {
    /// The recording's number of its name.
    pub(super) name: usize,
    /// The pipeline's number of its sensor; an adopted one has none.
    pub(super) sensor: Option<usize>,
}

/// Finds for each name of a recording the sensor of the pipeline.
pub(super) fn cast(
    pipeline: &Pipeline,
    names: &[String],
    naming: &Naming,
) -> Result<Cast, ReplayError> {
    let position =
        |name: &str| pipeline.sensors.iter().position(|sensor: &Sensor| &*sensor.name == name);
    for (name, sensor) in &naming.map {
        let wrong =
            |why: String| ReplayError::Map { name: name.clone(), sensor: sensor.clone(), why };
        if !names.contains(name) {
            return Err(wrong(format!(
                "the recording has no sensor `{name}` (it has {})",
                quoted(names)
            )));
        }
        if position(sensor).is_none() {
            return Err(wrong(format!(
                "the pipeline has no sensor `{sensor}` (it has {})",
                quoted(&known(pipeline))
            )));
        }
    }
    for (position, (name, sensor)) in naming.map.iter().enumerate() {
        if naming.map.iter().skip(position + 1).any(|(other, _)| other == name) {
            let why = "the name is mapped more than once".to_owned();
            return Err(ReplayError::Map { name: name.clone(), sensor: sensor.clone(), why });
        }
    }
    let mut sensor_of_name = Vec::new();
    let mut unknown = Vec::new();
    for name in names {
        let mapped =
            naming.map.iter().find(|(from, _)| from == name).map_or(name, |(_, sensor)| sensor);
        let sensor = position(mapped);
        if sensor.is_some() && sensor_of_name.contains(&sensor) {
            let why = "another name of the recording is this sensor already".to_owned();
            return Err(ReplayError::Map { name: name.clone(), sensor: mapped.clone(), why });
        }
        if sensor.is_none() && !naming.adopt {
            unknown.push(name.clone());
        }
        sensor_of_name.push(sensor);
    }
    if !unknown.is_empty() {
        return Err(ReplayError::Unknown { unknown, known: known(pipeline) });
    }
    let players = sensor_of_name.into_iter().enumerate();
    let mut players: Vec<Player> = players.map(|(name, sensor)| Player { name, sensor }).collect();
    players.sort_by_key(|player| (player.sensor.is_none(), player.sensor));
    Ok(Cast { players })
}

fn known(pipeline: &Pipeline) -> Vec<String> {
    pipeline.sensors.iter().map(|sensor| sensor.name.to_string()).collect()
}

impl Cast {
    /// The series' numbers in this replay, by the recording's.
    pub(super) fn number_of_name(&self) -> Vec<u32> {
        let mut numbers = vec![0; self.players.len()];
        for (number, player) in (0_u32..).zip(&self.players) {
            if let Some(of_name) = numbers.get_mut(player.name) {
                *of_name = number;
            }
        }
        numbers
    }

    /// The pipeline's stages as this replay needs them: without those of which no sensor plays.
    pub(super) fn stages(&self, pipeline: &Pipeline) -> Vec<Stage> {
        let numbers = self.players.iter().enumerate();
        let number_of_sensor: BTreeMap<usize, usize> =
            numbers.filter_map(|(number, player)| Some((player.sensor?, number))).collect();
        let stages = pipeline.stages.iter();
        stages.filter_map(|stage| self.stage(stage, &number_of_sensor)).collect()
    }

    /// A stage for which the file names no sensors is for adopted ones too.
    fn stage(&self, stage: &Stage, number_of_sensor: &BTreeMap<usize, usize>) -> Option<Stage> {
        let known = stage.sensors.iter();
        let mut sensors: Vec<usize> =
            known.filter_map(|sensor| number_of_sensor.get(sensor).copied()).collect();
        if stage.is_for_all {
            sensors.extend(number_of_sensor.len()..self.players.len());
        }
        if sensors.is_empty() {
            return None;
        }
        Some(Stage { sensors, ..stage.clone() })
    }
}
