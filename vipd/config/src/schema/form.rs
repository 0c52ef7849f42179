//! What follows a keyword that vipd knows by itself.

use std::time::Duration;

use vipd_common::Family;

use super::{
    keyword::{Block, Form, Keyword},
    value::Value,
    words,
};

impl Form {
    /// The value of a word.
    ///
    /// # Errors
    ///
    /// What is wrong with the word, as the rest of a sentence about it.
    pub fn read(&self, text: &str) -> Result<Value, String> {
        Ok(match self {
            Self::Block(_) | Self::Bare | Self::Vmac | Self::IncludeCheck => Value::Flag(true),
            Self::Stands(word) => Value::Word(word),
            Self::Flag => Value::Flag(words::boolean(text)?),
            Self::NotFlag => Value::Flag(!words::boolean(text)?),
            Self::Text => Value::Text(text.to_owned()),
            Self::Choice(of) => {
                Value::Word(of.iter().find(|choice| **choice == text).ok_or("is not a known value")?)
            }
            Self::Whole { min, max } => Value::Number(words::whole(text, *min, *max)?.into()),
            Self::Seconds { max_s } => {
                Value::Seconds(Duration::from_secs(words::whole(text, 0, *max_s)?.into()))
            }
            Self::Decimal { min_us, max_us } => {
                let us = words::decimal_us(text)?.filter(|us| (*min_us..=*max_us).contains(us));
                let seconds = words::seconds;
                Value::Seconds(us.map(Duration::from_micros).ok_or_else(|| {
                    format!("is out of range: {} to {} s", seconds(*min_us), seconds(*max_us))
                })?)
            }
            Self::Unicast => Value::Address(words::unicast(text)?),
            Self::Interface => Value::Text(words::interface(text)?),
            Self::Multicast(family) => Value::Address(words::multicast(text, *family)?),
            Self::Network => Value::Network(words::network(text)?),
            Self::Named { of, min, max } => {
                let named = of.iter().find(|(name, _)| *name == text).map(|(_, number)| *number);
                let number = match named {
                    Some(number) => number,
                    None if text.starts_with(|c: char| c.is_ascii_digit()) => words::whole(text, *min, *max)?,
                    None => return Err("is neither a number nor a known name".to_owned()),
                };
                Value::Number(number.into())
            }
            Self::Mark => {
                let (value, mask) = words::mark(text)?;
                Value::Mark(value, mask)
            }
        })
    }
}

/// What the keyword wants, for a hint.
pub fn expectation(keyword: &Keyword, form: &Form) -> String {
    let default =
        keyword.default.map_or(String::new(), |default| format!("; without the keyword it is {default}"));
    format!("`{}` takes {}{default}", keyword.name, wants(form))
}

/// What follows a keyword of the form.
pub fn wants(form: &Form) -> String {
    match form {
        Form::Block(Block::Instance) => "a name, and a block".to_owned(),
        Form::Block(_) => "a block".to_owned(),
        Form::Bare | Form::Stands(_) => "nothing".to_owned(),
        Form::Flag | Form::NotFlag => "`on`, `off` or nothing, which means `on`".to_owned(),
        Form::Text => "one word, or text in double quotes".to_owned(),
        Form::Choice(of) => format!("one of {}", of.join(", ")),
        Form::Whole { min, max } => format!("a whole number, {min} to {max}"),
        Form::Seconds { max_s } => format!("whole seconds, 0 to {max_s}"),
        Form::Decimal { min_us, max_us } => {
            format!("{} to {} seconds", words::seconds(*min_us), words::seconds(*max_us))
        }
        Form::Interface => {
            format!("1 to {} bytes without blank, `/` and `:`", words::INTERFACE_NAME_LEN_MAX)
        }
        Form::Unicast => "a unicast address".to_owned(),
        Form::Multicast(Some(Family::V4)) => "an IPv4 address in 224.0.0.0/4".to_owned(),
        Form::Multicast(Some(Family::V6)) => "an IPv6 address in ff02::/16".to_owned(),
        Form::Multicast(None) => "an address in 224.0.0.0/4 or ff02::/16".to_owned(),
        Form::Network => "`ADDRESS/LENGTH` or `default`".to_owned(),
        Form::Named { of, min, max } => {
            let names: Vec<_> = of.iter().map(|(name, _)| *name).collect();
            format!("a number, {min} to {max}, or one of {}", names.join(", "))
        }
        Form::Mark => "`VALUE` or `VALUE/MASK`, decimal or with `0x`".to_owned(),
        Form::Vmac => "nothing; what keepalived lets follow has no effect".to_owned(),
        Form::IncludeCheck => {
            "nothing, or some of readable, match, wildcard_match and brace_match, each with `+`, `-` or nothing before it"
                .to_owned()
        }
    }
}
