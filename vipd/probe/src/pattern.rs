//! Regular expressions of PCRE2, matched by the regex crate, whose time is linear in the answer.
//!
//! What only PCRE2 has is refused, and so is everything that both accept with different meanings. What can be written in the other's
//! words is translated:
//!
//! | PCRE2 | regex crate |
//! |---|---|
//! | `$` without `(?m)`: the end, or before a newline at the end | `(?:\n?\z)` |
//! | `(*UTF)` without `(*UCP)`: `\d`, `\s`, `\w`, `\b` mean ASCII | classes of ASCII |
//! | `\<`, `\>`: the characters | `<`, `>` |

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use regex::bytes::{Regex, RegexBuilder};
use regex_syntax::ast::{
    self, AssertionKind, Ast, ClassPerlKind, ClassSetBinaryOp, ClassSetItem, Flag, FlagsItemKind, GroupKind,
    Position, RepetitionKind, RepetitionRange, Span, Visitor,
};

/// Why a regular expression cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("regex {pattern:?}: {what}{}", .column.map_or(String::new(), |column| format!(", at character {column}")))]
pub struct PatternFault {
    /// The expression.
    pub pattern: String,
    /// What is not supported or wrong, in lower case.
    pub what: String,
    /// Where, from 1; of the expression without its `(*...)` in front.
    pub column: Option<usize>,
}

/// Makes the `regex` of the model from keepalived's `regex` and `regex_options`: the options that change its meaning stand in front, as PCRE2
/// has them. Options that only concern PCRE2's own work (`no_auto_possess`, `never_ucp`) have no effect.
///
/// # Errors
///
/// An option or a part of the expression that the regex crate does not have, or that it takes for something else.
pub fn lower_regex(pattern: &str, options: &[&str]) -> Result<String, PatternFault> {
    let (mut verbs, mut flags, mut pattern) = (String::new(), String::new(), pattern.to_owned());
    for &option in options {
        match option {
            "caseless" => flags.push('i'),
            "multiline" => flags.push('m'),
            "dotall" => flags.push('s'),
            "extended" => flags.push('x'),
            "ungreedy" => flags.push('U'),
            "utf" => verbs.push_str("(*UTF)"),
            "ucp" => verbs.push_str("(*UCP)"),
            // `$` matches at the end only. `multiline` overrides it, in PCRE2 too.
            "dollar_endonly" if !options.contains(&"multiline") => {
                let edits = PatternEdits::of(&pattern, Dollar::EndOnly, true)?;
                pattern = edits.apply(&pattern);
            }
            "dollar_endonly" | "auto_callout" | "never_ucp" | "never_utf" | "never_backslash_c"
            | "no_auto_capture" | "no_auto_possess" | "no_dotstar_anchor" | "no_start_optimize"
            | "use_offset_limit" | "dupnames" => {}
            other => {
                let what = format!("the option {other} is not supported");
                return Err(PatternFault { pattern, what, column: None });
            }
        }
    }
    let flags = if flags.is_empty() { flags } else { format!("(?{flags})") };
    let lowered = format!("{verbs}{flags}{pattern}");
    AnswerPattern::new(&lowered)?;
    Ok(lowered)
}

/// A compiled regular expression.
#[derive(Clone, Debug)]
pub(crate) struct AnswerPattern(Regex);

impl AnswerPattern {
    pub(crate) fn new(pattern: &str) -> Result<Self, PatternFault> {
        let fault = |what: String, column| PatternFault { pattern: pattern.to_owned(), what, column };
        let (mut rest, mut utf, mut ucp) = (pattern, false, false);
        while let Some(verb) = rest.strip_prefix("(*") {
            let Some((name, after)) = verb.split_once(')') else {
                return Err(fault("`(*` without `)`".to_owned(), None));
            };
            match name {
                "UTF" => utf = true,
                "UCP" => ucp = true,
                // The regex crate has no other newline, as most builds of PCRE2.
                "LF" | "NO_AUTO_POSSESS" | "NO_START_OPT" | "NO_DOTSTAR_ANCHOR" | "NO_JIT" => {}
                _ => return Err(fault(format!("(*{name}) is not supported"), None)),
            }
            rest = after;
        }
        let ascii = utf && !ucp;
        let edits = PatternEdits::of(rest, Dollar::Pcre, !ascii)?;
        let built = RegexBuilder::new(&edits.apply(rest))
            .unicode(utf || ucp)
            .size_limit(SIZE_MOST)
            .dfa_size_limit(SIZE_MOST)
            .build();
        built.map(Self).map_err(|error| match error {
            regex::Error::CompiledTooBig(_) => fault("it is too large".to_owned(), None),
            error => fault(error.to_string().lines().last().unwrap_or_default().trim().to_owned(), None),
        })
    }

    /// Whether a match starts within these offsets, both included, in octets.
    pub(crate) fn matches(&self, answer: &[u8], (least, most): (u32, Option<u32>)) -> bool {
        let Ok(least) = usize::try_from(least) else { return false };
        if least > answer.len() {
            return false;
        }
        // The first match is the one that starts first.
        let found = self.0.find_at(answer, least);
        found.is_some_and(|found| {
            most.is_none_or(|most| usize::try_from(most).is_ok_and(|most| found.start() <= most))
        })
    }
}

/// The expressions in use: probes of one expression share it, and its memory.
#[derive(Debug, Default)]
pub(crate) struct PatternCache {
    compiled: Mutex<HashMap<String, Arc<AnswerPattern>>>,
}

impl PatternCache {
    pub(crate) fn get(&self, pattern: &str) -> Result<Arc<AnswerPattern>, PatternFault> {
        let mut compiled = self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = compiled.get(pattern) {
            return Ok(known.clone());
        }
        let new = Arc::new(AnswerPattern::new(pattern)?);
        compiled.insert(pattern.to_owned(), new.clone());
        Ok(new)
    }

    /// Forgets all; probes that run keep theirs.
    pub(crate) fn clear(&self) {
        self.compiled.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// What `$` is to become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dollar {
    /// The end, or before a newline there.
    Pcre,
    /// `dollar_endonly`.
    EndOnly,
}

/// What is replaced in an expression, from left to right.
#[derive(Debug)]
struct PatternEdits {
    replaced: Vec<(Span, &'static str)>,
}

impl PatternEdits {
    /// Refuses what means something else in the regex crate. `unicode`: classes stay as they are.
    fn of(pattern: &str, dollar: Dollar, unicode: bool) -> Result<Self, PatternFault> {
        let fault = |what: String, at: Position| PatternFault {
            pattern: pattern.to_owned(),
            what,
            column: Some(pattern.get(..at.offset).map_or(0, |before| before.chars().count()) + 1),
        };
        let tree = ast::parse::Parser::new().parse(pattern).map_err(|error| {
            let what = error.kind().to_string();
            // Its messages begin with a capital of no name.
            fault(what, error.span().start)
        })?;
        let reader = PatternReader {
            pattern,
            dollar,
            unicode,
            scopes: vec![PatternScope::default()],
            replaced: Vec::new(),
        };
        let replaced =
            ast::visit(&tree, reader).map_err(|(what, span)| fault(what.to_owned(), span.start))?;
        Ok(Self { replaced })
    }

    fn apply(&self, pattern: &str) -> String {
        let (mut made, mut from) = (String::new(), 0);
        for (span, with) in &self.replaced {
            made.push_str(&pattern[from..span.start.offset]);
            made.push_str(with);
            from = span.end.offset;
        }
        made + &pattern[from..]
    }
}

/// Flags in force.
#[derive(Clone, Copy, Debug, Default)]
struct PatternScope {
    multiline: bool,
    extended: bool,
}

struct PatternReader<'a> {
    pattern: &'a str,
    dollar: Dollar,
    unicode: bool,
    scopes: Vec<PatternScope>,
    replaced: Vec<(Span, &'static str)>,
}

type Unsupported = (&'static str, Span);

impl PatternReader<'_> {
    fn scope(&self) -> PatternScope {
        self.scopes.last().copied().unwrap_or_default()
    }

    fn set_flags(&mut self, flags: &ast::Flags) -> Result<(), Unsupported> {
        let mut on = true;
        for item in &flags.items {
            let scope = self.scopes.last_mut().expect("the outermost is never popped");
            match item.kind {
                FlagsItemKind::Negation => on = false,
                FlagsItemKind::Flag(Flag::MultiLine) => scope.multiline = on,
                FlagsItemKind::Flag(Flag::IgnoreWhitespace) => scope.extended = on,
                FlagsItemKind::Flag(Flag::CaseInsensitive | Flag::DotMatchesNewLine | Flag::SwapGreed) => {}
                FlagsItemKind::Flag(Flag::Unicode | Flag::CRLF) => {
                    return Err(("PCRE2 has no such flag", item.span));
                }
            }
        }
        Ok(())
    }

    fn assertion(&mut self, assertion: &ast::Assertion) -> Result<(), Unsupported> {
        let with = match assertion.kind {
            AssertionKind::EndLine if self.scope().multiline => return Ok(()),
            AssertionKind::EndLine => match self.dollar {
                Dollar::Pcre => r"(?:\n?\z)",
                Dollar::EndOnly => r"\z",
            },
            AssertionKind::WordBoundaryStartAngle => "<",
            AssertionKind::WordBoundaryEndAngle => ">",
            AssertionKind::WordBoundary if !self.unicode => r"(?-u:\b)",
            AssertionKind::NotWordBoundary if !self.unicode => r"(?-u:\B)",
            AssertionKind::WordBoundaryStart
            | AssertionKind::WordBoundaryEnd
            | AssertionKind::WordBoundaryStartHalf
            | AssertionKind::WordBoundaryEndHalf => {
                return Err((r"PCRE2 takes \b{...} for text", assertion.span));
            }
            AssertionKind::StartLine
            | AssertionKind::StartText
            | AssertionKind::EndText
            | AssertionKind::WordBoundary
            | AssertionKind::NotWordBoundary => return Ok(()),
        };
        self.replaced.push((assertion.span, with));
        Ok(())
    }

    fn perl_class(&mut self, class: &ast::ClassPerl) {
        if self.unicode {
            return;
        }
        let with = match (&class.kind, class.negated) {
            (ClassPerlKind::Digit, false) => "[0-9]",
            (ClassPerlKind::Digit, true) => "[^0-9]",
            (ClassPerlKind::Space, false) => r"[\t-\r\x20]",
            (ClassPerlKind::Space, true) => r"[^\t-\r\x20]",
            (ClassPerlKind::Word, false) => "[0-9A-Za-z_]",
            (ClassPerlKind::Word, true) => "[^0-9A-Za-z_]",
        };
        self.replaced.push((class.span, with));
    }
}

impl Visitor for PatternReader<'_> {
    type Output = Vec<(Span, &'static str)>;
    type Err = Unsupported;

    fn finish(self) -> Result<Self::Output, Unsupported> {
        Ok(self.replaced)
    }

    fn visit_pre(&mut self, ast: &Ast) -> Result<(), Unsupported> {
        match ast {
            Ast::Flags(set) => self.set_flags(&set.flags)?,
            Ast::Group(group) => {
                self.scopes.push(self.scope());
                if let GroupKind::NonCapturing(flags) = &group.kind {
                    self.set_flags(flags)?;
                }
            }
            Ast::Assertion(assertion) => self.assertion(assertion)?,
            Ast::ClassPerl(class) => self.perl_class(class),
            Ast::Repetition(repetition) => {
                if matches!(*repetition.ast, Ast::Repetition(_)) {
                    return Err(("a possessive quantifier is not supported", repetition.op.span));
                }
                if matches!(repetition.op.kind, RepetitionKind::Range(RepetitionRange::Bounded(0, _)))
                    && self.pattern[repetition.op.span.start.offset..].starts_with("{,")
                {
                    return Err(("PCRE2 takes {,n} for text", repetition.op.span));
                }
            }
            Ast::ClassBracketed(class) if self.scope().extended => {
                let text = &self.pattern[class.span.start.offset..class.span.end.offset];
                if text.contains(|c: char| c.is_whitespace() || c == '#') {
                    return Err((
                        "white space and # in a class with the flag x are not supported",
                        class.span,
                    ));
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn visit_post(&mut self, ast: &Ast) -> Result<(), Unsupported> {
        if matches!(ast, Ast::Group(_)) {
            self.scopes.pop();
        }
        Ok(())
    }

    fn visit_class_set_item_pre(&mut self, item: &ClassSetItem) -> Result<(), Unsupported> {
        match item {
            ClassSetItem::Perl(class) => self.perl_class(class),
            ClassSetItem::Bracketed(class) => return Err((r"write [ in a class as \[", class.span)),
            _ => {}
        }
        Ok(())
    }

    fn visit_class_set_binary_op_pre(&mut self, op: &ClassSetBinaryOp) -> Result<(), Unsupported> {
        Err((r"write &&, -- and ~~ in a class with \", op.span))
    }
}

/// Most memory of a compiled expression, and of its cache, in octets.
const SIZE_MOST: usize = 1 << 20;
