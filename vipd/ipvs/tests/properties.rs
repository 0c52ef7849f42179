//! What holds for every input: what is emitted parses to the same, and no octets make the decoder or the client panic.

#![allow(clippy::unwrap_used, reason = "all of it is a test")]

mod vectors;

use std::{
    collections::VecDeque,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    num::{NonZeroU8, NonZeroU16, NonZeroU32},
};

use proptest::prelude::*;
use vectors::octets;
use vipd_common::Family;
use vipd_ipvs::{
    AttributeList, DestinationKey, DestinationView, ForwardingMethod, GueChecksum, IpvsClient,
    IpvsDestination, IpvsError, IpvsInfo, IpvsStep, IpvsTimeouts, KernelChannel, KernelName, PersistenceMask,
    ReplyFrame, ReplyFrames, ServiceFlags, ServiceProtocol, ServiceView, StatsView, SyncDaemon,
    SyncDaemonView, SyncRole, Tunnel, VirtualService, VirtualServiceKey,
};

fn address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![any::<Ipv4Addr>().prop_map(IpAddr::from), any::<Ipv6Addr>().prop_map(IpAddr::from)]
}

fn name<const MAX: usize>() -> impl Strategy<Value = KernelName<MAX>> {
    // Letters of more than one octet too.
    let text = format!("[a-z\u{e4}\u{20ac}_.-]{{1,{MAX}}}");
    proptest::string::string_regex(&text).unwrap().prop_filter_map("too long", |name| KernelName::new(&name))
}

fn key() -> impl Strategy<Value = VirtualServiceKey> {
    let family = prop_oneof![Just(Family::V4), Just(Family::V6)];
    prop_oneof![
        (any::<u16>(), address(), any::<u16>()).prop_map(|(protocol, address, port)| {
            let protocol = ServiceProtocol::from_number(protocol);
            VirtualServiceKey::Address { protocol, address, port }
        }),
        (family, any::<NonZeroU32>()).prop_map(|(family, mark)| VirtualServiceKey::Mark { family, mark }),
    ]
}

fn service() -> impl Strategy<Value = VirtualService> {
    let mask = (any::<Ipv4Addr>(), 0..=128_u8);
    let engine = prop::option::of(name());
    (key(), name(), engine, any::<u32>(), any::<u32>(), mask).prop_map(
        |(key, scheduler, persistence_engine, flags, timeout_s, (v4, v6))| VirtualService {
            key,
            scheduler,
            persistence_engine,
            flags: ServiceFlags::from_bits(flags),
            timeout_s,
            mask: match key.family() {
                Family::V4 => PersistenceMask::V4(v4),
                Family::V6 => PersistenceMask::V6(v6),
            },
        },
    )
}

fn tunnel() -> impl Strategy<Value = Tunnel> {
    let checksum = prop_oneof![Just(GueChecksum::None), Just(GueChecksum::Full), Just(GueChecksum::Remote)];
    prop_oneof![
        Just(Tunnel::Ipip),
        (any::<NonZeroU16>(), checksum).prop_map(|(port, checksum)| Tunnel::Gue { port, checksum }),
        any::<bool>().prop_map(|checksum| Tunnel::Gre { checksum }),
        (3..=u8::MAX, any::<u16>(), any::<u16>()).prop_map(|(kind, port, flags)| Tunnel::Other {
            kind,
            port,
            flags
        }),
        // What no program of sense sets, of the known kinds: with both checksums.
        (0..3_u8, any::<u16>()).prop_map(|(kind, port)| Tunnel::Other { kind, port, flags: 3 }),
    ]
}

fn destination() -> impl Strategy<Value = IpvsDestination> {
    let forwarding = prop_oneof![
        Just(ForwardingMethod::Masquerade),
        Just(ForwardingMethod::Local),
        tunnel().prop_map(ForwardingMethod::Tunnel),
        Just(ForwardingMethod::Route),
        Just(ForwardingMethod::Bypass),
    ];
    (address(), any::<u16>(), forwarding, any::<[u32; 3]>()).prop_map(
        |(address, port, forwarding, [weight, upper_threshold, lower_threshold])| IpvsDestination {
            key: DestinationKey { address, port },
            forwarding,
            weight,
            upper_threshold,
            lower_threshold,
        },
    )
}

fn daemon() -> impl Strategy<Value = SyncDaemon> {
    let role = prop_oneof![Just(SyncRole::Master), Just(SyncRole::Backup)];
    let options = (
        prop::option::of(any::<NonZeroU16>()),
        prop::option::of(address()),
        prop::option::of(any::<NonZeroU16>()),
        prop::option::of(any::<NonZeroU8>()),
    );
    (role, name(), any::<u8>(), options).prop_map(
        |(role, interface, sync_id, (max_length, group, port, ttl))| SyncDaemon {
            role,
            interface,
            sync_id,
            max_length,
            group,
            port,
            ttl,
        },
    )
}

proptest! {
    #[test]
    fn services_come_back(service in service()) {
        let octets = service.emit();
        let view = ServiceView::new_checked(&octets).unwrap();
        prop_assert_eq!(VirtualService::parse(&view), Ok(service));
    }

    #[test]
    fn destinations_come_back(destination in destination(), is_v6: bool) {
        let octets = destination.emit();
        let view = DestinationView::new_checked(&octets).unwrap();
        let service = if is_v6 { Family::V6 } else { Family::V4 };
        prop_assert_eq!(IpvsDestination::parse(&view, service), Ok(destination));
    }

    #[test]
    fn daemons_come_back(daemon in daemon()) {
        let octets = daemon.emit();
        let view = SyncDaemonView::new_checked(&octets).unwrap();
        prop_assert_eq!(SyncDaemon::parse(&view), Ok(daemon.clone()));
        prop_assert!(daemon.meets(&daemon));
    }
}

/// Reads octets as everything that they might be. Counts services, destinations, sync daemons and versions.
fn read_all(octets: &[u8]) -> [usize; 4] {
    let mut read = [0; 4];
    for frame in ReplyFrames::new(octets).flatten() {
        if let ReplyFrame::Object { attributes, .. } = frame {
            read_attributes(attributes, &mut read);
        }
    }
    if let Ok(attributes) = AttributeList::new_checked(octets) {
        read_attributes(attributes, &mut [0; 4]);
    }
    read
}

fn read_attributes(
    attributes: AttributeList<'_>,
    [services, destinations, daemons, versions]: &mut [usize; 4],
) {
    *versions += usize::from(IpvsInfo::parse(attributes).is_ok());
    let _ = IpvsTimeouts::parse(attributes);
    for (_, nest) in attributes.iter() {
        let _ = (StatsView::new_checked(nest), StatsView::new_checked_narrow(nest));
        let service = ServiceView::new_checked(nest).and_then(|view| VirtualService::parse(&view));
        *services += usize::from(service.is_ok());
        let destination =
            DestinationView::new_checked(nest).and_then(|view| IpvsDestination::parse(&view, Family::V4));
        *destinations += usize::from(destination.is_ok());
        let daemon = SyncDaemonView::new_checked(nest).and_then(|view| SyncDaemon::parse(&view));
        *daemons += usize::from(daemon.is_ok());
    }
}

/// What the kernel sends, in one piece: a message of every kind.
fn recorded() -> Vec<u8> {
    let messages = [
        vectors::SERVICES,
        vectors::SERVICE_ONE,
        vectors::DESTINATIONS,
        vectors::DESTINATIONS_OF_MARK,
        vectors::DESTINATIONS_NONE,
        vectors::DAEMONS,
        vectors::CONFIG,
        vectors::INFO,
        vectors::FAMILY,
        vectors::SERVICE_NONE,
        vectors::UNKNOWN_FAMILY,
        vectors::DEL_DEST_NONE,
        vectors::DEL_DEST_NO_SERVICE,
    ];
    messages.concat().iter().flat_map(|message| octets(message)).collect()
}

#[test]
fn what_was_recorded_is_read() {
    assert_eq!(read_all(&recorded()), [4, 4, 2, 1]);
}

#[test]
fn no_cut_makes_the_decoder_panic() {
    let recorded = recorded();
    for end in 0..recorded.len() {
        let [services, ..] = read_all(&recorded[..end]);
        assert!(services <= 4, "{end}");
    }
}

/// A kernel that answers whatever it likes, each datagram once.
struct Liar(VecDeque<Vec<u8>>);

impl KernelChannel for Liar {
    fn send(&mut self, _: &[u8]) -> Result<(), IpvsError> {
        Ok(())
    }

    fn receive(&mut self, buffer: &mut Vec<u8>) -> Result<(), IpvsError> {
        *buffer = self.0.pop_front().ok_or(IpvsError::TimedOut)?;
        Ok(())
    }
}

/// An answer to a request of the client, which numbers them from 1: for requests in order, so that the lies get far.
fn lie() -> impl Strategy<Value = Vec<u8>> {
    let kind = prop_oneof![Just(2_u16), Just(3), Just(0x20), any::<u16>()];
    let body = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..64),
        Just(octets(vectors::SERVICES[0])[16..].to_vec()),
        Just(octets(vectors::DESTINATIONS[0])[16..].to_vec()),
        Just(octets(vectors::DAEMONS[0])[16..].to_vec()),
        Just(octets(vectors::CONFIG[0])[16..].to_vec()),
        Just(vec![0; 4]),
        Just((-libc::EEXIST).to_ne_bytes().to_vec()),
        Just((-libc::ENOENT).to_ne_bytes().to_vec()),
    ];
    let changes = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3);
    (kind, 1..12_u32, prop_oneof![Just(0_u16), Just(2)], body, changes).prop_map(
        |(kind, sequence, flags, mut body, changes)| {
            for (at, octet) in changes {
                if !body.is_empty() {
                    let at = at.index(body.len());
                    body[at] = octet;
                }
            }
            let length = u32::try_from(16 + body.len()).unwrap();
            let mut message = [length.to_ne_bytes(), [0; 4], sequence.to_ne_bytes(), [0; 4]].concat();
            message[4..6].copy_from_slice(&kind.to_ne_bytes());
            message[6..8].copy_from_slice(&flags.to_ne_bytes());
            message.extend(body);
            message
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn no_octets_make_the_decoder_panic(octets in prop::collection::vec(any::<u8>(), 0..200)) {
        read_all(&octets);
    }

    #[test]
    fn no_change_makes_the_decoder_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..20)
    ) {
        let mut octets = recorded();
        for (at, octet) in changes {
            let at = at.index(octets.len());
            octets[at] = octet;
        }
        read_all(&octets);
    }

    #[test]
    fn no_answer_makes_the_client_panic(
        service in service(),
        destination in destination(),
        daemon in daemon(),
        lies in prop::collection::vec(lie(), 0..40),
    ) {
        let family = octets(vectors::FAMILY[0]);
        let answers = [family].into_iter().chain(lies).collect();
        let mut client = IpvsClient::over(Liar(answers)).unwrap();
        let steps = [
            IpvsStep::NewService(service.clone()),
            IpvsStep::NewDestination { service: service.key, destination },
            IpvsStep::StartDaemon(daemon),
            IpvsStep::Flush,
        ];
        // The outcome is the kernel's to say; there is one.
        let results = client.apply(&steps);
        prop_assert!(results.is_err() || results.is_ok_and(|results| results.len() == steps.len()));
        let _ = client.read_table();
    }
}
