//! `sim`: the simulation of clusters, and the check that it finds planted faults.

use std::{
    path::Path,
    process::{Command, ExitCode},
};

use anyhow::{Context, Result};

use crate::sh;

/// What `test` runs, and what `test --all` does.
const SEEDS: &str = "10000";
const ALL_SEEDS: &str = "100000";

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Plant one fault after another in a copy of the code, and see that each is found
    #[arg(long, exclusive = true)]
    mutants: bool,
    /// `--seeds N`, `--seed S`, `--first S`, `--hours H`; see `cargo xtask sim -- --help`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    sim: Vec<String>,
}

pub fn run(args: &Args) -> Result<ExitCode> {
    if args.mutants {
        sh::run(sh::cargo().args([
            "test",
            "-p",
            "vipd-sim",
            "--test",
            "mutants",
            "--test",
            "early_mutants",
            "--",
            "--ignored",
            "--nocapture",
        ]))?;
        return Ok(ExitCode::SUCCESS);
    }
    let status = command(&args.sim).status()?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The part of `test`, which has built the program; whether every invariant held.
pub fn test(program: &Path, all: bool) -> Result<bool> {
    let mut command = Command::new(program);
    sh::ends_with_us(command.args(["--seeds", if all { ALL_SEEDS } else { SEEDS }]));
    Ok(command.status().context("cannot run the simulation")?.success())
}

fn command(args: &[String]) -> Command {
    let mut command = sh::cargo();
    command.args(["run", "--quiet", "-p", "vipd-sim", "--"]).args(args);
    command
}
