//! A status LED: on while the uplink is connected, blinking while it is not, off when the pipeline has ended.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

use super::Pin;
use crate::stop::Stop;
use crate::uplink::{Link, LinkState};

/// Half a second on, half a second off.
const BLINK: Duration = Duration::from_millis(500);

/// Shows whether all uplinks are connected, until told to stop.
pub async fn show_status(mut pin: Box<dyn Pin>, links: Vec<watch::Receiver<Link>>, mut stop: Stop) {
    let mut on = false;
    while !stop.is_said() {
        let up = links.iter().all(|link| link.borrow().state == LinkState::Up);
        on = up || !on;
        pin.set(on);
        // Looked at twice a second: an LED that shows a change half a second later serves as well.
        let _time_or_stop = timeout(BLINK, stop.wait()).await;
    }
    pin.set(false);
}
