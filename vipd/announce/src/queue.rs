//! The queue of announcements, paced.

use std::{collections::VecDeque, net::IpAddr, sync::Arc, time::Duration};

use super::{AnnouncedAddress, Frame};
use vipd_core::time::Instant;

/// Frames sent at once, of all bursts together. Replies and adverts wait behind them in every queue, in the switch and in the
/// client, and a backup does not wait longer for that.
const BATCH: usize = 16;
/// Minimum time from one batch to the next: 64,000 frames/s, so that neither the host's rings nor a switch's ARP policer lose
/// them.
const PAUSE: Duration = Duration::from_micros(250);

/// How long a burst waits after each frame. Zero: not at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pace {
    /// After a gratuitous ARP (`vrrp_garp_interval`).
    pub arp: Duration,
    /// After an unsolicited neighbour advertisement (`vrrp_gna_interval`).
    ///
    /// DEVIATION RFC 4861 7.2.6: it allows three for an address, a second apart. A takeover cannot wait that long for
    /// clients that lost the first ones, so the number and the spacing are as configured.
    pub na: Duration,
}

/// Frames to be sent on one interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    pub key: usize,
    pub ifindex: u32,
    pub frames: Vec<Frame>,
}

/// Bursts of announcements, one at a time for each key.
///
/// That bounds the queue: a new burst of a key replaces the rest of its last one. Bursts take turns, batch by batch and round by
/// round, so a long one does not delay the others. Pure: the caller passes the time and sends the frames.
#[derive(Debug, Default)]
pub struct AnnounceQueue {
    /// The burst whose turn is next comes first.
    bursts: VecDeque<Burst>,
    /// Frames that may leave before `refill_at`.
    room: usize,
    refill_at: Instant,
}

#[derive(Debug)]
struct Burst {
    key: usize,
    addresses: Arc<[AnnouncedAddress]>,
    /// Rounds left over all addresses, this one included.
    rounds: u8,
    /// The next address in this round.
    next: usize,
    pace: Pace,
    at: Instant,
}

impl AnnounceQueue {
    /// Queues `repeat` rounds over `addresses`, as keepalived orders them: all addresses, then all again.
    pub fn push(
        &mut self,
        key: usize,
        addresses: Arc<[AnnouncedAddress]>,
        repeat: u8,
        pace: Pace,
        now: Instant,
    ) {
        self.cancel(key);
        if repeat > 0 && !addresses.is_empty() {
            self.bursts.push_back(Burst { key, addresses, rounds: repeat, next: 0, pace, at: now });
        }
    }

    /// Drops the rest of the key's burst.
    pub fn cancel(&mut self, key: usize) {
        self.bursts.retain(|burst| burst.key != key);
    }

    /// Whether the key has a burst under way.
    pub fn is_announcing(&self, key: usize) -> bool {
        self.bursts.iter().any(|burst| burst.key == key)
    }

    /// When `next_batch` is next wanted.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let next = self.bursts.iter().map(|burst| burst.at).min()?;
        Some(if self.room == 0 { next.max(self.refill_at) } else { next })
    }

    /// The frames that are due: at most 16, in the order of each key's addresses on each interface.
    pub fn next_batch(&mut self, now: Instant) -> Vec<Batch> {
        if now >= self.refill_at {
            (self.room, self.refill_at) = (BATCH, now + PAUSE);
        }
        let mut batches = Vec::new();
        while self.room > 0
            && let Some(due) = self.bursts.iter().position(|burst| burst.at <= now)
            && let Some(mut burst) = self.bursts.remove(due)
        {
            self.room -= burst.take(now, self.room, &mut batches);
            if burst.rounds > 0 {
                self.bursts.push_back(burst);
            }
        }
        batches
    }
}

impl Burst {
    /// Takes the rest of a round, up to a frame after which it must wait, or up to `room` frames; returns how many.
    fn take(&mut self, now: Instant, room: usize, batches: &mut Vec<Batch>) -> usize {
        let mut taken = 0;
        let mut pause = Duration::ZERO;
        while pause.is_zero() && taken < room {
            let address = &self.addresses[self.next];
            let frame = Frame::announcing(address);
            let of_same = |batch: &&mut Batch| (batch.key, batch.ifindex) == (self.key, address.ifindex);
            match batches.iter_mut().find(of_same) {
                Some(batch) => batch.frames.push(frame),
                None => {
                    batches.push(Batch { key: self.key, ifindex: address.ifindex, frames: vec![frame] });
                }
            }
            taken += 1;
            pause = match address.address {
                IpAddr::V4(_) => self.pace.arp,
                IpAddr::V6(_) => self.pace.na,
            };
            self.next += 1;
            if self.next == self.addresses.len() {
                self.next = 0;
                self.rounds -= 1;
                break;
            }
        }
        self.at = now + pause;
        taken
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use vipd_common::wire::eth::MacAddr;

    use super::*;

    const UNPACED: Pace = Pace { arp: Duration::ZERO, na: Duration::ZERO };

    fn address(ifindex: u32, address: impl Into<IpAddr>) -> AnnouncedAddress {
        AnnouncedAddress { ifindex, mac: MacAddr([2, 0, 0, 0, 0, 1]), address: address.into() }
    }

    fn v4(last: u32) -> Ipv4Addr {
        Ipv4Addr::from_bits(0x0a00_0000 + last)
    }

    fn v6(last: u16) -> Ipv6Addr {
        Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last)
    }

    fn addresses(count: u32) -> Arc<[AnnouncedAddress]> {
        (1..=count).map(|last| address(3, v4(last))).collect()
    }

    /// Last octet of the address that a frame announces.
    fn announced(frame: &Frame) -> u8 {
        match frame {
            Frame::GratuitousArp(frame) => frame[31],
            Frame::NeighborAdvertisement(frame) => frame[77],
        }
    }

    /// Time, key, interface and the last octets of the announced addresses of each batch, in order.
    fn drain(queue: &mut AnnounceQueue) -> Vec<(u64, usize, u32, Vec<u8>)> {
        let mut log = Vec::new();
        while let Some(at) = queue.poll_timeout() {
            for Batch { key, ifindex, frames } in queue.next_batch(at) {
                log.push((at.as_nanos(), key, ifindex, frames.iter().map(announced).collect()));
            }
            assert!(queue.poll_timeout().is_none_or(|next| next > at), "time goes on");
            assert!(log.len() < 1000, "it ends");
        }
        log
    }

    #[test]
    fn rounds_over_all_addresses() {
        let mut queue = AnnounceQueue::default();
        queue.push(7, addresses(3), 2, UNPACED, Instant::from_nanos(5));
        assert_eq!(drain(&mut queue), [(5, 7, 3, vec![1, 2, 3, 1, 2, 3])]);
    }

    #[test]
    fn nothing_to_announce() {
        let mut queue = AnnounceQueue::default();
        queue.push(7, addresses(0), 2, UNPACED, Instant::default());
        queue.push(8, addresses(2), 0, UNPACED, Instant::default());
        assert_eq!(queue.poll_timeout(), None);
    }

    #[test]
    fn an_interval_spaces_single_frames() {
        let mut queue = AnnounceQueue::default();
        let pace = Pace { arp: Duration::from_nanos(100), ..UNPACED };
        queue.push(7, addresses(2), 2, pace, Instant::from_nanos(5));
        let expect = [(5, 7, 3, vec![1]), (105, 7, 3, vec![2]), (205, 7, 3, vec![1]), (305, 7, 3, vec![2])];
        assert_eq!(drain(&mut queue), expect);
    }

    #[test]
    fn each_family_has_its_interval() {
        let both = [address(3, v4(1)), address(3, v6(2)), address(3, v6(3)), address(3, v4(4))];
        for (pace, expect) in [
            (UNPACED, vec![(0, 7, 3, vec![1, 2, 3, 4])]),
            (
                Pace { arp: Duration::from_nanos(10), ..UNPACED },
                vec![(0, 7, 3, vec![1]), (10, 7, 3, vec![2, 3, 4])],
            ),
            (
                Pace { na: Duration::from_nanos(100), ..UNPACED },
                vec![(0, 7, 3, vec![1, 2]), (100, 7, 3, vec![3]), (200, 7, 3, vec![4])],
            ),
        ] {
            let mut queue = AnnounceQueue::default();
            queue.push(7, both.into(), 1, pace, Instant::default());
            assert_eq!(drain(&mut queue), expect, "{pace:?}");
        }
    }

    #[test]
    fn a_batch_for_each_interface() {
        let mixed = [address(3, v4(1)), address(4, v4(2)), address(3, v6(3)), address(4, v6(4))];
        let mut queue = AnnounceQueue::default();
        queue.push(7, mixed.into(), 2, UNPACED, Instant::default());
        queue.push(8, [address(3, v4(9))].into(), 1, UNPACED, Instant::default());
        let expect = [(0, 7, 3, vec![1, 3, 1, 3]), (0, 7, 4, vec![2, 4, 2, 4]), (0, 8, 3, vec![9])];
        assert_eq!(drain(&mut queue), expect);
    }

    #[test]
    fn long_bursts_come_in_batches_and_take_turns() {
        let mut queue = AnnounceQueue::default();
        queue.push(1, addresses(25), 1, UNPACED, Instant::default());
        queue.push(2, addresses(1), 1, UNPACED, Instant::default());
        let log: Vec<_> =
            drain(&mut queue).into_iter().map(|(at, key, _, frames)| (at, key, frames.len())).collect();
        assert_eq!(log, [(0, 1, 16), (250_000, 2, 1), (250_000, 1, 9)]);
    }

    /// Hundreds of routers that take over together: no more frames at once than of one, and nobody waits for another's
    /// repetitions.
    #[test]
    fn bursts_share_the_batches() {
        let mut queue = AnnounceQueue::default();
        for key in 0..20 {
            queue.push(key, addresses(1), 2, UNPACED, Instant::default());
        }
        let log: Vec<_> = drain(&mut queue).into_iter().map(|(at, key, ..)| (at, key)).collect();
        let expect: Vec<_> = (0..40).map(|n| (n as u64 / 16 * 250_000, n % 20)).collect();
        assert_eq!(log, expect);
    }

    #[test]
    fn a_new_burst_replaces_what_is_left() {
        let mut queue = AnnounceQueue::default();
        queue.push(1, addresses(200), 5, UNPACED, Instant::default());
        queue.next_batch(Instant::default());
        queue.push(1, addresses(1), 1, UNPACED, Instant::from_nanos(9));
        assert_eq!(drain(&mut queue), [(250_000, 1, 3, vec![1])]);
    }

    /// a node that has yielded announces nothing more.
    #[test]
    fn cancelled_bursts_send_nothing() {
        let mut queue = AnnounceQueue::default();
        queue.push(1, addresses(200), 5, UNPACED, Instant::default());
        queue.push(2, addresses(1), 1, UNPACED, Instant::default());
        queue.next_batch(Instant::default());
        assert!(queue.is_announcing(1));
        queue.cancel(1);
        assert!(!queue.is_announcing(1));
        assert_eq!(drain(&mut queue), [(250_000, 2, 3, vec![1])]);
    }
}
