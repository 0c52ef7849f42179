//! Emitted octets against captures and public vectors, into buffers that were not zero.

extern crate std;

use core::net::Ipv4Addr;
use std::{format, string::String, vec};

use super::{
    arp,
    eth::{self, MacAddr},
    ipv4,
    vrrp::{Body, Repr},
};
use crate::{Family, Priority, Vrid, types::ChecksumForm};

const SOURCE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
const GROUP: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 18);
const VIP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 100);

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

fn advert(priority: u8, addresses: &[Ipv4Addr], body: Body) -> String {
    let vrid = Vrid::new(51).unwrap();
    let repr = Repr { vrid, priority: Priority::new(priority), addresses, body };
    let mut buffer = vec![0xa5; repr.length()];
    repr.emit(&mut buffer, SOURCE, GROUP);
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
        assert_eq!(advert(priority, addresses, body), expect, "{what}");
    }
}

#[test]
fn at_most_255_addresses() {
    let many = [VIP; 300];
    let message = advert(100, &many, Body::V3 { interval_cs: 100, checksum: ChecksumForm::MessageOnly });
    assert_eq!((message.len() / 2, &message[6..8]), (8 + 255 * 4, "ff"));
}

/// The envelope of the public vector `v2-basic`.
#[test]
fn envelope() {
    let mut frame = [0xa5; 34];
    let (ethernet, header) = frame.split_at_mut(14);
    eth::Repr {
        destination: MacAddr::of_multicast(GROUP),
        source: MacAddr::of_virtual_router(Family::V4, Vrid::new(51).unwrap()),
        ethertype: eth::ETHERTYPE_IPV4,
    }
    .emit(ethernet.try_into().unwrap());
    ipv4::Repr { id: 1, ttl: 255, protocol: 112, source: SOURCE, destination: GROUP, payload_length: 20 }
        .emit(header.try_into().unwrap());
    assert_eq!(hex(&frame), "01005e00001200005e000133080045c0002800010000ff701890c0000202e0000012");
}

/// The public frame `garp-request-tha-vmac`.
#[test]
fn gratuitous_arp() {
    let mac = MacAddr::of_virtual_router(Family::V4, Vrid::new(51).unwrap());
    let mut packet = [0xa5; arp::LENGTH];
    arp::Repr::gratuitous(mac, VIP).emit(&mut packet);
    assert_eq!(hex(&packet), "000108000604000100005e000133c000026400005e000133c0000264");
}

#[test]
fn macs() {
    assert_eq!(
        format!("{}", MacAddr::of_virtual_router(Family::V6, Vrid::new(255).unwrap())),
        "00:00:5e:00:02:ff"
    );
    // RFC 1112 6.4: the 24th bit is not part of it.
    assert_eq!(MacAddr::of_multicast(Ipv4Addr::new(239, 129, 2, 3)).0, [1, 0, 0x5e, 1, 2, 3]);
}
