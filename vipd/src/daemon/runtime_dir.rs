//! The runtime directory, whose lock makes this the only vipd in it: the pid, the control socket's place.

use std::{
    cell::RefCell,
    fs,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use super::{
    locks::{self, FileLock, Running, Unlocked},
    services::STATE_FILE,
};
use crate::{
    control::status_socket,
    files::{self, Dir},
};

/// Name of the control socket in the runtime directory.
const SOCKET: &str = "vipd.sock";
const PID_FILE: &str = "vipd.pid";
const LOCK: &str = "vipd.lock";
/// Name of the file with what the kernel's verifier said to a program that it refused.
pub const VERIFIER_LOG: &str = "verifier.log";

/// Path of the control socket.
pub fn socket(dir: &Path) -> PathBuf {
    dir.join(SOCKET)
}

/// A file with the id of this process, for who looks for it; removed when dropped. It is no lock: everybody may open it.
#[derive(Debug)]
pub struct PidFile(PathBuf);

impl PidFile {
    /// Puts it in the place of what may be there.
    pub fn write(path: &Path) -> Result<Self> {
        files::replace(path, &format!("{}\n", std::process::id()), 0o644)
            .with_context(|| format!("write the process id to {}", path.display()))?;
        Ok(Self(path.to_owned()))
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        if locks::are_passed_on() {
            return;
        }
        // As it was written: through no link of somebody else.
        let removed = Dir::of(&self.0).and_then(|(dir, name)| Ok(dir.remove(name)?));
        if let Err(error) = removed {
            tracing::debug!(path = %self.0.display(), error = format!("{error:#}"), "not removed");
        }
    }
}

/// A runtime directory that this process holds the lock of.
#[derive(Debug)]
pub struct RuntimeDir {
    dir: PathBuf,
    /// Not there while another vipd still has it.
    lock: RefCell<Option<FileLock>>,
}

impl RuntimeDir {
    /// Makes the directory (mode 0755) and takes its lock, which the kernel drops with the process.
    ///
    /// # Errors
    ///
    /// Another vipd runs with the same directory; its pid is named. The directory is one where others may make files.
    pub fn lock(dir: &Path) -> Result<Self> {
        let locked = Self::lock_alone(dir)?;
        locked.sign()?;
        Ok(locked)
    }

    /// That of a vipd that runs, which is to pass its lock on.
    pub fn of_another(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), lock: RefCell::new(None) }
    }

    /// Takes the lock that was passed on; to be [signed](Self::sign).
    pub fn take_over(&self, lock: OwnedFd) -> Result<()> {
        let opened = Dir::private(&self.dir, 0o755).context("open the runtime directory")?;
        let lock = FileLock::passed_on(&opened, LOCK, lock)?;
        self.lock.replace(Some(lock));
        Ok(())
    }

    /// The lock, to be passed on.
    pub fn descriptor(&self) -> Result<OwnedFd> {
        let lock = self.lock.borrow();
        Ok(lock.as_ref().context("the runtime directory is not locked")?.descriptor()?)
    }

    /// Puts the id of this process where others look for it.
    pub fn sign(&self) -> Result<()> {
        if let Some(lock) = &*self.lock.borrow() {
            lock.sign()?;
        }
        files::replace(&self.dir.join(PID_FILE), &format!("{}\n", std::process::id()), 0o644)
    }

    /// As [`Self::lock`], but leaves the id of the vipd that had it, and its socket.
    pub fn lock_alone(dir: &Path) -> Result<Self> {
        let opened = Dir::private(dir, 0o755).context("open the runtime directory")?;
        match FileLock::take(&opened, LOCK) {
            Ok(lock) => Ok(Self { dir: dir.to_owned(), lock: RefCell::new(Some(lock)) }),
            Err(Unlocked::Held(pid)) => {
                let message = format!("vipd already runs with {}, as pid {pid}", dir.display());
                Err(Running::new(Some(&pid), message).into())
            }
            Err(Unlocked::Failed(error)) => Err(error),
        }
    }

    /// Makes the directory, its lock and the file with this process's id again if somebody has removed them; returns what was missing.
    ///
    /// # Errors
    ///
    /// Another vipd has taken the place meanwhile.
    pub fn restore(&self) -> Result<Vec<String>> {
        let mut restored = Vec::new();
        let mut note = |name: &str| restored.push(format!("file {}", self.dir.join(name).display()));
        if !self.lock.borrow().as_ref().is_some_and(FileLock::is_in_place) {
            let Self { lock, .. } = Self::lock_alone(&self.dir)?;
            self.lock.swap(&lock);
            note(LOCK);
        }
        let pid = self.dir.join(PID_FILE);
        if pid.symlink_metadata().is_err() {
            files::replace(&pid, &format!("{}\n", std::process::id()), 0o644)?;
            note(PID_FILE);
        }
        Ok(restored)
    }

    pub fn path(&self) -> &Path {
        &self.dir
    }

    /// Keeps a text in a file of this name, mode 0600, in place of one that is there. Returns its path.
    ///
    /// The file outlives the process. A link of that name is replaced, not followed.
    pub fn keep(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.dir.join(name);
        files::replace(&path, text, 0o600)?;
        Ok(path)
    }

    /// What a vipd leaves in a runtime directory, beside what is saved of the host.
    pub fn leftovers(dir: &Path) -> impl Iterator<Item = PathBuf> {
        let paths = [SOCKET, PID_FILE, VERIFIER_LOG, STATE_FILE].map(|name| dir.join(name));
        paths.into_iter().chain([status_socket(&socket(dir))]).filter(|path| path.symlink_metadata().is_ok())
    }

    /// Removes the lock's file, which says nothing once its holder has ended.
    pub fn unlock(self) {
        if let Some(lock) = &*self.lock.borrow() {
            lock.remove();
        }
    }

    /// Removes what this process made in the directory. The lock goes last, with the process.
    pub fn clean(&self) {
        // Without the lock all of it is another vipd's.
        let lock = self.lock.borrow();
        let Some(lock) = lock.as_ref().filter(|_| !locks::are_passed_on()) else { return };
        let socket = socket(&self.dir);
        for path in [status_socket(&socket), socket, self.dir.join(PID_FILE)] {
            if let Err(error) = fs::remove_file(&path) {
                tracing::debug!(path = %path.display(), %error, "not removed");
            }
        }
        lock.remove();
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn a_text_is_kept_for_its_owner_and_through_no_link() {
        let dir = std::env::temp_dir().join(format!("vipd-runtime-{}", std::process::id()));
        let runtime = RuntimeDir::lock(&dir).unwrap();
        let elsewhere = dir.join("elsewhere");
        fs::write(&elsewhere, "precious").unwrap();
        symlink(&elsewhere, dir.join("verifier.log")).unwrap();
        for text in ["a long first text", "short"] {
            let path = runtime.keep("verifier.log", text).unwrap();
            assert_eq!(path, dir.join("verifier.log"));
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
            let metadata = fs::symlink_metadata(&path).unwrap();
            assert!(metadata.is_file() && metadata.permissions().mode() & 0o777 == 0o600, "{metadata:?}");
        }
        assert_eq!(fs::read_to_string(&elsewhere).unwrap(), "precious");
        fs::remove_dir_all(&dir).unwrap();
        let error = format!("{:#}", runtime.keep("verifier.log", "text").unwrap_err());
        assert!(error.contains("No such file"), "{error}");
    }
}
