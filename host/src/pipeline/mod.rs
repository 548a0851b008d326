//! From a TOML file to a checked [`Pipeline`], and from that to a running chain.

mod breaker;
mod chain;
mod check;
mod health;
mod keys;
mod live;
mod problems;
mod record;
mod reload;
mod replay;
mod settings;
mod sink;
mod sources;
mod stage;
mod state;
mod swap;
mod ticks;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub use breaker::TrapLimit;
pub use chain::{Beginning, Chain, Outcome, StartError};
pub use check::{check, load};
pub use live::{LiveError, LiveOptions, Signals, run};
pub use problems::{Problem, Problems};
pub use record::BadRecording;
pub use reload::ReloadAt;
pub use replay::{Naming, ReplayError, ReplayedRun, replay, replay_run};
pub use state::{SavedAlarm, SavedState, SavedStateError, SavedStates};

use crate::plugin::{HostLimits, Limits, PluginFile};
use crate::sensor::w1::ChipSettings;
use crate::sensor::{Channel, Class, RomId, SimulatedSettings};
use crate::spool::SpoolSettings;
use crate::uplink::certificate::CertificateFiles;
use crate::uplink::mqtt::MqttSettings;
use crate::uplink::socketio::SocketIoSettings;
use crate::uplink::{Endpoint, Order, TlsSettings};

/// A pipeline file that cannot be wrong any more.
#[derive(Debug)]
pub struct Pipeline {
    /// The device's name on the wire.
    pub device: String,
    /// With different names; at least one, unless all thermometers are taken in.
    pub sensors: Vec<Sensor>,
    /// Whether every DS18B20 that is there at the start is one more sensor, under its ROM id.
    pub all: Option<AllThermometers>,
    /// In the order in which they run.
    pub stages: Vec<Stage>,
    /// The limits that hold before a plugin has an instance.
    pub host_limits: HostLimits,
    /// Lamps, relays, buzzers.
    pub outputs: Vec<Output>,
    /// The ways out.
    pub uplinks: Vec<Uplink>,
    /// Where messages wait for them.
    pub spool: SpoolSettings,
    /// A hub inside this process.
    pub dashboard: Option<Dashboard>,
}

/// One sensor.
#[derive(Debug, PartialEq)]
pub struct Sensor {
    /// Its name.
    pub name: Arc<str>,
    /// What reads it.
    pub driver: Driver,
}

/// What reads a sensor.
#[derive(Debug, PartialEq)]
pub enum Driver {
    /// The kernel's.
    Ds18b20 {
        /// Its address; `None` takes the one that is there.
        id: Option<RomId>,
        /// From one conversion to the next.
        interval: Duration,
        /// How the chip is set up.
        settings: ChipSettings,
    },
    /// A value of a device that the kernel shows by IIO or hwmon.
    Attribute {
        /// By which of them.
        class: Class,
        /// The device's name, or its folder's.
        device: String,
        /// Which of its values.
        channel: Channel,
        /// From one reading to the next.
        interval: Duration,
    },
    /// A simulation.
    Simulated {
        /// How it behaves.
        settings: SimulatedSettings,
        /// From one reading to the next.
        interval: Duration,
    },
    /// A recording.
    Replay {
        /// The CSV file.
        file: PathBuf,
        /// The sensor's name in the file.
        column: String,
        /// How many times faster than recorded.
        speed: f64,
    },
}

/// How thermometers are read that the file does not name one by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AllThermometers {
    /// From one conversion to the next.
    pub interval: Duration,
    /// How the chips are set up.
    pub settings: ChipSettings,
}

/// One step.
#[derive(Clone, Debug, PartialEq)]
pub struct Stage {
    /// Its name, which is also the name of the alarms that it raises.
    pub name: String,
    /// Its plugin.
    pub plugin: Arc<PluginFile>,
    /// Positions in [`Pipeline::sensors`] of those that it is given.
    pub sensors: Vec<usize>,
    /// Whether the file names none of them, so that it is given further ones too.
    pub is_for_all: bool,
    /// What happens when the plugin traps.
    pub on_trap: OnTrap,
    /// After how many traps it rests, with [`OnTrap::Restart`].
    pub trap_limit: TrapLimit,
    /// How often its state is written to the disk, in the time of the readings.
    pub save_interval: Duration,
    /// What the plugin may use.
    pub limits: Limits,
    /// A JSON object, checked against the plugin's manifest.
    pub settings: String,
}

impl Stage {
    /// The same without the bytes of its plugin.
    fn without_code(&self) -> Stage {
        Stage { plugin: Arc::new(self.plugin.without_code()), ..self.clone() }
    }
}

/// What happens to a stage whose plugin trapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnTrap {
    /// It goes on in a fresh instance; what the trap held becomes faults.
    Restart,
    /// It is left out from then on: readings pass it as uncertain.
    Bypass,
    /// It is closed from then on: readings become faults.
    Stop,
}

/// One GPIO pin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// BCM number.
    pub gpio: u8,
    /// What it shows.
    pub shows: Shows,
    /// Whether on is a low level, as for many relay boards.
    pub active_low: bool,
    /// Whether changes are only logged.
    pub simulate: bool,
}

/// What a pin shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shows {
    /// On while an alarm of this stage is active, for any sensor.
    Alarm(String),
    /// On while the uplink is connected, blinking while it is not.
    Status,
}

impl Pipeline {
    /// The tables in which another pipeline differs that cannot change while this one runs.
    fn differences(&self, other: &Pipeline) -> Vec<&'static str> {
        let mut tables = Vec::new();
        for (table, is_same) in [
            ("[device]", self.device == other.device),
            ("[[sensor]]", self.sensors == other.sensors && self.all == other.all),
            ("[plugins]", self.host_limits == other.host_limits),
            ("[[output]]", self.outputs == other.outputs),
            ("[uplink]", self.uplinks == other.uplinks),
            ("[spool]", self.spool == other.spool),
            ("[dashboard]", self.dashboard == other.dashboard),
        ] {
            if !is_same {
                tables.push(table);
            }
        }
        tables
    }

    /// The same without the bytes of its plugins, which nobody needs once they are compiled.
    fn without_code(mut self) -> Pipeline {
        self.stages = self.stages.iter().map(Stage::without_code).collect();
        self
    }

    /// Takes in every thermometer that is there and not named in the file, if the file says so.
    pub fn take_in(&mut self, found: impl IntoIterator<Item = RomId>) {
        let Some(AllThermometers { interval, settings }) = self.all else { return };
        for id in found {
            let is_named = |sensor: &Sensor| matches!(sensor.driver, Driver::Ds18b20 { id: Some(named), .. } if named == id);
            let name = id.to_string();
            let is_taken = |sensor: &Sensor| is_named(sensor) || *sensor.name == *name;
            if let Some(other) = self.sensors.iter().find(|sensor| is_taken(sensor)) {
                if !is_named(other) {
                    tracing::warn!(%id, "Another sensor has this name: the thermometer is left out.");
                }
                continue;
            }
            if self.sensors.len() >= MOST_SENSORS {
                tracing::warn!(%id, "A pipeline has at most {MOST_SENSORS} sensors: this one is left out.");
                continue;
            }
            let driver = Driver::Ds18b20 { id: Some(id), interval, settings };
            for stage in self.stages.iter_mut().filter(|stage| stage.is_for_all) {
                stage.sensors.push(self.sensors.len());
            }
            self.sensors.push(Sensor { name: name.into(), driver });
        }
    }
}

/// Most sensors of a pipeline.
const MOST_SENSORS: usize = 256;

/// A way out.
#[derive(Clone, Debug, PartialEq)]
pub struct Uplink {
    /// Its name: of its place in the spool, and in logs.
    pub name: String,
    /// What it speaks.
    pub protocol: Protocol,
    /// Where to, the preferred one first.
    pub endpoints: Vec<Endpoint>,
    /// The file whose first line is the token or the password.
    pub token_file: Option<PathBuf>,
    /// Whom an encrypted connection trusts, and what it shows.
    pub tls: TlsSettings,
    /// In which order messages go after an outage.
    pub order: Order,
}

/// The hub inside this process.
#[derive(Debug, PartialEq, Eq)]
pub struct Dashboard {
    /// Where its page is.
    pub listen: SocketAddr,
    /// With it the page is served over TLS.
    pub certificate: Option<CertificateFiles>,
}

/// What an uplink speaks.
#[derive(Clone, Debug, PartialEq)]
pub enum Protocol {
    /// Weir's own, over a WebSocket; or plain messages, where the server knows no better.
    WebSocket,
    /// MQTT 5.
    Mqtt(MqttSettings),
    /// Events of socket.io.
    SocketIo(SocketIoSettings),
}
