//! A directory tree becomes a Debian package.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};

use crate::sh;

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Writes what dpkg wants to know of the tree, and packs it.
pub fn build(stage: &Path, dir: &Path, depends: &str) -> Result<PathBuf> {
    let changelog = fs::read_to_string(sh::workspace().join("vipd/dist/changelog"))?;
    ensure!(
        changelog.starts_with(&format!("vipd ({VERSION}) ")),
        "vipd/dist/changelog does not begin with version {VERSION}"
    );
    let architecture =
        sh::output(Command::new("dpkg").arg("--print-architecture")).context("dpkg is missing")?;
    let debian = stage.join("DEBIAN");
    fs::write(debian.join("conffiles"), "/etc/default/vipd\n/etc/iproute2/rt_protos.d/vipd.conf\n")?;
    fs::write(debian.join("md5sums"), md5sums(stage)?)?;
    fs::write(debian.join("control"), control(&architecture, depends, kibibytes(stage)?))?;
    let package = dir.join(format!("vipd_{VERSION}_{architecture}.deb"));
    let mut command = Command::new("dpkg-deb");
    command.args(["--root-owner-group", "--build"]).args([stage, &package]);
    // Built twice from one commit it is the same package.
    let committed =
        Command::new("git").current_dir(sh::workspace()).args(["log", "-1", "--format=%ct"]).output();
    if let Ok(output) = committed
        && output.status.success()
    {
        command.env("SOURCE_DATE_EPOCH", String::from_utf8_lossy(&output.stdout).trim());
    }
    sh::run(&mut command)?;
    Ok(package)
}

fn control(architecture: &str, depends: &str, size: u64) -> String {
    format!(
        "Package: vipd
Version: {VERSION}
Architecture: {architecture}
Maintainer: The vipd authors <vipd@localhost>
Installed-Size: {size}
Depends: {depends}
Suggests: bpftool
Section: net
Priority: optional
Description: virtual IP daemon: VRRP with an XDP data plane
 vipd keeps a virtual IP alive across machines. It reads keepalived.conf,
 speaks VRRP, and forms one virtual router with other vipd nodes or with
 keepalived. An eBPF program at the driver answers ARP and Neighbor Discovery
 for the addresses this node owns, by a lease that the kernel enforces.
 .
 It needs Linux 5.18 or later.
"
    )
}

/// Of everything but dpkg's own files, with paths from the root.
fn md5sums(stage: &Path) -> Result<String> {
    let mut command = Command::new("sh");
    command.current_dir(stage).args([
        "-c",
        "find . -type f -not -path './DEBIAN/*' -printf '%P\\0' | LC_ALL=C sort -z | xargs -0 md5sum",
    ]);
    let sums = sh::output(&mut command).context("md5sum failed")?;
    Ok(sums + "\n")
}

fn kibibytes(stage: &Path) -> Result<u64> {
    let output = sh::output(
        Command::new("du").args(["--summarize", "--apparent-size", "--block-size=1024"]).arg(stage),
    );
    let size = output.as_deref().and_then(|line| line.split_whitespace().next()?.parse().ok());
    size.context("du says no size")
}
