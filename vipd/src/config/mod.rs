//! The configuration file, in keepalived's language: text to a validated [`Config`], or everything wrong with it.
//!
//! `lexer` (words with places) -> `parser` (statements and blocks) -> `lower` (meaning, by the table in `keywords`)
//! -> `model`. All pure; only [`load`] reads a file. Nothing is silently ignored: a keyword is supported, has no
//! effect and says why, or is an error. Nothing here looks at the host, so an interface need not exist.

mod diagnostic;
mod keywords;
mod lexer;
mod lower;
mod model;
mod parser;
mod values;

#[cfg(test)]
mod tests;

use std::{io::Read, path::Path};

use self::diagnostic::Sink;
pub use self::{
    diagnostic::{Diagnostic, Failure, Severity},
    model::{Auth, Config, Garp, Instance, LeasePolicy, Vip, WantedState},
};

/// A usable configuration and what was found odd about it, in source order.
#[derive(Debug)]
pub struct Loaded {
    pub config: Config,
    pub warnings: Vec<Diagnostic>,
}

/// Reads and checks a file. Bytes that are not UTF-8 may stand in comments.
pub fn load(path: &Path) -> Result<Loaded, Failure> {
    let name = path.display().to_string();
    let failed = |message| Failure { diagnostics: vec![Diagnostic::about_file(&name, message)] };
    let mut bytes = Vec::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(MOST_BYTES + 1).read_to_end(&mut bytes));
    match read {
        Err(error) => Err(failed(format!("cannot be read: {error}"))),
        Ok(length) if u64::try_from(length).is_ok_and(|length| length > MOST_BYTES) => {
            Err(failed(format!("is larger than {MOST_BYTES} bytes")))
        }
        Ok(_) => parse(&name, &String::from_utf8_lossy(&bytes)),
    }
}

/// Checks a text; `name` is what diagnostics call it.
pub fn parse(name: &str, text: &str) -> Result<Loaded, Failure> {
    let mut sink = Sink::new(name, text);
    let lines = lexer::lex(text, &mut sink);
    let nodes = parser::parse(lines, &mut sink);
    let instances_seen = nodes.iter().any(|node| node.keyword.text == "vrrp_instance");
    let config = lower::lower(&nodes, &mut sink);
    let mut diagnostics = sink.finish();
    let failed = diagnostics.iter().any(|d| d.severity == Severity::Error);
    if !failed && !instances_seen {
        let message = "no vrrp_instance is configured".to_owned();
        diagnostics.push(Diagnostic::about_file(name, message));
        return Err(Failure { diagnostics });
    }
    if failed { Err(Failure { diagnostics }) } else { Ok(Loaded { config, warnings: diagnostics }) }
}

/// Far beyond any configuration (255 addresses are some 10 kB), far below what would hurt.
const MOST_BYTES: u64 = 4 << 20;
