//! A test's handle on a chip.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::chip::{Chip, Convert, LiveChip};
use crate::pace::{Pace, lock};
use crate::scratchpad::Scratchpad;
use crate::script::Fail;

/// The family that a ROM id begins with; ff if it does not begin with two hexadecimal digits.
pub fn family_of(rom: &str) -> u8 {
    rom.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok()).unwrap_or(0xff)
}

#[derive(Debug, Default)]
struct Script {
    queue: VecDeque<Fail>,
    /// Whether a conversion already suffered the first fault. The read after it takes the fault off.
    suffered: bool,
}

#[derive(Debug)]
struct Inner {
    rom: String,
    pace: Arc<Pace>,
    chip: Mutex<LiveChip>,
    script: Mutex<Script>,
    released: AtomicU64,
    reads: AtomicU64,
    stale_reads: AtomicU64,
    last_read: AtomicU64,
}

/// A chip that is, or was, plugged in. Clones are handles on the same chip.
#[derive(Debug, Clone)]
pub struct Sensor(Arc<Inner>);

impl PartialEq for Sensor {
    /// Whether both are handles on the same chip.
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Sensor {
    pub(crate) fn new(rom: &str, chip: Chip, pace: Arc<Pace>) -> Self {
        Self(Arc::new(Inner {
            rom: rom.to_owned(),
            pace,
            chip: Mutex::new(LiveChip::new(chip, family_of(rom))),
            script: Mutex::default(),
            released: AtomicU64::new(0),
            reads: AtomicU64::new(0),
            stale_reads: AtomicU64::new(0),
            last_read: AtomicU64::new(0),
        }))
    }

    /// The ROM id, which is the name of its folder.
    pub fn rom(&self) -> &str {
        &self.0.rom
    }

    /// The temperature from the next conversion on.
    pub fn set_celsius(&self, celsius: f64) {
        lock(&self.0.chip).set_celsius(celsius);
    }

    /// The temperature as a function of the time since the chip was first plugged in, from the next conversion on.
    pub fn follow(&self, celsius: impl Fn(Duration) -> f64 + Send + 'static) {
        lock(&self.0.chip).set_following(celsius);
    }

    /// Whether the chip takes its power from the data line. The kernel asks when it finds a chip and when
    /// `ext_power` is read.
    pub fn set_parasite(&self, parasite: bool) {
        lock(&self.0.chip).set_parasite(parasite);
    }

    /// Adds faults, of which each measurement takes one.
    pub fn script(&self, faults: impl IntoIterator<Item = Fail>) {
        lock(&self.0.script).queue.extend(faults);
    }

    /// Takes all faults back and releases what hangs.
    pub fn heal(&self) {
        *lock(&self.0.script) = Script::default();
        self.release();
    }

    /// How many faults are still to come.
    pub fn faults_left(&self) -> usize {
        lock(&self.0.script).queue.len()
    }

    /// Ends the reads that hang now.
    pub fn release(&self) {
        self.0.released.fetch_add(1, Ordering::SeqCst);
        self.0.pace.notify();
    }

    /// Power off and on: the settings of the EEPROM, the power-on value.
    pub fn power_cycle(&self) {
        lock(&self.0.chip).power_cycle();
    }

    /// How many conversions the chip started.
    pub fn conversions(&self) -> u64 {
        lock(&self.0.chip).conversions()
    }

    /// How many times its EEPROM was written.
    pub fn eeprom_writes(&self) -> u64 {
        lock(&self.0.chip).eeprom_writes()
    }

    /// The nine bytes that the chip holds now, and the number of the conversion that they are of; 0 after
    /// power-on.
    pub fn scratchpad(&self) -> (Scratchpad, u64) {
        lock(&self.0.chip).scratchpad()
    }

    /// How many times `w1_slave` or `temperature` was read.
    pub fn reads(&self) -> u64 {
        self.0.reads.load(Ordering::SeqCst)
    }

    /// How many of these reads gave a value that was given before, or the one after power-on.
    pub fn stale_reads(&self) -> u64 {
        self.0.stale_reads.load(Ordering::SeqCst)
    }

    /// The number of the conversion whose value was read last.
    pub fn last_read_conversion(&self) -> u64 {
        self.0.last_read.load(Ordering::SeqCst)
    }

    /// Begins a measurement's read: the fault that it suffers, and whether its conversion already did.
    pub(crate) fn begin_read(&self) -> (Fail, bool) {
        self.0.reads.fetch_add(1, Ordering::SeqCst);
        let (fault, suffered) = {
            let mut script = lock(&self.0.script);
            let suffered = std::mem::take(&mut script.suffered);
            (script.queue.pop_front().unwrap_or(Fail::Nothing), suffered)
        };
        match fault {
            Fail::Hang(time) => self.hang(Some(time)),
            Fail::HangUntilReleased => self.hang(None),
            _ => {}
        }
        (fault, suffered)
    }

    fn hang(&self, at_most: Option<Duration>) {
        let released = &self.0.released;
        let before = released.load(Ordering::SeqCst);
        self.0.pace.wait(at_most, || released.load(Ordering::SeqCst) != before);
    }

    /// Notes which conversion's value was read.
    pub(crate) fn note_read(&self, conversion: u64) {
        if self.0.last_read.swap(conversion, Ordering::SeqCst) == conversion {
            self.0.stale_reads.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// What becomes of a convert command to all chips, by the fault that the next read will take off.
    pub(crate) fn outcome_of_next(&self) -> Convert {
        let mut script = lock(&self.0.script);
        let Some(outcome) = script.queue.front().map(Fail::conversion) else {
            return Convert::Done;
        };
        script.suffered = true;
        outcome
    }

    pub(crate) fn convert(&self, outcome: Convert) {
        let mut chip = lock(&self.0.chip);
        let lasting = self.0.pace.scaled(chip.conversion_time());
        chip.convert(lasting, outcome);
    }

    /// Runs something on the chip.
    pub(crate) fn with_chip<T>(&self, run: impl FnOnce(&mut LiveChip) -> T) -> T {
        run(&mut lock(&self.0.chip))
    }
}
