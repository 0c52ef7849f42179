//! What files mean, and what is said about wrong ones. Rows are (file, what is expected of it).

mod language;
mod model;
mod table;

use super::{Diagnostic, Instance, Severity, parse};

/// The whole file is right; returns its only instance.
fn instance(text: &str) -> Instance {
    match parse("k.conf", text) {
        Ok(loaded) => loaded.config.instances.into_iter().next().expect("one instance"),
        Err(failure) => panic!("{text}\n{failure}"),
    }
}

/// All diagnostics as `line:column: severity: message`, whether or not the file runs.
fn findings(text: &str) -> Vec<String> {
    diagnostics(text)
        .iter()
        .map(|d| format!("{}:{}: {}: {}", d.line, d.column, d.severity, d.message))
        .collect()
}

fn diagnostics(text: &str) -> Vec<Diagnostic> {
    match parse("k.conf", text) {
        Ok(loaded) => {
            assert!(loaded.warnings.iter().all(|d| d.severity != Severity::Error), "an error in a success");
            loaded.warnings
        }
        Err(failure) => {
            assert!(
                failure.diagnostics.iter().any(|d| d.severity == Severity::Error),
                "a failure without error"
            );
            failure.diagnostics
        }
    }
}

fn check(text: &str, expect: &[&str]) {
    check_all([(text.to_owned(), expect)]);
}

/// Prints every failing row.
fn check_all<'e>(rows: impl IntoIterator<Item = (String, &'e [&'e str])>) {
    let mut failing = Vec::new();
    for (text, expect) in rows {
        let found = findings(&text);
        if found != expect {
            failing.push(format!("{text}\n   found: {found:#?}\nexpected: {expect:#?}"));
        }
    }
    assert!(failing.is_empty(), "{}", failing.join("\n\n"));
}

/// A right instance with `lines` in it; they start on line 2, column 1.
fn with(lines: &str) -> String {
    format!(
        "vrrp_instance VI_1 {{\n{lines}\ninterface eth0\nvirtual_router_id 51\nvirtual_ipaddress {{\n10.0.0.3\n}}\n}}\n"
    )
}
