//! The numbers of a device's messages: each is taken once a stream, and those that never come are counted.

use std::collections::VecDeque;

use uuid::Uuid;

use super::known::Refused;

/// Most streams of a device that are remembered. A device begins a new one when its spool is lost.
pub(super) const STREAMS: usize = 16;
/// Most gaps in the numbers of one stream that are remembered.
const GAPS: usize = 1_024;

/// The streams of one device, the newest last. A plain device has none: its messages are always new.
#[derive(Clone, Debug, Default)]
pub(super) struct Streams {
    known: VecDeque<Stream>,
}

#[derive(Clone, Debug)]
struct Stream {
    id: Uuid,
    connections: u32,
    /// The highest number that was taken.
    taken: u64,
    /// Numbers below it that did not come.
    gaps: Vec<(u64, u64)>,
}

impl Streams {
    fn of(&mut self, stream: Option<Uuid>) -> Option<&mut Stream> {
        self.known.iter_mut().find(|known| Some(known.id) == stream)
    }

    /// A connection with this stream begins. Gives whether the stream is new.
    pub(super) fn follow(&mut self, stream: Option<Uuid>) -> Result<bool, Refused> {
        let Some(id) = stream else { return Ok(false) };
        if let Some(known) = self.of(stream) {
            known.connections += 1;
            return Ok(false);
        }
        if self.known.len() >= STREAMS {
            // The oldest that nobody speaks for any more is forgotten.
            let idle = self.known.iter().position(|known| known.connections == 0);
            self.known.remove(idle.ok_or(Refused::TooManyStreams)?);
        }
        self.known.push_back(Stream { id, connections: 1, taken: 0, gaps: Vec::new() });
        Ok(true)
    }

    /// A connection with this stream has ended.
    pub(super) fn leave(&mut self, stream: Option<Uuid>) {
        if let Some(known) = self.of(stream) {
            known.connections = known.connections.saturating_sub(1);
        }
    }

    /// The highest number of a stream that was taken.
    pub(super) fn taken(&mut self, stream: Option<Uuid>) -> u64 {
        self.of(stream).map_or(0, |known| known.taken)
    }

    /// Whether a number of a stream was taken before; notes it when not.
    pub(super) fn has_seen(&mut self, stream: Option<Uuid>, seq: Option<u64>) -> bool {
        let (Some(seq), Some(known)) = (seq, self.of(stream)) else { return false };
        if seq <= known.taken {
            return true;
        }
        if seq > known.taken + 1 && known.gaps.len() < GAPS {
            known.gaps.push((known.taken + 1, seq - 1));
        }
        known.taken = seq;
        false
    }

    /// Numbers that will never come. Gives how many of them did not come before.
    pub(super) fn declare_lost(&mut self, stream: Option<Uuid>, from: u64, to: u64) -> u64 {
        let Some(known) = self.of(stream) else { return 0 };
        let mut lost = 0;
        let mut left = Vec::new();
        for (first, last) in known.gaps.drain(..) {
            let (low, high) = (first.max(from), last.min(to));
            if low > high {
                left.push((first, last));
                continue;
            }
            lost += high - low + 1;
            left.extend((first < low).then(|| (first, low - 1)));
            left.extend((high < last).then(|| (high + 1, last)));
        }
        known.gaps = left;
        lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_taken_once_a_stream_whichever_came_between() {
        let [one, two] = [Some(Uuid::from_u128(1)), Some(Uuid::from_u128(2))];
        let mut streams = Streams::default();
        assert_eq!(streams.follow(one), Ok(true));
        assert!(!streams.has_seen(one, Some(4)));
        // A second device of the same name, or the same with a new spool.
        assert_eq!(streams.follow(two), Ok(true));
        assert!(!streams.has_seen(two, Some(1)));
        assert!(streams.has_seen(one, Some(4)) && !streams.has_seen(one, Some(5)));
        assert_eq!(streams.follow(one), Ok(false));
        assert_eq!((streams.taken(one), streams.taken(two), streams.taken(None)), (5, 1, 0));
        assert!(!streams.has_seen(None, Some(1)) && !streams.has_seen(None, Some(1)));
    }

    #[test]
    fn only_what_did_not_come_is_lost() {
        let stream = Some(Uuid::from_u128(1));
        let mut streams = Streams::default();
        streams.follow(stream).unwrap();
        for seq in [1, 2, 3, 10, 11, 20] {
            assert!(!streams.has_seen(stream, Some(seq)));
        }
        assert_eq!(streams.declare_lost(stream, 2, 6), 3, "4, 5 and 6");
        assert_eq!(streams.declare_lost(stream, 1, 19), 3 + 8);
        assert_eq!(streams.declare_lost(stream, 1, u64::MAX), 0);
    }

    #[test]
    fn a_stream_that_speaks_is_not_forgotten_for_others() {
        let mut streams = Streams::default();
        let live = Some(Uuid::from_u128(1));
        streams.follow(live).unwrap();
        assert!(!streams.has_seen(live, Some(7)));
        for other in 2..100 {
            let other = Some(Uuid::from_u128(other));
            streams.follow(other).unwrap();
            streams.leave(other);
        }
        assert_eq!(streams.taken(live), 7);
        for other in 100..100 + STREAMS as u128 - 1 {
            streams.follow(Some(Uuid::from_u128(other))).unwrap();
        }
        assert_eq!(streams.follow(Some(Uuid::from_u128(200))), Err(Refused::TooManyStreams));
    }
}
