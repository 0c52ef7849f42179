//! `include` and its five stricter forms.

use std::{io, path::Path, rc::Rc};

use super::{
    checks::Checks,
    expander::{Expander, Origin, REPLACEMENTS_MAX},
    source_map::MappedLine,
};
use crate::syntax::{
    diagnostic::Code,
    report::{Via, fit},
    span::Span,
};

/// An `include` line.
#[derive(Clone, Copy, Debug)]
pub struct IncludeLine {
    /// Besides what `include_check` says.
    checks: Checks,
    /// Characters of the keyword.
    len: usize,
}

pub fn form(text: &str) -> Option<IncludeLine> {
    let keyword = text.split(|c: char| c.is_whitespace() || c == '"').next()?;
    let readable = Checks { readable: true, ..Checks::default() };
    let checks = match keyword {
        "include" => Checks::default(),
        "includer" => readable,
        "includem" => Checks { exists: true, ..readable },
        "includew" => Checks { wildcard: true, ..readable },
        "includeb" => Checks { brace: true, ..readable },
        "includea" => Checks::ALL,
        _ => return None,
    };
    Some(IncludeLine { checks, len: keyword.len() })
}

impl Expander<'_> {
    pub(super) fn include(&mut self, form: IncludeLine, mapped: MappedLine, origin: &Origin) {
        let all = mapped.len();
        let span = self.span(&mapped, 0, all, origin);
        let mut mapped = mapped;
        mapped.skip(form.len);
        for _ in 0..REPLACEMENTS_MAX {
            if !self.replace(&mut mapped, origin) {
                break;
            }
        }
        let pattern = mapped.text().replace('"', "").trim().to_owned();
        if pattern.is_empty() {
            return self.report.error_hint(
                Code::MissingValue,
                span,
                "`include` needs a file",
                "as in `include conf.d/*.conf`",
            );
        }
        if self.chain.len() >= DEPTH_MAX {
            return self.report.error(
                Code::TooDeep,
                span,
                format!("includes are nested deeper than {DEPTH_MAX}"),
            );
        }
        let checks = form.checks.and(self.checks);
        let dir = self.chain.last().and_then(|path| path.parent()).map(Path::to_owned).unwrap_or_default();
        let mut found = Vec::new();
        let Some(alternatives) = braces(&pattern) else {
            let message = format!("more than {ALTERNATIVES_MAX} alternatives in braces");
            return self.report.error(Code::Include, span, message);
        };
        for alternative in &alternatives {
            if !alternative.contains(['*', '?', '[']) {
                found.push((dir.join(alternative), false));
                continue;
            }
            let paths = self.outside.glob(&dir, alternative).unwrap_or_else(|problem| {
                self.report.error(Code::Include, span, format!("`{}`: {problem}", fit(alternative)));
                Vec::new()
            });
            if paths.is_empty() {
                let message = format!("no file matches `{}`", fit(alternative));
                if checks.wildcard || checks.brace && alternatives.len() > 1 {
                    self.report.error(Code::Include, span, message);
                } else {
                    let hint = "`includew` would make it an error";
                    self.report.notice(Code::Include, span, message, hint);
                }
            }
            found.extend(paths.into_iter().map(|path| (path, true)));
        }
        for (path, matched) in found {
            self.include_file(&path, matched, checks, alternatives.len() > 1, span, origin);
        }
    }

    fn include_file(
        &mut self,
        path: &Path,
        matched: bool,
        checks: Checks,
        alternative: bool,
        span: Span,
        origin: &Origin,
    ) {
        if self.chain.iter().any(|open| open == path) {
            let message = format!("{} includes itself", fit(&path.to_string_lossy()));
            return self.report.error(Code::Include, span, message);
        }
        if !self.has_room(origin) {
            return;
        }
        match self.outside.read(path) {
            Ok(octets) => {
                let via = Via::Include { file: origin.file, line: origin.number, outer: origin.via.clone() };
                self.file(path, &String::from_utf8_lossy(&octets), Some(Rc::new(via)));
            }
            Err(error) => {
                let missing = error.kind() == io::ErrorKind::NotFound;
                let fails = if missing && !matched {
                    checks.exists || checks.brace && alternative
                } else {
                    checks.readable
                };
                let message = format!("cannot include {}: {error}", fit(&path.to_string_lossy()));
                if fails {
                    self.report.error(Code::Include, span, message);
                } else {
                    let hint = "keepalived passes over it without a word; `includea` makes it an error";
                    self.report.warning(Code::Include, span, message, hint);
                }
            }
        }
    }
}

/// `a{b,c}d` is `abd` and `acd`, as csh has it; `None` if there are too many.
fn braces(pattern: &str) -> Option<Vec<String>> {
    let mut done = Vec::new();
    let mut open = vec![pattern.to_owned()];
    while let Some(pattern) = open.pop() {
        if done.len() + open.len() > ALTERNATIVES_MAX {
            return None;
        }
        let Some((before, inside, after)) = first_brace(&pattern) else {
            done.push(pattern);
            continue;
        };
        open.extend(inside.iter().rev().map(|alternative| format!("{before}{alternative}{after}")));
    }
    Some(done)
}

/// What stands before, between the commas of, and after the first pair of braces that has a comma.
fn first_brace(pattern: &str) -> Option<(&str, Vec<&str>, &str)> {
    pattern.match_indices('{').find_map(|(start, _)| {
        let (inside, end) = alternatives(&pattern[start + 1..])?;
        (inside.len() > 1).then(|| (&pattern[..start], inside, &pattern[start + 1 + end + 1..]))
    })
}

/// What stands between commas up to the brace that closes, and where that is.
fn alternatives(text: &str) -> Option<(Vec<&str>, usize)> {
    let (mut depth, mut from, mut inside) = (0, 0, Vec::new());
    for (at, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            ',' if depth == 0 => {
                inside.push(&text[from..at]);
                from = at + 1;
            }
            '}' if depth == 0 => {
                inside.push(&text[from..at]);
                return Some((inside, at));
            }
            '}' => depth -= 1,
            _ => {}
        }
    }
    None
}

/// Files in files.
const DEPTH_MAX: usize = 32;
const ALTERNATIVES_MAX: usize = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn braces_are_alternatives() {
        let braces = |pattern| braces(pattern).unwrap();
        assert_eq!(braces("a{b,c}d"), ["abd", "acd"]);
        assert_eq!(braces("{a,b{1,2}}/{x,}"), ["a/x", "a/", "b1/x", "b1/", "b2/x", "b2/"]);
        assert_eq!(braces("a{b,{c,d}"), ["a{b,c", "a{b,d"]);
        assert_eq!(braces("plain{x}{}"), ["plain{x}{}"]);
        assert_eq!(super::braces(&"{a,b}".repeat(20)), None);
    }
}
