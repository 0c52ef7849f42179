//! Emitted octets against captures and public vectors, into buffers that were not zero.

extern crate std;

use core::net::{Ipv4Addr, Ipv6Addr};
use std::{format, string::String, vec, vec::Vec};

use super::{
    arp,
    eth::{self, MacAddr},
    ipv4, ipv6, ndp,
    vrrp::{Body, ListedAddress, Repr},
};
use crate::{Family, Priority, Vrid, types::ChecksumForm};

const SOURCE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
const GROUP: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 18);
const VIP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 100);
const SOURCE6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 2);
const GROUP6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x12);
const LINK_LOCAL_VIP: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0x100);
const VIP6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x100);

fn hex(octets: &[u8]) -> String {
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
