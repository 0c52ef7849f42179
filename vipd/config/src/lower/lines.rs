//! The lines of blocks that hold lines instead of statements; here addresses and peers, in `routes` the others.
//!
//! A line is an address, or nothing, and then words of a table in `keywords`, each with its value.

use vipd_common::Family;

use super::{
    given::{Given, Spanned},
    lowering::Lowering,
    values,
};
use crate::{
    model::address::{UnicastPeer, Vip},
    schema::{
        keyword::{Block, Keyword, KeywordForm, Support},
        mend::address_fault,
        table, words as readers,
    },
    syntax::{
        diagnostic::Code,
        parser::SyntaxNode,
        report::fit,
        span::{Span, Word},
    },
};

/// Addresses of a list that a message names.
const LISTED: usize = 4;

impl Lowering<'_> {
    pub fn line(&mut self, line: &SyntaxNode, block: Block, given: &mut Given) {
        let Some(first) = line.words.first().filter(|_| !line.unsupported) else {
            given.partial = true;
            return;
        };
        if line.block.is_some() {
            given.partial = true;
            let message = format!("{} takes no block", self.report.quote(first));
            let hint = "remove the `{` and its `}`: each line of the block stands alone";
            self.report.error_hint(Code::TakesNoBlock, first.span, message, hint);
        } else {
            match block {
                Block::UnicastPeer => self.peer_line(&line.words, given),
                Block::VirtualRoutes => self.route_line(&line.words, given),
                Block::VirtualRules => self.rule_line(&line.words, given),
                _ => self.vip_line(&line.words, block, given),
            }
        }
    }

    fn vip_line(&mut self, words: &[Word], block: Block, given: &mut Given) {
        let read = |text: &str| readers::prefix(text, readers::unicast);
        if let Some(first) = words.first().filter(|_| block == Block::VirtualIpaddress) {
            // One that cannot be read says it too.
            let looks = match () {
                () if first.text.contains(':') => Some(Family::V6),
                () if first.text.starts_with(|c: char| c.is_ascii_digit()) => Some(Family::V4),
                () => None,
            };
            given.first_family = given.first_family.or(looks);
        }
        let Some((first, (address, prefix_len), line)) = self.address_line(words, Block::VipOption, read)
        else {
            given.partial = true;
            return;
        };
        let vip = Vip {
            address,
            prefix_len,
            interface: line.values.text("dev").map(|interface| interface.value),
            tracked: line.values.at("no_track").is_none(),
        };
        let vips = if block == Block::VirtualIpaddress { &mut given.vips } else { &mut given.excluded };
        vips.push(Spanned::new(vip, first));
    }

    fn peer_line(&mut self, words: &[Word], given: &mut Given) {
        let Some((first, address, line)) = self.address_line(words, Block::PeerOption, readers::unicast)
        else {
            given.partial = true;
            return;
        };
        let max_ttl = line.values.octet("max_ttl").unwrap_or(255);
        // Who gives an upper bound has thought of the lower one.
        let bounded = (max_ttl < u8::MAX).then_some(0);
        let own = line.values.octet("min_ttl");
        let min_ttl = own.or(bounded);
        if let (Some(min), Some(at)) = (own.filter(|min| *min > max_ttl), line.values.at("min_ttl")) {
            let message = format!("min_ttl {min} is above max_ttl {max_ttl}");
            self.report.error_hint(Code::Conflict, at, message, "no advert of this peer would be taken");
        }
        given.peers.push(Spanned::new(UnicastPeer { address, min_ttl, max_ttl }, first));
    }

    /// An address that `read` knows how to read, and the words after it, which may be of `options`.
    fn address_line<'w, T>(
        &mut self,
        words: &'w [Word],
        options: Block,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Option<(&'w Word, T, Given)> {
        let (first, rest) = words.split_first()?;
        let text = match options {
            Block::PeerOption => values::without_length(first, self.report),
            _ => &first.text,
        };
        let value = read(text);
        if value.is_err() && self.is_list(words, &read) {
            return None;
        }
        if let Err(problem) = &value {
            let message = format!("{} {problem}", self.report.quote(first));
            if table::find(Block::Instance, &first.text).is_some() {
                self.report.error_hint(
                    Code::BadValue,
                    first.span,
                    message,
                    "is the `}` of the addresses missing?",
                );
                return None;
            }
            match (first.text.contains('%'), options) {
                (true, Block::VipOption) => {
                    let hint = "remove the zone; `dev IF` after the address names another interface";
                    self.report.error_hint(Code::BadValue, first.span, message, hint);
                }
                (true, _) => self.report.error_hint(Code::BadValue, first.span, message, "remove the zone"),
                (false, _) => {
                    let example = match options {
                        Block::VipOption => "as in `10.0.0.3/24` or `2001:db8::3/64`",
                        _ => "as in `10.0.0.2` or `2001:db8::2`",
                    };
                    let hint = values::mended(first, |text| read(text).is_ok(), self.report);
                    let hint = hint.or_else(|| address_fault(text));
                    let hint = hint.unwrap_or_else(|| example.to_owned());
                    self.report.error_hint(Code::BadValue, first.span, message, hint);
                }
            }
        }
        let mut line = Given::default();
        self.options(rest, options, &mut line);
        Some((first, value.ok()?, line))
    }

    /// Several addresses with commas between them; whether that is what stands here. It is told of once.
    fn is_list<T>(&mut self, words: &[Word], read: impl Fn(&str) -> Result<T, String>) -> bool {
        let (Some(first), Some(last)) = (words.first(), words.last()) else { return false };
        let texts = words.iter().flat_map(|word| word.text.split([',', ';'])).filter(|text| !text.is_empty());
        let addresses: Vec<&str> = texts.collect();
        if addresses.len() < 2 || !addresses.iter().all(|text| read(text).is_ok()) {
            return false;
        }
        let width = last.span.column.saturating_add(last.span.width).saturating_sub(first.span.column);
        let at = Span { width: width.max(first.span.width), ..first.span };
        let shown: Vec<String> =
            addresses.iter().take(LISTED).map(|text| format!("`{}`", fit(text))).collect();
        let more = addresses.len().saturating_sub(LISTED);
        let more = if more > 0 { format!(" and the {more} others") } else { String::new() };
        let hint = format!("put {}{more} each on a line of its own, without commas", shown.join(", "));
        self.report.error_hint(Code::TwoStatements, at, "several addresses on one line", hint);
        true
    }

    /// Reads words of `block` with their values up to the end of the line.
    pub fn options(&mut self, mut words: &[Word], block: Block, line: &mut Given) {
        while let [word, rest @ ..] = words {
            let Some(keyword) = table::find(block, &word.text) else {
                if !self.destination(word, block, line) {
                    line.partial = true;
                    return self.unknown_option(word, block);
                }
                words = rest;
                continue;
            };
            let values = match &keyword.status {
                Support::NotYet(advice) => {
                    line.partial = true;
                    return self.not_yet(word, advice);
                }
                Support::Refused(reason) => {
                    line.partial = true;
                    return self.refused(word, reason);
                }
                // A line's words have setters.
                Support::Grammar { .. } | Support::Dropped { .. } => 0,
                Support::NoEffect { reason, takes } => {
                    self.notice(keyword, word.span, reason);
                    self.words(takes, &words[..words.len().min(1 + takes.len())], 1, block);
                    takes.len()
                }
                Support::Supported(form) => {
                    let values = form.values();
                    // As in `mtu lock 1400`.
                    let value = rest.first().filter(|_| matches!(form, KeywordForm::Whole { .. }));
                    let known = value.and_then(|value| Some((value, table::find(block, &value.text)?)));
                    if let Some((value, Keyword { status: Support::NotYet(advice), .. })) = known {
                        line.partial = true;
                        return self.not_yet(value, advice);
                    }
                    self.mark_seen(keyword, word, line);
                    let statement = &words[..words.len().min(1 + values)];
                    values::set(keyword, form, statement, block, line, self.report);
                    values
                }
            };
            words = rest.get(values..).unwrap_or_default();
        }
    }

    fn unknown_option(&mut self, word: &Word, block: Block) {
        let shown = self.report.quote(word);
        let (place, lists_addresses) = match block {
            Block::VipOption | Block::PeerOption => ("after an address", true),
            Block::Hop => ("after `nexthop`", false),
            Block::Rule => ("in a rule", false),
            _ => ("in a route", false),
        };
        if lists_addresses && readers::prefix(&word.text, readers::unicast).is_ok() {
            let hint = format!("put {shown} on a line of its own");
            self.report.error_hint(
                Code::TwoStatements,
                word.span,
                format!("second address on one line: {shown}"),
                hint,
            );
            return;
        }
        let is_interface = block == Block::VipOption
            && readers::interface(&word.text).is_ok()
            && word.text.starts_with(|c: char| c.is_ascii_alphabetic())
            && word.text.ends_with(|c: char| c.is_ascii_digit());
        let hint = match table::nearest(block, &word.text) {
            Some(meant) => format!("did you mean `{}`?", meant.name),
            None if matches!(&*word.text, "," | ";") => {
                format!("remove the {shown}: each address stands on its line")
            }
            None if is_interface => format!("for an interface write `dev {}`", self.report.bare(word)),
            None => "a comment starts with `#`".to_owned(),
        };
        self.report.error_hint(Code::UnknownWord, word.span, format!("unknown word {shown} {place}"), hint);
    }
}
