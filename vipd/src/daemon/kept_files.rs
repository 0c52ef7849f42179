//! The files of the runtime directory while vipd runs: the sockets, the locks, the process id. Somebody may wipe the directory, and
//! then nobody could reach vipd, and another one could start beside it.

use std::{
    future::{Future, pending},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    pin::Pin,
    rc::Weak,
    time::Duration,
};

use anyhow::Result;
use tokio::{net::UnixListener, sync::mpsc, time::sleep};

use super::{exclusive::Exclusive, runtime_dir, status_socket::StatusSocket};
use crate::{
    control::{self, PendingRequest, Role, capture::Captures},
    events::Journal,
    host::Repairs,
};

/// What has come of a look at the files.
#[derive(Debug)]
pub struct FilesReport {
    pub repairs: Repairs,
    /// Since the look before.
    pub missing: Duration,
    /// Why files cannot be put back.
    pub problem: Option<String>,
}

/// What requests are answered from.
pub type Answering = (mpsc::Sender<PendingRequest>, Journal, Captures);

/// What is kept. The locks are held by [`Exclusive`], which outlives the daemon's tasks.
pub struct KeptFiles {
    exclusive: Weak<Exclusive>,
    status_socket: StatusSocket,
    answering: Answering,
    control: Served,
    status: Served,
}

/// A socket, and what accepts its connections for ever.
struct Served {
    path: PathBuf,
    /// Of the socket as it was made.
    inode: Option<u64>,
    accepting: Pin<Box<dyn Future<Output = ()>>>,
}

impl KeptFiles {
    /// Those of a runtime directory; there is no socket yet.
    pub fn new(exclusive: Weak<Exclusive>, status_socket: StatusSocket, answering: Answering) -> Self {
        let dir = exclusive.upgrade().map(|exclusive| exclusive.dir().path().to_owned()).unwrap_or_default();
        let control = Served::new(runtime_dir::socket(&dir));
        let status = Served::new(status_socket.path().to_owned());
        Self { exclusive, status_socket, answering, control, status }
    }

    /// Makes the sockets that are missing; returns their names. Clients wait until [`Self::keep`] serves them.
    pub fn make(&mut self) -> Result<Vec<String>> {
        let mut made = Vec::new();
        if !self.control.is_in_place() {
            self.control.serve(control::bind(&self.control.path)?, Role::Everything, &self.answering);
            made.push(format!("control socket {}", self.control.path.display()));
        }
        if !self.status.is_in_place() {
            self.status.serve(self.status_socket.bind()?, Role::Show, &self.answering);
            made.push(format!("status socket {}", self.status.path.display()));
        }
        Ok(made)
    }

    /// Serves the sockets for ever, and every `period` puts back what somebody has removed. Aborted with the daemon, as
    /// [`control::serve`].
    pub async fn keep(mut self, reports_tx: mpsc::Sender<FilesReport>, period: Duration) {
        let mut refused = None;
        loop {
            tokio::select! {
                () = &mut self.control.accepting => return,
                () = &mut self.status.accepting => return,
                () = sleep(period) => {}
            }
            let mut repairs = Repairs::default();
            let problem = self.restore(&mut repairs).err().map(|error| format!("{error:#}"));
            if !repairs.is_empty() || problem != refused {
                refused.clone_from(&problem);
                // Full: the main thread has enough to tell. Closed: the daemon is about to end.
                let _ = reports_tx.try_send(FilesReport { repairs, missing: period, problem });
            }
        }
    }

    fn restore(&mut self, repairs: &mut Repairs) -> Result<()> {
        // Without it the daemon is about to end.
        let Some(exclusive) = self.exclusive.upgrade().filter(|exclusive| !exclusive.is_passing_on()) else {
            return Ok(());
        };
        repairs.note_all("file", exclusive.restore()?);
        repairs.note_all("file", self.make()?);
        Ok(())
    }
}

impl Served {
    /// Not made yet.
    fn new(path: PathBuf) -> Self {
        Self { path, inode: None, accepting: Box::pin(pending()) }
    }

    fn is_in_place(&self) -> bool {
        self.inode.is_some() && self.inode == inode(&self.path)
    }

    /// Accepts the connections of a new socket. The former socket is closed; its connections stay.
    fn serve(&mut self, listener: UnixListener, role: Role, (commands, journal, captures): &Answering) {
        self.inode = inode(&self.path);
        let (commands, journal, captures) = (commands.clone(), journal.clone(), captures.clone());
        self.accepting = Box::pin(control::serve(listener, role, commands, journal, captures));
    }
}

fn inode(path: &Path) -> Option<u64> {
    path.symlink_metadata().ok().map(|metadata| metadata.ino())
}
