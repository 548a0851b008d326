//! A thermometer that is not there: a believable curve, and every kind of fault, from a seed.
//!
//! It prints `w1_slave` texts with real scratchpads, so that what follows is the DS18B20's own path.

use std::time::Duration;

use tokio::time::Instant;

use super::Driver;
use super::scratchpad::{Scratchpad, genuine, print_w1_slave};
use super::w1::Track;
use crate::clock::Clock;
use crate::reading::{Batch, FaultReason, Measurement};

/// How a simulated thermometer behaves.
#[derive(Clone, Debug, PartialEq)]
pub struct SimulatedSettings {
    /// Equal seeds give equal curves.
    pub seed: u64,
    /// The middle of the curve, in °C.
    pub mean_celsius: f64,
    /// How far the curve goes up and down from the middle, in °C.
    pub swing_celsius: f64,
    /// How long one up and down takes.
    pub period: Duration,
    /// The standard deviation of the noise, in °C.
    pub noise_celsius: f64,
    /// How often the door is opened; never when `None`.
    pub door_every: Option<Duration>,
    /// How far an open door would warm the sensor in the end, in °C.
    pub door_celsius: f64,
    /// How many of 100 reads fail.
    pub fault_percent: f64,
}

/// How long the door stays open.
const DOOR_OPEN: Duration = Duration::from_secs(15);
/// With the door open the sensor goes two thirds of its way to the warmth outside in this time…
const WARMING: Duration = Duration::from_secs(6);
/// …and two thirds of its way back in this one.
const COOLING: Duration = Duration::from_secs(10);

/// Simulated sensors that are read together.
#[derive(Debug)]
pub struct SimulatedSensors {
    begun: Instant,
    /// Each with the number of its series.
    pub sensors: Vec<(u32, Simulated)>,
}

impl SimulatedSensors {
    /// Sensors that were just switched on.
    pub fn new(sensors: Vec<(u32, Simulated)>) -> Self {
        SimulatedSensors { begun: Instant::now(), sensors }
    }
}

impl Driver for SimulatedSensors {
    async fn measure(&mut self, due: &[usize], clock: &Clock, batch: &mut Batch) {
        let now = Instant::now();
        for &position in due {
            if let Some((series, sensor)) = self.sensors.get_mut(position) {
                batch.put(*series, clock.at(now), sensor.read(now - self.begun));
            }
        }
    }
}

/// A running simulation of one sensor.
#[derive(Debug)]
pub struct Simulated {
    settings: SimulatedSettings,
    random: fastrand::Rng,
    last: Option<Duration>,
    warmth: f64,
    track: Track,
}

/// The family of the chip that is simulated.
const DS18B20: u8 = 0x28;

/// A way to fail. The first few are texts that the parser has to see through.
#[derive(Clone, Copy)]
enum Failure {
    BrokenChecksum,
    Empty,
    PowerOn,
    InsufficientPower,
    AllZero,
    OutOfRange,
    Told(FaultReason),
}

const FAILURES: [Failure; 10] = [
    Failure::BrokenChecksum,
    Failure::Empty,
    Failure::PowerOn,
    Failure::InsufficientPower,
    Failure::AllZero,
    Failure::OutOfRange,
    Failure::Told(FaultReason::NotPresent),
    Failure::Told(FaultReason::IoError),
    Failure::Told(FaultReason::Timeout),
    Failure::Told(FaultReason::Stale),
];

impl Simulated {
    /// A sensor that was just switched on.
    pub fn new(settings: SimulatedSettings) -> Self {
        let random = fastrand::Rng::with_seed(settings.seed);
        Simulated { settings, random, last: None, warmth: 0.0, track: Track::new(DS18B20) }
    }

    /// What it measures so long after it was switched on.
    pub fn read(&mut self, at: Duration) -> Measurement {
        let celsius = self.celsius(at);
        if self.random.f64() * 100.0 < self.settings.fault_percent {
            let failure = self.random.choice(FAILURES).unwrap_or(Failure::Empty);
            return self.fail(failure, celsius);
        }
        self.judge(&print_w1_slave(genuine(celsius), None))
    }

    fn judge(&mut self, text: &str) -> Measurement {
        let measurement = self.track.judge(text).measurement();
        if measurement.is_ok() {
            self.track.remember(text);
        }
        measurement
    }

    fn fail(&mut self, failure: Failure, celsius: f64) -> Measurement {
        let text = match failure {
            Failure::BrokenChecksum => print_w1_slave(genuine(celsius), Some(self.random.u8(1..))),
            Failure::Empty => String::new(),
            Failure::PowerOn => print_w1_slave(
                Scratchpad([0x50, 0x05, 0x4b, 0x46, 0x7f, 0xff, 0x0c, 0x10, 0]),
                None,
            ),
            Failure::InsufficientPower => print_w1_slave(
                Scratchpad([0xff, 0x07, 0x4b, 0x46, 0x7f, 0xff, 0x0c, 0x10, 0]),
                None,
            ),
            Failure::AllZero => print_w1_slave(Scratchpad([0; 9]), None),
            Failure::OutOfRange => print_w1_slave(genuine(200.0), None),
            Failure::Told(reason) => return Err(reason),
        };
        self.judge(&text)
    }

    fn celsius(&mut self, at: Duration) -> f64 {
        let SimulatedSettings { mean_celsius, swing_celsius, period, noise_celsius, .. } =
            self.settings;
        let phase = at.as_secs_f64() / period.as_secs_f64();
        let curve = mean_celsius + swing_celsius * (std::f64::consts::TAU * phase).sin();
        // The sum of twelve even numbers is close to a normal one of deviation 1 (central limit).
        let normal = (0..12).map(|_| self.random.f64()).sum::<f64>() - 6.0;
        curve + self.warmth(at) + noise_celsius * normal
    }

    fn warmth(&mut self, at: Duration) -> f64 {
        let passed = at.saturating_sub(self.last.unwrap_or(at)).as_secs_f64();
        self.last = Some(at);
        let Some(every) = self.settings.door_every else { return 0.0 };
        let in_cycle = at.as_secs_f64() % every.as_secs_f64();
        // The first door opening comes half a cycle after the start.
        let since_opened = in_cycle - every.as_secs_f64() / 2.0;
        let open = (0.0..DOOR_OPEN.as_secs_f64()).contains(&since_opened);
        let (target, constant) =
            if open { (self.settings.door_celsius, WARMING) } else { (0.0, COOLING) };
        self.warmth += (target - self.warmth) * (1.0 - (-passed / constant.as_secs_f64()).exp());
        self.warmth
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn freezer(fault_percent: f64) -> Simulated {
        Simulated::new(SimulatedSettings {
            seed: 7,
            mean_celsius: -18.0,
            swing_celsius: 1.0,
            period: Duration::from_secs(600),
            noise_celsius: 0.05,
            door_every: Some(Duration::from_secs(120)),
            door_celsius: 12.0,
            fault_percent,
        })
    }

    fn run(mut sensor: Simulated, seconds: u64) -> Vec<Measurement> {
        (0..seconds).map(|second| sensor.read(Duration::from_secs(second))).collect()
    }

    #[test]
    fn equal_seeds_give_equal_curves() {
        assert_eq!(run(freezer(5.0), 500), run(freezer(5.0), 500));
    }

    #[test]
    fn the_curve_is_cold_but_for_the_door() {
        let values: Vec<f64> =
            run(freezer(0.0), 120).into_iter().map(|m| m.unwrap().value).collect();
        let highest = |range: &[f64]| range.iter().copied().fold(f64::MIN, f64::max);
        assert!(highest(&values[..60]) < -16.5, "closed: {}", highest(&values[..60]));
        assert!(highest(&values[60..76]) > -10.0, "open: {}", highest(&values[60..76]));
        assert!(values[119] < -15.0, "cold again: {}", values[119]);
    }

    #[test]
    fn every_kind_of_fault_comes_at_the_rate_that_was_set() {
        let measurements = run(freezer(10.0), 20_000);
        let faults: Vec<_> = measurements.iter().filter_map(|m| m.err()).collect();
        assert!((1_700..2_300).contains(&faults.len()), "{} of 20000", faults.len());
        let kinds: HashSet<_> = faults.into_iter().collect();
        let missing: Vec<_> = FaultReason::ALL
            .iter()
            .filter(|reason| !reason.as_str().starts_with("plugin-") && !kinds.contains(reason))
            .collect();
        assert!(missing.is_empty(), "never seen: {missing:?}");
    }
}
