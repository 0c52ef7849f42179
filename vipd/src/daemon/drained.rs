//! What is remembered of a drained node, over restarts and reboots: a file, there or not.

use std::{
    fs::{self, DirBuilder, File},
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use crate::files;

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
