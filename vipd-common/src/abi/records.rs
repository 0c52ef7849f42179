//! Records of virtual routers (`INSTANCES`): what the daemon configures, and what the program has heard.

use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::{
    events::RingEvent,
    index::{InstanceKey, LINES},
};

/// Virtual routers one daemon can run: slots of `INSTANCES` and `INSTANCE_COUNTERS`.
pub const MAX_INSTANCES: u32 = 1024;

/// How every value of `INSTANCES` starts, in this and all later versions.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
pub struct InstanceHead {
    pub key: InstanceKey,
    /// Slot of `LEASES`.
    pub lease_slot: u32,
}

/// Bits of [`InstanceRecord::flags`].
pub mod instance_flag {
    /// The VIPs are answered for with the virtual MAC (RFC 9568 7.3): frames to it are ours, and gated by ownership.
    pub const VIRTUAL_MAC: u8 = 1;
    /// Adverts come by unicast, to our primary address.
    pub const UNICAST: u8 = 1 << 1;
    /// Unicast adverts must come from one of `PEERS`.
    pub const CHECK_SOURCE: u8 = 1 << 2;
}

/// One virtual router: what adverts are checked against, and what was last heard.
///
/// The daemon writes the first part through its mapping of the map, field by field; the program only reads it. The
/// program writes the second part; the daemon only reads it.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
pub struct InstanceRecord {
    // Written by the daemon.
    pub head: InstanceHead,
    /// Our primary address: the tie-break (RFC 9568 6.4.3) and the own-packet check.
    pub primary: [u8; 16],
    /// Multicast group that adverts must be sent to; with [`instance_flag::UNICAST`] it is `primary` instead.
    pub destination: [u8; 16],
    /// RFC 2338 simple text password, zero-filled.
    pub auth_data: [u8; 8],
    /// How long one renewal lasts: the last renewal was at `LEASES[lease_slot] - lease_ns`.
    pub lease_ns: u64,
    /// Age of the last renewal from which any other master's advert revokes the lease: 1.5 advert intervals.
    pub stale_after_ns: u64,
    /// Order-independent digest of the virtual addresses that adverts must list (see [`address_digest`](super::address_digest)).
    pub address_list_digest: u64,
    /// Our advert interval in centiseconds.
    pub interval_cs: u32,
    /// Effective priority; 0 while leaving, when any advert with a priority takes over.
    pub priority: u8,
    /// 2 or 3.
    pub version: u8,
    /// One of [`auth_type`](crate::wire::vrrp::auth_type); only for version 2.
    pub auth_type: u8,
    /// Of [`instance_flag`].
    pub flags: u8,
    /// The interface's own MAC: what frames to the virtual MAC are readdressed to.
    pub mac: [u8; 6],
    pub reserved: [u8; 2],
    /// Not 0: report the next valid advert whatever it says. The program clears it.
    pub resync: u32,

    // Written by the program.
    pub reserved2: u32,
    /// When the advert described below was last heard.
    pub heard_ns: u64,
    /// Rises by one when the description below changes; events carry it.
    pub generation: u64,
    /// When the last event about an unchanged rival was sent.
    pub rival_event_ns: u64,
    /// When the last event about an address conflict was sent.
    pub conflict_event_ns: u64,
    pub source: [u8; 16],
    /// Advert interval in centiseconds.
    pub source_interval_cs: u32,
    pub source_priority: u8,
    /// A `ChecksumForm`.
    pub source_checksum: u8,
    /// Ethernet source of the advert that took the VIPs of this instance, on the instance's own interface.
    pub successor_mac: [u8; 6],
    pub reserved3: [u8; 4],
    /// The [`revoked_ns`](Self::revoked_ns) of the takeover that `successor_mac` belongs to; 0: of none.
    pub successor_of_ns: u64,
    /// Packets that were forwarded to the successor in that takeover.
    pub forwarded: u64,
    /// In the record whose slot has the number of a lease slot: when the program last took that lease back.
    pub revoked_ns: u64,
    /// In the same record: what the lease word was then.
    pub revoked_until_ns: u64,
    /// When a valid advert was last heard on each line, whoever sent it.
    pub line_heard_ns: [u64; LINES],
    /// Sender of the last advert that failed a check.
    pub refused_source: [u8; 16],
    /// The check: a number of `InstanceCount`.
    pub refused_reason: u32,
    /// Its TTL or hop limit.
    pub refused_hop_limit: u32,
    /// Until when events are paid for: one costs [`EVENT_PERIOD_NS`](super::EVENT_PERIOD_NS).
    pub events_paid_ns: u64,
    /// The newest event that was not sent because others had come too fast. Only if its generation is that of this record.
    pub deferred: RingEvent,
}

const _: () = {
    assert!(size_of::<InstanceHead>() == 16);
    assert!(core::mem::offset_of!(InstanceRecord, head) == 0);
    assert!(size_of::<InstanceRecord>() == 328);
    // Elements of a mappable array are 8-byte aligned: the daemon's stride is the struct's size.
    assert!(size_of::<InstanceRecord>().is_multiple_of(8));
};
