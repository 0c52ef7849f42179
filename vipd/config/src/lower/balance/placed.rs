//! Statements beside the words that they were read from: what was said, and where.

use crate::{
    schema::{
        keyword::{Block, Support},
        statement::{Statement, number, seconds, text},
        table,
        value::Value,
    },
    syntax::{parser::SyntaxNode, span::Span},
};

use std::{net::IpAddr, time::Duration};

/// A statement and its words; of a default there are none.
#[derive(Clone, Copy, Debug)]
pub struct PlacedStatement<'p> {
    pub statement: &'p Statement,
    pub node: Option<&'p SyntaxNode>,
}

/// What a block holds, the defaults of what it does not hold included.
#[derive(Clone, Debug, Default)]
pub struct PlacedBlock<'p> {
    statements: Vec<PlacedStatement<'p>>,
    /// Part of it could not be read.
    pub is_partial: bool,
}

/// The blocks of one keyword at the top level.
pub fn at_the_top<'p>(
    tree: &'p [SyntaxNode],
    statements: &'p [Statement],
    keyword: &'static str,
) -> impl Iterator<Item = PlacedStatement<'p>> {
    let is_it = move |node: &&SyntaxNode| first(node) == Some(keyword) && !node.unsupported;
    let found = statements.iter().filter(move |statement| statement.keyword == keyword);
    found
        .zip(tree.iter().filter(is_it))
        .map(|(statement, node)| PlacedStatement { statement, node: Some(node) })
}

impl<'p> PlacedStatement<'p> {
    /// Where its keyword stands.
    pub fn at(&self) -> Span {
        self.word(0)
    }

    /// Where a value stands, counted from 0; the keyword if it is not there.
    pub fn value_at(&self, value: usize) -> Span {
        self.word(value + usize::from(!self.statement.keyword.is_empty()))
    }

    fn word(&self, at: usize) -> Span {
        let words = self.node.map(|node| node.words.as_slice()).unwrap_or_default();
        words.get(at).or(words.first()).map_or(Span { line: 1, column: 1, width: 1 }, |word| word.span)
    }

    /// Whether the file has it, not only the table of defaults.
    pub fn is_given(&self) -> bool {
        self.node.is_some()
    }

    /// The lines or statements in its braces, which hold keywords of `block`, or lines.
    pub fn inside(&self, block: Option<Block>) -> PlacedBlock<'p> {
        let children = self.node.and_then(|node| node.block.as_deref()).unwrap_or_default();
        // As `Lowering::inside` and `Lowering::lines` choose them.
        let is_read = |node: &&SyntaxNode| match (first(node), block) {
            _ if node.unsupported => false,
            (None, _) => false,
            (Some(_), None) => true,
            (Some(word), Some(block)) => {
                table::find(block, word).is_some_and(|row| matches!(row.status, Support::Grammar { .. }))
            }
        };
        let mut nodes = children.iter().filter(is_read);
        let placed = |statement: &'p Statement| PlacedStatement {
            statement,
            node: if statement.place.is_some() { nodes.next() } else { None },
        };
        PlacedBlock {
            statements: self.statement.inside.iter().flatten().map(placed).collect(),
            is_partial: children.iter().any(|node| node.unsupported),
        }
    }

    pub fn number(&self) -> Option<u32> {
        number(&self.statement.values).and_then(|number| u32::try_from(number).ok())
    }

    /// A number that may be negative.
    pub fn signed(&self) -> Option<i32> {
        number(&self.statement.values).and_then(|number| i32::try_from(number).ok())
    }

    pub fn port(&self) -> Option<u16> {
        self.number().and_then(|port| u16::try_from(port).ok())
    }

    pub fn seconds(&self) -> Option<Duration> {
        seconds(self.statement, 0)
    }

    /// The first address on its line.
    pub fn address(&self) -> Option<IpAddr> {
        let address = |value: &Value| if let Value::Address(address) = value { Some(*address) } else { None };
        self.statement.values.iter().find_map(address)
    }

    /// The first text or name on its line.
    pub fn text(&self) -> Option<&'p str> {
        Some(text(&self.statement.values, 0)).filter(|text| !text.is_empty())
    }

    /// The first of the words that the keyword knows.
    pub fn choice(&self) -> Option<&'static str> {
        let word = |value: &Value| if let Value::Word(word) = value { Some(*word) } else { None };
        self.statement.values.iter().find_map(word)
    }
}

impl<'p> PlacedBlock<'p> {
    /// The last statement that means what `means` does: it is the one that counts.
    pub fn find(&self, means: &str) -> Option<PlacedStatement<'p>> {
        self.all(means).next_back()
    }

    /// The same, unless it is a default.
    pub fn given(&self, means: &str) -> Option<PlacedStatement<'p>> {
        self.find(means).filter(PlacedStatement::is_given)
    }

    /// All of them, in the order of the file.
    pub fn all<'a>(&'a self, means: &'a str) -> impl DoubleEndedIterator<Item = PlacedStatement<'p>> + 'a {
        let is_it = move |name: &str| name == means || table::meaning(name) == means;
        self.statements.iter().filter(move |placed| is_it(placed.statement.keyword)).copied()
    }

    pub fn iter(&self) -> impl Iterator<Item = PlacedStatement<'p>> {
        self.statements.iter().copied()
    }

    /// A switch that is off unless given.
    pub fn is_on(&self, means: &str) -> bool {
        self.find(means).is_some_and(|placed| placed.statement.is_on())
    }
}

fn first(node: &SyntaxNode) -> Option<&str> {
    node.words.first().map(|word| word.text.as_str())
}
