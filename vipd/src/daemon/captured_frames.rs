//! What the program has captured, as the control socket gives it to clients.

use std::time::Duration;

use vipd_common::{
    abi::{CapturedFrame, CapturedReason, capture_flag, verdict},
    wire::eth::{self, MacAddr},
};

use super::clock;
use crate::{
    control::capture::{CapturedVerdict, Direction, ShownFrame, Source},
    dataplane::FrameRing,
    interface_names,
};

/// Frames are captured for so long after the last renewal, and not for a daemon that was killed.
const LEASE: Duration = Duration::from_secs(2);
/// IEEE 802.1Q; the kernel does not say which of the two it has removed.
const ETHERTYPE_VLAN: u16 = 0x8100;

/// The program's ring.
#[derive(Debug)]
pub struct CapturedFrames(FrameRing);

impl CapturedFrames {
    pub fn new(ring: FrameRing) -> Self {
        Self(ring)
    }
}

impl Source for CapturedFrames {
    fn renew(&mut self) {
        self.0.renew(clock::now() + LEASE);
    }

    fn end(&mut self) {
        self.0.end();
    }

    fn lost(&self) -> u64 {
        self.0.lost()
    }

    fn pop(&mut self) -> Option<ShownFrame> {
        let frame = self.0.pop()?;
        let age_ns = clock::now().as_nanos().saturating_sub(frame.at_ns);
        Some(on_the_wire(&frame, clock::unix_ns().saturating_sub(age_ns)))
    }

    fn time_unix_ns(&self) -> u64 {
        clock::unix_ns()
    }
}

/// The frame as it was on the wire, with the tag that the NIC or the kernel had removed.
fn on_the_wire(captured: &CapturedFrame, time_unix_ns: u64) -> ShownFrame {
    let mut octets = captured.octets[..captured.octets.len().min(captured.captured as usize)].to_vec();
    let mut length = captured.length;
    let tag = 2 * size_of::<MacAddr>();
    if captured.removed_tag != 0 && octets.len() >= tag {
        let [a, b] = (captured.removed_tag & eth::MAX_VLAN_ID).to_be_bytes();
        let [c, d] = ETHERTYPE_VLAN.to_be_bytes();
        octets.splice(tag..tag, [c, d, a, b]);
        length = length.saturating_add(4);
    }
    let name = interface_names::name_of(captured.ifindex).ok().flatten();
    ShownFrame {
        time_unix_ns,
        interface: name.unwrap_or_else(|| format!("#{}", captured.ifindex)),
        direction: if captured.flags & capture_flag::SENT == 0 { Direction::In } else { Direction::Out },
        verdict: match captured.verdict {
            verdict::DROP => CapturedVerdict::Dropped,
            verdict::TX => CapturedVerdict::Sent,
            _ => CapturedVerdict::Passed,
        },
        reason: CapturedReason::from_number(captured.reason).name().map(str::to_owned),
        tc: captured.flags & capture_flag::TC != 0,
        length,
        octets,
    }
}

#[cfg(test)]
mod tests {
    use vipd_common::abi::{CAPTURE_OCTETS, Count};

    use super::*;

    #[test]
    fn a_frame_is_as_it_was_on_the_wire() {
        let mut octets = [0; CAPTURE_OCTETS];
        octets[..14].copy_from_slice(&[1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 8, 6]);
        let untagged = CapturedFrame {
            at_ns: 0,
            ifindex: 1,
            length: 300,
            captured: 60,
            removed_tag: 0,
            verdict: verdict::TX,
            reason: CapturedReason::of(Count::ArpReplies).number(),
            flags: 0,
            reserved: 0,
            octets,
        };
        let frame = on_the_wire(&untagged, 7);
        let expected = ShownFrame {
            time_unix_ns: 7,
            interface: "lo".into(),
            direction: Direction::In,
            verdict: CapturedVerdict::Sent,
            reason: Some("arp_replies".into()),
            tc: false,
            length: 300,
            octets: octets[..60].into(),
        };
        assert_eq!(frame, expected);
        let flags = capture_flag::SENT | capture_flag::TC;
        let tagged = on_the_wire(&CapturedFrame { removed_tag: 10, flags, ..untagged }, 0);
        assert_eq!((tagged.length, tagged.octets.len()), (304, 64));
        assert_eq!((tagged.direction, tagged.tc), (Direction::Out, true));
        assert_eq!(tagged.octets[6..18], [2, 2, 2, 2, 2, 2, 0x81, 0, 0, 10, 8, 6]);
    }
}
