//! Holds the tree against the keyword table: what each statement sets, and which statements are wrong by themselves.

use std::collections::HashSet;

use super::{
    diagnostic::Code,
    explain::Origins,
    keywords::{self, Block, Form, Keyword, Status},
    lexer::{Span, Word},
    model::Config,
    parser::{Node, title},
    report::Report,
    settings::Settings,
    validate, values,
};

/// Everything wrong goes to `report`; the configuration is of use only if there were no errors.
pub fn lower(tree: &[Node], report: &mut Report) -> (Config, Origins) {
    let mut lowering =
        Lowering { report, global: Settings::default(), drafts: Vec::new(), noticed: HashSet::new() };
    lowering.statements(tree, Block::Root, "at the top level", &mut Settings::default());
    let Lowering { report, global, drafts, .. } = lowering;
    // Only now, because `global_defs` counts wherever it stands.
    let config = validate::config(&drafts, &global, report);
    let origins = Origins::new(&global, &drafts, report);
    (config, origins)
}

/// One `vrrp_instance` as the file has it.
pub struct Draft {
    pub name: String,
    /// `` `vrrp_instance NAME` ``.
    pub title: String,
    pub keyword_at: Span,
    pub name_at: Span,
    pub settings: Settings,
}

pub struct Lowering<'l> {
    pub report: &'l mut Report,
    global: Settings,
    drafts: Vec<Draft>,
    /// Keywords without effect that were mentioned already.
    noticed: HashSet<&'static str>,
}

impl Lowering<'_> {
    fn statements(&mut self, nodes: &[Node], block: Block, place: &str, settings: &mut Settings) {
        for node in nodes {
            match node.words.first() {
                Some(first) if !node.unsupported => self.statement(node, first, block, place, settings),
                _ => settings.partial = true,
            }
        }
    }

    fn statement(&mut self, node: &Node, first: &Word, block: Block, place: &str, settings: &mut Settings) {
        let Some(keyword) = keywords::find(block, &first.text) else {
            return self.unknown(first, block, place, settings);
        };
        match &keyword.status {
            Status::NotYet(advice) => self.not_yet(first, advice),
            Status::Refused(reason) => self.refused(first, reason),
            Status::NoEffect { reason, values } => {
                self.notice(keyword, first.span, reason);
                values::trailing(&node.words, 1 + values, block, self.report);
            }
            Status::Supported(form) => {
                self.mark_seen(keyword, first, settings);
                match (form, &node.block) {
                    (Form::Block(inside), children) => {
                        self.enter(*inside, node, children.as_deref().unwrap_or_default(), settings, place);
                    }
                    (_, Some(_)) => {
                        let message = format!("{} takes no block", self.report.quote(first));
                        self.report.error(Code::TakesNoBlock, first.span, message);
                    }
                    (form, None) => values::set(keyword, form, &node.words, block, settings, self.report),
                }
            }
        }
    }

    fn enter(&mut self, block: Block, node: &Node, children: &[Node], settings: &mut Settings, place: &str) {
        match block {
            // No keyword opens these.
            Block::Root | Block::VipOption | Block::PeerOption | Block::Route | Block::Hop | Block::Rule => {}
            Block::GlobalDefs => {
                values::trailing(&node.words, 1, Block::Root, self.report);
                let mut global = std::mem::take(&mut self.global);
                self.statements(children, block, "in global_defs", &mut global);
                self.global = global;
            }
            Block::Instance => self.instance(node, children),
            Block::Authentication => {
                values::trailing(&node.words, 1, Block::Instance, self.report);
                self.statements(
                    children,
                    block,
                    &place.replacen("in ", "in authentication of ", 1),
                    settings,
                );
            }
            Block::VirtualIpaddress
            | Block::VirtualIpaddressExcluded
            | Block::UnicastPeer
            | Block::VirtualRoutes
            | Block::VirtualRules => {
                values::trailing(&node.words, 1, Block::Instance, self.report);
                for line in children {
                    self.line(line, block, settings);
                }
            }
        }
    }

    fn instance(&mut self, node: &Node, children: &[Node]) {
        values::trailing(&node.words, 2, Block::Root, self.report);
        let Some(keyword) = node.words.first() else { return };
        let name = node.words.get(1).filter(|name| !name.text.is_empty());
        if name.is_none() {
            let message = format!("{} needs a name", self.report.quote(keyword));
            self.report.error_hint(Code::MissingName, keyword.span, message, "as in `vrrp_instance VI_1 {`");
        }
        let title = title(&node.words, self.report);
        let mut settings = Settings::default();
        self.statements(children, Block::Instance, &format!("in {}", title.trim_matches('`')), &mut settings);
        self.drafts.push(Draft {
            name: name.map(|name| name.text.clone()).unwrap_or_default(),
            title,
            keyword_at: keyword.span,
            name_at: name.unwrap_or(keyword).span,
            settings,
        });
    }

    fn unknown(&mut self, word: &Word, block: Block, place: &str, settings: &mut Settings) {
        let message = format!("unknown keyword {} {place}", self.report.quote(word));
        // An exact keyword of another block says more than a similar one of this block.
        if let Some(home) = keywords::home_of(&word.text, block) {
            let message_hint = format!("{} belongs in {home}", self.report.quote(word));
            self.report.error_hint(Code::UnknownKeyword, word.span, message, message_hint);
        } else if let Some(meant) = keywords::nearest(block, &word.text) {
            // What was meant was given: do not call it missing as well.
            settings.seen.push((meant.means, word.span));
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
    pub fn mark_seen(&mut self, keyword: &Keyword, word: &Word, settings: &mut Settings) {
        if let Some(first) = settings.seen_at(keyword.means).filter(|_| !keyword.block) {
            let again = if keyword.name == keyword.means { "" } else { " with another keyword" };
            let message = format!("`{}` given again{again}: the last one counts", keyword.means);
            self.report.warning(
                Code::Repeated,
                word.span,
                message,
                format!("it was given on {} already", self.report.line_of(first, word.span)),
            );
        }
        settings.seen.push((keyword.means, word.span));
    }
}
