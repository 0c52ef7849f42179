//! UDP_CHECK: a datagram, and an answer or no ICMP error.

use std::io;

use tokio::time::timeout;
use vipd_balance::ProbePeer;

use super::Words;
use crate::{
    fault::{ProbeFault, seconds},
    net::{self, within},
};

pub(super) async fn check(
    peer: &ProbePeer,
    payload: &[u8],
    reply: Option<&[(u8, u8)]>,
    (least, most): (u16, u16),
) -> Result<Words, ProbeFault> {
    // The only wait. A silence as long as the shorter of both limits is success, and must not end as a run that took too long.
    let limit = peer.total_timeout.map_or(peer.connect_timeout, |total| total.min(peer.connect_timeout));
    let socket = net::datagram(peer)?;
    let random: [u8; RANDOM_OCTETS] = std::array::from_fn(|_| fastrand::u8(..));
    let payload = if payload.is_empty() { &random[..] } else { payload };
    within(limit, socket.send(payload)).await?;
    // An octet more than is allowed: a longer answer is seen to be longer.
    let mut answer = vec![0; usize::from(most) + 1];
    let received: io::Result<usize> = match timeout(limit, socket.recv(&mut answer)).await {
        Ok(received) => received,
        Err(_) if reply.is_none() => return Ok("no ICMP error".into()),
        Err(_) => {
            return Err(ProbeFault::failed(format!("no answer within {}", seconds(limit))));
        }
    };
    let length = received.map_err(|error| ProbeFault::of_io(&error))?;
    let Some(pattern) = reply else { return Ok(format!("{length} octets came").into()) };
    if length > usize::from(most) {
        return Err(ProbeFault::failed(format!("the answer is longer than {most} octets")));
    }
    if length < usize::from(least) {
        return Err(ProbeFault::failed(format!("the answer has {length} octets, expected {least} at least")));
    }
    // Up to the shorter of both, as keepalived.
    let differs =
        answer[..length].iter().zip(pattern).position(|(got, (octet, mask))| got & mask != octet & mask);
    match differs {
        Some(at) => Err(ProbeFault::failed(format!(
            "octet {at} of the answer is {:#04x}, expected {:#04x}",
            answer[at], pattern[at].0
        ))),
        None => Ok(format!("{length} octets came").into()),
    }
}

/// Octets of a payload that the configuration does not give.
const RANDOM_OCTETS: usize = 32;
