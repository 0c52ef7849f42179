//! Holds the tree against the keyword table: what each statement sets, and which statements are wrong by themselves.

use std::collections::HashSet;

use super::{
    arbiters,
    diagnostic::Code,
    explain::Origins,
    groups, heartbeats,
    keywords::{self, Block, Engine, Form, Keyword, Status},
    lexer::{Span, Word},
    model::Config,
    parser::{Node, title},
    report::Report,
    sections::Names,
    settings::Settings,
    validate, values,
};

/// What becomes of a statement that vipd has no engine for yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsupported {
    /// An error.
    Refused,
    /// A warning.
    Ignored,
}

/// Everything wrong goes to `report`; the configuration is of use only if there were no errors.
pub fn lower(tree: &[Node], unsupported: Unsupported, report: &mut Report) -> (Config, Origins) {
    let mut lowering = Lowering {
        report,
        unsupported,
        global: Settings::default(),
        statics: Settings::default(),
        drafts: Vec::new(),
        names: Names::default(),
        noticed: HashSet::new(),
    };
    let mut top = Settings::default();
    lowering.statements(tree, Block::Root, "at the top level", &mut top);
    lowering.check_names(&top);
    let Lowering { report, global, statics, drafts, names, .. } = lowering;
    // Only now, because `global_defs` counts wherever it stands.
    let mut config = validate::config(&drafts, &global, report);
    config.blocks = top.statements;
    config.static_addresses = statics.vips.into_iter().map(|vip| vip.value).collect();
    config.static_routes = statics.routes;
    config.static_rules = statics.rules;
    groups::check(&config, &names.members, report);
    arbiters::check(&config, &names.arbiters, report);
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
    unsupported: Unsupported,
    global: Settings,
    /// Of `static_ipaddress`, `static_routes` and `static_rules`.
    pub statics: Settings,
    pub drafts: Vec<Draft>,
    pub names: Names,
    /// Keywords without effect that were mentioned already.
    noticed: HashSet<&'static str>,
}

impl Lowering<'_> {
    pub fn statements(&mut self, nodes: &[Node], block: Block, place: &str, settings: &mut Settings) {
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
            Status::NoEffect { reason, takes } => {
                self.notice(keyword, first.span, reason);
                self.takes_no_block(node, first);
                self.words(takes, &node.words, 1, block);
            }
            Status::Grammar { takes, inside, engine } => {
                self.mark_seen(keyword, first, settings);
                match engine {
                    Engine::Missing(advice) => self.no_engine(first, advice),
                    Engine::Needed(advice) => self.not_yet(first, advice),
                    Engine::Present | Engine::OfBlock => {}
                }
                let served = *engine == Engine::Present;
                let statement = self.section(node, keyword, (takes, *inside), block, served);
                settings.statements.extend(statement);
                if keyword.name == heartbeats::KEYWORD {
                    settings.heartbeats.extend(heartbeats::named(node));
                }
            }
            Status::Supported(form) => {
                self.mark_seen(keyword, first, settings);
                match (form, &node.block) {
                    (Form::Block(inside), children) => {
                        self.enter(*inside, node, children.as_deref().unwrap_or_default(), settings, place);
                    }
                    (_, Some(_)) => self.takes_no_block(node, first),
                    (form, None) => values::set(keyword, form, &node.words, block, settings, self.report),
                }
            }
        }
    }

    fn enter(&mut self, block: Block, node: &Node, children: &[Node], settings: &mut Settings, place: &str) {
        match block {
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
            // No keyword with a setter opens the others.
            _ => {}
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

    pub fn unknown(&mut self, word: &Word, block: Block, place: &str, settings: &mut Settings) {
        let message = format!("unknown keyword {} {place}", self.report.quote(word));
        // An exact keyword of another block says more than a similar one of this block.
        if let Some(home) = keywords::home_of(&word.text, block) {
            let message_hint = format!("{} belongs in {home}", self.report.quote(word));
            self.report.error_hint(Code::UnknownKeyword, word.span, message, message_hint);
        } else if let Some(meant) = keywords::nearest(block, &word.text) {
            // What was meant was given: do not call it missing as well.
            settings.seen.add(meant.means, word.span);
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

    pub fn takes_no_block(&mut self, node: &Node, first: &Word) {
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
    pub fn mark_seen(&mut self, keyword: &Keyword, word: &Word, settings: &mut Settings) {
        if let Some(first) = settings.seen_at(keyword.means).filter(|_| !keyword.block && !keyword.many) {
            let again = if keyword.name == keyword.means { "" } else { " with another keyword" };
            let message = format!("`{}` given again{again}: the last one counts", keyword.means);
            self.report.warning(
                Code::Repeated,
                word.span,
                message,
                format!("it was given on {} already", self.report.line_of(first, word.span)),
            );
        }
        settings.seen.add(keyword.means, word.span);
    }
}
