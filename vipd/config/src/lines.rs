//! The lines of blocks that hold lines instead of statements; here addresses and peers, in `routes` the others.
//!
//! A line is an address, or nothing, and then words of a table in `keywords`, each with its value.

use super::{
    diagnostic::Code,
    keywords::{self, Block, Form, Keyword, Status},
    lexer::Word,
    lower::Lowering,
    model::{UnicastPeer, Vip},
    parser::Node,
    settings::{Settings, Spanned, value_or},
    values,
};

impl Lowering<'_> {
    pub fn line(&mut self, line: &Node, block: Block, settings: &mut Settings) {
        let Some(first) = line.words.first().filter(|_| !line.unsupported) else {
            settings.partial = true;
            return;
        };
        if line.block.is_some() {
            settings.partial = true;
            let message = format!("{} takes no block", self.report.quote(first));
            self.report.error(Code::TakesNoBlock, first.span, message);
        } else {
            match block {
                Block::UnicastPeer => self.peer_line(&line.words, settings),
                Block::VirtualRoutes => self.route_line(&line.words, settings),
                Block::VirtualRules => self.rule_line(&line.words, settings),
                _ => self.vip_line(&line.words, block, settings),
            }
        }
    }

    fn vip_line(&mut self, words: &[Word], block: Block, settings: &mut Settings) {
        let read = |text: &str| values::prefix(text, values::unicast);
        let Some((first, (address, prefix_len), line)) = self.address_line(words, Block::VipOption, read)
        else {
            settings.partial = true;
            return;
        };
        let vip = Vip {
            address,
            prefix_len,
            interface: line.line.interface.map(|interface| interface.value),
            tracked: line.line.no_track.is_none(),
        };
        let vips = if block == Block::VirtualIpaddress { &mut settings.vips } else { &mut settings.excluded };
        vips.push(Spanned::new(vip, first));
    }

    fn peer_line(&mut self, words: &[Word], settings: &mut Settings) {
        let Some((first, address, line)) = self.address_line(words, Block::PeerOption, values::unicast)
        else {
            settings.partial = true;
            return;
        };
        let octet = |value| u8::try_from(value).unwrap_or(u8::MAX);
        let max_ttl = octet(value_or(&line.line.max_ttl, 255));
        // Who gives an upper bound has thought of the lower one.
        let bounded = (max_ttl < u8::MAX).then_some(0);
        let min_ttl = line.line.min_ttl.as_ref().map(|min| octet(min.value)).or(bounded);
        if let Some(min) = line.line.min_ttl.filter(|min| octet(min.value) > max_ttl) {
            let message = format!("min_ttl {} is above max_ttl {max_ttl}", min.value);
            self.report.error_hint(
                Code::Conflict,
                min.span,
                message,
                "no advert of this peer would be taken",
            );
        }
        settings.peers.push(Spanned::new(UnicastPeer { address, min_ttl, max_ttl }, first));
    }

    /// An address that `read` knows how to read, and the words after it, which may be of `options`.
    fn address_line<'w, T>(
        &mut self,
        words: &'w [Word],
        options: Block,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Option<(&'w Word, T, Settings)> {
        let (first, rest) = words.split_first()?;
        let value = read(&first.text);
        if let Err(problem) = &value {
            let message = format!("{} {problem}", self.report.quote(first));
            if keywords::find(Block::Instance, &first.text).is_some() {
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
                    let hint = match options {
                        Block::VipOption => "as in `10.0.0.3/24` or `2001:db8::3/64`",
                        _ => "as in `10.0.0.2` or `2001:db8::2`",
                    };
                    self.report.error_hint(Code::BadValue, first.span, message, hint);
                }
            }
        }
        let mut line = Settings::default();
        self.options(rest, options, &mut line);
        Some((first, value.ok()?, line))
    }

    /// Reads words of `block` with their values up to the end of the line.
    pub fn options(&mut self, mut words: &[Word], block: Block, line: &mut Settings) {
        while let [word, rest @ ..] = words {
            let Some(keyword) = keywords::find(block, &word.text) else {
                if !self.destination(word, block, line) {
                    line.partial = true;
                    return self.unknown_option(word, block);
                }
                words = rest;
                continue;
            };
            let values = match &keyword.status {
                Status::NotYet(advice) => {
                    line.partial = true;
                    return self.not_yet(word, advice);
                }
                Status::Refused(reason) => {
                    line.partial = true;
                    return self.refused(word, reason);
                }
                // A line's words have setters.
                Status::Grammar { .. } => 0,
                Status::NoEffect { reason, takes } => {
                    self.notice(keyword, word.span, reason);
                    self.words(takes, &words[..words.len().min(1 + takes.len())], 1, block);
                    takes.len()
                }
                Status::Supported(form) => {
                    let values = form.values();
                    // As in `mtu lock 1400`.
                    let value = rest.first().filter(|_| matches!(form, Form::Whole { .. }));
                    let known = value.and_then(|value| Some((value, keywords::find(block, &value.text)?)));
                    if let Some((value, Keyword { status: Status::NotYet(advice), .. })) = known {
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
        if lists_addresses && values::prefix(&word.text, values::unicast).is_ok() {
            let hint = format!("put {shown} on a line of its own");
            self.report.error_hint(
                Code::TwoStatements,
                word.span,
                format!("second address on one line: {shown}"),
                hint,
            );
            return;
        }
        let hint = match keywords::nearest(block, &word.text) {
            Some(meant) => format!("did you mean `{}`?", meant.name),
            None => "a comment starts with `#`".to_owned(),
        };
        self.report.error_hint(Code::UnknownWord, word.span, format!("unknown word {shown} {place}"), hint);
    }
}
