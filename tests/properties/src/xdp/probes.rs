//! The peer whose probes the program knows, and what may become of one: written from RFC 7880, RFC 7881 and docs/internals/early-takeover.md.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{
    bfd::Datagram,
    routers::{MAC, ROUTERS, Router},
};
use crate::internet_sum;

/// This node's discriminator.
pub const DISCRIMINATOR: u32 = 0x0a0b_0c0d;
/// The MAC of the links where the peer is.
pub const LINK_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x77];
/// Where it is: an interface, and a heartbeat link.
pub const VLANS: [u32; 2] = [0, 30];
/// This node's address and the peer's.
pub const PAIRS: [(IpAddr, IpAddr); 2] = [
    (IpAddr::V4(Ipv4Addr::new(192, 0, 2, 10)), IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2))),
    (
        IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0x10)),
        IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0x20)),
    ),
];
pub const PORT: u16 = 7784;
pub const ANSWERED_TO: u16 = 49_784;
/// UDP header, control packet, block.
const BEFORE_LIST: usize = 8 + 24 + 20;

/// What may become of a datagram.
#[derive(Debug)]
pub enum Judgement {
    Dropped,
    /// The answer's datagram, and whose leases the probe takes.
    Answered(Vec<u8>, Vec<u32>),
}

/// What becomes of a datagram of the peer's on one of its links; `None` if it is another's. Of the frame there are `octets`, padding too.
pub fn judge(datagram: &Datagram<'_>, vlan: u32) -> Option<Judgement> {
    let octets = datagram.octets;
    let word = |at: usize| Some(u32::from_be_bytes(octets.get(at..at + 4)?.try_into().ok()?));
    let half = |at: usize| Some(u16::from_be_bytes(octets.get(at..at + 2)?.try_into().ok()?));
    octets.get(..8)?;
    let (from, to, size) = (half(0)?, half(2)?, usize::from(half(4)?));
    let is_answer = from == PORT && to == ANSWERED_TO;
    let is_known = PAIRS.contains(&(datagram.destination, datagram.source)) && VLANS.contains(&vlan);
    if !(to == PORT || is_answer) || !is_known {
        return None;
    }
    let block = octets.get(32..BEFORE_LIST)?;
    if !block.starts_with(b"vipd") {
        return None;
    }
    let routers = usize::from(block[6]);
    let (first, flags, multiplier, length) = (octets[8] >> 5, octets[9], octets[10], octets[11]);
    let is_sound = datagram.hop_limit == 255
        && datagram.intact
        && size == datagram.length
        && size == BEFORE_LIST + routers * 4
        && size <= octets.len()
        && (datagram.destination.is_ipv4() || half(6)? != 0)
        && (block[4], block[7]) == (1, 0)
        // Its version and length; no authentication, which takes more, and no multipoint.
        && (first, length, flags & 1) == (1, 24, 0)
        && flags & 4 == 0
        && multiplier != 0
        && word(12)? != 0
        && word(16)? == DISCRIMINATOR
        && (flags & 2 != 0) != is_answer;
    if !is_sound || is_answer {
        return Some(Judgement::Dropped);
    }
    // Nothing is known of the peer's list: an empty one that is the first of all is no news.
    let whole = &octets[..size];
    let is_news = routers != 0 || word(40)? != 0;
    if is_news && (half(6)? == 0 || sum(datagram, whole) != 0xffff) {
        return Some(Judgement::Dropped);
    }
    let mut taken = Vec::new();
    if block[5] & 3 == 1 {
        let detect_ns = u64::from(word(20)?).min(1_000_000) * 1_000 * u64::from(multiplier);
        // Its silence is shorter than the margin: no beat is young enough.
        let is_silent = detect_ns <= 300_000 + detect_ns / 2048;
        for listed in whole[BEFORE_LIST..].chunks_exact(4) {
            taken.extend(taken_by(listed, datagram, vlan, is_silent));
        }
    }
    Some(Judgement::Answered(answer(whole), taken))
}

/// With the pseudo-header of RFC 768, which sums as that of RFC 8200 8.1 does.
fn sum(datagram: &Datagram<'_>, whole: &[u8]) -> u16 {
    let octets = |address| match address {
        IpAddr::V4(address) => Ipv4Addr::octets(&address).to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    let length = (whole.len() as u16).to_be_bytes();
    let pseudo =
        [octets(datagram.source), octets(datagram.destination), vec![0, 17], length.to_vec()].concat();
    internet_sum(&[&pseudo, whole])
}

/// The router of ours that an entry of the list takes.
fn taken_by(listed: &[u8], datagram: &Datagram<'_>, vlan: u32, is_silent: bool) -> Option<u32> {
    const TABLE: &[Router] = &ROUTERS;
    let source = datagram.source;
    let [family, vrid, rank, flags] = *listed else { return None };
    let is = |router: &Router| {
        (router.vlan == vlan || router.heartbeat == Some(vlan))
            && router.is_v6() == source.is_ipv6()
            && family == if source.is_ipv6() { 6 } else { 4 }
            && router.vrid == vrid
    };
    let (slot, router) = (0..).zip(TABLE).find(|(_, router)| is(router))?;
    let is_deaf = router.version == 2 && router.priority == 255;
    let beats = rank > router.priority || rank == router.priority && source > router.primary;
    let takes = flags & 6 != 0
        && rank != 0
        && source != router.primary
        && datagram.destination == router.primary
        && router.peer.is_none_or(|peer| peer == source)
        && (beats && !is_deaf || router.stale || is_silent);
    (router.owned && takes).then_some(slot)
}

/// Ports and discriminators exchanged, Up, D cleared, F for P.
fn answer(probe: &[u8]) -> Vec<u8> {
    let mut answer = probe.to_vec();
    answer[..4].copy_from_slice(&[&probe[2..4], &probe[..2]].concat());
    answer[12..20].copy_from_slice(&[&probe[16..20], &probe[12..16]].concat());
    let finals = if probe[9] & 0x20 != 0 { 0x10 } else { 0 };
    answer[9] = 0xc0 | probe[9] & 0x0d | finals;
    if probe[6..8] != [0, 0] {
        // RFC 1624: what was wrong stays wrong.
        let complement = [!probe[6], !probe[7], !probe[8], !probe[9], answer[8], answer[9]];
        let sum = match !internet_sum(&[&complement]) {
            0 => 0xffff,
            sum => sum,
        };
        answer[6..8].copy_from_slice(&sum.to_be_bytes());
    }
    answer
}

/// The source of the answer to a frame that was sent to `destination`, or readdressed.
pub fn answering_mac(destination: [u8; 6], is_readdressed: bool) -> [u8; 6] {
    match destination {
        _ if is_readdressed => MAC,
        [first, ..] if first & 1 != 0 => LINK_MAC,
        _ => destination,
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Program, mutate};

    /// As the fuzzer does, but for its own changes of octets; most are probes.
    #[test]
    fn probes_are_judged_as_the_rules_have_it() {
        let Some(()) = vipd_tests::require_lab() else { return };
        let mut program = Program::load().expect("the program loads");
        for seed in 0..20_000 {
            let mut random = mutate::Random::new(seed);
            let frame = mutate::probe(&mut random);
            program.check(&frame);
            let mut harmed = vec![0; frame.len() + 64];
            harmed[..frame.len()].copy_from_slice(&frame);
            let harm = |octets: &mut [u8], size: usize, _| {
                let at = (seed as usize * 31) % size.max(1);
                octets[at] ^= 1 << (seed % 8);
                size
            };
            let capacity = harmed.len();
            let size = mutate::mutate(&mut harmed, frame.len(), capacity, seed as u32, harm);
            program.check(&harmed[..size]);
        }
        let counters = program.dataplane.pages().counters().expect("counters can be read");
        let revoked = |slot| {
            let of = program.dataplane.pages().instance_counters(slot).expect("counters can be read");
            of.leases_revoked
        };
        let revoked: u64 = (0..super::ROUTERS.len() as u32).map(revoked).sum();
        let found = (counters.probes_reflected, counters.probe_malformed, counters.probe_answers, revoked);
        println!("reflected, malformed, answers, revoked: {found:?}");
        assert!(found.0 > 10_000 && found.1 > 1_000 && found.2 > 1_000 && found.3 > 1_000, "{found:?}");
    }
}
