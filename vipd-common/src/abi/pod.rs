//! What aya may copy to and from maps.

use super::{
    BfdKey, BfdRecord, Counters, IndexEntry, InstanceCounters, InstanceKey, InstanceRecord, PeerEntry,
    PeerKey, ProbeEntry, ProbeKey, ProbedPeer, RingEvent, Sponsors, VipEntry, VipKey,
};

// SAFETY: all are `#[repr(C)]` without padding (zerocopy's IntoBytes) and any bits are valid (FromBytes).
unsafe impl aya::Pod for VipKey {}
// SAFETY: as above.
unsafe impl aya::Pod for VipEntry {}
// SAFETY: as above.
unsafe impl aya::Pod for InstanceKey {}
// SAFETY: as above.
unsafe impl aya::Pod for IndexEntry {}
// SAFETY: as above.
unsafe impl aya::Pod for InstanceRecord {}
// SAFETY: as above.
unsafe impl aya::Pod for PeerKey {}
// SAFETY: as above.
unsafe impl aya::Pod for PeerEntry {}
// SAFETY: as above.
unsafe impl aya::Pod for RingEvent {}
// SAFETY: as above.
unsafe impl aya::Pod for Counters {}
// SAFETY: as above.
unsafe impl aya::Pod for InstanceCounters {}
// SAFETY: as above.
unsafe impl aya::Pod for BfdKey {}
// SAFETY: as above.
unsafe impl aya::Pod for BfdRecord {}
// SAFETY: as above.
unsafe impl aya::Pod for ProbeKey {}
// SAFETY: as above.
unsafe impl aya::Pod for ProbedPeer {}
// SAFETY: as above.
unsafe impl aya::Pod for ProbeEntry {}
// SAFETY: as above.
unsafe impl aya::Pod for Sponsors {}
