//! What all parts that speak rtnetlink share: families, the reading of refusals.

use std::{net::IpAddr, path::Path};

use anyhow::anyhow;
use rtnetlink::packet_route::AddressFamily;
use vipd_common::Family;

/// Loopback has this index in every network namespace.
pub(super) const LOOPBACK: u32 = 1;
pub(super) const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

pub(super) const fn family(address: IpAddr) -> Family {
    match address {
        IpAddr::V4(_) => Family::V4,
        IpAddr::V6(_) => Family::V6,
    }
}

pub(super) const fn address_family(family: Family) -> AddressFamily {
    match family {
        Family::V4 => AddressFamily::Inet,
        Family::V6 => AddressFamily::Inet6,
    }
}

/// The prefix length that means one address.
pub(super) const fn full_length(family: Family) -> u8 {
    match family {
        Family::V4 => 32,
        Family::V6 => 128,
    }
}

/// Whether the kernel has the family at all: it may be booted with `ipv6.disable=1`.
///
/// Dumps of a family it lacks come back as errors, or as those of all families it has.
pub(super) fn supported(family: Family) -> bool {
    family == Family::V4 || Path::new("/proc/sys/net/ipv6").exists()
}

/// The error number of a netlink answer.
pub(super) fn errno(error: &rtnetlink::Error) -> Option<i32> {
    match error {
        rtnetlink::Error::NetlinkError(message) => Some(message.raw_code().abs()),
        _ => None,
    }
}

/// Names the object an answer is about, and what to do about it where that is known.
pub(super) fn explain(object: &str, error: &rtnetlink::Error) -> anyhow::Error {
    let hint = match errno(error) {
        Some(libc::EPERM) => " (needs CAP_NET_ADMIN)",
        // What IPv6 says of an interface, or of all, with the sysctl disable_ipv6.
        Some(libc::EACCES) => " (is IPv6 disabled there? see sysctl net.ipv6.conf.IFACE.disable_ipv6)",
        Some(libc::EEXIST) => " (made by somebody else)",
        Some(libc::ENETDOWN) => " (is the interface up?)",
        Some(libc::EINVAL) => " (is the source address configured on this host?)",
        Some(libc::ENETUNREACH | libc::EHOSTUNREACH) => " (is the gateway on a link of this host?)",
        _ => "",
    };
    refusal(&format!("{object}{hint}"), error)
}

/// As [`explain`], for objects that its advice does not fit.
pub(super) fn refusal(object: &str, error: &rtnetlink::Error) -> anyhow::Error {
    match error {
        rtnetlink::Error::NetlinkError(message) => anyhow!(message.to_io()).context(object.to_owned()),
        other => anyhow!("{object}: {other}"),
    }
}
