//! `test` and `ci`: builds everything once, then runs every test in a process of its own, several at once.
//!
//! Two tiers. `test` is what every push has to pass; `test --all` adds the tests that are ignored there, and fuzzing.

mod build;
mod queue;
mod report;

use std::{process::ExitCode, time::Instant};

use anyhow::Result;
use vipd_tests::{janitor, prefix::Prefix};

use crate::{chaos, dist, ebpf, fuzz, guest, lab, setup, sh, sim};

#[derive(Debug, Default, clap::Args)]
pub struct Args {
    /// The long tier too: before a release, and when its subject has changed
    #[arg(long)]
    all: bool,
    /// How many tests in network namespaces run at once
    #[arg(long, default_value_t = LABS_AT_ONCE, value_parser = clap::value_parser!(u16).range(1..))]
    labs: u16,
    /// Show what passing tests print, too
    #[arg(long)]
    output: bool,
    /// Only the tests with one of these in their names, which are `binary::module::test`
    filters: Vec<String>,
}

/// Such a test mostly sleeps; with more of them two processors are busy.
const LABS_AT_ONCE: u16 = 6;

/// Checks what needs no lab first, then tests.
pub fn ci() -> Result<ExitCode> {
    setup::run()?;
    sh::run(sh::cargo().args(["fmt", "--all", "--", "--check"]))?;
    ebpf::build()?;
    sh::run(sh::cargo().args(["clippy", "--all-targets", "--", "-D", "warnings"]))?;
    fuzz::check()?;
    test(&Args { labs: LABS_AT_ONCE, ..Args::default() })
}

/// Everything, with nothing skipped when root.
pub fn test(args: &Args) -> Result<ExitCode> {
    let start = Instant::now();
    setup::run()?;
    let left = janitor::sweep(&lab::kept())?;
    if !left.is_empty() {
        eprintln!("test: removed what dead runs had left: {}", left.join(" "));
    }
    ebpf::build()?;
    let built = build::build()?;
    let mut tests = build::list(&built)?;
    tests.retain(|test| {
        args.filters.is_empty() || args.filters.iter().any(|filter| test.name.contains(filter.as_str()))
    });

    let scratch = Scratch::new()?;
    eprintln!("test: {} tests after {} s", tests.len(), start.elapsed().as_secs());
    let mut report = queue::run(tests, args, &scratch.0.dir)?;
    if args.filters.is_empty() {
        report.stage("cargo test --doc", doc_tests());
        report.stage("cargo xtask sim", sim::test(built.program("vipd-sim")?, args.all));
        report.stage("cargo xtask guest", guest::test());
        if args.all {
            report.stage("cargo xtask chaos", chaos::test(built.program("vipd-chaos")?));
            report.stage("cargo xtask guest --kernel debian-12-oldest --no-jit", guest::test_oldest());
            report.stage("cargo xtask guest --pause", guest::test_pause());
            report.stage("cargo xtask guest --matrix", guest::test_interfaces());
            report.stage("cargo xtask guest balancing", guest::test_balancing());
            report.stage("cargo xtask fuzz", fuzz::test());
            report.stage("cargo xtask dist --try --guest", dist::test());
        }
    }
    drop(scratch);
    report.print(start.elapsed());
    Ok(if report.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn doc_tests() -> Result<bool> {
    Ok(sh::cargo().args(["test", "--doc", "--quiet"]).status()?.success())
}

/// The directory for temporary files of a run's tests. If the run is killed the next one sweeps it.
struct Scratch(Prefix);

impl Scratch {
    fn new() -> Result<Self> {
        Prefix::new().map(Self)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0.dir);
    }
}
