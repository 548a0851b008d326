//! What programs are told of devices.

use serde::Serialize;

use super::Hub;
use crate::hub::alarms::Alarm;
use crate::hub::clocks::Clocks;
use crate::hub::known::Device;
use crate::hub::store::Found;
use crate::reading::Timestamp;
use crate::uplink::wire::to_json;

impl Hub {
    /// All devices without their history, as JSON.
    pub(in crate::hub) fn devices_json(&self) -> String {
        let known = self.known();
        let devices = &known.devices;
        to_json(&devices.values().map(Device::without_recent).collect::<Vec<_>>())
    }

    /// All alarms, as JSON.
    pub(in crate::hub) fn alarms_json(&self) -> String {
        #[derive(Serialize)]
        struct OfDevice<'d> {
            device: &'d str,
            #[serde(flatten)]
            alarm: &'d Alarm,
        }
        let known = self.known();
        let devices = &known.devices;
        let alarms = devices.values().flat_map(|device| {
            device.alarms.iter().map(|alarm| OfDevice { device: &device.device, alarm })
        });
        to_json(&alarms.collect::<Vec<_>>())
    }

    /// The recent entries of a sensor from one time to another; `None` when there is no such sensor.
    pub(in crate::hub) fn recent(
        &self,
        device: &str,
        sensor: &str,
        (from, to): (Timestamp, Timestamp),
        limit: usize,
    ) -> Option<Found> {
        let known = self.known();
        let device = known.devices.get(device)?;
        let sensor = device.sensors.iter().find(|known| known.sensor == sensor)?;
        let entries = sensor.recent.iter().filter(|entry| (from..=to).contains(&entry.when.time));
        let mut found = Found::default();
        let mut before = None;
        for entry in entries {
            let time = entry.when.time;
            // Those of one time are not divided: nothing but their time tells where to go on.
            if found.entries.len() >= limit && before != Some(time) {
                found.next = Some((time, 0));
                break;
            }
            found.entries.push(device.show(entry));
            before = Some(time);
        }
        Some(found)
    }

    /// What the store knows a device and its sensor by, and how the device's clock was set.
    pub(in crate::hub) fn find(&self, device: &str, sensor: &str) -> Option<(u32, u32, Clocks)> {
        let known = self.known();
        let device = known.devices.get(device)?;
        let position = device.sensors.iter().position(|known| known.sensor == sensor)?;
        Some((device.number, u32::try_from(position).ok()?, device.clocks.clone()))
    }

    /// What the store knows a device by.
    pub(in crate::hub) fn find_device(&self, device: &str) -> Option<u32> {
        Some(self.known().devices.get(device)?.number)
    }
}
