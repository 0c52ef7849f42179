//! What makes this process the only vipd of its runtime directory and of its network namespace: taken at the start, or passed on by the
//! vipd that it replaces.

use std::{
    cell::{Cell, OnceCell},
    os::fd::OwnedFd,
    path::Path,
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail};

use super::{
    locks::{self, HostLock, Running},
    options::Options,
    runtime_dir::{PidFile, RuntimeDir},
};

/// How often a vipd to be replaced is looked for, and the pause between: longer than between its looks at its own files.
const PATIENCE: u32 = 10;
const PAUSE: Duration = Duration::from_millis(500);

/// The locks, and what says who has them. Dropped in this order: a waiting successor takes the runtime directory first.
#[derive(Debug)]
pub struct Exclusive {
    pid_file: OnceCell<PidFile>,
    host: OnceCell<HostLock>,
    dir: RuntimeDir,
    /// They are still another vipd's, whose id this is.
    replaces: Option<String>,
    /// Descriptors of the locks are on their way to a successor.
    is_passing_on: Cell<bool>,
}

impl Exclusive {
    /// Takes the locks; with `--replace` it is enough that one vipd has them all.
    ///
    /// # Errors
    ///
    /// [`Running`]: another vipd has them.
    pub fn take(options: &Options) -> Result<Self> {
        let mut taken = Self::take_now(options);
        for _ in 0..PATIENCE {
            // With --replace a vipd that runs has its runtime directory locked, unless somebody has just wiped that.
            match &taken {
                Err(error) if options.replace && error.is::<Running>() => {}
                _ => return taken,
            }
            thread::sleep(PAUSE);
            taken = Self::take_now(options);
        }
        let dir = options.runtime_dir.display();
        taken.with_context(|| {
            format!("there is no vipd to replace with {dir}: it is another one's, or was wiped, and vipd makes it again within seconds")
        })
    }

    fn take_now(options: &Options) -> Result<Self> {
        let dir = match RuntimeDir::lock(&options.runtime_dir) {
            Ok(dir) => dir,
            Err(error) if options.replace => return Self::of_another(options, error),
            Err(error) => return Err(error),
        };
        let exclusive = Self::of(dir, None);
        let host = HostLock::take().and_then(|host| {
            let _ = exclusive.host.set(host);
            exclusive.write_pid_file(options.pid_file.as_deref())
        });
        if let Err(error) = host {
            exclusive.release();
            return Err(error);
        }
        Ok(exclusive)
    }

    fn of_another(options: &Options, error: anyhow::Error) -> Result<Self> {
        let Some(pid) = error.downcast_ref::<Running>().and_then(|running| running.pid.clone()) else {
            return Err(error);
        };
        match HostLock::take() {
            Ok(_) => bail!(
                "the vipd that runs with {}, pid {pid}, is in another network namespace; --replace has to run in the same one",
                options.runtime_dir.display()
            ),
            Err(error) => match error.downcast_ref::<Running>() {
                Some(running) if running.pid.as_ref() == Some(&pid) => {}
                _ => return Err(error),
            },
        }
        let dir = RuntimeDir::of_another(&options.runtime_dir);
        Ok(Self::of(dir, Some(pid)))
    }

    fn of(dir: RuntimeDir, replaces: Option<String>) -> Self {
        let (pid_file, host, is_passing_on) = (OnceCell::new(), OnceCell::new(), Cell::new(false));
        Self { pid_file, host, dir, replaces, is_passing_on }
    }

    /// The id of the vipd that still has the locks.
    pub fn replaces(&self) -> Option<&str> {
        self.replaces.as_deref()
    }

    /// The runtime directory.
    pub fn dir(&self) -> &RuntimeDir {
        &self.dir
    }

    /// Takes what the vipd before has passed on: from here on this is the only one. To be [signed](Self::sign).
    pub fn take_over(&self, locks: Vec<OwnedFd>) -> Result<()> {
        let mut locks = locks.into_iter();
        let (Some(dir), Some(host)) = (locks.next(), locks.next()) else {
            bail!("the running vipd passed no locks on");
        };
        let host =
            HostLock::passed_on(host, locks.next()).context("take over the lock of the network namespace")?;
        self.dir.take_over(dir).context("take over the lock of the runtime directory")?;
        // It is taken over once.
        let _ = self.host.set(host);
        Ok(())
    }

    /// Puts the id of this process where others look for it. It waits for a disk, if the runtime directory is on one.
    pub fn sign(&self, pid_file: Option<&Path>) -> Result<()> {
        self.dir.sign()?;
        if let Some(host) = self.host.get() {
            host.sign()?;
        }
        self.write_pid_file(pid_file)
    }

    /// Makes again what somebody has removed of the locks and of what says who has them; returns what was missing.
    ///
    /// A lock that is made again is another file. So nothing is made while descriptors are passed on: the successor does it.
    ///
    /// # Errors
    ///
    /// Another vipd has taken the place meanwhile.
    pub fn restore(&self) -> Result<Vec<String>> {
        if self.is_passing_on() {
            return Ok(Vec::new());
        }
        let mut restored = self.dir.restore()?;
        if let Some(host) = self.host.get() {
            restored.extend(host.restore()?);
        }
        Ok(restored)
    }

    /// The locks, to be passed on, unless [that fails](Self::retain).
    pub fn descriptors(&self) -> Result<Vec<OwnedFd>> {
        // A successor takes over no lock that has lost its name.
        self.restore()?;
        let mut locks = vec![self.dir.descriptor()?];
        locks.extend(self.host.get().context("the network namespace is not locked")?.descriptors()?);
        self.is_passing_on.set(true);
        Ok(locks)
    }

    /// Whether the locks are on their way to a successor, or have reached it.
    pub fn is_passing_on(&self) -> bool {
        self.is_passing_on.get() || locks::are_passed_on()
    }

    /// The locks were not passed on after all.
    pub fn retain(&self) {
        self.is_passing_on.set(false);
    }

    /// Gives all of it up, unless it was passed on.
    pub fn release(self) {
        let Self { pid_file, host, dir, .. } = self;
        drop(pid_file);
        drop(host);
        dir.clean();
    }

    fn write_pid_file(&self, path: Option<&Path>) -> Result<()> {
        if let Some(written) = path.map(PidFile::write).transpose()? {
            let _ = self.pid_file.set(written);
        }
        Ok(())
    }
}
