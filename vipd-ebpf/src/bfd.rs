//! BFD control packets of configured sessions: validated, stamped, and only what is new told to the daemon.
//!
//! The stamp is what a detection time is judged by, so a daemon that is late finds a session alive whose packets came in time. Packets of
//! other sessions pass untouched, since another BFD daemon may live here. Nothing is authenticated: a packet with an authentication section is
//! refused.

use vipd_common::{
    Family,
    abi::{
        BFD_EVENT_BURST, BFD_EVENT_PERIOD_NS, BFD_OCTETS, BfdEvent, BfdKey, BfdRecord, CapturedReason, Count,
        check_bfd,
    },
    wire::{
        bfd::{Control, PORT_CONTROL, PORT_MULTIHOP, SessionState, flag},
        checksum,
        eth::ETHERTYPE_IPV6,
        ipv4,
        udp::{self, PROTOCOL_UDP},
    },
};

use crate::{
    address::Address,
    count::{add_atomically, count},
    events,
    frame::{Link, read, read_behind, view},
    global,
    hook::{Context, Raw},
    ipv6,
    maps::{BFD_INDEX, BFD_SESSIONS},
    verdict::{Ruling, Verdict},
    vrrp::Envelope,
};

/// Whether the UDP datagram at `offset` is one of BFD's.
#[inline(always)]
pub fn is_control(ctx: &Context, offset: usize) -> bool {
    read::<udp::Header>(ctx, offset)
        .is_some_and(|header| matches!(header.destination_port(), PORT_CONTROL | PORT_MULTIHOP))
}

/// The verdict on a datagram that is, or none if it is of no session of ours.
#[inline(always)]
pub fn handle(ctx: &Context) -> Option<Ruling> {
    let ruling = Ruling::from_number(handle_bfd(ctx.raw()));
    ruling.verdict.is_some().then_some(ruling)
}

#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn handle_bfd(ctx: *mut Raw) -> u32 {
    global::enter(ctx, decide)
}

#[inline(always)]
fn decide(ctx: &Context, link: &Link) -> Option<Ruling> {
    ctx.linearize();
    let envelope = &envelope(ctx, link)?;
    let header = read_behind::<udp::Header>(ctx, envelope.message & OFFSET_MASK)?;
    let port = header.destination_port();
    // All ones for a single hop, whose packets come in on one interface.
    let mask = u32::from(port == PORT_CONTROL).wrapping_neg();
    let key = BfdKey {
        remote: envelope.source.octets(),
        local: envelope.destination.octets(),
        ifindex: link.ifindex & mask,
        vlan: link.vlan & mask,
        port,
        family: if link.ethertype == ETHERTYPE_IPV6 { 6 } else { 4 },
    };
    // SAFETY: a value of the map, written by the daemon as a whole.
    let slot = unsafe { *BFD_INDEX.get_ptr(&key)? };
    let Some(record) = BFD_SESSIONS.get_ptr_mut(slot) else {
        count(Count::DanglingEntries);
        return None;
    };
    // SAFETY: two CPUs may write the program's half at once: of two packets one is told of, and the other is as new as it was. The
    // daemon's half is read field by field.
    let record = unsafe { &mut *record };
    let reason = match check(ctx, envelope, &header, record) {
        Err(reason) => refuse(record, envelope, reason),
        Ok(packet) => accept(slot, record, packet),
    };
    Some(Verdict::Drop.because(reason))
}

/// RFC 5880 6.8.6, in its order, behind what the stack would have checked and RFC 5881 5.
#[inline(always)]
fn check(
    ctx: &Context,
    envelope: &Envelope,
    header: &udp::Header,
    record: &BfdRecord,
) -> Result<[u8; BFD_OCTETS], Count> {
    let length = usize::from(header.length());
    if length < udp::HEADER || length > envelope.length || length > MOST {
        return Err(Count::BfdLengthErrors);
    }
    // A function of its own: its loop ends at any length, and all that follows would be walked once for each.
    if bfd_is_intact(ctx.raw()) == 0 {
        return Err(Count::BfdChecksumErrors);
    }
    if envelope.hop_limit < record.min_hop_limit {
        return Err(Count::BfdTtlErrors);
    }
    let payload = (envelope.message & OFFSET_MASK) + udp::HEADER;
    let Some(octets) = read_behind::<[u8; BFD_OCTETS]>(ctx, payload) else {
        return Err(Count::BfdLengthErrors);
    };
    // A datagram that ends before these octets do is refused for its length there.
    check_bfd(Control::of(&octets), length - udp::HEADER, record.local_discriminator)?;
    Ok(octets)
}

/// What IP says of a datagram, whose header has no options; the checksums are looked at elsewhere.
#[inline(always)]
fn envelope(ctx: &Context, link: &Link) -> Option<Envelope> {
    if link.ethertype == ETHERTYPE_IPV6 {
        return ipv6::envelope(ctx, link.network);
    }
    let header = view::<ipv4::Header>(ctx, link.network)?;
    Some(Envelope {
        family: Family::V4,
        hop_limit: header.ttl(),
        intact: true,
        source: Address::from_v4(header.source().octets()),
        destination: Address::from_v4(header.destination().octets()),
        message: link.network + ipv4::HEADER,
        length: usize::from(header.total_length()).saturating_sub(ipv4::HEADER),
    })
}

/// 1 if the checksums of the IPv4 header and of UDP are right.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn bfd_is_intact(ctx: *mut Raw) -> u32 {
    let ctx = &Context::new(ctx);
    let intact = Link::parse(ctx).and_then(|link| is_intact(ctx, &link));
    u32::from(intact == Some(true))
}

/// Whether UDP's checksum is right, or left out over IPv4, or not made yet: a sender on this machine leaves it to a NIC that there is not, and
/// the field has the sum of the pseudo-header alone.
#[inline(always)]
fn is_intact(ctx: &Context, link: &Link) -> Option<bool> {
    let envelope = &envelope(ctx, link)?;
    if envelope.family == Family::V4 {
        let words = read::<[u32; ipv4::HEADER / 4]>(ctx, link.network)?;
        let sum = words.iter().fold(0u64, |sum, word| sum + u64::from(*word));
        if checksum::fold(sum) != 0xffff {
            return Some(false);
        }
    }
    let start = envelope.message & OFFSET_MASK;
    let header = read_behind::<udp::Header>(ctx, start)?;
    if header.has_no_checksum() {
        return Some(envelope.family == Family::V4);
    }
    let length = usize::from(header.length());
    let pseudo = checksum::pseudo_header(envelope.source, envelope.destination, PROTOCOL_UDP, length as u16);
    if checksum::fold(pseudo) as u16 == u16::from_ne_bytes(header.checksum()) {
        return Some(true);
    }
    let mut sum = pseudo;
    for i in 0..MOST / 8 {
        if i >= length / 8 {
            break;
        }
        let word = read_behind::<u64>(ctx, start + i * 8)?;
        sum += (word & 0xffff_ffff) + (word >> 32);
    }
    if length & 4 != 0 {
        sum += u64::from(read_behind::<u32>(ctx, start + (length & DOUBLE_WORDS))?);
    }
    // Neither offset depends on a branch: the verifier would walk what follows for each value.
    if length & 2 != 0 {
        sum += u64::from(read_behind::<u16>(ctx, start + (length & WORDS))?);
    }
    if length & 1 != 0 {
        sum += u64::from(u16::from_ne_bytes([read_behind::<u8>(ctx, start + (length & PAIRS))?, 0]));
    }
    Some(checksum::fold(sum) == 0xffff)
}

#[inline(always)]
fn refuse(record: &mut BfdRecord, envelope: &Envelope, reason: Count) -> CapturedReason {
    (record.refused_reason, record.refused_hop_limit) = (reason as u32, u32::from(envelope.hop_limit));
    // SAFETY: an aligned word of the map.
    unsafe { add_atomically(&raw mut record.refused, 1) };
    count(reason)
}

#[inline(always)]
fn accept(slot: u32, record: &mut BfdRecord, packet: [u8; BFD_OCTETS]) -> CapturedReason {
    let now = events::now();
    record.heard_ns = now;
    // SAFETY: an aligned word of the map.
    unsafe { add_atomically(&raw mut record.accepted, 1) };
    let control = Control::of(&packet);
    let asks = control.has(flag::POLL) || control.has(flag::FINAL);
    // Not Up, each packet may move the session on; they come once a second.
    if record.state == SessionState::Up as u8 && !asks && record.told == packet {
        return count(Count::BfdPackets);
    }
    if record.events_paid_ns > now + (BFD_EVENT_BURST - 1) * BFD_EVENT_PERIOD_NS {
        return count(Count::BfdEventsDeferred);
    }
    let event = BfdEvent { at_ns: now, slot, local_discriminator: record.local_discriminator, packet };
    if !events::send_bfd(event) {
        return count(Count::BfdEventsLost);
    }
    let paid = if record.events_paid_ns > now { record.events_paid_ns } else { now };
    record.events_paid_ns = paid + BFD_EVENT_PERIOD_NS;
    record.told = packet;
    count(Count::BfdPackets)
}

/// Octets of the longest datagram that is taken: nobody sends longer ones.
const MOST: usize = 128;
/// Bits of a length up to that, in eights, fours and pairs of octets.
const DOUBLE_WORDS: usize = 0xf8;
const WORDS: usize = 0xfc;
const PAIRS: usize = 0xfe;
/// Bits of the offset of a UDP header: the longest link layer and IP header are 82 octets.
const OFFSET_MASK: usize = 0x7f;
