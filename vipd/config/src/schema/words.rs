//! Single words: what each must be to be an address, a time, a number and so on, and how it is printed.

use std::net::{IpAddr, Ipv6Addr};

use vipd_common::Family;

use crate::model::arbiter::Target;

/// A prefix as written, or `default`, which has no family of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    Everything,
    /// Bits beyond the length may be set still.
    Prefix {
        address: IpAddr,
        len: u8,
    },
}

/// An address that one host can have and that leaves the host.
pub fn unicast(text: &str) -> Result<IpAddr, String> {
    let address = address(text)?;
    let possible = match address {
        // 0/8 is "this network", 127/8 never leaves the host, 224/4 and above are groups, reserved or broadcast.
        IpAddr::V4(v4) => !matches!(v4.octets()[0], 0 | 127 | 224..),
        IpAddr::V6(v6) => !v6.is_unspecified() && !v6.is_loopback() && !v6.is_multicast(),
    };
    if possible { Ok(address) } else { Err("is not a unicast address".to_owned()) }
}

/// A group that adverts can go to.
pub fn multicast(text: &str, family: Option<Family>) -> Result<IpAddr, String> {
    let address = address(text)?;
    if let Some(family) = family.filter(|family| *family != family_of(address)) {
        return Err(format!("is not an {} address", name(family)));
    }
    match address {
        address if !address.is_multicast() => Err("is not a multicast address".to_owned()),
        // RFC 9568 5.1.2.2: link-local scope, which routers do not forward.
        IpAddr::V6(v6) if v6.octets()[1] & 0x0f != LINK_LOCAL_SCOPE => {
            Err("is not of link-local scope".to_owned())
        }
        address => Ok(address),
    }
}

pub fn address(text: &str) -> Result<IpAddr, String> {
    // An address of a zone is told apart by its interface in vipd, not by its text.
    if text.split_once('%').is_some_and(|(address, _)| address.parse::<Ipv6Addr>().is_ok()) {
        return Err(
            "has a zone (`%`): link-local addresses are those of the interface they are used on".to_owned()
        );
    }
    match text.parse() {
        // It never stands in a packet; the packet would hold the IPv4 address.
        Ok(IpAddr::V6(v6)) if v6.to_ipv4_mapped().is_some() => {
            Err("is an IPv4 address written as IPv6".to_owned())
        }
        Ok(address) => Ok(address),
        Err(_) => Err("is not an IP address".to_owned()),
    }
}

/// `ADDR` or `ADDR/LEN`; without a length it is the host alone.
pub fn prefix(text: &str, address: fn(&str) -> Result<IpAddr, String>) -> Result<(IpAddr, u8), String> {
    let (text, len) = text.split_once('/').map_or((text, None), |(text, len)| (text, Some(len)));
    let address = address(text)?;
    let width = if address.is_ipv4() { 32 } else { 128 };
    let len = len.map_or(Ok(width), |len| whole(len, 0, width));
    let len = len.map_err(|problem| format!("has a prefix length that {problem}"))?;
    Ok((address, u8::try_from(len).unwrap_or(u8::MAX)))
}

pub fn network(text: &str) -> Result<Network, String> {
    if matches!(text, "default" | "any" | "all") {
        return Ok(Network::Everything);
    }
    prefix(text, address).map(|(address, len)| Network::Prefix { address, len })
}

/// `VALUE[/MASK]`; without a mask all bits count.
pub fn mark(text: &str) -> Result<(u32, u32), String> {
    let number = |text: &str| {
        let (digits, radix) = text.strip_prefix("0x").map_or((text, 10), |digits| (digits, 16));
        let all_digits = !digits.is_empty() && digits.chars().all(|c| c.is_digit(radix));
        all_digits.then(|| u32::from_str_radix(digits, radix).ok()).flatten()
    };
    let (value, mask) = text.split_once('/').unwrap_or((text, "0xffffffff"));
    number(value).zip(number(mask)).ok_or_else(|| "is not a 32-bit mark".to_owned())
}

pub fn interface(text: &str) -> Result<String, String> {
    let possible = (1..=INTERFACE_NAME_LEN_MAX).contains(&text.len())
        && !matches!(text, "." | "..")
        && !text.contains(|c: char| c == '/' || c == ':' || c.is_whitespace());
    if possible { Ok(text.to_owned()) } else { Err("cannot be the name of an interface".to_owned()) }
}

pub fn family_of(address: IpAddr) -> Family {
    if address.is_ipv4() { Family::V4 } else { Family::V6 }
}

/// IPv6 only: vipd makes no difference between 169.254/16 and other IPv4 addresses.
pub fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local())
}

/// As messages call it.
pub fn name(family: Family) -> &'static str {
    match family {
        Family::V4 => "IPv4",
        Family::V6 => "IPv6",
    }
}

/// A whole number in `min..=max`.
pub fn whole(text: &str, min: u32, max: u32) -> Result<u32, String> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err("is not a whole number".to_owned());
    }
    // All digits: what does not parse is too large.
    let number = text.parse().ok().filter(|number| (min..=max).contains(number));
    number.ok_or_else(|| format!("is out of range: {min} to {max}"))
}

/// Microseconds of decimal seconds; `None` if they exceed every range.
pub fn decimal_us(text: &str) -> Result<Option<u64>, String> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(seconds) || !digits(fraction) {
        return Err("is not a number of seconds".to_owned());
    }
    if fraction.trim_end_matches('0').len() > 6 {
        return Err("is finer than a microsecond".to_owned());
    }
    let micros = fraction.chars().chain(std::iter::repeat('0')).take(6).filter_map(|c| c.to_digit(10));
    let micros = micros.fold(0, |sum, digit| sum * 10 + u64::from(digit));
    let whole = seconds.parse::<u64>().ok().and_then(|seconds| seconds.checked_mul(1_000_000));
    Ok(whole.and_then(|whole| whole.checked_add(micros)))
}

pub fn boolean(text: &str) -> Result<bool, String> {
    match text {
        "on" | "true" | "yes" => Ok(true),
        "off" | "false" | "no" => Ok(false),
        _ => Err("is not a boolean".to_owned()),
    }
}

/// Microseconds as decimal seconds, without trailing zeros.
pub fn seconds(us: u64) -> String {
    let text = format!("{}.{:06}", us / 1_000_000, us % 1_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// In quotes where it has to be.
pub fn word(text: &str) -> String {
    let plain = |c: char| !c.is_whitespace() && !matches!(c, '#' | '!' | '{' | '}' | '\\' | '\u{feff}');
    if !text.is_empty() && text.chars().all(plain) { text.to_owned() } else { format!("\"{text}\"") }
}

/// `ADDRESS`, of a link-local one `ADDRESS%INTERFACE`.
pub fn station(text: &str) -> Result<Target, String> {
    let (address, zone) = match text.split_once('%') {
        Some((address, zone)) => (address, Some(interface(zone)?)),
        None => (text, None),
    };
    let address = unicast(address)?;
    match (is_link_local(address), zone) {
        (true, None) => Err("is link-local and lacks its interface: as in `fe80::1%eth0`".to_owned()),
        (false, Some(_)) => Err("has an interface (`%`), which only link-local addresses have".to_owned()),
        (_, zone) => Ok(Target { address, zone, port: None }),
    }
}

/// `ADDRESS:PORT`, of IPv6 `[ADDRESS]:PORT`.
pub fn service(text: &str) -> Result<Target, String> {
    let shape = "is not of the form `ADDRESS:PORT` or `[ADDRESS]:PORT`";
    let (host, port) = text.rsplit_once(':').ok_or(shape)?;
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let target = match bare {
        Some(bare) => station(bare)?,
        // `2001:db8::1` has a colon before its last group, too.
        None if host.contains(':') => return Err(shape.to_owned()),
        None => station(host)?,
    };
    if target.address.is_ipv4() == bare.is_some() {
        return Err(shape.to_owned());
    }
    let port = whole(port, 1, u16::MAX.into());
    let port = port.map_err(|problem| format!("has a port that {problem}"))?;
    Ok(Target { port: u16::try_from(port).ok(), ..target })
}

/// Microseconds as decimal milliseconds.
pub fn millis(us: u64) -> String {
    seconds(us.saturating_mul(1_000))
}

/// IFNAMSIZ without the final NUL.
pub const INTERFACE_NAME_LEN_MAX: usize = 15;
/// The low half of an IPv6 group's second octet (RFC 4291 2.7).
const LINK_LOCAL_SCOPE: u8 = 2;
