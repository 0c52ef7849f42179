//! Reads the words after a keyword as its form demands.

use super::{given::Given, vmac};
use crate::{
    schema::{
        form::expectation,
        keyword::{Block, Keyword, KeywordForm},
        table,
        value::Value,
    },
    source::is_include_check,
    syntax::{diagnostic::Code, report::Report, span::Word},
};

/// Sets what the statement `words` says; `words` starts with `keyword` itself.
pub fn set(
    keyword: &Keyword,
    form: &KeywordForm,
    words: &[Word],
    block: Block,
    into: &mut Given,
    report: &mut Report,
) {
    let Some(first) = words.first() else { return };
    let value = words.get(1).filter(|word| !word.text.is_empty());
    match (form, value) {
        // Their inside is read by `lower`.
        (KeywordForm::Block(_), _) => {}
        (KeywordForm::Bare, _) => {
            into.values.set(keyword.means, Value::Flag(true), first.span);
            rest(words, 1, block, into, report);
        }
        (KeywordForm::Stands(word), _) => {
            into.values.set(keyword.means, Value::Word(word), first.span);
            rest(words, 1, block, into, report);
        }
        (KeywordForm::Flag | KeywordForm::NotFlag, None) => {
            into.values.set(keyword.means, Value::Flag(matches!(form, KeywordForm::Flag)), first.span);
        }
        (KeywordForm::Vmac, _) => {
            into.values.set(keyword.means, Value::Flag(true), first.span);
            vmac::words(&words[1..], report);
        }
        (KeywordForm::IncludeCheck, _) => {
            for word in words[1..].iter().filter(|word| !is_include_check(&word.text)) {
                let message = format!("unknown check {} after {}", report.quote(word), report.quote(first));
                let hint = "known are readable, match, wildcard_match and brace_match, each with `+`, `-` or nothing before it";
                report.error_hint(Code::UnknownWord, word.span, message, hint);
            }
        }
        (_, None) => {
            let message = format!("{} needs a value", report.quote(first));
            report.error_hint(Code::MissingValue, first.span, message, expectation(keyword, form));
        }
        (KeywordForm::Flag | KeywordForm::NotFlag, Some(word))
            if table::find(block, &word.text).is_some() =>
        {
            rest(words, 1, block, into, report);
        }
        (form, Some(word)) => match form.read(&word.text) {
            Ok(value) => {
                into.values.set(keyword.means, value, word.span);
                rest(words, 2, block, into, report);
            }
            Err(problem) => {
                let message = format!("{} {} {problem}", report.bare(first), report.quote(word));
                report.error_hint(Code::BadValue, word.span, message, expectation(keyword, form));
            }
        },
    }
}

/// As [`trailing`]; a statement there was given, if in the wrong place: it is not missing as well.
fn rest(words: &[Word], used: usize, block: Block, into: &mut Given, report: &mut Report) {
    if let Some(word) = words.get(used)
        && let Some(meant) = table::find(block, &word.text)
    {
        into.seen.add(meant.means, word.span);
    }
    trailing(words, used, block, report);
}

/// Reports words after the first `used`, which keepalived would swallow.
pub fn trailing(words: &[Word], used: usize, block: Block, report: &mut Report) {
    let (Some(extra), Some(first)) = (words.get(used), words.first()) else {
        return;
    };
    let (shown, keyword) = (report.quote(extra), report.quote(first));
    if table::find(block, &extra.text).is_some() {
        let message = format!("second statement on one line: {shown} after {keyword}");
        report.error_hint(
            Code::TwoStatements,
            extra.span,
            message,
            format!("put {shown} on a line of its own"),
        );
    } else {
        let hint = "put text with blanks in double quotes; a comment starts with `#`";
        report.error_hint(
            Code::UnexpectedWord,
            extra.span,
            format!("unexpected {shown} after {keyword}"),
            hint,
        );
    }
}
