//! Reads the words after a keyword as its form demands and hands the value to the form's setter.

use std::{
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use super::{
    keywords::{self, Block, Form, Keyword},
    lexer::Word,
    report::Report,
    settings::{Settings, Spanned},
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
            trailing(words, 1, block, report);
        }
        (Form::Flag(set), None) => set(into, Spanned::new(true, first)),
        (_, None) => {
            let message = format!("{} needs a value", report.quote(first));
            report.error_hint(first.span, message, expectation(keyword, form));
        }
        (Form::Flag(_), Some(word)) if keywords::find(block, &word.text).is_some() => {
            trailing(words, 1, block, report);
        }
        (form, Some(word)) => match apply(form, word, into) {
            Ok(()) => trailing(words, 2, block, report),
            Err(problem) => {
                let message = format!("{} {} {problem}", report.bare(first), report.quote(word));
                report.error_hint(word.span, message, expectation(keyword, form));
            }
        },
    }
}

/// Reports words after the first `used`, which keepalived would swallow.
pub fn trailing(words: &[Word], used: usize, block: Block, report: &mut Report) {
    let (Some(extra), Some(first)) = (words.get(used), words.first()) else {
        return;
    };
    let (shown, keyword) = (report.quote(extra), report.quote(first));
    if keywords::find(block, &extra.text).is_some() {
        let message = format!("second statement on one line: {shown} after {keyword}");
        report.error_hint(extra.span, message, format!("put {shown} on a line of its own"));
    } else {
        let hint = "put text with blanks in double quotes; a comment starts with `#`";
        report.error_hint(extra.span, format!("unexpected {shown} after {keyword}"), hint);
    }
}

fn apply(form: &Form, word: &Word, into: &mut Settings) -> Result<(), String> {
    let text = word.text.as_str();
    match form {
        Form::Block(_) | Form::Bare(_) => {}
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
        Form::Multicast(set) => {
            let address = ipv4(text)?;
            if !address.is_multicast() {
                return Err("is not a multicast address".to_owned());
            }
            set(into, Spanned::new(address, word));
        }
    }
    Ok(())
}

/// An IPv4 address that one host can have.
pub fn unicast(text: &str) -> Result<Ipv4Addr, String> {
    let address = ipv4(text)?;
    let first_octet = address.octets()[0];
    // 0/8 is "this network", 127/8 never leaves the host, 224/4 and above are groups, reserved or broadcast.
    if first_octet == 0 || first_octet == 127 || first_octet >= 224 {
        return Err("is not a unicast address".to_owned());
    }
    Ok(address)
}

fn ipv4(text: &str) -> Result<Ipv4Addr, String> {
    match text.parse() {
        Ok(IpAddr::V4(address)) => Ok(address),
        Ok(IpAddr::V6(_)) => Err("is an IPv6 address: IPv6 is not supported yet".to_owned()),
        Err(_) => Err("is not an IPv4 address".to_owned()),
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
fn decimal_us(text: &str) -> Result<Option<u64>, String> {
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

fn boolean(text: &str) -> Result<bool, String> {
    match text {
        "on" | "true" | "yes" => Ok(true),
        "off" | "false" | "no" => Ok(false),
        _ => Err("is not a boolean".to_owned()),
    }
}

/// What the keyword wants, for a hint.
fn expectation(keyword: &Keyword, form: &Form) -> String {
    let wants = match form {
        Form::Block(_) => "a block in braces".to_owned(),
        Form::Bare(_) => "nothing".to_owned(),
        Form::Flag(_) => "`on`, `off` or nothing, which means `on`".to_owned(),
        Form::Text(_) => "one word, or text in double quotes".to_owned(),
        Form::Choice { of, .. } => format!("one of {}", of.join(", ")),
        Form::Whole { min, max, .. } => format!("a whole number, {min} to {max}"),
        Form::Seconds { max_s, .. } => format!("whole seconds, 0 to {max_s}"),
        Form::Decimal { min_us, max_us, .. } => {
            format!("{} to {} seconds", seconds(*min_us), seconds(*max_us))
        }
        Form::Unicast(_) => "a unicast IPv4 address".to_owned(),
        Form::Multicast(_) => "an IPv4 address in 224.0.0.0/4".to_owned(),
    };
    let default =
        keyword.default.map_or(String::new(), |default| format!("; without the keyword it is {default}"));
    format!("`{}` takes {wants}{default}", keyword.name)
}

/// Microseconds as decimal seconds, without trailing zeros.
pub fn seconds(us: u64) -> String {
    let text = format!("{}.{:06}", us / 1_000_000, us % 1_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
