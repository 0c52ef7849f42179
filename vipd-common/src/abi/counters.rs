//! Counters (`COUNTERS`, `INSTANCE_COUNTERS`), each list a struct, an enum of slots, and names.

use zerocopy::{FromBytes, Immutable, IntoBytes};

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
        /// Valid BFD control packets of configured sessions, taken from the kernel.
        bfd_packets = BfdPackets,
        /// Such packets that fail the check named, dropped. The IP header's checksum, or UDP's.
        bfd_checksum_errors = BfdChecksumErrors,
        /// BFD packets whose TTL or hop limit is less than the session takes (RFC 5881 5).
        bfd_ttl_errors = BfdTtlErrors,
        bfd_version_errors = BfdVersionErrors,
        /// BFD packets shorter than they say, or than they may be.
        bfd_length_errors = BfdLengthErrors,
        /// BFD packets whose detection multiplier is 0.
        bfd_multiplier_zero = BfdMultiplierZero,
        bfd_multipoint = BfdMultipoint,
        /// BFD packets whose My Discriminator is 0.
        bfd_my_discriminator_zero = BfdMyDiscriminatorZero,
        /// BFD packets whose Your Discriminator is not the session's: of a neighbor that has not heard of our restart.
        bfd_your_discriminator_errors = BfdYourDiscriminatorErrors,
        /// BFD packets whose Your Discriminator is 0 in a state that has to know it (RFC 5880 6.8.6).
        bfd_state_errors = BfdStateErrors,
        /// BFD packets with an authentication section: vipd has no authentication of BFD.
        bfd_authentication_errors = BfdAuthenticationErrors,
        /// Valid BFD packets that came too fast for the daemon, and were stamped only.
        bfd_events_deferred = BfdEventsDeferred,
        /// Valid BFD packets that found the ring full, and were stamped only.
        bfd_events_lost = BfdEventsLost,
        /// Probes of known hosts, answered with `XDP_TX`.
        probes_reflected = ProbesReflected,
        /// Answers to this node's probes, stamped and dropped.
        probe_answers = ProbeAnswers,
        /// Probes of hosts that are not known yet, dropped; the daemon is told of the newest.
        probe_unknown_peers = ProbeUnknownPeers,
        /// Probes and answers whose TTL or hop limit is not 255, dropped.
        probe_ttl_errors = ProbeTtlErrors,
        /// Probes and answers with a wrong length, checksum, version or field of BFD, dropped. UDP's checksum counts where a probe's list is new.
        probe_malformed = ProbeMalformed,
        /// Probes that came more than four times as fast as they said, dropped.
        probes_over_rate = ProbesOverRate,
        /// Frames for VIPs whose table entry names an instance, lease or counter that does not exist: a bug of ours.
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
        /// Valid adverts with another address list than this node's.
        address_list_differs = AddressListDiffers,
        /// Valid v3 adverts over IPv6 whose first address is not link-local (erratum 8300; keepalived and FRR send them).
        first_addr_not_link_local = FirstAddrNotLinkLocal,
        /// Times the program took the lease back.
        leases_revoked = LeasesRevoked,
        /// Events that came too fast, of which the daemon is told the newest.
        events_deferred = EventsDeferred,
        /// Events that found the ring full.
        events_lost = EventsLost,
        /// Not sent to the multicast group, or unicast address, that the instance listens to.
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
