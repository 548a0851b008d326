//! Pins that are on while an alarm is active.

use std::collections::HashSet;

use super::Pin;
use crate::reading::{Alarm, AlarmState};

/// The pins of all alarms.
#[derive(Default)]
pub struct AlarmOutputs {
    outputs: Vec<AlarmOutput>,
}

struct AlarmOutput {
    stage: String,
    pin: Box<dyn Pin>,
    /// Series and condition of each alarm that is active.
    active: HashSet<(u32, String)>,
}

impl AlarmOutputs {
    /// Adds a pin for the alarms of the stage with this name.
    pub fn add(&mut self, stage: &str, pin: Box<dyn Pin>) {
        self.outputs.push(AlarmOutput { stage: stage.to_owned(), pin, active: HashSet::new() });
    }

    /// Switches what an alarm of a stage changes.
    pub fn show(&mut self, stage: &str, alarm: &Alarm) {
        for output in self.outputs.iter_mut().filter(|output| output.stage == stage) {
            let key = (alarm.series, alarm.condition.clone());
            match alarm.state {
                AlarmState::Active => output.active.insert(key),
                AlarmState::Cleared => output.active.remove(&key),
            };
            output.pin.set(!output.active.is_empty());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reading::{Severity, Timestamp};
    use std::sync::mpsc;

    struct Told(mpsc::Sender<bool>);

    impl Pin for Told {
        fn set(&mut self, on: bool) {
            self.0.send(on).unwrap();
        }
    }

    #[test]
    fn a_pin_is_on_while_any_of_its_alarms_is_active() {
        let (pin, told) = mpsc::channel();
        let mut outputs = AlarmOutputs::default();
        outputs.add("warm", Box::new(Told(pin)));
        let alarm = |series, condition: &str, state| Alarm {
            series,
            time: Timestamp::default(),
            condition: condition.to_owned(),
            state,
            severity: Severity::Critical,
            value: None,
            limit: None,
        };
        outputs.show("cold", &alarm(0, "above", AlarmState::Active));
        outputs.show("warm", &alarm(0, "above", AlarmState::Active));
        outputs.show("warm", &alarm(1, "missing", AlarmState::Active));
        outputs.show("warm", &alarm(0, "above", AlarmState::Cleared));
        outputs.show("warm", &alarm(1, "missing", AlarmState::Cleared));
        assert_eq!(told.try_iter().collect::<Vec<_>>(), [true, true, true, false]);
    }
}
