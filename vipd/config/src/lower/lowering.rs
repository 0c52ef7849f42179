//! What is known while a tree is read, and what is said of its keywords.

use std::collections::HashSet;

use super::given::{Draft, Given, Names};
use crate::{
    schema::{
        keyword::{Block, Keyword},
        table,
    },
    syntax::{
        diagnostic::Code,
        parser::SyntaxNode,
        report::Report,
        span::{Span, Word},
    },
};

/// What becomes of a statement that vipd has no engine for yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsupported {
    /// An error.
    Refused,
    /// A warning.
    Ignored,
}

/// What is known while a tree is read.
pub struct Lowering<'l> {
    pub report: &'l mut Report,
    pub unsupported: Unsupported,
    pub global: Given,
    /// Of `static_ipaddress`, `static_routes` and `static_rules`.
    pub statics: Given,
    pub drafts: Vec<Draft>,
    pub names: Names,
    /// Keywords without effect that were mentioned already.
    pub noticed: HashSet<&'static str>,
}

impl Lowering<'_> {
    pub fn unknown(&mut self, word: &Word, block: Block, place: &str, given: &mut Given) {
        let message = format!("unknown keyword {} {place}", self.report.quote(word));
        // An exact keyword of another block says more than a similar one of this block.
        if let Some(home) = table::home_of(&word.text, block) {
            let message_hint = format!("{} belongs in {home}", self.report.quote(word));
            self.report.error_hint(Code::UnknownKeyword, word.span, message, message_hint);
        } else if let Some(meant) = table::nearest(block, &word.text) {
            // What was meant was given: do not call it missing as well.
            given.seen.add(meant.means, word.span);
            self.report.error_hint(
                Code::UnknownKeyword,
                word.span,
                message,
                format!("did you mean `{}`?", meant.name),
            );
        } else {
            self.report.error(Code::UnknownKeyword, word.span, message);
        }
    }

    pub fn takes_no_block(&mut self, node: &SyntaxNode, first: &Word) {
        if node.block.is_some() {
            let message = format!("{} takes no block", self.report.quote(first));
            self.report.error(Code::TakesNoBlock, first.span, message);
        }
    }

    pub fn no_engine(&mut self, word: &Word, advice: &str) {
        match self.unsupported {
            Unsupported::Refused => {
                self.not_yet(word, &format!("{advice}; `--allow-unsupported` ignores it"));
            }
            Unsupported::Ignored => {
                let message = format!("{} is not supported yet, and is ignored", self.report.quote(word));
                self.report.warning(Code::NotSupportedYet, word.span, message, advice);
            }
        }
    }

    pub fn not_yet(&mut self, word: &Word, advice: &str) {
        let message = format!("{} is not supported yet", self.report.quote(word));
        self.report.error_hint(Code::NotSupportedYet, word.span, message, advice);
    }

    pub fn refused(&mut self, word: &Word, reason: &str) {
        let message = format!("{} is not supported", self.report.quote(word));
        self.report.error_hint(Code::NotSupported, word.span, message, reason);
    }

    /// Mentions a keyword without effect once per file: what holds for one VIP line holds for all.
    pub fn notice(&mut self, keyword: &Keyword, span: Span, reason: &str) {
        if self.noticed.insert(keyword.name) {
            self.report.notice(Code::NoEffect, span, format!("`{}` has no effect", keyword.name), reason);
        }
    }

    /// Notes that a keyword was given, and says so if it, or another that sets the same, was given before.
    pub fn mark_seen(&mut self, keyword: &Keyword, word: &Word, given: &mut Given) {
        if let Some(first) = given.seen_at(keyword.means).filter(|_| !keyword.block && !keyword.many) {
            let again = if keyword.name == keyword.means { "" } else { " with another keyword" };
            let message = format!("`{}` given again{again}: the last one counts", keyword.means);
            self.report.warning(
                Code::Repeated,
                word.span,
                message,
                format!("it was given on {} already", self.report.line_of(first, word.span)),
            );
        }
        given.seen.add(keyword.means, word.span);
    }
}
