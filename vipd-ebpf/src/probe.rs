//! Probes (Seamless BFD, RFC 7881): those of known hosts are stamped and sent back, the answers to ours are stamped and dropped.
//!
//! An answer says that this host, its kernel and its link are alive, whatever the daemon does. Nobody but a known host gets one: the daemon
//! writes the pairs of addresses. Packets of other users of the port pass untouched, as does everything where nothing is probed.
//!
//! The checksum of UDP is verified when a probe's list of routers is another one than before: nobody's lease is taken by what is not as it was sent.
//! The stamps are what they are worth without it, which is what Ethernet's own checksum has let pass, and an answer keeps a wrong checksum wrong.

use core::ptr;

use aya_ebpf::helpers::bpf_csum_diff;
use vipd_common::{
    abi::{CapturedReason, Count, PROBE_BURST, PROBE_MAX_NS, PROBE_MIN_NS, ProbeEntry, ProbeKey, ProbedPeer},
    wire::{
        bfd::{self, Control, HOP_LIMIT, MANDATORY, PORT_SEAMLESS},
        checksum,
        eth::{self, MacAddr},
        ipv4, ipv6,
        probe::{BLOCK, Block, MAX_ROUTERS, PORT_SOURCE, ROUTER, VERSION},
        udp::{self, PROTOCOL_UDP},
    },
};

use crate::{
    address::Address,
    count::count,
    early, events,
    frame::{self, Link, view, view_mut},
    global,
    hook::{Context, Raw},
    ipv4::checksum_ok,
    maps::{PROBE_INDEX, PROBE_PEERS},
    verdict::{Ruling, Verdict},
};

/// What IP and UDP say of a probe or an answer.
struct Datagram {
    key: ProbeKey,
    hop_limit: u8,
    /// Whether the lengths agree, and IPv4's checksum is right.
    intact: bool,
    /// Offset of the UDP header in the frame.
    udp: usize,
    is_answer: bool,
}

/// Whether a datagram whose header is at `offset` is on the ports of probes.
#[inline(always)]
pub fn is_on_port(ctx: &Context, offset: usize) -> bool {
    view::<udp::Header>(ctx, offset).is_some_and(|header| {
        header.destination_port() == PORT_SEAMLESS
            || header.source_port() == PORT_SEAMLESS && header.destination_port() == PORT_SOURCE
    })
}

/// What has become of a datagram.
enum Reception {
    Ruled(Ruling),
    /// A probe that is to be answered. Its stamps and its list are in the peer's slot.
    Probe {
        slot: u32,
    },
}

/// In a number instead of a ruling: this and a slot.
const TO_ANSWER: u32 = 1 << 31;

/// The verdict on such a datagram; `None` if it is none of ours.
///
/// Three global functions, one after the other: they would not find room on the stack inside each other.
#[inline(always)]
pub fn handle(ctx: &Context) -> Option<Ruling> {
    let mut number = hear_probe(ctx.raw());
    if number & TO_ANSWER != 0 {
        let slot = number & !TO_ANSWER;
        early::hear_routers(ctx.raw(), slot);
        number = answer_probe(ctx.raw(), slot);
    }
    let ruling = Ruling::from_number(number);
    ruling.verdict.is_some().then_some(ruling)
}

#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn hear_probe(ctx: *mut Raw) -> u32 {
    let ctx = &Context::new(ctx);
    match Link::parse(ctx).and_then(|link| decide(ctx, &link)) {
        Some(Reception::Probe { slot }) => TO_ANSWER | slot,
        Some(Reception::Ruled(ruling)) => ruling.number(),
        None => Ruling::NONE.number(),
    }
}

/// Answers a probe whose claims are heard. It is answered after that, and only then: the sender takes the answer for a sign that its claims are
/// known, and that this node counts on it.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn answer_probe(ctx: *mut Raw, slot: u32) -> u32 {
    global::enter(ctx, |ctx, link| {
        let peer = PROBE_PEERS.get_ptr_mut(slot)?;
        early::vouch(peer);
        reflect(ctx, link, peer)
    })
}

#[inline(always)]
fn decide(ctx: &Context, link: &Link) -> Option<Reception> {
    ctx.linearize();
    let mut datagram = match link.ethertype {
        eth::ETHERTYPE_IPV6 => over_ipv6(ctx, link)?,
        _ => over_ipv4(ctx, link)?,
    };
    let known = find(&datagram.key);
    if known.is_none() && datagram.is_answer {
        return None;
    }
    let stranger = datagram.key.peer;
    let (entry, peer) = match known {
        Some(found) => found,
        None => {
            datagram.key.peer = Address::UNSPECIFIED;
            find(&datagram.key)?
        }
    };
    let at = datagram.udp + udp::HEADER;
    // Another user of the port is no business of ours.
    let block = view::<Block>(ctx, at + MANDATORY)?;
    if !block.is_ours() {
        return None;
    }
    // RFC 5881 5.
    if datagram.hop_limit != HOP_LIMIT {
        return Some(drop(Count::ProbeTtlErrors));
    }
    let (routers, generation) = (block.routers(), block.generation());
    let length = usize::from(view::<udp::Header>(ctx, datagram.udp)?.length());
    let fits =
        length == udp::HEADER + block.payload_length() && datagram.udp + length <= ctx.length() as usize;
    // No version sends a tag yet, and what this one cannot check it does not believe.
    let is_plain = block.version() == VERSION && block.tag_length() == 0;
    if !datagram.intact || !fits || !is_plain || !is_well_formed(ctx, at, length, &datagram) {
        return Some(drop(Count::ProbeMalformed));
    }
    let now = events::now();
    if known.is_none() {
        // SAFETY: the program's part of the value; of two strangers at once a mixture of addresses is nobody's.
        unsafe {
            (*peer).stranger = stranger;
            (*peer).stranger_ns = now;
        }
        return Some(drop(Count::ProbeUnknownPeers));
    }
    // SAFETY: the daemon's part of the value.
    let discriminator = unsafe { ptr::read_volatile(&raw const (*peer).discriminator) };
    if view::<Control>(ctx, at)?.your_discriminator() != discriminator {
        return Some(drop(Count::ProbeMalformed));
    }
    if datagram.is_answer {
        return hear_answer(ctx, at, peer, now);
    }
    let is_paid = pay(ctx, at, peer, now)?;
    // SAFETY: the program's part of the value.
    let is_kept =
        unsafe { (*peer).generation == generation && (*peer).routers == routers && (*peer).writes & 1 == 0 };
    if is_paid && !is_kept && !keep_list(ctx, at + MANDATORY + BLOCK, (entry.slot, peer), routers, generation)
    {
        return Some(drop(Count::ProbeMalformed));
    }
    stamp_probe(ctx, at, peer, now)?;
    if !is_paid {
        // It has spoken, and is not answered: to the sender it is a probe that was lost. So it neither takes a lease nor vouches for one. An
        // early backup counts this node's silence from its last answer, and a lease that a later probe vouched for would outlast that.
        return Some(drop(Count::ProbesOverRate));
    }
    let ethernet = view_mut::<eth::Header>(ctx, 0)?;
    if ethernet.destination().is_group() {
        // Over a heartbeat link. The answer comes from this node, not from a group.
        ethernet.set_destination(MacAddr(entry.mac));
    }
    Some(Reception::Probe { slot: entry.slot })
}

#[inline(always)]
fn drop(reason: Count) -> Reception {
    Reception::Ruled(Verdict::Drop.because(count(reason)))
}

#[inline(always)]
fn over_ipv4(ctx: &Context, link: &Link) -> Option<Datagram> {
    let header = view::<ipv4::Header>(ctx, link.network)?;
    // Nobody sends probes with options or in fragments.
    if header.length() != ipv4::HEADER || header.is_fragment() {
        return None;
    }
    let udp = link.network + ipv4::HEADER;
    let datagram = view::<udp::Header>(ctx, udp)?;
    let length = usize::from(datagram.length()) + ipv4::HEADER;
    Some(Datagram {
        key: ProbeKey {
            ifindex: link.ifindex,
            vlan: link.vlan,
            local: Address::from_v4(header.destination().octets()),
            peer: Address::from_v4(header.source().octets()),
        },
        hop_limit: header.ttl(),
        intact: usize::from(header.total_length()) == length && checksum_ok(ctx, link.network, ipv4::HEADER),
        udp,
        is_answer: datagram.source_port() == PORT_SEAMLESS && datagram.destination_port() == PORT_SOURCE,
    })
}

#[inline(always)]
fn over_ipv6(ctx: &Context, link: &Link) -> Option<Datagram> {
    let header = view::<ipv6::Header>(ctx, link.network)?;
    let udp = link.network + ipv6::HEADER;
    let datagram = view::<udp::Header>(ctx, udp)?;
    Some(Datagram {
        key: ProbeKey {
            ifindex: link.ifindex,
            vlan: link.vlan,
            local: header.destination_words(),
            peer: header.source_words(),
        },
        hop_limit: header.hop_limit(),
        // RFC 8200 8.1: a checksum there must be.
        intact: header.payload_length() == datagram.length() && !datagram.has_no_checksum(),
        udp,
        is_answer: datagram.source_port() == PORT_SEAMLESS && datagram.destination_port() == PORT_SOURCE,
    })
}

/// The entry of two addresses, and what it leads to.
#[inline(always)]
fn find(key: &ProbeKey) -> Option<(ProbeEntry, *mut ProbedPeer)> {
    // SAFETY: a value of the map, written by the daemon as a whole.
    let entry = unsafe { *PROBE_INDEX.get_ptr(key)? };
    let peer = PROBE_PEERS.get_ptr_mut(entry.slot);
    if peer.is_none() {
        count(Count::DanglingEntries);
    }
    Some((entry, peer?))
}

/// The first rules of RFC 5880 6.8.6, and D as RFC 7880 7 has it. The block follows the mandatory section at once.
#[inline(always)]
fn is_well_formed(ctx: &Context, at: usize, length: usize, datagram: &Datagram) -> bool {
    let Some(control) = view::<Control>(ctx, at) else { return false };
    control.version() == bfd::VERSION
        && control.has_valid_length(length - udp::HEADER)
        && usize::from(control.length()) == MANDATORY
        && control.multiplier() != 0
        && !control.has(bfd::flag::MULTIPOINT)
        && control.my_discriminator() != 0
        && control.has(bfd::flag::DEMAND) != datagram.is_answer
}

/// Stamps an answer.
#[inline(always)]
fn hear_answer(ctx: &Context, at: usize, peer: *mut ProbedPeer, now: u64) -> Option<Reception> {
    let state = view::<Control>(ctx, at)?.state() as u8;
    let sent = view::<Block>(ctx, at + MANDATORY)?.clock_ns();
    // No probe was sent in the future.
    if sent > now {
        return Some(drop(Count::ProbeMalformed));
    }
    // SAFETY: the program's part of the value, aligned words; of two at once a stamp or a count of one is lost.
    unsafe {
        if sent > (*peer).answers_ns {
            ptr::write_volatile(&raw mut (*peer).answers_ns, sent);
        }
        ptr::write_volatile(&raw mut (*peer).answer_ns, now);
        (*peer).answer_state = state;
        (*peer).answers += 1;
    }
    Some(drop(Count::ProbeAnswers))
}

/// Whether a probe comes no faster than its sender says.
#[inline(always)]
fn pay(ctx: &Context, at: usize, peer: *mut ProbedPeer, now: u64) -> Option<bool> {
    let interval = u64::from(view::<Control>(ctx, at)?.desired_min_tx_us()) * 1_000;
    let interval = if interval < PROBE_MIN_NS { PROBE_MIN_NS } else { interval };
    let cost = (if interval > PROBE_MAX_NS { PROBE_MAX_NS } else { interval }) / 32;
    // SAFETY: the program's part of the value; of two at once one is not paid for.
    unsafe {
        let paid = (*peer).paid_ns;
        if paid > now + (PROBE_BURST - 1) * cost {
            return Some(false);
        }
        (*peer).paid_ns = if paid > now { paid } else { now } + cost;
    }
    Some(true)
}

/// Stamps a probe.
#[inline(always)]
fn stamp_probe(ctx: &Context, at: usize, peer: *mut ProbedPeer, now: u64) -> Option<()> {
    let control = view::<Control>(ctx, at)?;
    let (interval_us, multiplier) = (control.desired_min_tx_us(), control.multiplier());
    let flags = view::<Block>(ctx, at + MANDATORY)?.flags();
    // SAFETY: as in `hear_answer`.
    unsafe {
        ptr::write_volatile(&raw mut (*peer).probe_ns, now);
        (*peer).probes += 1;
        (*peer).interval_us = interval_us;
        (*peer).multiplier = multiplier;
        (*peer).block_flags = flags;
    }
    Some(())
}

/// Copies the list of routers, which is another one than before. If the probe is not as it was sent, or was sent without a checksum, neither
/// this list nor the one before is believed any more, and false is returned.
#[inline(always)]
fn keep_list(
    ctx: &Context,
    offset: usize,
    (slot, peer): (u32, *mut ProbedPeer),
    routers: u8,
    generation: u32,
) -> bool {
    // SAFETY: the program's part of the value; the daemon reads the list between two equal, even values of `writes`.
    unsafe {
        let writes = (*peer).writes | 1;
        ptr::write_volatile(&raw mut (*peer).writes, writes);
        if routers != 0 {
            // Never 0, and never more than there is room for: the mask makes the verifier see it. The compiler knows that the number is not 0
            // and would leave the mask out, unless the number is read anew; the verifier before Linux 6.8 does not know.
            let routers = u32::from(ptr::read_volatile(&raw const routers));
            let octets = (routers.wrapping_sub(1) & MAX_ROUTERS as u32) * ROUTER as u32 + ROUTER as u32;
            if ctx.load_at(offset as u32, (&raw mut (*peer).list).cast(), octets).is_none() {
                return false;
            }
        }
        // The copy, not the frame: of two probes at once, on two links, a mixture could be left.
        if probe_is_intact(ctx.raw(), slot, u32::from(routers)) == 0 {
            return false;
        }
        (*peer).routers = routers;
        (*peer).generation = generation;
        ptr::write_volatile(&raw mut (*peer).writes, writes.wrapping_add(1));
    }
    true
}

/// Whether UDP's checksum is right over a probe whose list of `routers` is in `slot`: 1 or 0. A global function, see `global`.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn probe_is_intact(ctx: *mut Raw, slot: u32, routers: u32) -> u32 {
    let ctx = &Context::new(ctx);
    let intact = Link::parse(ctx).and_then(|link| is_intact(ctx, &link, slot, routers));
    u32::from(intact == Some(true))
}

#[inline(always)]
fn is_intact(ctx: &Context, link: &Link, slot: u32, routers: u32) -> Option<bool> {
    let (source, destination, udp) = match link.ethertype {
        eth::ETHERTYPE_IPV6 => {
            let header = view::<ipv6::Header>(ctx, link.network)?;
            (header.source_words(), header.destination_words(), link.network + ipv6::HEADER)
        }
        _ => {
            let header = view::<ipv4::Header>(ctx, link.network)?;
            let [source, destination] =
                [header.source(), header.destination()].map(|address| Address::from_v4(address.octets()));
            (source, destination, link.network + ipv4::HEADER)
        }
    };
    let header = view::<udp::Header>(ctx, udp)?;
    // Only IPv4 gets here so. A list without a checksum is not believed.
    if header.has_no_checksum() {
        return Some(false);
    }
    let mut sum = checksum::pseudo_header(source, destination, PROTOCOL_UDP, header.length());
    let before = frame::at::<[u32; BEFORE_LIST / 4]>(ctx, udp)?;
    // SAFETY: all of it lies inside the frame. A loop over octets that are not aligned would be many, with a place on the stack each.
    let words = unsafe { bpf_csum_diff(ptr::null_mut(), 0, before.cast(), BEFORE_LIST as u32, 0) };
    // The kernel's sum has 32 bits.
    sum += u64::from(words as u32);
    let peer = PROBE_PEERS.get_ptr(slot)?;
    for index in 0..MAX_ROUTERS {
        if index >= routers as usize {
            break;
        }
        // SAFETY: the program's part of the value; a router is four octets, at a multiple of four.
        sum += u64::from(unsafe { ptr::read_volatile((&raw const (*peer).list[index]).cast::<u32>()) });
    }
    Some(checksum::fold(sum) == 0xffff)
}

/// Octets of a probe's datagram before its list.
const BEFORE_LIST: usize = udp::HEADER + MANDATORY + BLOCK;
const _: () = assert!(BEFORE_LIST.is_multiple_of(4) && ROUTER == 4);

/// Turns the probe into its answer, in place.
#[inline(always)]
fn reflect(ctx: &Context, link: &Link, peer: *mut ProbedPeer) -> Option<Ruling> {
    let udp = link.network
        + match link.ethertype {
            eth::ETHERTYPE_IPV6 => ipv6::HEADER,
            _ => ipv4::HEADER,
        };
    // SAFETY: the daemon's part of the value.
    let state = ProbedPeer::own_state(unsafe { ptr::read_volatile(&raw const (*peer).flags) });
    let control = view_mut::<Control>(ctx, udp + udp::HEADER)?;
    let before = control.first_word();
    *control = control.reflected(state);
    let after = control.first_word();
    let header = view_mut::<udp::Header>(ctx, udp)?;
    let checksum = if header.has_no_checksum() {
        [0; 2]
    } else {
        match checksum::adjusted(u16::from_be_bytes(header.checksum()), before, after) {
            0 => [0xff; 2],
            adjusted => adjusted.to_be_bytes(),
        }
    };
    *header = header.answered(checksum);
    match link.ethertype {
        eth::ETHERTYPE_IPV6 => view_mut::<ipv6::Header>(ctx, link.network)?.swap_addresses(),
        _ => view_mut::<ipv4::Header>(ctx, link.network)?.swap_addresses(),
    }
    let ethernet = view_mut::<eth::Header>(ctx, 0)?;
    let asker = ethernet.source();
    ethernet.set_source(ethernet.destination());
    ethernet.set_destination(asker);
    let reason: CapturedReason = count(Count::ProbesReflected);
    Some(Verdict::Tx.because(reason))
}
