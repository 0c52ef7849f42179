//! The locks that make a vipd the only one of its runtime directory, and the only one of its network namespace.
//!
//! A lock is a file of mode 0600 in a directory that root alone may write to, held by flock(2): whoever can open a file can lock it, and
//! whoever can write to its directory can put another file in its place. The kernel drops the lock with the process.
//!
//! The lock of a network namespace is named by the namespace's inode, in a directory of `/run`. A vipd in a container may have another
//! `/run` and the same network, so a fanout group of a packet socket is the lock once more: the kernel keeps such groups for each network
//! namespace, and takes CAP_NET_RAW for a packet socket.

use std::{
    cell::RefCell,
    fs::{self, File},
    io::{self, Read, Write},
    mem,
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd},
        unix::fs::MetadataExt,
    },
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use nix::{
    fcntl::{Flock, FlockArg, OFlag},
    libc,
};

use crate::{files::Dir, socket_filter::drop_all};

/// The parent of [`DIR`], which is the runtime directory unless another one is named.
const PARENT: &str = "/run/vipd";
/// Where the locks of network namespaces are.
const DIR: &str = "/run/vipd/locks";
/// Only its owner may open a lock.
const MODE: u32 = 0o600;

/// A file that this process has locked.
#[derive(Debug)]
pub struct FileLock {
    path: PathBuf,
    file: Flock<File>,
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
        let mut file = loop {
            let file = Self::open(dir, name).map_err(Unlocked::Failed)?;
            let lock = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(lock) => lock,
                Err((mut file, nix::Error::EWOULDBLOCK)) => {
                    let mut pid = String::new();
                    // Who holds it is for the message only.
                    let _ = file.read_to_string(&mut pid);
                    return Err(Unlocked::Held(pid.trim().to_owned()));
                }
                Err((_, error)) => {
                    let error = anyhow::Error::from(error).context(format!("lock {}", path.display()));
                    return Err(Unlocked::Failed(error));
                }
            };
            // A vipd that has just stopped has removed the file it had locked: that lock is worth nothing.
            if dir
                .stat(name.as_ref())
                .is_ok_and(|named| lock.metadata().is_ok_and(|held| held.ino() == named.st_ino))
            {
                break lock;
            }
        };
        let write = |file: &mut File| {
            file.set_len(0)?;
            writeln!(file, "{}", std::process::id())
        };
        write(&mut file).with_context(|| format!("write {}", path.display())).map_err(Unlocked::Failed)?;
        Ok(Self { path, file })
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
        named.is_ok_and(|named| self.file.metadata().is_ok_and(|held| held.ino() == named.ino()))
    }

    /// Removes the file, while it is still locked.
    pub fn remove(&self) {
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::debug!(path = %self.path.display(), %error, "not removed");
        }
    }
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
    _group: Option<OwnedFd>,
}

impl HostLock {
    /// Makes this the only vipd of its network namespace: routes and rules are recognised by their tag, whoever's they are.
    ///
    /// # Errors
    ///
    /// Another vipd runs in the network namespace, with another runtime directory.
    pub fn take() -> Result<Self> {
        let namespace = fs::metadata("/proc/thread-self/ns/net").context("look at the network namespace")?;
        let file = Self::take_file(&format!("net-{}-{}", namespace.dev(), namespace.ino()))?;
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
        Ok(Self { file: RefCell::new(file), _group: group })
    }

    /// Takes the lock's file again if somebody has removed it; its name then. The group of the packet socket is held meanwhile.
    pub fn restore(&self) -> Result<Option<String>> {
        let mut file = self.file.borrow_mut();
        if file.is_in_place() {
            return Ok(None);
        }
        let path = file.path.clone();
        *file = Self::take_file(path.file_name().unwrap_or_default().to_str().unwrap_or_default())?;
        Ok(Some(format!("file {}", path.display())))
    }

    fn take_file(name: &str) -> Result<FileLock> {
        Dir::private(Path::new(PARENT), 0o755)?;
        let dir = Dir::private(Path::new(DIR), 0o700)?;
        match FileLock::take(&dir, name) {
            Ok(file) => Ok(file),
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
