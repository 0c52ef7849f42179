//! Statements and blocks that are read by the grammar in their rows, checked, and kept.

use super::{
    arbiters, bfd,
    given::{Given, GivenPlaces, PlacedGroup, Section, WantedName},
    lowering::Lowering,
    tracked, tracking, values,
};
use crate::{
    schema::{
        grammar::{self, Arg, INSTANCES, Problem, WordKind},
        keyword::{Block, Engine, Inside, Keyword, Support},
        statement::Statement,
        table,
        value::Value,
    },
    syntax::{
        diagnostic::Code,
        parser::{SyntaxNode, title},
        span::Word,
    },
};

impl Lowering<'_> {
    /// The statement of `node`, whose keyword stands in `block`; `served`: there is an engine for it.
    pub fn section(
        &mut self,
        node: &SyntaxNode,
        keyword: &'static Keyword,
        (takes, inside): (&[Arg], Inside),
        block: Block,
        served: bool,
    ) -> Option<Statement> {
        let first = node.words.first()?;
        let values = self.words(takes, &node.words, 1, block);
        if let Some(Value::Name(_)) = values.first() {
            self.name(keyword, &node.words);
        }
        let children = node.block.as_deref().unwrap_or_default();
        let inside = match inside {
            Inside::Nothing => {
                self.takes_no_block(keyword, node, first);
                None
            }
            Inside::Statements(inside) => Some(self.inside(node, children, inside, served)),
            Inside::Lines(args) => Some(self.lines(first, children, args, (keyword, block), served)),
            Inside::LinesOf(inside) => {
                let mut statics = std::mem::take(&mut self.statics);
                children.iter().for_each(|line| self.line(line, inside, &mut statics));
                self.statics = statics;
                return None;
            }
        };
        let place = Some(self.report.describe(first.span));
        Some(Statement { keyword: keyword.name, values, inside, place, served })
    }

    /// The statements in a block, and the defaults of those that are not there.
    fn inside(
        &mut self,
        node: &SyntaxNode,
        children: &[SyntaxNode],
        block: Block,
        served: bool,
    ) -> Vec<Statement> {
        let title = title(&node.words, self.report);
        let place = format!("in {}", title.trim_matches('`'));
        let mut given = Given::default();
        for child in children {
            let Some(first) = child.words.first().filter(|_| !child.unsupported) else {
                given.partial = true;
                continue;
            };
            match table::find(block, &first.text) {
                Some(keyword @ Keyword { status: Support::Grammar { takes, inside, engine }, .. }) => {
                    self.mark_seen(keyword, first, &mut given);
                    let is_ignored = matches!(engine, Engine::Missing(_)) && served;
                    if let (Engine::Missing(advice), true) = (engine, served) {
                        self.no_engine(keyword, first, advice);
                        self.report.ignored(true);
                    }
                    let served = served && !is_ignored;
                    let statement = self.section(child, keyword, (takes, *inside), block, served);
                    if is_ignored {
                        self.report.ignored(false);
                    }
                    given.statements.extend(statement);
                }
                Some(keyword @ Keyword { status: Support::NoEffect { reason, takes }, .. }) => {
                    self.notice(keyword, first.span, reason);
                    self.words(takes, &child.words, 1, block);
                }
                Some(keyword @ Keyword { status: Support::Dropped { instead, takes }, .. }) => {
                    self.dropped(keyword, first.span, instead);
                    self.words(takes, &child.words, 1, block);
                }
                Some(_) => {}
                None if block == Block::SyncGroup && self.is_bare_member(child) => {
                    given.statements.extend(self.bare_member(child, &mut given.seen));
                }
                None => self.unknown(child, first, block, &place, &mut given),
            }
        }
        let Some(head) = node.words.first() else { return given.statements };
        let has_mark = node.words.get(1).is_some_and(|word| word.text == "fwmark");
        for row in table::rows(block).iter().filter(|row| row.name == row.means) {
            // A firewall mark has every protocol.
            let is_void = has_mark && (block, row.name) == (Block::VirtualServer, "protocol");
            if given.seen_at(row.means).is_some() || is_void {
                continue;
            }
            if row.required && !given.partial {
                let message = format!("{title} has no `{}`", row.name);
                self.report.error(Code::MissingKeyword, head.span, message);
            }
            if let (Some(default), Support::Grammar { takes, .. }) = (row.default, &row.status) {
                let words: Vec<&str> = default.split(' ').collect();
                let values = grammar::read(takes, &words).0.into_iter().map(|(_, value)| value).collect();
                let keyword = row.name;
                given.statements.push(Statement { keyword, values, inside: None, place: None, served });
            }
        }
        self.check_section(block, &Section { node, children, given: &given, title: &title });
        given.statements
    }

    /// A line of a sync group that is nothing but words, none of them a keyword: it names instances.
    fn is_bare_member(&self, line: &SyntaxNode) -> bool {
        let is_known = |word: &Word| table::find(Block::SyncGroup, &word.text).is_some();
        let first = line.words.first().map(|word| word.text.as_str()).unwrap_or_default();
        let misspelt = table::nearest(Block::SyncGroup, first).is_some() && line.words.len() > 1;
        line.block.is_none() && !misspelt && !line.words.iter().any(is_known)
    }

    /// Says once that instances stand in a block of their own, and takes them for what they are.
    fn bare_member(&mut self, line: &SyntaxNode, seen: &mut GivenPlaces) -> Option<Statement> {
        let first = line.words.first()?;
        let of_it = |name: &Word| self.report.quote(name);
        if !seen.has("group") {
            let message = format!("{} stands outside of `group {{ }}`", of_it(first));
            let hint =
                "write `group {` before the names of the instances, each on a line, and `}` behind them"
                    .to_owned();
            self.report.error_hint(Code::UnknownKeyword, first.span, message, hint);
        }
        seen.add("group", first.span);
        self.members(&line.words);
        let values = self.words(INSTANCES, &line.words, 0, Block::SyncGroup);
        let place = Some(self.report.describe(first.span));
        let names = Statement { keyword: "", values, inside: None, place: place.clone(), served: true };
        Some(Statement {
            keyword: "group",
            values: Vec::new(),
            inside: Some(vec![names]),
            place,
            served: true,
        })
    }

    /// A line in a block of lines with braces of its own.
    fn line_without_block(&mut self, line: &SyntaxNode, first: &Word) {
        if line.block.is_some() {
            let message = format!("{} takes no block", self.report.quote(first));
            let hint = "remove the `{` and its `}`: each line of the block stands alone";
            self.report.error_hint(Code::TakesNoBlock, first.span, message, hint);
        }
    }

    fn lines(
        &mut self,
        head: &Word,
        children: &[SyntaxNode],
        args: &[Arg],
        (keyword, block): (&Keyword, Block),
        served: bool,
    ) -> Vec<Statement> {
        if children.is_empty() && keyword.required {
            let message = format!("`{}` is empty", keyword.name);
            self.report.error_hint(Code::EmptyBlock, head.span, message, "name its instances");
        } else if children.is_empty() {
            let message = format!("`{}` is empty", keyword.name);
            self.report.warning(Code::EmptyBlock, head.span, message, "remove it, or put something in it");
        }
        let mut lines = Vec::new();
        for line in children.iter().filter(|line| !line.unsupported) {
            let Some(first) = line.words.first() else { continue };
            self.line_without_block(line, first);
            if (keyword.name, block) == ("group", Block::SyncGroup) {
                self.members(&line.words);
            }
            let values = self.words(args, &line.words, 0, block);
            let place = Some(self.report.describe(first.span));
            lines.push(Statement { keyword: "", values, inside: None, place, served });
        }
        let members = lines.iter().map(|line| line.values.len()).sum::<usize>();
        if (keyword.name, block, members) == ("group", Block::SyncGroup, 1) {
            let hint = "only what the group tracks and tells matters then";
            self.report.warning(Code::Advice, head.span, "a sync group with one instance", hint);
        }
        lines
    }

    /// The values in `words` from `skip` on.
    pub fn words(&mut self, args: &[Arg], words: &[Word], skip: usize, block: Block) -> Vec<Value> {
        if skip == 1 && values::equals(words, self.report) {
            return Vec::new();
        }
        let texts: Vec<&str> = words.iter().skip(skip).map(|word| word.text.as_str()).collect();
        let (found, problem) = grammar::read(args, &texts);
        for (i, value) in &found {
            if let (Value::Of(keyword, _), Some(word)) = (value, words.get(skip + i)) {
                let is_ignored = self.report.is_ignored();
                self.names.wanted.push(WantedName { of: keyword, word: word.clone(), is_ignored });
            }
        }
        if let Some(problem) = problem {
            let after_option = matches!(found.last(), Some((_, Value::Word(_))));
            self.problem((problem, after_option), args, words, skip, block);
        }
        found.into_iter().map(|(_, value)| value).collect()
    }

    fn problem(
        &mut self,
        (problem, after_option): (Problem, bool),
        args: &[Arg],
        words: &[Word],
        skip: usize,
        block: Block,
    ) {
        let Some(first) = words.first() else { return };
        let takes = match skip {
            0 => format!("a line takes {}", grammar::wants(args)),
            _ => format!("{} takes {}", self.report.quote(first), grammar::wants(args)),
        };
        match problem {
            Problem::Missing => {
                let last = words.last().unwrap_or(first);
                let name = matches!(args, [Arg::One(WordKind::Name), ..]);
                let (code, what) =
                    if name { (Code::MissingName, "a name") } else { (Code::MissingValue, "a value") };
                let message = format!("{} needs {what}", self.report.quote(last));
                self.report.error_hint(code, last.span, message, takes);
            }
            Problem::Bad(i, problem) => {
                let Some(word) = words.get(skip + i) else { return };
                let shown = self.report.quote(word);
                // The word before says what it is, unless it is a value itself.
                let named = (skip + i).checked_sub(1).filter(|_| i == 0 || after_option);
                let message = match named.and_then(|before| words.get(before)) {
                    Some(before) => format!("{} {shown} {problem}", self.report.bare(before)),
                    None => format!("{shown} {problem}"),
                };
                let reads = |text: &str| {
                    let mut texts: Vec<&str> =
                        words.iter().skip(skip).map(|word| word.text.as_str()).collect();
                    texts[i] = text;
                    !matches!(grammar::read(args, &texts).1, Some(Problem::Bad(at, _)) if at <= i)
                };
                let hint = values::mended(word, reads, self.report).unwrap_or(takes);
                self.report.error_hint(Code::BadValue, word.span, message, hint);
            }
            // As keepalived: it is a switch whatever follows it.
            Problem::Extra(0) if skip == 1 && args.is_empty() && !is_keyword(block, words.get(1)) => {
                values::switch_is_on(words, self.report);
            }
            Problem::Extra(i) if skip > 0 && is_keyword(block, words.get(skip + i)) => {
                values::trailing(words, skip + i, block, self.report);
            }
            Problem::Extra(i) => {
                let (Some(word), before) = (words.get(skip + i), (skip + i).saturating_sub(1)) else {
                    return;
                };
                let after = words.get(before).map(|before| self.report.quote(before)).unwrap_or_default();
                let message = format!("unexpected {} after {after}", self.report.quote(word));
                self.report.error_hint(Code::UnexpectedWord, word.span, message, takes);
            }
            Problem::Again(i) => {
                let Some(word) = words.get(skip + i) else { return };
                let message = format!("{} stands twice on this line", self.report.quote(word));
                self.report.error(Code::Repeated, word.span, message);
            }
        }
    }

    /// What must fit together in a block.
    fn check_section(&mut self, block: Block, section: &Section<'_>) {
        match block {
            Block::SyncGroup => {
                let blocks = section.children.iter();
                let tracked: Vec<_> = blocks.flat_map(|block| tracked::placed(block, self.report)).collect();
                tracked::check_repeated(&tracked, self.report);
                let name = section.node.words.get(1).map(|name| name.text.clone()).unwrap_or_default();
                self.names.groups.push(PlacedGroup { name, tracked });
            }
            Block::TrackProcess => tracking::check_process(section, self.report),
            Block::Arbiter => self.names.arbiters.extend(arbiters::check_block(section, self.report)),
            Block::Bfd => self.names.sessions.extend(bfd::check_block(section, self.report)),
            _ => {}
        }
    }
}

fn is_keyword(block: Block, word: Option<&Word>) -> bool {
    word.is_some_and(|word| table::find(block, &word.text).is_some())
}
