//! What the hub counts, for Prometheus.

use super::Hub;
use crate::hub::known::Device;

impl Hub {
    /// Counters in the Prometheus text form.
    pub(in crate::hub) fn metrics(&self) -> String {
        let known = self.known();
        let devices = &known.devices;
        let mut text = String::new();
        type Value = fn(&Device) -> u64;
        let metrics: [(&str, &str, &str, Value); 11] = [
            ("weir_device_connected", "gauge", "Whether the device is connected.", |d| {
                d.connected.into()
            }),
            ("weir_device_queued", "gauge", "Messages that wait on the device.", |d| {
                d.behind.queued
            }),
            ("weir_device_readings_total", "counter", "Readings received.", |d| d.counts.readings),
            ("weir_device_faults_total", "counter", "Faults received.", |d| d.counts.faults),
            ("weir_device_lost_total", "counter", "Messages that will never come.", |d| d.lost),
            ("weir_device_gaps", "gauge", "Numbers left out and not declared.", |d| d.gaps),
            ("weir_device_awaited", "gauge", "Numbers that later ones overtook.", |d| {
                d.streams.awaited()
            }),
            ("weir_device_unclean_stops_total", "counter", "Times that it ended unclean.", |d| {
                d.counts.unclean_stops
            }),
            ("weir_device_spool_set_aside", "gauge", "Damaged files of its spool.", |d| {
                d.spool.as_ref().map_or(0, |spool| spool.set_aside)
            }),
            ("weir_device_repeated_total", "counter", "Messages that came again.", |d| {
                d.counts.repeated
            }),
            ("weir_device_alarms_active", "gauge", "Alarms that are active.", |d| {
                d.alarms.iter().filter(|alarm| alarm.is_active()).count() as u64
            }),
        ];
        for (name, kind, help, value) in metrics {
            text.push_str(&format!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
            for device in devices.values() {
                let label =
                    device.device.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
                text.push_str(&format!("{name}{{device=\"{label}\"}} {}\n", value(device)));
            }
        }
        text
    }
}
