//! What follows a keyword or stands on a line: read by a description, into values of a type.

use std::{net::Ipv4Addr, time::Duration};

use super::{
    command, octets,
    value::{Secret, Value},
    words,
};
use crate::model::listen::MetricsListen;

/// A part of what follows a keyword, in order.
#[derive(Debug)]
pub enum Arg {
    One(WordKind),
    /// Nothing, or one.
    Opt(WordKind),
    /// The same, but for a word that is one of these.
    OptUnless(WordKind, &'static [&'static str]),
    /// One or more, to the end of the line.
    Many(WordKind),
    /// Any number, to the end of the line.
    Any(WordKind),
    /// Any of these words, each once and with what follows it, in any order, to the end of the line.
    Named(&'static [(&'static str, &'static [Arg])]),
    /// If the next word is one of these it and what follows it, else the rest.
    Either(&'static [(&'static str, &'static [Arg])], &'static [Arg]),
}

/// Names of instances.
pub const INSTANCES: &[Arg] = &[Arg::Many(WordKind::Of("vrrp_instance"))];

/// What one word is.
#[derive(Debug)]
pub enum WordKind {
    Text,
    /// Never shown.
    Secret,
    /// Names the block that it opens; unique among the blocks of its keyword.
    Name,
    /// The name of a block that this keyword opens.
    Of(&'static str),
    Interface,
    Whole {
        min: i64,
        max: i64,
    },
    /// To the microsecond.
    Seconds {
        min_us: u64,
        max_us: u64,
    },
    /// Decimal milliseconds, to the microsecond.
    Millis {
        min_us: u64,
        max_us: u64,
    },
    Flag,
    Choice(&'static [&'static str]),
    Address,
    /// An address that can be asked for an echo.
    Station,
    /// An address and a TCP port.
    Service,
    /// `ADDRESS`, `ADDRESS-LAST` where LAST is the last octet or group or another address, or `ADDRESS/LENGTH`.
    Range,
    /// A mask in dots, or a prefix length.
    Netmask,
    /// An MD5 sum in hexadecimal.
    Md5,
    /// Octets in hexadecimal.
    Octets,
    /// The same, with `x` for a digit that may be any.
    OctetPattern,
    /// Numbers and ranges of them, `200-299`.
    StatusCodes,
    /// A word of a command line.
    ShellWord,
    /// A command and its arguments in one word, split as a shell would.
    Command,
    /// A user or a group of the system.
    Account,
    /// `IP:PORT` or `unix:PATH`.
    Listen,
    /// `on`, `off` or the path of a file.
    OnOrPath,
}

/// What is wrong with words.
#[derive(Debug, PartialEq, Eq)]
pub enum Problem {
    /// The words end too early.
    Missing,
    /// With the word of this index; how.
    Bad(usize, String),
    /// The word of this index belongs to nothing.
    Extra(usize),
    /// The word of this index was there before.
    Again(usize),
}

/// The values of `words`; where one is wrong, those before it.
pub fn read(args: &[Arg], words: &[&str]) -> (Vec<(usize, Value)>, Option<Problem>) {
    let mut reader = Reader { words, at: 0, values: Vec::new() };
    let extra = |at: usize| (at < words.len()).then_some(Problem::Extra(at));
    let problem = match reader.args(args) {
        Ok(()) => extra(reader.at),
        Err(problem) => Some(problem),
    };
    (reader.values, problem)
}

struct Reader<'r> {
    words: &'r [&'r str],
    at: usize,
    /// With the index of the word.
    values: Vec<(usize, Value)>,
}

impl Reader<'_> {
    fn args(&mut self, args: &[Arg]) -> Result<(), Problem> {
        for arg in args {
            match arg {
                Arg::One(kind) => self.one(kind)?,
                Arg::Opt(kind) if self.word().is_some() => self.one(kind)?,
                Arg::OptUnless(kind, names) if self.word().is_some_and(|word| !names.contains(&word)) => {
                    self.one(kind)?;
                }
                Arg::Opt(_) | Arg::OptUnless(..) => {}
                Arg::Many(kind) | Arg::Any(kind) => {
                    if matches!(arg, Arg::Many(_)) {
                        self.one(kind)?;
                    }
                    while self.word().is_some() {
                        self.one(kind)?;
                    }
                }
                Arg::Named(names) => self.named(names)?,
                Arg::Either(names, other) => {
                    let found = self.word().and_then(|word| names.iter().find(|(name, _)| *name == word));
                    match found {
                        Some((name, args)) => self.literal(name, args)?,
                        None => self.args(other)?,
                    }
                }
            }
        }
        Ok(())
    }

    fn named(&mut self, names: &[(&'static str, &[Arg])]) -> Result<(), Problem> {
        let mut seen = Vec::new();
        while let Some(word) = self.word() {
            let Some((name, args)) = names.iter().find(|(name, _)| *name == word) else {
                return Err(Problem::Extra(self.at));
            };
            if seen.contains(name) {
                return Err(Problem::Again(self.at));
            }
            seen.push(name);
            self.literal(name, args)?;
        }
        Ok(())
    }

    fn literal(&mut self, name: &'static str, args: &[Arg]) -> Result<(), Problem> {
        self.values.push((self.at, Value::Word(name)));
        self.at += 1;
        self.args(args)
    }

    fn one(&mut self, kind: &WordKind) -> Result<(), Problem> {
        let word = self.word().ok_or(Problem::Missing)?;
        let value = kind.read(word).map_err(|problem| Problem::Bad(self.at, problem))?;
        self.values.push((self.at, value));
        self.at += 1;
        Ok(())
    }

    fn word(&self) -> Option<&str> {
        self.words.get(self.at).copied()
    }
}

impl WordKind {
    fn read(&self, text: &str) -> Result<Value, String> {
        Ok(match self {
            Self::Text | Self::Name | Self::Of(_) if text.is_empty() => return Err("is empty".to_owned()),
            Self::Text => Value::Text(text.to_owned()),
            Self::ShellWord => Value::ShellWord(text.to_owned()),
            Self::Name => Value::Name(text.to_owned()),
            Self::Of(keyword) => Value::Of(keyword, text.to_owned()),
            Self::Secret => Value::Secret(Secret(text.to_owned())),
            Self::Interface => Value::Text(words::interface(text)?),
            Self::Whole { min, max } => Value::Number(whole(text, *min, *max)?),
            Self::Seconds { min_us, max_us } => {
                Value::Seconds(time(words::decimal_us(text)?, *min_us, *max_us, 1, "s")?)
            }
            Self::Millis { min_us, max_us } => {
                let ms = words::decimal_us(text)?;
                Value::Millis(time(ms.map(|ms| ms / 1_000), *min_us, *max_us, 1_000, "ms")?)
            }
            Self::Flag => Value::Flag(words::boolean(text)?),
            Self::Choice(of) => {
                Value::Word(of.iter().find(|choice| **choice == text).ok_or("is not a known value")?)
            }
            Self::Address => Value::Address(words::address(text)?),
            Self::Station => Value::Target(words::station(text)?),
            Self::Service => Value::Target(words::service(text)?),
            Self::Range => {
                range(text)?;
                Value::Text(text.to_owned())
            }
            Self::Netmask => {
                netmask(text)?;
                Value::Text(text.to_owned())
            }
            Self::Md5 => {
                if text.len() != 32 || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                    return Err("is no MD5 sum of 32 hexadecimal digits".to_owned());
                }
                Value::Text(text.to_owned())
            }
            Self::StatusCodes => {
                status_codes(text)?;
                Value::Text(text.to_owned())
            }
            Self::Command => Value::Command(command::split(text)?),
            Self::Listen => {
                let listen = MetricsListen::parse(text).ok_or(
                    "is not IP:PORT, as in 127.0.0.1:9812 or [::1]:9812, or unix: and an absolute path",
                )?;
                Value::Text(listen.to_string())
            }
            Self::Octets if octets::hexadecimal(text).is_some() => Value::Text(text.to_owned()),
            Self::OctetPattern if octets::pattern(text).is_some() => Value::Text(text.to_owned()),
            Self::Octets | Self::OctetPattern => return Err("is not in octets".to_owned()),
            Self::OnOrPath if matches!(text, "on" | "off") || text.starts_with('/') => {
                Value::Text(text.to_owned())
            }
            Self::OnOrPath => return Err("is neither a switch nor a whole path".to_owned()),
            Self::Account => {
                let possible = |c: char| c.is_alphanumeric() || "._@-".contains(c);
                if text.is_empty() || !text.chars().all(possible) {
                    return Err("cannot be the name of a user or group".to_owned());
                }
                Value::Text(text.to_owned())
            }
        })
    }

    fn wants(&self) -> String {
        match self {
            Self::Text => "text".to_owned(),
            Self::ShellWord => "a word, in quotes if it has blanks".to_owned(),
            Self::Secret => "a secret".to_owned(),
            Self::Name => "a name".to_owned(),
            Self::Of(keyword) => format!("the name of a `{keyword}`"),
            Self::Interface => "an interface".to_owned(),
            Self::Whole { min, max } if *max >= i64::from(u32::MAX) => format!("a whole number from {min}"),
            Self::Whole { min, max } => format!("a whole number, {min} to {max}"),
            Self::Seconds { min_us, max_us } => {
                format!("{} to {} seconds", words::seconds(*min_us), words::seconds(*max_us))
            }
            Self::Millis { min_us, max_us } => {
                format!("{} to {} milliseconds", words::millis(*min_us), words::millis(*max_us))
            }
            Self::Flag => "`on` or `off`".to_owned(),
            Self::Choice(of) => format!("one of {}", of.join(", ")),
            Self::Address => "an address".to_owned(),
            Self::Station => "an address as in `10.0.0.1` or `fe80::1%eth0`".to_owned(),
            Self::Service => "an address and a port as in `10.0.0.1:80` or `[2001:db8::1]:80`".to_owned(),
            Self::Range => {
                "an address, or several as in `10.0.0.1-5`, `10.0.0.1-10.0.1.5` or `10.0.0.8/29`".to_owned()
            }
            Self::Netmask => "a mask as in `255.255.255.0`, or a length, 1 to 128".to_owned(),
            Self::Md5 => "an MD5 sum of 32 hexadecimal digits".to_owned(),
            Self::StatusCodes => "status codes as in `200` or `200-299`".to_owned(),
            Self::Command => "a command, in double quotes if it has arguments".to_owned(),
            Self::Account => "a user or group".to_owned(),
            Self::Listen => "`IP:PORT` or `unix:PATH`".to_owned(),
            Self::Octets => "octets of one or two hexadecimal digits".to_owned(),
            Self::OctetPattern => "octets of one or two hexadecimal digits, `x` for any".to_owned(),
            Self::OnOrPath => "`on`, `off` or the whole path of a file".to_owned(),
        }
    }
}

/// What follows a keyword, for a hint or the reference.
pub fn wants(args: &[Arg]) -> String {
    let parts: Vec<String> = args.iter().map(part).collect();
    if parts.is_empty() { "nothing".to_owned() } else { parts.join(", then ") }
}

fn part(arg: &Arg) -> String {
    let list = |names: &[(&str, &[Arg])]| {
        let of = |(name, args): &(&str, &[Arg])| match args {
            [] => format!("`{name}`"),
            args => format!("`{name}` with {}", wants(args)),
        };
        names.iter().map(of).collect::<Vec<_>>().join("; ")
    };
    match arg {
        Arg::One(kind) => kind.wants(),
        Arg::Opt(kind) | Arg::OptUnless(kind, _) => format!("{} or nothing", kind.wants()),
        Arg::Many(kind) => format!("{}, once or more", kind.wants()),
        Arg::Any(kind) => format!("{}, any number", kind.wants()),
        Arg::Named(names) => format!("any of: {}", list(names)),
        Arg::Either(names, other) => format!("{}; or {}", list(names), wants(other)),
    }
}

fn whole(text: &str, min: i64, max: i64) -> Result<i64, String> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err("is not a whole number".to_owned());
    }
    let number = text.parse().ok().filter(|number| (min..=max).contains(number));
    number.ok_or_else(|| format!("is out of range: {min} to {max}"))
}

/// `us` of a time, if it is in range; messages have it in units of `us_a_unit`.
fn time(us: Option<u64>, min_us: u64, max_us: u64, thousandths: u64, unit: &str) -> Result<Duration, String> {
    let show = |us: u64| words::seconds(us.saturating_mul(thousandths));
    us.filter(|us| (min_us..=max_us).contains(us))
        .map(Duration::from_micros)
        .ok_or_else(|| format!("is out of range: {} to {} {unit}", show(min_us), show(max_us)))
}

fn range(text: &str) -> Result<(), String> {
    let (first, last) = text.split_once('-').map_or((text, None), |(first, last)| (first, Some(last)));
    if last.is_none() {
        return words::prefix(text, words::address).map(drop);
    }
    let address = words::address(first)?;
    if let Some(Ok(end)) = last.map(words::address) {
        let in_order = address.is_ipv4() == end.is_ipv4() && address <= end;
        return if in_order { Ok(()) } else { Err("ends before it begins".to_owned()) };
    }
    let (digits, radix) = if address.is_ipv4() { (255, 10) } else { (0xffff, 16) };
    let of = |text: &str| u32::from_str_radix(text, radix).ok();
    let from = first.rsplit(['.', ':']).next().and_then(of).unwrap_or(0);
    match last.map(of) {
        None => Ok(()),
        Some(Some(to)) if (from..=digits).contains(&to) => Ok(()),
        Some(_) => Err(format!("does not end between {first} and the last address of its kind")),
    }
}

fn netmask(text: &str) -> Result<(), String> {
    if text.contains('.') {
        // IPVS takes masks with holes too.
        return text.parse::<Ipv4Addr>().map(drop).map_err(|_| "is not a mask".to_owned());
    }
    words::whole(text, 1, 128).map(drop)
}

fn status_codes(text: &str) -> Result<(), String> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let [first, last] = [first, last].map(|code| words::whole(code, 100, 599));
    let in_order = first? <= last?;
    if in_order { Ok(()) } else { Err("ends before it begins".to_owned()) }
}
