//! Walks a path: each directory, link and file on the way, opened by descriptor from the top down, and the users who may change it.
//!
//! If root alone may change a part and all directories above it, no other user can rename, remove or replace the part. In a sticky
//! directory every user may create files, but only the owner of a file may rename or remove it: there a part counts as safe if it
//! belongs to root.

use std::{
    ffi::OsString,
    fmt,
    io::{self, ErrorKind},
    os::fd::{AsFd, AsRawFd, OwnedFd},
    path::{Component, Path, PathBuf},
};

use nix::{
    errno::Errno,
    fcntl::{OFlag, open, openat, readlinkat},
    libc,
    sys::stat::{FileStat, Mode, SFlag, fstat},
};

/// As many as the kernel follows.
const LINKS_MAX: usize = 40;

/// A path walked to its end.
#[derive(Debug)]
pub struct Walk {
    /// In order: `/` first, the target last.
    parts: Vec<Part>,
    /// The target, opened with `O_PATH`.
    fd: OwnedFd,
}

/// One directory, link or file on the way.
#[derive(Clone, Debug)]
pub struct Part {
    pub path: PathBuf,
    pub uid: u32,
    pub gid: u32,
    mode: u32,
    /// Users and groups are named in an access control list.
    has_acl: bool,
}

/// Where a walk failed.
#[derive(Debug)]
pub struct Stuck {
    pub path: PathBuf,
    pub error: io::Error,
}

/// Why another user than root may change a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Open {
    /// It belongs to this user.
    ToOwner(u32),
    /// Members of this group may write to it.
    ToGroup(u32),
    /// Users or groups of its access control list may write to it.
    ToListed,
    ToAll,
}

impl fmt::Display for Open {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ToOwner(uid) => write!(f, "it belongs to uid {uid}"),
            Self::ToGroup(gid) => write!(f, "gid {gid} may write to it"),
            Self::ToListed => f.write_str("its access control list lets others write to it"),
            Self::ToAll => f.write_str("everybody may write to it"),
        }
    }
}

impl Part {
    fn of(path: PathBuf, fd: &OwnedFd) -> io::Result<Self> {
        let FileStat { st_uid: uid, st_gid: gid, st_mode: mode, .. } = fstat(fd)?;
        let has_acl = mode & 0o020 != 0 && kind(mode) != SFlag::S_IFLNK && has_acl(fd);
        Ok(Self { path, uid, gid, mode, has_acl })
    }

    pub fn is_link(&self) -> bool {
        kind(self.mode) == SFlag::S_IFLNK
    }

    pub fn is_file(&self) -> bool {
        kind(self.mode) == SFlag::S_IFREG
    }

    pub fn is_executable(&self) -> bool {
        self.mode & 0o111 != 0
    }

    pub fn is_readable_by_all(&self) -> bool {
        self.mode & 0o004 != 0
    }

    /// Whether every user may continue from here: no directory, or one that all may search.
    pub fn is_passed_by_all(&self) -> bool {
        kind(self.mode) != SFlag::S_IFDIR || self.mode & 0o001 != 0
    }

    /// How other users than root may change it or its contents.
    pub fn open_to_others(&self) -> Option<Open> {
        open_to_others(self.uid, self.gid, self.mode, self.has_acl)
    }
}

/// How other users than root may change a file with these attributes.
pub fn open_to_others(uid: u32, gid: u32, mode: u32, has_acl: bool) -> Option<Open> {
    let is_sticky = kind(mode) == SFlag::S_IFDIR && mode & 0o1000 != 0;
    if uid != 0 {
        Some(Open::ToOwner(uid))
    } else if is_sticky || kind(mode) == SFlag::S_IFLNK {
        None
    } else if mode & 0o002 != 0 {
        Some(Open::ToAll)
    } else if mode & 0o020 != 0 && gid != 0 {
        Some(Open::ToGroup(gid))
    } else {
        (mode & 0o020 != 0 && has_acl).then_some(Open::ToListed)
    }
}

impl Walk {
    /// Follows a path, links included, to its target.
    pub fn to(path: &Path) -> Result<Self, Stuck> {
        let stuck = |path: &Path, error: Errno| Stuck { path: path.to_owned(), error: error.into() };
        let top = |top: &str| open(top, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty());
        let mut here = PathBuf::from(if path.is_absolute() { "/" } else { "." });
        let mut fd = top(if path.is_absolute() { "/" } else { "." }).map_err(|error| stuck(&here, error))?;
        let part = |path: &Path, fd: &OwnedFd| {
            Part::of(path.to_owned(), fd).map_err(|error| Stuck { path: path.to_owned(), error })
        };
        let mut parts = vec![part(&here, &fd)?];
        let mut left = names(path);
        let mut links = 0;
        while let Some(name) = left.pop() {
            let path = here.join(&name);
            let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
            let next = openat(&fd, &*name, flags, Mode::empty()).map_err(|error| stuck(&path, error))?;
            let met = part(&path, &next)?;
            if !met.is_link() {
                (here, fd) = (path, next);
                parts.push(met);
                continue;
            }
            parts.push(met);
            links += 1;
            if links > LINKS_MAX {
                return Err(stuck(&path, Errno::ELOOP));
            }
            let target: PathBuf = readlinkat(&next, "").map_err(|error| stuck(&path, error))?.into();
            if target.is_absolute() {
                here = "/".into();
                fd = top("/").map_err(|error| stuck(&here, error))?;
            }
            left.extend(names(&target));
        }
        Ok(Self { parts, fd })
    }

    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// What the path leads to.
    pub fn end(&self) -> &Part {
        self.parts.last().expect("a walk has its start at least")
    }

    /// The target, opened with `O_PATH`.
    pub fn into_fd(self) -> OwnedFd {
        self.fd
    }

    pub fn fd(&self) -> &OwnedFd {
        &self.fd
    }

    /// The first part that other users than root may change, and how.
    pub fn open_to_others(&self) -> Option<(&Part, Open)> {
        self.parts.iter().find_map(|part| Some((part, part.open_to_others()?)))
    }
}

/// The names of a path, the last first.
fn names(path: &Path) -> Vec<OsString> {
    let name = |component: Component<'_>| match component {
        Component::Normal(_) | Component::ParentDir => Some(component.as_os_str().to_owned()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    };
    path.components().rev().filter_map(name).collect()
}

/// The kind of file in a mode.
pub fn kind(mode: u32) -> SFlag {
    SFlag::from_bits_truncate(mode) & SFlag::S_IFMT
}

/// Whether an access control list names users or groups besides owner and group.
fn has_acl(fd: &OwnedFd) -> bool {
    // With `O_PATH` there is no fgetxattr(2); the link in `/proc` is the same file.
    let path = format!("/proc/self/fd/{}\0", fd.as_fd().as_raw_fd());
    let name = c"system.posix_acl_access";
    // SAFETY: both strings end with NUL and outlive the call; with length 0 nothing is written.
    let length = unsafe { libc::getxattr(path.as_ptr().cast(), name.as_ptr(), std::ptr::null_mut(), 0) };
    length > 0
}

impl From<Stuck> for io::Error {
    fn from(Stuck { path, error }: Stuck) -> Self {
        let kind: ErrorKind = error.kind();
        Self::new(kind, format!("{}: {error}", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::fs::{PermissionsExt, chown, lchown, symlink},
    };

    use super::*;

    /// A directory of the test's own below the temporary one, which is sticky.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let dir = std::env::temp_dir().join(format!("vipd-walk-{}-{name}", std::process::id()));
            fs::create_dir(&dir).unwrap();
            Self(dir)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn found(path: &Path) -> Option<(PathBuf, Open)> {
        let walk = Walk::to(path).unwrap();
        walk.open_to_others().map(|(part, open)| (part.path.clone(), open))
    }

    #[test]
    fn every_part_of_the_way_counts() {
        if !nix::unistd::Uid::effective().is_root() {
            return vipd_tests::skip("needs root");
        }
        let scratch = Scratch::new("parts");
        let dir = &scratch.0;
        let (file, link) = (dir.join("real/file"), dir.join("link"));
        fs::create_dir(dir.join("real")).unwrap();
        fs::write(&file, "").unwrap();
        symlink("real/../real/file", &link).unwrap();
        assert_eq!(found(&link), None);
        let walk = Walk::to(&link).unwrap();
        assert_eq!(walk.end().path, dir.join("real/../real/file"));
        assert!(walk.parts().iter().any(|part| part.path == link && part.is_link()) && walk.end().is_file());

        lchown(&link, Some(12345), None).unwrap();
        assert_eq!(found(&link), Some((link.clone(), Open::ToOwner(12345))), "the link as written");
        lchown(&link, Some(0), None).unwrap();
        chown(&file, Some(12345), None).unwrap();
        assert_eq!(found(&link).unwrap().1, Open::ToOwner(12345), "what it leads to");
        chown(&file, Some(0), Some(12345)).unwrap();
        let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        mode(&file, 0o664);
        assert_eq!(found(&file), Some((file.clone(), Open::ToGroup(12345))));
        chown(&file, Some(0), Some(0)).unwrap();
        assert_eq!(found(&file), None, "root's group");
        mode(&file, 0o666);
        assert_eq!(found(&file), Some((file.clone(), Open::ToAll)));
        mode(&file, 0o644);
        mode(&dir.join("real"), 0o777);
        assert_eq!(found(&file), Some((dir.join("real"), Open::ToAll)));
        mode(&dir.join("real"), 0o1777);
        assert_eq!(found(&file), None, "root's file in a sticky directory");
    }

    #[test]
    fn a_way_that_ends_says_where() {
        let scratch = Scratch::new("ends");
        let dir = &scratch.0;
        symlink("loop", dir.join("loop")).unwrap();
        symlink("nowhere", dir.join("dangling")).unwrap();
        let stuck = Walk::to(&dir.join("loop")).unwrap_err();
        assert_eq!(stuck.error.raw_os_error(), Some(libc::ELOOP));
        let stuck = Walk::to(&dir.join("dangling")).unwrap_err();
        assert_eq!((stuck.path, stuck.error.kind()), (dir.join("nowhere"), ErrorKind::NotFound));
    }
}
