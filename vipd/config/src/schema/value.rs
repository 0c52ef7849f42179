//! What words say, once they are read.

use std::{fmt, net::IpAddr, time::Duration};

use super::{
    command,
    words::{self, Network},
};
use crate::model::arbiter::Target;

/// What a word said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Text(String),
    Secret(Secret),
    /// Of the block that it opens.
    Name(String),
    /// The name of a block that this keyword opens.
    Of(&'static str, String),
    /// One of the words that a keyword knows.
    Word(&'static str),
    Number(i64),
    Seconds(Duration),
    Millis(Duration),
    Flag(bool),
    Address(IpAddr),
    Target(Target),
    ShellWord(String),
    Command(Vec<String>),
    Network(Network),
    /// Value and mask.
    Mark(u32, u32),
}

/// What is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub(super) String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("****")
    }
}

impl Secret {
    /// What it is, for those who use it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl Value {
    /// As the language has it; a secret only if it may be seen.
    pub fn print(&self, secrets: bool) -> String {
        match self {
            Self::Secret(_) if !secrets => "****".to_owned(),
            Self::Text(text) | Self::Name(text) | Self::Of(_, text) | Self::Secret(Secret(text)) => {
                words::word(text)
            }
            Self::Word(word) => (*word).to_owned(),
            Self::Number(number) => number.to_string(),
            Self::Seconds(time) => words::seconds(micros(*time)),
            Self::Millis(time) => words::millis(micros(*time)),
            Self::Flag(on) => if *on { "on" } else { "off" }.to_owned(),
            Self::Address(address) => address.to_string(),
            Self::Target(target) => target.to_string(),
            Self::ShellWord(word) => command::quoted(word),
            Self::Command(words) => command::join(words),
            Self::Network(Network::Everything) => "default".to_owned(),
            Self::Network(Network::Prefix { address, len }) => format!("{address}/{len}"),
            Self::Mark(value, mask) => format!("{value:#x}/{mask:#x}"),
        }
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
