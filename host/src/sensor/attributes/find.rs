//! Finds devices by their names: the numbers of their folders change from one start of the system to the next.

use std::path::{Path, PathBuf};

use super::{Class, Failed};
use crate::file::excerpt;
use crate::reading::FaultReason;
use crate::sensor::kernel::read_attribute;

/// Most entries of a folder that are looked at.
const MOST: usize = 4_096;

/// What a device says its name is; empty when it does not say.
pub(super) fn name_of(folder: &Path) -> String {
    read_attribute(&folder.join("name")).unwrap_or_default().trim().to_owned()
}

/// Whether a folder is that of a device, by the device's name or by the folder's.
pub(super) fn is_device(folder: &Path, device: &str) -> bool {
    (folder.ends_with(device) && folder.exists()) || name_of(folder) == device
}

/// What a device hangs on: in sysfs its folder is a link into that of the chip on its bus.
pub(super) fn home_of(folder: &Path) -> Option<PathBuf> {
    std::fs::canonicalize(folder).ok()?.parent().map(Path::to_path_buf)
}

/// The first device of a name in order of the folders' numbers, and further ones.
pub(super) fn find(
    class: Class,
    root: &Path,
    device: &str,
    home: Option<&Path>,
) -> Result<(PathBuf, Vec<PathBuf>), Failed> {
    let all = devices(class, root);
    let is_home = |folder: &Path| home.is_none_or(|home| home_of(folder).as_deref() == Some(home));
    let mut fitting =
        all.iter().filter(|folder| is_device(folder, device) && is_home(folder)).cloned();
    match fitting.next() {
        Some(first) => Ok((first, fitting.collect())),
        None => {
            let names: Vec<String> = all.iter().map(|folder| name_of(folder)).collect();
            let why = format!(
                "There is no {} device of this name (there are: {}). It gives faults until it is there.",
                class.as_str(),
                listed(names)
            );
            Err(Failed { reason: FaultReason::NotPresent, why: Some(why) })
        }
    }
}

/// What to say of a channel that a device does not have; nothing of one that it has.
pub(super) fn no_channel(class: Class, folder: &Path, channel: &str) -> Option<String> {
    let channels = channels(class, folder);
    if channels.iter().any(|known| known == channel) {
        return None;
    }
    let why = format!("The device has no channel `{channel}` (it has: {}).", listed(channels));
    Some(why)
}

/// The names of a device's channels that can be read.
pub(super) fn channels(class: Class, folder: &Path) -> Vec<String> {
    let files = std::fs::read_dir(folder).into_iter().flatten().take(MOST);
    let names = files.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut channels: Vec<String> = names
        .filter_map(|name| {
            let channel = match class {
                Class::Iio => name
                    .strip_prefix("in_")?
                    .strip_suffix("_raw")
                    .or_else(|| name.strip_prefix("in_")?.strip_suffix("_input"))?,
                Class::Hwmon => name.strip_suffix("_input")?,
            };
            class.channel(channel).map(|_| channel.to_owned())
        })
        .collect();
    channels.sort();
    channels.dedup();
    channels
}

fn listed(words: Vec<String>) -> String {
    if words.is_empty() { "none".to_owned() } else { excerpt(&words.join(", ")) }
}

/// The folders of all devices, in order of their numbers.
pub(super) fn devices(class: Class, root: &Path) -> Vec<PathBuf> {
    // A folder that cannot be listed has no devices.
    let entries = std::fs::read_dir(class.folder(root)).into_iter().flatten().take(MOST);
    let mut numbered: Vec<(u32, PathBuf)> = entries
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let number = entry.file_name().to_str()?.strip_prefix(class.prefix())?.parse().ok()?;
            Some((number, entry.path()))
        })
        .collect();
    numbered.sort();
    numbered.into_iter().map(|(_, folder)| folder).collect()
}
