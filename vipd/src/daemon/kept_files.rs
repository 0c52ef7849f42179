//! The files of the runtime directory while vipd runs: the control socket, the locks, the process id. Somebody may wipe the directory, and
//! then nobody could reach vipd, and another one could start beside it.

use std::{
    os::unix::fs::MetadataExt,
    path::PathBuf,
    rc::{Rc, Weak},
    time::Duration,
};

use anyhow::Result;
use tokio::{net::UnixListener, sync::mpsc, time::sleep};

use super::{
    locks::HostLock,
    runtime_dir::{self, RuntimeDir},
};
use crate::{
    control::{self, PendingRequest},
    events::Journal,
    host::Repairs,
};

/// What is kept. The locks are held by others, which let go of them when the daemon ends.
#[derive(Debug)]
pub struct KeptFiles {
    dir: Weak<RuntimeDir>,
    host: Weak<HostLock>,
    socket: PathBuf,
    /// Of the socket as it was made.
    inode: Option<u64>,
}

impl KeptFiles {
    /// The files of a runtime directory.
    pub fn new(dir: &Rc<RuntimeDir>, host: &Rc<HostLock>) -> Self {
        let socket = runtime_dir::socket(dir.path());
        Self { dir: Rc::downgrade(dir), host: Rc::downgrade(host), socket, inode: None }
    }

    /// Listens on the control socket.
    pub fn bind(&mut self) -> Result<UnixListener> {
        let listener = control::bind(&self.socket)?;
        self.inode = self.socket.symlink_metadata().ok().map(|metadata| metadata.ino());
        Ok(listener)
    }

    /// Serves the control socket for ever, and puts back what somebody removes. Aborted with the daemon, as [`control::serve`].
    pub async fn serve(
        mut self,
        mut listener: UnixListener,
        commands: mpsc::Sender<PendingRequest>,
        journal: Journal,
        (repairs_tx, period): (mpsc::Sender<(Repairs, Duration)>, Duration),
    ) {
        loop {
            listener = tokio::select! {
                () = control::serve(listener, commands.clone(), journal.clone()) => return,
                listener = self.socket_again(&repairs_tx, period) => listener,
            };
        }
    }

    /// Puts back what is removed, until that was the control socket.
    async fn socket_again(
        &mut self,
        repairs_tx: &mpsc::Sender<(Repairs, Duration)>,
        period: Duration,
    ) -> UnixListener {
        let mut refused = None;
        loop {
            sleep(period).await;
            let mut repairs = Repairs::default();
            let listener = self.restore(&mut repairs);
            if !repairs.is_empty() {
                // Nobody hears it when the daemon is about to end.
                let _ = repairs_tx.send((repairs, period)).await;
            }
            match listener {
                Ok(Some(listener)) => return listener,
                Ok(None) => refused = None,
                Err(error) => {
                    let error = format!("{error:#}");
                    if refused.as_ref() != Some(&error) {
                        tracing::error!(
                            error,
                            "files of the runtime directory cannot be put back; vipd tries again"
                        );
                    }
                    refused = Some(error);
                }
            }
        }
    }

    fn restore(&mut self, repairs: &mut Repairs) -> Result<Option<UnixListener>> {
        // Without them the daemon is about to end.
        let (Some(dir), Some(host)) = (self.dir.upgrade(), self.host.upgrade()) else { return Ok(None) };
        repairs.note_all("file", dir.restore()?);
        repairs.note_all("file", host.restore()?);
        let inode = self.socket.symlink_metadata().ok().map(|metadata| metadata.ino());
        if inode.is_some() && inode == self.inode {
            return Ok(None);
        }
        let listener = self.bind()?;
        repairs.note("file", format!("control socket {}", self.socket.display()));
        Ok(Some(listener))
    }
}
