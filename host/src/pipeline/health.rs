//! How the device is, told to each hub from time to time.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::sink::Passed;
use crate::reading::Timestamp;
use crate::sensor::Sampled;
use crate::spool::Spool;
use crate::stop::Stop;
use crate::uplink::wire::Event;

/// How often the device tells how it is, and when it does so first.
const HEALTH: Duration = Duration::from_secs(60);
const FIRST_HEALTH: Duration = Duration::from_secs(5);

/// Tells each hub how the device is.
pub(super) struct Health {
    pub(super) begun: Instant,
    pub(super) counts: Arc<Sampled>,
    pub(super) passed: Arc<Passed>,
    pub(super) spools: Vec<Arc<dyn Spool>>,
}

impl Health {
    pub(super) async fn tell(self, mut stop: Stop) {
        let mut wait = FIRST_HEALTH;
        loop {
            tokio::select! {
                () = stop.wait() => return,
                () = tokio::time::sleep(wait) => {}
            }
            wait = HEALTH;
            for spool in &self.spools {
                let state = spool.state();
                let health = Event::Health {
                    time: Timestamp::now().to_string().into(),
                    uptime_secs: self.begun.elapsed().as_secs(),
                    queued: state.queued,
                    dropped: state.dropped,
                    missed_cycles: self.counts.missed_cycles.load(Ordering::Relaxed),
                    plugin_traps: self.passed.traps.load(Ordering::Relaxed),
                    uplinks: Vec::new(),
                    spool: None,
                };
                spool.append(vec![health.into()]);
            }
        }
    }
}
