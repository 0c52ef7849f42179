//! The ABI between the XDP program and the daemon: keys, values, events, counters, capacities. One file for each kind of map.
//!
//! Little more than data. Every struct is `#[repr(C)]` without hidden padding (zerocopy refuses it) and its size is asserted,
//! because the kernel reuses a pinned map without looking at its layout. A change of anything here is a new
//! [`ABI_VERSION`], and with it a new pin directory.
//!
//! Two things are promised to later versions, which read them to carry leases over an upgrade: `LEASES` is an array of
//! `u64` deadlines, and a value of `INSTANCES` starts with an [`InstanceHead`].
//!
//! Addresses are 16 octets in network order; IPv4 is mapped (`::ffff:a.b.c.d`, RFC 4291 2.5.5.2), so one key serves both
//! families. Times are nanoseconds on the boot-time clock (`CLOCK_BOOTTIME`, `bpf_ktime_get_boot_ns`).

mod bfd;
mod capture;
mod counters;
mod digest;
mod events;
mod index;
mod leases;
mod peers;
#[cfg(feature = "user")]
mod pod;
mod probes;
mod records;
mod sponsors;
mod vips;

pub use crate::wire::vrrp::auth_type;
pub use bfd::{
    BFD_EVENT_BURST, BFD_EVENT_PERIOD_NS, BFD_OCTETS, BFD_RING_BYTES, BfdEvent, BfdKey, BfdRecord,
    MAX_BFD_SESSIONS, check_bfd,
};
pub use capture::{
    CAPTURE_OCTETS, CAPTURE_RING_BYTES, CAPTURED_HEADER, CaptureLease, CapturedFrame, CapturedReason,
    capture_flag, verdict,
};
pub use counters::{Count, Counters, InstanceCount, InstanceCounters};
pub use digest::{ADDRESS_DIGEST_MASK, address_digest, address_digest_v6};
pub use events::{
    ALL_EVENTS_BURST, ALL_EVENTS_PERIOD_NS, EVENT_BURST, EVENT_PERIOD_NS, EVENT_RING_BYTES, RingEvent,
    deferring, event_kind,
};
pub use index::{IndexEntry, InstanceKey, LINES, MAX_HEARTBEATS, MAX_INDEX, OWN_INTERFACE};
pub use leases::MAX_LEASES;
pub use peers::{MAX_PEERS, PeerEntry, PeerKey};
pub use probes::{
    MAX_PROBE_INDEX, MAX_PROBE_PEERS, NO_SPONSOR, PROBE_BURST, PROBE_MAX_NS, PROBE_MIN_NS, ProbeEntry,
    ProbeKey, ProbedPeer, probe_flag,
};
pub use records::{InstanceHead, InstanceRecord, MAX_INSTANCES, instance_flag};
pub use sponsors::{MAX_EARLY_BACKUPS, Sponsors};
pub use vips::{MAX_VIPS, REPLY_SLOTS, VipEntry, VipKey, vip_flag};

/// Part of the pin directory's name: `<bpffs>/vipd/v<ABI_VERSION>`.
pub const ABI_VERSION: u32 = 10;

/// IPv4 address mapped into the 16 octets the maps use.
pub const fn mapped(v4: [u8; 4]) -> [u8; 16] {
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, v4[0], v4[1], v4[2], v4[3]]
}
