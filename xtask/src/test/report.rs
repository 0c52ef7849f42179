//! What a run has found: a line for each test as it ends, and a summary.

use std::time::Duration;

use anyhow::Result;

/// The results of a run so far.
#[derive(Debug, Default)]
pub struct Report {
    /// How many tests are to be run.
    pub total: usize,
    /// How many are of the long tier, which is not run.
    pub ignored: usize,
    show_output: bool,
    ran: usize,
    passed: usize,
    failed: Vec<String>,
    skipped: Vec<String>,
    times: Vec<(Duration, String)>,
}

/// A test that has ended.
#[derive(Debug)]
pub struct Ran {
    pub name: String,
    pub outcome: Outcome,
    pub took: Duration,
    pub output: String,
}

#[derive(Debug)]
pub enum Outcome {
    Passed,
    /// With what was missing.
    Skipped(String),
    /// With how it ended.
    Failed(String),
}

/// How many of the slowest are named.
const SLOWEST: usize = 20;

impl Report {
    pub fn new(show_output: bool) -> Self {
        Self { show_output, ..Self::default() }
    }

    /// Counts a test and prints its line.
    pub fn add(&mut self, Ran { name, outcome, took, output }: Ran) {
        self.ran += 1;
        let (word, note) = match &outcome {
            Outcome::Passed => ("ok", String::new()),
            Outcome::Skipped(why) => ("SKIP", format!(": {why}")),
            Outcome::Failed(how) => ("FAILED", format!(": {how}")),
        };
        let width = self.total.to_string().len();
        println!("{:>width$}/{} {word:<6} {:>6.1} s  {name}{note}", self.ran, self.total, took.as_secs_f64());
        if self.show_output || matches!(outcome, Outcome::Failed(_)) {
            println!("--- output of {name}\n{}\n--- end of {name}", output.trim_end());
        }
        match outcome {
            Outcome::Passed => self.passed += 1,
            Outcome::Skipped(why) => self.skipped.push(format!("{name}: {why}")),
            Outcome::Failed(_) => self.failed.push(name.clone()),
        }
        self.times.push((took, name));
    }

    /// Runs a part of the run that is more than one test, and prints what it prints.
    pub fn stage(&mut self, name: &str, held: Result<bool>) {
        match held {
            Ok(true) => self.passed += 1,
            Ok(false) => self.failed.push(name.to_owned()),
            Err(error) => {
                println!("{name}: {error:#}");
                self.failed.push(name.to_owned());
            }
        }
    }

    pub fn success(&self) -> bool {
        self.failed.is_empty()
    }

    /// Prints the summary. The last line is for programs.
    pub fn print(&mut self, took: Duration) {
        self.times.sort_by(|a, b| b.cmp(a));
        println!("\nthe slowest:");
        for (took, name) in self.times.iter().take(SLOWEST) {
            println!("  {:>6.1} s  {name}", took.as_secs_f64());
        }
        let (passed, failed, skipped) = (self.passed, self.failed.len(), self.skipped.len());
        println!(
            "\n{}: {passed} passed, {failed} failed, {} ignored, {skipped} skipped, in {} s",
            if self.success() { "PASS" } else { "FAIL" },
            self.ignored,
            took.as_secs()
        );
        self.failed.iter().for_each(|name| println!("  failed: {name}"));
        self.skipped.iter().for_each(|name| println!("  skipped: {name}"));
        println!("{passed} passed, {failed} failed, {skipped} skipped");
    }
}
