//! The index of virtual routers (`INSTANCE_INDEX`): which record an advert belongs to, and on which line it came in.

use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::records::MAX_INSTANCES;

/// Heartbeat lines of one instance, besides its own interface.
pub const MAX_HEARTBEATS: usize = 3;
/// Lines that adverts of one instance come in on: its own interface, which is line 0, and its heartbeat lines.
pub const LINES: usize = 1 + MAX_HEARTBEATS;
// The program bounds a line by a mask.
const _: () = assert!(LINES.is_power_of_two());
/// Number of the line that is the instance's own interface.
pub const OWN_INTERFACE: u32 = 0;
/// Entries of `INSTANCE_INDEX`.
pub const MAX_INDEX: u32 = MAX_INSTANCES * LINES as u32;

/// Key of `INSTANCE_INDEX`: where an advert's virtual router is found (RFC 9568 7.1: VRID on the receiving interface).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable)]
pub struct InstanceKey {
    pub ifindex: u32,
    /// As in [`VipKey::vlan`](super::VipKey::vlan).
    pub vlan: u32,
    /// 4 or 6.
    pub family: u8,
    pub vrid: u8,
    pub reserved: [u8; 2],
}

/// Value of `INSTANCE_INDEX`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
pub struct IndexEntry {
    /// Slot of `INSTANCES`.
    pub slot: u32,
    /// Which of the instance's lines this is: 0 is its own interface, where alone VIPs are.
    pub line: u32,
}

const _: () = {
    assert!(size_of::<InstanceKey>() == 12);
    assert!(size_of::<IndexEntry>() == 8);
};
