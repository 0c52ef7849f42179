//! The capture (`CAPTURE`, `CAPTURED_FRAME`, `CAPTURED`): frames with what the program decided on them, while somebody asks for them.

use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::{Count, Counters, InstanceCount, InstanceCounters};

/// Octets of a frame that are captured, at most.
pub const CAPTURE_OCTETS: usize = 256;
// The program bounds a length by a mask.
const _: () = assert!(CAPTURE_OCTETS.is_power_of_two());
/// Bytes of the ring of captured frames: room for 800 of them, or for 2,000 ARP requests. When it is full a frame is not captured, and
/// counted in [`CaptureLease::lost`].
pub const CAPTURE_RING_BYTES: u32 = 256 * 1024;

/// Value of `CAPTURE`, which has one entry: whether frames are captured.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
pub struct CaptureLease {
    /// Frames are captured until then; 0: none are. The daemon moves it on while a client asks, so that a capture ends with its daemon.
    pub until_ns: u64,
    /// Frames that found the ring full. The program adds to it.
    pub lost: u64,
}

/// A captured frame: a message in `CAPTURED`, which ends behind the last captured octet.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
pub struct CapturedFrame {
    pub at_ns: u64,
    /// Of the interface that the program runs on.
    pub ifindex: u32,
    /// Of the whole frame.
    pub length: u32,
    /// How many of `octets` are the frame's.
    pub captured: u32,
    /// VLAN identifier of a tag that is not in the frame, since the NIC or the kernel has removed it; 0 if there is none.
    pub removed_tag: u16,
    /// One of [`verdict`].
    pub verdict: u8,
    /// A [`CapturedReason`].
    pub reason: u8,
    /// One of [`capture_flag`].
    pub flags: u32,
    pub reserved: u32,
    pub octets: [u8; CAPTURE_OCTETS],
}

/// Octets of a [`CapturedFrame`] before those of the frame.
pub const CAPTURED_HEADER: usize = core::mem::offset_of!(CapturedFrame, octets);

/// What the program decided. In [`CapturedFrame::verdict`].
pub mod verdict {
    pub const DROP: u8 = 1;
    pub const PASS: u8 = 2;
    /// The frame was rewritten and sent out of the interface that it came in on.
    pub const TX: u8 = 3;
}

/// Bits of [`CapturedFrame::flags`].
pub mod capture_flag {
    /// What the program has sent; the frame that it was made of came right before.
    pub const SENT: u32 = 1;
    /// The program runs at tc ingress, not under XDP.
    pub const TC: u32 = 1 << 1;
    /// IPv6 with extension headers: of interest only if the program has a reason for its verdict.
    pub const EXTENDED: u32 = 1 << 2;
}

/// The counter that says why a verdict was given, as one octet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CapturedReason(u8);

/// Reasons from here on are counters of an instance.
const OF_INSTANCE: u8 = 128;

impl CapturedReason {
    /// The frame concerns no VIP and no virtual router.
    pub const NONE: Self = Self(0);

    pub const fn of(slot: Count) -> Self {
        Self(slot as u8 + 1)
    }

    pub const fn of_instance(slot: InstanceCount) -> Self {
        Self(slot as u8 + OF_INSTANCE)
    }

    pub const fn number(self) -> u8 {
        self.0
    }

    /// Any octet is one; without a [`name`](Self::name) if the program has none of that number.
    pub const fn from_number(number: u8) -> Self {
        Self(number)
    }

    /// Name of the counter.
    pub fn name(self) -> Option<&'static str> {
        self.find(Counters::NAMES, InstanceCounters::NAMES)
    }

    /// What the counter counts, for people; empty where the name says it.
    pub fn meaning(self) -> Option<&'static str> {
        self.find(Counters::MEANINGS, InstanceCounters::MEANINGS)
    }

    fn find(self, of_all: &[&'static str], of_instance: &[&'static str]) -> Option<&'static str> {
        match self.0.checked_sub(OF_INSTANCE) {
            Some(slot) => of_instance.get(usize::from(slot)).copied(),
            None => of_all.get(usize::from(self.0.checked_sub(1)?)).copied(),
        }
    }
}

const _: () = {
    assert!(size_of::<CaptureLease>() == 16);
    assert!(CAPTURED_HEADER == 32);
    assert!(size_of::<CapturedFrame>() == CAPTURED_HEADER + CAPTURE_OCTETS);
    assert!(CAPTURE_RING_BYTES.is_power_of_two());
    assert!(Counters::NAMES.len() < OF_INSTANCE as usize);
    assert!(InstanceCounters::NAMES.len() <= (u8::MAX - OF_INSTANCE) as usize);
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_names_its_counter() {
        for (reason, name) in [
            (CapturedReason::NONE, None),
            (CapturedReason::of(Count::ArpReplies), Some("arp_replies")),
            (CapturedReason::of(Count::DanglingEntries), Some("dangling_entries")),
            (CapturedReason::of_instance(InstanceCount::AdvertsReceived), Some("adverts_received")),
            (CapturedReason::of_instance(InstanceCount::UnknownPeer), Some("unknown_peer")),
            (CapturedReason::from_number(127), None),
            (CapturedReason::from_number(255), None),
        ] {
            assert_eq!(reason.name(), name);
            assert_eq!(CapturedReason::from_number(reason.number()), reason);
        }
    }
}
