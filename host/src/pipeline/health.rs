//! How the device is, told to each hub from time to time.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::sink::{Intake, Passed};
use crate::reading::Timestamp;
use crate::sensor::Sampled;
use crate::spool::{Place, Spool};
use crate::stop::Stop;
use crate::uplink::wire::{Event, SpoolHealth, UplinkHealth};
use crate::uplink::{Link, LinkState};

/// How often the device tells how it is, and when it does so first.
const HEALTH: Duration = Duration::from_secs(60);
const FIRST_HEALTH: Duration = Duration::from_secs(5);

/// Tells each hub how the device is.
pub(super) struct Health {
    pub(super) begun: Instant,
    pub(super) counts: Arc<Sampled>,
    pub(super) passed: Arc<Passed>,
    pub(super) spool: Arc<Spool>,
    pub(super) intake: Intake,
    pub(super) links: Vec<UplinkLink>,
}

/// An uplink, as its health is told.
pub(super) struct UplinkLink {
    pub(super) name: Arc<str>,
    pub(super) place: Place,
    pub(super) link: watch::Receiver<Link>,
}

impl Health {
    /// Tells it from time to time.
    pub(super) async fn tell(self, mut stop: Stop) {
        let mut wait = FIRST_HEALTH;
        loop {
            tokio::select! {
                () = stop.wait() => return,
                () = tokio::time::sleep(wait) => {}
            }
            wait = HEALTH;
            self.intake.append(vec![self.now().into()]);
        }
    }

    fn now(&self) -> Event {
        let spool = self.spool.state();
        Event::Health {
            time: Timestamp::now().to_string().into(),
            uptime_secs: self.begun.elapsed().as_secs(),
            queued: spool.queued,
            dropped: spool.dropped,
            missed_cycles: self.counts.missed_cycles.load(Ordering::Relaxed),
            plugin_traps: self.passed.traps.load(Ordering::Relaxed),
            uplinks: self.links.iter().map(UplinkLink::health).collect(),
            spool: Some(SpoolHealth {
                on_disk: spool.memory_only.is_none(),
                bytes: spool.bytes_on_disk,
                reason: spool.memory_only.as_deref().map(Into::into),
                set_aside: spool.set_aside,
                unclean_starts: spool.unclean_starts,
            }),
        }
    }
}

impl UplinkLink {
    fn health(&self) -> UplinkHealth {
        let link = self.link.borrow();
        let since = Timestamp::now().before(link.since.elapsed());
        UplinkHealth {
            uplink: (&*self.name).into(),
            state: link.state.as_str().into(),
            queued: self.place.state().queued,
            since: Some(since.to_string().into()),
            reason: link.reason.clone().filter(|_| link.state == LinkState::Down),
        }
    }
}
