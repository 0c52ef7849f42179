//! Logical lines to a tree of statements; finds what is wrong with braces and with the language itself.
//!
//! It looks at the keyword table only to learn which statements open a block: without that, one missing brace
//! would shift the meaning of the rest of the file.

use super::{
    diagnostic::Code,
    report::Report,
    span::{Item, Span, Word},
};
use crate::schema::{
    keyword::{Block, Inside, KeywordForm, Support},
    table,
};

/// A statement and, where braces follow it, the statements inside.
#[derive(Debug)]
pub struct SyntaxNode {
    /// Empty only if `unsupported`.
    pub words: Vec<Word>,
    pub block: Option<Vec<SyntaxNode>>,
    /// Already reported, and its meaning is unknown: it may have held any keyword.
    pub unsupported: bool,
}

/// Returns the statements at the top level.
pub fn parse(items: Vec<Item>, report: &mut Report) -> Vec<SyntaxNode> {
    let count = |brace: fn(&Item) -> bool| items.iter().filter(|item| brace(item)).count();
    let opened = count(|item| matches!(item, Item::Open(_)));
    let unclosed = opened.saturating_sub(count(|item| matches!(item, Item::Close(_))));
    let mut parser = Parser { report, top: Vec::new(), open: Vec::new(), unclosed };
    let mut items = items.into_iter().peekable();
    let mut after_statement = false;
    while let Some(item) = items.next() {
        let opens = matches!(items.peek(), Some(Item::Open(_)));
        match item {
            Item::Statement(words) => after_statement = parser.statement(words, opens),
            Item::Open(brace) => {
                if parser.open.len() == DEPTH_MAX {
                    parser.report.error(
                        Code::TooDeep,
                        brace,
                        format!("blocks are nested deeper than {DEPTH_MAX}"),
                    );
                    return parser.top;
                }
                parser.open_brace(brace, after_statement);
                after_statement = false;
            }
            Item::Close(brace) => {
                parser.close_brace(brace);
                after_statement = false;
            }
        }
    }
    parser.end()
}

struct Parser<'p> {
    report: &'p mut Report,
    top: Vec<SyntaxNode>,
    open: Vec<OpenBlock>,
    /// `{` without a `}`, in all of the file, that were not found yet.
    unclosed: usize,
}

/// A block whose `}` has not come yet.
struct OpenBlock {
    node: SyntaxNode,
    at: Span,
    children: Vec<SyntaxNode>,
    /// `None`: nothing is known about the keywords inside.
    inside: Option<Block>,
    /// It holds lines, not statements.
    lines: bool,
}

impl Parser<'_> {
    /// Returns whether a `{` that follows belongs to this statement.
    fn statement(&mut self, words: Vec<Word>, opens: bool) -> bool {
        let Some(first) = words.first() else { return false };
        if opens && self.starts_top_level(&words) {
            self.report_unclosed(0, "before the next block starts");
            self.close_all();
        } else if self.ends_block(first) {
            self.report_unclosed(self.open.len() - 1, &format!("before `{}`", first.text));
            self.close_one();
        }
        let (first, name) = (first.clone(), title(&words, self.report));
        let misses_brace = !opens
            && self.inside().and_then(|block| table::find(block, &first.text)).is_some_and(|k| k.block);
        let inside = self.block_of(&first.text);
        if misses_brace && self.is_nameless(&first.text) && words.len() > 1 {
            self.line_in_head(words, &first);
            return false;
        }
        let node = SyntaxNode { words, block: None, unsupported: false };
        if misses_brace {
            self.report.error_hint(
                Code::MissingBrace,
                first.span,
                format!("{name} lacks its `{{`"),
                "put `{` at the end of the line",
            );
            let lines = self.holds_lines(&first.text);
            self.open.push(OpenBlock { node, at: first.span, children: Vec::new(), inside, lines });
        } else {
            self.push(node);
        }
        !misses_brace
    }

    fn open_brace(&mut self, brace: Span, after_statement: bool) {
        let header = if after_statement { self.siblings().pop() } else { None };
        let Some(node) = header else {
            let hint = "put the keyword of the block before it, or remove it";
            self.report.error_hint(Code::StrayBrace, brace, "stray `{`: no keyword stands before it", hint);
            let node = SyntaxNode { words: Vec::new(), block: None, unsupported: true };
            self.open.push(OpenBlock { node, at: brace, children: Vec::new(), inside: None, lines: false });
            return;
        };
        let first = node.words.first();
        let inside = first.filter(|_| !node.unsupported).and_then(|word| self.block_of(&word.text));
        let at = first.map_or(brace, |word| word.span);
        let lines = first.is_some_and(|word| self.holds_lines(&word.text));
        self.open.push(OpenBlock { node, at, children: Vec::new(), inside, lines });
    }

    /// A block that takes no name, with what belongs into it on the line of its keyword: as in `track_interface eth0`.
    fn line_in_head(&mut self, words: Vec<Word>, first: &Word) {
        let keyword = self.report.quote(first);
        let shown: Vec<String> = words[1..].iter().map(|word| self.report.bare(word)).collect();
        let message = format!("{keyword} is a block: `{}` does not stand on its line", shown.join(" "));
        let hint = format!(
            "write `{} {{`, then `{}`, then `}}`, each on a line of its own",
            self.report.bare(first),
            shown.join(" ")
        );
        let at = words.get(1).map_or(first.span, |word| word.span);
        self.report.error_hint(Code::MissingBrace, at, message, hint);
        // All that is wrong with the line comes of it.
        self.report.silence(at.line);
        let line = SyntaxNode { words: words[1..].to_vec(), block: None, unsupported: false };
        self.push(SyntaxNode { words: vec![first.clone()], block: Some(vec![line]), unsupported: false });
    }

    fn close_brace(&mut self, brace: Span) {
        self.close_inner(brace);
        if !self.close_one() {
            let hint = "remove it, or add the `{` that it ends";
            self.report.error_hint(Code::StrayBrace, brace, "stray `}`: no block is open here", hint);
        }
    }

    /// A `}` that stands below the keyword of an outer block, and left of the block that is open: where one is missing, it is the
    /// inner one's.
    fn close_inner(&mut self, brace: Span) {
        let [outer @ .., inner] = &self.open[..] else { return };
        let below = |open: &OpenBlock| open.at.column == brace.column && open.at.line != brace.line;
        let Some(closed) = outer.iter().rposition(below) else { return };
        if self.unclosed == 0 || inner.at.column <= brace.column || inner.at.line == brace.line {
            return;
        }
        let title = title(&outer[closed].node.words, self.report);
        let when = format!("before the `}}` of {title} on line {}", self.report.number(brace));
        self.report_unclosed(closed + 1, &when);
        while self.open.len() > closed + 1 {
            self.close_one();
        }
    }

    fn end(mut self) -> Vec<SyntaxNode> {
        self.report_unclosed(0, "at the end of the file");
        self.close_all();
        self.top
    }

    /// Of the blocks that are open, those from `from` on.
    fn report_unclosed(&mut self, from: usize, when: &str) {
        self.unclosed = self.unclosed.saturating_sub(self.open.len() - from);
        for open in &self.open[from..] {
            let name = title(&open.node.words, self.report);
            self.report.error_hint(
                Code::UnclosedBlock,
                open.at,
                format!("{name} is not closed {when}"),
                "add the missing `}`",
            );
        }
    }

    fn close_all(&mut self) {
        while self.close_one() {}
    }

    fn close_one(&mut self) -> bool {
        let Some(mut open) = self.open.pop() else {
            return false;
        };
        open.node.block = Some(open.children);
        self.push(open.node);
        true
    }

    /// A named top-level block inside another block: the `}` before it is missing.
    fn starts_top_level(&self, words: &[Word]) -> bool {
        let Some(first) = words.first() else { return false };
        let top = table::find(Block::Root, &first.text).is_some_and(|keyword| keyword.block);
        let known_here = self.inside().is_some_and(|block| table::find(block, &first.text).is_some());
        !self.open.is_empty() && top && !known_here && (words.len() > 1 || first.text == "global_defs")
    }

    /// A keyword of the block around this one and not of this one, where a `}` is missing somewhere.
    fn ends_block(&self, first: &Word) -> bool {
        let [.., around, open] = &self.open[..] else { return false };
        let Some(around) = around.inside else { return false };
        let is_here = |block| table::find(block, &first.text).is_some();
        let may_hold = match open.inside {
            _ if open.lines => false,
            Some(inside) => table::rows(inside).is_empty() || is_here(inside),
            None => true,
        };
        self.unclosed > 0 && !may_hold && is_here(around)
    }

    fn push(&mut self, node: SyntaxNode) {
        self.siblings().push(node);
    }

    fn siblings(&mut self) -> &mut Vec<SyntaxNode> {
        match self.open.last_mut() {
            Some(open) => &mut open.children,
            None => &mut self.top,
        }
    }

    /// The block being read, if its keywords are known.
    fn inside(&self) -> Option<Block> {
        self.open.last().map_or(Some(Block::Root), |open| open.inside)
    }

    /// Whether the block of a keyword takes no name.
    fn is_nameless(&self, keyword: &str) -> bool {
        let row = self.inside().and_then(|block| table::find(block, keyword));
        row.is_some_and(|row| match &row.status {
            Support::Supported(KeywordForm::Block(block)) => *block != Block::Instance,
            Support::Grammar { takes, .. } => takes.is_empty(),
            _ => false,
        })
    }

    /// Whether the block of a keyword holds lines.
    fn holds_lines(&self, keyword: &str) -> bool {
        let row = self.inside().and_then(|block| table::find(block, keyword));
        row.is_some_and(|row| match &row.status {
            Support::Supported(KeywordForm::Block(block)) => table::rows(*block).is_empty(),
            Support::Grammar { inside: Inside::Lines(_) | Inside::LinesOf(_), .. } => true,
            _ => false,
        })
    }

    fn block_of(&self, keyword: &str) -> Option<Block> {
        table::find(self.inside()?, keyword)?.opens()
    }
}

/// A statement's keyword and name as a message calls it.
pub fn title(words: &[Word], report: &Report) -> String {
    match words {
        [] => "block".to_owned(),
        [keyword] => report.quote(keyword),
        // `virtual_server fwmark 3`
        [keyword, kind, name, ..] if matches!(kind.text.as_str(), "fwmark" | "group") => {
            format!("`{} {} {}`", report.bare(keyword), report.bare(kind), report.bare(name))
        }
        [keyword, name, ..] => report.quote_pair(keyword, name),
    }
}

/// keepalived's own deepest nesting is five; the limit keeps recursion over the tree bounded.
const DEPTH_MAX: usize = 16;
