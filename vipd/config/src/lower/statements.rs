//! Holds the tree against the table: what each statement sets, and which statements are wrong by themselves.

use super::{
    given::{Draft, Given},
    heartbeats,
    lowering::Lowering,
    tracked, values,
};
use crate::{
    schema::{
        keyword::{Block, Engine, KeywordForm, Support},
        table,
    },
    syntax::{
        diagnostic::Code,
        parser::{SyntaxNode, title},
        span::Word,
    },
};

impl Lowering<'_> {
    pub fn statements(&mut self, nodes: &[SyntaxNode], block: Block, place: &str, given: &mut Given) {
        for node in nodes {
            match node.words.first() {
                Some(first) if !node.unsupported => self.statement(node, first, block, place, given),
                _ => given.partial = true,
            }
        }
    }

    fn statement(&mut self, node: &SyntaxNode, first: &Word, block: Block, place: &str, given: &mut Given) {
        let Some(keyword) = table::find(block, &first.text) else {
            return self.unknown(node, first, block, place, given);
        };
        match &keyword.status {
            Support::NotYet(advice) => self.not_yet(first, advice),
            Support::Refused(reason) => self.refused(first, reason),
            Support::NoEffect { reason, takes } => {
                self.notice(keyword, first.span, reason);
                self.takes_no_block(keyword, node, first);
                self.words(takes, &node.words, 1, block);
            }
            Support::Dropped { instead, takes } => {
                self.dropped(keyword, first.span, instead);
                self.takes_no_block(keyword, node, first);
                self.report.ignored(true);
                self.words(takes, &node.words, 1, block);
                self.report.ignored(false);
            }
            Support::Grammar { takes, inside, engine } => {
                self.mark_seen(keyword, first, given);
                let engine = self.in_force(*engine);
                match engine {
                    Engine::Missing(advice) => self.no_engine(keyword, first, advice),
                    Engine::Needed(advice) => self.not_yet(first, advice),
                    Engine::Unserved(instead) => self.dropped(keyword, first.span, instead),
                    Engine::Present | Engine::OfBlock => {}
                }
                let served = engine == Engine::Present;
                // What is ignored may be wrong.
                let is_ignored = matches!(engine, Engine::Missing(_) | Engine::Unserved(_));
                if is_ignored {
                    self.report.ignored(true);
                }
                let statement = self.section(node, keyword, (takes, *inside), block, served);
                if is_ignored {
                    self.report.ignored(false);
                }
                given.statements.extend(statement);
                if keyword.name == heartbeats::KEYWORD {
                    given.heartbeat_links.extend(heartbeats::named(node));
                }
                given.tracked.extend(tracked::placed(node, self.report));
            }
            Support::Supported(form) => {
                self.mark_seen(keyword, first, given);
                match (form, &node.block) {
                    (KeywordForm::Block(inside), children) => {
                        self.enter(*inside, node, children.as_deref().unwrap_or_default(), given, place);
                    }
                    (_, Some(_)) => self.takes_no_block(keyword, node, first),
                    (form, None) => values::set(keyword, form, &node.words, block, given, self.report),
                }
            }
        }
    }

    fn enter(
        &mut self,
        block: Block,
        node: &SyntaxNode,
        children: &[SyntaxNode],
        given: &mut Given,
        place: &str,
    ) {
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
                self.statements(children, block, &place.replacen("in ", "in authentication of ", 1), given);
            }
            Block::VirtualIpaddress
            | Block::VirtualIpaddressExcluded
            | Block::UnicastPeer
            | Block::VirtualRoutes
            | Block::VirtualRules => {
                values::trailing(&node.words, 1, Block::Instance, self.report);
                for line in children {
                    self.line(line, block, given);
                }
            }
            // No keyword with a setter opens the others.
            _ => {}
        }
    }

    fn instance(&mut self, node: &SyntaxNode, children: &[SyntaxNode]) {
        values::trailing(&node.words, 2, Block::Root, self.report);
        let Some(keyword) = node.words.first() else { return };
        let name = node.words.get(1).filter(|name| !name.text.is_empty());
        if name.is_none() {
            let message = format!("{} needs a name", self.report.quote(keyword));
            self.report.error_hint(Code::MissingName, keyword.span, message, "as in `vrrp_instance VI_1 {`");
        }
        let title = title(&node.words, self.report);
        let mut given = Given::default();
        self.statements(children, Block::Instance, &format!("in {}", title.trim_matches('`')), &mut given);
        self.drafts.push(Draft {
            name: name.map(|name| name.text.clone()).unwrap_or_default(),
            title,
            keyword_at: keyword.span,
            name_at: name.unwrap_or(keyword).span,
            given,
        });
    }
}
