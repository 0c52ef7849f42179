//! Announcements that are still to be sent, paced.

use std::{collections::VecDeque, net::IpAddr, time::Duration};

use vipd_common::wire::{arp, eth, eth::MacAddr};

use super::gratuitous_arp;
use crate::time::Instant;

/// Frames sent at once; a NIC's ring is no shorter.
const BATCH: usize = 64;
/// Pause between batches when no interval between frames is configured: 64,000 frames/s, so that neither the host's rings
/// nor a switch's ARP policer lose them.
const PAUSE: Duration = Duration::from_millis(1);

/// One frame to send, and the interface's owner of it.
pub type Frame = [u8; eth::HEADER + arp::LENGTH];

/// Bursts of announcements, one at a time for each key.
///
/// Bounded by that: a new burst of a key replaces what is left of its last one. Bursts take turns, batch by batch, so a
/// long one does not hold up the others. Pure: the caller passes the time and sends the frames.
#[derive(Debug, Default)]
pub struct AnnounceQueue {
    bursts: VecDeque<Burst>,
}

#[derive(Debug)]
struct Burst {
    key: usize,
    vips: Vec<IpAddr>,
    mac: MacAddr,
    /// Rounds over all addresses that are left, this one included.
    rounds: u8,
    /// The address that is next in this round.
    next: usize,
    interval: Duration,
    at: Instant,
}

impl AnnounceQueue {
    /// Queues `repeat` rounds over `vips`, as keepalived orders them: all addresses, then all again.
    ///
    /// With an `interval` each frame waits that long after the last.
    pub fn push(
        &mut self,
        key: usize,
        vips: Vec<IpAddr>,
        mac: MacAddr,
        repeat: u8,
        interval: Duration,
        now: Instant,
    ) {
        self.cancel(key);
        if repeat > 0 && !vips.is_empty() {
            self.bursts.push_back(Burst { key, vips, mac, rounds: repeat, next: 0, interval, at: now });
        }
    }

    /// Drops what is left of the key's burst.
    pub fn cancel(&mut self, key: usize) {
        self.bursts.retain(|burst| burst.key != key);
    }

    /// Whether the key has a burst under way.
    pub fn is_announcing(&self, key: usize) -> bool {
        self.bursts.iter().any(|burst| burst.key == key)
    }

    /// When `next_batch` is next wanted.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.bursts.iter().map(|burst| burst.at).min()
    }

    /// The frames that are due, by key.
    pub fn next_batch(&mut self, now: Instant) -> Vec<(usize, Vec<Frame>)> {
        let mut batches = Vec::new();
        for burst in &mut self.bursts {
            if burst.at <= now {
                batches.push((burst.key, burst.batch(now)));
            }
        }
        self.bursts.retain(|burst| burst.rounds > 0);
        batches
    }
}

impl Burst {
    fn batch(&mut self, now: Instant) -> Vec<Frame> {
        let (most, pause) = if self.interval.is_zero() { (BATCH, PAUSE) } else { (1, self.interval) };
        let mut frames = Vec::with_capacity(most);
        while frames.len() < most && self.rounds > 0 {
            match self.vips[self.next] {
                IpAddr::V4(vip) => frames.push(gratuitous_arp(self.mac, vip)),
                // Unsolicited NA comes with IPv6; the configuration refuses such VIPs until then.
                IpAddr::V6(_) => {}
            }
            self.next += 1;
            if self.next == self.vips.len() {
                self.next = 0;
                self.rounds -= 1;
            }
        }
        self.at = now + pause;
        frames
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);

    fn vips(count: u32) -> Vec<IpAddr> {
        (1..=count).map(|i| Ipv4Addr::from_bits(0x0a00_0000 + i).into()).collect()
    }

    /// Last octets of the announced addresses, in order, with the time of each batch.
    fn drain(queue: &mut AnnounceQueue) -> Vec<(u64, usize, Vec<u8>)> {
        let mut log = Vec::new();
        while let Some(at) = queue.poll_timeout() {
            for (key, frames) in queue.next_batch(at) {
                log.push((at.as_nanos(), key, frames.iter().map(|frame| frame[31]).collect()));
            }
            assert!(queue.poll_timeout().is_none_or(|next| next > at), "time goes on");
            assert!(log.len() < 1000, "it ends");
        }
        log
    }

    #[test]
    fn rounds_over_all_addresses() {
        let mut queue = AnnounceQueue::default();
        queue.push(7, vips(3), MAC, 2, Duration::ZERO, Instant::from_nanos(5));
        assert_eq!(drain(&mut queue), [(5, 7, vec![1, 2, 3, 1, 2, 3])]);
    }

    #[test]
    fn an_interval_spaces_single_frames() {
        let mut queue = AnnounceQueue::default();
        queue.push(7, vips(2), MAC, 2, Duration::from_nanos(100), Instant::from_nanos(5));
        let expect = [(5, 7, vec![1]), (105, 7, vec![2]), (205, 7, vec![1]), (305, 7, vec![2])];
        assert_eq!(drain(&mut queue), expect);
    }

    #[test]
    fn long_bursts_come_in_batches_and_take_turns() {
        let mut queue = AnnounceQueue::default();
        queue.push(1, vips(100), MAC, 1, Duration::ZERO, Instant::default());
        queue.push(2, vips(1), MAC, 1, Duration::ZERO, Instant::default());
        let log: Vec<_> =
            drain(&mut queue).into_iter().map(|(at, key, frames)| (at, key, frames.len())).collect();
        assert_eq!(log, [(0, 1, 64), (0, 2, 1), (1_000_000, 1, 36)]);
    }

    #[test]
    fn a_new_burst_replaces_what_is_left() {
        let mut queue = AnnounceQueue::default();
        queue.push(1, vips(200), MAC, 5, Duration::ZERO, Instant::default());
        queue.next_batch(Instant::default());
        queue.push(1, vips(1), MAC, 1, Duration::ZERO, Instant::from_nanos(9));
        assert_eq!(drain(&mut queue), [(9, 1, vec![1])]);
    }

    /// a node that has yielded announces nothing more.
    #[test]
    fn cancelled_bursts_send_nothing() {
        let mut queue = AnnounceQueue::default();
        queue.push(1, vips(200), MAC, 5, Duration::ZERO, Instant::default());
        queue.push(2, vips(1), MAC, 1, Duration::ZERO, Instant::default());
        queue.next_batch(Instant::default());
        assert!(queue.is_announcing(1));
        queue.cancel(1);
        assert!(!queue.is_announcing(1));
        assert_eq!(drain(&mut queue), []);
    }
}
