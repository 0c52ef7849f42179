//! Who has an address on a link, asked for a moment: by `vipd init` and `vipd doctor`.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::IpAddr,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    time::Duration,
};

use nix::{
    errno::Errno,
    libc,
    sys::{
        socket::{MsgFlags, recv, setsockopt, sockopt::ReceiveTimeout},
        time::{TimeVal, TimeValLike},
    },
};
use vipd_common::wire::{
    arp,
    eth::{self, MacAddr},
    ipv6, ndp,
};

use crate::announce::{AnnouncedAddress, PacketSocket, Question};

/// ICMPv6 as the next header.
const ICMPV6: u8 = 58;

/// Who answers for each address on a link. One address may have several stations.
pub type Stations = BTreeMap<IpAddr, BTreeSet<MacAddr>>;

/// A link to ask on: its index, and this host's MAC there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AskedLink {
    pub index: u32,
    pub mac: MacAddr,
}

/// When there is nothing more to hear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// Each address has a station.
    Answered,
    /// The time is over: a second station may answer later.
    TimeIsOver,
}

/// The stations of the link that answer for these addresses. Whoever asks is nobody: no cache changes. What the eBPF program drops is not heard: of
/// VIPs that this node owns it drops all answers, and tells of them as conflicts.
///
/// # Errors
///
/// Without CAP_NET_RAW.
pub fn ask(
    link: AskedLink,
    addresses: &[IpAddr],
    (time, until): (Duration, Until),
    now_ms: fn() -> u64,
) -> io::Result<Stations> {
    let AskedLink { index, mac } = link;
    let ears = ears(index)?;
    let mouth = PacketSocket::open(index)?;
    for &address in addresses {
        mouth.send(Question::about(&AnnouncedAddress { ifindex: index, mac, address }).as_ref())?;
    }
    let mut stations = Stations::new();
    let mut buffer = [0; 2048];
    let end = now_ms() + u64::try_from(time.as_millis()).unwrap_or(0);
    while until == Until::TimeIsOver || stations.len() < addresses.len() {
        let left = end.saturating_sub(now_ms());
        if left == 0 {
            break;
        }
        setsockopt(&ears, ReceiveTimeout, &TimeVal::milliseconds(i64::try_from(left).unwrap_or(1)))?;
        match recv(ears.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
            Ok(length) => {
                let answer = answer(buffer.get(..length).unwrap_or_default());
                if let Some((address, of)) = answer
                    && addresses.contains(&address)
                    && of != mac
                {
                    stations.entry(address).or_default().insert(of);
                }
            }
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(stations)
}

/// A packet socket that hears every frame of the interface.
fn ears(ifindex: u32) -> io::Result<OwnedFd> {
    let invalid = |_| io::Error::from(io::ErrorKind::InvalidInput);
    let protocol = u16::try_from(libc::ETH_P_ALL).map_err(invalid)?.to_be();
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
    // SAFETY: no pointers. Protocol 0: it hears nothing before it is bound.
    let fd = unsafe { libc::socket(libc::AF_PACKET, kind, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a new descriptor that nobody else has.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    let address = libc::sockaddr_ll {
        sll_family: u16::try_from(libc::AF_PACKET).map_err(invalid)?,
        sll_protocol: protocol,
        sll_ifindex: i32::try_from(ifindex).map_err(invalid)?,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    // SAFETY: a `sockaddr_ll` of that length, which outlives the call.
    let bound = unsafe {
        let length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
        libc::bind(fd, (&raw const address).cast(), length)
    };
    if bound < 0 { Err(io::Error::last_os_error()) } else { Ok(socket) }
}

/// The address that a frame claims, and its station: an ARP reply, or a Neighbor Advertisement.
fn answer(frame: &[u8]) -> Option<(IpAddr, MacAddr)> {
    let (header, payload) = eth::Repr::parse(frame).ok()?;
    if let Ok(packet) = arp::Packet::new_checked(payload)
        && packet.operation() == Some(arp::Operation::Reply)
    {
        return Some((packet.sender_ip().into(), packet.sender_mac()));
    }
    let is_icmp = payload.first().is_some_and(|first| first >> 4 == 6) && payload.get(6) == Some(&ICMPV6);
    let message = payload.get(ipv6::HEADER..).filter(|_| is_icmp)?;
    let message = ndp::Message::new_checked(message).ok()?;
    let claims = message.kind() == ndp::Kind::Advertisement;
    claims.then(|| (message.header().target().into(), message.link_address().unwrap_or(header.source)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_answers_are_heard() {
        // RFC 826: a reply of 02:00:00:00:00:06, which has 10.0.0.3; then the request for it.
        let reply = [
            2, 0, 0, 0, 0, 5, 2, 0, 0, 0, 0, 6, 8, 6, 0, 1, 8, 0, 6, 4, 0, 2, 2, 0, 0, 0, 0, 6, 10, 0, 0, 3,
            2, 0, 0, 0, 0, 5, 0, 0, 0, 0,
        ];
        let has = (IpAddr::from([10, 0, 0, 3]), MacAddr([2, 0, 0, 0, 0, 6]));
        assert_eq!(answer(&reply), Some(has));
        let mut request = reply;
        request[21] = 1;
        assert_eq!(answer(&request), None);
        assert_eq!(answer(&reply[..30]), None);
        // RFC 4861 4.4, with a target link-layer address.
        let mut advertisement = vec![0x33, 0x33, 0, 0, 0, 1, 2, 0, 0, 0, 0, 6, 0x86, 0xdd];
        advertisement.extend([0x60, 0, 0, 0, 0, 32, 58, 255]);
        advertisement.extend([0; 32]);
        advertisement.extend([136, 0, 0, 0, 0x20, 0, 0, 0]);
        advertisement.extend([0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3]);
        advertisement.extend([2, 1, 2, 0, 0, 0, 0, 6]);
        assert_eq!(answer(&advertisement), Some(("fe80::3".parse().unwrap(), MacAddr([2, 0, 0, 0, 0, 6]))));
        advertisement[54] = 135;
        assert_eq!(answer(&advertisement), None);
    }
}
