//! Logical lines to a tree of statements and blocks.
//!
//! Looks at the keyword table only to recover: a block keyword without `{` is taken as opened, and a keyword that
//! belongs further out shows where a `}` is missing, so that one slip costs one finding. What stands in a block
//! that is not understood is dropped here, which also bounds the depth of the tree.

use super::{
    diagnostic::{Sink, Span},
    keywords::{self, Block},
    lexer::{Line, Token},
};

/// A statement, with its block if one followed. The keyword is apart, so there is always one.
#[derive(Debug)]
pub struct Node {
    pub keyword: Token,
    pub args: Vec<Token>,
    pub body: Option<Body>,
}

#[derive(Debug)]
pub struct Body {
    pub open: Span,
    pub nodes: Vec<Node>,
}

pub fn parse(lines: Vec<Line>, sink: &mut Sink<'_>) -> Vec<Node> {
    let mut parser = Parser { root: Vec::new(), stack: Vec::new(), sink };
    let mut lines = lines.into_iter().peekable();
    while let Some(line) = lines.next() {
        match line {
            Line::Words(words) => parser.words(words, lines.peek()),
            Line::Open(span) => parser.open(span),
            Line::Close(span) => parser.close(span),
        }
    }
    parser.end()
}

/// A block being filled. `node` is the statement that opened it.
struct Frame {
    node: Node,
    open: Span,
    kind: Block,
    /// Blocks open inside it that are not kept.
    skipped: usize,
    /// Its `{` was there.
    seen_open: bool,
}

struct Parser<'s, 'a> {
    root: Vec<Node>,
    stack: Vec<Frame>,
    sink: &'s mut Sink<'a>,
}

impl Parser<'_, '_> {
    fn kind(&self) -> Block {
        self.stack.last().map_or(Block::Root, |frame| frame.kind)
    }

    fn words(&mut self, words: Vec<Token>, next: Option<&Line>) {
        if self.kind() == Block::Opaque {
            return;
        }
        let mut words = words.into_iter();
        let Some(keyword) = words.next() else { return };
        let opened = matches!(next, Some(Line::Open(_)));
        self.leave_unclosed(&keyword.text);
        let row = keywords::find(self.kind(), &keyword.text);
        let span = keyword.span;
        let node = Node { keyword, args: words.collect(), body: None };
        let opens = row.and_then(|row| row.opens);
        match opens {
            // The brace follows and `open` gives the node its block.
            _ if opened => self.push(node),
            None => self.push(node),
            Some(kind) => {
                let name = &node.keyword.text;
                let (message, hint) = (format!("`{name}` needs a `{{`"), format!("write `{name} ... {{`"));
                self.sink.error_hint(span, message, hint);
                // What follows is its content, unless it plainly belongs to the block around.
                let inside = match next {
                    Some(Line::Words(words)) => {
                        words.first().is_some_and(|w| keywords::find(self.kind(), &w.text).is_none())
                    }
                    _ => false,
                };
                if inside {
                    self.stack.push(Frame { node, open: span, kind, skipped: 0, seen_open: false });
                }
            }
        }
    }

    /// Ends the blocks whose `}` is missing when `word` can only stand further out.
    fn leave_unclosed(&mut self, word: &str) {
        if self.kind() == Block::Root || keywords::find(self.kind(), word).is_some() {
            return;
        }
        let home = self.stack.iter().rposition(|frame| keywords::find(frame.kind, word).is_some());
        let keep = match home {
            Some(index) => index + 1,
            None if keywords::find(Block::Root, word).is_some_and(|row| row.opens.is_some()) => 0,
            None => return,
        };
        while self.stack.len() > keep {
            self.unclosed();
        }
    }

    fn open(&mut self, span: Span) {
        if let Some(frame) = self.stack.last_mut().filter(|frame| frame.kind == Block::Opaque) {
            frame.skipped += 1;
            return;
        }
        let outer = self.kind();
        let nodes = self.stack.last_mut().map_or(&mut self.root, |frame| match &mut frame.node.body {
            Some(body) => &mut body.nodes,
            none => &mut none.insert(Body { open: frame.open, nodes: Vec::new() }).nodes,
        });
        match nodes.pop_if(|node| node.body.is_none()) {
            Some(node) => {
                let row = keywords::find(outer, &node.keyword.text);
                let kind = row.and_then(|row| row.opens).unwrap_or(Block::Opaque);
                self.stack.push(Frame { node, open: span, kind, skipped: 0, seen_open: true });
            }
            None => {
                self.sink.error(span, "a `{` with no keyword before it");
                let keyword = Token { text: String::new(), span };
                let node = Node { keyword, args: Vec::new(), body: None };
                self.stack.push(Frame { node, open: span, kind: Block::Opaque, skipped: 0, seen_open: true });
            }
        }
    }

    fn close(&mut self, span: Span) {
        match self.stack.last_mut() {
            None => self.sink.error(span, "a `}` with no block to close"),
            Some(frame) if frame.skipped > 0 => frame.skipped -= 1,
            Some(_) => self.pop(),
        }
    }

    fn unclosed(&mut self) {
        if let Some(frame) = self.stack.last().filter(|frame| frame.seen_open) {
            let name = &frame.node.keyword.text;
            let message = format!("the block of `{name}` opened here is never closed");
            self.sink.error_hint(frame.open, message, "add the missing `}`");
        }
        self.pop();
    }

    fn pop(&mut self) {
        let Some(mut frame) = self.stack.pop() else { return };
        frame.node.body.get_or_insert_with(|| Body { open: frame.open, nodes: Vec::new() });
        // The `{` without a keyword is reported already.
        if !frame.node.keyword.text.is_empty() || !frame.node.args.is_empty() {
            self.push(frame.node);
        }
    }

    fn push(&mut self, node: Node) {
        match self.stack.last_mut() {
            None => self.root.push(node),
            Some(frame) => {
                let body =
                    frame.node.body.get_or_insert_with(|| Body { open: frame.open, nodes: Vec::new() });
                body.nodes.push(node);
            }
        }
    }

    fn end(mut self) -> Vec<Node> {
        while !self.stack.is_empty() {
            self.unclosed();
        }
        self.root
    }
}
