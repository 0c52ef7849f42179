//! The runtime directory: the lock that makes this the only vipd in it, the pid, the control socket's place.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::{
        linux::net::SocketAddrExt,
        unix::{
            fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
            net::{SocketAddr, UnixDatagram},
        },
    },
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, anyhow, bail};
use nix::fcntl::{Flock, FlockArg};

/// Name of the control socket in the runtime directory.
const SOCKET: &str = "vipd.sock";
const PID_FILE: &str = "vipd.pid";
/// Name of the file with what the kernel's verifier said to a program that it refused.
pub const VERIFIER_LOG: &str = "verifier.log";
/// Name of the abstract socket that is the lock of a network namespace.
const HOST_LOCK: &str = "vipd/host";

/// Path of the control socket.
pub fn socket(dir: &Path) -> PathBuf {
    dir.join(SOCKET)
}

/// Makes this the only vipd of its network namespace: routes and rules are recognised by their tag, whoever's they are.
///
/// An abstract unix socket belongs to the network namespace, and goes with the process.
///
/// # Errors
///
/// Another vipd runs in the network namespace, with another runtime directory.
pub fn lock_host() -> Result<UnixDatagram> {
    let address = SocketAddr::from_abstract_name(HOST_LOCK)?;
    UnixDatagram::bind_addr(&address).map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => anyhow!(
            "another vipd runs in this network namespace; put all instances into its configuration, or give this one a \
             network namespace of its own"
        ),
        _ => anyhow!(error).context("lock the network namespace"),
    })
}

/// A file with the id of this process, for who looks for it elsewhere than in the runtime directory; removed when dropped.
#[derive(Debug)]
pub struct PidFile(PathBuf);

impl PidFile {
    /// Writes it, over what may be there.
    pub fn write(path: &Path) -> Result<Self> {
        fs::write(path, format!("{}\n", std::process::id()))
            .with_context(|| format!("write the process id to {}", path.display()))?;
        Ok(Self(path.to_owned()))
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.0) {
            tracing::debug!(path = %self.0.display(), %error, "not removed");
        }
    }
}

/// A runtime directory that this process holds the lock of.
#[derive(Debug)]
pub struct RuntimeDir {
    dir: PathBuf,
    _lock: Flock<File>,
}

impl RuntimeDir {
    /// Makes the directory (mode 0755) and takes its lock, which the kernel drops with the process.
    ///
    /// # Errors
    ///
    /// Another vipd runs with the same directory; its pid is named.
    pub fn lock(dir: &Path) -> Result<Self> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(dir)
            .with_context(|| format!("create the runtime directory {}", dir.display()))?;
        let path = dir.join(PID_FILE);
        let mut lock = loop {
            let lock = Self::try_lock(dir, &path)?;
            // A vipd that has just stopped has removed the file it had locked: that lock is worth nothing.
            if fs::metadata(&path)
                .is_ok_and(|named| lock.metadata().is_ok_and(|held| held.ino() == named.ino()))
            {
                break lock;
            }
        };
        lock.set_len(0)?;
        writeln!(lock, "{}", std::process::id())?;
        Ok(Self { dir: dir.to_owned(), _lock: lock })
    }

    fn try_lock(dir: &Path, path: &Path) -> Result<Flock<File>> {
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .mode(0o644)
            .open(path)
            .with_context(|| format!("open {}", path.display()))?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(lock),
            Err((mut file, nix::Error::EWOULDBLOCK)) => {
                let mut pid = String::new();
                file.read_to_string(&mut pid)?;
                bail!("vipd already runs with {}, as pid {}", dir.display(), pid.trim());
            }
            Err((_, error)) => Err(error).with_context(|| format!("lock {}", path.display())),
        }
    }

    pub fn path(&self) -> &Path {
        &self.dir
    }

    /// Keeps a text in a file of this name, mode 0600, in place of one that is there. Returns its path.
    ///
    /// The file outlives the process. A link of that name is replaced, not followed.
    pub fn keep(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.dir.join(name);
        let written = match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => OpenOptions::new()
                .create_new(true)
                .write(true)
                .mode(0o600)
                .open(&path)
                .and_then(|mut file| file.write_all(text.as_bytes())),
        };
        written.with_context(|| format!("write {}", path.display()))?;
        Ok(path)
    }

    /// Removes what this process made in the directory. The lock goes last, with the process.
    pub fn clean(&self) {
        for path in [socket(&self.dir), self.dir.join(PID_FILE)] {
            if let Err(error) = fs::remove_file(&path) {
                tracing::debug!(path = %path.display(), %error, "not removed");
            }
        }
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
        assert!(error.contains("verifier.log: No such file"), "{error}");
    }
}
