//! Where a replay is not the run that was recorded: said, and allowed for.

use super::cast::Cast;
use crate::pipeline::record::Header;
use crate::pipeline::{Pipeline, Stage};
use crate::plugin::Calls;

/// What a stage of this replay was in the recording.
pub(super) struct Act {
    /// Its position there; none when it had another plugin or was not there.
    pub(super) recorded: Option<usize>,
    /// Whether its plugin is the same file.
    pub(super) is_same: bool,
    /// Its calls, and which of them end.
    pub(super) calls: Calls,
}

pub(super) fn acts(header: &Header, stages: &[Stage]) -> Vec<Act> {
    let acts = stages.iter().map(|stage| {
        let recorded = header.stages.iter().position(|recorded| recorded.stage == stage.name);
        let of_recording = recorded.and_then(|position| header.stages.get(position));
        let is_same = of_recording.is_some_and(|recorded| recorded.is_of(&stage.plugin));
        // Another plugin cannot go on from the state of this one.
        let is_kin = of_recording.is_some_and(|r| r.plugin == stage.plugin.manifest.name);
        Act { recorded: recorded.filter(|_| is_kin), is_same, calls: Calls::default() }
    });
    acts.collect()
}

/// Says where this is not the run that was recorded. It is replayed all the same: that is what one records for.
pub(super) fn tell_differences(
    pipeline: &Pipeline,
    header: &Header,
    stages: &[Stage],
    cast: &Cast,
    warn: &mut impl FnMut(String),
) {
    for (position, sensor) in pipeline.sensors.iter().enumerate() {
        if !cast.players.iter().any(|player| player.sensor == Some(position)) {
            warn(format!("the recording has no sensor `{}`: it is left out", sensor.name));
        }
    }
    for recorded in &header.stages {
        let name = recorded.stage.escape_debug();
        let Some(stage) = stages.iter().find(|stage| stage.name == recorded.stage) else {
            warn(format!("the recorded run had a stage `{name}`, and this one has not"));
            continue;
        };
        if !recorded.is_of(&stage.plugin) {
            let (was, is) = (&recorded, &stage.plugin.manifest);
            warn(format!(
                "stage `{name}`: plugin `{}` {} is another file than the recorded `{}` {}",
                is.name,
                is.version,
                was.plugin.escape_debug(),
                was.version.escape_debug()
            ));
        } else if recorded.settings.get() != stage.settings {
            warn(format!("stage `{name}`: its settings are others than the recorded ones"));
        }
    }
    for stage in stages {
        if !header.stages.iter().any(|recorded| recorded.stage == stage.name) {
            warn(format!("the recorded run had no stage `{}`", stage.name));
        }
    }
    let is_there = |name: &str| stages.iter().any(|stage| stage.name == name);
    let was = header.stages.iter().map(|s| s.stage.as_str()).filter(|name| is_there(name));
    let was_there = |name: &&str| header.stages.iter().any(|recorded| recorded.stage == *name);
    if !was.eq(stages.iter().map(|stage| stage.name.as_str()).filter(was_there)) {
        warn("the stages run in another order than the recorded ones".to_owned());
    }
}
