//! Captured frames for tests.

use crate::control::capture::{CapturedVerdict, Direction, ShownFrame};

/// `ether(dst='ff:ff:ff:ff:ff:ff', src='02:00:00:00:00:09') / ARP who-has 10.9.0.50 tell 10.9.0.9`.
pub fn arp_request() -> Vec<u8> {
    let mut octets = vec![0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 9, 8, 6];
    octets.extend([0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 9, 10, 9, 0, 9, 0, 0, 0, 0, 0, 0, 10, 9, 0, 50]);
    octets
}

/// Version 3 over IPv4 from 10.9.0.2, VRID 51, priority 150, 1 s, for 10.9.0.50, with TTL 64.
pub fn advert() -> Vec<u8> {
    let mut octets = vec![1, 0, 0x5e, 0, 0, 18, 2, 0, 0, 0, 0, 2, 8, 0];
    octets.extend([0x45, 0xc0, 0, 32, 0, 1, 0, 0, 64, 112, 0, 0, 10, 9, 0, 2, 224, 0, 0, 18]);
    octets.extend([0x31, 51, 150, 1, 0, 100, 0, 0, 10, 9, 0, 50]);
    octets
}

/// A Neighbor Solicitation from fe80::9 for 2001:db8::50, with the solicitor's MAC.
pub fn solicitation() -> Vec<u8> {
    let mut octets = vec![0x33, 0x33, 0xff, 0, 0, 0x50, 2, 0, 0, 0, 0, 9, 0x86, 0xdd];
    octets.extend([0x60, 0, 0, 0, 0, 32, 58, 255]);
    octets.extend("fe80::9".parse::<std::net::Ipv6Addr>().unwrap().octets());
    octets.extend("ff02::1:ff00:50".parse::<std::net::Ipv6Addr>().unwrap().octets());
    octets.extend([135, 0, 0, 0, 0, 0, 0, 0]);
    octets.extend("2001:db8::50".parse::<std::net::Ipv6Addr>().unwrap().octets());
    octets.extend([1, 1, 2, 0, 0, 0, 0, 9]);
    octets
}

/// The ARP request, answered.
pub fn frame() -> ShownFrame {
    ShownFrame {
        time_unix_ns: 1_709_251_199_001_002_003,
        interface: "eth0".into(),
        direction: Direction::In,
        verdict: CapturedVerdict::Sent,
        reason: Some("arp_replies".into()),
        tc: false,
        length: 42,
        octets: arp_request(),
    }
}
