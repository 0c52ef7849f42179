//! `sim`: the simulation of clusters, and the check that it finds planted faults.

use std::process::ExitCode;

use anyhow::Result;

use crate::sh;

/// What `test` runs.
const SEEDS: &str = "10000";

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
        sh::run(sh::cargo().args(["test", "-p", "vipd-sim", "--test", "mutants", "--", "--nocapture"]))?;
        return Ok(ExitCode::SUCCESS);
    }
    let status = command(&args.sim).status()?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The part of `test`; whether every invariant held.
pub fn test() -> Result<bool> {
    Ok(command(&["--seeds".into(), SEEDS.into()]).status()?.success())
}

fn command(args: &[String]) -> std::process::Command {
    let mut command = sh::cargo();
    command.args(["run", "--quiet", "--profile", "sim", "-p", "vipd-sim", "--"]).args(args);
    command
}
