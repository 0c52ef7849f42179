//! Draining the node: who waits for it, and what is remembered of it over restarts and reboots: a file, there or not.

use std::{
    fs::{self, DirBuilder, File},
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use tokio::sync::oneshot;

use super::{
    super::messages::{EngineMessage, Reply},
    engine_handle::EngineHandle,
};
use crate::files;

/// A drain that waits for successors, if there is one, and whether the node was drained.
#[derive(Debug)]
pub struct Drain {
    drained: Drained,
    /// What comes of it, and who asked for it.
    under_way: Option<(oneshot::Receiver<Result<String, String>>, Reply)>,
}

impl Drain {
    /// Nobody drains the node yet.
    pub fn new(drained: Drained) -> Self {
        Self { drained, under_way: None }
    }

    /// Begins to drain the node. It is remembered first: a node that cannot remember it hands nothing over.
    pub async fn begin(&mut self, reply: Reply, engine: &EngineHandle) {
        if self.under_way.is_some() {
            let _ = reply.send(Err("it is being drained".into()));
            return;
        }
        if let Err(error) = self.drained.set() {
            let _ = reply.send(Err(format!("nothing is handed over: {error:#}")));
            return;
        }
        let (drained, done) = oneshot::channel();
        engine.send(EngineMessage::Drain(drained)).await;
        self.under_way = Some((done, reply));
    }

    /// What comes of a drain; never if there is none. May be dropped while it waits.
    pub async fn answer(&mut self) -> Result<String, String> {
        match &mut self.under_way {
            Some((done, _)) => done.await.unwrap_or_else(|_| Err("the daemon is stopping".into())),
            None => std::future::pending().await,
        }
    }

    /// What has come of it: a node that is not drained is not remembered as such.
    pub fn finish(&mut self, answer: Result<String, String>) {
        let Some((_, reply)) = self.under_way.take() else { return };
        let answer = answer.map_err(|why| match self.drained.unset() {
            Ok(()) => why,
            Err(error) => format!("{why}; but the next start is drained: {error:#}"),
        });
        // Who asked may be gone.
        let _ = reply.send(answer);
    }

    /// Ends it, whether it is under way or done.
    pub async fn undo(&mut self, reply: Reply, engine: &EngineHandle) {
        if let Some((_, reply)) = self.under_way.take() {
            let _ = reply.send(Err("ended by `vipd undrain`".into()));
        }
        match self.drained.unset() {
            Ok(()) => engine.send(EngineMessage::Undrain(reply)).await,
            Err(error) => _ = reply.send(Err(format!("{error:#}"))),
        }
    }
}

/// The file, in the state directory.
#[derive(Clone, Debug)]
pub struct Drained(PathBuf);

impl Drained {
    pub fn new(state_dir: &Path) -> Self {
        Self(state_dir.join("drained"))
    }

    /// Whether the node was drained, and not undrained since.
    pub fn is_set(&self) -> Result<bool> {
        self.0.try_exists().with_context(|| format!("look for {}", self.0.display()))
    }

    /// Makes the directory too (mode 0755). The file is on the disk then, whatever happens to the machine.
    ///
    /// # Errors
    ///
    /// The disk is full, say. There is no file then, unless there was one.
    pub fn set(&self) -> Result<()> {
        let write = || -> Result<()> {
            if self.is_set()? {
                return Ok(());
            }
            let dir = self.0.parent().context("no state directory")?;
            DirBuilder::new().recursive(true).mode(0o755).create(dir)?;
            files::replace(&self.0, "`vipd undrain` ends this\n", 0o644)?;
            // Some file systems look for a place only now.
            let synced = File::open(&self.0).and_then(|file| file.sync_all());
            let synced = synced.and_then(|()| File::open(dir)?.sync_all());
            if synced.is_err() {
                self.unset()?;
            }
            Ok(synced?)
        };
        write().with_context(|| format!("remember in {} that the node is drained", self.0.display()))
    }

    pub fn unset(&self) -> Result<()> {
        match fs::remove_file(&self.0) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("remove {}", self.0.display()))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_remembered() {
        let dir = std::env::temp_dir().join(format!("vipd-drained-{}", std::process::id()));
        let drained = Drained::new(&dir.join("state"));
        assert!(!drained.is_set().unwrap());
        drained.set().unwrap();
        drained.set().unwrap();
        assert!(Drained::new(&dir.join("state")).is_set().unwrap());
        drained.unset().unwrap();
        drained.unset().unwrap();
        assert!(!drained.is_set().unwrap());
        fs::write(dir.join("file"), "").unwrap();
        let error = Drained::new(&dir.join("file")).set().unwrap_err();
        assert!(format!("{error:#}").contains("remember in"), "{error:#}");
        fs::remove_dir_all(&dir).unwrap();
    }
}
