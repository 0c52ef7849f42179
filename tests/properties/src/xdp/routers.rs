//! The virtual routers that the program serves while it is fuzzed: owned and not, both families, with and without the
//! virtual MAC, in VLANs, by unicast.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub struct Router {
    /// Key of the frame's tags: 12 bits each, outermost first.
    pub vlan: u32,
    /// A VLAN that its adverts come in by as well.
    pub heartbeat: Option<u32>,
    pub vrid: u8,
    pub version: u8,
    pub priority: u8,
    pub owned: bool,
    pub use_vmac: bool,
    /// Whether the last renewal of the lease is long ago.
    pub stale: bool,
    pub primary: IpAddr,
    /// Adverts come from it by unicast.
    pub peer: Option<IpAddr>,
    pub password: Option<[u8; 8]>,
    /// Each with its Accept_Mode.
    pub vips: &'static [(IpAddr, bool)],
}

/// The interface's own.
pub const MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x01];

impl Router {
    pub const fn is_v6(&self) -> bool {
        self.primary.is_ipv6()
    }

    /// RFC 9568 7.3.
    pub const fn virtual_mac(&self) -> [u8; 6] {
        [0x00, 0x00, 0x5e, 0x00, if self.is_v6() { 2 } else { 1 }, self.vrid]
    }

    pub const fn answering_mac(&self) -> [u8; 6] {
        if self.use_vmac { self.virtual_mac() } else { MAC }
    }

    pub const fn multicast_group(&self) -> IpAddr {
        if self.is_v6() { v6(0xff02, 0, 0x12) } else { v4(224, 0, 0, 18) }
    }
}

const PLAIN: Router = Router {
    vlan: 0,
    heartbeat: None,
    vrid: 51,
    version: 3,
    priority: 100,
    owned: true,
    use_vmac: false,
    stale: false,
    primary: v4(192, 0, 2, 10),
    peer: None,
    password: None,
    vips: &[],
};

/// Slot by slot. Untagged and in VLAN 10 the same addresses are owned and not.
pub const ROUTERS: [Router; 8] = [
    Router { vips: &[(v4(192, 0, 2, 100), true), (v4(192, 0, 2, 101), false)], ..PLAIN },
    Router {
        use_vmac: true,
        heartbeat: Some(30),
        primary: v6(0xfe80, 0, 0x10),
        vips: &[
            (v6(0xfe80, 0, 0x100), true),
            (v6(0x2001, 0xdb8, 0x100), true),
            (v6(0x2001, 0xdb8, 0x101), false),
        ],
        ..PLAIN
    },
    Router {
        heartbeat: Some(30),
        vrid: 52,
        owned: false,
        use_vmac: true,
        vips: &[(v4(192, 0, 2, 200), true)],
        ..PLAIN
    },
    Router {
        vrid: 52,
        owned: false,
        primary: v6(0xfe80, 0, 0x10),
        vips: &[(v6(0x2001, 0xdb8, 0x200), true)],
        ..PLAIN
    },
    Router {
        vlan: 10,
        version: 2,
        use_vmac: true,
        stale: true,
        password: Some(*b"secret12"),
        vips: &[(v4(192, 0, 2, 200), true)],
        ..PLAIN
    },
    Router {
        vlan: 10,
        vrid: 61,
        owned: false,
        use_vmac: true,
        primary: v6(0xfe80, 0, 0x10),
        vips: &[(v6(0x2001, 0xdb8, 0x100), true)],
        ..PLAIN
    },
    Router {
        vlan: 10 << 12 | 20,
        vrid: 62,
        primary: v6(0x2001, 0xdb8, 0x10),
        peer: Some(v6(0x2001, 0xdb8, 0x20)),
        vips: &[(v6(0x2001, 0xdb8, 0x102), true)],
        ..PLAIN
    },
    // The address owner.
    Router {
        vlan: 30,
        vrid: 53,
        version: 2,
        priority: 255,
        primary: v4(192, 0, 2, 100),
        vips: &[(v4(192, 0, 2, 100), true)],
        ..PLAIN
    },
];

const fn v4(a: u8, b: u8, c: u8, d: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(a, b, c, d))
}

const fn v6(a: u16, b: u16, h: u16) -> IpAddr {
    IpAddr::V6(Ipv6Addr::new(a, b, 0, 0, 0, 0, 0, h))
}
