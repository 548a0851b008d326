//! What one connection has sent and what of it is acked: which messages go next, and how many at once. Pure.
//!
//! In order, the messages go out as they are numbered. After an outage the live ones may go first: those that are numbered
//! from now on are sent as they come, and what waited follows beside them, paced and marked `"late"`.

use std::time::Duration;

use tokio::time::Instant;

/// Most numbers that are sent and not yet acked, of the live ones and of those that waited each. A hub acks when its disk
/// has them: with this a slow one of four writes a second still takes 16,000 messages a second.
const WINDOW: u64 = 4_096;
/// So many messages go out at once: no live one needs to overtake them.
const SHORT_BACKLOG: u64 = 1_024;

/// What is in one frame of those that waited, at most: as much as their pace brings in this time.
const LATE_FRAME: Duration = Duration::from_millis(100);
/// When the disk does not give what waits, it is asked again after this.
const NONE_PAUSE: Duration = Duration::from_millis(200);

/// In which order messages go out after an outage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// As they are numbered.
    InOrder,
    /// New ones at once, what waited beside them.
    LiveFirst {
        /// Most messages a second of those that waited.
        catch_up_rate: u32,
    },
}

/// One connection's messages.
#[derive(Debug)]
pub(super) struct Delivery {
    /// Up to this number all is acked.
    acked: u64,
    /// Up to this number all was sent, but for what the hub has already.
    sent: u64,
    /// What goes ahead of the rest, and the pace of the rest.
    live: Option<Live>,
    /// A range that the hub has beyond what is acked.
    ahead: Option<(u64, u64)>,
}

#[derive(Debug)]
struct Live {
    /// The first number that goes ahead.
    first: u64,
    sent: u64,
    acked: u64,
    /// When the next late message may go.
    next_late: Instant,
    /// From one late message to the next.
    pause: Duration,
}

/// What may be sent next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Turn {
    /// Messages after this number…
    pub(super) after: u64,
    /// …and up to this one…
    pub(super) upto: u64,
    /// …and no more than so many.
    pub(super) most: u64,
    pub(super) kind: Kind,
}

/// How a turn's messages go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// As they are.
    Current,
    /// Marked as overtaken.
    Late,
}

impl Delivery {
    /// Begins after what was acked, when `queued` messages wait and `last` is the highest number.
    pub(super) fn new(order: Order, acked: u64, queued: u64, last: u64) -> Delivery {
        let live = match order {
            Order::LiveFirst { catch_up_rate } if queued > SHORT_BACKLOG => Some(Live {
                first: last + 1,
                sent: last,
                acked: last,
                next_late: Instant::now(),
                pause: Duration::from_secs(1) / catch_up_rate.max(1),
            }),
            _ => None,
        };
        Delivery { acked, sent: acked, live, ahead: None }
    }

    /// What of the live messages may go now.
    pub(super) fn live_turn(&self) -> Option<Turn> {
        let (after, acked) = match &self.live {
            Some(live) => (live.sent, live.acked),
            None => (self.skipped(self.sent), self.acked),
        };
        let upto = self.until_ahead(after, u64::MAX);
        turn(after, acked, self.has_beyond(after, acked), upto, Kind::Current)
    }

    /// What of the overtaken messages may go now.
    pub(super) fn late_turn(&self, now: Instant) -> Option<Turn> {
        let live = self.live.as_ref().filter(|live| live.next_late <= now)?;
        let after = self.skipped(self.sent);
        let upto = self.until_ahead(after, live.first - 1);
        let mut turn =
            turn(after, self.acked, self.has_beyond(after, self.acked), upto, Kind::Late)?;
        if after >= upto {
            return None;
        }
        let paced = LATE_FRAME.as_nanos() / live.pause.as_nanos().max(1);
        turn.most = turn.most.min(u64::try_from(paced).unwrap_or(u64::MAX).max(1));
        Some(turn)
    }

    /// When late messages may go next, while there are some to send.
    pub(super) fn next_late(&self) -> Option<Instant> {
        let live = self.live.as_ref()?;
        let window_is_open = turn(self.sent, self.acked, 0, u64::MAX, Kind::Late).is_some();
        (window_is_open && self.skipped(self.sent) + 1 < live.first).then_some(live.next_late)
    }

    /// So many were sent, the last of them with this number.
    pub(super) fn has_sent(&mut self, kind: Kind, count: u64, upto: u64, now: Instant) {
        match (&mut self.live, kind) {
            (Some(live), Kind::Current) => live.sent = upto.max(live.sent),
            (None, Kind::Current) => self.sent = upto.max(self.sent),
            (Some(live), Kind::Late) => {
                self.sent = upto.max(self.sent);
                let count = u32::try_from(count).unwrap_or(u32::MAX);
                live.next_late = live.next_late.max(now) + live.pause.saturating_mul(count);
            }
            (None, Kind::Late) => {}
        }
        self.join();
    }

    /// None of those that were overtaken can be had now: they are asked for again a little later.
    pub(super) fn has_none(&mut self, now: Instant) {
        if let Some(live) = &mut self.live {
            live.next_late = now + NONE_PAUSE;
        }
    }

    /// The hub has all up to `seq`, and a range beyond. Gives up to which number all is acked now.
    pub(super) fn ack(&mut self, seq: u64, ahead: Option<(u64, u64)>) -> u64 {
        self.acked = self.acked.max(seq);
        self.sent = self.sent.max(self.acked);
        // What it has anyway is no news.
        let beyond = ahead.map(|(from, to)| (from.max(self.acked + 1), to));
        self.ahead = beyond.filter(|(from, to)| to >= from);
        if let (Some(live), Some((from, to))) = (&mut self.live, self.ahead)
            && from <= live.first
        {
            live.acked = live.acked.max(to.min(live.sent));
        }
        self.join();
        self.acked
    }

    /// Up to this number all was sent in order.
    pub(super) fn sent(&self) -> u64 {
        self.sent
    }

    /// How many numbers were sent in order and are not acked.
    pub(super) fn unacked(&self) -> u64 {
        self.sent.saturating_sub(self.acked)
    }

    /// Whether something was sent that is not acked.
    pub(super) fn is_waiting(&self) -> bool {
        self.unacked() > 0 || self.live.as_ref().is_some_and(|live| live.sent > live.acked)
    }

    /// Up to which numbers all is acked, of those in order and of the live ones.
    pub(super) fn acked_of_all(&self) -> (u64, u64) {
        (self.acked, self.live.as_ref().map_or(self.acked, |live| live.acked))
    }

    /// Once all that was overtaken is acked there is one order again.
    fn join(&mut self) {
        let Some(live) = &self.live else { return };
        if self.acked + 1 >= live.first {
            self.acked = self.acked.max(live.acked);
            self.sent = live.sent.max(self.acked);
            self.live = None;
        }
    }

    /// The number after which there is something to send: behind what the hub has already.
    fn skipped(&self, after: u64) -> u64 {
        match self.ahead {
            Some((from, to)) if (from..=to).contains(&(after + 1)) => to,
            _ => after,
        }
    }

    /// The last number before what the hub has already.
    fn until_ahead(&self, after: u64, upto: u64) -> u64 {
        match self.ahead {
            Some((from, _)) if from > after + 1 => upto.min(from - 1),
            _ => upto,
        }
    }

    /// How many numbers between the two the hub has beyond what it acked.
    fn has_beyond(&self, after: u64, acked: u64) -> u64 {
        match self.ahead {
            Some((from, to)) if from > acked && from <= after => to.min(after) - from + 1,
            _ => 0,
        }
    }
}

/// What the window allows after a number, when up to another all is acked, and some between.
fn turn(after: u64, acked: u64, had: u64, upto: u64, kind: Kind) -> Option<Turn> {
    let most = WINDOW.saturating_sub(after.saturating_sub(acked).saturating_sub(had));
    (most > 0).then_some(Turn { after, upto, most, kind })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIVE_FIRST: Order = Order::LiveFirst { catch_up_rate: 1_000 };

    /// The hub's side: takes numbers in any order and says what it has.
    #[derive(Default)]
    struct Taken(std::collections::BTreeSet<u64>);

    impl Taken {
        fn ack(&self) -> (u64, Option<(u64, u64)>) {
            let upto = (1..).take_while(|seq| self.0.contains(seq)).last().unwrap_or(0);
            let highest = self.0.last().copied().filter(|last| *last > upto);
            let ahead = highest.map(|to| {
                let from = (upto..=to).rev().take_while(|seq| self.0.contains(seq)).last();
                (from.unwrap_or(to), to)
            });
            (upto, ahead)
        }
    }

    #[test]
    fn in_order_no_more_than_a_window_is_on_its_way() {
        let mut delivery = Delivery::new(Order::InOrder, 10, 5_000, 5_010);
        let now = Instant::now();
        let turn = delivery.live_turn().unwrap();
        assert_eq!(turn, Turn { after: 10, upto: u64::MAX, most: WINDOW, kind: Kind::Current });
        assert_eq!(delivery.late_turn(now), None);
        delivery.has_sent(Kind::Current, WINDOW, 10 + WINDOW, now);
        assert_eq!(delivery.live_turn(), None);
        assert!(delivery.is_waiting());
        assert_eq!(delivery.ack(110, None), 110);
        assert_eq!(delivery.live_turn().unwrap().most, 100);
        assert_eq!(delivery.ack(10 + WINDOW, None), 10 + WINDOW);
        assert!(!delivery.is_waiting());
    }

    #[test]
    fn live_messages_overtake_a_long_backlog_which_follows_at_its_pace() {
        let mut hub = Taken::default();
        let mut now = Instant::now();
        let begun = now;
        let mut last = 5_000;
        let mut delivery = Delivery::new(LIVE_FIRST, 0, last, last);
        let mut longest_wait = 0;
        while delivery.acked < last || last < 5_100 {
            now += Duration::from_millis(10);
            // A live message each tenth of a second.
            if last < 5_100 && now.duration_since(begun).as_millis().is_multiple_of(100) {
                last += 1;
            }
            for turn in [delivery.live_turn(), delivery.late_turn(now)].into_iter().flatten() {
                let sent: Vec<u64> =
                    (turn.after + 1..=turn.upto.min(last)).take(turn.most as usize).collect();
                let Some(upto) = sent.last() else { continue };
                hub.0.extend(&sent);
                delivery.has_sent(turn.kind, sent.len() as u64, *upto, now);
                if turn.kind == Kind::Current {
                    longest_wait = longest_wait.max(last - upto);
                }
            }
            let (upto, ahead) = hub.ack();
            delivery.ack(upto, ahead);
        }
        assert_eq!(longest_wait, 0, "live messages waited");
        assert_eq!(hub.ack(), (5_100, None));
        assert!(!delivery.is_waiting());
        let took = now.duration_since(begun).as_secs_f64();
        assert!((4.9..11.0).contains(&took), "5,000 late messages at 1,000 a second took {took} s");
    }

    #[test]
    fn what_the_hub_has_ahead_is_not_sent_again() {
        let mut delivery = Delivery::new(LIVE_FIRST, 0, 3_000, 3_000);
        let now = Instant::now();
        delivery.ack(100, Some((120, 1_500)));
        let turn = delivery.late_turn(now).unwrap();
        assert_eq!((turn.after, turn.upto), (100, 119));
        delivery.has_sent(Kind::Late, 19, 119, now);
        assert_eq!(delivery.late_turn(now + LATE_FRAME).unwrap().after, 1_500);
        // Those that were numbered since are no part of it.
        assert_eq!(delivery.live_turn().unwrap().after, 3_000);
    }

    #[test]
    fn a_strange_ack_leaves_nothing_that_is_due_and_cannot_go() {
        let mut delivery = Delivery::new(LIVE_FIRST, 0, 200_000, 200_000);
        let now = Instant::now();
        delivery.ack(100, Some((50, 100_000)));
        assert!(delivery.next_late().is_some());
        assert_eq!(delivery.late_turn(now + LATE_FRAME).unwrap().after, 100_000);
    }

    #[test]
    fn a_short_backlog_goes_in_order() {
        let delivery = Delivery::new(LIVE_FIRST, 50, SHORT_BACKLOG, 50 + SHORT_BACKLOG);
        assert_eq!(delivery.live_turn().unwrap().after, 50);
        assert_eq!(delivery.next_late(), None);
    }
}
