//! Hardware monitoring: which channels there are, and when their number is one (`hwmon/sysfs-interface` in the kernel's
//! documentation).

use std::path::Path;

use super::{Failed, Kind, kind, number, optional, still};
use crate::reading::{FaultReason, Quantity};

/// The name of the devices that `w1_therm` makes beside its own files.
pub(super) const W1_NAME: &str = "w1_slave_temp";

/// The kernel tells thousandths of °C, %, V and A; millionths of W; and turns a minute.
pub(super) const KINDS: [Kind; 6] = [
    kind("temp", Quantity::Temperature, 1.0, 1_000.0),
    kind("humidity", Quantity::Humidity, 1.0, 1_000.0),
    kind("in", Quantity::Voltage, 1.0, 1_000.0),
    kind("curr", Quantity::Current, 1.0, 1_000.0),
    kind("power", Quantity::Power, 1.0, 1_000_000.0),
    kind("fan", Quantity::Speed, 1.0, 1.0),
];

/// The kind of a channel such as `temp1` or `in0`.
pub(super) fn kind_of(channel: &str) -> Option<Kind> {
    let is_number =
        |text: &str| (1..=5).contains(&text.len()) && text.chars().all(|c| c.is_ascii_digit());
    KINDS.into_iter().find(|kind| channel.strip_prefix(kind.word).is_some_and(is_number))
}

/// What a channel measures, in the kernel's unit.
pub(super) fn number_of(folder: &Path, channel: &str) -> Result<f64, Failed> {
    let flag = |what: &str| optional(&folder.join(format!("{channel}_{what}")));
    if flag("enable")? == Some(0.0) {
        let why = format!("The channel `{channel}` is switched off: {channel}_enable is 0.");
        return Err(Failed { reason: FaultReason::NoAnswer, why: Some(why) });
    }
    let file = folder.join(format!("{channel}_input"));
    let value = number(&file)?;
    match flag("fault")? {
        Some(1.0) => {
            let why = format!(
                "The chip says that nothing is connected to `{channel}`: {channel}_fault is 1."
            );
            Err(Failed { reason: FaultReason::NotPresent, why: Some(why) })
        }
        Some(_) => Ok(value),
        None => still(&file).map(|()| value),
    }
}
