//! All that is emulated of one kernel: its buses, its other files, its rights.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use fuser::Errno;

use crate::bus::{Bus, BusId, Slave, is_thermometer};
use crate::files::Files;
use crate::options::{BulkFile, KernelOptions, Release};
use crate::pace::{Pace, lock};
use crate::sensor::{Sensor, family_of};

/// Which writes are refused, by the name of the attribute, and with what.
#[derive(Debug, Default)]
struct Refusals {
    all: Option<Errno>,
    by_name: BTreeMap<String, Option<Errno>>,
}

/// One emulated kernel.
#[derive(Debug)]
pub(crate) struct World {
    pub options: KernelOptions,
    pub pace: Arc<Pace>,
    pub files: Mutex<Files>,
    buses: Mutex<Vec<Arc<Bus>>>,
    refusals: Mutex<Refusals>,
    /// How many devices with bulk conversions there are on all buses.
    bulk_devices: Mutex<usize>,
    /// How many hwmon devices there were so far.
    hwmon_devices: AtomicU32,
    pub therm_loaded: AtomicBool,
}

impl World {
    pub fn new(options: KernelOptions) -> Self {
        let pace = Arc::new(Pace::new(options.timing.speed));
        let files = Files::of_a_pi(&options);
        Self {
            options,
            pace,
            files: Mutex::new(files),
            buses: Mutex::default(),
            refusals: Mutex::default(),
            bulk_devices: Mutex::new(0),
            hwmon_devices: AtomicU32::new(0),
            therm_loaded: AtomicBool::new(true),
        }
    }

    pub const fn release(&self) -> Release {
        self.options.release
    }

    /// Whether `w1_therm` drives a device.
    pub fn drives(&self, slave: &Slave) -> bool {
        self.therm_loaded.load(Ordering::SeqCst) && slave.is_thermometer()
    }

    /// Whether `w1_therm` takes a device along in bulk conversions.
    pub fn drives_in_bulk(&self, slave: &Slave) -> bool {
        self.drives(slave) && slave.supports_bulk()
    }

    pub fn add_bus(&self) -> BusId {
        let mut buses = lock(&self.buses);
        let last = buses.iter().map(|bus| bus.id.0).max().unwrap_or(0);
        let id = BusId(last + 1);
        buses.push(Arc::new(Bus::new(id, Arc::clone(&self.pace))));
        id
    }

    pub fn remove_bus(&self, id: BusId) {
        if let Some(bus) = self.bus(id) {
            for slave in bus.slaves() {
                self.detach(&bus, &slave.name);
            }
        }
        lock(&self.buses).retain(|bus| bus.id != id);
    }

    pub fn buses(&self) -> Vec<Arc<Bus>> {
        lock(&self.buses).clone()
    }

    pub fn bus(&self, id: BusId) -> Option<Arc<Bus>> {
        lock(&self.buses).iter().find(|bus| bus.id == id).cloned()
    }

    pub fn bus_named(&self, name: &str) -> Option<Arc<Bus>> {
        lock(&self.buses).iter().find(|bus| bus.id.name() == name).cloned()
    }

    /// The bus and the device of a name, on whichever bus it is.
    pub fn slave_named(&self, name: &str) -> Option<(Arc<Bus>, Arc<Slave>)> {
        self.buses().into_iter().find_map(|bus| bus.slave(name).map(|slave| (bus, slave)))
    }

    /// The kernel finds a device, as its search does or a write to `w1_master_add`.
    pub fn attach(&self, bus: &Arc<Bus>, name: &str, sensor: Option<Sensor>) {
        let hwmon = self.options.hwmon && is_thermometer(family_of(name));
        let hwmon = hwmon.then(|| self.hwmon_devices.fetch_add(1, Ordering::SeqCst));
        let slave = Arc::new(Slave::new(name, sensor, hwmon));
        if slave.supports_bulk() {
            let mut devices = lock(&self.bulk_devices);
            if *devices == 0 {
                bus.bulk_file.store(true, Ordering::SeqCst);
            }
            *devices += 1;
        }
        if slave.is_thermometer() && self.release() != Release::V5_4 {
            let external_power = self.ask_external_power(bus, &slave);
            let resolution = self.ask_resolution(bus, &slave);
            let mut driver = lock(&slave.driver);
            driver.external_power = external_power;
            driver.resolution = resolution;
        }
        bus.list(slave);
    }

    /// The kernel forgets a device. The last one of all buses takes `therm_bulk_read` off its own bus, which need
    /// not be the bus where it is.
    pub fn detach(&self, bus: &Arc<Bus>, name: &str) {
        if let Some(slave) = bus.unlist(name)
            && slave.supports_bulk()
        {
            let mut devices = lock(&self.bulk_devices);
            *devices = devices.saturating_sub(1);
            if *devices == 0 {
                bus.bulk_file.store(false, Ordering::SeqCst);
            }
        }
    }

    pub fn has_bulk_file(&self, bus: &Bus) -> bool {
        let loaded = self.therm_loaded.load(Ordering::SeqCst);
        loaded
            && self.release() != Release::V5_4
            && match self.options.bulk_file {
                BulkFile::FirstBus => bus.bulk_file.load(Ordering::SeqCst),
                BulkFile::EachBus => bus.slaves().iter().any(|slave| slave.supports_bulk()),
                BulkFile::Never => false,
            }
    }

    pub fn refuse_all(&self, errno: Option<Errno>) {
        lock(&self.refusals).all = errno;
    }

    pub fn refuse(&self, attribute: &str, errno: Option<Errno>) {
        lock(&self.refusals).by_name.insert(attribute.to_owned(), errno);
    }

    /// Why a write to an attribute is refused, if it is. What was said of one attribute goes before what was said
    /// of all.
    pub fn refusal(&self, attribute: &str) -> Option<Errno> {
        let refusals = lock(&self.refusals);
        refusals.by_name.get(attribute).copied().unwrap_or(refusals.all)
    }
}
