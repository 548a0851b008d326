//! A recording that is played into a running pipeline, at its own pace or faster.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Sampling;
use super::recording::{Recording, Row};
use crate::reading::{Batch, Input, Observed};

/// Longest wait between two rows while playing, and before the next beginning: an outage of hours in the
/// recording is not sat out.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// Shortest wait between two rows, at any speed.
const SHORTEST_WAIT: Duration = Duration::from_millis(10);

/// A recording and what becomes of its sensors.
#[derive(Debug)]
pub struct Replay {
    /// The recording.
    pub recording: Recording,
    /// The series that play each of the recording's names.
    pub series: Vec<Vec<u32>>,
    /// How many times faster than recorded.
    pub speed: f64,
}

impl Replay {
    /// Plays the recording over and over until told to stop. Readings bear the time at which they are played.
    pub async fn play(self, mut to: Sampling) {
        let rows: Vec<_> = self
            .recording
            .rows
            .iter()
            .flat_map(|row| {
                self.series.get(row.name).into_iter().flatten().map(move |&series| (series, row))
            })
            .collect();
        let cycles: Vec<_> = rows.chunk_by(|(_, a), (_, b)| a.time == b.time).collect();
        while !cycles.is_empty() {
            for (cycle, next) in cycles.iter().zip(cycles.iter().skip(1).map(Some).chain([None])) {
                let now = to.clock.now();
                let mut batch = Batch::default();
                for (series, row) in *cycle {
                    batch.put(*series, now, row.measurement);
                }
                to.counts.taken.fetch_add(batch.len() as u64, Ordering::Relaxed);
                if to.out.send(Observed::Input(Input::Batch(batch))).await.is_err() {
                    return;
                }
                tokio::select! {
                    () = to.stop.wait() => return,
                    () = tokio::time::sleep(self.wait(cycle, next.copied())) => {}
                }
            }
        }
    }

    fn wait(&self, cycle: &[(u32, &Row)], next: Option<&[(u32, &Row)]>) -> Duration {
        let time_of = |cycle: &[(u32, &Row)]| cycle.first().map(|(_, row)| row.time);
        let (Some(this), Some(next)) = (time_of(cycle), next.and_then(time_of)) else {
            return LONGEST_WAIT;
        };
        let wait = next.since(this).as_secs_f64() / self.speed;
        Duration::try_from_secs_f64(wait).unwrap_or(LONGEST_WAIT).clamp(SHORTEST_WAIT, LONGEST_WAIT)
    }
}
