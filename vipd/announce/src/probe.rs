//! Probes to the hosts that run the same virtual routers, built when they are sent.

use std::{io, net::IpAddr};

use vipd_common::wire::{
    bfd::{self, Diagnostic, HOP_LIMIT, MANDATORY, PORT_SEAMLESS, SessionState},
    eth::{self, MacAddr},
    ipv4, ipv6,
    probe::{self, BLOCK, MAX_ROUTERS, PORT_SOURCE, ROUTER, Router},
    udp,
};

/// A probe on the wire.
#[derive(Clone, Copy, Debug)]
pub struct HostProbeSpec<'a> {
    pub source: IpAddr,
    pub destination: IpAddr,
    /// Desired Min TX, in microseconds.
    pub interval_us: u32,
    /// Detect Mult, 1 to 255.
    pub multiplier: u8,
    /// Of [`probe::flag`].
    pub flags: u8,
    pub generation: u32,
    /// The clock that the answer brings back.
    pub clock_ns: u64,
    /// At most [`MAX_ROUTERS`]; what is beyond is left out.
    pub routers: &'a [Router],
}

/// The quickest that this node answers, in microseconds (Required Min RX).
const ANSWERS_EVERY_US: u32 = (vipd_common::abi::PROBE_MIN_NS / 1_000) as u32;

/// Writes the IP packet of a probe over `packet`, for a socket that routes it.
///
/// # Errors
///
/// `InvalidInput` if the addresses are of different families.
pub fn probe_packet(spec: &HostProbeSpec<'_>, packet: &mut Vec<u8>) -> io::Result<()> {
    let routers = &spec.routers[..spec.routers.len().min(MAX_ROUTERS)];
    let length = udp::HEADER + MANDATORY + BLOCK + routers.len() * ROUTER;
    let length_on_wire = u16::try_from(length).expect("255 routers are 1,096 octets");
    let header = match (spec.source, spec.destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            packet.resize(ipv4::HEADER + length, 0);
            let (id, ttl, protocol) = (0, HOP_LIMIT, udp::PROTOCOL_UDP);
            let payload_length = length_on_wire;
            let header = packet.first_chunk_mut().expect("the packet is longer");
            ipv4::Repr { id, ttl, protocol, source, destination, payload_length }.emit(header);
            ipv4::HEADER
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            packet.resize(ipv6::HEADER + length, 0);
            let header = packet.first_chunk_mut().expect("the packet is longer");
            ipv6::Repr {
                traffic_class: ipv6::TRAFFIC_CLASS_CS6,
                hop_limit: HOP_LIMIT,
                next_header: udp::PROTOCOL_UDP,
                source,
                destination,
                payload_length: length_on_wire,
            }
            .emit(header);
            ipv6::HEADER
        }
        _ => {
            let what = "source and destination of a probe are of different families";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        }
    };
    let datagram = &mut packet[header..];
    write_payload(spec, routers, &mut datagram[udp::HEADER..]);
    udp::Repr { source_port: PORT_SOURCE, destination_port: PORT_SEAMLESS }.emit(
        datagram,
        spec.source,
        spec.destination,
    );
    Ok(())
}

/// Puts the packet of a probe into a frame to a group, for a link where the other host has no address.
///
/// # Panics
///
/// If `group` is no group.
pub fn frame_to_group(packet: &[u8], group: IpAddr, source: MacAddr, frame: &mut Vec<u8>) {
    assert!(group.is_multicast(), "{group} is no group");
    frame.clear();
    frame.resize(eth::HEADER, 0);
    frame.extend_from_slice(packet);
    let header = frame.first_chunk_mut().expect("it was made so long");
    let ethertype = if group.is_ipv4() { eth::ETHERTYPE_IPV4 } else { eth::ETHERTYPE_IPV6 };
    eth::Repr { destination: MacAddr::of_multicast(group), source, ethertype }.emit(header);
}

/// RFC 7881 4: Up and D, with the discriminator of the reflector.
fn write_payload(spec: &HostProbeSpec<'_>, routers: &[Router], payload: &mut [u8]) {
    let (control, rest) = payload.split_first_chunk_mut().expect("as long as it was made");
    bfd::Repr {
        diagnostic: Diagnostic::NONE,
        state: SessionState::Up,
        flags: bfd::flag::DEMAND,
        multiplier: spec.multiplier,
        authentication_length: 0,
        my_discriminator: probe::discriminator(spec.source),
        your_discriminator: probe::discriminator(spec.destination),
        desired_min_tx_us: spec.interval_us,
        required_min_rx_us: ANSWERS_EVERY_US,
        required_min_echo_rx_us: 0,
    }
    .emit(control);
    let (block, list) = rest.split_first_chunk_mut().expect("as long as it was made");
    probe::Repr {
        flags: spec.flags,
        routers: u8::try_from(routers.len()).unwrap_or(u8::MAX),
        generation: spec.generation,
        clock_ns: spec.clock_ns,
    }
    .emit(block);
    for (octets, router) in list.chunks_exact_mut(ROUTER).zip(routers) {
        octets.copy_from_slice(&[router.family, router.vrid, router.priority, router.flags]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vipd_common::wire::{
        ipv4::Packet,
        probe::{Probe, router_flag},
        udp::Datagram,
    };

    const OWNER: Router = Router { family: 4, vrid: 51, priority: 150, flags: router_flag::OWNER };

    fn spec<'a>(addresses: [&str; 2], routers: &'a [Router]) -> HostProbeSpec<'a> {
        let [source, destination] = addresses.map(|address| address.parse().unwrap());
        HostProbeSpec {
            source,
            destination,
            interval_us: 3_300,
            multiplier: 3,
            flags: 0,
            generation: 9,
            clock_ns: 77,
            routers,
        }
    }

    #[test]
    fn a_probe_is_a_datagram_with_right_checksums() {
        for (addresses, header) in [(["192.0.2.1", "192.0.2.2"], 20), (["fe80::1", "fe80::2"], 40)] {
            for routers in [&[OWNER; 0][..], &[OWNER], &[OWNER; 300]] {
                let spec = spec(addresses, routers);
                let mut packet = vec![0xa5; 7];
                probe_packet(&spec, &mut packet).unwrap();
                if header == 20 {
                    let ip = Packet::new_checked(&packet).unwrap();
                    assert!(ip.has_valid_checksum());
                    assert_eq!((ip.header().ttl(), ip.payload().len()), (255, packet.len() - 20));
                }
                let datagram = Datagram::new_checked(&packet[header..]).unwrap();
                assert!(datagram.has_valid_checksum(spec.source, spec.destination));
                assert_eq!(datagram.header().destination_port(), 7784);
                let probe = Probe::new_checked(datagram.payload()).unwrap();
                assert_eq!(probe.block.clock_ns(), 77);
                assert_eq!(probe.routers().count(), routers.len().min(255));
                assert!(probe.routers().all(|router| router == OWNER));
            }
        }
    }

    #[test]
    fn addresses_of_both_families_are_no_probe() {
        assert!(probe_packet(&spec(["192.0.2.1", "fe80::2"], &[]), &mut Vec::new()).is_err());
    }
}
