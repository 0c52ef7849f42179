//! The ABI between the XDP program and the daemon: keys, values, events, counters, capacities.
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

use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Part of the pin directory's name: `<bpffs>/vipd/v<ABI_VERSION>`.
pub const ABI_VERSION: u32 = 7;

/// Virtual routers one daemon can run: slots of `INSTANCES` and `INSTANCE_COUNTERS`.
pub const MAX_INSTANCES: u32 = 1024;
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
/// Ownership groups: slots of `LEASES`. One instance, or one sync group of them, holds one.
pub const MAX_GROUPS: u32 = 1024;
/// Virtual addresses in each of the two tables that `VIPS` points to (allocated as they are used).
pub const MAX_VIPS: u32 = 65_536;
/// Slots of `VIP_ANSWERS`: enough for both tables, so that a VIP that is new never gets one that is still counted in.
pub const ANSWER_SLOTS: u32 = 2 * MAX_VIPS;
/// Unicast peers of all instances together: entries of `PEERS`.
pub const MAX_PEERS: u32 = 16_384;
/// Bytes of the event ring: room for 4,096 events. When it is full the event is lost, counted in
/// `InstanceCounters::events_lost`, and reported again by the next advert of the same kind.
pub const EVENT_RING_BYTES: u32 = 256 * 1024;

/// Events about changing adverts of one instance reach the daemon at this rate at most, in the long run: 100 in a second. Whoever
/// sends more cannot keep its engine thread busy.
pub const EVENT_PERIOD_NS: u64 = 10_000_000;
/// As many may come at once: whole groups of routers that fail over.
pub const EVENT_BURST: u64 = 32;
/// The same for all instances together: 500 in a second. Whoever sends adverts of every VRID keeps the engine thread no busier.
pub const ALL_EVENTS_PERIOD_NS: u64 = 2_000_000;
/// Two for each instance: all of them fail over at once.
pub const ALL_EVENTS_BURST: u64 = 2 * MAX_INSTANCES as u64;

/// IPv4 address mapped into the 16 octets the maps use.
pub const fn mapped(v4: [u8; 4]) -> [u8; 16] {
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, v4[0], v4[1], v4[2], v4[3]]
}

/// Key of the VIP tables: where a virtual address lives.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable)]
pub struct VipKey {
    pub ifindex: u32,
    /// VLAN identifiers of the frame's tags, outermost first, 12 bits each; 0 when untagged.
    pub vlan: u32,
    pub address: [u8; 16],
}

/// Value of the VIP tables: who answers for a virtual address, and with which MAC.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
pub struct VipEntry {
    /// Slot of `LEASES`.
    pub group: u32,
    /// Slot of `INSTANCES`.
    pub instance: u32,
    /// Slot of `VIP_ANSWERS`.
    pub answers: u32,
    /// The MAC that ARP and ND answers carry: the interface's own, or the virtual router's.
    pub mac: [u8; 6],
    /// Of [`vip_flag`].
    pub flags: u8,
    pub reserved: u8,
}

/// Bits of [`VipEntry::flags`].
pub mod vip_flag {
    /// Packets to the address are not for this host, even while it owns the address (RFC 9568 6.1, Accept_Mode False).
    pub const NO_ACCEPT: u8 = 1;
}

/// Key of `INSTANCE_INDEX`: where an advert's virtual router is found (RFC 9568 7.1: VRID on the receiving interface).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable)]
pub struct InstanceKey {
    pub ifindex: u32,
    /// As in [`VipKey::vlan`].
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

/// How every value of `INSTANCES` starts, in this and all later versions.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
pub struct InstanceHead {
    pub key: InstanceKey,
    /// Slot of `LEASES`.
    pub group: u32,
}

/// Bits of [`Instance::flags`].
pub mod instance_flag {
    /// The VIPs are answered for with the virtual MAC (RFC 9568 7.3): frames to it are ours, and gated by ownership.
    pub const VIRTUAL_MAC: u8 = 1;
    /// Adverts come by unicast, to our primary address.
    pub const UNICAST: u8 = 1 << 1;
    /// Unicast adverts must come from one of `PEERS`.
    pub const CHECK_SOURCE: u8 = 1 << 2;
}

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

/// RFC 2338 authentication types, as they stand in a v2 advert.
pub mod auth_type {
    pub const NONE: u8 = 0;
    pub const SIMPLE_TEXT: u8 = 1;
    pub const IP_AH: u8 = 2;
}

/// One virtual router: what adverts are checked against, and what was last heard.
///
/// The daemon writes the first part through its mapping of the map, field by field; the program only reads it. The
/// program writes the second part; the daemon only reads it.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
pub struct Instance {
    // Written by the daemon.
    pub head: InstanceHead,
    /// Our primary address: the tie-break (RFC 9568 6.4.3) and the own-packet check.
    pub primary: [u8; 16],
    /// Group that adverts must be sent to; with [`instance_flag::UNICAST`] it is `primary` instead.
    pub destination: [u8; 16],
    /// RFC 2338 simple text password, zero-filled.
    pub auth_data: [u8; 8],
    /// How long one renewal lasts: the last renewal was at `LEASES[group] - lease_ns`.
    pub lease_ns: u64,
    /// Age of the last renewal from which any other master's advert revokes the lease: 1.5 advert intervals.
    pub stale_after_ns: u64,
    /// Order-independent digest of the virtual addresses that adverts must list (see [`address_digest`]).
    pub address_list_digest: u64,
    /// Our advert interval in centiseconds.
    pub interval_cs: u32,
    /// Effective priority; 0 while leaving, when any advert with a priority takes over.
    pub priority: u8,
    /// 2 or 3.
    pub version: u8,
    /// One of [`auth_type`]; only for version 2.
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
    /// In the record with the number of a group: when the program last took its lease back.
    pub revoked_ns: u64,
    /// In the record with the number of a group: what the lease word was then.
    pub revoked_until_ns: u64,
    /// When a valid advert was last heard on each line, whoever sent it.
    pub line_heard_ns: [u64; LINES],
    /// Sender of the last advert that failed a check.
    pub refused_source: [u8; 16],
    /// The check: a number of `InstanceCount`.
    pub refused_reason: u32,
    /// Its TTL or hop limit.
    pub refused_hop_limit: u32,
    /// Until when events are paid for: one costs [`EVENT_PERIOD_NS`].
    pub events_paid_ns: u64,
    /// The newest event that was not sent because others had come too fast. Only if its generation is that of this record.
    pub deferred: Event,
}

/// What an event reports. In [`Event::kind`].
pub mod event_kind {
    /// A valid advert that differs from the last one, or one that a router which owns its VIPs has to answer.
    pub const ADVERT: u32 = 1;
    /// As `ADVERT`, and the program has taken the lease back (stored 0) in the same packet's processing.
    pub const REVOKED: u32 = 2;
    /// Another station claims a VIP we own; `source` is the VIP and `mac` the station.
    pub const CONFLICT: u32 = 3;
}

/// A message in the ring buffer.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
pub struct Event {
    /// One of [`event_kind`].
    pub kind: u32,
    /// Slot of `INSTANCES`.
    pub instance: u32,
    pub at_ns: u64,
    /// [`Instance::generation`] after this advert.
    pub generation: u64,
    /// When the advert of the generation before was heard last: the stamp that this one overwrites.
    pub before_ns: u64,
    pub source: [u8; 16],
    /// Ethernet source of the frame (adverts), or the claiming station.
    pub mac: [u8; 6],
    pub priority: u8,
    /// A `ChecksumForm`.
    pub checksum: u8,
    /// Advert interval in centiseconds (v2's seconds times 100).
    pub interval_cs: u32,
    /// Not 0: the advert's address list differs from ours.
    pub address_list_differs: u16,
    /// Of [`deferring`]: events have come so fast that the next one may be deferred; see [`Instance::deferred`].
    pub deferring: u16,
}

/// Whose next event may be deferred. In [`Event::deferring`], any of them.
pub mod deferring {
    /// That of this instance, if it comes within [`super::EVENT_PERIOD_NS`].
    pub const INSTANCE: u16 = 1;
    /// That of any instance, if it comes within [`super::ALL_EVENTS_PERIOD_NS`].
    pub const ALL: u16 = 2;
}

/// Bits of the digest of an address list that are kept.
pub const ADDRESS_DIGEST_MASK: u64 = (1 << 47) - 1;

/// Mixes one IPv4 address, as a native-endian load of its four octets, into the digest of an address list.
///
/// The digest of a list is the wrapping sum of its addresses' mixes, masked by [`ADDRESS_DIGEST_MASK`], so order does not
/// matter (RFC 9568 5.2.9).
#[inline(always)]
pub const fn address_digest(word: u32) -> u64 {
    mix(word as u64)
}

/// As [`address_digest`], of an IPv6 address as native-endian loads of its upper and lower eight octets.
#[inline(always)]
pub const fn address_digest_v6(upper: u64, lower: u64) -> u64 {
    mix(mix(upper) ^ lower)
}

/// The 64-bit finaliser of SplitMix64 (Steele, Lea, Flood 2014): a bijection with full avalanche.
#[inline(always)]
const fn mix(word: u64) -> u64 {
    let mut z = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Defines a struct of `u64` counters, an enum of their slots, and their names, from one list.
macro_rules! counters {
    ($(#[$doc:meta])* $name:ident, $slots:ident { $($(#[doc = $field_doc:literal])* $field:ident = $slot:ident,)* }) => {
        $(#[$doc])*
        #[repr(C)]
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
        pub struct $name {
            $($(#[doc = $field_doc])* pub $field: u64,)*
        }

        #[doc = concat!("The counters of [`", stringify!($name), "`], in order.")]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u32)]
        pub enum $slots { $($(#[doc = $field_doc])* $slot,)* }

        impl $name {
            /// Field names, in order.
            pub const NAMES: &'static [&'static str] = &[$(stringify!($field),)*];

            /// What each counts, in order, for people; empty where the name says it.
            pub const MEANINGS: &'static [&'static str] = &[$(concat!($($field_doc),*),)*];

            /// Name and value of each counter.
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($field), self.$field),)*].into_iter()
            }

            /// Adds `other`, as when the values of several CPUs are summed.
            pub fn add(&mut self, other: &Self) {
                $(self.$field = self.$field.wrapping_add(other.$field);)*
            }
        }
    };
}

counters! {
    /// What the program did that belongs to no one instance. Value of `COUNTERS`, per CPU.
    Counters, Count {
        /// ARP requests for owned VIPs answered with `XDP_TX`.
        arp_replies = ArpReplies,
        /// ARP requests for VIPs that are not owned here, dropped.
        arp_gated = ArpGated,
        /// Neighbor Solicitations for owned VIPs answered with `XDP_TX`.
        nd_replies = NdReplies,
        /// Neighbor Solicitations for VIPs that are not owned here, dropped.
        nd_gated = NdGated,
        /// Neighbor Discovery messages about VIPs that RFC 4861 7.1 has a receiver discard, dropped.
        nd_invalid = NdInvalid,
        /// Neighbor Discovery messages about VIPs behind IPv6 extension headers, dropped.
        nd_extension_headers = NdExtensionHeaders,
        /// IPv6 packets with more extension headers than are read, or with some that are not within reach, dropped.
        excess_extension_headers = ExcessExtensionHeaders,
        /// Frames with more VLAN tags than are read, one of which names no VLAN, dropped.
        excess_tags = ExcessTags,
        /// IP packets to VIPs that are not owned here, dropped.
        ip_gated = IpGated,
        /// IP packets to VIPs that are owned here but not accepted (Accept_Mode False), dropped.
        ip_not_accepted = IpNotAccepted,
        /// Frames to a virtual MAC whose VIPs are owned here, readdressed to the interface.
        vmac_rewritten = VmacRewritten,
        /// Frames to a virtual MAC whose VIPs are not owned here, dropped.
        vmac_gated = VmacGated,
        /// IP packets to VIPs that a rival has just taken from us, sent on to it.
        forward_after_takeover_sent = ForwardAfterTakeoverSent,
        /// Such packets whose TTL or hop limit had run out, dropped.
        forward_after_takeover_ttl_exceeded = ForwardAfterTakeoverTtlExceeded,
        /// Such packets beyond the number that one takeover may forward, dropped.
        forward_after_takeover_over_budget = ForwardAfterTakeoverOverBudget,
        /// Other stations' claims of VIPs owned here, dropped.
        vip_conflicts = VipConflicts,
        /// Other stations' claims of VIPs not owned here: the master announcing itself.
        vip_claims_seen = VipClaimsSeen,
        /// Adverts in IP fragments, passed unread.
        advert_fragments = AdvertFragments,
        /// Adverts behind IPv6 extension headers, passed unread.
        advert_extension_headers = AdvertExtensionHeaders,
        /// Well-formed adverts of virtual routers that are not ours, passed (RFC 6527 vrrpv3RouterVrIdErrors).
        vrid_errors = VridErrors,
        /// Adverts of virtual routers that are not ours and fail the check named, passed.
        foreign_ip_ttl_errors = ForeignIpTtlErrors,
        foreign_packet_length_errors = ForeignPacketLengthErrors,
        foreign_version_errors = ForeignVersionErrors,
        foreign_invalid_type = ForeignInvalidType,
        foreign_addr_count_zero = ForeignAddrCountZero,
        foreign_checksum_errors = ForeignChecksumErrors,
        /// Frames for VIPs whose table entry names an instance, group or counter that does not exist: a bug of ours.
        dangling_entries = DanglingEntries,
    }
}

counters! {
    /// Adverts of one instance. Value of `INSTANCE_COUNTERS`, per CPU.
    ///
    /// From `dst_not_group` on each is a reason to discard; the order is that of the checks (RFC 9568 7.1 with its errata).
    InstanceCounters, InstanceCount {
        /// Valid adverts.
        adverts_received = AdvertsReceived,
        /// Valid adverts with priority 0.
        priority_zero_received = PriorityZeroReceived,
        /// Valid v3 adverts whose checksum covers the pseudo-header.
        checksum_pseudo_header = ChecksumPseudoHeader,
        /// Valid v3 adverts whose checksum covers the message only.
        checksum_message_only = ChecksumMessageOnly,
        /// Valid v3 adverts with another interval than ours (RFC 9568 7.1: logged, accepted).
        interval_differs = IntervalDiffers,
        /// Valid adverts listing other addresses than ours.
        address_list_differs = AddressListDiffers,
        /// Valid v3 adverts over IPv6 whose first address is not link-local (erratum 8300; keepalived and FRR send them).
        first_addr_not_link_local = FirstAddrNotLinkLocal,
        /// Times the program took the lease back.
        leases_revoked = LeasesRevoked,
        /// Events that came too fast, of which the daemon is told the newest.
        events_deferred = EventsDeferred,
        /// Events that found the ring full.
        events_lost = EventsLost,
        /// Not sent to the group, or unicast address, that the instance listens to.
        dst_not_group = DstNotGroup,
        /// IPv4 header checksum wrong (the stack would have dropped it).
        ip_checksum_errors = IpChecksumErrors,
        /// TTL or hop limit is not 255 (RFC 9568 5.1.1.3), or outside of what a unicast peer may have.
        ip_ttl_errors = IpTtlErrors,
        /// Shorter or longer than its address count says.
        packet_length_errors = PacketLengthErrors,
        /// Another VRRP version than the instance's.
        version_errors = VersionErrors,
        /// Type is not 1, ADVERTISEMENT.
        invalid_type = InvalidType,
        /// Address count 0 (erratum 8299).
        addr_count_zero = AddrCountZero,
        checksum_errors = ChecksumErrors,
        /// Max Advertise Interval 0 (erratum 8301).
        interval_zero = IntervalZero,
        /// v2: unknown authentication type.
        invalid_auth_type = InvalidAuthType,
        /// v2: another authentication type than configured.
        auth_type_mismatch = AuthTypeMismatch,
        /// v2: wrong password.
        auth_failures = AuthFailures,
        /// v2: we are the address owner (RFC 3768 7.1).
        local_owner = LocalOwner,
        /// v2: another interval than ours (RFC 3768 7.1).
        interval_mismatch = IntervalMismatch,
        /// Sent by ourselves and looped back.
        own_source = OwnSource,
        /// Unicast, and not from a configured peer.
        unknown_peer = UnknownPeer,
    }
}

impl InstanceCounters {
    /// Index in [`Self::NAMES`] of the first reason to discard.
    pub const FIRST_DISCARD: usize = InstanceCount::DstNotGroup as usize;
}

const _: () = {
    assert!(size_of::<VipKey>() == 24);
    assert!(size_of::<VipEntry>() == 20);
    assert!(size_of::<InstanceKey>() == 12);
    assert!(size_of::<IndexEntry>() == 8);
    assert!(size_of::<InstanceHead>() == 16);
    assert!(core::mem::offset_of!(Instance, head) == 0);
    assert!(size_of::<Instance>() == 328);
    assert!(size_of::<PeerKey>() == 20);
    assert!(size_of::<PeerEntry>() == 4);
    // Elements of a mappable array are 8-byte aligned: the daemon's stride is the struct's size.
    assert!(size_of::<Instance>().is_multiple_of(8));
    assert!(size_of::<Event>() == 64);
    assert!(EVENT_RING_BYTES.is_power_of_two());
};

#[cfg(feature = "user")]
mod user {
    use super::{
        Counters, Event, IndexEntry, Instance, InstanceCounters, InstanceKey, PeerEntry, PeerKey, VipEntry,
        VipKey,
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
    unsafe impl aya::Pod for Instance {}
    // SAFETY: as above.
    unsafe impl aya::Pod for PeerKey {}
    // SAFETY: as above.
    unsafe impl aya::Pod for PeerEntry {}
    // SAFETY: as above.
    unsafe impl aya::Pod for Event {}
    // SAFETY: as above.
    unsafe impl aya::Pod for Counters {}
    // SAFETY: as above.
    unsafe impl aya::Pod for InstanceCounters {}
}
