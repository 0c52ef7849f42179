//! PING_CHECK: one ICMP echo.

use std::time::Duration;

use tokio::{net::UdpSocket, time::timeout};
use vipd_balance::ProbePeer;

use super::Words;
use crate::{
    fault::{ProbeFault, seconds},
    net,
};

pub(super) async fn check(peer: &ProbePeer) -> Result<Words, ProbeFault> {
    let (socket, raw) = net::icmp(peer)?;
    let v4 = peer.to.is_ipv4();
    let request = echo_request(v4, fastrand::u16(..), &std::array::from_fn(|_| fastrand::u8(..)));
    socket.send(&request).await.map_err(|error| ProbeFault::of_io(&error))?;
    let waited = timeout(peer.connect_timeout, reply(&socket, &request, v4, raw)).await;
    waited.unwrap_or_else(|_| Err(no_reply(peer.connect_timeout)))?;
    Ok("echo reply".into())
}

fn no_reply(limit: Duration) -> ProbeFault {
    ProbeFault::failed(format!("no echo reply within {}", seconds(limit)))
}

/// Waits for the reply to `request`. A raw socket also gets others' messages, and the header of IPv4.
async fn reply(socket: &UdpSocket, request: &[u8], v4: bool, raw: bool) -> Result<(), ProbeFault> {
    let mut buffer = [0; 2048];
    loop {
        let length = socket.recv(&mut buffer).await.map_err(|error| ProbeFault::of_io(&error))?;
        let mut message = &buffer[..length];
        if v4 && raw {
            let header = usize::from(message.first().copied().unwrap_or(0) & 0x0f) * 4;
            message = message.get(header..).unwrap_or_default();
        }
        if answers(message, request, v4) {
            return Ok(());
        }
    }
}

/// Whether a message is the reply: its type, the sequence number and the random data. The identifier of a ping socket is its own.
fn answers(message: &[u8], request: &[u8], v4: bool) -> bool {
    let kind = if v4 { 0 } else { 129 };
    message.first() == Some(&kind) && message.get(1) == Some(&0) && message.get(6..) == request.get(6..)
}

/// RFC 792, RFC 4443 4.1. The kernel computes the checksum of ICMPv6.
fn echo_request(v4: bool, sequence: u16, data: &[u8; DATA_OCTETS]) -> Vec<u8> {
    let mut message = vec![if v4 { 8 } else { 128 }, 0, 0, 0];
    message.extend(fastrand::u16(..).to_be_bytes());
    message.extend(sequence.to_be_bytes());
    message.extend(data);
    if v4 {
        let sum = checksum(&message);
        message[2..4].copy_from_slice(&sum.to_be_bytes());
    }
    message
}

/// RFC 1071.
fn checksum(octets: &[u8]) -> u16 {
    let words = octets
        .chunks(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)])));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    !u16::try_from(sum).expect("the carries are folded in")
}

/// As keepalived sends.
const DATA_OCTETS: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_of_a_whole_message_is_zero() {
        // RFC 1071 3: the sum of these words is ddf2.
        assert_eq!(checksum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), !0xddf2);
        let message = echo_request(true, 7, &[0xa5; DATA_OCTETS]);
        assert_eq!(checksum(&message), 0);
    }

    #[test]
    fn only_the_reply_to_this_request_counts() {
        let request = echo_request(true, 7, &[0xa5; DATA_OCTETS]);
        let reply = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut message = request.clone();
            message[0] = 0;
            change(&mut message);
            answers(&message, &request, true)
        };
        assert!(reply(&|_| {}));
        assert!(reply(&|message| message[4] ^= 1), "another identifier");
        for (what, change) in [
            ("a request", &(|message: &mut Vec<u8>| message[0] = 8) as &dyn Fn(&mut Vec<u8>)),
            ("unreachable", &|message| message[0] = 3),
            ("another sequence number", &|message| message[7] ^= 1),
            ("other data", &|message| message[20] ^= 1),
            ("shortened", &|message| message.truncate(20)),
            ("nothing", &|message| message.clear()),
        ] {
            assert!(!reply(change), "{what}");
        }
    }
}
