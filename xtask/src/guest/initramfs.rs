//! The first root of a guest: busybox, and the modules that mount the next one.

use std::{
    fs,
    io::Write,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use vipd_tests::find_program;

use super::kernel::Image;

/// Packs one into a directory, and returns the file. `init` is its script, which loads `wanted` and what these modules need.
pub fn pack(image: &Image, dir: &Path, init: &str, wanted: &[&str]) -> Result<PathBuf> {
    let tree = dir.join("initramfs");
    for sub in ["bin", "proc", "sys", "dev", "new", "modules"] {
        fs::create_dir_all(tree.join(sub))?;
    }
    let busybox = find_program("busybox").context("busybox is missing; run: cargo xtask setup")?;
    fs::copy(busybox, tree.join("bin/busybox"))?;
    fs::write(tree.join("init"), init)?;
    fs::set_permissions(tree.join("init"), fs::Permissions::from_mode(0o755))?;
    for (n, module) in modules(image, wanted)?.iter().enumerate() {
        let name = module.file_name().context("a module has a name")?.to_string_lossy().into_owned();
        // init loads them in the order of their names.
        let place = tree.join("modules").join(format!("{n:02}-{}", name.trim_end_matches(".xz")));
        if name.ends_with(".xz") {
            unpack(module, &place)?;
        } else {
            fs::copy(module, place)?;
        }
    }
    let packed = dir.join("initramfs.cpio");
    archive(&tree, &packed)?;
    fs::remove_dir_all(&tree)?;
    Ok(packed)
}

/// These modules, and what they need, in the order to load them. A kernel may have some of them built in.
fn modules(image: &Image, wanted: &[&str]) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for module in wanted {
        let output = image.show_depends(module)?;
        ensure!(
            output.status.success(),
            "{} has no module {module}: {}",
            image.release,
            String::from_utf8_lossy(&output.stderr).trim()
        );
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            // `insmod FILE`, or `builtin NAME`.
            let file = line.strip_prefix("insmod ").map(|file| PathBuf::from(file.trim()));
            files.extend(file.filter(|file| !files.contains(file)));
        }
    }
    Ok(files)
}

fn unpack(from: &Path, to: &Path) -> Result<()> {
    let out = fs::File::create(to)?;
    let status = Command::new("xz").args(["--decompress", "--stdout"]).arg(from).stdout(out).status();
    ensure!(status.context("cannot run xz")?.success(), "cannot unpack {}", from.display());
    Ok(())
}

/// An archive in the format of the kernel, `newc`.
fn archive(tree: &Path, to: &Path) -> Result<()> {
    let mut cpio = Command::new("cpio");
    cpio.args(["--create", "--format=newc", "--owner=0:0", "--quiet"]).current_dir(tree);
    let mut child =
        cpio.stdin(Stdio::piped()).stdout(fs::File::create(to)?).spawn().context("cannot run cpio")?;
    let mut names = child.stdin.take().context("cpio has no stdin")?;
    let mut list = Vec::new();
    list_files(tree, Path::new(""), &mut list)?;
    for name in list {
        writeln!(names, "{}", name.display())?;
    }
    drop(names);
    ensure!(child.wait()?.success(), "cpio failed");
    Ok(())
}

/// Every file and directory below `top`, relative to it; a directory before what is in it.
fn list_files(top: &Path, below: &Path, list: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(top.join(below))? {
        let entry = entry?;
        let name = below.join(entry.file_name());
        list.push(name.clone());
        if entry.file_type()?.is_dir() {
            list_files(top, &name, list)?;
        }
    }
    Ok(())
}
