//! Emitted octets against captures and public vectors, into buffers that were not zero; the same octets read back, and why others
//! are malformed.

extern crate std;

use core::net::{Ipv4Addr, Ipv6Addr};
use std::{format, string::String, vec, vec::Vec};

use super::{
    Malformed, View, arp, checksum,
    eth::{self, MacAddr},
    ipv4, ipv6, ndp,
    vrrp::{Advert, Body, ListedAddress, Repr},
};
use crate::{Family, Priority, Vrid, types::ChecksumForm};

const SOURCE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
const GROUP: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 18);
const VIP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 100);
const SOURCE6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 2);
const GROUP6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x12);
const LINK_LOCAL_VIP: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0x100);
const VIP6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x100);

pub(super) fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

fn vrid() -> Vrid {
    Vrid::new(51).unwrap()
}

fn advert<A: ListedAddress>(
    priority: u8,
    addresses: &[A],
    body: Body,
    [source, destination]: [A; 2],
) -> String {
    let addresses: Vec<_> = addresses.iter().map(|address| address.octets()).collect();
    let repr = Repr { vrid: vrid(), priority: Priority::new(priority), addresses: &addresses, body };
    let mut buffer = vec![0xa5; repr.length()];
    repr.emit(&mut buffer, source, destination);
    hex(&buffer)
}

#[test]
fn adverts() {
    use ChecksumForm::{MessageOnly, PseudoHeader};
    let v2 = |interval_s, password: Option<&[u8; 8]>| Body::V2 { interval_s, password: password.copied() };
    let v3 = |interval_cs, checksum| Body::V3 { interval_cs, checksum };
    let three = [VIP, Ipv4Addr::new(192, 0, 2, 101), Ipv4Addr::new(192, 0, 2, 102)];
    for (what, priority, addresses, body, expect) in [
        ("v2-basic", 100, &[VIP][..], v2(1, None), "213364010001b865c00002640000000000000000"),
        ("keepalived 2.2.7, live", 150, &[VIP], v2(1, None), "2133960100018665c00002640000000000000000"),
        (
            "the same with PASS",
            150,
            &[VIP],
            v2(1, Some(b"secret12")),
            "21339601010117e7c00002647365637265743132",
        ),
        ("PASS 1111", 100, &[VIP], v2(1, Some(b"1111\0\0\0\0")), "2133640101015503c00002643131313100000000"),
        ("v2-owner-255", 255, &[VIP], v2(1, None), "2133ff0100011d65c00002640000000000000000"),
        ("v2-interval-255s", 100, &[VIP], v2(255, None), "2133640100ffb767c00002640000000000000000"),
        (
            "v2-three-vips",
            100,
            &three,
            v2(1, None),
            "2133640300013397c0000264c0000265c00002660000000000000000",
        ),
        ("v3-ipv4-message-only", 100, &[VIP], v3(100, MessageOnly), "313364010064a802c0000264"),
        ("the same, RFC 5798", 100, &[VIP], v3(100, PseudoHeader), "3133640100640571c0000264"),
        ("v3-ipv4-priority-0", 0, &[VIP], v3(100, MessageOnly), "3133000100640c03c0000264"),
        ("v3-ipv4-interval-4095cs", 100, &[VIP], v3(4095, MessageOnly), "313364010fff9867c0000264"),
        // RFC 9568 5.2.6: the reserved bits are sent as 0 whatever the caller says.
        ("interval beyond 12 bits", 100, &[VIP], v3(0xf064, MessageOnly), "313364010064a802c0000264"),
        // W-14: a checksum of 0 is sent as 0.
        (
            "v3-ipv4-checksum-0x0000",
            100,
            &[VIP, Ipv4Addr::new(198, 18, 225, 238)],
            v3(100, MessageOnly),
            "3133640200640000c0000264c612e1ee",
        ),
    ] {
        assert_eq!(advert(priority, addresses, body, [SOURCE, GROUP]), expect, "{what}");
    }
}

/// The public vectors `v3-ipv6-*` that are valid. IPv6 has the pseudo-header whatever the caller says of IPv4.
#[test]
fn adverts_over_ipv6() {
    let vips = [LINK_LOCAL_VIP, VIP6];
    let addresses = "fe80000000000000000000000000010020010db8000000000000000000000100";
    let high = Ipv6Addr::new(0xfe80, 0, 0, 0, 0xffff, 0xffff, 0xffff, 0xffff);
    for (what, priority, source, expect) in [
        ("basic", 100, SOURCE6, "3133640200643dfc"),
        ("owner-255", 255, SOURCE6, "3133ff020064a2fb"),
        ("priority-0", 0, SOURCE6, "313300020064a1fc"),
        ("tiebreak-high-bit", 100, high, "3133640200643dfe"),
    ] {
        for checksum in [ChecksumForm::PseudoHeader, ChecksumForm::MessageOnly] {
            let body = Body::V3 { interval_cs: 100, checksum };
            let message = advert(priority, &vips, body, [source, GROUP6]);
            assert_eq!(message, format!("{expect}{addresses}"), "{what}, {checksum:?}");
        }
    }
}

#[test]
fn at_most_255_addresses() {
    let body = Body::V3 { interval_cs: 100, checksum: ChecksumForm::MessageOnly };
    let message = advert(100, &[VIP; 300], body, [SOURCE, GROUP]);
    assert_eq!((message.len() / 2, &message[6..8]), (8 + 255 * 4, "ff"));
    let message = advert(100, &[VIP6; 300], body, [SOURCE6, GROUP6]);
    assert_eq!((message.len() / 2, &message[6..8]), (8 + 255 * 16, "ff"));
}

/// The envelopes of the public vectors `v2-basic` and `v3-ipv6-basic`.
#[test]
fn envelopes() {
    let mut frame = [0xa5; 34];
    let (ethernet, header) = frame.split_at_mut(14);
    eth::Repr {
        destination: MacAddr::of_multicast(GROUP.into()),
        source: MacAddr::virtual_router(Family::V4, vrid()),
        ethertype: eth::ETHERTYPE_IPV4,
    }
    .emit(ethernet.try_into().unwrap());
    ipv4::Repr { id: 1, ttl: 255, protocol: 112, source: SOURCE, destination: GROUP, payload_length: 20 }
        .emit(header.try_into().unwrap());
    assert_eq!(hex(&frame), "01005e00001200005e000133080045c0002800010000ff701890c0000202e0000012");

    let mut frame = [0xa5; 54];
    let (ethernet, header) = frame.split_at_mut(14);
    eth::Repr {
        destination: MacAddr::of_multicast(GROUP6.into()),
        source: MacAddr::virtual_router(Family::V6, vrid()),
        ethertype: eth::ETHERTYPE_IPV6,
    }
    .emit(ethernet.try_into().unwrap());
    ipv6::Repr {
        traffic_class: ipv6::TRAFFIC_CLASS_CS6,
        hop_limit: 255,
        next_header: 112,
        source: SOURCE6,
        destination: GROUP6,
        payload_length: 40,
    }
    .emit(header.try_into().unwrap());
    assert_eq!(
        hex(&frame),
        "33330000001200005e00023386dd6c000000002870ff\
         fe800000000000000000000000000002ff020000000000000000000000000012"
    );
}

/// The public frame `garp-request-tha-vmac`.
#[test]
fn gratuitous_arp() {
    let mac = MacAddr::virtual_router(Family::V4, vrid());
    let mut packet = [0xa5; arp::LENGTH];
    arp::Repr::gratuitous(mac, VIP).emit(&mut packet);
    assert_eq!(hex(&packet), "000108000604000100005e000133c000026400005e000133c0000264");
}

/// The messages of the public frames `una-r1-s0-o1` and `una-link-local-vip`.
#[test]
fn unsolicited_neighbor_advertisement() {
    let mac = MacAddr::virtual_router(Family::V6, vrid());
    for (target, expect) in [
        (VIP6, "880018faa000000020010db8000000000000000000000100020100005e000233"),
        (LINK_LOCAL_VIP, "8800776aa0000000fe800000000000000000000000000100020100005e000233"),
    ] {
        let mut message = [0xa5; ndp::ADVERTISEMENT];
        ndp::Repr::unsolicited(target, mac).emit(&mut message, target, ndp::ALL_NODES);
        assert_eq!(hex(&message), expect, "{target}");
    }
}

#[test]
fn macs() {
    let highest = Vrid::new(255).unwrap();
    assert_eq!(format!("{}", MacAddr::virtual_router(Family::V4, highest)), "00:00:5e:00:01:ff");
    assert_eq!(format!("{}", MacAddr::virtual_router(Family::V6, highest)), "00:00:5e:00:02:ff");
    // RFC 1112 6.4: the 24th bit is not part of it.
    let group = Ipv4Addr::new(239, 129, 2, 3);
    assert_eq!(MacAddr::of_multicast(group.into()).0, [1, 0, 0x5e, 1, 2, 3]);
    // The solicited-node group of an address that ends in 89:abcd.
    let group = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff89, 0xabcd);
    assert_eq!(MacAddr::of_multicast(group.into()).0, [0x33, 0x33, 0xff, 0x89, 0xab, 0xcd]);
}

pub(super) fn unhex(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

/// `octets` with others at some places.
pub(super) fn changed(octets: &[u8], changes: &[(usize, u8)]) -> Vec<u8> {
    let mut octets = octets.to_vec();
    changes.iter().for_each(|(at, octet)| octets[*at] = *octet);
    octets
}

/// The public frames `garp-reply` and `arp-request-for-vip`.
#[test]
fn arp_is_read() {
    let virtual_mac = MacAddr::virtual_router(Family::V4, vrid());
    let asker = MacAddr([2, 0, 0, 0, 0, 0xaa]);
    for (octets, expect) in [
        (
            "ffffffffffff00005e0001330806000108000604000200005e000133c0000264ffffffffffffc0000264",
            arp::Repr {
                operation: arp::Operation::Reply,
                sender_mac: virtual_mac,
                sender_ip: VIP,
                target_mac: MacAddr::BROADCAST,
                target_ip: VIP,
            },
        ),
        (
            "ffffffffffff0200000000aa080600010800060400010200000000aac0000232000000000000c0000264",
            arp::Repr {
                operation: arp::Operation::Request,
                sender_mac: asker,
                sender_ip: Ipv4Addr::new(192, 0, 2, 50),
                target_mac: MacAddr::ZERO,
                target_ip: VIP,
            },
        ),
    ] {
        let frame = unhex(octets);
        let (header, packet) = eth::Repr::parse(&frame).unwrap();
        assert_eq!((header.destination, header.source), (MacAddr::BROADCAST, expect.sender_mac));
        assert_eq!(header.ethertype, eth::ETHERTYPE_ARP);
        let padded = [packet, &[0; 18]].concat();
        assert_eq!(arp::Packet::new_checked(&padded).and_then(arp::Repr::parse), Ok(expect));
        let read = |octets: &[u8]| arp::Packet::new_checked(octets).and_then(arp::Repr::parse).err();
        assert_eq!(read(&packet[..27]), Some(Malformed::Truncated));
        for (at, octet) in [(1, 7), (2, 0x86), (4, 8), (5, 16), (7, 3)] {
            assert_eq!(read(&changed(packet, &[(at, octet)])), Some(Malformed::Type), "octet {at}");
        }
        // RFC 1042.
        assert_eq!(read(&changed(packet, &[(1, 6)])), None);
    }
    assert_eq!(eth::Repr::parse(&[0; 13]).err(), Some(Malformed::Truncated));
}

/// IEEE 802.1Q 9.6: three bits of priority, one of eligibility to be dropped, twelve of identifier.
#[test]
fn tags_are_read() {
    let (tag, rest) = eth::Tag::new_prefix(&[0xf1, 0x23, 0x08, 0x06, 1]).unwrap();
    assert_eq!((tag.vlan_id(), tag.ethertype(), rest), (0x123, eth::ETHERTYPE_ARP, &[1][..]));
    assert_eq!([0x8100, 0x88a8, 0x0800, 0x8101].map(eth::is_tag), [true, true, false, false]);
}

/// The packet of the public vector `v2-basic`.
#[test]
fn ipv4_is_read() {
    let octets = unhex("45c0002800010000ff701890c0000202e0000012213364010001b865c00002640000000000000000");
    let expect =
        ipv4::Repr { id: 1, ttl: 255, protocol: 112, source: SOURCE, destination: GROUP, payload_length: 20 };
    let padded = [&octets[..], &[0; 6]].concat();
    let packet = ipv4::Packet::new_checked(&padded).unwrap();
    assert_eq!(ipv4::Repr::parse(&packet), Ok(expect));
    assert_eq!((hex(packet.payload()), packet.header().is_fragment()), (hex(&octets[20..]), false));

    let read = |octets: &[u8]| ipv4::Packet::new_checked(octets).and_then(|p| ipv4::Repr::parse(&p)).err();
    assert_eq!(read(&octets[..19]), Some(Malformed::Truncated));
    assert_eq!(read(&octets[..39]), Some(Malformed::Truncated));
    for (what, changes, expect) in [
        ("version 6", &[(0, 0x65)][..], Malformed::Version),
        ("a header of 16 octets", &[(0, 0x44)], Malformed::Length),
        ("a packet that ends in its header", &[(3, 19)], Malformed::Length),
        ("options beyond the packet", &[(0, 0x4f)], Malformed::Length),
        ("another TTL", &[(8, 254)], Malformed::Checksum),
    ] {
        assert_eq!(read(&changed(&octets, changes)), Some(expect), "{what}");
    }
    for (octet, expect) in [(0x20, true), (0x1f, true), (0x40, false)] {
        let fragment = changed(&octets, &[(6, octet)]);
        assert_eq!(ipv4::Packet::new_checked(&fragment).unwrap().header().is_fragment(), expect);
    }
}

/// RFC 2113's Router Alert option, which is in the header and under its checksum. Another program has summed it.
#[test]
fn ipv4_options_are_no_payload() {
    let octets = unhex("46c0001c00010000ff708397c0000202e00000129404000021336401");
    let packet = ipv4::Packet::new_checked(&octets).unwrap();
    assert_eq!((hex(packet.payload()), packet.has_valid_checksum()), ("21336401".into(), true));
    let other = changed(&octets, &[(23, 1)]);
    assert!(!ipv4::Packet::new_checked(&other).unwrap().has_valid_checksum(), "an option is changed");
}

/// Every checksum, also those that RFC 1624 is about: before 0xfeff and after it.
#[test]
fn a_hop_costs_one_of_the_ttl() {
    for id in 0..=u16::MAX {
        let repr =
            ipv4::Repr { id, ttl: 64, protocol: 112, source: SOURCE, destination: GROUP, payload_length: 0 };
        let mut octets = [0xa5; ipv4::HEADER];
        repr.emit(&mut octets);
        let (header, _) = ipv4::Header::new_prefix(&octets).unwrap();
        let mut header = *header;
        header.decrement_ttl();
        let octets: [u8; ipv4::HEADER] = zerocopy::transmute!(header);
        let packet = ipv4::Packet::new_checked(&octets).unwrap();
        assert_eq!(ipv4::Repr::parse(&packet), Ok(ipv4::Repr { ttl: 63, ..repr }), "{id}");
    }
}

/// The packet of the public frame `una-r1-s0-o1`, the message of `na-solicited`, and that of Duplicate Address Detection as the
/// announcer's test has it.
#[test]
fn neighbor_discovery_is_read() {
    let mac = MacAddr::virtual_router(Family::V6, vrid());
    let octets = unhex(
        "6000000000203aff20010db8000000000000000000000100ff020000000000000000000000000001\
         880018faa000000020010db8000000000000000000000100020100005e000233",
    );
    let packet = ipv6::Packet::new_checked(&octets).unwrap();
    let header = ipv6::Repr::parse(&packet);
    assert_eq!((header.source, header.destination, header.payload_length), (VIP6, ndp::ALL_NODES, 32));
    assert_eq!((header.next_header, header.hop_limit, header.traffic_class), (58, 255, 0));
    assert_eq!(ipv6::Packet::new_checked(&octets[..39]).err(), Some(Malformed::Truncated));
    assert_eq!(ipv6::Packet::new_checked(&octets[..71]).err(), Some(Malformed::Truncated));
    let version_4 = changed(&octets, &[(0, 0x40)]);
    assert_eq!(ipv6::Packet::new_checked(&version_4).err(), Some(Malformed::Version));

    let read = |octets: &[u8]| {
        ndp::Message::new_checked(octets).and_then(|m| ndp::Repr::parse(&m, VIP6, ndp::ALL_NODES))
    };
    let message = packet.payload();
    assert_eq!(read(message), Ok(ndp::Repr::unsolicited(VIP6, mac)));
    for (what, octets, expect) in [
        ("cut off in the target", message[..23].to_vec(), Malformed::Truncated),
        ("a Redirect", changed(message, &[(0, 137)]), Malformed::Type),
        ("code 1", changed(message, &[(1, 1)]), Malformed::Code),
        ("half an option", message[..28].to_vec(), Malformed::Length),
        ("an option without a length", changed(message, &[(25, 0)]), Malformed::Length),
        ("an address of two units", changed(message, &[(25, 2)]), Malformed::Length),
        ("an option beyond the end", changed(message, &[(24, 5), (25, 2)]), Malformed::Length),
        ("another flag", changed(message, &[(4, 0xe0)]), Malformed::Checksum),
    ] {
        assert_eq!(read(&octets), Err(expect), "{what}");
    }

    let probe = unhex("87004aef0000000020010db8000000000000000000000100");
    let read = ndp::Message::new_checked(&probe)
        .and_then(|m| ndp::Repr::parse(&m, Ipv6Addr::UNSPECIFIED, ndp::solicited_node(VIP6)));
    assert_eq!(read, Ok(ndp::Repr::probe(VIP6)));
    let mut emitted = [0xa5; ndp::HEADER];
    ndp::Repr::probe(VIP6).emit(&mut emitted, Ipv6Addr::UNSPECIFIED, ndp::solicited_node(VIP6));
    assert_eq!(hex(&emitted), hex(&probe));
}

/// The program's own way to build the packet of the public frame `una-r1-s0-o1`.
#[test]
fn an_advertisement_from_words() {
    let mac = MacAddr::virtual_router(Family::V6, vrid());
    let flags = ndp::Flags { router: true, solicited: false, overrides: true };
    let target = crate::address::Address::from_octets(VIP6.octets());
    let packet = ndp::AdvertisementPacket::new(flags, target, mac, crate::address::Address::ALL_NODES);
    let octets: [u8; ipv6::HEADER + ndp::ADVERTISEMENT] = zerocopy::transmute!(packet);
    assert_eq!(
        hex(&octets),
        "6000000000203aff20010db8000000000000000000000100ff020000000000000000000000000001\
         880018faa000000020010db8000000000000000000000100020100005e000233"
    );
}

#[test]
fn extension_headers_are_read() {
    let (extension, _) = ipv6::Extension::new_prefix(&[58, 2, 0, 7]).unwrap();
    assert_eq!((extension.next_header(), extension.length(), extension.is_later_fragment()), (58, 24, false));
    let (extension, _) = ipv6::Extension::new_prefix(&[58, 0, 0, 8]).unwrap();
    assert!(extension.is_later_fragment());
}

/// Public vectors, and what is malformed in others.
#[test]
fn adverts_are_read() {
    let read = |octets: &[u8]| {
        Advert::<Ipv4Addr>::new_checked(octets)
            .and_then(|advert| Repr::parse(&advert, SOURCE, GROUP).map(|repr| repr.body))
    };
    let v2 = unhex("213364010001b865c00002640000000000000000");
    assert_eq!(read(&v2), Ok(Body::V2 { interval_s: 1, password: None }));
    let pass = unhex("21339601010117e7c00002647365637265743132");
    assert_eq!(read(&pass), Ok(Body::V2 { interval_s: 1, password: Some(*b"secret12") }));
    let v3 = unhex("313364010064a802c0000264");
    let checksum = ChecksumForm::MessageOnly;
    assert_eq!(read(&v3), Ok(Body::V3 { interval_cs: 100, checksum }));
    let pseudo_header = unhex("3133640100640571c0000264");
    let checksum = ChecksumForm::PseudoHeader;
    assert_eq!(read(&pseudo_header), Ok(Body::V3 { interval_cs: 100, checksum }));
    let advert = Advert::<Ipv4Addr>::new_checked(&v3).unwrap();
    let header = advert.header();
    assert_eq!((header.vrid(), header.priority(), advert.addresses()), (51, 100, &[VIP.octets()][..]));

    for (what, octets, expect) in [
        ("v3-ipv4-empty", "", Malformed::Truncated),
        ("v3-ipv4-version-4", "4133640100649802c0000264", Malformed::Version),
        ("v3-ipv4-type-15", "3f33640100649a02c0000264", Malformed::Type),
        ("v3-ipv4-count-0", "3133640000646a68", Malformed::AddressCount),
        ("v3-ipv4-count-2-one-address", "313364020064a801c0000264", Malformed::Length),
        ("v3-ipv4-trailing-4-octets", "313364010064a802c0000264deadbeef", Malformed::Length),
        ("v2-bad-checksum", "2133640100011234c00002640000000000000000", Malformed::Checksum),
        ("v3-ipv4-both-forms-wrong", "313364010064beefc0000264", Malformed::Checksum),
        ("VRID 0", "310064010064a835c0000264", Malformed::Vrid),
        ("authentication type 3", "213364010301b565c00002640000000000000000", Malformed::AuthType),
    ] {
        assert_eq!(read(&unhex(octets)), Err(expect), "{what}");
    }

    let read6 = |octets: &str| {
        let octets = unhex(octets);
        Advert::<Ipv6Addr>::new_checked(&octets)
            .and_then(|advert| Repr::parse(&advert, SOURCE6, GROUP6).map(|repr| repr.addresses.to_vec()))
    };
    let addresses = "fe80000000000000000000000000010020010db8000000000000000000000100";
    let listed = [LINK_LOCAL_VIP, VIP6].map(|address| address.octets());
    assert_eq!(read6(&format!("3133640200643dfc{addresses}")), Ok(listed.to_vec()));
    assert_eq!(read6(&format!("3133640200643c2c{addresses}")), Err(Malformed::Checksum));
    assert_eq!(read6(&format!("2133640200643dfc{addresses}")), Err(Malformed::Version));
}

/// Both ways to sum, over octets of every value.
#[test]
fn words_sum_as_slices_do() {
    for first in 0..=u8::MAX {
        let mut octets = [0; 16];
        for (at, octet) in (0u8..).zip(&mut octets) {
            *octet = first.wrapping_mul(31).wrapping_add(at.wrapping_mul(first | 1));
        }
        let address = crate::address::Address::from_octets(octets);
        let words = checksum::of_words(checksum::address(address));
        assert_eq!(words, checksum::Checksum::default().over(&octets).finish(), "{octets:02x?}");
        let words = checksum::of_words(checksum::pseudo_header(address, address, 58, 32));
        let slices = checksum::Checksum::default().pseudo_header(&octets, &octets, 58, 32).finish();
        assert_eq!(words, slices, "{octets:02x?}");
    }
    let address = crate::address::Address::from_v4(VIP.octets());
    assert_eq!(
        checksum::of_words(checksum::address(address)),
        checksum::Checksum::default().over(&VIP.octets()).finish()
    );
}

#[test]
fn macs_of_virtual_routers() {
    for family in [Family::V4, Family::V6] {
        assert_eq!(MacAddr::virtual_router(family, vrid()).of_virtual_router(), Some((family, 51)));
    }
    for mac in [[0, 0, 0x5e, 0, 3, 51], [0, 0, 0x5e, 1, 1, 51], [2, 0, 0x5e, 0, 1, 51]] {
        assert_eq!(MacAddr(mac).of_virtual_router(), None, "{mac:02x?}");
    }
}
