//! Files where others may make files too: opened by descriptor, through no link of somebody else, replaced as a whole.
//!
//! Everything that vipd writes by a path of the operator goes through here, and what it reads where somebody else may write.
//! There is no umask to rely on: each file gets its mode when it is made.

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

/// A directory, held by a descriptor: what is done in it is done there, wherever its path leads to meanwhile.
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
    /// It is not there, or a link on the way is another user's.
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
            bail!("{} is no directory", path.display());
        }
        Ok(Self { fd, path: path.to_owned() })
    }

    /// The directory of a file, and the file's name in it.
    pub fn of(path: &Path) -> Result<(Self, &OsStr)> {
        let name = path.file_name().with_context(|| format!("{} names no file", path.display()))?;
        Ok((Self::open(path.parent().unwrap_or(Path::new(".")))?, name))
    }

    /// A directory that this process's user alone may write to, made with `mode` if it is not there.
    ///
    /// # Errors
    ///
    /// It cannot be made, or it is there and others may write to it: they could take away or replace what is in it.
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

    /// What has a name in it, a link not followed.
    pub fn stat(&self, name: &OsStr) -> io::Result<FileStat> {
        Ok(fstatat(&self.fd, name, AtFlags::AT_SYMLINK_NOFOLLOW)?)
    }

    /// Opens what has a name in it; a link is refused.
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

    /// Gives what has a name in it another name there, as the flags say.
    pub fn rename(&self, from: &OsStr, to: &OsStr, flags: RenameFlags) -> io::Result<()> {
        Ok(renameat2(&self.fd, from, &self.fd, to, flags)?)
    }

    /// Moves what has a name in it into another directory, where nothing of that name may be.
    pub fn move_to(&self, name: &OsStr, to: &Self) -> io::Result<()> {
        Ok(renameat2(&self.fd, name, &to.fd, name, RenameFlags::RENAME_NOREPLACE)?)
    }

    /// The names in it.
    pub fn names(&self) -> io::Result<Vec<OsString>> {
        // Through the descriptor, not the path.
        let entries = std::fs::read_dir(format!("/proc/self/fd/{}", self.fd.as_raw_fd()))?;
        entries.map(|entry| Ok(entry?.file_name())).collect()
    }

    /// Puts a file with `text` in the place of what has the name.
    ///
    /// A new file, with a name that nobody can know before, takes the place of the old one, so that no link is followed and a
    /// reader sees all of it or nothing.
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

/// A hidden name beside `name` that nobody can know before.
pub fn unguessable(name: &OsStr) -> OsString {
    let mut fresh = OsString::from(".");
    fresh.push(name);
    fresh.push(format!(".{:016x}", RandomState::new().hash_one(name)));
    fresh
}

/// Puts a file with `text` and `mode` in the place of whatever is at `path`: a link too, and what it leads to is left alone.
///
/// # Errors
///
/// The file cannot be made, written or renamed. What was at `path` is left as it is.
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
/// Whoever may write to the directory can put a FIFO there, which would be waited for, or a link to a device, whose mere opening
/// may have a consequence: what it is is known before it is opened.
///
/// # Errors
///
/// It is not there, not readable, or no regular file.
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

/// Opens what a descriptor of `O_PATH` is of.
pub fn reopen(fd: impl AsFd, flags: OFlag) -> io::Result<File> {
    let path = format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd());
    let flags = flags | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    Ok(open(&*path, flags, Mode::empty())?.into())
}

/// Writes `text` into a file that belongs to others: one that is there keeps its owner and mode, and is not followed if it is a
/// link; one that is not there is made, with mode 0644.
///
/// # Errors
///
/// What is there is no regular file, or has a second name: it would be somebody else's file that is overwritten.
pub fn overwrite(path: &Path, text: &str) -> Result<()> {
    let (dir, name) = Dir::of(path)?;
    let flags = OFlag::O_WRONLY | OFlag::O_NONBLOCK;
    let new = dir.open_at(name, flags | OFlag::O_CREAT | OFlag::O_EXCL, 0o644);
    let file = match new {
        Err(error) if error.raw_os_error() == Some(Errno::EEXIST as i32) => {
            let there = dir.open_at(name, OFlag::O_PATH, 0)?;
            let FileStat { st_mode: mode, st_nlink: names, .. } = fstat(&there)?;
            if kind(mode) != SFlag::S_IFREG {
                bail!("it is a link, or no regular file; remove it, or name another place");
            }
            if names > 1 {
                bail!("the file has {names} names (hard links): it may be somebody else's; remove it");
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
/// It has that mode from its first moment: a chmod(2) afterwards would change whatever has the path then. The mask is the process's, so
/// other threads may not make files meanwhile; vipd's do not.
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
