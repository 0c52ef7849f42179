//! `chaos`: real daemons under random faults, judged by what the wire shows (`tests/chaos`).

use std::{
    path::Path,
    process::{Command, ExitCode},
};

use anyhow::{Context, Result};
use vipd_tests::janitor;

use crate::{ebpf, lab, sh};

/// What `test --all` runs.
const ALL_MINUTES: &str = "10";

#[derive(Debug, clap::Args)]
pub struct Args {
    /// `--seeds N`, `--minutes M`, `--seed S`, `--first S`, `--plan`; see `cargo xtask chaos -- --help`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    chaos: Vec<String>,
}

pub fn run(args: &Args) -> Result<ExitCode> {
    ebpf::build()?;
    // A cluster of a run that was killed would take processor time from this one.
    janitor::sweep(&lab::kept())?;
    let programs = ["--package", "vipd", "--bin", "vipd", "--package", "vipd-chaos", "--bin", "vipd-chaos"];
    sh::run(sh::cargo().arg("build").args(programs))?;
    let mut command = sh::cargo();
    command.args(["run", "--quiet", "--package", "vipd-chaos", "--"]).args(&args.chaos);
    let status = command.status().context("cannot run cargo")?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The part of `test --all`, which has built the program; whether every promise was kept.
pub fn test(program: &Path) -> Result<bool> {
    let mut command = Command::new(program);
    sh::ends_with_us(command.current_dir(sh::workspace()).args(["--minutes", ALL_MINUTES]));
    if sh::is_root() {
        command.env("VIPD_REQUIRE_LAB", "1");
    }
    Ok(command.status().context("cannot run the chaos program")?.success())
}
