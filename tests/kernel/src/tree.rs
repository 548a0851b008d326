//! What is at a path.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::attributes::{Attribute, HWMON};
use crate::bus::{Bus, Slave};
use crate::files::Entry;
use crate::pace::lock;
use crate::world::World;

/// Where the kernel lists buses and devices, as links.
const LINKS: &str = "sys/bus/w1/devices";
/// Where buses are, and in them their devices.
const DEVICES: &str = "sys/devices";

/// Where hwmon devices are listed, as links.
const HWMON_LINKS: &str = "sys/class/hwmon";

/// What is at a path.
#[derive(Debug, Clone)]
pub(crate) enum Node {
    Folder,
    Link(String),
    Attribute(Attribute),
    /// A file that was put there, and how long it is; its content is asked for when it is read.
    Put(usize),
}

impl World {
    /// What is at a path from the mount point; the empty one is the mount point. What was put there goes before
    /// what the kernel would have there.
    pub fn node(&self, path: &str) -> Option<Node> {
        if path.is_empty() {
            return Some(Node::Folder);
        }
        if let Some(entry) = lock(&self.files).get(path) {
            return Some(match entry {
                Entry::Folder => Node::Folder,
                Entry::File(content) => Node::Put(content.len()),
                Entry::Link(target) => Node::Link(target.clone()),
                Entry::Unreadable(_) => Node::Put(4_096),
            });
        }
        let (folder, name) = path.rsplit_once('/')?;
        if folder == LINKS && self.is_there(LINKS) {
            return self.target(name).map(Node::Link);
        }
        if folder == HWMON_LINKS && self.is_there(HWMON_LINKS) {
            let (bus, slave) = self.hwmon_devices().find(|(_, slave)| hwmon_name(slave) == name)?;
            let (bus, slave) = (bus.id.name(), &slave.name);
            return Some(Node::Link(format!("../../devices/{bus}/{slave}/hwmon/{name}")));
        }
        self.device_node(path)
    }

    fn hwmon_devices(&self) -> impl Iterator<Item = (Arc<Bus>, Arc<Slave>)> {
        let all = self
            .buses()
            .into_iter()
            .flat_map(|bus| bus.slaves().into_iter().map(move |slave| (Arc::clone(&bus), slave)));
        let loaded = self.therm_loaded.load(Ordering::SeqCst);
        all.filter(move |(_, slave)| loaded && slave.hwmon.is_some())
    }

    /// Whether a folder was put and not removed: it takes what the kernel has in it along.
    fn is_there(&self, folder: &str) -> bool {
        lock(&self.files).get(folder).is_some()
    }

    fn target(&self, name: &str) -> Option<String> {
        if let Some(bus) = self.bus_named(name) {
            return Some(format!("../../../devices/{}", bus.id.name()));
        }
        let (bus, slave) = self.slave_named(name)?;
        Some(format!("../../../devices/{}/{}", bus.id.name(), slave.name))
    }

    fn device_node(&self, path: &str) -> Option<Node> {
        let inside = path.strip_prefix(DEVICES)?.strip_prefix('/')?;
        let mut names = inside.split('/');
        let bus = names
            .next()
            .filter(|_| self.is_there(DEVICES))
            .and_then(|name| self.bus_named(name))?;
        let Some(name) = names.next() else { return Some(Node::Folder) };
        if let Some(slave) = bus.slave(name) {
            let Some(name) = names.next() else { return Some(Node::Folder) };
            if name == "hwmon" && slave.hwmon.is_some() && self.drives(&slave) {
                return hwmon_node(bus, slave, names);
            }
            let (name, _) = self.slave_files(&slave).into_iter().find(|(file, _)| *file == name)?;
            let attribute = Attribute::Slave(bus, slave, name);
            return names.next().is_none().then_some(Node::Attribute(attribute));
        }
        let (name, _) = self.bus_files(&bus).into_iter().find(|(file, _)| *file == name)?;
        names.next().is_none().then_some(Node::Attribute(Attribute::Bus(bus, name)))
    }

    /// The names in a folder, each once.
    pub fn names(&self, folder: &str) -> Vec<String> {
        let mut names = lock(&self.files).names_in(folder);
        names.extend(self.kernel_names(folder));
        names.sort();
        names.dedup();
        names
    }

    fn kernel_names(&self, folder: &str) -> Vec<String> {
        let bus_name = |bus: &Arc<Bus>| bus.id.name();
        let slave_name = |slave: Arc<Slave>| slave.name.clone();
        if folder == LINKS {
            let buses = self.buses();
            let slaves = buses.iter().flat_map(|bus| bus.slaves()).map(slave_name);
            return buses.iter().map(bus_name).chain(slaves).collect();
        }
        if folder == HWMON_LINKS {
            return self.hwmon_devices().map(|(_, slave)| hwmon_name(&slave)).collect();
        }
        if folder == DEVICES {
            return self.buses().iter().map(bus_name).collect();
        }
        let Some(inside) = folder.strip_prefix(DEVICES).and_then(|rest| rest.strip_prefix('/'))
        else {
            return Vec::new();
        };
        let file_name = |(name, _): (&str, u16)| name.to_owned();
        match inside.split_once('/') {
            None => self.bus_named(inside).map_or_else(Vec::new, |bus| {
                let files = self.bus_files(&bus).into_iter().map(file_name);
                files.chain(bus.slaves().into_iter().map(slave_name)).collect()
            }),
            Some((bus, inside)) => {
                let (name, rest) = inside.split_once('/').unwrap_or((inside, ""));
                let slave = self.bus_named(bus).and_then(|bus| bus.slave(name));
                slave.map_or_else(Vec::new, |slave| match rest {
                    "" => {
                        let hwmon = slave.hwmon.is_some() && self.drives(&slave);
                        let files = self.slave_files(&slave).into_iter().map(file_name);
                        files.chain(hwmon.then(|| "hwmon".to_owned())).collect()
                    }
                    "hwmon" => vec![hwmon_name(&slave)],
                    _ => HWMON.into_iter().map(file_name).chain(["device".to_owned()]).collect(),
                })
            }
        }
    }
}

/// The name of a device's hwmon device.
fn hwmon_name(slave: &Slave) -> String {
    slave.hwmon.map_or_else(String::new, |number| format!("hwmon{number}"))
}

/// What is at a path in a device's `hwmon` folder.
fn hwmon_node<'a>(
    bus: Arc<Bus>,
    slave: Arc<Slave>,
    mut names: impl Iterator<Item = &'a str>,
) -> Option<Node> {
    let Some(name) = names.next() else { return Some(Node::Folder) };
    if name != hwmon_name(&slave) {
        return None;
    }
    let node = match names.next() {
        None => return Some(Node::Folder),
        Some("device") => Node::Link(format!("../../../{}", slave.name)),
        Some(file) => {
            let (name, _) = HWMON.into_iter().find(|(name, _)| *name == file)?;
            Node::Attribute(Attribute::Hwmon(bus, slave, name))
        }
    };
    names.next().is_none().then_some(node)
}
