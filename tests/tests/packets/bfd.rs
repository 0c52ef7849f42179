//! BFD control packets: which are of a session, which of those are valid, what is stamped and what is told.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use vipd_common::{
    abi::{BFD_EVENT_BURST, BfdKey, Count, Counters},
    wire::bfd::{Diagnostic, SessionState},
};
use vipd_core::time::Instant;
use vipd_dataplane::{BfdIdentity, BfdPlane};

use crate::{
    bench::{Bench, IFINDEX, PRIMARY, VIP, XDP_DROP, XDP_PASS, identity, now, octets},
    frames::{Ipv4, Ipv6, checksum, padded, tagged},
};

const PEER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
const OURS6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x10);
const PEER6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x2);
const DISCRIMINATOR: u32 = 0x0102_0304;
const SLOT: u32 = 3;
const CONTROL: u16 = 3784;
const MULTIHOP: u16 = 4784;

/// A packet that is Up, of discriminator 0x0a0b0c0d to ours, 3 x 10 ms.
fn up() -> Vec<u8> {
    let mut packet = vec![0x20, 0xc0, 3, 24, 0x0a, 0x0b, 0x0c, 0x0d, 1, 2, 3, 4];
    packet.extend([0, 0, 0x27, 0x10, 0, 0, 0x27, 0x10, 0, 0, 0, 0]);
    packet
}

/// The same with an octet changed.
fn with(place: usize, octet: u8) -> Vec<u8> {
    let mut packet = up();
    packet[place] = octet;
    packet
}

/// Down, and knows nobody.
fn down() -> Vec<u8> {
    let mut packet = with(1, 0x40);
    packet[8..12].fill(0);
    packet
}

/// UDP, its checksum left out.
fn udp(port: u16, payload: &[u8]) -> Vec<u8> {
    let mut datagram = [49_152u16, port, 8 + payload.len() as u16, 0].map(u16::to_be_bytes).concat();
    datagram.extend(payload);
    datagram
}

fn v4(payload: Vec<u8>) -> Ipv4 {
    Ipv4 { destination: PRIMARY, protocol: 17, ..Ipv4::advert(PEER, payload) }
}

fn v6(payload: &[u8]) -> Ipv6 {
    let (next_header, extensions) = (17, Vec::new());
    let payload = udp(CONTROL, payload);
    Ipv6 { source: PEER6, destination: OURS6, hop_limit: 255, next_header, extensions, payload }.summed(17, 6)
}

/// The pseudo-header of a datagram between the two over IPv4.
fn pseudo_header(length: u16) -> Vec<u8> {
    [&PEER.octets()[..], &PRIMARY.octets(), &[0, 17], &length.to_be_bytes()].concat()
}

/// A datagram with its checksum, which is off by `off`.
fn summed(payload: &[u8], off: u16) -> Vec<u8> {
    let mut datagram = udp(CONTROL, payload);
    let sum = checksum(&[&pseudo_header(datagram.len() as u16), &datagram]).wrapping_add(off);
    datagram[6..8].copy_from_slice(&sum.to_be_bytes());
    datagram
}

fn key(local: impl Into<IpAddr>, remote: impl Into<IpAddr>, port: u16) -> BfdKey {
    let local = local.into();
    let ifindex = if port == CONTROL { IFINDEX } else { 0 };
    let family = if local.is_ipv4() { 4 } else { 6 };
    BfdKey { remote: octets(remote), local: octets(local), ifindex, vlan: 0, port, family }
}

/// A bench with sessions that are Up: one over IPv4, one over IPv6, and one over several hops.
fn sessions() -> Option<(Bench, BfdPlane)> {
    let mut bench = Bench::new()?;
    bench.configure(&identity(), &[(0, VIP)]);
    let mut plane = bench.dataplane().bfd().expect("pinned");
    for (slot, key, min_hop_limit) in [
        (SLOT, key(PRIMARY, PEER, CONTROL), 255),
        (SLOT + 1, key(OURS6, PEER6, CONTROL), 255),
        (SLOT + 2, key(PRIMARY, PEER, MULTIHOP), 250),
    ] {
        let identity =
            BfdIdentity { key, local_discriminator: DISCRIMINATOR, min_hop_limit, source_port: 49_152 };
        plane.page().begin(slot, &identity);
        plane.page().set_state(slot, SessionState::Up, Diagnostic::NONE, now());
        plane.lead(&key, slot).expect("room");
    }
    Some((bench, plane))
}

/// What was counted, by name.
fn counted(bench: &mut Bench, frame: &[u8]) -> (u32, Vec<&'static str>) {
    let (outcome, moved) = bench.moved(frame);
    assert_eq!(outcome.frame, frame, "the frame must not change");
    (outcome.verdict, moved.into_iter().map(|(name, _)| name).collect())
}

/// RFC 5880 6.8.6 and RFC 5881 5, each rule with its counter.
#[test]
fn each_check_has_its_counter() {
    let Some((mut bench, plane)) = sessions() else { return };
    let long = [&up()[..], &[0xa5; 13]].concat();
    let too_long = [&up()[..], &[0; 97]].concat();
    let cut = Ipv4 { payload: udp(CONTROL, &up())[..31].to_vec(), ..v4(Vec::new()) };
    let ttl = |ttl| Ipv4 { ttl, ..v4(summed(&up(), 0)) };
    let mut claims_more = udp(CONTROL, &up());
    claims_more[5] += 1;
    let mut broken_header = v4(summed(&up(), 0)).frame();
    broken_header[24] ^= 1;
    for (what, frame, counter) in [
        ("valid", v4(summed(&up(), 0)).frame(), "bfd_packets"),
        ("without a checksum", v4(udp(CONTROL, &up())).frame(), "bfd_packets"),
        ("longer than its packet", v4(summed(&long, 0)).frame(), "bfd_packets"),
        ("knows nobody, Down", v4(summed(&down(), 0)).frame(), "bfd_packets"),
        ("wrong checksum", v4(summed(&up(), 1)).frame(), "bfd_checksum_errors"),
        ("wrong header checksum", broken_header, "bfd_checksum_errors"),
        ("TTL", ttl(254).frame(), "bfd_ttl_errors"),
        ("version 0", v4(summed(&with(0, 0), 0)).frame(), "bfd_version_errors"),
        ("version 2", v4(summed(&with(0, 0x40), 0)).frame(), "bfd_version_errors"),
        ("length 23", v4(summed(&with(3, 23), 0)).frame(), "bfd_length_errors"),
        ("length 25", v4(summed(&with(3, 25), 0)).frame(), "bfd_length_errors"),
        ("longer than any", v4(summed(&too_long, 0)).frame(), "bfd_length_errors"),
        ("UDP says more than IP", v4(claims_more).frame(), "bfd_length_errors"),
        ("shorter than UDP says", cut.frame(), "bfd_length_errors"),
        ("23 octets", v4(summed(&up()[..23], 0)).frame(), "bfd_length_errors"),
        ("multiplier", v4(summed(&with(2, 0), 0)).frame(), "bfd_multiplier_zero"),
        ("multipoint", v4(summed(&with(1, 0xc1), 0)).frame(), "bfd_multipoint"),
        ("another's", v4(summed(&with(11, 5), 0)).frame(), "bfd_your_discriminator_errors"),
        (
            "authentication",
            v4(summed(&[&with(1, 0xc4)[..], &[0; 4]].concat(), 0)).frame(),
            "bfd_length_errors",
        ),
    ] {
        let before = plane.page().read(SLOT);
        let (verdict, moved) = counted(&mut bench, &frame);
        assert_eq!((verdict, &moved[..]), (XDP_DROP, &[counter][..]), "{what}");
        let after = plane.page().read(SLOT);
        let (accepted, refused) = (after.accepted - before.accepted, after.refused - before.refused);
        let is_valid = counter == "bfd_packets";
        assert_eq!((accepted, refused), (u64::from(is_valid), u64::from(!is_valid)), "{what}");
        assert_eq!(after.heard_ns > before.heard_ns, is_valid, "{what}: stamped");
        if !is_valid {
            let reason = Counters::NAMES[after.refused_reason as usize];
            assert_eq!(reason, counter, "{what}");
        }
    }
    let mut authenticated = [&with(1, 0xc4)[..], &[0; 4]].concat();
    authenticated[3] = 28;
    for (what, packet, counter) in [
        ("authentication", authenticated, Count::BfdAuthenticationErrors),
        ("sends discriminator 0", [&up()[..4], &[0; 4], &up()[8..]].concat(), Count::BfdMyDiscriminatorZero),
        ("knows nobody, Up", [&up()[..8], &[0; 4], &up()[12..]].concat(), Count::BfdStateErrors),
        ("knows nobody, Init", [&with(1, 0x80)[..8], &[0; 4], &up()[12..]].concat(), Count::BfdStateErrors),
    ] {
        let moved = counted(&mut bench, &v4(summed(&packet, 0)).frame());
        assert_eq!(moved, (XDP_DROP, vec![Counters::NAMES[counter as usize]]), "{what}");
    }
}

/// The forms that a checksum has: of a sender on the same machine it is not made yet.
#[test]
fn a_checksum_that_was_left_to_a_nic_is_none() {
    let Some((mut bench, _plane)) = sessions() else { return };
    let mut datagram = udp(CONTROL, &up());
    let partial = !checksum(&[&pseudo_header(datagram.len() as u16)]);
    datagram[6..8].copy_from_slice(&partial.to_be_bytes());
    assert_eq!(counted(&mut bench, &v4(datagram).frame()), (XDP_DROP, vec!["bfd_packets"]));
    let valid = v6(&up());
    assert_eq!(counted(&mut bench, &valid.frame()), (XDP_DROP, vec!["bfd_packets"]));
    // Over IPv6 there has to be one.
    let mut none = valid.clone();
    none.payload[6..8].fill(0);
    assert_eq!(counted(&mut bench, &none.frame()), (XDP_DROP, vec!["bfd_checksum_errors"]));
    let near = Ipv6 { hop_limit: 254, ..valid };
    assert_eq!(counted(&mut bench, &near.frame()), (XDP_DROP, vec!["bfd_ttl_errors"]));
}

/// The checksum is of every octet, whatever their number: up to 128 with UDP's header.
#[test]
fn a_datagram_of_any_length_has_its_checksum() {
    let Some((mut bench, _plane)) = sessions() else { return };
    for more in 0..=96 {
        let packet = [&up()[..], &vec![0xa5; more]].concat();
        let mut broken = summed(&packet, 0);
        *broken.last_mut().expect("an octet") ^= 1;
        for (datagram, counter) in [(summed(&packet, 0), "bfd_packets"), (broken, "bfd_checksum_errors")] {
            assert_eq!(counted(&mut bench, &v4(datagram).frame()).1, [counter], "{more} octets more");
        }
    }
}

/// Another BFD daemon may live here.
#[test]
fn packets_of_no_session_pass() {
    let Some((mut bench, plane)) = sessions() else { return };
    let valid = || v4(summed(&up(), 0));
    let other = Ipv4Addr::new(192, 0, 2, 77);
    let frames = [
        ("another neighbor", Ipv4 { source: other, ..valid() }.frame()),
        ("to another host", Ipv4 { destination: other, ..valid() }.frame()),
        ("S-BFD", v4(udp(7784, &up())).frame()),
        ("echo", v4(udp(3785, &up())).frame()),
        ("a fragment", Ipv4 { fragment: 0x2000, ..valid() }.frame()),
        ("with IP options", Ipv4 { options: vec![1; 4], ..valid() }.frame()),
        ("TCP", Ipv4 { protocol: 6, ..valid() }.frame()),
        ("cut off in UDP", v4(udp(CONTROL, &[])[..7].to_vec()).frame()),
        ("IPv6, another neighbor", Ipv6 { source: OURS6, ..v6(&up()) }.frame()),
    ];
    for (what, frame) in frames {
        assert_eq!(counted(&mut bench, &frame), (XDP_PASS, Vec::new()), "{what}");
    }
    assert_eq!((plane.page().read(SLOT).accepted, plane.page().heard(SLOT)), (0, Instant::default()));
}

#[test]
fn several_hops_have_a_port_and_a_ttl_of_their_own() {
    let Some((mut bench, plane)) = sessions() else { return };
    for (ttl, counter) in [(255, "bfd_packets"), (250, "bfd_packets"), (249, "bfd_ttl_errors")] {
        let frame = Ipv4 { ttl, ..v4(udp(MULTIHOP, &up())) }.frame();
        assert_eq!(counted(&mut bench, &frame), (XDP_DROP, vec![counter]), "TTL {ttl}");
    }
    assert_eq!((plane.page().read(SLOT + 2).accepted, plane.page().read(SLOT).accepted), (2, 0));
}

/// RFC 5881 3: a session over a single hop is bound to an interface, and to a VLAN there; one over several is not.
#[test]
fn a_session_over_a_single_hop_is_bound_to_its_interface() {
    let Some((mut bench, mut plane)) = sessions() else { return };
    let near = |packet: &[u8]| v4(summed(packet, 0)).frame();
    assert_eq!(counted(&mut bench, &padded(near(&up()))).1, ["bfd_packets"]);
    let lead = |plane: &mut BfdPlane, slot: u32, ifindex: u32, vlan: u32| {
        plane.remove(slot).expect("removed");
        let key = BfdKey { ifindex, vlan, ..key(PRIMARY, PEER, CONTROL) };
        let identity =
            BfdIdentity { key, local_discriminator: DISCRIMINATOR, min_hop_limit: 255, source_port: 49_152 };
        plane.page().begin(slot, &identity);
        plane.lead(&key, slot).expect("room");
    };
    for (what, (ifindex, vlan), tags, counter) in [
        ("another interface", (IFINDEX + 1, 0), &[][..], None),
        ("in a VLAN, of a session on the interface itself", (IFINDEX, 0), &[7], None),
        ("in its VLAN", (IFINDEX, 7), &[7], Some("bfd_packets")),
        ("in another VLAN", (IFINDEX, 7), &[8], None),
        ("without a tag, of a session in a VLAN", (IFINDEX, 7), &[], None),
        ("two tags", (IFINDEX, 7 << 12 | 8), &[7, 8], Some("bfd_packets")),
    ] {
        lead(&mut plane, SLOT, ifindex, vlan);
        let frame = tagged(&near(&up()), tags);
        if crate::HOOK.takes(&frame) {
            let verdict = if counter.is_some() { XDP_DROP } else { XDP_PASS };
            assert_eq!(counted(&mut bench, &frame), (verdict, counter.into_iter().collect()), "{what}");
        }
        // Over several hops: whatever the link.
        let far = tagged(&v4(udp(MULTIHOP, &up())).frame(), tags);
        if crate::HOOK.takes(&far) {
            assert_eq!(counted(&mut bench, &far), (XDP_DROP, vec!["bfd_packets"]), "{what}, several hops");
        }
    }
    // The same addresses on two links: two sessions.
    lead(&mut plane, SLOT, IFINDEX, 0);
    lead(&mut plane, SLOT + 3, IFINDEX + 1, 0);
    assert_eq!(counted(&mut bench, &near(&up())).1, ["bfd_packets"]);
    assert_eq!((plane.page().read(SLOT).accepted, plane.page().read(SLOT + 3).accepted), (1, 0));
}

/// Two sessions of the same addresses are not one: the second is refused.
#[test]
fn addresses_lead_to_one_session() {
    let Some((mut bench, mut plane)) = sessions() else { return };
    let key = key(PRIMARY, PEER, CONTROL);
    let identity = BfdIdentity { key, local_discriminator: 9, min_hop_limit: 255, source_port: 49_152 };
    plane.page().begin(SLOT + 3, &identity);
    let refused = plane.lead(&key, SLOT + 3).expect_err("they are another's");
    assert!(refused.to_string().contains("another BFD session has the same addresses"), "{refused}");
    assert_eq!(counted(&mut bench, &v4(summed(&up(), 0)).frame()).1, ["bfd_packets"]);
    plane.lead(&key, SLOT).expect("its own still");
}

/// An IPv6 packet between `::ffff:192.0.2.2` and `::ffff:192.0.2.10` is none of the IPv4 session.
#[test]
fn mapped_addresses_are_none_of_an_ipv4_session() {
    let Some((mut bench, plane)) = sessions() else { return };
    let (source, destination) = (PEER.to_ipv6_mapped(), PRIMARY.to_ipv6_mapped());
    let mapped = Ipv6 { source, destination, payload: udp(CONTROL, &up()), ..v6(&up()) }.summed(17, 6);
    assert_eq!(counted(&mut bench, &mapped.frame()), (XDP_PASS, Vec::new()));
    assert_eq!(plane.page().read(SLOT).accepted, 0);
}

/// A packet of an Up session that says nothing new is stamped and wakes nobody; a change, P and F are told, and so is every packet while the
/// session is not Up.
#[test]
fn only_news_is_told() {
    let Some((mut bench, mut plane)) = sessions() else { return };
    let frame = |packet: &[u8]| v4(summed(packet, 0)).frame();
    for (what, packet, is_told) in [
        ("the first", up(), true),
        ("the same", up(), false),
        ("another diagnostic", with(0, 0x23), true),
        ("the same", with(0, 0x23), false),
        ("another multiplier", with(2, 4), true),
        ("another interval", with(13, 1), true),
        ("P", with(1, 0xe0), true),
        ("P again", with(1, 0xe0), true),
        ("F", with(1, 0xd0), true),
        ("F again", with(1, 0xd0), true),
        ("neither", up(), true),
        ("Down", with(1, 0x40), true),
        ("knows nobody", down(), true),
    ] {
        let before = now();
        counted(&mut bench, &frame(&packet));
        let heard = plane.page().heard(SLOT);
        assert!(heard >= before && heard <= now(), "{what}: stamped");
        let event = plane.pop();
        assert_eq!(event.is_some(), is_told, "{what}");
        if let Some(event) = event {
            let told = (event.slot, event.local_discriminator, event.at_ns, event.packet.to_vec());
            assert_eq!(told, (SLOT, DISCRIMINATOR, heard.as_nanos(), packet), "{what}");
        }
    }
    plane.page().set_state(SLOT, SessionState::Init, Diagnostic::NONE, now());
    for _ in 0..3 {
        counted(&mut bench, &frame(&up()));
        assert!(plane.pop().is_some(), "while not Up");
    }
}

/// Who sends changes without end keeps the daemon no busier than 100 a second; the stamps go on, and the last change is told when it may be.
#[test]
fn a_storm_of_changes_is_bounded() {
    let Some((mut bench, mut plane)) = sessions() else { return };
    let frames = [v4(summed(&up(), 0)).frame(), v4(summed(&with(2, 9), 0)).frame()];
    let begun = now();
    let (mut deferred, mut told) = (0, 0);
    for i in 0..400 {
        let moved = counted(&mut bench, &frames[i % 2]).1;
        deferred += usize::from(moved == ["bfd_events_deferred"]);
        told += usize::from(plane.pop().is_some());
    }
    let elapsed = now().saturating_since(begun).as_millis() as usize;
    assert!(
        told >= BFD_EVENT_BURST as usize && told <= BFD_EVENT_BURST as usize + elapsed / 10 + 2,
        "{told}"
    );
    assert!(deferred > 0);
    assert_eq!(plane.page().read(SLOT).accepted, 400);
}

/// Nobody reads: the stamps go on, and what was lost is news again.
#[test]
fn a_full_ring_loses_nothing_for_good() {
    let Some((mut bench, mut plane)) = sessions() else { return };
    plane.page().set_state(SLOT, SessionState::Init, Diagnostic::NONE, now());
    let frame = v4(summed(&up(), 0)).frame();
    let mut lost = false;
    for _ in 0..200_000 {
        // As if time had passed.
        plane.page().begin(
            SLOT,
            &BfdIdentity {
                key: key(PRIMARY, PEER, CONTROL),
                local_discriminator: DISCRIMINATOR,
                min_hop_limit: 255,
                source_port: 49_152,
            },
        );
        if counted(&mut bench, &frame).1 == ["bfd_events_lost"] {
            lost = true;
            break;
        }
    }
    assert!(lost, "the ring is never full");
    assert!(plane.page().heard(SLOT) > Instant::default(), "stamped all the same");
    assert_eq!(plane.page().read(SLOT).told, [0; 24]);
    while plane.pop().is_some() {}
    assert_eq!(counted(&mut bench, &frame).1, ["bfd_packets"]);
    assert_eq!(plane.pop().map(|event| event.packet.to_vec()), Some(up()));
}

/// A session that is removed is nobody's.
#[test]
fn a_removed_session_passes() {
    let Some((mut bench, mut plane)) = sessions() else { return };
    assert_eq!(plane.left().map(|(slot, _)| slot).collect::<Vec<_>>(), [SLOT, SLOT + 1, SLOT + 2]);
    plane.remove(SLOT).expect("removed");
    assert_eq!(counted(&mut bench, &v4(summed(&up(), 0)).frame()), (XDP_PASS, Vec::new()));
    assert_eq!(plane.left().count(), 2);
}
