//! What the log says of strangers: one line a minute for each, so that none of them fills it.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How long a stranger is not told of again.
const PAUSE: Duration = Duration::from_secs(60);
/// Most strangers that are remembered; when there are more, further ones are not told of until some are forgotten.
const STRANGERS: usize = 1_024;

/// Who was told of lately.
#[derive(Debug, Default)]
pub(super) struct Told {
    at: Mutex<HashMap<IpAddr, Instant>>,
}

impl Told {
    /// Whether this one is to be told of now.
    pub(super) fn is_due(&self, stranger: IpAddr) -> bool {
        let now = Instant::now();
        // A panic elsewhere cannot have left it half changed.
        let mut at = self.at.lock().unwrap_or_else(PoisonError::into_inner);
        let is_fresh = |told: &Instant| now.duration_since(*told) < PAUSE;
        if at.get(&stranger).is_some_and(is_fresh) {
            return false;
        }
        if at.len() >= STRANGERS {
            at.retain(|_, told| is_fresh(told));
        }
        let has_room = at.len() < STRANGERS;
        if has_room {
            at.insert(stranger, now);
        }
        has_room
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_stranger_is_told_of_once_a_minute_and_all_of_them_are_bounded() {
        let told = Told::default();
        let stranger = |n: u32| IpAddr::from(n.to_be_bytes());
        assert!(told.is_due(stranger(1)));
        assert!(!told.is_due(stranger(1)) && told.is_due(stranger(2)));
        tokio::time::advance(PAUSE).await;
        assert!(told.is_due(stranger(1)));
        let due = (10..10_000).filter(|n| told.is_due(stranger(*n))).count();
        assert_eq!(due, STRANGERS - 1, "all but the one that was fresh already");
    }
}
