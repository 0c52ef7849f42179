//! Unicast peers (`PEERS`).

use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Unicast peers of all instances together: entries of `PEERS`.
pub const MAX_PEERS: u32 = 16_384;

/// Key of `PEERS`: a unicast peer of an instance.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable)]
pub struct PeerKey {
    /// Slot of `INSTANCES`.
    pub instance: u32,
    pub address: [u8; 16],
}

/// Value of `PEERS`: the TTL or hop limit that the peer's adverts may arrive with.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
pub struct PeerEntry {
    pub min_ttl: u8,
    pub max_ttl: u8,
    pub reserved: [u8; 2],
}

const _: () = {
    assert!(size_of::<PeerKey>() == 20);
    assert!(size_of::<PeerEntry>() == 4);
};
