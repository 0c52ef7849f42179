//! The words after `use_vmac`. They are about the interface that keepalived makes for the virtual MAC; vipd makes none.

use crate::{
    schema::words as readers,
    syntax::{
        diagnostic::Code,
        report::Report,
        span::{Span, Word},
    },
};

/// `[[NAME] NUMBER] [MAC] [netlink_notify_msg] [group GROUP]`.
pub fn words(words: &[Word], report: &mut Report) {
    let (mut named, mut numbered) = (false, false);
    let mut rest = words.iter();
    while let Some(word) = rest.next() {
        match word.text.as_str() {
            "netlink_notify_msg" => no_effect("`netlink_notify_msg`", word.span, report),
            "group" if rest.next().is_some() => no_effect("the group", word.span, report),
            "group" => report.error(Code::MissingValue, word.span, "`group` needs a value"),
            text if is_mac(text) => {
                let hint =
                    "the virtual MAC is 00-00-5E-00-01-{VRID} for IPv4 and 00-00-5E-00-02-{VRID} for IPv6";
                report.error_hint(
                    Code::NotSupported,
                    word.span,
                    "a MAC address of one's own is not supported",
                    hint,
                );
            }
            text if text.bytes().all(|byte| byte.is_ascii_digit()) && !numbered => {
                numbered = true;
                match readers::whole(text, 1, 255) {
                    Ok(_) => no_effect("the number", word.span, report),
                    Err(problem) => {
                        let message = format!("number {} after `use_vmac` {problem}", report.quote(word));
                        report.error(Code::BadValue, word.span, message);
                    }
                }
            }
            text if readers::interface(text).is_ok() && !named && !numbered => {
                named = true;
                no_effect("the interface name", word.span, report);
            }
            _ => {
                let message = format!("unexpected {} after `use_vmac`", report.quote(word));
                report.error_hint(Code::UnexpectedWord, word.span, message, "`use_vmac` stands alone");
            }
        }
    }
}

fn no_effect(what: &str, span: Span, report: &mut Report) {
    let hint = "vipd makes no interface: XDP answers with the virtual MAC on the real one";
    report.notice(Code::NoEffect, span, format!("{what} after `use_vmac` has no effect"), hint);
}

fn is_mac(text: &str) -> bool {
    let octets = text
        .split(':')
        .filter(|octet| (1..=2).contains(&octet.len()) && octet.bytes().all(|byte| byte.is_ascii_hexdigit()));
    text.split(':').count() == 6 && octets.count() == 6
}
