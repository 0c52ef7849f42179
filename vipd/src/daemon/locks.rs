//! The locks that make a vipd the only one of its runtime directory, and the only one of its network namespace.
//!
//! A lock is a file of mode 0600 in a directory that root alone may write to, held by flock(2): whoever can open a file can lock it, and
//! whoever can write to its directory can put another file in its place. The kernel drops the lock with the process.
//!
//! The lock of a network namespace is named by the namespace's inode, in a directory of `/run`. A vipd in a container may have another
//! `/run` and the same network, so a fanout group of a packet socket is the lock once more: the kernel keeps such groups for each network
//! namespace, and takes CAP_NET_RAW for a packet socket.
//!
//! A vipd that is replaced passes the descriptors on: a lock of flock(2) belongs to the open file, so there is no moment at which nobody
//! has it. From then on the locks are none of this process's business, and it removes no file of theirs.

use std::{
    cell::RefCell,
    fs::{self, File, TryLockError},
    io::{self, Read},
    iter, mem,
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd},
        unix::fs::{FileExt, MetadataExt},
    },
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use anyhow::{Context, Result, ensure};
use nix::{fcntl::OFlag, libc};

use crate::{files::Dir, socket_filter::drop_all};

/// The parent of [`DIR`], which is the runtime directory unless another one is named.
const PARENT: &str = "/run/vipd";
/// Where the locks of network namespaces are.
const DIR: &str = "/run/vipd/locks";
/// Only its owner may open a lock.
const MODE: u32 = 0o600;

/// Whether this process has passed its locks on to the vipd that replaces it.
static PASSED_ON: AtomicBool = AtomicBool::new(false);

/// Takes note that the locks are another vipd's now: of all that this process was alone with, it removes nothing any more.
pub fn note_passed_on() {
    PASSED_ON.store(true, Ordering::Release);
}

/// Whether the locks are another vipd's now.
pub fn are_passed_on() -> bool {
    PASSED_ON.load(Ordering::Acquire)
}

/// A file that this process has locked.
#[derive(Debug)]
pub struct FileLock {
    path: PathBuf,
    file: File,
}

/// Why there is no lock.
#[derive(Debug)]
pub enum Unlocked {
    /// Another process has it, of this id.
    Held(String),
    Failed(anyhow::Error),
}

impl FileLock {
    /// Takes the lock of that name in a private directory, without waiting.
    pub fn take(dir: &Dir, name: &str) -> Result<Self, Unlocked> {
        let path = dir.path().join(name);
        let file = loop {
            let file = Self::open(dir, name).map_err(Unlocked::Failed)?;
            let mut lock = file;
            match lock.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    let mut pid = String::new();
                    // Who holds it is for the message only.
                    let _ = lock.read_to_string(&mut pid);
                    return Err(Unlocked::Held(pid.trim().to_owned()));
                }
                Err(TryLockError::Error(error)) => {
                    let error = anyhow::Error::from(error).context(format!("lock {}", path.display()));
                    return Err(Unlocked::Failed(error));
                }
            }
            // A vipd that has just stopped has removed the file it had locked: that lock is worth nothing.
            if is_named(&lock, dir, name) {
                break lock;
            }
        };
        let lock = Self { path, file };
        lock.sign().map_err(Unlocked::Failed)?;
        Ok(lock)
    }

    /// The lock of that name, which another process has passed on, and whose id is still in it.
    pub fn passed_on(dir: &Dir, name: &str, descriptor: OwnedFd) -> Result<Self> {
        let lock = Self { path: dir.path().join(name), file: descriptor.into() };
        let path = lock.path.display();
        ensure!(is_named(&lock.file, dir, name), "the lock that was passed on is not {path}");
        // It is locked already by whoever has the same open file.
        lock.file.try_lock().with_context(|| format!("{path} was passed on, and is not locked"))?;
        Ok(lock)
    }

    /// To be passed on.
    pub fn descriptor(&self) -> io::Result<OwnedFd> {
        self.file.try_clone().map(Into::into)
    }

    /// Puts the id of this process into it.
    pub fn sign(&self) -> Result<()> {
        let Self { path, file } = self;
        let pid = format!("{}\n", std::process::id());
        file.set_len(0)
            .and_then(|()| file.write_all_at(pid.as_bytes(), 0))
            .with_context(|| format!("write {}", path.display()))
    }

    fn open(dir: &Dir, name: &str) -> Result<File> {
        let path = dir.path().join(name);
        let file = dir
            .open_at(name.as_ref(), OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_NONBLOCK, MODE)
            .with_context(|| format!("open {}", path.display()))?;
        let metadata = file.metadata()?;
        // The directory is ours, so only somebody with our rights can have made it otherwise.
        ensure!(
            metadata.is_file() && metadata.mode() & 0o077 == 0,
            "{} is no file of mode 0600, so others could hold its lock; remove it",
            path.display()
        );
        Ok(file)
    }

    /// Whether the file that is locked is the one of that name: somebody may have removed it.
    pub fn is_in_place(&self) -> bool {
        let named = fs::symlink_metadata(&self.path);
        named.is_ok_and(|named| {
            let held = self.file.metadata();
            held.is_ok_and(|held| (held.dev(), held.ino()) == (named.dev(), named.ino()))
        })
    }

    /// Removes the file, while it is still locked; not if it was passed on.
    pub fn remove(&self) {
        if are_passed_on() {
            return;
        }
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::debug!(path = %self.path.display(), %error, "not removed");
        }
    }
}

/// Whether a file is the one that has this name.
fn is_named(file: &File, dir: &Dir, name: &str) -> bool {
    let named = dir.stat(name.as_ref());
    named.is_ok_and(|named| {
        file.metadata().is_ok_and(|held| (held.dev(), held.ino()) == (named.st_dev, named.st_ino))
    })
}

/// Another vipd holds a lock.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Running {
    /// Its id, if it is known.
    pub pid: Option<String>,
    message: String,
}

impl Running {
    pub fn new(pid: Option<&str>, message: impl Into<String>) -> Self {
        Self { pid: pid.map(str::to_owned), message: message.into() }
    }
}

/// The lock of a network namespace.
#[derive(Debug)]
pub struct HostLock {
    file: RefCell<FileLock>,
    group: Option<OwnedFd>,
}

impl HostLock {
    /// Makes this the only vipd of its network namespace: routes and rules are recognised by their tag, whoever's they are.
    ///
    /// # Errors
    ///
    /// Another vipd runs in the network namespace, with another runtime directory.
    pub fn take() -> Result<Self> {
        let file = Self::take_file()?;
        let group = match fanout_group() {
            Ok(group) => Some(group),
            Err(error) if error.raw_os_error() == Some(libc::ENOSPC) => {
                file.remove();
                let message = format!("another vipd, with another /run (in a container?), {RUNS_HERE}");
                return Err(Running::new(None, message).into());
            }
            // The file is the lock. What keeps vipd from having a packet socket is told where adverts need one.
            Err(error) => {
                tracing::debug!(%error, "a vipd with another /run in this network namespace would not be noticed");
                None
            }
        };
        Ok(Self { file: RefCell::new(file), group })
    }

    /// The lock of this process's network namespace, which another process has passed on.
    pub fn passed_on(file: OwnedFd, group: Option<OwnedFd>) -> Result<Self> {
        let (dir, name) = Self::place()?;
        Ok(Self { file: RefCell::new(FileLock::passed_on(&dir, &name, file)?), group })
    }

    /// Puts the id of this process into it.
    pub fn sign(&self) -> Result<()> {
        self.file.borrow().sign()
    }

    /// To be passed on: the file, and the socket of the fanout group if there is one.
    pub fn descriptors(&self) -> io::Result<Vec<OwnedFd>> {
        let group = self.group.iter().map(OwnedFd::try_clone);
        iter::once(self.file.borrow().descriptor()).chain(group).collect()
    }

    /// Takes the lock's file again if somebody has removed it; its name then. The group of the packet socket is held meanwhile.
    ///
    /// # Errors
    ///
    /// Another vipd has taken the place meanwhile.
    pub fn restore(&self) -> Result<Option<String>> {
        if self.file.borrow().is_in_place() {
            return Ok(None);
        }
        let lock = Self::take_file()?;
        let name = format!("file {}", lock.path.display());
        self.file.replace(lock);
        Ok(Some(name))
    }

    fn place() -> Result<(Dir, String)> {
        let namespace = fs::metadata("/proc/thread-self/ns/net").context("look at the network namespace")?;
        Dir::private(Path::new(PARENT), 0o755)?;
        let name = format!("net-{}-{}", namespace.dev(), namespace.ino());
        Ok((Dir::private(Path::new(DIR), 0o700)?, name))
    }

    fn take_file() -> Result<FileLock> {
        let (dir, name) = Self::place()?;
        match FileLock::take(&dir, &name) {
            Ok(file) => {
                remove_stale(&dir, &name);
                Ok(file)
            }
            Err(Unlocked::Held(pid)) => {
                let message = format!("another vipd, pid {pid}, {RUNS_HERE}");
                Err(Running::new(Some(&pid), message).into())
            }
            Err(Unlocked::Failed(error)) => Err(error.context("lock the network namespace")),
        }
    }
}

impl Drop for HostLock {
    fn drop(&mut self) {
        self.file.borrow().remove();
    }
}

/// Removes the locks of network namespaces, but for `own`, that nobody holds: of vipds that were killed. Whoever takes one at the same
/// moment finds that it has no name any more, and makes another.
fn remove_stale(dir: &Dir, own: &str) {
    let names = fs::read_dir(dir.path()).into_iter().flatten().flatten().map(|entry| entry.file_name());
    for name in names.filter_map(|name| name.into_string().ok()) {
        if name == own || !name.starts_with("net-") {
            continue;
        }
        let Ok(file) = dir.open_at(name.as_ref(), OFlag::O_RDWR | OFlag::O_NONBLOCK, MODE) else { continue };
        if file.try_lock().is_ok() && is_named(&file, dir, &name) {
            // Somebody else may sweep as well.
            let _ = fs::remove_file(dir.path().join(&name));
        }
    }
}

const RUNS_HERE: &str = "runs in this network namespace; put all instances into its configuration, or give this one a network \
                         namespace of its own";

/// Joins vipd's fanout group of the network namespace as its only member. `ENOSPC`: it has one.
///
/// No frame is received: the protocol is one for local experiments (IEEE 802), and a filter takes none.
fn fanout_group() -> io::Result<OwnedFd> {
    /// `struct fanout_args` of include/uapi/linux/if_packet.h on little-endian machines, Linux 5.11.
    #[repr(C)]
    struct FanoutArgs {
        id: u16,
        type_flags: u16,
        max_num_members: u32,
    }
    let checked = |result: libc::c_int| if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) };
    // SAFETY: no pointers are passed.
    let fd = checked(unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) })?;
    // SAFETY: a new descriptor that nobody else owns.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    // SAFETY: all zero is a valid address, of all interfaces.
    let mut address: libc::sockaddr_ll = unsafe { mem::zeroed() };
    address.sll_family = libc::AF_PACKET as libc::c_ushort;
    address.sll_protocol = EXPERIMENTAL.to_be();
    let group = FanoutArgs { id: GROUP, type_flags: libc::PACKET_FANOUT_HASH as u16, max_num_members: 1 };
    let set = |level, option, value: *const libc::c_void, length: usize| {
        // SAFETY: the value is as long as is said and outlives the call.
        checked(unsafe {
            libc::setsockopt(socket.as_raw_fd(), level, option, value, length as libc::socklen_t)
        })
    };
    drop_all(&socket)?;
    // SAFETY: the address is as long as is said and outlives the call.
    checked(unsafe {
        libc::bind(
            socket.as_raw_fd(),
            (&raw const address).cast(),
            size_of::<libc::sockaddr_ll>() as libc::socklen_t,
        )
    })?;
    set(libc::SOL_PACKET, libc::PACKET_FANOUT, (&raw const group).cast(), size_of::<FanoutArgs>())?;
    Ok(socket)
}

/// EtherType "Local Experimental 1".
const EXPERIMENTAL: u16 = 0x88b5;
/// "vi".
const GROUP: u16 = 0x7669;

#[cfg(test)]
mod tests {
    use std::{os::unix::fs::PermissionsExt, thread};

    use nix::sched::{CloneFlags, unshare};

    use super::*;

    #[test]
    fn a_lock_is_held_once_and_is_for_its_owner() {
        let path = std::env::temp_dir().join(format!("vipd-locks-{}", std::process::id()));
        let dir = Dir::private(&path, 0o700).unwrap();
        let lock = FileLock::take(&dir, "lock").unwrap();
        let mode = |name: &str| fs::metadata(path.join(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode("lock"), 0o600);
        let Err(Unlocked::Held(pid)) = FileLock::take(&dir, "lock") else { panic!("taken twice") };
        assert_eq!(pid, std::process::id().to_string());
        lock.remove();
        let again = FileLock::take(&dir, "lock").unwrap();
        drop(again);
        fs::set_permissions(path.join("lock"), fs::Permissions::from_mode(0o644)).unwrap();
        let Err(Unlocked::Failed(error)) = FileLock::take(&dir, "lock") else { panic!("others may open it") };
        assert!(error.to_string().contains("mode 0600"), "{error}");
        fs::remove_dir_all(&path).unwrap();
    }

    #[test]
    fn locks_that_nobody_holds_are_removed() {
        let path = std::env::temp_dir().join(format!("vipd-stale-{}", std::process::id()));
        let dir = Dir::private(&path, 0o700).unwrap();
        let (own, held) = (FileLock::take(&dir, "net-1").unwrap(), FileLock::take(&dir, "net-2").unwrap());
        for left in ["net-3", "net-4", "other"] {
            drop(FileLock::take(&dir, left).unwrap());
        }
        remove_stale(&dir, "net-1");
        let mut names: Vec<_> =
            fs::read_dir(&path).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        assert_eq!(names, ["net-1", "net-2", "other"]);
        drop((own, held));
        fs::remove_dir_all(&path).unwrap();
    }

    #[test]
    fn a_lock_that_is_passed_on_is_held_all_the_time() {
        let path = std::env::temp_dir().join(format!("vipd-passed-{}", std::process::id()));
        let dir = Dir::private(&path, 0o700).unwrap();
        let lock = FileLock::take(&dir, "lock").unwrap();
        let passed = lock.descriptor().unwrap();
        drop(lock);
        assert!(
            matches!(FileLock::take(&dir, "lock"), Err(Unlocked::Held(_))),
            "it went with its first holder"
        );
        let taken = FileLock::passed_on(&dir, "lock", passed).unwrap();
        assert!(matches!(FileLock::take(&dir, "lock"), Err(Unlocked::Held(_))));
        // Another open file of the same name, and another file.
        let other = File::open(path.join("lock")).unwrap();
        assert!(FileLock::passed_on(&dir, "lock", other.into()).is_err(), "it is not the one that is locked");
        let other = FileLock::take(&dir, "other").unwrap().descriptor().unwrap();
        assert!(FileLock::passed_on(&dir, "lock", other).is_err(), "it is another lock");
        drop(taken);
        FileLock::take(&dir, "lock").unwrap();
        fs::remove_dir_all(&path).unwrap();
    }

    #[test]
    fn a_network_namespace_has_one_group() {
        if !nix::unistd::Uid::effective().is_root() {
            return vipd_tests::skip("needs root");
        }
        let test = || {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            let first = fanout_group().unwrap();
            assert_eq!(fanout_group().unwrap_err().raw_os_error(), Some(libc::ENOSPC));
            drop(first);
            fanout_group().unwrap();
        };
        thread::scope(|scope| scope.spawn(test).join()).unwrap();
    }
}
