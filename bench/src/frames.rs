//! Frames of an attacker, as octets: built without vipd's code, and able to be wrong.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use vipd_tests::{Mac, probe::decode::pseudo_checksum};

const VRRP: u8 = 112;
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;
const ADVERTS: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 18);
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// A version 3 advert over IPv4.
#[derive(Clone, Copy, Debug)]
pub struct Advert {
    pub source: Ipv4Addr,
    pub vrid: u8,
    pub priority: u8,
    pub interval_cs: u8,
    pub vip: Ipv4Addr,
    pub wrong: Option<Wrong>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    Checksum,
    /// 4.
    Version,
    /// 64.
    Ttl,
    /// No address, and none announced.
    Count,
    /// Ends inside its header.
    Truncated,
}

impl Advert {
    pub fn frame(self, from: Mac) -> Vec<u8> {
        let is = |wrong| self.wrong == Some(wrong);
        let kind = if is(Wrong::Version) { 0x41 } else { 0x31 };
        let count = u8::from(!is(Wrong::Count));
        let mut message = vec![kind, self.vrid, self.priority, count, 0, self.interval_cs, 0, 0];
        if count > 0 {
            message.extend(self.vip.octets());
        }
        let mut sum = pseudo_checksum(self.source.into(), ADVERTS.into(), VRRP, &message);
        if is(Wrong::Checksum) {
            // No flip of a single octet makes a right checksum of either form.
            sum ^= 0x5a00;
        }
        message[6..8].copy_from_slice(&sum.to_be_bytes());
        if is(Wrong::Truncated) {
            message.truncate(6);
        }

        let ttl = if is(Wrong::Ttl) { 64 } else { 255 };
        let mut frame = ethernet([0x01, 0x00, 0x5e, 0x00, 0x00, 0x12], from, 0x0800);
        frame.extend([0x45, 0xc0, 0, 20 + message.len() as u8, 0, 1, 0, 0, ttl, VRRP, 0, 0]);
        frame.extend(self.source.octets());
        frame.extend(ADVERTS.octets());
        let sum = checksum(&frame[14..34]);
        frame[24..26].copy_from_slice(&sum.to_be_bytes());
        frame.extend(message);
        frame
    }
}

/// The claim, to everyone, that `address` is at `from`: both forms of gratuitous ARP.
pub fn gratuitous_arps(from: Mac, address: Ipv4Addr) -> Vec<Vec<u8>> {
    [1, 2]
        .map(|operation| {
            let mut frame = ethernet([0xff; 6], from, 0x0806);
            frame.extend([0, 1, 0x08, 0x00, 6, 4, 0, operation]);
            frame.extend(from.0);
            frame.extend(address.octets());
            frame.extend([0xff; 6]);
            frame.extend(address.octets());
            frame
        })
        .into()
}

/// The same over IPv6: an unsolicited neighbour advertisement that overrides.
pub fn neighbour_advert(from: Mac, source: Ipv6Addr, address: Ipv6Addr) -> Vec<u8> {
    let mut message = vec![136, 0, 0, 0, 0x20, 0, 0, 0];
    message.extend(address.octets());
    message.extend([2, 1]);
    message.extend(from.0);
    let sum = pseudo_checksum(IpAddr::V6(source), ALL_NODES.into(), ICMPV6, &message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());

    let mut frame = ethernet([0x33, 0x33, 0, 0, 0, 1], from, 0x86dd);
    frame.extend([0x60, 0, 0, 0, 0, message.len() as u8, ICMPV6, 255]);
    frame.extend(source.octets());
    frame.extend(ALL_NODES.octets());
    frame.extend(message);
    frame
}

/// An echo request over IPv4, to the station.
pub fn echo_request(from: Mac, source: Ipv4Addr, station: Mac, target: Ipv4Addr) -> Vec<u8> {
    let mut message = vec![8, 0, 0, 0, 0x76, 0x69, 0, 1];
    let sum = checksum(&message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());

    let mut frame = ethernet(station.0, from, 0x0800);
    frame.extend([0x45, 0, 0, 20 + message.len() as u8, 0, 1, 0, 0, 64, ICMP, 0, 0]);
    frame.extend(source.octets());
    frame.extend(target.octets());
    let sum = checksum(&frame[14..34]);
    frame[24..26].copy_from_slice(&sum.to_be_bytes());
    frame.extend(message);
    frame
}

/// The address that an echo reply of the station is from, if the frame is one.
pub fn echo_reply(frame: &[u8], station: Mac) -> Option<Ipv4Addr> {
    let header = frame.get(..35)?;
    let is_reply =
        header[6..12] == station.0 && header[12..15] == [8, 0, 0x45] && header[23] == ICMP && header[34] == 0;
    is_reply.then(|| Ipv4Addr::new(header[26], header[27], header[28], header[29]))
}

fn ethernet(to: [u8; 6], from: Mac, ethertype: u16) -> Vec<u8> {
    [&to[..], &from.0, &ethertype.to_be_bytes()].concat()
}

/// Of an IPv4 header or an ICMP message whose checksum is zero.
pub fn checksum(header: &[u8]) -> u16 {
    let sum: u32 = header.chunks(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]]))).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !((folded + (folded >> 16)) as u16)
}

#[cfg(test)]
mod tests {
    use vipd_tests::probe::capture::{ChecksumForm, Frame, parse};

    use super::*;

    fn advert(wrong: Option<Wrong>) -> Vec<u8> {
        let (source, vip) = (Ipv4Addr::new(10, 0, 0, 9), Ipv4Addr::new(10, 0, 0, 3));
        Advert { source, vrid: 1, priority: 50, interval_cs: 10, vip, wrong }.frame(Mac([2; 6]))
    }

    #[test]
    fn an_advert_is_wrong_only_where_it_should_be() {
        let parsed = |wrong| match parse(&advert(wrong)) {
            Some(Frame::Advert(advert)) => advert,
            other => panic!("{wrong:?}: {other:?}"),
        };
        let right = parsed(None);
        assert_eq!((right.version, right.ttl, right.count, right.addresses.len()), (3, 255, 1, 1));
        assert_eq!(right.checksum, ChecksumForm::PseudoHeader);
        assert_eq!(parsed(Some(Wrong::Checksum)).checksum, ChecksumForm::Invalid);
        for (wrong, version, ttl, count) in
            [(Wrong::Version, 4, 255, 1), (Wrong::Ttl, 3, 64, 1), (Wrong::Count, 3, 255, 0)]
        {
            let advert = parsed(Some(wrong));
            assert_eq!((advert.version, advert.ttl, advert.count), (version, ttl, count));
            assert_eq!(advert.checksum, ChecksumForm::PseudoHeader);
        }
        assert_eq!(advert(Some(Wrong::Truncated)).len(), 14 + 20 + 6);
        assert_eq!(checksum(&advert(None)[14..34]), 0);
    }

    #[test]
    fn an_echo_request_is_sound_and_only_its_reply_is_a_reply() {
        let (me, station) = (Mac([2, 0, 0, 0, 0, 1]), Mac([2, 0, 0, 0, 0, 2]));
        let (source, target) = (Ipv4Addr::new(10, 0, 0, 100), Ipv4Addr::new(10, 1, 0, 1));
        let request = echo_request(me, source, station, target);
        assert_eq!((checksum(&request[14..34]), checksum(&request[34..])), (0, 0));
        assert_eq!(echo_reply(&request, me), None, "a request");
        let mut reply = echo_request(station, target, me, source);
        reply[34] = 0;
        assert_eq!(echo_reply(&reply, station), Some(target));
        assert_eq!(echo_reply(&reply, me), None, "of another station");
        assert_eq!(echo_reply(&reply[..30], station), None);
    }
}
