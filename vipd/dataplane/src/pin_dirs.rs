//! The directories of the BPF file system that vipd pins in: real ones, its own, where nobody else may write.
//!
//! Where a BPF file system lets everybody make files (mode 1777), another user may have made a directory, a link or a pin of our name
//! first. That must not keep vipd from starting, nor lead it to other programs' pins: what is not ours gives way to a new
//! directory, in one step that nobody can come between. Moved aside it stays as it is, unless it is a link or empty.

use std::{
    ffi::{OsStr, OsString},
    fs,
    hash::{BuildHasher, RandomState},
    io,
    os::fd::AsFd,
    path::Path,
};

use anyhow::{Context, Result, bail};
use nix::{
    fcntl::RenameFlags,
    sys::{
        stat::{FileStat, SFlag, fstat, lstat},
        statfs::{BPF_FS_MAGIC, fstatfs},
    },
    unistd::Uid,
};

use vipd_system::files::{Dir, kind, others_may_write};

/// Of the directories that are made below the one of `--bpffs-dir`.
const MODE: u32 = 0o700;
/// Of that one if it is made. The sticky bit changes nothing where root alone may write; it says whose the directory is, for who
/// removes it: no operator makes one like that.
const MADE: u32 = 0o1700;
/// Tries against somebody who makes and removes directories of the same name all the time.
const TRIES: usize = 100;

/// The directory that is given as `--bpffs-dir`: a mount point, or a directory below one, which is made if it is not there.
///
/// # Errors
///
/// It is not on a mounted BPF file system, or others than root may take away what is in it.
pub fn bpffs(path: &Path) -> Result<Dir> {
    if let Ok((parent, name)) = Dir::of(path)
        && is_bpffs(&parent)
    {
        return own(&parent, name, (Sharing::IfSticky, MADE)).map(|dir| dir.0);
    }
    let dir = Dir::open(path)?;
    if !is_bpffs(&dir) {
        bail!(
            "{path} is not on a BPF file system; mount one (mount -t bpf -o mode=0700 bpf /sys/fs/bpf) or pass --bpffs-dir",
            path = path.display()
        );
    }
    let FileStat { st_uid: owner, st_mode: mode, .. } = fstat(&dir)?;
    let me = Uid::effective();
    if owner != me.as_raw() {
        bail!(
            "{path} belongs to uid {owner}, expected {me}: that user could take vipd's pins away; `chown root {path}`, or choose \
             another --bpffs-dir",
            path = path.display()
        );
    }
    if !is_ours(&fstat(&dir)?, Sharing::IfSticky) {
        bail!(
            "others may write to {path} (mode {:04o}), and could take vipd's pins away; `chmod 0700 {path}`",
            mode & 0o7777,
            path = path.display()
        );
    }
    Ok(dir)
}

/// Removes the directory for the versions if it is empty, and then the one of `--bpffs-dir` if vipd has made it.
pub fn remove_empty(of_versions: &Path) {
    if fs::remove_dir(of_versions).is_err() {
        return;
    }
    let made = |dir: &&Path| lstat(*dir).is_ok_and(|found| found.st_mode & 0o7777 == MADE);
    if let Some(dir) = of_versions.parent().filter(made) {
        // Something of the operator's may be in it.
        let _ = fs::remove_dir(dir);
    }
}

/// The directory of that name in one that is ours, made if it is not there; what is not ours gives way. Also what that was, and
/// where it is now.
pub fn of_vipd(parent: &Dir, name: &str) -> Result<Dir> {
    let (dir, displaced) = own(parent, name.as_ref(), (Sharing::Never, MODE))?;
    if let Some(displaced) = displaced {
        rescue(&displaced, &dir);
        // Nothing to keep.
        let _ = parent.remove_dir(displaced.path().file_name().unwrap_or_default());
    }
    Ok(dir)
}

/// Whether something that was looked at, no link followed, is a directory of ours where nobody else may write.
pub fn is_own(found: &FileStat) -> bool {
    is_ours(found, Sharing::Never)
}

/// Whether everybody may make files in a directory.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sharing {
    Never,
    /// They may not take away what is not theirs.
    IfSticky,
}

fn is_ours(found: &FileStat, shared: Sharing) -> bool {
    let mode = found.st_mode;
    let by_others = others_may_write(mode, found.st_gid);
    kind(mode) == SFlag::S_IFDIR
        && found.st_uid == Uid::effective().as_raw()
        && (!by_others || shared == Sharing::IfSticky && mode & 0o1000 != 0)
}

fn is_bpffs(dir: impl AsFd) -> bool {
    fstatfs(dir).is_ok_and(|found| found.filesystem_type() == BPF_FS_MAGIC)
}

/// The directory of that name, and one that had the name before and was moved aside.
fn own(parent: &Dir, name: &OsStr, (shared, mode): (Sharing, u32)) -> Result<(Dir, Option<Dir>)> {
    let path = parent.path().join(name);
    let context = || format!("make the pin directory {}", path.display());
    let mut displaced = None;
    for _ in 0..TRIES {
        match parent.stat(name) {
            Ok(found) if is_ours(&found, shared) => {
                let dir = parent.open_dir(name).with_context(context)?;
                // It may have been another one a moment ago.
                if is_ours(&fstat(&dir)?, shared) {
                    return Ok((dir, displaced));
                }
            }
            Ok(found) => {
                displaced = displace(parent, name, &found, mode).with_context(context)?.or(displaced)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => match parent.make_dir(name, mode) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(error).with_context(context);
                }
                _ => {}
            },
            Err(error) => return Err(error).with_context(context),
        }
    }
    bail!(
        "{} is made and removed by somebody else all the time; `chmod 0700 {}`, or mount the BPF file system with `-o mode=0700`",
        path.display(),
        parent.path().display()
    )
}

/// Puts a new directory in the place of what has the name. Returns what was there, if that is a directory.
fn displace(parent: &Dir, name: &OsStr, found: &FileStat, mode: u32) -> Result<Option<Dir>> {
    let aside = aside(name);
    parent.make_dir(&aside, mode)?;
    if let Err(error) = parent.rename(&aside, name, RenameFlags::RENAME_EXCHANGE) {
        parent.remove_dir(&aside)?;
        // Whoever has made it has removed it.
        return if error.kind() == io::ErrorKind::NotFound { Ok(None) } else { Err(error.into()) };
    }
    let is_link = kind(found.st_mode) == SFlag::S_IFLNK;
    tracing::warn!(
        path = %parent.path().join(name).display(),
        uid = found.st_uid,
        mode = format!("{:04o}", found.st_mode & 0o7777),
        aside = %parent.path().join(&aside).display(),
        "another user has made {} where vipd pins its maps; it is moved aside. Mount the BPF file system with `-o mode=0700`, or \
         `chmod 0700 {}`",
        if is_link { "a link" } else { "something" },
        parent.path().display()
    );
    match parent.open_dir(&aside) {
        Ok(dir) => Ok(Some(dir)),
        Err(_) => {
            if kind(parent.stat(&aside)?.st_mode) == SFlag::S_IFLNK {
                parent.remove(&aside)?;
            }
            Ok(None)
        }
    }
}

/// Takes over the directories that earlier vipds have made in one that was another user's: nobody else could write to them.
fn rescue(from: &Dir, to: &Dir) {
    for name in from.names().unwrap_or_default() {
        let is_version = name.to_str().is_some_and(|name| version(name).is_some());
        if !is_version || !from.stat(&name).is_ok_and(|found| is_own(&found)) {
            continue;
        }
        if let Err(error) = from.move_to(&name, to) {
            let path = from.path().join(&name);
            tracing::warn!(path = %path.display(), %error, "pins of an earlier vipd could not be removed");
        }
    }
}

/// Which version's pins a directory has.
pub fn version(name: &str) -> Option<u32> {
    name.strip_prefix('v')?.parse().ok()
}

/// A name that nobody can know before. A BPF file system takes no dots.
fn aside(name: &OsStr) -> OsString {
    let mut aside = name.to_owned();
    aside.push(format!("-aside-{:016x}", RandomState::new().hash_one(name)));
    aside
}
