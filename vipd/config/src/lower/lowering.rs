//! What is known while a tree is read, and what is said of its keywords.

use std::collections::HashSet;

use super::{
    given::{Draft, Given, Names},
    unsupported::Unsupported,
};
use crate::{
    schema::{
        form::expectation,
        grammar,
        keyword::{Block, Engine, Inside, Keyword, Support},
        obsolete, table,
    },
    syntax::{
        diagnostic::Code,
        parser::SyntaxNode,
        report::Report,
        span::{Span, Word},
    },
};

/// What is known while a tree is read.
pub struct Lowering<'l> {
    pub report: &'l mut Report,
    pub unsupported: Unsupported,
    /// Whether services are served.
    pub balances: bool,
    pub global: Given,
    /// Of `static_ipaddress`, `static_routes` and `static_rules`.
    pub statics: Given,
    pub drafts: Vec<Draft>,
    pub names: Names,
    /// Keywords without effect that were mentioned already.
    pub noticed: HashSet<&'static str>,
}

impl Lowering<'_> {
    /// Whether vipd does what a row says.
    pub fn in_force(&self, engine: Engine) -> Engine {
        engine.in_force(self.balances)
    }

    pub fn unknown(&mut self, node: &SyntaxNode, word: &Word, block: Block, place: &str, given: &mut Given) {
        if let Some(advice) = obsolete::advice(&word.text) {
            let message = format!("{} has no effect: keepalived has dropped it", self.report.quote(word));
            return self.report.warning(Code::NoEffect, word.span, message, advice);
        }
        let message = format!("unknown keyword {} {place}", self.report.quote(word));
        let hint = self.what_was_meant(node, word, block, given);
        match hint {
            Some(hint) => self.report.error_hint(Code::UnknownKeyword, word.span, message, hint),
            None => self.report.error(Code::UnknownKeyword, word.span, message),
        }
    }

    /// What an unknown keyword was to be. What was meant was given: it is not called missing as well.
    fn what_was_meant(
        &mut self,
        node: &SyntaxNode,
        word: &Word,
        block: Block,
        given: &mut Given,
    ) -> Option<String> {
        // As in `weight=0`.
        if let Some((name, value)) = word.text.split_once('=')
            && let Some(meant) = table::find(block, name)
        {
            given.seen.add(meant.means, word.span);
            return Some(match value {
                "" => "remove the `=`".to_owned(),
                _ => format!("write `{} {}` without the `=`", meant.name, self.report.bare_as(word, value)),
            });
        }
        // An exact keyword of another block says more than a similar one of this block.
        if let Some(home) = table::home_of(&word.text, block) {
            return Some(format!("{} belongs in {home}", self.report.quote(word)));
        }
        let meant = table::nearest(block, &word.text)?;
        given.seen.add(meant.means, word.span);
        // What its block is called is known then.
        if let (Some(name), true) = (node.words.get(1), node.block.is_some() && block == Block::Root) {
            self.names.given.entry((meant.means, name.text.clone())).or_insert(name.span);
            self.names.misspelt.insert((meant.means, name.text.clone()));
        }
        Some(format!("did you mean `{}`?", meant.name))
    }

    pub fn takes_no_block(&mut self, keyword: &Keyword, node: &SyntaxNode, first: &Word) {
        if node.block.is_some() {
            let message = format!("{} takes no block", self.report.quote(first));
            let takes = match &keyword.status {
                Support::Supported(form) => expectation(keyword, form),
                Support::NoEffect { takes, .. }
                | Support::Dropped { takes, .. }
                | Support::Grammar { takes, inside: Inside::Nothing, .. } => {
                    format!("`{}` takes {}", keyword.name, grammar::wants(takes))
                }
                _ => "it stands alone".to_owned(),
            };
            let hint = format!("remove the `{{` and its `}}`: {takes}");
            self.report.error_hint(Code::TakesNoBlock, first.span, message, hint);
        }
    }

    pub fn no_engine(&mut self, keyword: &Keyword, word: &Word, advice: &str) {
        if self.unsupported.allows(keyword) {
            let message = format!("{} is not supported yet, and is ignored", self.report.quote(word));
            self.report.warning(Code::NotSupportedYet, word.span, message, advice);
        } else {
            let name = keyword.means;
            self.not_yet(word, &format!("{advice}; `--allow-unsupported={name}` ignores it"));
        }
    }

    /// Ignored, and what to do instead; once per file.
    pub fn dropped(&mut self, keyword: &Keyword, span: Span, instead: &str) {
        if self.noticed.insert(keyword.name) {
            let message = format!("`{}` is ignored", keyword.name);
            self.report.warning(Code::NoEffect, span, message, instead);
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
