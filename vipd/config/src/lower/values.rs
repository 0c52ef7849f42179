//! Reads the words after a keyword as its form demands.

use super::{given::Given, vmac};
use crate::{
    schema::{
        form::expectation,
        keyword::{Block, Keyword, KeywordForm},
        mend::mend,
        table,
        value::Value,
        words as readers,
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
    if equals(words, report) {
        return;
    }
    match (form, value) {
        // Their inside is read by `lower`.
        (KeywordForm::Block(_), _) => {}
        (KeywordForm::Bare, _) => {
            into.values.set(keyword.means, Value::Flag(true), first.span);
            after_switch(words, block, into, report);
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
        // As keepalived: these are switches whatever follows them.
        (KeywordForm::Flag | KeywordForm::NotFlag, Some(word))
            if keyword.means == "accept" && form.read(&word.text).is_err() =>
        {
            into.values.set(keyword.means, Value::Flag(matches!(form, KeywordForm::Flag)), first.span);
            after_switch(words, block, into, report);
        }
        (form, Some(word)) => {
            let text =
                if matches!(form, KeywordForm::Source) { without_length(word, report) } else { &word.text };
            match form.read(text) {
                Ok(value) => {
                    into.values.set(keyword.means, value, word.span);
                    rest(words, 2, block, into, report);
                }
                Err(problem) => {
                    let message = format!("{} {} {problem}", report.bare(first), report.quote(word));
                    let hint = mended(word, |text| form.read(text).is_ok(), report);
                    let hint = hint.unwrap_or_else(|| expectation(keyword, form));
                    report.error_hint(Code::BadValue, word.span, message, hint);
                }
            }
        }
    }
}

/// An `=` between a keyword and its value; whether there is one.
pub fn equals(words: &[Word], report: &mut Report) -> bool {
    let [first, equals, value @ ..] = words else { return false };
    if equals.text != "=" {
        return false;
    }
    let hint = match value.first() {
        Some(value) => {
            let text = value.text.trim_end_matches([',', ';']);
            let and = match value.text.get(text.len()..) {
                None | Some("") => String::new(),
                Some(end) => format!(" and the `{end}`"),
            };
            let bare = report.bare_as(value, text);
            format!("write `{} {bare}` without the `=`{and}", report.bare(first))
        }
        None => "remove the `=`".to_owned(),
    };
    report.error_hint(Code::UnexpectedWord, equals.span, format!("`=` after {}", report.quote(first)), hint);
    true
}

/// What to write for a word that cannot be read, if it is a small mistake.
pub fn mended(word: &Word, reads: impl Fn(&str) -> bool, report: &Report) -> Option<String> {
    let (mended, why) = mend(&word.text, reads)?;
    Some(format!("write `{}`: {why}", report.bare_as(word, &mended)))
}

/// The text of an address without the length that keepalived ignores there.
pub fn without_length<'w>(word: &'w Word, report: &mut Report) -> &'w str {
    match word.text.split_once('/') {
        Some((address, len)) if readers::prefix(&word.text, readers::unicast).is_ok() => {
            let message =
                format!("`/{}` behind an address of a router is ignored", report.bare_as(word, len));
            report.warning(Code::Ignored, word.span, message, "remove it: only VIPs have a prefix length");
            address
        }
        _ => &word.text,
    }
}

/// Words after a switch, which keepalived ignores.
fn after_switch(words: &[Word], block: Block, into: &mut Given, report: &mut Report) {
    match words.get(1) {
        Some(word) if table::find(block, &word.text).is_some() => rest(words, 1, block, into, report),
        _ => switch_is_on(words, report),
    }
}

/// Says that a word after a switch is ignored.
pub fn switch_is_on(words: &[Word], report: &mut Report) {
    let [first, word, ..] = words else { return };
    let (keyword, shown) = (report.quote(first), report.quote(word));
    let message = format!("{keyword} takes no value: {shown} is ignored");
    let hint = match word.text.as_str() {
        "0" | "off" | "no" | "false" => {
            format!("{keyword} is on, as in keepalived: to turn it off remove the line")
        }
        _ => format!("remove {shown}"),
    };
    report.warning(Code::Ignored, word.span, message, hint);
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
