//! The tests that run in guests: which there are, where their binaries are, what they say.

use std::{path::PathBuf, process::Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::sh;

/// A file of `tests/tests` or one of its tests, as the command line has it: `FILE` or `FILE::TEST`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    pub file: String,
    /// A part of the names of tests.
    pub filter: Option<String>,
}

impl Wanted {
    pub fn parse(text: &str) -> Self {
        match text.split_once("::") {
            Some((file, filter)) => Self { file: file.to_owned(), filter: Some(filter.to_owned()) },
            None => Self { file: text.to_owned(), filter: None },
        }
    }
}

/// A compiled file of tests.
#[derive(Debug, Clone)]
pub struct Binary {
    pub wanted: Wanted,
    pub path: PathBuf,
}

/// Builds vipd and these tests.
pub fn build(wanted: &[Wanted]) -> Result<Vec<Binary>> {
    // The tests run the binary, which `cargo test` alone would not build.
    sh::run(sh::cargo().arg("build"))?;
    let mut command = sh::cargo();
    // Of the whole workspace, so that features, and so builds, are those of `cargo xtask test`.
    command.args(["test", "--no-run", "--message-format=json-render-diagnostics"]);
    command.args(wanted.iter().flat_map(|wanted| ["--test", &wanted.file]));
    eprintln!("$ {}", sh::display(&command));
    let output = command.stderr(Stdio::inherit()).output().context("cannot run cargo")?;
    ensure!(output.status.success(), "cargo test --no-run failed");
    let messages = String::from_utf8(output.stdout)?;
    let path = |file: &str| messages.lines().find_map(|line| executable(line, file));
    let binary = |wanted: &Wanted| {
        let path = path(&wanted.file).with_context(|| format!("cargo built no test {}", wanted.file))?;
        Ok(Binary { wanted: wanted.clone(), path })
    };
    wanted.iter().map(binary).collect()
}

/// The executable that one of cargo's messages tells of, if it is that of a file of tests.
fn executable(message: &str, file: &str) -> Option<PathBuf> {
    let message: Value = serde_json::from_str(message).ok()?;
    let target = &message["target"];
    let is_test = target["kind"].as_array().is_some_and(|kinds| kinds.iter().any(|kind| kind == "test"));
    let found = (is_test && target["name"] == file).then(|| message["executable"].as_str()).flatten();
    found.map(PathBuf::from)
}

/// The outcome of tests, read from what libtest prints.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub passed: usize,
    pub ignored: usize,
    pub failed: Vec<String>,
}

impl Tally {
    pub fn line(&mut self, line: &str) {
        let Some((name, outcome)) = line.strip_prefix("test ").and_then(|rest| rest.rsplit_once(" ... "))
        else {
            return;
        };
        match outcome.trim() {
            "ok" => self.passed += 1,
            "FAILED" => self.failed.push(name.to_owned()),
            outcome if outcome.starts_with("ignored") => self.ignored += 1,
            _ => {}
        }
    }

    /// Counts another file of tests too.
    pub fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.ignored += other.ignored;
        self.failed.extend(other.failed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_libtest_prints() {
        let mut tally = Tally::default();
        for line in [
            "running 3 tests",
            "test a::b ... ok",
            "test c ... FAILED",
            "test d ... ignored, takes an hour",
            "test result: FAILED. 1 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out",
        ] {
            tally.line(line);
        }
        assert_eq!(tally, Tally { passed: 1, ignored: 1, failed: vec!["c".into()] });
    }

    #[test]
    fn finds_the_executable_of_a_file_of_tests() {
        let message = |kind: &str, executable: &str| {
            format!(
                r#"{{"reason":"compiler-artifact","target":{{"kind":["{kind}"],"name":"smoke"}},"executable":{executable}}}"#
            )
        };
        for (text, file, expect) in [
            (message("test", "\"/t/smoke-1\""), "smoke", Some("/t/smoke-1")),
            (message("test", "\"/t/smoke-1\""), "reload", None),
            (message("bin", "\"/t/smoke\""), "smoke", None),
            (message("test", "null"), "smoke", None),
            ("not JSON".into(), "smoke", None),
        ] {
            assert_eq!(executable(&text, file), expect.map(PathBuf::from), "{text}");
        }
    }
}
