//! The grammars of values: numbers, seconds, booleans, addresses, names.
//!
//! Each function takes a word and returns the value or a sentence of what is wrong, without the word itself: that is
//! the caller's to quote.

use std::{
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use super::model::Vip;

/// A whole number from `low` to `high`.
pub fn number(word: &str, low: u32, high: u32) -> Result<u32, String> {
    let digits = word.chars().take_while(char::is_ascii_digit).count();
    if digits == 0 || digits != word.len() {
        return Err(not_a("whole number", &word[..digits]));
    }
    // Only overflow is left to fail, which is out of range as well.
    let value = word.parse::<u32>().ok().filter(|value| (low..=high).contains(value));
    value.ok_or_else(|| format!("is out of range, {low} to {high}"))
}

/// A whole number from `low` to 255.
pub fn octet(word: &str, low: u8) -> Result<u8, String> {
    let value = number(word, u32::from(low), 255)?;
    u8::try_from(value).map_err(|_| format!("is out of range, {low} to 255"))
}

/// Whole seconds from 0 to a day; 0 is no time at all.
pub fn seconds_or_off(word: &str) -> Result<Option<Duration>, String> {
    let seconds = number(word, 0, 86_400)?;
    Ok((seconds > 0).then(|| Duration::from_secs(u64::from(seconds))))
}

/// Seconds with up to nine decimals, at most `most`.
pub fn seconds(word: &str, most: u32) -> Result<Duration, String> {
    let (whole, fraction) = match word.split_once('.') {
        Some((whole, fraction)) => (whole, fraction),
        None => (word, "0"),
    };
    let all_digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    if !all_digits(whole) || !all_digits(fraction) {
        let good = word.bytes().take_while(|b| b.is_ascii_digit() || *b == b'.').count();
        return Err(not_a("number of seconds", &word[..good]));
    }
    let fraction = fraction.trim_end_matches('0');
    if fraction.len() > 9 {
        return Err("has more than nine decimals".to_owned());
    }
    let range = || format!("is out of range, 0 to {most}");
    let nanos = format!("{fraction:0<9}").parse::<u32>().map_err(|_| range())?;
    let whole = whole.parse::<u32>().map_err(|_| range())?;
    let value = Duration::new(u64::from(whole), nanos);
    if value > Duration::from_secs(u64::from(most)) { Err(range()) } else { Ok(value) }
}

/// keepalived's booleans.
pub fn boolean(word: &str) -> Result<bool, String> {
    match word {
        "on" | "true" | "yes" => Ok(true),
        "off" | "false" | "no" => Ok(false),
        _ => Err("is none of on, off, true, false, yes, no".to_owned()),
    }
}

/// A network interface name as the kernel takes it (`dev_valid_name`).
pub fn interface(word: &str) -> Result<String, String> {
    let odd = |c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control();
    if word.is_empty() || word.len() > 15 {
        Err("is no interface name: 1 to 15 bytes".to_owned())
    } else if word == "." || word == ".." || word.contains(odd) {
        Err("is no interface name: no `/`, `:` or space".to_owned())
    } else {
        Ok(word.to_owned())
    }
}

/// An IPv4 address in dotted form.
pub fn ipv4(word: &str) -> Result<Ipv4Addr, String> {
    match word.parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) => Ok(address),
        Ok(IpAddr::V6(_)) => Err("is an IPv6 address, which is not supported yet".to_owned()),
        Err(_) => Err("is no IPv4 address".to_owned()),
    }
}

/// An IPv4 address that one host can hold.
pub fn unicast(word: &str) -> Result<Ipv4Addr, String> {
    let address = ipv4(word)?;
    // 0/8 and 240/4 (which ends in the broadcast address) are nobody's (RFC 1122 3.2.1.3, RFC 1112 4).
    let first = address.octets()[0];
    if first == 0 || first >= 224 || address.is_loopback() {
        return Err("is no unicast address of a network".to_owned());
    }
    Ok(address)
}

pub fn multicast(word: &str) -> Result<Ipv4Addr, String> {
    let address = ipv4(word)?;
    if address.is_multicast() { Ok(address) } else { Err("is no multicast address".to_owned()) }
}

/// `ADDR[/LEN]`; without a length the address stands alone, /32.
pub fn vip(word: &str) -> Result<Vip, String> {
    let (address, length) = match word.split_once('/') {
        Some((address, length)) => (address, Some(length)),
        None => (word, None),
    };
    let address = IpAddr::V4(unicast(address)?);
    let prefix_len = match length {
        None => 32,
        Some(length) => {
            let length = number(length, 1, 32).map_err(|why| format!("has a prefix length that {why}"))?;
            u8::try_from(length).map_err(|_| "has a prefix length out of range".to_owned())?
        }
    };
    Ok(Vip { address, prefix_len })
}

fn not_a(what: &str, good: &str) -> String {
    if good.is_empty() { format!("is no {what}") } else { format!("is no {what}: something follows {good}") }
}
