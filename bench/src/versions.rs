//! Two versions of vipd beside each other: the one under test, and with `--before PATH` an earlier one.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use vipd_tests::{Daemon, Node};

use crate::{
    Options,
    report::{AFTER, BEFORE},
    routers::{PATIENCE, vipd},
};

/// A binary, and what a report calls it.
#[derive(Clone, Debug)]
pub struct Version {
    pub name: &'static str,
    path: PathBuf,
    /// Whether its `run` has `--xdp-mode`. One without it always uses native XDP.
    has_xdp_mode: bool,
}

impl Version {
    /// In the order of a run: not always the same first, also where each run is a process that goes on from the one before.
    pub fn in_turns(options: &Options, run: usize) -> Result<Vec<Self>> {
        let mut versions = vec![Self::new(AFTER, vipd()?)?];
        if let Some(before) = &options.before {
            versions.insert(0, Self::new(BEFORE, before.clone())?);
        }
        let first = (run + std::process::id() as usize) % versions.len();
        versions.rotate_left(first);
        Ok(versions)
    }

    fn new(name: &'static str, path: PathBuf) -> Result<Self> {
        let help = Command::new(&path).args(["run", "--help"]).output();
        let help = help.with_context(|| format!("cannot run {}", path.display()))?;
        ensure!(help.status.success(), "{} has no `run --help`: is it vipd?", path.display());
        Ok(Self { name, has_xdp_mode: has_xdp_mode(&String::from_utf8_lossy(&help.stdout)), path })
    }

    /// Starts it on a node, with native XDP.
    pub fn start(&self, node: &Node, conf: &str) -> Result<Daemon> {
        node.write_vipd_conf(conf)?;
        let mut command = node.command(&self.path);
        let directories: [(&str, &Path); 4] = [
            ("-f", &node.vipd_conf()),
            ("--bpffs-dir", node.bpffs_dir()),
            ("--runtime-dir", &node.runtime_dir()),
            ("--state-dir", &node.state_dir()),
        ];
        command.arg("run");
        for (option, path) in directories {
            command.arg(option).arg(path);
        }
        if self.has_xdp_mode {
            command.args(["--xdp-mode", "native"]);
        }
        Daemon::start(&format!("{} on {}", self.name, node.name()), &mut command, &node.vipd_log())
    }

    /// Waits for a state of the first virtual router.
    pub fn wait(&self, node: &Node, state: &str) -> Result<()> {
        node.wait_state(&self.path, "VI_1", state, PATIENCE).map(drop)
    }

    pub fn is(&self, node: &Node, state: &str) -> bool {
        node.state(&self.path, "VI_1").is_ok_and(|is| is == state)
    }
}

fn has_xdp_mode(help: &str) -> bool {
    help.split_whitespace().any(|word| word == "--xdp-mode")
}

#[cfg(test)]
mod tests {
    use super::has_xdp_mode;

    #[test]
    fn the_help_of_a_version_says_whether_it_has_the_option() {
        assert!(has_xdp_mode("Options:\n      --xdp-mode <MODE>  How to attach"));
        assert!(!has_xdp_mode("Options:\n      --bpffs-dir <DIR>  see xdp_mode"));
    }
}
