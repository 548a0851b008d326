//! A bus: its lock, the chips on its wire, and the devices that the kernel knows of.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use fuser::Errno;

use crate::options::Release;
use crate::pace::{GLANCE, Pace, lock, requester_is_killed};
use crate::scratchpad::Scratchpad;
use crate::script::BusFail;
use crate::sensor::{Sensor, family_of};

/// Which bus: 1 is `w1_bus_master1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BusId(pub(crate) u32);

impl BusId {
    /// The number in the bus's name.
    pub const fn number(self) -> u32 {
        self.0
    }

    /// The name of its folder.
    pub fn name(self) -> String {
        format!("w1_bus_master{}", self.0)
    }
}

/// The kernel's mutex of a bus. Who waits longest is next.
#[derive(Debug, Default)]
struct BusMutex {
    queue: Mutex<Queue>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Queue {
    last: u64,
    /// Who has the bus, and behind it who waits for it.
    tickets: VecDeque<u64>,
}

/// Has the bus until it is dropped.
#[derive(Debug)]
pub struct BusHold {
    bus: Arc<Bus>,
    ticket: u64,
}

impl Drop for BusHold {
    fn drop(&mut self) {
        lock(&self.bus.mutex.queue).tickets.retain(|ticket| *ticket != self.ticket);
        self.bus.mutex.changed.notify_all();
    }
}

/// What `w1_therm` notes of a device.
#[derive(Debug)]
pub(crate) struct Driver {
    pub retained: Scratchpad,
    /// 1, 0 for parasite power, or a negative error number.
    pub external_power: i32,
    /// In bits, or a negative error number.
    pub resolution: i32,
    /// In milliseconds; 0 is none.
    pub conversion_override: i32,
    pub features: u32,
    pub bulk: Bulk,
}

/// Whether `w1_therm` is for a family.
pub(crate) const fn is_thermometer(family: u8) -> bool {
    matches!(family, 0x10 | 0x22 | 0x28 | 0x3b | 0x42)
}

/// What became of the last bulk conversion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bulk {
    None,
    Running,
    Unread,
}

/// A device that the kernel knows of, whether its chip is there or not.
#[derive(Debug)]
pub(crate) struct Slave {
    pub name: String,
    pub family: u8,
    /// The chip, if there ever was one.
    pub sensor: Option<Sensor>,
    pub driver: Mutex<Driver>,
    /// Its number among the hwmon devices, if it is one.
    pub hwmon: Option<u32>,
    /// Whether its folder is there.
    pub listed: AtomicBool,
}

impl Slave {
    pub fn new(name: &str, sensor: Option<Sensor>, hwmon: Option<u32>) -> Self {
        Self {
            name: name.to_owned(),
            family: family_of(name),
            sensor,
            hwmon,
            driver: Mutex::new(Driver {
                retained: [0; 9],
                external_power: 0,
                resolution: 0,
                conversion_override: 0,
                features: 0,
                bulk: Bulk::None,
            }),
            listed: AtomicBool::new(true),
        }
    }

    pub fn is_listed(&self) -> bool {
        self.listed.load(Ordering::SeqCst)
    }

    /// Whether `w1_therm` drives it.
    pub const fn is_thermometer(&self) -> bool {
        is_thermometer(self.family)
    }

    /// Whether `w1_therm` offers bulk conversions for it.
    pub const fn supports_bulk(&self) -> bool {
        self.is_thermometer() && self.family != 0x42
    }

    /// How long the kernel waits for a conversion.
    pub fn conversion_time(&self, release: Release) -> Duration {
        let (set, resolution) = {
            let driver = lock(&self.driver);
            (driver.conversion_override, driver.resolution)
        };
        let milliseconds = match (set, self.family, resolution) {
            _ if release == Release::V5_4 => 750,
            (1.., ..) => set.unsigned_abs(),
            (_, 0x10, _) => 750,
            (_, _, 9) => 95,
            (_, _, 10) => 190,
            (_, _, 11) => 375,
            // What a MAX31850 is taken for.
            (_, 0x3b, 14) => 100,
            // What a GX20MH01 takes.
            (_, _, 13) => 850,
            (_, _, 14) => 1_600,
            _ => 750,
        };
        Duration::from_millis(milliseconds.into())
    }
}

/// One bus.
#[derive(Debug)]
pub(crate) struct Bus {
    pub id: BusId,
    pace: Arc<Pace>,
    mutex: BusMutex,
    /// The chips on the wire.
    chips: Mutex<Vec<Sensor>>,
    /// The devices that the kernel knows of.
    slaves: Mutex<Vec<Arc<Slave>>>,
    /// Whether its `therm_bulk_read` is there.
    pub bulk_file: AtomicBool,
    /// Whether the wire is whole.
    pub connected: AtomicBool,
    pub script: Mutex<VecDeque<BusFail>>,
    pub released: AtomicU64,
    pub triggers: AtomicU64,
    pub search: AtomicI32,
    pub pull_up: AtomicI32,
    pending: AtomicUsize,
    most_pending: AtomicUsize,
}

impl Bus {
    pub fn new(id: BusId, pace: Arc<Pace>) -> Self {
        Self {
            id,
            pace,
            mutex: BusMutex::default(),
            chips: Mutex::default(),
            slaves: Mutex::default(),
            bulk_file: AtomicBool::new(false),
            connected: AtomicBool::new(true),
            script: Mutex::default(),
            released: AtomicU64::new(0),
            triggers: AtomicU64::new(0),
            search: AtomicI32::new(-1),
            pull_up: AtomicI32::new(1),
            pending: AtomicUsize::new(0),
            most_pending: AtomicUsize::new(0),
        }
    }

    /// Takes the kernel's mutex of this bus.
    ///
    /// # Errors
    ///
    /// If the mount ended, or the requester, while it waited.
    pub fn hold(self: &Arc<Self>) -> Result<BusHold, Errno> {
        let mut queue = lock(&self.mutex.queue);
        queue.last += 1;
        let ticket = queue.last;
        queue.tickets.push_back(ticket);
        while queue.tickets.front() != Some(&ticket) {
            if self.pace.is_stopped() || requester_is_killed() {
                queue.tickets.retain(|other| *other != ticket);
                self.mutex.changed.notify_all();
                return Err(Errno::EINTR);
            }
            let woken = self.mutex.changed.wait_timeout(queue, GLANCE);
            queue = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        Ok(BusHold { bus: Arc::clone(self), ticket })
    }

    /// Whether any chip answers a reset.
    pub fn has_presence(&self) -> bool {
        self.connected.load(Ordering::SeqCst) && !lock(&self.chips).is_empty()
    }

    /// The chips that hear a command to all.
    pub fn chips(&self) -> Vec<Sensor> {
        if self.connected.load(Ordering::SeqCst) { lock(&self.chips).clone() } else { Vec::new() }
    }

    /// The chip of a device, if it is there to answer.
    pub fn chip(&self, name: &str) -> Option<Sensor> {
        self.chips().into_iter().find(|chip| chip.rom() == name)
    }

    /// Whether a chip is on the wire, whole or cut.
    pub fn has_chip(&self, name: &str) -> bool {
        lock(&self.chips).iter().any(|chip| chip.rom() == name)
    }

    pub fn connect(&self, sensor: Sensor) {
        lock(&self.chips).push(sensor);
    }

    /// Takes a chip off the wire.
    pub fn disconnect(&self, name: &str) -> Option<Sensor> {
        let mut chips = lock(&self.chips);
        let at = chips.iter().position(|chip| chip.rom() == name)?;
        Some(chips.remove(at))
    }

    pub fn slaves(&self) -> Vec<Arc<Slave>> {
        lock(&self.slaves).clone()
    }

    pub fn slave(&self, name: &str) -> Option<Arc<Slave>> {
        lock(&self.slaves).iter().find(|slave| slave.name == name).cloned()
    }

    pub fn list(&self, slave: Arc<Slave>) {
        lock(&self.slaves).push(slave);
    }

    /// Forgets a device.
    pub fn unlist(&self, name: &str) -> Option<Arc<Slave>> {
        let mut slaves = lock(&self.slaves);
        let at = slaves.iter().position(|slave| slave.name == name)?;
        let slave = slaves.remove(at);
        slave.listed.store(false, Ordering::SeqCst);
        Some(slave)
    }

    /// Counts a read of `w1_slave` or `temperature` until the returned value is dropped.
    pub fn begin_read(&self) -> PendingRead<'_> {
        let pending = self.pending.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_pending.fetch_max(pending, Ordering::SeqCst);
        PendingRead(self)
    }

    pub fn pending_reads(&self) -> usize {
        self.pending.load(Ordering::SeqCst)
    }

    pub fn most_pending_reads(&self) -> usize {
        self.most_pending.load(Ordering::SeqCst)
    }
}

/// A read that is not answered yet.
#[derive(Debug)]
pub(crate) struct PendingRead<'a>(&'a Bus);

impl Drop for PendingRead<'_> {
    fn drop(&mut self) {
        self.0.pending.fetch_sub(1, Ordering::SeqCst);
    }
}
