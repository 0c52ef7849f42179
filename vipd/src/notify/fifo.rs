//! A FIFO for notification lines, with or without a reader.

use std::{
    ffi::OsString,
    fs::File,
    io::{self, Write},
    path::Path,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use nix::{
    errno::Errno,
    fcntl::OFlag,
    sys::stat::{FileStat, Mode, SFlag, fstat},
    unistd::{Gid, Uid, fchown, mkfifoat},
};
use tokio::{
    io::{Interest, unix::AsyncFd},
    process::Child,
    task::{JoinHandle, spawn_local},
    time::timeout,
};
use vipd_config::Fifo;

use super::queue::{Queue, Queued, drop_oldest, queue};
use crate::{
    files::{self, Dir},
    scripts::{self, Accounts},
};

/// A FIFO, and its reader script if vipd has started one.
#[derive(Debug)]
pub struct Writer {
    path: String,
    /// Set if vipd has created the FIFO.
    made: Option<Made>,
    lines: Queue<String>,
    task: JoinHandle<()>,
    reader: Option<Child>,
}

impl Writer {
    /// `None`, with a message, if it cannot be opened.
    pub fn start(fifo: &Fifo, accounts: &Accounts) -> Option<Self> {
        let path = fifo.path.clone();
        let opened = accounts.owner(fifo.owner.as_ref()).map_err(anyhow::Error::from);
        let (made, file) = match opened.and_then(|owner| open(Path::new(&path), owner)) {
            Ok(opened) => opened,
            Err(error) => {
                tracing::error!(fifo = path, error = format!("{error:#}"), "the FIFO cannot be used");
                return None;
            }
        };
        let (lines, queued) = queue(LINES, drop_oldest, "fifo", path.clone());
        let task = spawn_local(write(path.clone(), file, queued));
        let reader = fifo.reader.as_ref().and_then(|command| {
            let started = accounts.resolve(command).map_err(anyhow::Error::from);
            let started = started.and_then(|executable| Ok(executable.spawn(&[&path])?));
            if let Err(error) = &started {
                tracing::error!(
                    fifo = path,
                    error = format!("{error:#}"),
                    "the FIFO's reader script cannot be run"
                );
            }
            started.ok()
        });
        Some(Self { path, made, lines, task, reader })
    }

    /// Queues a line. Without a reader the oldest of more than [`LINES`] are dropped, with an event.
    pub fn write(&self, line: String) {
        self.lines.push(line);
    }

    /// Ends the reader and removes the FIFO, each only if vipd has created it.
    ///
    /// Queued lines are written before, if there is room within `limit`.
    pub async fn finish(self, limit: Duration) {
        self.lines.close();
        let abort = self.task.abort_handle();
        if timeout(limit, self.task).await.is_err() {
            tracing::warn!(fifo = self.path, "unread lines of the FIFO are dropped");
            abort.abort();
        }
        if let Some(mut reader) = self.reader {
            scripts::end(&mut reader).await;
        }
        if let Some(made) = self.made
            && let Err(error) = made.remove()
        {
            tracing::warn!(fifo = self.path, error = format!("{error:#}"), "the FIFO cannot be removed");
        }
    }
}

/// Lines that wait, besides the 64 KiB that the kernel keeps.
const LINES: usize = 4096;

/// A FIFO that vipd has created, and its directory.
#[derive(Debug)]
struct Made {
    dir: Dir,
    name: OsString,
    inode: u64,
}

impl Made {
    /// Removes the FIFO, unless another file is in its place.
    fn remove(self) -> Result<()> {
        let there = self.dir.stat(&self.name)?;
        ensure!(there.st_ino == self.inode, "another file is in its place");
        Ok(self.dir.remove(&self.name)?)
    }
}

/// Opens the FIFO, creates it if it does not exist, and returns what to remove in the end.
///
/// Other users may write to its directory, and may put a link or another file in its place after each step. So it is examined, opened and
/// given to its owner by descriptor.
fn open(path: &Path, owner: Option<(Uid, Gid)>) -> Result<(Option<Made>, AsyncFd<File>)> {
    let (dir, name) = Dir::of(path)?;
    let new = match mkfifoat(&dir, name, Mode::S_IRUSR | Mode::S_IWUSR) {
        Ok(()) => true,
        Err(Errno::EEXIST) => false,
        Err(error) => return Err(error).with_context(|| format!("cannot make {}", path.display())),
    };
    let there =
        dir.open_at(name, OFlag::O_PATH, 0).with_context(|| format!("cannot open {}", path.display()))?;
    let found = fstat(&there)?;
    ensure!(files::kind(found.st_mode) == SFlag::S_IFIFO, "{} is not a FIFO", path.display());
    let me = Uid::effective();
    if new {
        ensure!(
            found.st_uid == me.as_raw() && found.st_nlink == 1,
            "{} was replaced while vipd made it: others may write to its directory; put it where they may not, such as /run",
            path.display()
        );
    } else {
        check_owner(path, &dir, &found, owner)?;
    }
    // Also for reading: so that it opens, and takes lines, before there is a reader, and survives one that goes.
    let file =
        files::reopen(&there, OFlag::O_RDWR).with_context(|| format!("cannot open {}", path.display()))?;
    if new && let Some((uid, gid)) = owner {
        fchown(&file, Some(uid), Some(gid))
            .with_context(|| format!("cannot give {} away", path.display()))?;
    }
    // SAFETY: the file owns its descriptor, and is not changed.
    let file = unsafe { AsyncFd::register_with_interest(file, Interest::WRITABLE) };
    let file = file.context("watch the FIFO")?;
    let made = new.then(|| Made { name: name.to_owned(), inode: found.st_ino, dir });
    Ok((made, file))
}

/// Whether an existing FIFO is the operator's: no other user can have put it there.
fn check_owner(path: &Path, dir: &Dir, found: &FileStat, owner: Option<(Uid, Gid)>) -> Result<()> {
    // Another name of a FIFO that is elsewhere: its readers would get our lines for theirs.
    ensure!(
        found.st_nlink == 1,
        "{} has {} names (hard links): it may be another program's; remove it",
        path.display(),
        found.st_nlink
    );
    let wanted = [Some(Uid::effective()), owner.map(|(uid, _)| uid)];
    if wanted.into_iter().flatten().any(|uid| uid.as_raw() == found.st_uid) {
        return Ok(());
    }
    let around = fstat(dir)?;
    if !files::others_may_write(around.st_mode, around.st_gid) && [0, found.st_uid].contains(&around.st_uid) {
        return Ok(());
    }
    bail!(
        "{} belongs to uid {}, and others may write to its directory: name its owner after the path, or remove it, or put it where \
         they may not, such as /run",
        path.display(),
        found.st_uid
    )
}

async fn write(path: String, file: AsyncFd<File>, mut lines: Queued<String>) {
    while let Some(line) = lines.next().await {
        let mut left = line.as_bytes();
        while !left.is_empty() {
            let written = file.async_io(Interest::WRITABLE, |mut file: &File| file.write(left)).await;
            match written {
                Ok(count) => left = &left[count..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    tracing::error!(fifo = path, %error, "a line could not be written to the FIFO");
                    break;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink},
        path::PathBuf,
    };

    use super::*;

    /// A directory where everybody may make files, gone with the test.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let dir = std::env::temp_dir().join(format!("vipd-fifo-{}-{name}", std::process::id()));
            fs::create_dir(&dir).unwrap();
            fs::set_permissions(&dir, fs::Permissions::from_mode(0o1777)).unwrap();
            Self(dir)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    /// What `open` says, on a runtime as it needs one.
    fn opened(path: &Path, owner: Option<(Uid, Gid)>) -> Result<Option<Made>, String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime
            .block_on(async { open(path, owner).map(|(made, _)| made).map_err(|error| format!("{error:#}")) })
    }

    #[test]
    fn a_fifo_is_made_given_away_and_removed() {
        if !Uid::effective().is_root() {
            return vipd_tests::skip("needs root");
        }
        let scratch = Scratch::new("made");
        let path = scratch.0.join("fifo");
        let owner = Some((Uid::from_raw(12345), Gid::from_raw(54321)));
        let made = opened(&path, owner).unwrap().unwrap();
        let there = fs::symlink_metadata(&path).unwrap();
        assert_eq!((there.uid(), there.gid(), there.mode() & 0o777), (12345, 54321, 0o600));
        assert!(opened(&path, owner).unwrap().is_none(), "it is not vipd's to remove");
        made.remove().unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn what_others_have_put_there_is_not_written_to() {
        if !Uid::effective().is_root() {
            return vipd_tests::skip("needs root");
        }
        let scratch = Scratch::new("others");
        let (path, elsewhere) = (scratch.0.join("fifo"), scratch.0.join("elsewhere"));
        nix::unistd::mkfifo(&elsewhere, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
        let owner = Some((Uid::from_raw(12345), Gid::from_raw(12345)));
        symlink(&elsewhere, &path).unwrap();
        let error = opened(&path, owner).unwrap_err();
        assert!(error.contains("is not a FIFO"), "{error}");
        fs::remove_file(&path).unwrap();
        fs::hard_link(&elsewhere, &path).unwrap();
        let error = opened(&path, owner).unwrap_err();
        assert!(error.contains("2 names"), "{error}");
        assert_eq!(fs::metadata(&elsewhere).unwrap().uid(), 0, "it was given away");
        fs::remove_file(&path).unwrap();
        chown(&elsewhere, Some(777), None).unwrap();
        let error = opened(&elsewhere, owner).unwrap_err();
        assert!(error.contains("belongs to uid 777"), "{error}");
        // Where nobody else may make files it is the operator's choice.
        fs::set_permissions(&scratch.0, fs::Permissions::from_mode(0o755)).unwrap();
        opened(&elsewhere, owner).unwrap();
    }
}
