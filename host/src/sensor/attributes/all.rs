//! Every channel of every device, read once.

use std::path::Path;

use super::{Channel, Class, find, value};
use crate::reading::{Measured, Measurement};

/// One channel of one device.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// Which of the kernel's interfaces shows it.
    pub class: Class,
    /// Its device's name.
    pub device: String,
    /// The channel.
    pub channel: Channel,
    /// What it measures now.
    pub measurement: Measurement,
}

/// Reads every channel that there is, but for those of 1-Wire thermometers, which have a driver of their own. Blocks while
/// the kernel talks to the chips.
pub fn read_all(root: &Path) -> Vec<Found> {
    let mut all = Vec::new();
    for class in [Class::Iio, Class::Hwmon] {
        for folder in find::devices(class, root) {
            let device = find::name_of(&folder);
            if class.is_w1(&device) || !class.is_device(&device) {
                continue;
            }
            for name in find::channels(class, &folder) {
                let Some(channel) = class.channel(&name) else { continue };
                let value = value(class, &folder, &channel);
                let measurement = value.map(Measured::good).map_err(|failed| failed.reason);
                all.push(Found { class, device: device.clone(), channel, measurement });
            }
        }
    }
    all
}

impl Found {
    /// Its address, such as `hwmon:cpu_thermal/temp1`.
    pub fn address(&self) -> String {
        self.channel.address(self.class, &self.device)
    }

    /// The table that takes it into a pipeline.
    pub fn toml_block(&self) -> String {
        let (driver, device, channel) = (self.class.as_str(), &self.device, self.channel.name());
        format!(
            "[[sensor]]\nname = \"{device}-{channel}\"\ndriver = \"{driver}\"\ndevice = \"{device}\"\nchannel = \"{channel}\""
        )
    }
}
