//! Which readings of a batch a stage is given, and what becomes of their quality.

use super::{RunningStage, State};
use crate::plugin::PluginKind;
use crate::reading::{Fault, FaultReason, Quality, Reading, Readings};

impl RunningStage {
    /// Readings of the plugin's series under its own numbers, and the rest under the chain's.
    pub(super) fn split(&self, readings: &Readings) -> (Readings, Readings) {
        let mut given = Readings::default();
        let mut rest = Readings::default();
        for reading in readings.iter() {
            match self.own_number.get(reading.series as usize).copied().flatten() {
                Some(series) => given.push(Reading { series, ..reading }),
                None => rest.push(reading),
            }
        }
        (given, rest)
    }

    pub(super) fn own_fault(&self, fault: Fault) -> Option<Fault> {
        let series = self.own_number.get(fault.series as usize).copied().flatten()?;
        Some(Fault { series, ..fault })
    }

    /// Readings that a filter or a calibration should have seen and did not. An alert changes no reading, so without it
    /// they are what they were.
    pub(super) fn doubt(&self, mut given: Readings) -> Readings {
        if self.kind != PluginKind::Alert {
            given.quality.fill(Quality::Uncertain.code());
        }
        given
    }

    /// A plugin that was given only uncertain readings of a sensor cannot give good ones.
    pub(super) fn keep_doubt(&mut self, given: &Readings, readings: &mut Readings) {
        let rows = || given.series.iter().zip(&given.quality);
        for (&series, _) in rows() {
            if let Some(was_good) = self.was_good.get_mut(series as usize) {
                *was_good = false;
            }
        }
        for (&series, &quality) in rows() {
            if let Some(was_good) = self.was_good.get_mut(series as usize) {
                *was_good |= quality == Quality::Good.code();
            }
        }
        for (&series, quality) in readings.series.iter().zip(&mut readings.quality) {
            if !self.was_good.get(series as usize).copied().unwrap_or(false) {
                *quality = Quality::Uncertain.code();
            }
        }
    }

    /// Each reading becomes a fault. An alert's readings pass beside the fault: they are good, only nobody watched.
    pub(super) fn lose(
        &self,
        given: Readings,
        reason: FaultReason,
        faults: &mut Vec<Fault>,
    ) -> Readings {
        faults.extend(given.iter().map(|reading| Fault {
            series: self.to_chain_number(reading.series),
            time: reading.time,
            reason,
        }));
        let passes = self.kind == PluginKind::Alert && !matches!(self.state, State::Stopped(_));
        if passes { given } else { Readings::default() }
    }

    pub(super) fn to_chain_number(&self, own: u32) -> u32 {
        self.chain_number.get(own as usize).copied().unwrap_or_default()
    }

    pub(super) fn to_chain_numbers(&self, mut readings: Readings) -> Readings {
        if !self.is_given_all {
            for series in &mut readings.series {
                *series = self.to_chain_number(*series);
            }
        }
        readings
    }
}
