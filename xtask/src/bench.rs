//! `bench`: builds what is measured for release, and measures it.

use anyhow::Result;

use crate::{ebpf, setup, sh};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Parts and options; see `cargo xtask bench -- --help`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    bench: Vec<String>,
}

pub fn run(args: &Args) -> Result<()> {
    setup::ensure_for_root()?;
    ebpf::build()?;
    sh::run(sh::cargo().args(["build", "--release", "-p", "vipd", "-p", "vipd-bench"]))?;
    let mut bench = std::process::Command::new(sh::workspace().join("target/release/vipd-bench"));
    bench.current_dir(sh::workspace()).env("VIPD_BIN", sh::workspace().join("target/release/vipd"));
    sh::run(bench.args(&args.bench))
}
