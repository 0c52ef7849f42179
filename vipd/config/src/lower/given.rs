//! What a file says, block by block and value by value: each is in range by itself, whether they fit together is not known yet.

use std::{
    collections::{HashMap, HashSet, hash_map::Entry},
    net::IpAddr,
    time::Duration,
};

use vipd_common::Family;

use crate::{
    model::{
        address::{UnicastPeer, Vip},
        arbiter::Target,
        route::{VirtualRoute, VirtualRule},
        weighing::TrackKind,
    },
    schema::{keyword::Block, statement::Statement, table, value::Value, words::Network},
    syntax::{
        parser::SyntaxNode,
        span::{Span, Word},
    },
};

/// The keywords of one block, its sub-blocks included, or the words of one line.
#[derive(Clone, Debug, Default)]
pub struct Given {
    pub values: Values,
    /// With the interface of each `dev`, even where it is the instance's own.
    pub vips: Vec<Spanned<Vip>>,
    pub excluded: Vec<Spanned<Vip>>,
    pub peers: Vec<Spanned<UnicastPeer>>,
    pub routes: Vec<VirtualRoute>,
    pub rules: Vec<VirtualRule>,
    /// Of `heartbeat_interface`.
    pub heartbeat_links: Vec<Spanned<String>>,
    /// What the lines of `track_*` blocks name.
    pub tracked: Vec<PlacedTrack>,
    /// What was read by a grammar, in the order of the file.
    pub statements: Vec<Statement>,
    /// What was given, whether or not its value could be used.
    pub seen: GivenPlaces,
    /// Of the first line of `virtual_ipaddress`, whether or not its address could be read.
    pub first_family: Option<Family>,
    /// Part of the block could not be read, so what is missing may be there.
    pub partial: bool,
}

/// What keywords say, by what they mean: the last of each.
#[derive(Clone, Debug, Default)]
pub struct Values(HashMap<&'static str, Spanned<Value>>);

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spanned<T> {
    pub value: T,
    pub span: Span,
}

/// Where keywords were given first and last, by their `means`.
#[derive(Clone, Debug, Default)]
pub struct GivenPlaces(HashMap<&'static str, (Span, Span)>);

impl GivenPlaces {
    pub fn add(&mut self, means: &'static str, span: Span) {
        self.0.entry(means).and_modify(|(_, last)| *last = span).or_insert((span, span));
    }

    pub fn has(&self, means: &str) -> bool {
        self.0.contains_key(means)
    }

    pub fn last(&self) -> impl Iterator<Item = (&'static str, Span)> {
        self.0.iter().map(|(means, (_, last))| (*means, *last))
    }
}

/// One `vrrp_instance` as the file has it.
pub struct Draft {
    pub name: String,
    /// `` `vrrp_instance NAME` ``.
    pub title: String,
    pub keyword_at: Span,
    pub name_at: Span,
    pub given: Given,
}

/// Names of blocks, and where they are asked for. Each with the keyword that opens such a block.
#[derive(Debug, Default)]
pub struct Names {
    pub given: HashMap<(&'static str, String), Span>,
    pub wanted: Vec<WantedName>,
    /// Of blocks whose keyword is misspelt.
    pub misspelt: HashSet<(&'static str, String)>,
    /// Blocks whose name is taken, with what to say of each.
    pub again: Vec<(Span, String, String)>,
    /// Of sync groups.
    pub members: HashMap<String, Span>,
    pub arbiters: Vec<PlacedArbiter>,
    pub sessions: Vec<PlacedBfd>,
    pub groups: Vec<PlacedGroup>,
}

/// A name that is asked for.
#[derive(Debug)]
pub struct WantedName {
    /// The keyword that opens a block of that name.
    pub of: &'static str,
    pub word: Word,
    /// What asks for it is ignored.
    pub is_ignored: bool,
}

/// A line of a `track_*` block where the file has it.
#[derive(Clone, Debug)]
pub struct PlacedTrack {
    pub kind: TrackKind,
    pub name: Word,
}

/// What a sync group tracks, where the file has it.
#[derive(Debug)]
pub struct PlacedGroup {
    pub name: String,
    pub tracked: Vec<PlacedTrack>,
}

/// An arbiter where the file has it.
#[derive(Debug)]
pub struct PlacedArbiter {
    pub name: Word,
    pub targets: Vec<(Target, Span)>,
}

/// A session of BFD where the file has it.
#[derive(Debug)]
pub struct PlacedBfd {
    pub name: Word,
    /// Where it says who alone it is for.
    pub alone: Option<Span>,
}

/// A block that was read by grammars.
pub struct Section<'s> {
    /// The statement that the block belongs to.
    pub node: &'s SyntaxNode,
    pub children: &'s [SyntaxNode],
    pub given: &'s Given,
    /// The statement's keyword and name as a message calls it.
    pub title: &'s str,
}

impl Given {
    /// Where a keyword was given; `means` is its own name unless it is a synonym.
    pub fn seen_at(&self, means: &str) -> Option<Span> {
        self.seen.0.get(means).map(|(first, _)| *first)
    }
}

impl Values {
    pub fn set(&mut self, means: &'static str, value: Value, span: Span) {
        self.0.insert(means, Spanned { value, span });
    }

    /// These values of an instance, and those of `global_defs` where there are none.
    pub fn or(&self, global: &Self) -> Self {
        let mut values = self.clone();
        for row in table::rows(Block::Instance).iter().filter(|row| row.name == row.means) {
            if let Some(value) = row.global.and_then(|name| global.0.get(name))
                && let Entry::Vacant(entry) = values.0.entry(row.means)
            {
                entry.insert(value.clone());
            }
        }
        values
    }

    pub fn remove(&mut self, means: &str) {
        self.0.remove(means);
    }

    /// Where the value stands.
    pub fn at(&self, means: &str) -> Option<Span> {
        self.0.get(means).map(|given| given.span)
    }

    fn get<T>(&self, means: &str, read: impl FnOnce(&Value) -> Option<T>) -> Option<Spanned<T>> {
        let given = self.0.get(means)?;
        Some(Spanned { value: read(&given.value)?, span: given.span })
    }

    pub fn number(&self, means: &str) -> Option<Spanned<u32>> {
        self.get(
            means,
            |value| if let Value::Number(number) = value { u32::try_from(*number).ok() } else { None },
        )
    }

    /// For numbers whose row keeps them below 256.
    pub fn octet(&self, means: &str) -> Option<u8> {
        self.number(means).map(|number| u8::try_from(number.value).unwrap_or(u8::MAX))
    }

    pub fn seconds(&self, means: &str) -> Option<Spanned<Duration>> {
        self.get(means, |value| if let Value::Seconds(time) = value { Some(*time) } else { None })
    }

    pub fn flag(&self, means: &str) -> Option<Spanned<bool>> {
        self.get(means, |value| if let Value::Flag(on) = value { Some(*on) } else { None })
    }

    pub fn is_on(&self, means: &str, default: bool) -> bool {
        self.flag(means).map_or(default, |flag| flag.value)
    }

    pub fn text(&self, means: &str) -> Option<Spanned<String>> {
        self.get(means, |value| if let Value::Text(text) = value { Some(text.clone()) } else { None })
    }

    /// One of the words that the keyword knows.
    pub fn word(&self, means: &str) -> Option<Spanned<&'static str>> {
        self.get(means, |value| if let Value::Word(word) = value { Some(*word) } else { None })
    }

    pub fn address(&self, means: &str) -> Option<Spanned<IpAddr>> {
        self.get(means, |value| if let Value::Address(address) = value { Some(*address) } else { None })
    }

    pub fn network(&self, means: &str) -> Option<Spanned<Network>> {
        self.get(means, |value| if let Value::Network(network) = value { Some(*network) } else { None })
    }

    /// Value and mask.
    pub fn mark(&self, means: &str) -> Option<(u32, u32)> {
        self.get(
            means,
            |value| if let Value::Mark(value, mask) = value { Some((*value, *mask)) } else { None },
        )
        .map(|mark| mark.value)
    }
}

impl<T> Spanned<T> {
    pub fn new(value: T, word: &Word) -> Self {
        Self { value, span: word.span }
    }
}
