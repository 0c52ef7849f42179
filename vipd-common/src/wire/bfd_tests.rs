//! UDP and BFD: octets that tshark reads as they were meant, read back, and why others are malformed.

extern crate std;

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::{format, vec};

use zerocopy::IntoBytes;

use super::{
    Malformed, View,
    bfd::{Control, Diagnostic, MANDATORY, Repr, SessionState, flag},
    tests::{changed, hex, unhex},
    udp::{self, Datagram},
};

const V4: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2)), IpAddr::V4(Ipv4Addr::new(192, 0, 2, 3))];
const V6: [IpAddr; 2] = [
    IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 2)),
    IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 3)),
];
const DOWN: &str = "214003181122334400000000000f4240000493e00000c350";
const UP: &str = "20e0051811223344aabbccdd000027100000271000000000";

fn down() -> Repr {
    Repr {
        diagnostic: Diagnostic::DETECTION_TIME_EXPIRED,
        state: SessionState::Down,
        flags: 0,
        multiplier: 3,
        authentication_length: 0,
        my_discriminator: 0x1122_3344,
        your_discriminator: 0,
        desired_min_tx_us: 1_000_000,
        required_min_rx_us: 300_000,
        required_min_echo_rx_us: 50_000,
    }
}

fn up() -> Repr {
    Repr {
        diagnostic: Diagnostic::NONE,
        state: SessionState::Up,
        flags: flag::POLL,
        multiplier: 5,
        your_discriminator: 0xaabb_ccdd,
        desired_min_tx_us: 10_000,
        required_min_rx_us: 10_000,
        required_min_echo_rx_us: 0,
        ..down()
    }
}

#[test]
fn control_packets() {
    for (repr, octets) in [(down(), DOWN), (up(), UP)] {
        let mut buffer = [0xa5; MANDATORY];
        repr.emit(&mut buffer);
        assert_eq!(hex(&buffer), octets);
        let padded = [&buffer[..], &[0xff; 4]].concat();
        let (control, packet) = Control::new_checked(&padded).unwrap();
        assert_eq!((Repr::parse(control), packet.len()), (repr, MANDATORY));
    }
}

/// RFC 5880 6.8.6, in its order: the first that is wrong is told.
#[test]
fn malformed_control_packets() {
    let packet = unhex(UP);
    let error = |octets: &[u8]| Control::new_checked(octets).err();
    assert_eq!(error(&packet[..23]), Some(Malformed::Truncated));
    for (changes, expect) in [
        (&[(0, 0x00), (3, 0)][..], Malformed::Version),
        (&[(0, 0x40)], Malformed::Version),
        (&[(3, 23), (2, 0)], Malformed::Length),
        (&[(3, 25)], Malformed::Length),
        // An authentication section is announced, and there is none.
        (&[(1, 0xe4)], Malformed::Length),
        (&[(2, 0), (1, 0xe1)], Malformed::Multiplier),
        (&[(1, 0xe1), (4, 0), (5, 0), (6, 0), (7, 0)], Malformed::Multipoint),
        (&[(4, 0), (5, 0), (6, 0), (7, 0)], Malformed::Discriminator),
    ] {
        assert_eq!(error(&changed(&packet, changes)), Some(expect), "{changes:?}");
    }
    // With a section of two octets, the shortest.
    let authenticated = [&changed(&packet, &[(1, 0xe4), (3, 26)])[..], &[1, 2]].concat();
    assert_eq!(Control::new_checked(&authenticated).map(|(_, packet)| packet.len()), Ok(26));
}

#[test]
fn every_number_is_a_state_and_a_diagnostic() {
    for octet in 0..=u8::MAX {
        let packet = changed(
            &unhex(UP),
            &[(0, 0x20 | octet & 0x1f), (1, octet & !flag::MULTIPOINT & !flag::AUTHENTICATION)],
        );
        let (control, _) = Control::new_checked(&packet).unwrap();
        let mut again = [0xa5; MANDATORY];
        Repr::parse(control).emit(&mut again);
        assert_eq!(hex(&again), hex(&packet));
    }
}

#[test]
fn datagrams() {
    for ([source, destination], ports, payload, header) in [
        (V4, (49152, 3784), DOWN, "c0000ec80020aa9c"),
        (V6, (65535, 4784), UP, "ffff12b00020bfdf"),
        // RFC 768: a sum of 0 is sent as all ones.
        (V4, (1, 2), "7bd1", "00010002000affff"),
    ] {
        let payload = unhex(payload);
        let mut buffer = vec![0xa5; udp::HEADER + payload.len()];
        buffer[udp::HEADER..].copy_from_slice(&payload);
        let repr = udp::Repr { source_port: ports.0, destination_port: ports.1 };
        repr.emit(&mut buffer, source, destination);
        assert_eq!(hex(&buffer), format!("{header}{}", hex(&payload)));

        let padded = [&buffer[..], &[0; 7]].concat();
        let datagram = Datagram::new_checked(&padded).unwrap();
        assert_eq!(udp::Repr::parse(&datagram, source, destination), Ok(repr));
        assert_eq!(datagram.payload(), payload);
        // The header of the answer is right with the same sum: every swap leaves it.
        let answer = datagram.header().answered(datagram.header().checksum());
        let mut swapped = buffer.clone();
        swapped[..udp::HEADER].copy_from_slice(answer.as_bytes());
        let answered = Datagram::new_checked(&swapped).unwrap();
        assert_eq!(
            udp::Repr::parse(&answered, destination, source),
            Ok(udp::Repr { source_port: ports.1, destination_port: ports.0 })
        );

        let wrong = changed(&buffer, &[(8, buffer[8] ^ 1)]);
        let read = |octets: &[u8]| {
            Datagram::new_checked(octets)
                .and_then(|datagram| udp::Repr::parse(&datagram, source, destination))
                .err()
        };
        assert_eq!(read(&wrong), Some(Malformed::Checksum));
        assert_eq!(read(&buffer[..buffer.len() - 1]), Some(Malformed::Truncated));
        assert_eq!(read(&buffer[..7]), Some(Malformed::Truncated));
        assert_eq!(read(&changed(&buffer, &[(5, 7)])), Some(Malformed::Length));
        // Left out: only over IPv4.
        let none = changed(&buffer, &[(6, 0), (7, 0)]);
        assert_eq!(read(&none), if source.is_ipv4() { None } else { Some(Malformed::Checksum) });
    }
    assert!(udp::Header::new_prefix(&[0; 7]).is_err());
}
