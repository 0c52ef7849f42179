//! Looking at statements that were read by a grammar.

use std::time::Duration;

use super::{grammar::Value, model::Statement};

/// The last statement of a keyword: it is the one that counts.
pub fn find<'s>(statements: &'s [Statement], keyword: &str) -> Option<&'s Statement> {
    statements.iter().rfind(|statement| statement.keyword == keyword)
}

/// A text or name; empty if it is none.
pub fn text(values: &[Value], at: usize) -> &str {
    match values.get(at) {
        Some(Value::Text(text) | Value::Name(text) | Value::Of(_, text)) => text,
        _ => "",
    }
}

/// The first number.
pub fn number(values: &[Value]) -> Option<i64> {
    values.iter().find_map(|value| if let Value::Number(number) = value { Some(*number) } else { None })
}

/// The number after a keyword whose range is of positive numbers; 1 if it is not given.
pub fn count(statements: &[Statement], keyword: &str) -> u32 {
    let given = find(statements, keyword).and_then(|given| number(&given.values));
    given.and_then(|given| u32::try_from(given).ok()).unwrap_or(1)
}

pub fn seconds(statement: &Statement, at: usize) -> Option<Duration> {
    match statement.values.get(at) {
        Some(Value::Seconds(time)) => Some(*time),
        _ => None,
    }
}

impl Statement {
    /// What its braces hold.
    pub fn lines(&self) -> impl Iterator<Item = &Self> {
        self.inside.iter().flatten()
    }

    /// Whether a word that the keyword knows stands on its line.
    pub fn has(&self, word: &str) -> bool {
        self.values.iter().any(|value| matches!(value, Value::Word(known) if *known == word))
    }

    /// A switch, which is on if nothing follows it.
    pub fn is_on(&self) -> bool {
        !matches!(self.values.first(), Some(Value::Flag(false)))
    }
}
