//! `test` and `ci`.

use std::{
    env, fs,
    io::{BufRead, BufReader, Write, stdout},
    process::{Command, ExitCode, Stdio},
    time::Instant,
};

use anyhow::{Context, Result};

use crate::{ebpf, fuzz, guest, setup, sh, sim};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Passed on to `cargo test`: a filter, or options after another `--`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    cargo_test: Vec<String>,
}

/// Checks what needs no lab first, then tests.
pub fn ci() -> Result<ExitCode> {
    setup::run()?;
    sh::run(sh::cargo().args(["fmt", "--all", "--", "--check"]))?;
    ebpf::build()?;
    sh::run(sh::cargo().args(["clippy", "--all-targets", "--", "-D", "warnings"]))?;
    fuzz::check()?;
    test(&Args { cargo_test: Vec::new() })
}

/// Everything, with nothing skipped when root.
pub fn test(args: &Args) -> Result<ExitCode> {
    setup::run()?;
    ebpf::build()?;
    // The namespace tests run the binary, which `cargo test` alone would not build.
    sh::run(sh::cargo().arg("build"))?;

    let mut command = sh::cargo();
    command.args(["test", "--no-fail-fast"]).args(&args.cargo_test);
    if sh::is_root() {
        command.env("VIPD_REQUIRE_LAB", "1");
    }
    let skip_log = env::temp_dir().join(format!("vipd-skipped-{}", std::process::id()));
    command.env("VIPD_SKIP_LOG", &skip_log);
    let start = Instant::now();
    let mut tally = stream(&mut command)?;
    if args.cargo_test.is_empty() {
        for (held, name) in [
            (sim::test()?, "cargo xtask sim"),
            (fuzz::test()?, "cargo xtask fuzz"),
            (guest::test()?, "cargo xtask guest"),
        ] {
            if !held {
                tally.success = false;
                tally.failed.push(name.into());
            }
        }
    }
    let skipped = fs::read_to_string(&skip_log).unwrap_or_default();
    let _ = fs::remove_file(&skip_log);

    println!(
        "\n{}: {} passed, {} failed, {} ignored, {} skipped, in {} s",
        if tally.success { "PASS" } else { "FAIL" },
        tally.passed - skipped.lines().count().min(tally.passed),
        tally.failed.len(),
        tally.ignored,
        skipped.lines().count(),
        start.elapsed().as_secs()
    );
    tally.failed.iter().for_each(|name| println!("  failed: {name}"));
    skipped.lines().for_each(|line| println!("  skipped: {line}"));
    Ok(if tally.success { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[derive(Debug, Default)]
struct Tally {
    success: bool,
    passed: usize,
    ignored: usize,
    failed: Vec<String>,
}

/// Runs `cargo test`, passing its output through and counting.
fn stream(command: &mut Command) -> Result<Tally> {
    eprintln!("$ {}", sh::display(command));
    let mut child = command.stdout(Stdio::piped()).spawn().context("cannot run cargo test")?;
    let mut tally = Tally::default();
    let out = child.stdout.take().context("cargo test has no stdout")?;
    let mut reader = BufReader::new(out);
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line)? > 0 {
        stdout().write_all(&line)?;
        let text = String::from_utf8_lossy(&line);
        if let Some(test) = text.strip_prefix("test ").and_then(|t| t.trim_end().strip_suffix(" ... FAILED"))
        {
            tally.failed.push(test.to_owned());
        }
        if text.starts_with("test result:") {
            tally.passed += count(&text, " passed");
            tally.ignored += count(&text, " ignored");
        }
        line.clear();
    }
    tally.success = child.wait()?.success();
    Ok(tally)
}

/// The number before a word.
fn count(text: &str, word: &str) -> usize {
    let number = text.split(word).next().and_then(|head| head.rsplit(' ').next());
    number.and_then(|n| n.parse().ok()).unwrap_or(0)
}
