//! Adverts, built when they are sent.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use vipd_common::{
    Priority, Version, Vrid,
    types::ChecksumForm,
    wire::{
        eth::{self, MacAddr},
        ipv4, ipv6,
        vrrp::{Body, ListedAddress, Repr},
    },
};

/// Twelve bits (RFC 9568 5.2.7).
const MAX_INTERVAL_CS: u16 = 0x0fff;

/// An advert on the wire. All of its addresses are of one family.
#[derive(Clone, Copy, Debug)]
pub struct AdvertSpec<'a> {
    pub version: Version,
    pub vrid: Vrid,
    pub priority: Priority,
    /// v2: whole seconds; v3: steps of 10 ms.
    pub interval: Duration,
    pub source: IpAddr,
    /// The group, or a unicast peer.
    pub destination: IpAddr,
    /// Hop limit in IPv6. 255 to a group (RFC 9568 5.1.1.3, 5.1.2.3), also in the last advert with priority 0.
    pub ttl: u8,
    pub vips: &'a [IpAddr],
    /// v2: the password, zero-filled.
    pub auth: Option<[u8; 8]>,
    /// v3 over IPv4.
    pub checksum: ChecksumForm,
    /// IPv4. The kernel replaces 0 in packets sent through a [`UnicastSocket`](super::UnicastSocket).
    pub ip_id: u16,
}

/// Writes the Ethernet frame of an advert to a group over `frame`.
///
/// # Errors
///
/// `InvalidInput` for what the configuration does not allow: a destination that is no group, addresses of both families,
/// version 2 over IPv6, and an interval that the version cannot express.
pub fn advert_frame(spec: &AdvertSpec<'_>, source_mac: MacAddr, frame: &mut Vec<u8>) -> io::Result<()> {
    if !spec.destination.is_multicast() {
        return Err(invalid("the destination of a multicast advert is no group"));
    }
    write(spec, eth::HEADER, frame)?;
    let ethernet = frame.first_chunk_mut().expect("the frame was made longer than its header");
    eth::Repr {
        destination: MacAddr::of_multicast(spec.destination),
        source: source_mac,
        ethertype: match spec.destination {
            IpAddr::V4(_) => eth::ETHERTYPE_IPV4,
            IpAddr::V6(_) => eth::ETHERTYPE_IPV6,
        },
    }
    .emit(ethernet);
    Ok(())
}

/// Writes the IP packet of an advert over `packet`, for a socket that routes it.
///
/// # Errors
///
/// As [`advert_frame`], except that any destination will do.
pub fn advert_packet(spec: &AdvertSpec<'_>, packet: &mut Vec<u8>) -> io::Result<()> {
    write(spec, 0, packet)
}

/// Writes the packet after `offset` octets, which are left for the caller.
fn write(spec: &AdvertSpec<'_>, offset: usize, buffer: &mut Vec<u8>) -> io::Result<()> {
    match (spec.source, spec.destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let addresses = addresses(spec.vips, |vip| match vip {
                IpAddr::V4(v4) => Some(v4.octets()),
                IpAddr::V6(_) => None,
            })?;
            let message = message::<Ipv4Addr>(spec, &addresses)?;
            let (header, payload) = room(buffer, offset, message.length());
            ipv4::Repr {
                id: spec.ip_id,
                ttl: spec.ttl,
                protocol: ipv4::PROTOCOL_VRRP,
                source,
                destination,
                payload_length: length(payload),
            }
            .emit(header);
            message.emit(payload, source, destination);
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            if spec.version == Version::V2 {
                return Err(invalid("VRRP version 2 has no IPv6"));
            }
            let addresses = addresses(spec.vips, |vip| match vip {
                IpAddr::V6(v6) => Some(v6.octets()),
                IpAddr::V4(_) => None,
            })?;
            let message = message::<Ipv6Addr>(spec, &addresses)?;
            let (header, payload) = room(buffer, offset, message.length());
            ipv6::Repr {
                traffic_class: ipv6::TRAFFIC_CLASS_CS6,
                hop_limit: spec.ttl,
                next_header: ipv4::PROTOCOL_VRRP,
                source,
                destination,
                payload_length: length(payload),
            }
            .emit(header);
            message.emit(payload, source, destination);
        }
        _ => return Err(invalid("source and destination of an advert are of different families")),
    }
    Ok(())
}

fn addresses<O>(vips: &[IpAddr], of_family: impl Fn(IpAddr) -> Option<O>) -> io::Result<Vec<O>> {
    vips.iter()
        .map(|vip| of_family(*vip).ok_or_else(|| invalid("an advert lists an address of another family")))
        .collect()
}

fn message<'a, A: ListedAddress>(
    spec: &AdvertSpec<'_>,
    addresses: &'a [A::Octets],
) -> io::Result<Repr<'a, A>> {
    let unfit = || invalid("the version cannot express the advert interval");
    let body = match spec.version {
        Version::V2 => Body::V2 {
            interval_s: in_units(spec.interval, Duration::from_secs(1), u8::MAX).ok_or_else(unfit)?,
            password: spec.auth,
        },
        Version::V3 => Body::V3 {
            interval_cs: in_units(spec.interval, Duration::from_millis(10), MAX_INTERVAL_CS)
                .ok_or_else(unfit)?,
            checksum: spec.checksum,
        },
    };
    Ok(Repr { vrid: spec.vrid, priority: spec.priority, addresses, body })
}

/// Whole units from 1 to `most`. Any other interval is an error: the advert would contain another one, and backups believe it.
fn in_units<N: TryFrom<u128> + PartialOrd>(interval: Duration, unit: Duration, most: N) -> Option<N> {
    let (interval, unit) = (interval.as_nanos(), unit.as_nanos());
    let units = interval.is_multiple_of(unit).then_some(interval / unit).filter(|units| *units > 0)?;
    N::try_from(units).ok().filter(|units| *units <= most)
}

/// Resizes the buffer to the packet; returns the IP header and the payload.
fn room<const HEADER: usize>(
    buffer: &mut Vec<u8>,
    offset: usize,
    payload: usize,
) -> (&mut [u8; HEADER], &mut [u8]) {
    buffer.resize(offset + HEADER + payload, 0);
    buffer[offset..].split_first_chunk_mut().expect("the buffer was made longer than its headers")
}

fn length(payload: &[u8]) -> u16 {
    u16::try_from(payload.len()).expect("255 addresses are no more than 4088 octets")
}

fn invalid(reason: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    const VIPS: [IpAddr; 1] = [IpAddr::V4(Ipv4Addr::new(192, 0, 2, 100))];
    const VIPS6: [IpAddr; 2] = [
        IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0x100)),
        IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x100)),
    ];
    const MAC: MacAddr = MacAddr([0, 0, 0x5e, 0, 1, 0x33]);
    const MAC6: MacAddr = MacAddr([0, 0, 0x5e, 0, 2, 0x33]);

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn spec() -> AdvertSpec<'static> {
        AdvertSpec {
            version: Version::V2,
            vrid: Vrid::new(51).unwrap(),
            priority: Priority::DEFAULT,
            interval: Duration::from_secs(1),
            source: address("192.0.2.2"),
            destination: address("224.0.0.18"),
            ttl: 255,
            vips: &VIPS,
            auth: None,
            checksum: ChecksumForm::PseudoHeader,
            ip_id: 1,
        }
    }

    fn spec6() -> AdvertSpec<'static> {
        AdvertSpec {
            version: Version::V3,
            source: address("fe80::2"),
            destination: address("ff02::12"),
            vips: &VIPS6,
            ..spec()
        }
    }

    fn hex(octets: &[u8]) -> String {
        octets.iter().map(|octet| format!("{octet:02x}")).collect()
    }

    /// The frames of the public vectors `v2-basic` and `v3-ipv6-basic`, over what an earlier frame left.
    #[test]
    fn whole_frames() {
        for (spec, mac, expect) in [
            (
                spec(),
                MAC,
                "01005e00001200005e000133080045c0002800010000ff701890c0000202e0000012\
                 213364010001b865c00002640000000000000000",
            ),
            (
                spec6(),
                MAC6,
                "33330000001200005e00023386dd6c000000002870ff\
                 fe800000000000000000000000000002ff0200000000000000000000000000123133640200643dfc\
                 fe80000000000000000000000000010020010db8000000000000000000000100",
            ),
        ] {
            let mut frame = vec![0xa5; 200];
            advert_frame(&spec, mac, &mut frame).unwrap();
            assert_eq!(hex(&frame), expect);
        }
    }

    /// W-07, W-08: octets 4 and 5 of the message, of which the upper four bits are reserved.
    #[test]
    fn every_interval_is_twelve_bits_in_centiseconds() {
        let mut frame = Vec::new();
        for (cs, octets) in [
            (1, [0x00, 0x01]),
            (10, [0x00, 0x0a]),
            (100, [0x00, 0x64]),
            (255, [0x00, 0xff]),
            (256, [0x01, 0x00]),
            (4095, [0x0f, 0xff]),
        ] {
            for spec in [AdvertSpec { version: Version::V3, ..spec() }, spec6()] {
                let spec = AdvertSpec { interval: Duration::from_millis(cs * 10), ..spec };
                advert_packet(&spec, &mut frame).unwrap();
                let message = frame.len() - 8 - spec.vips.len() * if spec.source.is_ipv4() { 4 } else { 16 };
                assert_eq!(frame[message + 4..message + 6], octets, "{cs} cs from {}", spec.source);
            }
        }
    }

    /// The packet of the public vector `v2-basic`; with another TTL, and the header's checksum of RFC 1624 for it.
    #[test]
    fn packets_for_a_peer() {
        let packet = |spec: &AdvertSpec<'_>| {
            let mut packet = vec![0xa5; 200];
            advert_packet(spec, &mut packet).unwrap();
            hex(&packet)
        };
        let message = "213364010001b865c00002640000000000000000";
        assert_eq!(packet(&spec()), format!("45c0002800010000ff701890c0000202e0000012{message}"));
        let routed = AdvertSpec { ttl: 64, ..spec() };
        assert_eq!(packet(&routed), format!("45c00028000100004070d790c0000202e0000012{message}"));
        let routed = packet(&AdvertSpec { ttl: 64, ..spec6() });
        assert!(routed.starts_with("6c00000000287040fe80"), "{routed}");
    }

    #[test]
    fn what_cannot_be_sent() {
        for (what, spec) in [
            ("interval of 256 s in v2", AdvertSpec { interval: Duration::from_secs(256), ..spec() }),
            ("interval of 0 in v2", AdvertSpec { interval: Duration::ZERO, ..spec() }),
            ("interval of 1.5 s in v2", AdvertSpec { interval: Duration::from_millis(1500), ..spec() }),
            ("interval of 656 s in v3", AdvertSpec { interval: Duration::from_secs(656), ..spec6() }),
            ("thirteen bits of interval in v3", AdvertSpec { interval: Duration::from_secs(41), ..spec6() }),
            ("interval of 15 ms in v3", AdvertSpec { interval: Duration::from_millis(15), ..spec6() }),
            ("interval of 0 in v3", AdvertSpec { interval: Duration::ZERO, ..spec6() }),
            ("v2 over IPv6", AdvertSpec { version: Version::V2, ..spec6() }),
            ("source of the other family", AdvertSpec { source: address("fe80::2"), ..spec() }),
            ("IPv6 VIP over IPv4", AdvertSpec { vips: &VIPS6, ..spec() }),
            ("IPv4 VIP over IPv6", AdvertSpec { vips: &VIPS, ..spec6() }),
        ] {
            for result in [advert_packet(&spec, &mut Vec::new()), advert_frame(&spec, MAC, &mut Vec::new())] {
                assert_eq!(result.unwrap_err().kind(), io::ErrorKind::InvalidInput, "{what}");
            }
        }
        let unicast = AdvertSpec { destination: address("192.0.2.3"), ..spec() };
        let refused = advert_frame(&unicast, MAC, &mut Vec::new()).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::InvalidInput);
    }
}
