//! What files mean, and what is said about wrong ones. Rows are (file, what is expected of it).

mod addressing;
mod arbiters;
mod audit;
mod balance;
mod bfd;
mod compare;
mod expand;
mod explain;
mod foreign;
mod heartbeats;
mod language;
mod mistakes;
mod model;
mod probes;
mod reference;
mod reports;
mod routes;
mod sections;
mod strict;
mod table;
mod taken;
mod worst;

use std::{net::IpAddr, path::Path};

use super::{Code, Diagnostic, Failure, Instance, Loaded, Nothing, Severity, Unsupported, Vip};

fn parse(text: &str) -> Result<Loaded, Failure> {
    super::parse(Path::new("k.conf"), text, &Nothing, Unsupported::Refused)
}

/// With what has no engine.
fn parse_all(text: &str) -> Result<Loaded, Failure> {
    super::parse(Path::new("k.conf"), text, &Nothing, Unsupported::Ignored)
}

/// As while the daemon does not balance load, and such a file is taken.
fn parse_unserved(text: &str) -> Result<Loaded, Failure> {
    super::parse_as(Path::new("k.conf"), text, &Nothing, Unsupported::Ignored, false)
}

/// As once the daemon balances load.
fn parse_served(text: &str) -> Result<Loaded, Failure> {
    super::parse_as(Path::new("k.conf"), text, &Nothing, Unsupported::Ignored, true)
}

/// The whole file is right; returns its only instance.
fn instance(text: &str) -> Instance {
    match parse(text) {
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

/// As [`findings`] with what has no engine, but that it is ignored.
fn findings_of_all(text: &str) -> Vec<String> {
    diagnostics_of(parse_all(text))
        .iter()
        .filter(|d| d.code != Code::NotSupportedYet)
        .map(|d| format!("{}:{}: {}: {}", d.line, d.column, d.severity, d.message))
        .collect()
}

fn diagnostics(text: &str) -> Vec<Diagnostic> {
    diagnostics_of(parse(text))
}

fn diagnostics_of(parsed: Result<Loaded, Failure>) -> Vec<Diagnostic> {
    match parsed {
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

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// On the interface of the instance.
fn vip(address: &str, prefix_len: u8) -> Vip {
    Vip { address: ip(address), prefix_len, interface: None, tracked: true }
}

/// A right instance with `lines` in it; they start on line 2, column 1.
fn with(lines: &str) -> String {
    format!(
        "vrrp_instance VI_1 {{\n{lines}\ninterface eth0\nvirtual_router_id 51\nvirtual_ipaddress {{\n10.0.0.3\n}}\n}}\n"
    )
}

/// As [`with`], with IPv6 addresses.
fn with6(lines: &str) -> String {
    with(lines).replace("10.0.0.3", "fe80::3/64\n2001:db8::3/64")
}
