//! What a DS18B20's earlier readings say about its next one: whether it is believed, doubted, or read again. No I/O.

use crate::reading::{Doubt, FaultReason, Measured, Measurement};
use crate::sensor::scratchpad::{NO_CONVERSION, Scratchpad, parse_w1_slave};

/// What clones hold before their first conversion, in °C; genuine chips hold 85.
const FIRST_VALUES: [f64; 2] = [25.0, 85.0];
/// A clone's 85 °C is believable when the reading before was as near as this, in °C.
const NEAR: f64 = 5.0;
/// So many steps in one direction, each of so many of the chip's smallest, and then none at all: it was moving fast and
/// stands still within one interval, or it made no conversion.
const MOVING_STEPS: usize = 3;
const MOVING_STEP: i16 = 4;
/// A chip that has changed its value so often is lively enough to be doubted when it stands still…
const LIVELY_CHANGES: u32 = 20;
/// …for so many readings and so many times longer than ever before.
const LONG_RUN: u32 = 60;
const LONGER: u32 = 8;

/// What is known of one chip.
#[derive(Clone, Debug)]
pub struct Track {
    family: u8,
    /// Whether no reading was taken since it appeared.
    is_new: bool,
    last: Option<(Scratchpad, f64)>,
    /// The last steps of the register, the latest first; 0 where there was none.
    steps: [i16; MOVING_STEPS],
    /// How many readings in a row had the same bytes.
    run: u32,
    /// The longest such run that ended in a change.
    longest_run: u32,
    changes: u32,
    reserved: Reserved,
}

/// How the chip fills byte 6 after a conversion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reserved {
    Unknown,
    /// As a genuine chip does, so that 85 °C with `0c` is the power-on value for certain.
    Counts,
    /// `0c` at every temperature, as some clones do.
    Constant,
}

/// What becomes of a read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Verdict {
    /// This is it.
    Take(Measurement),
    /// Another read may say more. If there is no time for one, this is it.
    ReadAgain(Measurement),
}

impl Verdict {
    /// What it is when there is no other read.
    pub fn measurement(self) -> Measurement {
        match self {
            Verdict::Take(measurement) | Verdict::ReadAgain(measurement) => measurement,
        }
    }
}

impl Track {
    /// A chip of a family that was never read.
    pub fn new(family: u8) -> Track {
        Track {
            family,
            is_new: true,
            last: None,
            steps: [0; MOVING_STEPS],
            run: 0,
            longest_run: 0,
            changes: 0,
            reserved: Reserved::Unknown,
        }
    }

    /// The chip appeared: it may have been without power, so its first value is not believed as others are.
    pub fn appeared(&mut self) {
        self.is_new = true;
        self.steps = [0; MOVING_STEPS];
        self.run = 0;
    }

    /// The temperature's bits, as the last good read had them.
    pub fn resolution(&self) -> Option<u8> {
        self.last.and_then(|(pad, _)| pad.resolution(self.family))
    }

    /// Whether it fills byte 6 as no genuine chip does.
    pub fn is_clone(&self) -> bool {
        self.reserved == Reserved::Constant
    }

    /// What a read gave, before it is taken for the reading.
    pub fn judge(&self, text: &str) -> Verdict {
        let pad = match parse_w1_slave(text) {
            Ok(pad) => pad,
            Err(reason) => return Verdict::ReadAgain(Err(reason)),
        };
        let value = match pad.celsius(self.family) {
            Ok(value) => value,
            // An open thermocouple stays open.
            Err(FaultReason::NotPresent) => return Verdict::Take(Err(FaultReason::NotPresent)),
            Err(reason) => return Verdict::ReadAgain(Err(reason)),
        };
        let doubtful = |doubt| Ok(Measured { value, doubt: Some(doubt) });
        if pad.is_at_power_on(self.family) {
            return self.judge_power_on(pad, doubtful(Doubt::PowerOnValue));
        }
        if self.is_new && FIRST_VALUES.contains(&value) {
            return Verdict::ReadAgain(doubtful(Doubt::FirstReading));
        }
        if self.repeats(pad) {
            if self.was_moving(pad) {
                return Verdict::ReadAgain(doubtful(Doubt::Stale));
            }
            if self.stands_too_long() {
                return Verdict::Take(doubtful(Doubt::Stale));
            }
        }
        Verdict::Take(Ok(Measured::good(value)))
    }

    fn judge_power_on(&self, pad: Scratchpad, doubted: Measurement) -> Verdict {
        let is_certain = match self.reserved {
            Reserved::Counts => true,
            Reserved::Constant => false,
            // A DS18S20's true 85 °C has the same bytes.
            Reserved::Unknown => self.family != 0x10 && pad.looks_genuine(),
        };
        if is_certain {
            return Verdict::ReadAgain(Err(FaultReason::PowerOnValue));
        }
        let was_near = self.last.is_some_and(|(_, value)| (value - 85.0).abs() <= NEAR);
        if was_near && !self.is_new { Verdict::Take(doubted) } else { Verdict::ReadAgain(doubted) }
    }

    fn repeats(&self, pad: Scratchpad) -> bool {
        !self.is_new && self.last.is_some_and(|(last, _)| last == pad)
    }

    fn was_moving(&self, pad: Scratchpad) -> bool {
        let bits_less = 12_u8.saturating_sub(pad.resolution(self.family).unwrap_or(9));
        let moving = MOVING_STEP << bits_less;
        self.steps.iter().all(|step| *step >= moving)
            || self.steps.iter().all(|step| *step <= -moving)
    }

    fn stands_too_long(&self) -> bool {
        let long = LONG_RUN.max(self.longest_run.saturating_mul(LONGER));
        self.changes >= LIVELY_CHANGES && self.run >= long
    }

    /// Remembers the text that was taken for a reading. One that was taken for a fault says nothing about the next.
    pub fn remember(&mut self, text: &str) {
        let Ok(pad) = parse_w1_slave(text) else { return };
        let Ok(value) = pad.celsius(self.family) else { return };
        let (reserved, genuine) = pad.reserved_6();
        // Known of 12 bit alone; and what may be the power-on value proves nothing.
        let tells = self.family != 0x10
            && pad.resolution(self.family) == Some(12)
            && genuine != NO_CONVERSION
            && !pad.is_at_power_on(self.family);
        if tells {
            self.reserved = match reserved {
                NO_CONVERSION => Reserved::Constant,
                _ if reserved == genuine => Reserved::Counts,
                _ => self.reserved,
            };
        }
        self.is_new = false;
        if let Some((last, _)) = self.last.replace((pad, value)) {
            let step = pad.raw().saturating_sub(last.raw());
            if last == pad {
                self.run = self.run.saturating_add(1);
            } else {
                self.longest_run = self.longest_run.max(self.run);
                self.changes = self.changes.saturating_add(1);
                self.run = 1;
            }
            self.steps.rotate_right(1);
            if let Some(latest) = self.steps.first_mut() {
                *latest = step;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sensor::scratchpad::{genuine, print_w1_slave};

    const GENUINE_POWER_ON: [u8; 9] = [0x50, 0x05, 0x4b, 0x46, 0x7f, 0xff, 0x0c, 0x10, 0];
    const CLONE_POWER_ON: [u8; 9] = [0x50, 0x05, 0x55, 0x05, 0x7f, 0xa5, 0x0c, 0x66, 0];

    fn text(bytes: [u8; 9]) -> String {
        print_w1_slave(Scratchpad(bytes), None)
    }

    fn at(celsius: f64) -> String {
        print_w1_slave(genuine(celsius), None)
    }

    /// A clone that has 0c at every temperature.
    fn constant(celsius: f64) -> String {
        let Scratchpad([low, high, ..]) = genuine(celsius);
        text([low, high, 0x55, 0x05, 0x7f, 0xa5, 0x0c, 0x66, 0])
    }

    fn after(texts: &[String]) -> Track {
        let mut track = Track::new(0x28);
        for text in texts {
            assert!(track.judge(text).measurement().is_ok(), "{text}");
            track.remember(text);
        }
        track
    }

    fn doubt(value: f64, doubt: Doubt) -> Measurement {
        Ok(Measured { value, doubt: Some(doubt) })
    }

    #[test]
    fn a_power_on_value_is_a_fault_on_genuine_chips_and_a_doubt_on_clones() {
        use Verdict::{ReadAgain, Take};
        let power_on = doubt(85.0, Doubt::PowerOnValue);
        let fault = Err(FaultReason::PowerOnValue);
        for (before, pad, verdict) in [
            (vec![], GENUINE_POWER_ON, ReadAgain(fault)),
            (vec![], CLONE_POWER_ON, ReadAgain(power_on)),
            (vec![at(20.0)], GENUINE_POWER_ON, ReadAgain(fault)),
            // The bytes around byte 6 may be anything once the chip is known to count.
            (vec![at(20.0)], CLONE_POWER_ON, ReadAgain(fault)),
            (vec![constant(20.0)], GENUINE_POWER_ON, ReadAgain(power_on)),
            (vec![constant(84.5)], CLONE_POWER_ON, Take(power_on)),
        ] {
            assert_eq!(after(&before).judge(&text(pad)), verdict, "{before:?}");
        }
        assert_eq!(after(&[at(84.0)]).judge(&at(85.0)), Take(Ok(Measured::good(85.0))));
    }

    #[test]
    fn the_first_value_is_doubted_when_clones_hold_it_before_their_first_conversion() {
        let mut track = Track::new(0x28);
        let first = Verdict::ReadAgain(doubt(25.0, Doubt::FirstReading));
        assert_eq!(track.judge(&at(25.0)), first);
        assert_eq!(track.judge(&at(25.0625)), Verdict::Take(Ok(Measured::good(25.0625))));
        track.remember(&at(25.0625));
        assert_eq!(track.judge(&at(25.0)), Verdict::Take(Ok(Measured::good(25.0))));
        track.appeared();
        assert_eq!(track.judge(&at(25.0)), first);
    }

    #[test]
    fn a_chip_that_stops_while_it_moves_is_read_again() {
        let warming = [20.0, 20.5, 21.0, 21.5].map(at);
        let stale = Verdict::ReadAgain(doubt(21.5, Doubt::Stale));
        assert_eq!(after(&warming).judge(&at(21.5)), stale);
        assert_eq!(after(&warming).judge(&at(21.5625)), Verdict::Take(Ok(Measured::good(21.5625))));
        let swinging = [20.0, 20.5, 20.0, 20.5].map(at);
        assert_eq!(after(&swinging).judge(&at(20.5)), Verdict::Take(Ok(Measured::good(20.5))));
    }

    #[test]
    fn a_lively_chip_that_stands_still_for_long_is_doubted_and_a_quiet_one_is_not() {
        let mut lively: Vec<String> = (0..40).map(|n| at(20.0 + f64::from(n % 2) / 16.0)).collect();
        lively.extend(vec![at(20.0); 58]);
        let good = Verdict::Take(Ok(Measured::good(20.0)));
        let mut track = after(&lively);
        assert_eq!(track.judge(&at(20.0)), good);
        track.remember(&at(20.0));
        track.remember(&at(20.0));
        assert_eq!(track.judge(&at(20.0)), Verdict::Take(doubt(20.0, Doubt::Stale)));
        assert_eq!(after(&vec![at(20.0); 1_000]).judge(&at(20.0)), good);
    }

    #[test]
    fn failed_reads_are_tried_again_and_an_open_thermocouple_is_not() {
        let zero = text([0; 9]);
        for (read, reason) in [("", FaultReason::NoAnswer), (&zero, FaultReason::AllZero)] {
            assert_eq!(Track::new(0x28).judge(read), Verdict::ReadAgain(Err(reason)));
        }
        let open = text([0x49, 0x01, 0x01, 0x1a, 0xf0, 0xff, 0xff, 0xff, 0]);
        let verdict = Verdict::Take(Err(FaultReason::NotPresent));
        assert_eq!(Track::new(0x3b).judge(&open), verdict);
    }
}
