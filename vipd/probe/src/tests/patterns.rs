//! Regular expressions: what PCRE2 means. Expected results are PCRE2's (`pcre2pattern`), and checked with grep -P where that is here.

use std::{
    io::Write,
    process::{Command, Stdio},
};

use crate::{lower_regex, pattern::AnswerPattern};

/// Expression, subject, whether PCRE2 finds a match.
const MEANINGS: &[(&str, &str, bool)] = &[
    ("OK$", "all OK\n", true),
    ("OK$", "all OK\n\n", false),
    ("OK$", "all OK\nmore", false),
    ("(?m)OK$", "all OK\nmore", true),
    ("(?m:OK$)", "all OK\nmore", true),
    ("(?m:x|OK)$", "all OK\nmore", false),
    ("((?m)OK$)", "all OK\nmore", true),
    ("((?m)x|OK)$", "all OK\nmore", false),
    (r"OK\z", "all OK\n", false),
    ("^b", "a\nb", false),
    ("(?m)^b", "a\nb", true),
    ("a.b", "a\nb", false),
    ("(?s)a.b", "a\nb", true),
    ("(?i)ABC", "xabcx", true),
    ("(?x) a b # c", "ab", true),
    (r"\<b\>", "a <b> c", true),
    (r"\<b\>", "a b c", false),
    (r"\bword\b", "a word here", true),
    (r"^\d+\s\w+$", "12 abc", true),
    ("[[:alpha:]]+[^[:space:]]", "ab", true),
    (r"a{2,3}?b", "aab", true),
    ("(?<name>a)(?P<other>b)", "ab", true),
    ("(?U)a+", "aa", true),
    (r"\x41\x{42}", "AB", true),
    (r"[\[\]&\-]", "&", true),
];

#[test]
fn an_expression_means_what_it_means_in_pcre2() {
    for &(pattern, subject, expect) in MEANINGS {
        let compiled = AnswerPattern::new(pattern).unwrap();
        assert_eq!(compiled.matches(subject.as_bytes(), (0, None)), expect, "{pattern} in {subject:?}");
    }
    // Octets, and characters with (*UTF).
    for (pattern, subject, expect) in [
        ("^a.b$", "a\u{e9}b", false),
        ("^a..b$", "a\u{e9}b", true),
        ("(*UTF)^a.b$", "a\u{e9}b", true),
        ("(*UTF)\\w", "\u{e9}", false),
        ("(*UTF)[\\w]", "\u{e9}", false),
        ("(*UTF)\\W", "\u{e9}", true),
        ("(*UTF)a\\b", "a\u{e9}", true),
        ("(*UTF)\\d", "\u{661}", false),
        ("(*UTF)(*UCP)\\w", "\u{e9}", true),
        ("(*UTF)(?i)\u{c9}", "\u{e9}", true),
        ("\u{e9}", "caf\u{e9}", true),
    ] {
        let compiled = AnswerPattern::new(pattern).unwrap();
        assert_eq!(compiled.matches(subject.as_bytes(), (0, None)), expect, "{pattern} in {subject:?}");
    }
}

/// The table above is PCRE2's word: grep -P of the same subjects, whose lines end with NUL.
#[test]
fn grep_agrees() {
    for &(pattern, subject, expect) in MEANINGS {
        let mut grep = Command::new("grep")
            .args(["-qzP", "--", pattern])
            .stdin(Stdio::piped())
            .env("LC_ALL", "C")
            .spawn()
            .unwrap();
        let _ = grep.stdin.take().unwrap().write_all(subject.as_bytes());
        // grep -z compiles with PCRE2_MULTILINE, so its ^ and $ mean other things.
        let found = grep.wait().unwrap().code().unwrap();
        if !pattern.contains(['^', '$']) {
            assert_eq!(found, i32::from(!expect), "{pattern} in {subject:?}");
        }
    }
}

#[test]
fn what_only_pcre2_has_is_refused_with_the_place() {
    for (pattern, why) in [
        ("a(?=b)", "look-around, including look-ahead and look-behind, is not supported, at character 2"),
        (r"(a)\1", "backreferences are not supported, at character 4"),
        ("ab++", "a possessive quantifier is not supported, at character 4"),
        ("a{2}+", "a possessive quantifier is not supported, at character 5"),
        ("[a[b]", "unclosed character class, at character 1"),
        ("[a[b]]", r"write [ in a class as \[, at character 3"),
        ("[a&&b]", r"write &&, -- and ~~ in a class with \, at character 2"),
        ("(?x)[a b]", "white space and # in a class with the flag x are not supported, at character 5"),
        (r"\b{start}a", r"PCRE2 takes \b{...} for text, at character 1"),
        ("(?R)a", "PCRE2 has no such flag, at character 3"),
        ("(*CRLF)a", "(*CRLF) is not supported"),
        ("(*UTF", "`(*` without `)`"),
        ("é(", "unclosed group, at character 2"),
        (r"\Ka", "unrecognized escape sequence, at character 1"),
        (r"a\Z", "unrecognized escape sequence, at character 2"),
        ("(?>a)", "unrecognized flag, at character 3"),
        ("(?:a{1000}){1000}", "it is too large"),
    ] {
        let fault = AnswerPattern::new(pattern).unwrap_err().to_string();
        assert_eq!(fault, format!("regex {pattern:?}: {why}"));
    }
}

#[test]
fn options_stand_in_front() {
    let lower =
        |pattern: &str, options: &[&str]| lower_regex(pattern, options).map_err(|fault| fault.to_string());
    assert_eq!(lower("a$", &[]).unwrap(), "a$");
    assert_eq!(lower("a", &["caseless", "dotall", "utf", "ucp"]).unwrap(), "(*UTF)(*UCP)(?is)a");
    assert_eq!(lower("a$|(?m:b$)", &["dollar_endonly"]).unwrap(), r"a\z|(?m:b$)");
    assert_eq!(lower("a$", &["dollar_endonly", "multiline"]).unwrap(), "(?m)a$");
    assert_eq!(lower("a", &["never_ucp", "no_auto_possess"]).unwrap(), "a");
    assert_eq!(lower("a", &["firstline"]).unwrap_err(), "regex \"a\": the option firstline is not supported");
    assert!(lower("(?=a)", &[]).is_err());
}

#[test]
fn a_match_takes_linear_time() {
    let pattern = AnswerPattern::new("(a+)+b").unwrap();
    // One that tries every way does not end.
    assert!(!pattern.matches(&vec![b'a'; 1 << 20], (0, None)));
    assert!(!AnswerPattern::new("a").unwrap().matches(b"a", (2, None)), "behind the end");
}
