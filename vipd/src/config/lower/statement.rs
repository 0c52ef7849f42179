//! One statement: is its keyword known here, and what do its words say.

use std::{collections::HashMap, slice, time::Duration};

use vipd_common::Version;

use crate::config::{
    diagnostic::{Sink, Span},
    keywords::{self, Block, Key, SharedKey, Status},
    lexer::Token,
    model::LeasePolicy,
    parser::Node,
    values,
};

/// The key of a supported statement; everything else is reported. `place` names the block for messages.
pub fn classify(sink: &mut Sink<'_>, block: Block, place: &str, node: &Node) -> Option<Key> {
    if refuse_preprocessing(sink, &node.keyword, &node.args) {
        return None;
    }
    let Some(row) = keywords::find(block, &node.keyword.text) else {
        unknown(sink, block, place, &node.keyword);
        return None;
    };
    let (span, word) = (node.keyword.span, row.word);
    let key = match row.status {
        Status::NotYet => {
            sink.error(span, format!("`{word}` is not supported yet"));
            return None;
        }
        Status::NoEffect(why) => {
            sink.note(span, format!("`{word}` has no effect: {why}"));
            None
        }
        Status::Supported(key) => Some(key),
    };
    match (&node.body, row.opens) {
        (Some(body), None) => {
            sink.error(body.open, format!("`{word}` takes no block"));
            None
        }
        // The parser reported the missing `{`.
        (None, Some(_)) => None,
        (Some(_), Some(_)) | (None, None) => key,
    }
}

/// Reports includes, conditions, definitions and generators. True if the line is one.
pub fn refuse_preprocessing(sink: &mut Sink<'_>, first: &Token, rest: &[Token]) -> bool {
    let what = match first.text.as_str() {
        "include" | "includer" | "includem" | "includew" | "includeb" | "includea" => {
            format!("`{}`", first.text)
        }
        word if word.starts_with('@') => "a line with an `@` condition".to_owned(),
        word if word.starts_with('$') => "a `$` definition".to_owned(),
        _ => {
            let generated = |token: &&Token| token.text.contains("~SEQ") || token.text.contains("~LST");
            let Some(token) = std::iter::once(first).chain(rest).find(generated) else { return false };
            sink.error(token.span, "a generator (`~SEQ`, `~LST`) is not supported yet");
            return true;
        }
    };
    sink.error_hint(first.span, format!("{what} is not supported yet"), "write the lines out in this file");
    true
}

fn unknown(sink: &mut Sink<'_>, block: Block, place: &str, keyword: &Token) {
    let quoted = sink.quote(keyword);
    let place = if place.is_empty() { String::new() } else { format!(" in {place}") };
    let message = format!("unknown keyword {quoted}{place}");
    let homes = [
        (Block::Root, "the outermost level"),
        (Block::Global, "global_defs"),
        (Block::Instance, "a vrrp_instance"),
        (Block::Authentication, "authentication"),
    ];
    let home = homes.iter().find(|(home, _)| keywords::find(*home, &keyword.text).is_some());
    match (home, keywords::nearest(block, &keyword.text)) {
        (Some((_, home)), _) => {
            sink.error_hint(keyword.span, message, format!("{quoted} belongs in {home}"));
        }
        (None, Some(near)) => sink.error_hint(keyword.span, message, format!("did you mean `{near}`?")),
        (None, None) => sink.error(keyword.span, message),
    }
}

/// A keyword said twice: the last one counts, which is rarely what was meant.
pub fn warn_repeat(sink: &mut Sink<'_>, seen: &mut HashMap<Key, u32>, key: Key, node: &Node) {
    let Span { line, .. } = node.keyword.span;
    if let Some(first) = seen.insert(key, line) {
        let word = &node.keyword.text;
        let message = format!("`{word}` overrides the one in line {first}");
        sink.warning(node.keyword.span, message);
    }
}

/// Reads the words after a keyword.
pub struct Statement<'s, 'a, 'n> {
    pub sink: &'s mut Sink<'a>,
    pub node: &'n Node,
    block: Block,
    rest: slice::Iter<'n, Token>,
}

impl<'s, 'a, 'n> Statement<'s, 'a, 'n> {
    pub fn new(sink: &'s mut Sink<'a>, block: Block, node: &'n Node) -> Self {
        Self { sink, node, block, rest: node.args.iter() }
    }

    /// The next word, which has to be there.
    pub fn word(&mut self, what: &str) -> Option<&'n Token> {
        let token = self.rest.next();
        if token.is_none() {
            let Token { text, span } = &self.node.keyword;
            self.sink.error(*span, format!("`{text}` needs a value: {what}"));
        }
        token
    }

    /// The next word as `read` takes it.
    pub fn value<T>(&mut self, what: &str, read: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        let token = self.word(what)?;
        if token.text.starts_with('$') {
            self.sink.error(token.span, "a `$` definition is not supported yet");
            return None;
        }
        let value = read(&token.text);
        value.map_err(|why| self.complain(token, &why)).ok()
    }

    /// The next word as it stands.
    pub fn text(&mut self, what: &str) -> Option<String> {
        self.value(what, |word| if word.is_empty() { Err("is empty".into()) } else { Ok(word.to_owned()) })
    }

    /// A boolean; the bare keyword means yes.
    pub fn flag(&mut self) -> Option<bool> {
        match self.rest.as_slice().first() {
            None => Some(true),
            // `finish` complains.
            Some(next) if keywords::find(self.block, &next.text).is_some() => Some(true),
            Some(_) => self.value("a boolean", values::boolean),
        }
    }

    pub fn version(&mut self) -> Option<Version> {
        self.value("2 or 3", |word| match word {
            "2" => Ok(Version::V2),
            "3" => Ok(Version::V3),
            _ => Err("is no VRRP version: 2 or 3".to_owned()),
        })
    }

    pub fn complain(&mut self, token: &Token, why: &str) {
        let quoted = self.sink.quote(token);
        self.sink.error(token.span, format!("`{}`: {quoted} {why}", self.node.keyword.text));
    }

    /// Refuses words that are left over.
    pub fn finish(mut self) {
        let Some(extra) = self.rest.next() else { return };
        let quoted = self.sink.quote(extra);
        let message = format!("unexpected {quoted} after `{}`", self.node.keyword.text);
        if keywords::find(self.block, &extra.text).is_some() {
            self.sink.error_hint(extra.span, message, format!("put {quoted} on a line of its own"));
        } else {
            self.sink.error(extra.span, message);
        }
    }
}

/// What `global_defs` and an instance can both say. `None`: not said.
#[derive(Default)]
pub struct Shared {
    pub garp_delay: Option<Option<Duration>>,
    pub garp_repeat: Option<u8>,
    pub garp_refresh: Option<Option<Duration>>,
    pub garp_refresh_repeat: Option<u8>,
    pub lower_prio_delay: Option<Option<Duration>>,
    pub lower_prio_repeat: Option<u8>,
    pub down_timer_adverts: Option<u8>,
    pub lower_prio_no_advert: Option<bool>,
    pub checksum_as_v2: Option<bool>,
    pub lease: Option<LeasePolicy>,
}

impl Shared {
    /// A value that is wrong leaves the field as it was.
    pub fn apply(&mut self, key: SharedKey, statement: &mut Statement<'_, '_, '_>) {
        match key {
            SharedKey::GarpDelay => delay(&mut self.garp_delay, statement),
            SharedKey::GarpRefresh => delay(&mut self.garp_refresh, statement),
            SharedKey::GarpLowerPrioDelay => delay(&mut self.lower_prio_delay, statement),
            // keepalived reads a count of 0 as 1, except after a lower priority advert.
            SharedKey::GarpRepeat => count(&mut self.garp_repeat, 1, statement),
            SharedKey::GarpRefreshRepeat => count(&mut self.garp_refresh_repeat, 1, statement),
            SharedKey::GarpLowerPrioRepeat => count(&mut self.lower_prio_repeat, 0, statement),
            SharedKey::DownTimerAdverts => {
                let read = |word: &str| values::number(word, 1, 100);
                let adverts = statement.value("1 to 100", read).and_then(|n| u8::try_from(n).ok());
                self.down_timer_adverts = adverts.or(self.down_timer_adverts);
            }
            SharedKey::LowerPrioNoAdvert => {
                self.lower_prio_no_advert = statement.flag().or(self.lower_prio_no_advert);
            }
            SharedKey::ChecksumAsV2 => self.checksum_as_v2 = statement.flag().or(self.checksum_as_v2),
            SharedKey::Lease => {
                let policy = statement.value("strict or overlap", |word| match word {
                    "strict" => Ok(LeasePolicy::Strict),
                    "overlap" => Ok(LeasePolicy::Overlap),
                    _ => Err("is neither strict nor overlap".to_owned()),
                });
                self.lease = policy.or(self.lease);
            }
        }
    }
}

fn delay(field: &mut Option<Option<Duration>>, statement: &mut Statement<'_, '_, '_>) {
    *field = statement.value("seconds", values::seconds_or_off).or(*field);
}

fn count(field: &mut Option<u8>, least: u8, statement: &mut Statement<'_, '_, '_>) {
    let count = statement.value("a count", |word| values::octet(word, 0));
    *field = count.map(|count| count.max(least)).or(*field);
}
