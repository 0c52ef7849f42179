//! Files in directories where other users may write: opened by descriptor, never through links of other users, replaced as a whole.
//!
//! vipd uses this module for every path that the operator chooses, and for every file that it reads where other users may write. It does
//! not rely on a umask: each file gets its mode when it is created.

mod walk;

use std::{
    ffi::{OsStr, OsString},
    fs::File,
    hash::{BuildHasher, RandomState},
    io::{self, Read, Write},
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
        unix::net::UnixListener,
    },
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use nix::{
    errno::Errno,
    fcntl::{AtFlags, OFlag, RenameFlags, open, openat, renameat, renameat2},
    sys::stat::{FileStat, Mode, SFlag, fstat, fstatat, mkdirat, umask},
    unistd::{Uid, UnlinkatFlags, unlinkat},
};

pub use walk::{Open, Part, Stuck, Walk, kind, open_to_others};

/// A directory, held by a descriptor: later changes of its path have no effect.
#[derive(Debug)]
pub struct Dir {
    fd: OwnedFd,
    path: PathBuf,
}

impl Dir {
    /// Opens a directory; links on the way are followed if root or this process's user has made them.
    ///
    /// # Errors
    ///
    /// It does not exist, or a link on the way belongs to another user.
    pub fn open(path: &Path) -> Result<Self> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let walk =
            Walk::to(path).map_err(io::Error::from).with_context(|| format!("open {}", path.display()))?;
        let me = Uid::effective().as_raw();
        if let Some(link) = walk.parts().iter().find(|part| part.is_link() && ![0, me].contains(&part.uid)) {
            bail!(
                "{} is a link that uid {} has made, which is not followed; remove it, or name another place",
                link.path.display(),
                link.uid
            );
        }
        let fd = walk.into_fd();
        if kind(fstat(&fd)?.st_mode) != SFlag::S_IFDIR {
            bail!("{} is not a directory", path.display());
        }
        Ok(Self { fd, path: path.to_owned() })
    }

    /// The directory of a file, and the file's name in it.
    pub fn of(path: &Path) -> Result<(Self, &OsStr)> {
        let name = path.file_name().with_context(|| format!("{} does not name a file", path.display()))?;
        Ok((Self::open(path.parent().unwrap_or(Path::new(".")))?, name))
    }

    /// A directory that only this process's user may write to, created with `mode` if it does not exist.
    ///
    /// # Errors
    ///
    /// It cannot be created, or others may write to it: they could remove or replace its files.
    pub fn private(path: &Path, mode: u32) -> Result<Self> {
        let dir = match Self::open(path) {
            Ok(dir) => dir,
            Err(error) if error.downcast_ref::<io::Error>().is_some_and(is_missing) => {
                std::os::unix::fs::DirBuilderExt::mode(std::fs::DirBuilder::new().recursive(true), mode)
                    .create(path)
                    .with_context(|| format!("create {}", path.display()))?;
                Self::open(path)?
            }
            Err(error) => return Err(error),
        };
        let FileStat { st_uid: owner, st_mode: mode, st_gid: group, .. } = fstat(&dir.fd)?;
        let me = Uid::effective().as_raw();
        if owner != me {
            bail!(
                "{} belongs to uid {owner}, expected {me}: that user could take away what vipd keeps in it; remove it, \
                 or name another directory",
                path.display()
            );
        }
        if others_may_write(mode, group) {
            bail!(
                "{} may be written to by others (mode {:04o}), who could take away what vipd keeps in it: chmod go-w {}",
                path.display(),
                mode & 0o7777,
                path.display()
            );
        }
        Ok(dir)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The attributes of a name in it, without following a link.
    pub fn stat(&self, name: &OsStr) -> io::Result<FileStat> {
        Ok(fstatat(&self.fd, name, AtFlags::AT_SYMLINK_NOFOLLOW)?)
    }

    /// Opens a file in it; a link is refused.
    pub fn open_at(&self, name: &OsStr, flags: OFlag, mode: u32) -> io::Result<File> {
        let flags = flags | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        Ok(openat(&self.fd, name, flags, Mode::from_bits_truncate(mode))?.into())
    }

    /// Opens a directory in it; a link is refused.
    pub fn open_dir(&self, name: &OsStr) -> io::Result<Self> {
        let file = self.open_at(name, OFlag::O_PATH | OFlag::O_DIRECTORY, 0)?;
        Ok(Self { fd: file.into(), path: self.path.join(name) })
    }

    pub fn make_dir(&self, name: &OsStr, mode: u32) -> io::Result<()> {
        Ok(mkdirat(&self.fd, name, Mode::from_bits_truncate(mode))?)
    }

    pub fn remove(&self, name: &OsStr) -> io::Result<()> {
        Ok(unlinkat(&self.fd, name, UnlinkatFlags::NoRemoveDir)?)
    }

    pub fn remove_dir(&self, name: &OsStr) -> io::Result<()> {
        Ok(unlinkat(&self.fd, name, UnlinkatFlags::RemoveDir)?)
    }

    /// Renames a file in it, as the flags say.
    pub fn rename(&self, from: &OsStr, to: &OsStr, flags: RenameFlags) -> io::Result<()> {
        Ok(renameat2(&self.fd, from, &self.fd, to, flags)?)
    }

    /// Moves a file from it into another directory, where the name must be free.
    pub fn move_to(&self, name: &OsStr, to: &Self) -> io::Result<()> {
        Ok(renameat2(&self.fd, name, &to.fd, name, RenameFlags::RENAME_NOREPLACE)?)
    }

    /// The names in it.
    pub fn names(&self) -> io::Result<Vec<OsString>> {
        // Through the descriptor, not the path.
        let entries = std::fs::read_dir(format!("/proc/self/fd/{}", self.fd.as_raw_fd()))?;
        entries.map(|entry| Ok(entry?.file_name())).collect()
    }

    /// Replaces a file by one with `text`.
    ///
    /// A new file with an unpredictable name replaces the old one, so no link is followed and a reader sees all of it or
    /// nothing.
    fn replace(&self, name: &OsStr, text: &str, mode: u32) -> Result<()> {
        let fresh = unguessable(name);
        let path = self.path.join(&fresh);
        let file = self
            .open_at(&fresh, OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL, mode)
            .with_context(|| format!("create {}", path.display()))?;
        let replaced = fill(file, text).with_context(|| format!("write {}", path.display())).and_then(|()| {
            renameat(&self.fd, &*fresh, &self.fd, name)
                .with_context(|| format!("replace {}", self.path.join(name).display()))
        });
        if replaced.is_err() {
            // It is ours. The error is the one to be told.
            let _ = self.remove(&fresh);
        }
        replaced
    }
}

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Whether others than the owner and root's group may write to what has this mode and group.
pub fn others_may_write(mode: u32, group: u32) -> bool {
    mode & 0o002 != 0 || mode & 0o020 != 0 && group != 0
}

fn is_missing(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
}

fn fill(mut file: File, text: &str) -> io::Result<()> {
    file.write_all(text.as_bytes())
}

/// A hidden, unpredictable name beside `name`.
pub fn unguessable(name: &OsStr) -> OsString {
    let mut fresh = OsString::from(".");
    fresh.push(name);
    fresh.push(format!(".{:016x}", RandomState::new().hash_one(name)));
    fresh
}

/// Replaces `path` by a file with `text` and `mode`; of a link the target is left alone.
///
/// # Errors
///
/// The file cannot be created, written or renamed; `path` is unchanged.
pub fn replace(path: &Path, text: &str, mode: u32) -> Result<()> {
    let (dir, name) = Dir::of(path)?;
    dir.replace(name, text, mode)
}

/// A regular file that was read.
#[derive(Debug)]
pub struct Regular {
    pub stat: FileStat,
    pub bytes: Vec<u8>,
}

/// Reads at most `limit` octets of a regular file; links are followed.
///
/// A user who may write to the directory can put a FIFO there, whose opening waits, or a link to a device, whose opening may have
/// an effect. So the kind of file is checked before it is opened.
///
/// # Errors
///
/// It does not exist, is not readable, or is no regular file.
pub fn read_regular(path: &Path, limit: u64) -> io::Result<Regular> {
    let fd = open(path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())?;
    let stat = fstat(&fd)?;
    if kind(stat.st_mode) != SFlag::S_IFREG {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut bytes = Vec::new();
    reopen(&fd, OFlag::O_RDONLY)?.take(limit).read_to_end(&mut bytes)?;
    Ok(Regular { stat, bytes })
}

/// Opens the file of an `O_PATH` descriptor.
pub fn reopen(fd: impl AsFd, flags: OFlag) -> io::Result<File> {
    let path = format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd());
    let flags = flags | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    Ok(open(&*path, flags, Mode::empty())?.into())
}

/// Writes `text` into a file that belongs to another user. An existing file keeps its owner and mode, and a link is not followed; a
/// missing file is created with mode 0644.
///
/// # Errors
///
/// It is no regular file, or has a second name (hard link): then another user's file could be overwritten.
pub fn overwrite(path: &Path, text: &str) -> Result<()> {
    let (dir, name) = Dir::of(path)?;
    let flags = OFlag::O_WRONLY | OFlag::O_NONBLOCK;
    let new = dir.open_at(name, flags | OFlag::O_CREAT | OFlag::O_EXCL, 0o644);
    let file = match new {
        Err(error) if error.raw_os_error() == Some(Errno::EEXIST as i32) => {
            let there = dir.open_at(name, OFlag::O_PATH, 0)?;
            let FileStat { st_mode: mode, st_nlink: names, .. } = fstat(&there)?;
            if kind(mode) != SFlag::S_IFREG {
                bail!("it is a link or not a regular file: remove it, or choose another path");
            }
            if names > 1 {
                bail!("the file has {names} hard links and may belong to another user: remove it");
            }
            let file = reopen(&there, flags)?;
            file.set_len(0)?;
            file
        }
        opened => opened?,
    };
    Ok(fill(file, text)?)
}

/// Binds a unix socket that its owner and group may connect to.
///
/// It has that mode from its first moment: a later chmod(2) would change any file that has the path by then. The umask belongs to the
/// process, so other threads must not create files meanwhile; vipd's do not.
pub fn bind_socket(path: &Path) -> io::Result<UnixListener> {
    let before = umask(Mode::from_bits_truncate(0o117));
    let listener = UnixListener::bind(path);
    umask(before);
    let listener = listener?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

#[cfg(test)]
mod tests;
