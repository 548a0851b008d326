//! Tells the chain the time, and what becomes of the wall clock.

use std::time::Duration;

use tokio::sync::mpsc::error::TrySendError;

use crate::reading::{Input, Observed, WallClock};
use crate::sensor::Sampling;

/// How often plugins are told the time.
const TICK: Duration = Duration::from_secs(1);

/// Feeds the time to the chain. A tick that finds the queue full is left out: the next one says the same later. What
/// becomes of the wall clock is told in any case.
pub(super) async fn tick(mut to: Sampling, mut wall_clock: WallClock) {
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = to.stop.wait() => return,
            _ = ticks.tick() => {}
        }
        let now = to.clock.now();
        let looked = to.clock.look(wall_clock);
        if looked != wall_clock {
            say_clock(wall_clock, looked);
            wall_clock = looked;
            if to.out.send(Observed::WallClock(looked, now)).await.is_err() {
                return;
            }
        }
        let tick = Observed::Input(Input::Tick(now));
        if let Err(TrySendError::Closed(_)) = to.out.try_send(tick) {
            return;
        }
    }
}

fn say_clock(before: WallClock, after: WallClock) {
    let step_secs = after.step_secs_since(before);
    if step_secs != 0.0 {
        tracing::warn!(step_secs, "The clock was set. Intervals and delays go on as before.");
    }
    match (before.synchronized, after.synchronized) {
        (false, true) => tracing::info!("The clock is synchronized."),
        (true, false) => tracing::warn!("The clock is not synchronized any more."),
        _ => {}
    }
}
