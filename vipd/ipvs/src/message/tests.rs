//! Against what was recorded: `tests/vectors`.

#[path = "../../tests/vectors/mod.rs"]
mod vectors;

use std::{
    collections::BTreeMap,
    net::IpAddr,
    num::{NonZeroU8, NonZeroU16, NonZeroU32},
};

use vectors::octets;
use vipd_common::Family;

use super::*;
use crate::{
    ConnectionCounts, DestinationKey, DestinationView, ForwardingMethod, GueChecksum, IpvsDestination,
    IpvsInfo, IpvsStep, IpvsTimeouts, KernelName, PersistenceMask, ServiceFlags, ServiceProtocol,
    ServiceView, SyncDaemon, SyncDaemonView, SyncRole, TrafficStats, Tunnel, VirtualService,
    VirtualServiceKey,
};

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn name<const MAX: usize>(text: &str) -> KernelName<MAX> {
    KernelName::new(text).unwrap()
}

fn key(protocol: ServiceProtocol, address: &str, port: u16) -> VirtualServiceKey {
    VirtualServiceKey::Address { protocol, address: ip(address), port }
}

fn mark(mark: u32) -> VirtualServiceKey {
    VirtualServiceKey::Mark { family: Family::V4, mark: NonZeroU32::new(mark).unwrap() }
}

fn tcp() -> VirtualServiceKey {
    key(ServiceProtocol::Tcp, "10.1.0.3", 80)
}

fn sip() -> VirtualService {
    VirtualService {
        persistence_engine: Some(name("sip")),
        flags: ServiceFlags::PERSISTENT,
        timeout_s: 30,
        ..VirtualService::new(key(ServiceProtocol::Udp, "10.1.0.3", 5060), name("rr"))
    }
}

fn sh() -> VirtualService {
    VirtualService { flags: ServiceFlags::SCHEDULER_2, ..VirtualService::new(tcp(), name("sh")) }
}

fn destination(address: &str, port: u16, forwarding: ForwardingMethod, weight: u32) -> IpvsDestination {
    IpvsDestination::new(DestinationKey { address: ip(address), port }, forwarding, weight)
}

fn gue() -> IpvsDestination {
    let port = NonZeroU16::new(6080).unwrap();
    let tunnel = Tunnel::Gue { port, checksum: GueChecksum::None };
    IpvsDestination {
        upper_threshold: 100,
        lower_threshold: 50,
        ..destination("10.1.0.12", 80, ForwardingMethod::Tunnel(tunnel), 7)
    }
}

fn backup() -> SyncDaemon {
    SyncDaemon {
        max_length: NonZeroU16::new(1400),
        group: Some(ip("224.0.0.82")),
        port: NonZeroU16::new(8849),
        ttl: NonZeroU8::new(3),
        ..SyncDaemon::new(SyncRole::Backup, name("d0"), 51)
    }
}

fn master() -> SyncDaemon {
    SyncDaemon { group: Some(ip("ff02::99")), ..SyncDaemon::new(SyncRole::Master, name("d0"), 52) }
}

/// AttributeReader by the numbers that lead to them. The first-level attributes 1 to 3 are nests.
fn flat(body: &[u8]) -> BTreeMap<(u16, u16), Vec<u8>> {
    let mut found = BTreeMap::new();
    for (number, value) in AttributeList::new_checked(body).unwrap().iter() {
        if number > IpvsRequest::DAEMON {
            found.insert((number, 0), value.to_vec());
            continue;
        }
        for (inner, value) in AttributeList::new_checked(value).unwrap().iter() {
            found.insert((number, inner), value.to_vec());
        }
    }
    found
}

#[test]
fn requests_are_those_of_ipvsadm() {
    let route = |address| destination(address, 80, ForwardingMethod::Route, 1);
    let new = |service, destination| IpvsStep::NewDestination { service, destination };
    let gre = ForwardingMethod::Tunnel(Tunnel::Gre { checksum: true });
    let direct = destination("10.1.0.11", 80, ForwardingMethod::Route, 5);
    let v6 = key(ServiceProtocol::Udp, "2001:db8::3", 53);
    let steps = [
        IpvsStep::SetTimeouts(IpvsTimeouts { tcp_s: 901, tcp_fin_s: 121, udp_s: 301 }),
        IpvsStep::NewService(VirtualService {
            flags: ServiceFlags::PERSISTENT,
            timeout_s: 600,
            mask: PersistenceMask::V4([255, 255, 255, 0].into()),
            ..VirtualService::new(tcp(), name("wlc"))
        }),
        new(tcp(), direct),
        new(tcp(), gue()),
        new(tcp(), destination("2001:db8::12", 80, gre, 0)),
        new(tcp(), route("127.0.0.1")),
        new(v6, destination("2001:db8::11", 5353, ForwardingMethod::Masquerade, 3)),
        IpvsStep::NewService(VirtualService::new(mark(7), name("rr"))),
        new(mark(7), destination("10.1.0.13", 0, ForwardingMethod::Route, 1)),
        IpvsStep::NewService(sip()),
        IpvsStep::StartDaemon(backup()),
        IpvsStep::StartDaemon(master()),
        IpvsStep::SetDestination { service: tcp(), destination: IpvsDestination { weight: 0, ..direct } },
        IpvsStep::SetService(sh()),
        IpvsStep::DeleteDestination { service: tcp(), destination: direct.key },
        IpvsStep::Zero(Some(tcp())),
        IpvsStep::StopDaemon(SyncRole::Master),
        IpvsStep::DeleteService(mark(7)),
        IpvsStep::Flush,
    ];
    assert_eq!(steps.len(), vectors::REQUESTS.len());
    for (step, (command, recorded)) in steps.iter().zip(vectors::REQUESTS) {
        let (message, recorded) = (step.request().unwrap().message(0x20, CHANGE, 9), octets(recorded));
        // Length, family, flags and sequence number.
        let length = u8::try_from(message.len()).unwrap();
        assert_eq!(message[..16], [length, 0, 0, 0, 0x20, 0, 5, 0, 9, 0, 0, 0, 0, 0, 0, 0], "{command}");
        assert_eq!(message[16..20], recorded[..4], "{command}: command and version");
        let (mut ours, mut theirs) = (flat(&message[20..]), flat(&recorded[4..]));
        // ipvsadm sends all of a service and of a destination with every command, and zeroes where there is nothing to say.
        let names_only = matches!(
            step,
            IpvsStep::NewDestination { .. }
                | IpvsStep::SetDestination { .. }
                | IpvsStep::DeleteDestination { .. }
                | IpvsStep::DeleteService(_)
                | IpvsStep::Zero(_)
        );
        theirs.retain(|(nest, number), value| {
            let is_extra = match *nest {
                1 => names_only && *number > 5,
                2 if matches!(step, IpvsStep::DeleteDestination { .. }) => ![1, 2, 11].contains(number),
                2 => *number > 12 && matches!(value.as_slice(), [0] | [0, 0]),
                3 => matches!(step, IpvsStep::StopDaemon(_)) && *number > 1,
                _ => false,
            };
            !is_extra
        });
        // Of a tunnel every option is sent.
        ours.retain(|place @ (nest, number), value| {
            theirs.contains_key(place) || *nest != 2 || *number <= 12 || value.iter().any(|octet| *octet != 0)
        });
        // The second half is the mask of the flags that may change: ipvsadm has all, we have those that we know.
        if let (Some(ours), Some(theirs)) = (ours.get_mut(&(1, 7)), theirs.get_mut(&(1, 7))) {
            assert_eq!((&ours[4..], &theirs[4..]), (&[0x3d, 0, 0, 0][..], &[0xff; 4][..]), "{command}");
            ours.truncate(4);
            theirs.truncate(4);
        }
        assert_eq!(ours, theirs, "{command}");
    }
}

#[test]
fn the_family_is_asked_for_by_name() {
    let expected = octets("200000001000010005000000000000000302000009000200495056530000" /* IPVS */);
    let message = family_request(FAMILY, 5);
    assert_eq!((&message[..30], message.len()), (&expected[..30], 32));
}

/// The one message of a datagram that is an object: command, whether more follow, and its attributes.
fn object(datagram: &[u8]) -> (u8, bool, AttributeList<'_>) {
    match ReplyFrames::new(datagram).next().unwrap().unwrap() {
        ReplyFrame::Object {
            sequence: 1..=14,
            family: 0x20 | CONTROLLER,
            command,
            multipart,
            attributes,
        } => (command, multipart, attributes),
        other => panic!("{other:?}"),
    }
}

/// The error number of the message that ends a request.
fn end(datagram: &[u8]) -> i32 {
    match ReplyFrames::new(datagram).next().unwrap().unwrap() {
        ReplyFrame::End { sequence: 1..=14, errno } => errno,
        other => panic!("{other:?}"),
    }
}

#[test]
fn recorded_services_are_read() {
    let expected = [sip(), sh(), VirtualService::new(mark(7), name("rr"))];
    let (last, services) = vectors::SERVICES.split_last().unwrap();
    assert_eq!((services.len(), end(&octets(last))), (3, 0));
    for (recorded, expected) in services.iter().zip(expected) {
        let recorded = octets(recorded);
        let (command, multipart, attributes) = object(&recorded);
        assert_eq!((command, multipart), (IpvsCommand::NewService as u8, true));
        let view = ServiceView::new_checked(attributes.find(IpvsRequest::SERVICE).unwrap()).unwrap();
        assert_eq!(VirtualService::parse(&view), Ok(expected));
        assert_eq!(TrafficStats::parse(&view.stats().unwrap()), TrafficStats::default());
    }
    let one = octets(vectors::SERVICE_ONE[0]);
    let (command, multipart, attributes) = object(&one);
    assert_eq!((command, multipart), (IpvsCommand::NewService as u8, false));
    let view = ServiceView::new_checked(attributes.find(IpvsRequest::SERVICE).unwrap()).unwrap();
    assert_eq!(VirtualService::parse(&view), Ok(sh()));
}

#[test]
fn recorded_destinations_are_read() {
    let route = |address, port| destination(address, port, ForwardingMethod::Route, 1);
    for (recorded, expected) in [
        (vectors::DESTINATIONS, [route("127.0.0.1", 80), gue()]),
        (vectors::DESTINATIONS_OF_MARK, [route("10.1.0.14", 0), route("10.1.0.13", 0)]),
    ] {
        let (last, destinations) = recorded.split_last().unwrap();
        assert_eq!((destinations.len(), end(&octets(last))), (2, 0));
        for (recorded, expected) in destinations.iter().zip(expected) {
            let recorded = octets(recorded);
            let (command, _, attributes) = object(&recorded);
            assert_eq!(command, IpvsCommand::NewDest as u8);
            let view = DestinationView::new_checked(attributes.find(IpvsRequest::DEST).unwrap()).unwrap();
            // The family stands in the answer.
            for service in [Family::V4, Family::V6] {
                assert_eq!(IpvsDestination::parse(&view, service), Ok(expected));
            }
            assert_eq!(view.connections(), ConnectionCounts::default());
            assert_eq!(TrafficStats::parse(&view.stats().unwrap()), TrafficStats::default());
        }
    }
}

#[test]
fn recorded_daemons_timeouts_and_versions_are_read() {
    // The kernel tells its defaults.
    let master = SyncDaemon {
        max_length: NonZeroU16::new(1452),
        port: NonZeroU16::new(8848),
        ttl: NonZeroU8::new(1),
        ..master()
    };
    assert!(master.meets(&self::master()) && !self::master().meets(&master));
    for (recorded, expected) in vectors::DAEMONS.iter().zip([master, backup()]) {
        let recorded = octets(recorded);
        let (command, _, attributes) = object(&recorded);
        assert_eq!(command, IpvsCommand::NewDaemon as u8);
        let view = SyncDaemonView::new_checked(attributes.find(IpvsRequest::DAEMON).unwrap()).unwrap();
        assert_eq!(SyncDaemon::parse(&view), Ok(expected));
    }
    let config = octets(vectors::CONFIG[0]);
    let (command, multipart, attributes) = object(&config);
    assert_eq!((command, multipart), (IpvsCommand::SetConfig as u8, false));
    let expected = IpvsTimeouts { tcp_s: 901, tcp_fin_s: 121, udp_s: 301 };
    assert_eq!(IpvsTimeouts::parse(attributes), Ok(expected));
    let info = octets(vectors::INFO[0]);
    let (command, _, attributes) = object(&info);
    assert_eq!(command, IpvsCommand::SetInfo as u8);
    let expected = IpvsInfo { version: (1, 2, 1), connection_table_size: 4096 };
    assert_eq!(IpvsInfo::parse(attributes), Ok(expected));
    let family = octets(vectors::FAMILY[0]);
    let (_, _, attributes) = object(&family);
    assert_eq!(family_id(attributes), Ok(0x20));
}

#[test]
fn recorded_errors_are_read() {
    for (recorded, errno) in [
        (vectors::DESTINATIONS_NONE, 0),
        (vectors::SERVICE_NONE, libc::ESRCH),
        (vectors::UNKNOWN_FAMILY, libc::ENOENT),
        (vectors::DEL_DEST_NONE, libc::ENOENT),
        (vectors::DEL_DEST_NO_SERVICE, libc::ESRCH),
    ] {
        assert_eq!(end(&octets(recorded[0])), errno);
    }
}

#[test]
fn several_messages_of_a_datagram_are_read() {
    let datagram: Vec<u8> = vectors::SERVICES.iter().flat_map(|message| octets(message)).collect();
    let frames: Vec<_> = ReplyFrames::new(&datagram).map(Result::unwrap).collect();
    assert!(
        matches!(
            frames[..],
            [
                ReplyFrame::Object { .. },
                ReplyFrame::Object { .. },
                ReplyFrame::Object { .. },
                ReplyFrame::End { sequence: 2, errno: 0 }
            ]
        ),
        "{frames:?}"
    );
    // Up to the message that is cut.
    let frames: Vec<_> = ReplyFrames::new(&datagram[..datagram.len() - 1]).collect();
    assert!(matches!(frames[..], [Ok(_), Ok(_), Ok(_), Err(MalformedReply::Truncated)]), "{frames:?}");
}

#[test]
fn messages_that_are_cut_or_odd_are_told_apart() {
    let header = |length: u8, kind: u8| [length, 0, 0, 0, kind, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0];
    let with = |kind: u8, body: &[u8]| {
        let length = u8::try_from(16 + body.len()).unwrap();
        [&header(length, kind)[..], body].concat()
    };
    let end = |octets: &[u8]| match ReplyFrames::new(octets).next().unwrap() {
        Ok(ReplyFrame::End { sequence: 7, errno }) => Ok(errno),
        Ok(other) => panic!("{other:?}"),
        Err(error) => Err(error),
    };
    // The two kinds of end; the first always has a status.
    assert_eq!(end(&with(2, &(-17_i32).to_ne_bytes())), Ok(17));
    assert_eq!(end(&with(2, &i32::MIN.to_ne_bytes())), Ok(i32::MAX));
    assert_eq!(end(&with(2, &[0; 4])), Ok(0));
    assert_eq!(end(&with(2, &[0; 3])), Err(MalformedReply::Truncated));
    assert_eq!(end(&with(3, &(-105_i32).to_ne_bytes())), Ok(105));
    assert_eq!(end(&with(3, &[])), Ok(0));
    assert_eq!(end(&with(3, &[0; 3])), Err(MalformedReply::Truncated));
    // A length below the header, or above the datagram.
    for length in [0, 15, 17] {
        assert_eq!(end(&header(length, 2)), Err(MalformedReply::Truncated), "{length}");
    }
    assert_eq!(end(&header(16, 2)[..15]), Err(MalformedReply::Truncated));
    // An object without the header of generic netlink, and one whose attributes are cut.
    assert_eq!(end(&with(0x20, &[1, 1, 0])), Err(MalformedReply::Truncated));
    assert_eq!(end(&with(0x20, &[1, 1, 0, 0, 9, 0, 1, 0])), Err(MalformedReply::Attribute));
    for kind in [1, 4, 15] {
        let octets = with(kind, &[]);
        assert!(matches!(ReplyFrames::new(&octets).next(), Some(Ok(ReplyFrame::Nothing))), "{kind}");
    }
}

/// The octets of a nest with one attribute replaced, or left out.
fn changed(nest: &[u8], number: u16, value: Option<&[u8]>) -> Vec<u8> {
    let list = AttributeList::new_checked(nest).unwrap();
    let attributes: Vec<_> = list
        .iter()
        .filter_map(|(found, old)| {
            let value = if found == number { value? } else { old };
            Some(DefaultNla::new(found, value.to_vec()))
        })
        .collect();
    crate::attributes::octets_of(&attributes)
}

/// Checks that each attribute is missed, and that one of a wrong length is refused.
fn check_attributes<T: std::fmt::Debug>(
    nest: &'static str,
    octets: &[u8],
    required: &[u16],
    fixed: &[u16],
    parse: impl Fn(&[u8]) -> Result<T, MalformedReply>,
) {
    parse(octets).unwrap();
    for &attribute in required {
        let error = parse(&changed(octets, attribute, None)).unwrap_err();
        assert_eq!(error, MalformedReply::Missing { nest, attribute });
    }
    for &attribute in fixed {
        for length in [0, 3, 17] {
            let error = parse(&changed(octets, attribute, Some(&[1; 17][..length]))).unwrap_err();
            assert_eq!(error, MalformedReply::Length { nest, attribute, octets: length });
        }
    }
    assert_eq!(parse(&octets[1..]).unwrap_err(), MalformedReply::Attribute);
}

#[test]
fn services_that_are_none_are_refused() {
    let parse = |octets: &[u8]| VirtualService::parse(&ServiceView::new_checked(octets)?);
    let octets = sip().emit();
    check_attributes("a service", &octets, &[1, 2, 3, 4, 6, 7, 8, 9], &[1, 2, 3, 4, 7, 8, 9], parse);
    let unnamed = MalformedReply::Name { nest: "a service" };
    for (octets, attribute, value, error) in [
        (&octets, 1, &[3, 0][..], MalformedReply::Family(3)),
        (&octets, 6, b"\0", unnamed),
        (&octets, 6, b"sixteen-octets--\0", unnamed),
        (&octets, 11, b"\xff\0", unnamed),
        (&VirtualService::new(mark(7), name("rr")).emit(), 5, &[0; 4], MalformedReply::Mark),
        (
            &VirtualService::new(key(ServiceProtocol::Tcp, "::1", 80), name("rr")).emit(),
            9,
            &[129, 0, 0, 0],
            MalformedReply::Mask(129),
        ),
    ] {
        assert_eq!(parse(&changed(octets, attribute, Some(value))), Err(error), "{attribute}");
    }
}

#[test]
fn destinations_that_are_none_are_refused() {
    let parse = |octets: &[u8]| IpvsDestination::parse(&DestinationView::new_checked(octets)?, Family::V4);
    let octets = gue().emit();
    let fixed = [1, 2, 3, 4, 5, 6, 11, 13, 14, 15];
    check_attributes("a destination", &octets, &[1, 2, 3, 4, 5, 6], &fixed, parse);
    let with = |attribute, value: &[u8]| parse(&changed(&octets, attribute, Some(value)));
    assert_eq!(with(11, &[1, 0]), Err(MalformedReply::Family(1)));
    assert_eq!(with(3, &[5, 0, 0, 0]), Err(MalformedReply::Forwarding(5)));
    // Without the attribute it has the family of its service, and before Linux 5.3 a tunnel is IPIP.
    assert_eq!(parse(&changed(&octets, 11, None)), Ok(gue()));
    let old = [13, 14, 15].iter().fold(octets, |octets, attribute| changed(&octets, *attribute, None));
    assert_eq!(parse(&old).unwrap().forwarding, ForwardingMethod::Tunnel(Tunnel::Ipip));
}

#[test]
fn daemons_that_are_none_are_refused() {
    let parse = |octets: &[u8]| SyncDaemon::parse(&SyncDaemonView::new_checked(octets)?);
    let octets = backup().emit();
    check_attributes("a sync daemon", &octets, &[1, 2, 3], &[1, 3, 4, 5, 7, 8], parse);
    check_attributes("a sync daemon", &master().emit(), &[1, 2, 3], &[6], parse);
    let with = |attribute, value: &[u8]| parse(&changed(&octets, attribute, Some(value)));
    assert_eq!(with(1, &[0; 4]), Err(MalformedReply::Role(0)));
    assert_eq!(with(3, &[0, 1, 0, 0]), Err(MalformedReply::SyncId(256)));
    assert_eq!(with(2, b""), Err(MalformedReply::Name { nest: "a sync daemon" }));
}
