//! Every channel of every device, read once.

use std::path::{Path, PathBuf};

use futures_util::future::join_all;

use super::{Channel, Class, DEADLINE, find, value};
use crate::reading::{FaultReason, Measured, Measurement};
use crate::sensor::kernel::Blocking;

/// One channel of one device.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// Which of the kernel's interfaces shows it.
    pub class: Class,
    /// Its device's name, or that of its folder when others have the same name.
    pub device: String,
    /// The channel.
    pub channel: Channel,
    /// What it measures now.
    pub measurement: Measurement,
}

/// Reads every channel that there is, but for those of 1-Wire thermometers, which have a driver of their own. Devices are
/// read beside each other, and one that hangs gives `timeout`.
pub async fn read_all(root: &Path) -> Vec<Found> {
    let mut all = Vec::new();
    for class in [Class::Iio, Class::Hwmon] {
        let root = root.to_path_buf();
        let folders = Blocking::default().call(DEADLINE, move || find::devices(class, &root)).await;
        let devices =
            join_all(folders.unwrap_or_default().into_iter().map(|f| read(class, f))).await;
        let mut devices: Vec<(PathBuf, Vec<Found>)> = devices;
        let names: Vec<String> =
            devices.iter().flat_map(|(_, found)| found.first().map(|f| f.device.clone())).collect();
        for (folder, found) in &mut devices {
            for found in found {
                if names.iter().filter(|name| **name == found.device).count() > 1
                    && let Some(name) = folder.file_name().and_then(|name| name.to_str())
                {
                    found.device = name.to_owned();
                }
            }
        }
        all.extend(devices.into_iter().flat_map(|(_, found)| found));
    }
    all
}

/// All channels of one device.
async fn read(class: Class, folder: PathBuf) -> (PathBuf, Vec<Found>) {
    let mut calls = Blocking::default();
    let place = folder.clone();
    let look = move || (find::name_of(&place), find::channels(class, &place));
    let (device, names) = calls.call(DEADLINE, look).await.unwrap_or_default();
    let mut found = Vec::new();
    if class.is_w1(&device) || !class.is_device(&device) {
        return (folder, found);
    }
    for channel in names.iter().filter_map(|name| class.channel(name)) {
        let (place, asked) = (folder.clone(), channel.clone());
        let value = calls.call(DEADLINE, move || value(class, &place, &asked)).await;
        let measurement = match value {
            Ok(value) => value.map(Measured::good).map_err(|failed| failed.reason),
            Err(_) => Err(FaultReason::Timeout),
        };
        found.push(Found { class, device: device.clone(), channel, measurement });
    }
    (folder, found)
}

impl Found {
    /// Its address, such as `hwmon:cpu_thermal/temp1`.
    pub fn address(&self) -> String {
        self.channel.address(self.class, &self.device)
    }

    /// The table that takes it into a pipeline.
    pub fn toml_block(&self) -> String {
        let (driver, channel) = (self.class.as_str(), self.channel.name());
        // In a sensor's name fewer letters are allowed than in a device's.
        let both = format!("{}-{channel}", self.device);
        let letters = both.chars().map(|c| match c {
            c if c.is_alphanumeric() || matches!(c, '-' | '_' | '.') => c,
            _ => '-',
        });
        let name: String = letters.take(64).collect();
        let device = self.device.replace('\\', "\\\\").replace('"', "\\\"");
        format!(
            "[[sensor]]\nname = \"{name}\"\ndriver = \"{driver}\"\ndevice = \"{device}\"\nchannel = \"{channel}\""
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_can_be_pasted_whatever_the_device_calls_itself() {
        let channel = Class::Hwmon.channel("temp1").unwrap();
        let measurement = Ok(Measured::good(1.0));
        let device = r#"ucsi:00"\x"#.to_owned();
        let found = Found { class: Class::Hwmon, device, channel, measurement };
        assert_eq!(
            found.toml_block(),
            "[[sensor]]\nname = \"ucsi-00--x-temp1\"\ndriver = \"hwmon\"\n\
             device = \"ucsi:00\\\"\\\\x\"\nchannel = \"temp1\""
        );
    }
}
