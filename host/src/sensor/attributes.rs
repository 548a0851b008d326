//! Sensors that the kernel shows as files with one number each: Industrial I/O (IIO) and hardware monitoring (hwmon).

mod all;
mod find;
mod hwmon;
mod iio;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

pub use all::{Found, read_all};

use super::Driver;
use super::kernel::{Blocking, Hangs, fault_of, read_attribute};
use crate::clock::Clock;
use crate::reading::{Batch, FaultReason, Measured, Measurement, Quantity};

/// How long a read may take. Most chips answer within 0.2 s; the kernel lets a reader of a slow one wait for its next
/// measurement, 2.5 s for an SCD30 and 6 s for an SCD4x.
const DEADLINE: Duration = Duration::from_secs(8);

/// Longest name of a channel: the kernel's have about 20 letters.
const LONGEST_NAME: usize = 48;

/// Which of the kernel's interfaces shows a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Industrial I/O: converters, climate, light and gas sensors.
    Iio,
    /// Hardware monitoring: temperatures, voltages and fans of the board itself.
    Hwmon,
}

/// A kind of channel, and how the kernel's number becomes one in the unit that Weir tells.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Kind {
    /// How names of its channels begin.
    pub word: &'static str,
    /// What it measures.
    pub quantity: Quantity,
    times: f64,
    over: f64,
}

const fn kind(word: &'static str, quantity: Quantity, times: f64, over: f64) -> Kind {
    Kind { word, quantity, times, over }
}

/// One value of a device.
#[derive(Clone, Debug, PartialEq)]
pub struct Channel {
    /// As its files are named, such as `humidityrelative` or `temp1`.
    name: String,
    kind: Kind,
}

impl Class {
    /// The kinds of channels that can be read.
    pub fn kinds(self) -> &'static [Kind] {
        match self {
            Class::Iio => &iio::KINDS,
            Class::Hwmon => &hwmon::KINDS,
        }
    }

    /// As in a pipeline file.
    pub fn as_str(self) -> &'static str {
        match self {
            Class::Iio => "iio",
            Class::Hwmon => "hwmon",
        }
    }

    /// A channel by its name; `None` when there is no such kind.
    pub fn channel(self, name: &str) -> Option<Channel> {
        if name.len() > LONGEST_NAME {
            return None;
        }
        let kind = match self {
            Class::Iio => iio::kind_of(name),
            Class::Hwmon => hwmon::kind_of(name),
        }?;
        Some(Channel { name: name.to_owned(), kind })
    }

    /// Whether a text can be a device's name, or its folder's.
    pub fn is_device(self, text: &str) -> bool {
        let fits = |c: char| c.is_ascii_graphic() && c != '/';
        (1..=64).contains(&text.len()) && text.chars().all(fits) && !text.starts_with('.')
    }

    /// Whether devices of this name are the hwmon side of a thermometer on a 1-Wire bus.
    pub fn is_w1(self, name: &str) -> bool {
        self == Class::Hwmon && name == hwmon::W1_NAME
    }

    /// The kernel's folder of such devices.
    fn folder(self, root: &Path) -> PathBuf {
        root.join(match self {
            Class::Iio => "sys/bus/iio/devices",
            Class::Hwmon => "sys/class/hwmon",
        })
    }

    /// How the folder of a device is called before its number.
    fn prefix(self) -> &'static str {
        match self {
            Class::Iio => "iio:device",
            Class::Hwmon => "hwmon",
        }
    }
}

impl Channel {
    /// As its files are named, such as `humidityrelative` or `temp1`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it measures.
    pub fn quantity(&self) -> Quantity {
        self.kind.quantity
    }

    /// Its address on a device, such as `iio:bme280/humidityrelative`.
    pub fn address(&self, class: Class, device: &str) -> String {
        let device = device.strip_prefix("iio:").unwrap_or(device);
        format!("{}:{device}/{}", class.as_str(), self.name)
    }
}

/// A reading that failed.
#[derive(Debug, PartialEq)]
struct Failed {
    reason: FaultReason,
    /// What a person should be told of it, once.
    why: Option<String>,
}

impl From<FaultReason> for Failed {
    fn from(reason: FaultReason) -> Self {
        Failed { reason, why: None }
    }
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        fault_of(&error).into()
    }
}

/// The number in a file.
fn number(file: &Path) -> Result<f64, Failed> {
    parse(&read_attribute(file)?)
}

/// The number in a file; `None` when there is no such file. That the chip does not answer is another thing.
fn optional(file: &Path) -> Result<Option<f64>, Failed> {
    match read_attribute(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        text => parse(&text?).map(Some),
    }
}

fn parse(text: &str) -> Result<f64, Failed> {
    if text.trim().is_empty() {
        return Err(FaultReason::NoAnswer.into());
    }
    text.trim().parse().map_err(|_| FaultReason::IoError.into())
}

/// That a file is still there: without it, files beside it are missing because the device has gone meanwhile.
fn still(file: &Path) -> Result<(), Failed> {
    if file.exists() { Ok(()) } else { Err(FaultReason::NotPresent.into()) }
}

/// The value of a channel in the unit of its quantity. Blocks while the kernel talks to the chip.
fn value(class: Class, folder: &Path, channel: &Channel) -> Result<f64, Failed> {
    let number = match class {
        Class::Iio => iio::number_of(folder, &channel.name),
        Class::Hwmon => hwmon::number_of(folder, &channel.name),
    }?;
    let Kind { times, over, .. } = channel.kind;
    let value = number * times / over;
    if !value.is_finite() {
        return Err(FaultReason::OutOfRange.into());
    }
    // Twelve digits are more than any converter has, and fewer than the arithmetic here spoils.
    format!("{value:.11e}").parse().map_err(|_| FaultReason::OutOfRange.into())
}

/// One device: its channels are read one after the other, as the chip itself does it.
#[derive(Debug)]
pub struct AttributeDevice {
    class: Class,
    device: Arc<str>,
    root: PathBuf,
    /// Each with the number of its series.
    channels: Vec<(u32, Arc<Channel>)>,
    /// Where it was when it gave a reading last.
    folder: Option<PathBuf>,
    /// What it hangs on, such as its place on an I2C bus, when there were others of its name: then only what hangs there is
    /// this device.
    home: Option<PathBuf>,
    calls: Blocking,
    /// What was said of each channel, so that it is said once.
    said: Vec<Option<String>>,
    is_choice_told: bool,
}

/// What a look and a read came to.
#[derive(Debug)]
struct Answer {
    value: Result<f64, Failed>,
    /// Where the device is.
    folder: Option<PathBuf>,
    /// Other devices of the same name.
    others: Vec<PathBuf>,
}

impl AttributeDevice {
    /// A device under a root folder, present or not, and the channels to read with the numbers of their series.
    pub fn new(root: &Path, class: Class, device: &str, channels: Vec<(u32, Channel)>) -> Self {
        let channels: Vec<_> =
            channels.into_iter().map(|(series, channel)| (series, Arc::new(channel))).collect();
        AttributeDevice {
            class,
            device: device.into(),
            root: root.to_path_buf(),
            folder: None,
            home: None,
            calls: Blocking::default(),
            said: vec![None; channels.len()],
            channels,
            is_choice_told: false,
        }
    }

    async fn read(&mut self, channel: Arc<Channel>) -> Result<f64, Failed> {
        let (class, device) = (self.class, self.device.clone());
        let (root, known) = (self.root.clone(), self.folder.clone());
        let home = self.home.clone();
        let look = move || answer(class, &device, &channel, &root, known, home.as_deref());
        let answer = self.calls.call(DEADLINE, look).await;
        let Answer { value, folder, others } = answer.map_err(|Hangs| FaultReason::Timeout)?;
        if value.is_ok() {
            if !others.is_empty() && !self.is_choice_told {
                self.is_choice_told = true;
                tracing::warn!(
                    device = %self.device,
                    taken = %shown(folder.as_slice()),
                    others = %shown(&others),
                    "There are several devices of this name: the first is taken. To take another, write its folder's \
                     name as `device`."
                );
            }
            if !others.is_empty() {
                self.home = folder.as_deref().and_then(find::home_of);
            }
            if self.folder.is_some() && self.folder != folder {
                tracing::warn!(
                    device = %self.device,
                    folder = %shown(folder.as_slice()),
                    "The device is in another folder now."
                );
            }
            self.folder = folder;
        }
        value
    }

    /// Says what a person can mend, once until it has changed.
    fn report(&mut self, position: usize, value: &Result<f64, Failed>) {
        let Some(said) = self.said.get_mut(position) else { return };
        let device = &self.device;
        match value {
            Ok(_) if said.take().is_some() => {
                tracing::info!(%device, "The device gives readings again.");
            }
            Err(Failed { why: Some(why), .. }) if said.as_ref() != Some(why) => {
                tracing::warn!(%device, "{why}");
                *said = Some(why.clone());
            }
            _ => {}
        }
    }
}

fn shown(folders: &[PathBuf]) -> String {
    let names = folders.iter().filter_map(|folder| folder.file_name()?.to_str());
    names.collect::<Vec<_>>().join(", ")
}

/// Looks for the device, where it is not known to be in its place still, and reads one channel.
fn answer(
    class: Class,
    device: &str,
    channel: &Channel,
    root: &Path,
    known: Option<PathBuf>,
    home: Option<&Path>,
) -> Answer {
    let still = known.filter(|folder| find::is_device(folder, device));
    let (folder, others) = match still {
        Some(folder) => (folder, Vec::new()),
        None => match find::find(class, root, device, home) {
            Ok((first, others)) => (first, others),
            Err(failed) => return Answer { value: Err(failed), folder: None, others: Vec::new() },
        },
    };
    let mut value = if class.is_w1(&find::name_of(&folder)) {
        let why = "This is a thermometer on a 1-Wire bus: read it by `driver = \"ds18b20\"`. hwmon would start \
                   conversions of its own behind that driver's back.";
        Err(Failed { reason: FaultReason::IoError, why: Some(why.to_owned()) })
    } else {
        value(class, &folder, channel)
    };
    if let Err(Failed { reason: FaultReason::NotPresent, why: why @ None }) = &mut value {
        *why = find::no_channel(class, &folder, &channel.name);
    }
    Answer { value, folder: Some(folder), others }
}

impl Driver for AttributeDevice {
    async fn measure(&mut self, due: &[usize], clock: &Clock, batch: &mut Batch) {
        for &position in due {
            let Some((series, channel)) = self.channels.get(position).cloned() else { continue };
            let time = clock.now();
            let value = self.read(channel).await;
            self.report(position, &value);
            let measurement: Measurement =
                value.map(Measured::good).map_err(|failed| failed.reason);
            batch.put(series, time, measurement);
        }
    }
}

#[cfg(test)]
mod tests;
