//! A FIFO that lines are written to, whether or not somebody reads them yet.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{FileTypeExt, OpenOptionsExt},
    path::Path,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use nix::{
    libc,
    sys::stat::Mode,
    unistd::{Gid, Uid, chown, mkfifo},
};
use tokio::{
    io::{Interest, unix::AsyncFd},
    process::Child,
    task::{JoinHandle, spawn_local},
    time::timeout,
};

use super::queue::{Queue, Queued, drop_oldest, queue};
use crate::{
    config::Fifo,
    scripts::{self, Accounts},
};

/// A FIFO, and what reads it if vipd has started that.
#[derive(Debug)]
pub struct Writer {
    path: String,
    /// vipd has made it.
    made: bool,
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
                tracing::error!(fifo = path, error = format!("{error:#}"), "nothing is written to the FIFO");
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
                    "the reader of the FIFO cannot be run"
                );
            }
            started.ok()
        });
        Some(Self { path, made, lines, task, reader })
    }

    /// Queues a line. While nobody reads, the oldest of more than [`LINES`] are lost, and an event says so.
    pub fn write(&self, line: String) {
        self.lines.push(line);
    }

    /// Ends the reader and removes the FIFO, each if vipd has made it.
    ///
    /// What was queued is written before, if there is room for it within `limit`.
    pub async fn finish(self, limit: Duration) {
        self.lines.close();
        let abort = self.task.abort_handle();
        if timeout(limit, self.task).await.is_err() {
            tracing::warn!(fifo = self.path, "lines that nobody reads are lost");
            abort.abort();
        }
        if let Some(mut reader) = self.reader {
            scripts::end(&mut reader).await;
        }
        if self.made
            && let Err(error) = std::fs::remove_file(&self.path)
        {
            tracing::warn!(fifo = self.path, %error, "the FIFO cannot be removed");
        }
    }
}

/// Lines that wait to be read, besides the 64 KiB that the kernel keeps.
const LINES: usize = 4096;

/// The FIFO, made if it is not there, and whether it was.
fn open(path: &Path, owner: Option<(Uid, Gid)>) -> Result<(bool, AsyncFd<File>)> {
    let made = match path.symlink_metadata() {
        Ok(metadata) => {
            ensure!(metadata.file_type().is_fifo(), "{} is not a FIFO", path.display());
            false
        }
        Err(_) => {
            mkfifo(path, Mode::S_IRUSR | Mode::S_IWUSR)
                .with_context(|| format!("cannot make {}", path.display()))?;
            let (uid, gid) = owner.unzip();
            chown(path, uid, gid).with_context(|| format!("cannot give {} away", path.display()))?;
            true
        }
    };
    // Also for reading: so that it opens, and takes lines, before there is a reader, and survives one that goes.
    let file = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open(path);
    let file = file.with_context(|| format!("cannot open {}", path.display()))?;
    // SAFETY: the file owns its descriptor, and is not changed.
    let file = unsafe { AsyncFd::register_with_interest(file, Interest::WRITABLE) };
    Ok((made, file.context("watch the FIFO")?))
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
                    tracing::error!(fifo = path, %error, "a line is not written");
                    break;
                }
            }
        }
    }
}
