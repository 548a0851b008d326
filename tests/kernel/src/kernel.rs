//! The mount, and what a test does to it.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use fuser::{BackgroundSession, Errno, MountOption, SessionACL};
use nix::mount::{MntFlags, umount2};
use tempfile::TempDir;

use crate::bus::{Bus, BusHold, BusId};
use crate::chip::Chip;
use crate::files::Entry;
use crate::fuse::Tree;
use crate::options::KernelOptions;
use crate::pace::lock;
use crate::script::BusFail;
use crate::sensor::Sensor;
use crate::world::World;

/// An emulated kernel, mounted until it is dropped.
#[derive(Debug)]
pub struct EmulatedKernel {
    world: Arc<World>,
    root: PathBuf,
    session: Option<BackgroundSession>,
    /// The mount point, if it is ours.
    folder: Option<TempDir>,
}

impl EmulatedKernel {
    /// Mounts a kernel without buses in a temporary folder of its own.
    ///
    /// # Errors
    ///
    /// If it cannot be mounted, and why: FUSE is missing, or mounting is not permitted.
    pub fn mount(options: KernelOptions) -> io::Result<Self> {
        let folder = tempfile::Builder::new().prefix("emulated-kernel-").tempdir()?;
        let mut kernel = Self::mount_at(folder.path(), options)?;
        kernel.folder = Some(folder);
        Ok(kernel)
    }

    /// The same in a folder that is there.
    ///
    /// # Errors
    ///
    /// As [`EmulatedKernel::mount`].
    pub fn mount_at(root: &Path, options: KernelOptions) -> io::Result<Self> {
        let explain = |error: io::Error| {
            io::Error::new(error.kind(), format!("no FUSE mount at {}: {error}", root.display()))
        };
        let root = root.canonicalize().map_err(explain)?;
        if !Path::new("/dev/fuse").exists() {
            return Err(explain(io::Error::new(io::ErrorKind::NotFound, "/dev/fuse is missing")));
        }
        let owner = root.metadata().map_err(explain)?;
        let world = Arc::new(World::new(options));
        let mount = |acl| {
            let mut config = fuser::Config::default();
            config.acl = acl;
            config.mount_options = vec![
                MountOption::FSName("emulated-kernel".to_owned()),
                MountOption::NoExec,
                MountOption::DefaultPermissions,
            ];
            let tree = Tree::new(Arc::clone(&world), owner.uid(), owner.gid());
            fuser::spawn_mount(tree, &root, &config)
        };
        // Others may look too, programs that gave up their rights for example; only root may always offer that.
        let session = mount(SessionACL::All).or_else(|_refused| mount(SessionACL::Owner));
        let session = session.map_err(explain)?;
        Ok(Self { world, root, session: Some(session), folder: None })
    }

    /// The mount point: the root of a whole tree.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where the kernel lists its devices.
    pub fn w1_root(&self) -> PathBuf {
        self.root.join("sys/bus/w1/devices")
    }

    /// Adds a bus without chips.
    pub fn add_bus(&self) -> BusId {
        self.world.add_bus()
    }

    /// Removes a bus and its devices' folders, as when its driver is unloaded.
    pub fn remove_bus(&self, bus: BusId) {
        self.world.remove_bus(bus);
    }

    /// Plugs a chip in, which the kernel finds at once. A chip or a folder of the same ROM id goes. On a bus that is
    /// not there nothing happens.
    pub fn plug(&self, bus: BusId, rom: &str, chip: Chip) -> Sensor {
        let sensor = Sensor::new(rom, chip, Arc::clone(&self.world.pace));
        self.connect(bus, &sensor);
        sensor
    }

    /// Plugs a chip in that was plugged in before, on the same bus or another one; it had no power in between. If its
    /// folder is still there, the kernel notices nothing, and what it noted of the chip stays.
    pub fn replug(&self, bus: BusId, sensor: &Sensor) {
        sensor.power_cycle();
        self.connect(bus, sensor);
    }

    fn connect(&self, id: BusId, sensor: &Sensor) {
        let mut known = false;
        for bus in self.world.buses() {
            let _old = bus.disconnect(sensor.rom());
            let slave = bus.slave(sensor.rom());
            if bus.id == id && slave.is_some_and(|slave| slave.sensor.as_ref() == Some(sensor)) {
                known = true;
            } else {
                self.world.detach(&bus, sensor.rom());
            }
        }
        if let Some(bus) = self.world.bus(id) {
            bus.connect(sensor.clone());
            if !known {
                self.world.attach(&bus, sensor.rom(), Some(sensor.clone()));
            }
        }
    }

    /// Takes a chip off its wire. Its folder goes after the `drop_delay` of the options, unless the chip is back by
    /// then.
    pub fn unplug(&self, rom: &str) {
        let mut buses = self.world.buses().into_iter();
        let Some(bus) = buses.find(|bus| bus.disconnect(rom).is_some()) else { return };
        let delay = self.world.options.drop_delay;
        if delay.is_zero() {
            self.world.detach(&bus, rom);
            return;
        }
        let (world, rom) = (Arc::clone(&self.world), rom.to_owned());
        thread::spawn(move || {
            world.pace.wait(Some(delay), || false);
            if !bus.has_chip(&rom) {
                world.detach(&bus, &rom);
            }
        });
    }

    /// Lists a device without a chip, as noise in a search does: `00-800000000000`.
    pub fn add_ghost(&self, bus: BusId, name: &str) {
        if let Some(bus) = self.world.bus(bus) {
            self.world.attach(&bus, name, None);
        }
    }

    /// Has the kernel forget a device, whether its chip is there or not.
    pub fn forget(&self, name: &str) {
        if let Some((bus, _)) = self.world.slave_named(name) {
            self.world.detach(&bus, name);
        }
    }

    /// Cuts the data line of a bus, or mends it: no chip answers, and all keep their power and their folders.
    pub fn set_connected(&self, bus: BusId, connected: bool) {
        self.with_bus(bus, |bus| bus.connected.store(connected, Ordering::SeqCst));
    }

    /// Takes the kernel's mutex of a bus until the returned value is dropped: all that needs the bus waits.
    pub fn hold_bus(&self, bus: BusId) -> Option<BusHold> {
        self.world.bus(bus)?.hold().ok()
    }

    /// Adds faults to a bus, of which each trigger takes one.
    pub fn script_triggers(&self, bus: BusId, faults: impl IntoIterator<Item = BusFail>) {
        self.with_bus(bus, |bus| lock(&bus.script).extend(faults));
    }

    /// Ends the triggers of a bus that hang now.
    pub fn release_bus(&self, bus: BusId) {
        self.with_bus(bus, |bus| bus.released.fetch_add(1, Ordering::SeqCst));
        self.world.pace.notify();
    }

    /// How many bulk conversions of a bus were asked for with the right eight bytes.
    pub fn triggers(&self, bus: BusId) -> u64 {
        self.with_bus(bus, |bus| bus.triggers.load(Ordering::SeqCst)).unwrap_or_default()
    }

    /// How many reads of `w1_slave` and `temperature` a bus has not answered yet.
    pub fn pending_reads(&self, bus: BusId) -> usize {
        self.with_bus(bus, Bus::pending_reads).unwrap_or_default()
    }

    /// How many there were at once at most.
    pub fn most_pending_reads(&self, bus: BusId) -> usize {
        self.with_bus(bus, Bus::most_pending_reads).unwrap_or_default()
    }

    fn with_bus<T>(&self, id: BusId, run: impl FnOnce(&Bus) -> T) -> Option<T> {
        self.world.bus(id).map(|bus| run(&bus))
    }

    /// Whether files of a name may be written, everywhere; `EACCES` if not.
    pub fn set_writable(&self, attribute: &str, writable: bool) {
        self.world.refuse(attribute, (!writable).then_some(Errno::EACCES));
    }

    /// Whether files may be written of which nothing else was said by name.
    pub fn set_all_writable(&self, writable: bool) {
        self.world.refuse_all((!writable).then_some(Errno::EACCES));
    }

    /// Refuses writes to files of a name with an error of choice.
    pub fn refuse_writes(&self, attribute: &str, errno: Errno) {
        self.world.refuse(attribute, Some(errno));
    }

    /// Loads or unloads `w1_therm`: without it, devices have only `name`, `id` and `rw`.
    pub fn set_therm_loaded(&self, loaded: bool) {
        self.world.therm_loaded.store(loaded, Ordering::SeqCst);
        if loaded {
            self.put("sys/module/w1_therm", Entry::Folder);
        } else {
            self.remove("sys/module/w1_therm");
        }
    }

    /// Puts a file, a folder or a link at a path from the mount point, with the folders on the way to it. It goes
    /// before what the kernel would have there.
    pub fn put(&self, path: &str, entry: impl Into<Entry>) {
        lock(&self.world.files).put(path, entry.into());
    }

    /// Removes what was put at a path, and all that is in it. `sys/module/w1_gpio`, `sys/bus/w1/devices` and their
    /// like count as put.
    pub fn remove(&self, path: &str) {
        lock(&self.world.files).remove(path);
    }

    /// Waits until something is so, and says whether it became so in time.
    pub fn wait_until(&self, at_most: Duration, is_so: impl Fn(&Self) -> bool) -> bool {
        let until = Instant::now() + at_most;
        while Instant::now() < until {
            if is_so(self) {
                return true;
            }
            thread::sleep(Duration::from_millis(2));
        }
        is_so(self)
    }
}

impl Drop for EmulatedKernel {
    /// Ends what hangs and unmounts. Files that are still open keep the mount alive, out of sight, until they are
    /// closed.
    fn drop(&mut self) {
        self.world.pace.stop();
        let unmounted = umount2(&self.root, MntFlags::MNT_DETACH);
        if let Some(session) = self.session.take() {
            // Its own unmount finds nothing to do; its thread ends with the last open file.
            drop(session);
        }
        if let (Err(errno), Some(folder)) = (unmounted, self.folder.take()) {
            eprintln!("{} stays mounted: {errno}", self.root.display());
            // Removing it would go through the mount.
            let _left = folder.keep();
        }
    }
}
