//! Sessions of BFD: the index (`BFD_INDEX`), the records (`BFD_SESSIONS`) and the ring of packets that say something new (`BFD_EVENTS`).

use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::Count;
use crate::wire::{
    Malformed,
    bfd::{Control, flag},
};

/// Sessions one daemon can run: slots of `BFD_SESSIONS`.
pub const MAX_BFD_SESSIONS: u32 = 256;
/// Bytes of the ring of packets: room for 1,365 of them. When it is full a packet is stamped all the same, and the next one is news again.
pub const BFD_RING_BYTES: u32 = 64 * 1024;
/// Packets of one session that reach the daemon come at this rate at most, in the long run: 100 in a second.
pub const BFD_EVENT_PERIOD_NS: u64 = 10_000_000;
/// As many may come at once.
pub const BFD_EVENT_BURST: u64 = 32;
/// Octets of a packet that are kept: its mandatory section.
pub const BFD_OCTETS: usize = crate::wire::bfd::MANDATORY;

/// Key of `BFD_INDEX`: where a packet's session is found. The value is the slot.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable)]
pub struct BfdKey {
    /// Address of the neighbor, the packet's source.
    pub remote: [u8; 16],
    /// Our address, its destination.
    pub local: [u8; 16],
    /// Over a single hop, the interface that packets come in on (RFC 5881 3): its index where the program sees it, and
    /// as in [`VipKey::vlan`](super::VipKey::vlan). Over several hops both are 0: they may come in anywhere.
    pub ifindex: u32,
    pub vlan: u32,
    /// Destination port: 3784 over a single hop, 4784 over several.
    pub port: u16,
    /// 4 or 6: an IPv6 packet between IPv4-mapped addresses is none of an IPv4 session.
    pub family: u16,
}

/// One session: what packets are checked against, and what was last heard.
///
/// The daemon writes the first part through its mapping of the map; the program writes the second, and the daemon only reads it.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
pub struct BfdRecord {
    // Written by the daemon.
    pub key: BfdKey,
    /// Ours: what the neighbor's packets have as Your Discriminator. 0: the slot is free.
    pub local_discriminator: u32,
    /// The least TTL or hop limit that packets may arrive with.
    pub min_hop_limit: u8,
    /// A [`SessionState`](crate::wire::bfd::SessionState): ours.
    pub state: u8,
    /// UDP port that the session sends from, for a daemon that goes on with it.
    pub source_port: u16,
    /// Why it is in `state`: a [`Diagnostic`](crate::wire::bfd::Diagnostic).
    pub diagnostic: u8,
    pub reserved: [u8; 3],
    /// When the session was last set to `state`.
    pub state_since_ns: u64,
    /// The intervals that the neighbor counts on, in microseconds: Desired Min TX and Required Min RX in force, for a daemon that goes on with
    /// the session.
    pub tx_us: u32,
    pub rx_us: u32,
    // Written by the program.
    /// When a valid packet was last heard.
    pub heard_ns: u64,
    /// The mandatory section of the packet that the daemon was told of last.
    pub told: [u8; BFD_OCTETS],
    /// Until when events are paid for: one costs [`BFD_EVENT_PERIOD_NS`].
    pub events_paid_ns: u64,
    /// Valid packets.
    pub accepted: u64,
    /// Packets that failed a check.
    pub refused: u64,
    /// The last check that failed: a number of `Count`.
    pub refused_reason: u32,
    /// TTL or hop limit of that packet.
    pub refused_hop_limit: u32,
}

/// A message in `BFD_EVENTS`: a valid packet that says something new, or that is to be answered.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
pub struct BfdEvent {
    pub at_ns: u64,
    /// Slot of `BFD_SESSIONS`.
    pub slot: u32,
    /// Our discriminator in the record when the packet came.
    pub local_discriminator: u32,
    /// Its mandatory section.
    pub packet: [u8; BFD_OCTETS],
}

/// RFC 5880 6.8.6, for a packet in a UDP payload of so many octets, which has the mandatory section: whether it is a valid one of the
/// session whose discriminator is `local`.
///
/// # Errors
///
/// The counter of the first check that fails.
#[inline(always)]
pub fn check_bfd(control: &Control, payload: usize, local: u32) -> Result<(), Count> {
    control.check(payload).map_err(|malformed| match malformed {
        Malformed::Version => Count::BfdVersionErrors,
        Malformed::Multiplier => Count::BfdMultiplierZero,
        Malformed::Multipoint => Count::BfdMultipoint,
        Malformed::Discriminator => Count::BfdMyDiscriminatorZero,
        _ => Count::BfdLengthErrors,
    })?;
    if !control.is_to(local) {
        return Err(match control.your_discriminator() {
            0 => Count::BfdStateErrors,
            _ => Count::BfdYourDiscriminatorErrors,
        });
    }
    if control.has(flag::AUTHENTICATION) {
        return Err(Count::BfdAuthenticationErrors);
    }
    Ok(())
}

const _: () = {
    assert!(size_of::<BfdKey>() == 44);
    assert!(size_of::<BfdRecord>() == 136);
    assert!(size_of::<BfdEvent>() == 40);
    // Elements of a mappable array are 8-byte aligned: the daemon's stride is the struct's size.
    assert!(size_of::<BfdRecord>().is_multiple_of(8));
    assert!(BFD_RING_BYTES.is_power_of_two());
};
