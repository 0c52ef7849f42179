//! `dist`: vipd as a Debian package, with `--try` the package on a machine of its own, and with `--guest` on two that have
//! kernels of their own.
//!
//! What is in the package stands in [`tree`]; the files that are not made here are in `vipd/dist`.

mod deb;
mod disk;
mod guests;
mod machine;
mod needs;
mod tree;
mod trial;

use std::{fs, path::PathBuf, process::Command};

use anyhow::{Context, Result, ensure};

use crate::{ebpf, scene, setup, sh};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Then install it on a Debian of its own, in namespaces, with systemd: start, restart, upgrade, crash, stop, purge,
    /// while a client asks for the VIP. Takes minutes, root, and Debian's archive the first time
    #[arg(long = "try")]
    try_it: bool,
    /// Then install it on two Debian 12 guests in qemu, with Debian's kernel and systemd: failover, reboots, one of them
    /// without a network at first, and power off, while a client asks for the VIP. Takes minutes, as --try
    #[arg(long)]
    guest: bool,
}

pub fn run(args: &Args) -> Result<()> {
    if args.try_it || args.guest {
        setup::ensure_for_root()?;
    }
    let package = build()?;
    if args.try_it {
        trial::run(&package)?;
    }
    if args.guest {
        guests::run(&package)?;
    }
    Ok(())
}

/// The part of `test --all`: the package on guests. They need root.
pub fn test() -> Result<bool> {
    if !sh::is_root() {
        eprintln!("dist: not root: the package is not tried");
        return Ok(true);
    }
    run(&Args { try_it: true, guest: true }).map(|()| true)
}

/// Builds the package and says what is in it.
fn build() -> Result<PathBuf> {
    ebpf::build()?;
    let vipd = scene::build_vipd()?;
    let dir = sh::workspace().join("target/dist");
    let generated = dir.join("generated");
    let stage = dir.join("stage");
    for dir in [&generated, &stage] {
        if dir.exists() {
            fs::remove_dir_all(dir).with_context(|| format!("remove {}", dir.display()))?;
        }
        fs::create_dir_all(dir).with_context(|| format!("make {}", dir.display()))?;
    }
    // The profile of the tests: it makes text.
    sh::run(
        sh::cargo()
            .args(["run", "--locked", "--quiet", "--package", "vipd", "--example", "generate", "--"])
            .arg(&generated),
    )?;
    tree::lay(&stage, &vipd, &generated)?;
    let depends = needs::depends(&[stage.join(tree::VIPD), stage.join(tree::VIPD_TOP)])?;
    let package = deb::build(&stage, &dir, &depends)?;
    let shown = |args: &[&str]| {
        sh::output(Command::new("dpkg-deb").args(args).arg(&package))
            .context("dpkg-deb cannot read its package")
    };
    println!("{}\n{}", shown(&["--info"])?, shown(&["--contents"])?);
    let bytes = fs::metadata(&package)?.len();
    ensure!(bytes > 0, "an empty package");
    println!("\n{}: {} KiB", package.display(), bytes / 1024);
    Ok(package)
}
