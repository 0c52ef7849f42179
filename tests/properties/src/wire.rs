//! What vipd sends means what it was told to send, by the account of decoders that share no code with it; and what the views of
//! `vipd_common::wire` read of any octets, those decoders read too.
//!
//! vipd parses no frame itself: it receives through the XDP program, which has its own target.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use vipd_announce::{AdvertSpec, AnnouncedAddress, Frame as Announcement, advert_frame, advert_packet};
use vipd_common::{
    Priority, Version, Vrid,
    types::ChecksumForm,
    wire::{
        arp, eth,
        eth::MacAddr,
        ipv4, ipv6, ndp,
        vrrp::{self, ListedAddress},
    },
};
use vipd_tests::{
    Mac,
    probe::decode::{self, Advert, Frame},
};

use crate::{input::Input, internet_sum};

/// Octets that were there before: an `emit` has to overwrite all of them.
const STALE: u8 = 0xa5;
const PROTOCOL_VRRP: u8 = 112;

/// The first octet chooses what the rest describes.
pub fn check(octets: &[u8]) {
    let mut input = Input::new(octets);
    match input.u8() % 6 {
        0 => views(octets.get(1..).unwrap_or_default()),
        1 => advert(&mut input),
        2 => arp_packet(&mut input),
        3 => announcement(&mut input),
        4 => ipv4_header(&mut input),
        _ => ipv6_header(&mut input),
    }
}

fn advert(input: &mut Input<'_>) {
    let shape = input.u8();
    let (v6, v2, mixed) = (shape & 1 != 0, shape & 2 != 0, shape & 4 != 0);
    let Some(vrid) = Vrid::new(input.u8()) else { return };
    let source_mac = MacAddr(input.array());
    let ttl = input.u8();
    let count = usize::from(input.u16() % 300);
    let mut spec = AdvertSpec {
        version: if v2 { Version::V2 } else { Version::V3 },
        vrid,
        priority: Priority::new(input.u8()),
        interval: Duration::from_millis(if shape & 8 != 0 {
            input.u32().into()
        } else {
            u64::from(input.u16()) * 10
        }),
        auth: (shape & 16 != 0).then(|| input.array()),
        checksum: if shape & 32 != 0 { ChecksumForm::MessageOnly } else { ChecksumForm::PseudoHeader },
        ip_id: input.u16(),
        source: input.address(v6),
        destination: input.address(v6 != mixed),
        ttl,
        vips: &[],
    };
    let vips: Vec<IpAddr> = (0..count).map(|_| input.address(v6)).collect();
    spec.vips = &vips;

    let mut packet = vec![STALE; 64];
    let sent = advert_packet(&spec, &mut packet);
    assert_eq!(sent.is_ok(), expressible(&spec), "{sent:?} of {spec:?}");
    let mut frame = vec![STALE; 64];
    let framed = advert_frame(&spec, source_mac, &mut frame);
    assert_eq!(framed.is_ok(), sent.is_ok() && spec.destination.is_multicast(), "{framed:?} of {spec:?}");
    if sent.is_err() {
        return;
    }
    if framed.is_ok() {
        assert_eq!(frame[14..], packet, "{spec:?}");
        assert_eq!(frame[..6], multicast_mac(spec.destination), "{spec:?}");
        assert_eq!(frame[6..12], source_mac.0);
    }
    let Some(Frame::Advert(heard)) = decode::parse(&in_frame(&packet, v6)) else {
        panic!("{spec:?} is no advert: {packet:02x?}")
    };
    if !v6 {
        assert_eq!(packet[4..6], spec.ip_id.to_be_bytes());
        assert_eq!(internet_sum(&[&packet[..20]]), 0xffff, "IPv4 header of {spec:?}");
    }
    says(&heard, &spec);
}

/// What the views make of a frame, and what the other decoder does.
fn views(frame: &[u8]) {
    let heard = decode::parse(frame);
    let Ok((header, payload)) = eth::Repr::parse(frame) else { return };
    match header.ethertype {
        eth::ETHERTYPE_ARP => {
            let Ok(repr) = arp::Packet::new_checked(payload).and_then(arp::Repr::parse) else { return };
            // RFC 1042's hardware type is read as Ethernet's, and never sent.
            if payload[1] == 1 {
                assert_eq!(heard, Some(Frame::Arp(as_heard(&repr))), "{frame:02x?}");
                let mut again = [STALE; arp::LENGTH];
                repr.emit(&mut again);
                assert_eq!(again, payload[..arp::LENGTH]);
            }
        }
        eth::ETHERTYPE_IPV4 => {
            let Ok(packet) = ipv4::Packet::new_checked(payload) else { return };
            if packet.header().protocol() == PROTOCOL_VRRP {
                view_of_advert(
                    packet.payload(),
                    packet.header().source(),
                    packet.header().destination(),
                    heard,
                );
            }
        }
        eth::ETHERTYPE_IPV6 => {
            let Ok(packet) = ipv6::Packet::new_checked(payload) else { return };
            let ip = ipv6::Repr::parse(&packet);
            if ip.next_header == PROTOCOL_VRRP {
                view_of_advert(packet.payload(), ip.source, ip.destination, heard);
            } else if ip.next_header == ndp::NEXT_HEADER_ICMPV6
                && let Ok(message) = ndp::Message::new_checked(packet.payload())
            {
                view_of_neighbor(&message, &ip, heard);
            }
        }
        _ => {}
    }
}

fn view_of_advert<A: ListedAddress + Into<IpAddr>>(
    message: &[u8],
    source: A,
    destination: A,
    heard: Option<Frame>,
) {
    let Ok(advert) = vrrp::Advert::<A>::new_checked(message) else { return };
    let Some(Frame::Advert(heard)) = heard else { panic!("{message:02x?} is an advert to the view only") };
    let (form, header) = (advert.checksum_form(source, destination), advert.header());
    let expected = match heard.checksum {
        decode::ChecksumForm::Invalid => None,
        decode::ChecksumForm::PseudoHeader if heard.version == 2 => None,
        decode::ChecksumForm::PseudoHeader => Some(ChecksumForm::PseudoHeader),
        // It may be right with the pseudo-header too, which IPv6 has to have.
        decode::ChecksumForm::Message if heard.src.is_ipv6() => {
            decode::pseudo_checksum_valid(heard.src, heard.dst, PROTOCOL_VRRP, message)
                .then_some(ChecksumForm::PseudoHeader)
        }
        decode::ChecksumForm::Message => Some(ChecksumForm::MessageOnly),
    };
    assert_eq!(form, expected, "{heard:?}");
    assert_eq!((heard.src, heard.dst), (source.into(), destination.into()));
    assert_eq!(
        (header.version(), header.vrid(), header.priority(), header.count()),
        (heard.version, heard.vrid, heard.priority, heard.count)
    );
    assert_eq!(heard.interval, Duration::from_millis(u64::from(header.interval_cs()) * 10));
    let listed: Vec<&[u8]> = advert.addresses().iter().map(AsRef::as_ref).collect();
    let octets = |address: &IpAddr| match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    };
    assert_eq!(listed, heard.addresses.iter().map(octets).collect::<Vec<_>>());
    if let Ok(repr) = vrrp::Repr::parse(&advert, source, destination) {
        let mut again = vec![STALE; repr.length()];
        repr.emit(&mut again, source, destination);
        let Ok(view) = vrrp::Advert::<A>::new_checked(&again) else { panic!("{again:02x?} is no advert") };
        let Ok(read) = vrrp::Repr::parse(&view, source, destination) else {
            panic!("{again:02x?} is no advert any more")
        };
        assert_eq!(
            (read.vrid, read.priority, read.addresses, read.body),
            (repr.vrid, repr.priority, repr.addresses, repr.body),
            "{message:02x?} again"
        );
    }
}

fn view_of_neighbor(message: &ndp::Message<'_>, ip: &ipv6::Repr, heard: Option<Frame>) {
    if message.kind() == ndp::Kind::Solicitation {
        return;
    }
    let Some(Frame::NeighbourAdvert(heard)) = heard else {
        panic!("{message:?} is a message to the view only")
    };
    let header = message.header();
    assert_eq!(
        (header.is_router(), header.is_solicited(), header.overrides(), header.target()),
        (heard.router, heard.solicited, heard.overrides, heard.target)
    );
    assert_eq!(message.link_address().map(|mac| Mac(mac.0)), heard.target_mac);
    assert_eq!(message.has_valid_checksum(ip.source, ip.destination), heard.checksum_valid, "{heard:?}");
}

/// Whether an advert can say what `spec` does.
fn expressible(spec: &AdvertSpec<'_>) -> bool {
    let (unit, most) = match spec.version {
        Version::V2 => (1000, 255),
        Version::V3 => (10, 4095),
    };
    let ms = spec.interval.as_millis();
    let v6 = spec.source.is_ipv6();
    v6 == spec.destination.is_ipv6()
        && !(v6 && spec.version == Version::V2)
        && ms.is_multiple_of(unit)
        && (1..=most).contains(&(ms / unit))
}

fn says(heard: &Advert, spec: &AdvertSpec<'_>) {
    let listed = &spec.vips[..spec.vips.len().min(255)];
    assert_eq!((heard.src, heard.dst, heard.ttl), (spec.source, spec.destination, spec.ttl));
    assert_eq!(heard.version, spec.version as u8);
    assert_eq!((heard.vrid, heard.priority), (spec.vrid.get(), spec.priority.get()));
    assert_eq!(heard.interval, spec.interval);
    assert_eq!((usize::from(heard.count), &heard.addresses[..]), (listed.len(), listed));
    let message = &heard.message;
    let trailer = &message[8 + listed.len() * if spec.source.is_ipv4() { 4 } else { 16 }..];
    if spec.version == Version::V2 {
        assert_eq!(
            (message[4], trailer),
            (u8::from(spec.auth.is_some()), &spec.auth.unwrap_or_default()[..])
        );
    } else {
        assert_eq!((message[4] >> 4, trailer), (0, &[][..]), "reserved bits and trailer");
    }
    let message_only = spec.version == Version::V2
        || spec.source.is_ipv4() && matches!(spec.checksum, ChecksumForm::MessageOnly);
    // Both are right where the pseudo-header happens to sum to zero, so this is no comparison of forms.
    let right = if message_only {
        internet_sum(&[message]) == 0xffff
    } else {
        decode::pseudo_checksum_valid(spec.source, spec.destination, PROTOCOL_VRRP, message)
    };
    assert!(right, "checksum of {spec:?}");
}

fn arp_packet(input: &mut Input<'_>) {
    let repr = arp::Repr {
        operation: if input.bool() { arp::Operation::Request } else { arp::Operation::Reply },
        sender_mac: MacAddr(input.array()),
        sender_ip: input.ipv4(),
        target_mac: MacAddr(input.array()),
        target_ip: input.ipv4(),
    };
    let header = eth::Repr {
        destination: MacAddr(input.array()),
        source: MacAddr(input.array()),
        ethertype: eth::ETHERTYPE_ARP,
    };
    let mut frame = [STALE; eth::HEADER + arp::LENGTH];
    let (ethernet, packet) = frame.split_first_chunk_mut().expect("longer than its header");
    header.emit(ethernet);
    repr.emit(packet.first_chunk_mut().expect("the packet"));
    assert_eq!((&frame[..6], &frame[6..12]), (&header.destination.0[..], &header.source.0[..]));
    assert_eq!(decode::parse(&frame), Some(Frame::Arp(as_heard(&repr))));
}

fn as_heard(repr: &arp::Repr) -> decode::Arp {
    decode::Arp {
        operation: repr.operation as u16,
        sender_mac: Mac(repr.sender_mac.0),
        sender_ip: repr.sender_ip,
        target_mac: Mac(repr.target_mac.0),
        target_ip: repr.target_ip,
    }
}

fn announcement(input: &mut Input<'_>) {
    let v6 = input.bool();
    let address = input.address(v6);
    let station = AnnouncedAddress { ifindex: 1, mac: MacAddr(input.array()), address };
    let frame = Announcement::announcing(&station);
    let frame = frame.as_ref();
    let mac = Mac(station.mac.0);
    assert_eq!(frame[6..12], mac.0);
    match (address, decode::parse(frame)) {
        (IpAddr::V4(vip), Some(Frame::Arp(arp))) => {
            assert_eq!(frame[..6], [0xff; 6]);
            assert!(arp.is_gratuitous());
            assert_eq!((arp.sender_ip, arp.sender_mac, arp.operation), (vip, mac, decode::Arp::REQUEST));
        }
        (IpAddr::V6(vip), Some(Frame::NeighbourAdvert(na))) => {
            assert_eq!(frame[..6], multicast_mac(na.dst.into()));
            assert!(na.is_unsolicited() && na.checksum_valid && na.overrides && na.router, "{na:?}");
            assert_eq!((na.src, na.target, na.hop_limit, na.target_mac), (vip, vip, 255, Some(mac)));
        }
        (_, heard) => panic!("{station:?} announces {heard:?}"),
    }
}

fn ipv4_header(input: &mut Input<'_>) {
    let repr = ipv4::Repr {
        id: input.u16(),
        ttl: input.u8(),
        protocol: input.u8(),
        source: input.ipv4(),
        destination: input.ipv4(),
        payload_length: input.u16() % (u16::MAX - 20),
    };
    let mut header = [STALE; ipv4::HEADER];
    repr.emit(&mut header);
    let word = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
    let address = |at: usize| Ipv4Addr::from([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let read = ipv4::Repr {
        id: word(4),
        ttl: header[8],
        protocol: header[9],
        source: address(12),
        destination: address(16),
        payload_length: word(2) - 20,
    };
    assert_eq!(read, repr);
    assert_eq!((header[0], word(6), internet_sum(&[&header])), (0x45, 0, 0xffff));
}

fn ipv6_header(input: &mut Input<'_>) {
    let repr = ipv6::Repr {
        traffic_class: input.u8(),
        hop_limit: input.u8(),
        next_header: input.u8(),
        source: input.ipv6(),
        destination: input.ipv6(),
        payload_length: input.u16(),
    };
    let mut header = [STALE; ipv6::HEADER];
    repr.emit(&mut header);
    let first = u32::from_be_bytes([header[0], header[1], header[2], header[3]]);
    let address = |at: usize| -> Ipv6Addr {
        let octets: [u8; 16] = header[at..at + 16].try_into().expect("16 octets");
        octets.into()
    };
    let read = ipv6::Repr {
        traffic_class: (first >> 20) as u8,
        hop_limit: header[7],
        next_header: header[6],
        source: address(8),
        destination: address(24),
        payload_length: u16::from_be_bytes([header[4], header[5]]),
    };
    assert_eq!(read, repr);
    assert_eq!((first >> 28, first & 0x000f_ffff), (6, 0), "version and flow label");

    let (target, mac) = (input.ipv6(), MacAddr(input.array()));
    let (mut message, na) = ([STALE; ndp::ADVERTISEMENT], ndp::Repr::unsolicited(target, mac));
    na.emit(&mut message, repr.source, repr.destination);
    let packet = ipv6::Repr {
        hop_limit: ndp::HOP_LIMIT,
        next_header: ndp::NEXT_HEADER_ICMPV6,
        payload_length: ndp::ADVERTISEMENT as u16,
        ..repr
    };
    packet.emit(&mut header);
    let Some(Frame::NeighbourAdvert(heard)) =
        decode::parse(&in_frame(&[&header[..], &message].concat(), true))
    else {
        panic!("{na:?} is no advertisement: {message:02x?}")
    };
    assert!(heard.checksum_valid && heard.overrides && !heard.solicited, "{heard:?}");
    assert_eq!((heard.target, heard.target_mac), (target, Some(Mac(mac.0))));
}

fn in_frame(packet: &[u8], v6: bool) -> Vec<u8> {
    let ethertype = if v6 { [0x86, 0xdd] } else { [0x08, 0x00] };
    [&[STALE; 12][..], &ethertype, packet].concat()
}

/// RFC 1112 6.4: 23 bits of the group; RFC 2464 7: 32 bits.
fn multicast_mac(group: IpAddr) -> [u8; 6] {
    match group {
        IpAddr::V4(group) => {
            let bits = (group.to_bits() & 0x007f_ffff).to_be_bytes();
            [0x01, 0x00, 0x5e, bits[1], bits[2], bits[3]]
        }
        IpAddr::V6(group) => {
            let [.., a, b, c, d] = group.octets();
            [0x33, 0x33, a, b, c, d]
        }
    }
}
