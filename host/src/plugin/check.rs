//! What a plugin gives back is checked before anybody believes it.

use super::bindings::filter::weir::plugin::types;
use super::{Limits, limits};
use crate::reading::{Alarm, AlarmState, Quality, Readings, Severity, Timestamp};

/// A filter's columns: equal length, declared series, known quality, finite values.
pub(super) fn readings(
    columns: types::Readings,
    given: usize,
    series: usize,
    limits: &Limits,
) -> Result<Readings, String> {
    let types::Readings { series: of, time, value, quality } = columns;
    let rows = of.len();
    if [time.len(), value.len(), quality.len()].iter().any(|&len| len != rows) {
        return Err(format!(
            "its columns have different lengths: series {rows}, time {}, value {}, quality {}",
            time.len(),
            value.len(),
            quality.len()
        ));
    }
    let most = given.saturating_add(limits.extra_readings);
    if rows > most {
        return Err(format!(
            "it gave {rows} readings for {given}: at most {most} are allowed (`extra_readings` in [stage.limits])"
        ));
    }
    if let Some(undeclared) = of.iter().find(|&&number| number as usize >= series) {
        return Err(format!(
            "it gave a reading of series {undeclared}: only 0 to {} were declared",
            series.saturating_sub(1)
        ));
    }
    if let Some(unknown) = quality.iter().find(|&&code| Quality::from_code(code).is_none()) {
        return Err(format!("it gave the quality {unknown}: must be 0 (good) or 1 (uncertain)"));
    }
    let mut last = vec![0; series];
    for (&number, &time) in of.iter().zip(&time) {
        let Some(last) = last.get_mut(number as usize) else { continue };
        if time < *last {
            return Err(format!("its readings of series {number} go back in time"));
        }
        *last = time;
    }
    finite(&value)?;
    Ok(Readings { series: of, time, value, quality })
}

/// A calibration's values: one for each reading, all finite.
pub(super) fn values(value: Vec<f64>, given: usize) -> Result<Vec<f64>, String> {
    if value.len() != given {
        return Err(format!("it gave {} values for {given} readings", value.len()));
    }
    finite(&value)?;
    Ok(value)
}

/// Alarms: declared series, a short printable condition, finite numbers, not too many.
pub(super) fn alarms(
    raised: Vec<types::Alarm>,
    given: usize,
    series: usize,
    limits: &Limits,
) -> Result<Vec<Alarm>, String> {
    let most = (2 * (given + series)).saturating_add(limits.extra_alarms);
    if raised.len() > most {
        return Err(format!(
            "it raised {} alarms for {given} readings: at most {most} are allowed (`extra_alarms` in [stage.limits])",
            raised.len()
        ));
    }
    raised.into_iter().map(|raised| alarm(raised, series)).collect()
}

fn alarm(raised: types::Alarm, series: usize) -> Result<Alarm, String> {
    if raised.series as usize >= series {
        return Err(format!(
            "it raised an alarm of series {}, which was not declared",
            raised.series
        ));
    }
    let condition = raised.condition;
    let printable =
        condition.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    if condition.is_empty() || condition.len() > limits::WORD_CHARS || !printable {
        return Err(format!(
            "it raised an alarm whose condition is not 1 to {} lowercase letters, digits and dashes",
            limits::WORD_CHARS
        ));
    }
    let numbers: Vec<f64> = raised.value.iter().chain(&raised.limit).copied().collect();
    finite(&numbers)?;
    Ok(Alarm {
        series: raised.series,
        time: Timestamp { nanos: raised.time },
        condition,
        state: match raised.state {
            types::AlarmState::Active => AlarmState::Active,
            types::AlarmState::Cleared => AlarmState::Cleared,
        },
        severity: match raised.severity {
            types::Severity::Info => Severity::Info,
            types::Severity::Warning => Severity::Warning,
            types::Severity::Critical => Severity::Critical,
        },
        value: raised.value,
        limit: raised.limit,
    })
}

fn finite(values: &[f64]) -> Result<(), String> {
    match values.iter().find(|value| !value.is_finite()) {
        Some(value) => Err(format!("it gave the value {value}: values must be finite")),
        None => Ok(()),
    }
}
