//! Whole frames, built when they are sent.

use std::{
    io,
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use vipd_common::{
    Priority, Version, Vrid,
    types::ChecksumForm,
    wire::{
        arp,
        eth::{self, MacAddr},
        ipv4, vrrp,
    },
};

/// An advert as it is to be on the wire.
#[derive(Clone, Copy, Debug)]
pub struct AdvertSpec<'a> {
    pub version: Version,
    pub vrid: Vrid,
    pub priority: Priority,
    /// v2: whole seconds; v3: steps of 10 ms.
    pub interval: Duration,
    pub source: IpAddr,
    /// Where it goes.
    pub group: IpAddr,
    pub source_mac: MacAddr,
    pub vips: &'a [IpAddr],
    /// v2: the password, zero-filled.
    pub auth: Option<[u8; 8]>,
    /// v3.
    pub checksum: ChecksumForm,
    pub ip_id: u16,
}

/// Writes the frame of an advert over `frame`.
///
/// # Errors
///
/// `Unsupported` for IPv6, and `InvalidInput` for an interval that the version cannot express: the configuration allows
/// neither.
pub fn advert_frame(spec: &AdvertSpec<'_>, frame: &mut Vec<u8>) -> io::Result<()> {
    let (IpAddr::V4(source), IpAddr::V4(destination)) = (spec.source, spec.group) else {
        return Err(io::Error::new(io::ErrorKind::Unsupported, "adverts over IPv6 are not supported yet"));
    };
    let addresses: Vec<Ipv4Addr> = spec
        .vips
        .iter()
        .filter_map(|vip| match vip {
            IpAddr::V4(v4) => Some(*v4),
            IpAddr::V6(_) => None,
        })
        .collect();
    let interval =
        |value: u64| u16::try_from(value).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput));
    let body = match spec.version {
        Version::V2 => vrrp::Body::V2 {
            interval_s: u8::try_from(interval(spec.interval.as_secs())?)
                .map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?,
            password: spec.auth,
        },
        Version::V3 => vrrp::Body::V3 {
            interval_cs: interval(u64::try_from(spec.interval.as_millis() / 10).unwrap_or(u64::MAX))?,
            checksum: spec.checksum,
        },
    };
    let message = vrrp::Repr { vrid: spec.vrid, priority: spec.priority, addresses: &addresses, body };
    frame.clear();
    frame.resize(eth::HEADER + ipv4::HEADER + message.length(), 0);
    let (ethernet, rest) = frame.split_first_chunk_mut().expect("the frame was made longer than its headers");
    let (header, payload) = rest.split_first_chunk_mut().expect("the frame was made longer than its headers");
    eth::Repr {
        destination: MacAddr::of_multicast(destination),
        source: spec.source_mac,
        ethertype: eth::ETHERTYPE_IPV4,
    }
    .emit(ethernet);
    ipv4::Repr {
        id: spec.ip_id,
        // RFC 9568 5.1.1.3, also for the last one with priority 0.
        ttl: 255,
        protocol: ipv4::PROTOCOL_VRRP,
        source,
        destination,
        payload_length: u16::try_from(message.length()).unwrap_or(u16::MAX),
    }
    .emit(header);
    message.emit(payload, source, destination);
    Ok(())
}

/// A frame that says to everyone that `vip` is at `mac`.
pub fn gratuitous_arp(mac: MacAddr, vip: Ipv4Addr) -> [u8; eth::HEADER + arp::LENGTH] {
    let mut frame = [0; eth::HEADER + arp::LENGTH];
    let (ethernet, rest) = frame.split_first_chunk_mut().expect("the frame is longer than its header");
    let packet = rest.first_chunk_mut().expect("the frame is its header and the packet");
    eth::Repr { destination: MacAddr::BROADCAST, source: mac, ethertype: eth::ETHERTYPE_ARP }.emit(ethernet);
    arp::Repr::gratuitous(mac, vip).emit(packet);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    const VIPS: [IpAddr; 1] = [IpAddr::V4(Ipv4Addr::new(192, 0, 2, 100))];

    fn spec() -> AdvertSpec<'static> {
        AdvertSpec {
            version: Version::V2,
            vrid: Vrid::new(51).unwrap(),
            priority: Priority::DEFAULT,
            interval: Duration::from_secs(1),
            source: Ipv4Addr::new(192, 0, 2, 2).into(),
            group: Ipv4Addr::new(224, 0, 0, 18).into(),
            source_mac: MacAddr([0, 0, 0x5e, 0, 1, 0x33]),
            vips: &VIPS,
            auth: None,
            checksum: ChecksumForm::PseudoHeader,
            ip_id: 1,
        }
    }

    /// The frame of the public vector `v2-basic`, over what an earlier frame left.
    #[test]
    fn a_whole_advert() {
        let mut frame = vec![0xa5; 100];
        advert_frame(&spec(), &mut frame).unwrap();
        let hex: String = frame.iter().map(|octet| format!("{octet:02x}")).collect();
        assert_eq!(
            hex,
            "01005e00001200005e000133080045c0002800010000ff701890c0000202e0000012\
             213364010001b865c00002640000000000000000"
        );
    }

    #[test]
    fn what_cannot_be_sent() {
        let mut frame = Vec::new();
        let long = AdvertSpec { interval: Duration::from_secs(256), ..spec() };
        assert_eq!(advert_frame(&long, &mut frame).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        let v6 = AdvertSpec { source: "fe80::1".parse().unwrap(), ..spec() };
        assert_eq!(advert_frame(&v6, &mut frame).unwrap_err().kind(), io::ErrorKind::Unsupported);
    }
}
