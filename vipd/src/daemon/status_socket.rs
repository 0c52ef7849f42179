//! The socket that only shows, and whose it is: those in its group see the status without being root.

use std::{
    cell::Cell,
    path::{Path, PathBuf},
    rc::Rc,
};

use anyhow::{Context, Result};
use nix::{
    fcntl::AtFlags,
    unistd::{Gid, Group, Uid, fchownat},
};
use tokio::net::UnixListener;
use vipd_config::Config;

use crate::{control, files::Dir};

/// The group unless `status_group` names one, if there is such a group: packages make it.
const DEFAULT_GROUP: &str = "vipd";

/// The socket in a runtime directory; clones are the same one.
#[derive(Clone, Debug)]
pub struct StatusSocket {
    path: PathBuf,
    /// Whose it is to be.
    group: Rc<Cell<Option<Gid>>>,
}

impl StatusSocket {
    /// The one beside the socket for everything.
    pub fn beside(control: &Path) -> Self {
        Self { path: control::status_socket(control), group: Rc::default() }
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes it, for the group that it was [given](Self::give) to last.
    pub fn bind(&self) -> Result<UnixListener> {
        let listener = control::bind(&self.path)?;
        if let Some(Err(error)) = self.group.get().map(|group| self.give_to(group)) {
            tracing::warn!(error = format!("{error:#}"), "the status socket stays root's");
        }
        Ok(listener)
    }

    /// Gives it to the group that the configuration says.
    ///
    /// # Errors
    ///
    /// `status_group` cannot be given the socket.
    pub fn give(&self, config: &Config) -> Result<()> {
        let group = group(config)?;
        let group = group.unwrap_or_else(Gid::effective);
        self.group.set(Some(group));
        let given = self.give_to(group);
        match &config.status_group {
            Some(name) => given.with_context(|| {
                format!(
                    "status_group: {} cannot be given to the group {name} (CAP_CHOWN?)",
                    self.path.display()
                )
            }),
            None => {
                if let Err(error) = given {
                    tracing::debug!(error = format!("{error:#}"), "the status socket stays root's");
                }
                Ok(())
            }
        }
    }

    fn give_to(&self, group: Gid) -> Result<()> {
        let (dir, name) = Dir::of(&self.path)?;
        Ok(fchownat(&dir, name, None, Some(group), AtFlags::AT_SYMLINK_NOFOLLOW)?)
    }
}

/// The group that the configuration says; `None`: vipd's own.
///
/// # Errors
///
/// There is no group of that name.
pub fn group(config: &Config) -> Result<Option<Gid>> {
    let find = |name: &str| Group::from_name(name).ok().flatten().map(|group| group.gid);
    match &config.status_group {
        Some(name) => Ok(Some(find(name).with_context(|| {
            format!("status_group: there is no group {name}; `groupadd --system {name}` makes it")
        })?)),
        None => Ok(find(DEFAULT_GROUP).filter(|_| Uid::effective().is_root())),
    }
}
