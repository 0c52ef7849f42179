//! What is written in the brackets of other languages: `[ ... ]` around a block, and the sections of an INI file.

use super::{
    diagnostic::Code,
    report::Report,
    span::{Item, Span, Word},
};
use crate::schema::table;

/// The same with braces in the place of brackets. Each bracket that opens a block is told of, the one that closes it is not.
pub fn mend(items: Vec<Item>, report: &mut Report) -> Vec<Item> {
    let (mut mended, mut depth, mut bracketed) = (Vec::with_capacity(items.len()), 0usize, 0usize);
    let mut in_ini = false;
    for item in items {
        match item {
            Item::Open(_) => depth += 1,
            Item::Close(_) => depth = depth.saturating_sub(1),
            Item::Statement(mut words) => {
                if depth == 0 && bracketed == 0 && is_of_ini(&words, in_ini) {
                    if !std::mem::replace(&mut in_ini, true) {
                        section(&words, report);
                    }
                    continue;
                }
                if words.len() == 1 && words[0].text == "]" && bracketed > 0 {
                    bracketed -= 1;
                    mended.push(Item::Close(words[0].span));
                    continue;
                }
                if let Some(inside) = opened(&mut words, report) {
                    let Opened { bracket, inside, close } = inside;
                    mended.extend((!words.is_empty()).then_some(Item::Statement(words)));
                    mended.push(Item::Open(bracket));
                    mended.extend((!inside.is_empty()).then_some(Item::Statement(inside)));
                    match close {
                        Some(close) => mended.push(Item::Close(close)),
                        None => bracketed += 1,
                    }
                    continue;
                }
                mended.push(Item::Statement(words));
                continue;
            }
        }
        mended.push(item);
    }
    mended
}

/// What a bracket opens.
struct Opened {
    bracket: Span,
    /// On the same line.
    inside: Vec<Word>,
    /// If it closes on the same line.
    close: Option<Span>,
}

/// Takes a bracket and what follows it off the words of a statement, and reports it.
fn opened(words: &mut Vec<Word>, report: &mut Report) -> Option<Opened> {
    // A command may be one of `[`.
    if words.first().is_some_and(|first| table::is_command(&first.text)) {
        return None;
    }
    let at = words.iter().position(|word| word.text == "[")?;
    let mut inside = words.split_off(at);
    let bracket = inside.remove(0).span;
    let close = inside.last().filter(|last| last.text == "]").map(|last| last.span);
    inside.truncate(inside.len() - usize::from(close.is_some()));
    let hint = match close {
        Some(_) => "write `{`, the lines of the block, and `}`, each on a line of its own",
        None => "write `{`, and `}` where the block ends",
    };
    report.error_hint(Code::MissingBrace, bracket, "`[` opens no block: braces do", hint);
    Some(Opened { bracket, inside, close })
}

/// Whether this is a section of an INI file, or a line of one.
fn is_of_ini(words: &[Word], in_ini: bool) -> bool {
    match words {
        [one] if !in_ini => is_section(one),
        [one] => is_section(one) || one.text.contains('='),
        [_, equals, ..] => in_ini && equals.text == "=",
        [] => false,
    }
}

fn is_section(word: &Word) -> bool {
    word.text.len() > 2 && word.text.starts_with('[') && word.text.ends_with(']')
}

fn section(words: &[Word], report: &mut Report) {
    let Some(first) = words.first() else { return };
    let message =
        format!("{} begins a section of an INI file, and this language has none", report.quote(first));
    let hint = "write `vrrp_instance NAME {`, then lines such as `interface eth0`, without `=`, then `}`; `vipd init` writes a first file";
    report.error_hint(Code::UnknownKeyword, first.span, message, hint);
}
