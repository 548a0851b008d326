//! Which alarms of a stage are active, as the world was told. Pure.

use std::collections::BTreeMap;

use crate::reading::{Alarm, AlarmState, Series, Timestamp};

use crate::pipeline::state::SavedAlarm;

/// Most conditions of one series that are kept. The standard alert has three; a plugin may invent any number.
const CONDITIONS: usize = 64;
/// Most alarms of one stage that are kept.
const ALARMS: usize = 4_096;

/// The active alarms of a stage. Series have the plugin's own numbers.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct ActiveAlarms {
    /// By series and condition: each as it was told last.
    alarms: BTreeMap<(u32, String), Alarm>,
}

/// What an alarm changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// It is active since now, or not any more.
    Told,
    /// It was active, or cleared, already.
    Nothing,
    /// There are too many: it is not kept.
    TooMany,
}

impl ActiveAlarms {
    /// The plugin told an alarm.
    pub(super) fn take(&mut self, alarm: &Alarm) -> Change {
        let key = (alarm.series, alarm.condition.clone());
        if alarm.state == AlarmState::Cleared {
            return if self.alarms.remove(&key).is_some() { Change::Told } else { Change::Nothing };
        }
        if let Some(known) = self.alarms.get_mut(&key) {
            *known = alarm.clone();
            return Change::Nothing;
        }
        let series = (alarm.series, String::new())..(alarm.series.saturating_add(1), String::new());
        if self.alarms.len() >= ALARMS || self.alarms.range(series).count() >= CONDITIONS {
            return Change::TooMany;
        }
        self.alarms.insert(key, alarm.clone());
        Change::Told
    }

    /// Those that `other` does not have.
    pub(super) fn beside(&self, other: &ActiveAlarms) -> Vec<Alarm> {
        let missing = self.alarms.iter().filter(|(key, _)| !other.alarms.contains_key(key));
        missing.map(|(_, alarm)| alarm.clone()).collect()
    }

    /// All of them.
    pub(super) fn all(&self) -> Vec<Alarm> {
        self.alarms.values().cloned().collect()
    }

    pub(super) fn len(&self) -> usize {
        self.alarms.len()
    }

    /// For the disk.
    pub(super) fn to_saved(&self, declared: &[Series]) -> Vec<SavedAlarm> {
        let saved = self.alarms.values().filter_map(|alarm| {
            let series = declared.get(alarm.series as usize)?;
            Some(SavedAlarm {
                sensor: series.sensor.to_string(),
                quantity: series.quantity.as_str().to_owned(),
                condition: alarm.condition.clone(),
                time: alarm.time.nanos,
                severity: alarm.severity,
                value: alarm.value,
                limit: alarm.limit,
            })
        });
        saved.collect()
    }

    /// From the disk, without those of sensors that the stage does not have any more.
    pub(super) fn from_saved(saved: &[SavedAlarm], declared: &[Series]) -> ActiveAlarms {
        let mut active = ActiveAlarms::default();
        for saved in saved {
            let is_its = |series: &Series| {
                *series.sensor == *saved.sensor && series.quantity.as_str() == saved.quantity
            };
            let position = declared.iter().position(is_its);
            let Some(series) = position.and_then(|at| u32::try_from(at).ok()) else { continue };
            active.take(&Alarm {
                series,
                time: Timestamp { nanos: saved.time },
                condition: saved.condition.clone(),
                state: AlarmState::Active,
                severity: saved.severity,
                value: saved.value,
                limit: saved.limit,
            });
        }
        active
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reading::{Quantity, Severity};

    fn alarm(series: u32, condition: &str, state: AlarmState) -> Alarm {
        Alarm {
            series,
            time: Timestamp { nanos: 7 },
            condition: condition.to_owned(),
            state,
            severity: Severity::Warning,
            value: Some(1.5),
            limit: None,
        }
    }

    fn active(series: u32, condition: &str) -> Alarm {
        alarm(series, condition, AlarmState::Active)
    }

    fn cleared(series: u32, condition: &str) -> Alarm {
        alarm(series, condition, AlarmState::Cleared)
    }

    #[test]
    fn a_repeat_is_no_change_and_the_last_one_told_is_kept() {
        let mut alarms = ActiveAlarms::default();
        assert_eq!(alarms.take(&cleared(0, "above")), Change::Nothing);
        assert_eq!(alarms.take(&active(0, "above")), Change::Told);
        let repeat = Alarm { value: Some(2.5), ..active(0, "above") };
        assert_eq!(alarms.take(&repeat), Change::Nothing);
        assert_eq!(alarms.all(), [repeat]);
        assert_eq!(alarms.take(&cleared(0, "above")), Change::Told);
        assert_eq!(alarms, ActiveAlarms::default());
    }

    #[test]
    fn alarms_are_compared_by_series_and_condition() {
        let mut before = ActiveAlarms::default();
        before.take(&active(0, "above"));
        before.take(&active(1, "missing"));
        let mut after = ActiveAlarms::default();
        after.take(&Alarm { value: None, ..active(1, "missing") });
        after.take(&active(1, "below"));
        assert_eq!(before.beside(&after), [active(0, "above")]);
        assert_eq!(after.beside(&before), [active(1, "below")]);
    }

    #[test]
    fn a_plugin_that_invents_conditions_is_bounded() {
        let mut alarms = ActiveAlarms::default();
        for number in 0..1_000 {
            let change = alarms.take(&active(3, &format!("c{number}")));
            assert_eq!(change == Change::TooMany, number >= CONDITIONS);
        }
        assert_eq!(alarms.take(&active(4, "above")), Change::Told);
        for series in 5..1_000 {
            for number in 0..CONDITIONS {
                alarms.take(&active(series, &format!("c{number}")));
            }
        }
        assert_eq!(alarms.len(), ALARMS);
    }

    #[test]
    fn alarms_find_their_sensor_by_its_name_when_numbers_change() {
        let series = |sensor: &str| Series {
            sensor: sensor.into(),
            id: None,
            quantity: Quantity::Temperature,
            interval: None,
        };
        let mut alarms = ActiveAlarms::default();
        alarms.take(&active(0, "above"));
        alarms.take(&active(1, "below"));
        let saved = alarms.to_saved(&[series("a"), series("b")]);
        let read = ActiveAlarms::from_saved(&saved, &[series("new"), series("b")]);
        assert_eq!(read.all(), [active(1, "below")]);
    }
}
