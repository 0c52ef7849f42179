//! The disk of guests: Debian with a kernel's modules, and a service that runs what the host asks for.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use crate::{
    guest::{Disk, Image},
    sh,
};

/// Most of it is sparse.
const SIZE: &str = "2G";
/// What only costs time in a guest: no terminal, no archive.
const MASKED: [&str; 5] = [
    "serial-getty@ttyS0.service",
    "getty@tty1.service",
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "dpkg-db-backup.timer",
];

/// Makes the disk from the Debian in `base` and a kernel.
pub fn make(base: &Path, kernel: &Image) -> Result<PathBuf> {
    let tree = base.with_extension("tree");
    let image = base.with_extension("ext4");
    remove(&tree)?;
    // Hard links: what is to be changed below has to be a new file.
    sh::run(Command::new("cp").args(["--archive", "--link"]).args([base, &tree]))?;
    let modules = kernel.root.join("lib/modules");
    sh::run(Command::new("cp").args(["--archive", "--link"]).args([&modules, &tree.join("usr/lib")]))?;
    for (file, text) in [
        ("run-guest.mount", mount()),
        ("guest-agent.service", AGENT.to_owned()),
        // Kept over reboots.
        ("../../../var/log/journal/.keep", String::new()),
        ("../../../usr/local/lib/guest-agent.sh", Disk::AGENT.to_owned()),
    ] {
        let path = tree.join("etc/systemd/system").join(file);
        fs::create_dir_all(path.parent().context("a file has a directory")?)?;
        fs::write(&path, text).with_context(|| format!("write {file}"))?;
    }
    let units = tree.join("etc/systemd/system");
    let wants = units.join("multi-user.target.wants");
    fs::create_dir_all(&wants)?;
    symlink("/etc/systemd/system/guest-agent.service", wants.join("guest-agent.service"))?;
    for unit in MASKED {
        symlink("/dev/null", units.join(unit)).with_context(|| format!("mask {unit}"))?;
    }
    let _ = fs::remove_file(&image);
    sh::run(Command::new("mke2fs").args(["-q", "-t", "ext4", "-d"]).args([&tree, &image]).arg(SIZE))?;
    remove(&tree)?;
    Ok(image)
}

fn remove(tree: &Path) -> Result<()> {
    if tree.exists() {
        fs::remove_dir_all(tree).with_context(|| format!("remove {}", tree.display()))?;
    }
    Ok(())
}

fn mount() -> String {
    format!(
        "[Mount]\nWhat={}\nWhere=/run/guest\nType=9p\nOptions=trans=virtio,version=9p2000.L,cache=none\n",
        Disk::SHARE
    )
}

/// Not stopped by what stops the network, so that the host can ask for a reboot.
const AGENT: &str = "[Unit]
Requires=run-guest.mount
After=run-guest.mount

[Service]
ExecStart=/bin/bash /usr/local/lib/guest-agent.sh
KillMode=process

[Install]
WantedBy=multi-user.target
";
