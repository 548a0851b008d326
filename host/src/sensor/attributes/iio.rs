//! Industrial I/O: which channels there are, and how their files become a number (`sysfs-bus-iio` in the kernel's
//! `Documentation/ABI/testing`).

use std::path::Path;

use super::{Failed, Kind, kind, number, optional, still};
use crate::reading::Quantity;

/// The kernel tells thousandths of °C, %, V, A and W; kilopascal; lux; ohm; and percent of a gas.
pub(super) const KINDS: [Kind; 9] = [
    kind("temp", Quantity::Temperature, 1.0, 1_000.0),
    kind("humidityrelative", Quantity::Humidity, 1.0, 1_000.0),
    kind("pressure", Quantity::Pressure, 10.0, 1.0),
    kind("illuminance", Quantity::Illuminance, 1.0, 1.0),
    kind("voltage", Quantity::Voltage, 1.0, 1_000.0),
    kind("current", Quantity::Current, 1.0, 1_000.0),
    kind("power", Quantity::Power, 1.0, 1_000.0),
    kind("resistance", Quantity::Resistance, 1.0, 1.0),
    kind("concentration", Quantity::Concentration, 10_000.0, 1.0),
];

/// What files of a channel end in. A channel's own name does not.
const FILES: [&str; 4] = ["raw", "input", "scale", "offset"];

/// The kind of a channel such as `temp`, `voltage0`, `voltage0-voltage1`, `temp_ambient` or `concentration_co2`.
pub(super) fn kind_of(channel: &str) -> Option<Kind> {
    let (base, modifier) = channel.split_once('_').unwrap_or((channel, "x"));
    let is_word = |word: &str| {
        !word.is_empty()
            && word.chars().all(|c| c.is_ascii_alphanumeric())
            && !FILES.contains(&word)
    };
    if !modifier.split('_').all(is_word) {
        return None;
    }
    let is_number = |text: &str| text.chars().all(|c| c.is_ascii_digit());
    KINDS.into_iter().find(|kind| match base.split_once('-') {
        None => base.strip_prefix(kind.word).is_some_and(is_number),
        Some((plus, minus)) => [plus, minus].iter().all(|half| {
            half.strip_prefix(kind.word).is_some_and(|text| !text.is_empty() && is_number(text))
        }),
    })
}

/// What a channel measures, in the kernel's unit.
pub(super) fn number_of(folder: &Path, channel: &str) -> Result<f64, Failed> {
    if let Some(value) = optional(&folder.join(format!("in_{channel}_input")))? {
        return Ok(value);
    }
    let file = folder.join(format!("in_{channel}_raw"));
    let raw = number(&file)?;
    let offset = shared(folder, channel, "offset")?;
    let scale = shared(folder, channel, "scale")?;
    if offset.is_none() || scale.is_none() {
        still(&file)?;
    }
    // A device leaves out what would change nothing.
    Ok((raw + offset.unwrap_or(0.0)) * scale.unwrap_or(1.0))
}

/// A channel's own setting, or the one that it shares: without numbers, without modifiers, or with all channels.
fn shared(folder: &Path, channel: &str, what: &str) -> Result<Option<f64>, Failed> {
    let (base, modifier) = match channel.split_once('_') {
        Some((base, modifier)) => (base, format!("_{modifier}")),
        None => (channel, String::new()),
    };
    let unnumbered: String = base.chars().filter(|c| !c.is_ascii_digit()).collect();
    for file in [
        format!("in_{channel}_{what}"),
        format!("in_{unnumbered}{modifier}_{what}"),
        format!("in_{unnumbered}_{what}"),
        format!("in_{what}"),
        what.to_owned(),
    ] {
        if let Some(number) = optional(&folder.join(file))? {
            return Ok(Some(number));
        }
    }
    Ok(None)
}
