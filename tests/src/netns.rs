//! One network namespace: made, entered, deleted.
//!
//! Entering changes the network namespace only. `ip netns exec` would also give a private mount namespace, in
//! which pins on bpffs vanish with the command.

use std::{
    fs::File,
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::process::CommandExt,
    },
    panic::resume_unwind,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

use anyhow::{Context, Result};
use nix::sched::{CloneFlags, setns};

use crate::checked;

/// A handle on a named network namespace; the last handle of a created one deletes it.
#[derive(Debug, Clone)]
pub struct Netns(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    name: String,
    fd: OwnedFd,
    delete: AtomicBool,
}

impl Netns {
    /// Creates a namespace; the name must be new.
    pub fn create(name: &str) -> Result<Self> {
        checked(Command::new("ip").args(["netns", "add", name]))?;
        let ns = Self::open(name)?;
        ns.0.delete.store(true, Ordering::Relaxed);
        checked(Command::new("ip").args(["-n", name, "link", "set", "dev", "lo", "up"]))?;
        Ok(ns)
    }

    /// Opens an existing namespace, which dropping then leaves alone.
    pub fn open(name: &str) -> Result<Self> {
        let path = path_of(name);
        let fd =
            File::open(&path).with_context(|| format!("no network namespace {}", path.display()))?.into();
        Ok(Self(Arc::new(Inner { name: name.to_owned(), fd, delete: AtomicBool::new(false) })))
    }

    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Makes dropping leave the namespace alone.
    pub fn keep(&self) {
        self.0.delete.store(false, Ordering::Relaxed);
    }

    /// Runs `f` inside the namespace, on a thread of its own, and returns its result.
    pub fn run<T: Send>(&self, f: impl FnOnce() -> T + Send) -> Result<T> {
        thread::scope(|scope| {
            let worker = scope.spawn(|| {
                self.enter()?;
                Ok(f())
            });
            worker.join().unwrap_or_else(|panic| resume_unwind(panic))
        })
    }

    /// Starts a thread inside the namespace. Threads that it starts are in the namespace too.
    pub fn spawn<T: Send + 'static>(
        &self,
        name: &str,
        f: impl FnOnce() -> T + Send + 'static,
    ) -> Result<JoinHandle<Result<T>>> {
        let ns = self.clone();
        thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                ns.enter()?;
                Ok(f())
            })
            .with_context(|| format!("cannot start thread {name}"))
    }

    /// A command that will run inside the namespace.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        let ns = self.0.clone();
        // SAFETY: between fork and exec the closure makes one system call, which is async-signal-safe; it
        // allocates nothing, and the descriptor is open because the closure owns the handle.
        unsafe {
            command.pre_exec(move || {
                if libc::setns(ns.fd.as_raw_fd(), libc::CLONE_NEWNET) == 0 {
                    Ok(())
                } else {
                    Err(std::io::Error::last_os_error())
                }
            });
        }
        command
    }

    /// Sets a sysctl of the namespace, given as a path below `/proc/sys`.
    pub fn sysctl(&self, path: &str, value: &str) -> Result<()> {
        let file = Path::new("/proc/sys").join(path);
        self.run(|| std::fs::write(&file, value))?
            .with_context(|| format!("cannot set {} to {value} in {}", file.display(), self.name()))
    }

    fn enter(&self) -> Result<()> {
        setns(self.0.fd.as_fd(), CloneFlags::CLONE_NEWNET)
            .with_context(|| format!("cannot enter network namespace {}", self.0.name))
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if self.delete.load(Ordering::Relaxed) && path_of(&self.name).exists() {
            let _ = Command::new("ip").args(["netns", "del", &self.name]).output();
        }
    }
}

fn path_of(name: &str) -> PathBuf {
    Path::new("/run/netns").join(name)
}
