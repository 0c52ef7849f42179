//! Statements that were read by their rows: what `lower` makes the model of, and what `explain` prints.

use std::time::Duration;

use super::value::Value;

/// A statement that was read by a grammar; what it says is valid by itself.
#[derive(Clone, Debug)]
pub struct Statement {
    /// As the file has it; none on a line of a block of lines.
    pub keyword: &'static str,
    pub values: Vec<Value>,
    /// What its braces hold. Where a keyword with a default was not given, the default.
    pub inside: Option<Vec<Statement>>,
    /// `FILE:LINE`; `None`: a default.
    pub place: Option<String>,
    /// Whether vipd does what it says.
    pub served: bool,
}

/// Two that say the same are the same wherever they stand.
impl PartialEq for Statement {
    fn eq(&self, other: &Self) -> bool {
        let Self { keyword, values, inside, place: _, served: _ } = self;
        *keyword == other.keyword && *values == other.values && *inside == other.inside
    }
}

/// The last statement of a keyword: it is the one that counts.
pub fn find<'s>(statements: &'s [Statement], keyword: &str) -> Option<&'s Statement> {
    statements.iter().rfind(|statement| statement.keyword == keyword)
}

/// Whether a switch is given, and on.
pub fn is_on(statements: &[Statement], keyword: &str) -> bool {
    find(statements, keyword).is_some_and(Statement::is_on)
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

/// The number after a keyword, if it is there.
pub fn number_of(statements: &[Statement], keyword: &str) -> Option<i64> {
    number(&find(statements, keyword)?.values)
}

/// The number after a keyword whose range is of positive numbers; 1 if it is not given.
pub fn count(statements: &[Statement], keyword: &str) -> u32 {
    number_of(statements, keyword).and_then(|given| u32::try_from(given).ok()).unwrap_or(1)
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
