//! Reads the words after a keyword as its form demands and hands the value to the form's setter.

use std::{
    net::{IpAddr, Ipv6Addr},
    time::Duration,
};

use vipd_common::Family;

use super::{
    diagnostic::Code,
    expand,
    keywords::{self, Block, Form, Keyword},
    lexer::Word,
    report::Report,
    settings::{Settings, Spanned, Target},
    vmac,
};

/// Sets what the statement `words` says; `words` starts with `keyword` itself.
pub fn set(
    keyword: &Keyword,
    form: &Form,
    words: &[Word],
    block: Block,
    into: &mut Settings,
    report: &mut Report,
) {
    let Some(first) = words.first() else { return };
    let value = words.get(1).filter(|word| !word.text.is_empty());
    match (form, value) {
        // Their inside is read by `lower`.
        (Form::Block(_), _) => {}
        (Form::Bare(set), _) => {
            set(into, Spanned::new((), first));
            rest(words, 1, block, into, report);
        }
        (Form::Flag(set), None) => set(into, Spanned::new(true, first)),
        (Form::Vmac(set), _) => {
            set(into, Spanned::new((), first));
            vmac::words(&words[1..], report);
        }
        (Form::IncludeCheck, _) => {
            for word in words[1..].iter().filter(|word| !expand::is_include_check(&word.text)) {
                let message = format!("unknown check {} after {}", report.quote(word), report.quote(first));
                let hint = "known are readable, match, wildcard_match and brace_match, each with `+`, `-` or nothing before it";
                report.error_hint(Code::UnknownWord, word.span, message, hint);
            }
        }
        (_, None) => {
            let message = format!("{} needs a value", report.quote(first));
            report.error_hint(Code::MissingValue, first.span, message, expectation(keyword, form));
        }
        (Form::Flag(_), Some(word)) if keywords::find(block, &word.text).is_some() => {
            rest(words, 1, block, into, report);
        }
        (form, Some(word)) => match apply(form, word, into) {
            Ok(()) => rest(words, 2, block, into, report),
            Err(problem) => {
                let message = format!("{} {} {problem}", report.bare(first), report.quote(word));
                report.error_hint(Code::BadValue, word.span, message, expectation(keyword, form));
            }
        },
    }
}

/// As [`trailing`]; a statement there was given, if in the wrong place: it is not missing as well.
fn rest(words: &[Word], used: usize, block: Block, into: &mut Settings, report: &mut Report) {
    if let Some(word) = words.get(used)
        && let Some(meant) = keywords::find(block, &word.text)
    {
        into.seen.add(meant.means, word.span);
    }
    trailing(words, used, block, report);
}

/// Reports words after the first `used`, which keepalived would swallow.
pub fn trailing(words: &[Word], used: usize, block: Block, report: &mut Report) {
    let (Some(extra), Some(first)) = (words.get(used), words.first()) else {
        return;
    };
    let (shown, keyword) = (report.quote(extra), report.quote(first));
    if keywords::find(block, &extra.text).is_some() {
        let message = format!("second statement on one line: {shown} after {keyword}");
        report.error_hint(
            Code::TwoStatements,
            extra.span,
            message,
            format!("put {shown} on a line of its own"),
        );
    } else {
        let hint = "put text with blanks in double quotes; a comment starts with `#`";
        report.error_hint(
            Code::UnexpectedWord,
            extra.span,
            format!("unexpected {shown} after {keyword}"),
            hint,
        );
    }
}

fn apply(form: &Form, word: &Word, into: &mut Settings) -> Result<(), String> {
    let text = word.text.as_str();
    match form {
        Form::Block(_) | Form::Bare(_) | Form::Vmac(_) | Form::IncludeCheck => {}
        Form::Flag(set) => set(into, Spanned::new(boolean(text)?, word)),
        Form::Text(set) => set(into, Spanned::new(text.to_owned(), word)),
        Form::Choice { of, set } => {
            let choice = of.iter().find(|choice| **choice == text);
            set(into, Spanned::new(choice.ok_or("is not a known value")?, word));
        }
        Form::Whole { min, max, set } => set(into, Spanned::new(whole(text, *min, *max)?, word)),
        Form::Seconds { max_s, set } => {
            let seconds = whole(text, 0, *max_s)?;
            set(into, Spanned::new(Duration::from_secs(seconds.into()), word));
        }
        Form::Decimal { min_us, max_us, set } => {
            let us = decimal_us(text)?;
            if us.is_none_or(|us| !(*min_us..=*max_us).contains(&us)) {
                return Err(format!("is out of range: {} to {} s", seconds(*min_us), seconds(*max_us)));
            }
            set(into, Spanned::new(Duration::from_micros(us.unwrap_or(*max_us)), word));
        }
        Form::Unicast(set) => set(into, Spanned::new(unicast(text)?, word)),
        Form::Interface(set) => set(into, Spanned::new(interface(text)?, word)),
        Form::Multicast { family, set } => {
            set(into, Spanned::new(multicast(text, *family)?, word));
        }
        Form::Target(set) => set(into, Spanned::new(target(text)?, word)),
        Form::Named { of, min, max, set } => {
            let named = of.iter().find(|(name, _)| *name == text).map(|(_, number)| *number);
            let number = match named {
                Some(number) => number,
                None if text.starts_with(|c: char| c.is_ascii_digit()) => whole(text, *min, *max)?,
                None => return Err("is neither a number nor a known name".to_owned()),
            };
            set(into, Spanned::new(number, word));
        }
        Form::Mark(set) => set(into, Spanned::new(mark(text)?, word)),
    }
    Ok(())
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
fn multicast(text: &str, family: Option<Family>) -> Result<IpAddr, String> {
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

fn target(text: &str) -> Result<Target, String> {
    if matches!(text, "default" | "any" | "all") {
        return Ok(Target::Everything);
    }
    prefix(text, address).map(|(address, len)| Target::Prefix { address, len })
}

/// `VALUE[/MASK]`; without a mask all bits count.
fn mark(text: &str) -> Result<(u32, u32), String> {
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

/// What the keyword wants, for a hint.
fn expectation(keyword: &Keyword, form: &Form) -> String {
    let default =
        keyword.default.map_or(String::new(), |default| format!("; without the keyword it is {default}"));
    format!("`{}` takes {}{default}", keyword.name, wants(form))
}

/// What follows a keyword of the form.
pub fn wants(form: &Form) -> String {
    match form {
        Form::Block(Block::Instance) => "a name, and a block".to_owned(),
        Form::Block(_) => "a block".to_owned(),
        Form::Bare(_) => "nothing".to_owned(),
        Form::Flag(_) => "`on`, `off` or nothing, which means `on`".to_owned(),
        Form::Text(_) => "one word, or text in double quotes".to_owned(),
        Form::Choice { of, .. } => format!("one of {}", of.join(", ")),
        Form::Whole { min, max, .. } => format!("a whole number, {min} to {max}"),
        Form::Seconds { max_s, .. } => format!("whole seconds, 0 to {max_s}"),
        Form::Decimal { min_us, max_us, .. } => {
            format!("{} to {} seconds", seconds(*min_us), seconds(*max_us))
        }
        Form::Interface(_) => {
            format!("1 to {INTERFACE_NAME_LEN_MAX} bytes without blank, `/` and `:`")
        }
        Form::Unicast(_) => "a unicast address".to_owned(),
        Form::Multicast { family: Some(Family::V4), .. } => "an IPv4 address in 224.0.0.0/4".to_owned(),
        Form::Multicast { family: Some(Family::V6), .. } => "an IPv6 address in ff02::/16".to_owned(),
        Form::Multicast { family: None, .. } => "an address in 224.0.0.0/4 or ff02::/16".to_owned(),
        Form::Target(_) => "`ADDRESS/LENGTH` or `default`".to_owned(),
        Form::Named { of, min, max, .. } => {
            let names: Vec<_> = of.iter().map(|(name, _)| *name).collect();
            format!("a number, {min} to {max}, or one of {}", names.join(", "))
        }
        Form::Mark(_) => "`VALUE` or `VALUE/MASK`, decimal or with `0x`".to_owned(),
        Form::Vmac(_) => "nothing; what keepalived lets follow has no effect".to_owned(),
        Form::IncludeCheck => {
            "nothing, or some of readable, match, wildcard_match and brace_match, each with `+`, `-` or nothing before it"
                .to_owned()
        }
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

/// IFNAMSIZ without the final NUL.
const INTERFACE_NAME_LEN_MAX: usize = 15;
/// The low half of an IPv6 group's second octet (RFC 4291 2.7).
const LINK_LOCAL_SCOPE: u8 = 2;
