//! What follows a keyword that vipd knows by itself.

use std::time::Duration;

use vipd_common::Family;

use super::{
    keyword::{Block, Keyword, KeywordForm},
    value::Value,
    words,
};

impl KeywordForm {
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
            Self::Unicast | Self::Source => Value::Address(words::unicast(text)?),
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
pub fn expectation(keyword: &Keyword, form: &KeywordForm) -> String {
    let default =
        keyword.default.map_or(String::new(), |default| format!("; without the keyword it is {default}"));
    format!("`{}` takes {}{default}", keyword.name, wants(form))
}

/// What follows a keyword of the form.
pub fn wants(form: &KeywordForm) -> String {
    match form {
        KeywordForm::Block(Block::Instance) => "a name, and a block".to_owned(),
        KeywordForm::Block(_) => "a block".to_owned(),
        KeywordForm::Bare | KeywordForm::Stands(_) => "nothing".to_owned(),
        KeywordForm::Flag | KeywordForm::NotFlag => "`on`, `off` or nothing, which means `on`".to_owned(),
        KeywordForm::Text => "one word, or text in double quotes".to_owned(),
        KeywordForm::Choice(of) => format!("one of {}", of.join(", ")),
        KeywordForm::Whole { min, max } => format!("a whole number, {min} to {max}"),
        KeywordForm::Seconds { max_s } => format!("whole seconds, 0 to {max_s}"),
        KeywordForm::Decimal { min_us, max_us } => {
            format!("{} to {} seconds", words::seconds(*min_us), words::seconds(*max_us))
        }
        KeywordForm::Interface => {
            format!("1 to {} bytes without blank, `/` and `:`", words::INTERFACE_NAME_LEN_MAX)
        }
        KeywordForm::Unicast | KeywordForm::Source => "a unicast address".to_owned(),
        KeywordForm::Multicast(Some(Family::V4)) => "an IPv4 address in 224.0.0.0/4".to_owned(),
        KeywordForm::Multicast(Some(Family::V6)) => "an IPv6 address in ff02::/16".to_owned(),
        KeywordForm::Multicast(None) => "an address in 224.0.0.0/4 or ff02::/16".to_owned(),
        KeywordForm::Network => "`ADDRESS/LENGTH` or `default`".to_owned(),
        KeywordForm::Named { of, min, max } => {
            let names: Vec<_> = of.iter().map(|(name, _)| *name).collect();
            format!("a number, {min} to {max}, or one of {}", names.join(", "))
        }
        KeywordForm::Mark => "`VALUE` or `VALUE/MASK`, decimal or with `0x`".to_owned(),
        KeywordForm::Vmac => "nothing; what keepalived lets follow has no effect".to_owned(),
        KeywordForm::IncludeCheck => {
            "nothing, or some of readable, match, wildcard_match and brace_match, each with `+`, `-` or nothing before it"
                .to_owned()
        }
    }
}
