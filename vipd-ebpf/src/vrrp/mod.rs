//! Adverts: validated, stamped, and only what changed told to the daemon. Takes the lease back when a rival has won.
//!
//! Both families go the same way: `check` says whether an advert is valid, `record` takes note of it. Adverts of virtual
//! routers that are not ours pass untouched, since another VRRP daemon may live here.

mod check;
mod list;
mod record;

use vipd_common::{
    Family,
    abi::{CapturedReason, Count, IndexEntry, InstanceCount},
    types::ChecksumForm,
    wire::{eth::ETHERTYPE_IPV6, vrrp::Head},
};

use crate::{
    address::Address,
    count::{count, count_instance},
    frame::{Link, view},
    global,
    hook::{Context, Raw},
    instance, ipv4, ipv6,
    verdict::{Ruling, Verdict},
};

/// What IP says of an advert.
pub struct Envelope {
    pub family: Family,
    /// TTL or Hop Limit.
    pub hop_limit: u8,
    /// Whether the IP header's own checksum, if it has one, is right.
    pub intact: bool,
    pub source: Address,
    pub destination: Address,
    /// Offset of the VRRP message in the frame.
    pub message: usize,
    /// Its length by IP's account.
    pub length: usize,
}

/// A valid advert.
struct ValidAdvert {
    priority: u8,
    interval_cs: u32,
    checksum: ChecksumForm,
    address_digest: u64,
    /// RFC 9568 5.2.9 and erratum 8300: over IPv6 the first address has to be link-local.
    first_not_link_local: bool,
    /// Over version 2 to the address owner, which hears nobody.
    to_deaf_owner: bool,
}

/// The verdict on an advert of one of our virtual routers.
#[inline(always)]
pub fn handle(ctx: &Context) -> Ruling {
    Ruling::from_number(handle_advert(ctx.raw()))
}

#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn handle_advert(ctx: *mut Raw) -> u32 {
    global::enter(ctx, decide)
}

#[inline(always)]
fn decide(ctx: &Context, link: &Link) -> Option<Ruling> {
    ctx.linearize();
    let envelope = &match link.ethertype {
        ETHERTYPE_IPV6 => ipv6::envelope(ctx, link.network)?,
        _ => ipv4::envelope(ctx, link.network)?,
    };
    // Of a message that is cut off too, if it still says whose it is.
    let vrid =
        if envelope.length >= size_of::<Head>() { view::<Head>(ctx, envelope.message)?.vrid() } else { 0 };
    let Some((IndexEntry { slot, line }, instance)) = instance::find(link, envelope.family, vrid) else {
        return Some(Ruling::undecided(count_foreign(check::foreign(ctx, envelope))));
    };
    // SAFETY: the daemon's half of the value; each field is read once, and a mixture of two states of the daemon can
    // only misjudge an advert that arrived while it was changing its mind.
    match check::ours(ctx, envelope, slot, unsafe { &*instance }) {
        Err(reason) => {
            record::refuse(instance, envelope, reason);
            Some(Verdict::Drop.because(count_instance(slot, reason)))
        }
        Ok(advert) if advert.to_deaf_owner => {
            // SAFETY: as above.
            record::relieve(unsafe { &*instance }, envelope.source, &advert);
            Some(Verdict::Drop.because(count_instance(slot, InstanceCount::LocalOwner)))
        }
        Ok(advert) => {
            let reason = record::accept(ctx, (slot, line), instance, envelope.source, &advert);
            Some(Verdict::Pass.because(reason))
        }
    }
}

/// Counts an advert of a virtual router that is not ours.
#[inline(always)]
fn count_foreign(verdict: Result<ValidAdvert, InstanceCount>) -> CapturedReason {
    count(match verdict {
        Err(InstanceCount::IpTtlErrors) => Count::ForeignIpTtlErrors,
        Err(InstanceCount::PacketLengthErrors) => Count::ForeignPacketLengthErrors,
        Err(InstanceCount::VersionErrors) => Count::ForeignVersionErrors,
        Err(InstanceCount::InvalidType) => Count::ForeignInvalidType,
        Err(InstanceCount::AddrCountZero) => Count::ForeignAddrCountZero,
        Err(_) => Count::ForeignChecksumErrors,
        Ok(_) => Count::VridErrors,
    })
}
