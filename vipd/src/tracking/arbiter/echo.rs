//! ICMP and ICMPv6 echo (RFC 792, RFC 4443 4.1 and 4.2), each request over a raw socket of its own. It uses the host's routes, and
//! its queue has no older replies.

use std::{
    hash::{BuildHasher, RandomState},
    io,
    net::{IpAddr, SocketAddr, UdpSocket as StdUdpSocket},
};

use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};
use tokio::net::UdpSocket;
use vipd_common::wire::checksum::Checksum;

use super::NoAnswer;

/// Waits for the answer to one echo request.
pub async fn ask(to: SocketAddr) -> Result<(), NoAnswer> {
    let socket = open(to.ip())?;
    // Now it hears of that station only.
    socket.connect(to).await?;
    if socket.local_addr()?.ip() == to.ip() {
        return Err(NoAnswer::Own);
    }
    let question = Echo::random();
    socket.send(&question.request(to.is_ipv4())).await?;
    // More than the longest header and an answer.
    let mut packet = [0; 256];
    loop {
        let (length, from) = socket.recv_from(&mut packet).await?;
        if from.ip() == to.ip() && question.is_answered_by(&packet[..length], to.is_ipv4()) {
            return Ok(());
        }
    }
}

/// tokio has no raw socket. A `UdpSocket` is a descriptor to send to and receive from, of whatever protocol.
fn open(to: IpAddr) -> io::Result<UdpSocket> {
    UdpSocket::from_std(raw_socket(to.is_ipv4())?)
}

/// A raw socket of ICMP or ICMPv6 that does not wait, as a descriptor to send to and receive from.
///
/// # Errors
///
/// Without CAP_NET_RAW, or without a descriptor.
pub fn raw_socket(v4: bool) -> io::Result<StdUdpSocket> {
    let (domain, protocol) = match v4 {
        true => (AddressFamily::Inet, SockProtocol::Icmp),
        false => (AddressFamily::Inet6, SockProtocol::IcmpV6),
    };
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    Ok(StdUdpSocket::from(socket(domain, SockType::Raw, flags, protocol)?))
}

/// Contents that an answer must repeat. The data is random, so that replies to other programs are not mistaken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Echo {
    identifier: u16,
    sequence: u16,
    data: [u8; 16],
}

impl Echo {
    /// Contents that nobody can guess.
    pub fn random() -> Self {
        // Each `RandomState` has keys of its own.
        let [head, upper, lower] = [0, 1, 2].map(|n| RandomState::new().hash_one(n));
        let mut data = [0; 16];
        data[..8].copy_from_slice(&upper.to_ne_bytes());
        data[8..].copy_from_slice(&lower.to_ne_bytes());
        let [a, b, c, d, ..] = head.to_ne_bytes();
        Self { identifier: u16::from_ne_bytes([a, b]), sequence: u16::from_ne_bytes([c, d]), data }
    }

    /// The request, for a raw socket.
    pub fn request(&self, v4: bool) -> [u8; MESSAGE] {
        let mut message = self.message(if v4 { ECHO_REQUEST } else { ECHO_REQUEST_V6 });
        if v4 {
            // Of ICMPv6 the kernel fills it in, which knows the source.
            let sum = Checksum::default().over(&message).finish();
            message[2..4].copy_from_slice(&sum);
        }
        message
    }

    /// With a checksum of 0.
    fn message(&self, kind: u8) -> [u8; MESSAGE] {
        let mut message = [0; MESSAGE];
        message[0] = kind;
        message[4..6].copy_from_slice(&self.identifier.to_be_bytes());
        message[6..8].copy_from_slice(&self.sequence.to_be_bytes());
        message[HEADER..].copy_from_slice(&self.data);
        message
    }

    /// An IPv4 raw socket delivers the IP header too, with an unchecked ICMP checksum; an ICMPv6 one does neither.
    pub fn is_answered_by(&self, packet: &[u8], v4: bool) -> bool {
        let message = if v4 {
            let Some(first) = packet.first() else { return false };
            let Some(message) = packet.get(usize::from(first & 0x0f) * 4..) else { return false };
            if Checksum::default().over(message).finish() != [0, 0] {
                return false;
            }
            message
        } else {
            packet
        };
        let expected = self.message(if v4 { ECHO_REPLY } else { ECHO_REPLY_V6 });
        message.len() == MESSAGE && message[..2] == expected[..2] && message[4..] == expected[4..]
    }
}

/// Type, code, checksum, identifier, sequence number.
const HEADER: usize = 8;
const MESSAGE: usize = HEADER + 16;
const ECHO_REPLY: u8 = 0;
const ECHO_REQUEST: u8 = 8;
const ECHO_REQUEST_V6: u8 = 128;
const ECHO_REPLY_V6: u8 = 129;

#[cfg(test)]
mod tests {
    use super::*;

    const ECHO: Echo = Echo {
        identifier: 0x1234,
        sequence: 7,
        data: [
            0xa0, 0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7, 0xa8, 0xa9, 0xaa, 0xab, 0xac, 0xad, 0xae, 0xaf,
        ],
    };

    fn octets(hex: &str) -> Vec<u8> {
        let digits: Vec<_> = hex.chars().filter(|c| !c.is_whitespace()).collect();
        let octet = |pair: &[char]| u8::from_str_radix(&pair.iter().collect::<String>(), 16).unwrap();
        digits.chunks(2).map(octet).collect()
    }

    /// The sums were computed elsewhere.
    #[test]
    fn requests_are_those_of_the_rfcs() {
        let v4 = octets("0800a87f 12340007 a0a1a2a3a4a5a6a7a8a9aaabacadaeaf");
        assert_eq!(ECHO.request(true), v4.as_slice());
        let v6 = octets("80000000 12340007 a0a1a2a3a4a5a6a7a8a9aaabacadaeaf");
        assert_eq!(ECHO.request(false), v6.as_slice());
        assert_ne!(Echo::random(), Echo::random());
    }

    #[test]
    fn only_the_answer_is_one() {
        let header = "45000030 00010000 40010000 0a000001 0a000005";
        let options = "48000030 00010000 40010000 0a000001 0a000005 01010101 01010101 01010100";
        let answer = "0000b07f 12340007 a0a1a2a3a4a5a6a7a8a9aaabacadaeaf";
        let good =
            |header: &str, message: &str| ECHO.is_answered_by(&octets(&format!("{header}{message}")), true);
        assert!(good(header, answer) && good(options, answer));
        // Each octet counts, that of the checksum too.
        for at in 0..MESSAGE {
            let mut packet = octets(&format!("{header}{answer}"));
            packet[20 + at] ^= 1;
            assert!(!ECHO.is_answered_by(&packet, true), "{at}");
        }
        for (what, packet) in [
            ("nothing", String::new()),
            ("half a header", header[..20].to_owned()),
            ("no message", header.to_owned()),
            ("half a message", format!("{header}{}", &answer[..20])),
            ("more than the message", format!("{header}{answer}0000")),
            ("our own question", format!("{header}0800a87f 12340007 a0a1a2a3a4a5a6a7a8a9aaabacadaeaf")),
        ] {
            assert!(!ECHO.is_answered_by(&octets(&packet), true), "{what}");
        }
        let v6 = "8100beef 12340007 a0a1a2a3a4a5a6a7a8a9aaabacadaeaf";
        assert!(ECHO.is_answered_by(&octets(v6), false));
        for wrong in [v6.replace("8100", "8000"), v6.replace("1234", "1235"), v6.replace("af", "ae")] {
            assert!(!ECHO.is_answered_by(&octets(&wrong), false), "{wrong}");
        }
    }
}
