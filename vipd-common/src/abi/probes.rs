//! Hosts that are probed and answered (`PROBE_INDEX`, `PROBE_PEERS`): what the daemon says of each, and what the program has heard.

use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::index::LINES;
use crate::{
    address::Address,
    wire::{
        bfd::SessionState,
        probe::{MAX_ROUTERS, Router},
    },
};

/// Slots of `PROBE_PEERS`: peers on all links together, and one for each address that is probed.
pub const MAX_PROBE_PEERS: u32 = 256;
/// Entries of `PROBE_INDEX`: each peer is found on the heartbeat links too.
pub const MAX_PROBE_INDEX: u32 = MAX_PROBE_PEERS * LINES as u32;
/// The quickest interval that a peer is answered in, whatever its probes say.
pub const PROBE_MIN_NS: u64 = 1_000_000;
/// The slowest that counts.
pub const PROBE_MAX_NS: u64 = 1_000_000_000;
/// Probes that may come at once.
pub const PROBE_BURST: u64 = 16;

/// Key of `PROBE_INDEX`: two addresses on one link.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
pub struct ProbeKey {
    pub ifindex: u32,
    /// As in [`VipKey::vlan`](super::VipKey::vlan).
    pub vlan: u32,
    /// This node's.
    pub local: Address,
    /// The other's; unspecified in the entry that takes note of unknown peers.
    pub peer: Address,
}

/// Value of `PROBE_INDEX`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
pub struct ProbeEntry {
    /// Slot of `PROBE_PEERS`: the same for each link that leads to one host.
    pub slot: u32,
    /// The MAC of the interface where the frame comes in: the source of an answer to a probe that was sent to a group.
    pub mac: [u8; 6],
    pub reserved: [u8; 2],
}

/// [`ProbedPeer::sponsor`] of a peer that vouches for nothing.
pub const NO_SPONSOR: u32 = u32::MAX;

/// Bits of [`ProbedPeer::flags`].
pub mod probe_flag {
    /// This node is on its way out: answers say AdminDown.
    pub const LEAVING: u32 = 1;
}

/// What is known of one peer. Value of `PROBE_PEERS`.
///
/// The daemon writes the first part through its mapping, the program the second.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
pub struct ProbedPeer {
    // Written by the daemon.
    /// This node's discriminator.
    pub discriminator: u32,
    /// Of [`probe_flag`].
    pub flags: u32,
    /// Index into [`Sponsors::backups`](super::Sponsors::backups), or [`NO_SPONSOR`].
    pub sponsor: u32,
    pub reserved: u32,

    // Written by the program.
    /// Until when probes are paid for: one costs a 32nd of the interval that it says: eight times as many, by up to four links.
    pub paid_ns: u64,
    /// When the last probe arrived: the peer's daemon has spoken.
    pub probe_ns: u64,
    /// When the last answer to a probe of this node arrived: the peer's host has.
    pub answer_ns: u64,
    /// When the newest probe that was answered had been sent, by this node's clock.
    pub answers_ns: u64,
    /// Probes that arrived.
    pub probes: u64,
    /// Answers that arrived.
    pub answers: u64,
    /// Only in the entry that takes note of unknown peers: when one has last probed, and which.
    pub stranger_ns: u64,
    pub stranger: Address,
    /// What the last probe said: Desired Min TX in microseconds,
    pub interval_us: u32,
    /// Detect Mult,
    pub multiplier: u8,
    /// flags of [`wire::probe::flag`](crate::wire::probe::flag).
    pub block_flags: u8,
    /// State in the last answer.
    pub answer_state: u8,
    /// Routers of the list below that are valid.
    pub routers: u8,
    /// Generation of the list.
    pub generation: u32,
    /// Odd while the list is being written.
    pub writes: u32,
    /// The routers that the peer's last probe listed.
    pub list: [Router; MAX_ROUTERS + 1],
}

impl ProbedPeer {
    /// What this node's program answers the peer with.
    #[inline(always)]
    pub fn own_state(flags: u32) -> SessionState {
        if flags & probe_flag::LEAVING != 0 { SessionState::AdminDown } else { SessionState::Up }
    }
}

const _: () = {
    assert!(size_of::<ProbeKey>() == 40);
    assert!(size_of::<ProbeEntry>() == 12);
    assert!(size_of::<ProbedPeer>() == 1128);
    assert!(size_of::<ProbedPeer>().is_multiple_of(8));
    assert!(core::mem::offset_of!(ProbedPeer, list) == 104);
};
