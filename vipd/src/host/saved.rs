//! Small files in the runtime directory that outlive a crash: what the host was before vipd changed it, where the kernel
//! itself keeps no mark of ours.

use std::{
    fs, io,
    marker::PhantomData,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use nix::net::if_::{if_indextoname, if_nametoindex};
use serde::{Serialize, de::DeserializeOwned};

use crate::files;

/// The name that an interface has now of which something was saved under this name; `None`: it is gone, and all of it with it.
///
/// An index of 0 is of a file that an earlier version wrote: then the name says which it is.
pub(super) fn current_name(name: &str, ifindex: u32) -> Option<String> {
    match if_nametoindex(name) {
        Ok(found) if ifindex == 0 || found == ifindex => return Some(name.to_owned()),
        _ => {}
    }
    if_indextoname(ifindex).ok()?.into_string().ok()
}

/// One file with one value; no file means the default one.
#[derive(Debug)]
pub(super) struct Saved<T> {
    file: PathBuf,
    value: PhantomData<T>,
}

impl<T: Serialize + DeserializeOwned + Default + PartialEq> Saved<T> {
    pub fn new(state_dir: &Path, name: &str) -> Self {
        Self { file: state_dir.join(name), value: PhantomData }
    }

    /// What was saved. A file that cannot be read is reported, and is as none: that must not keep a VIP from working.
    pub fn load(&self) -> T {
        let text = match fs::read_to_string(&self.file) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return T::default(),
            Err(error) => {
                tracing::warn!(file = %self.file.display(), %error, "cannot read the saved host settings");
                return T::default();
            }
        };
        serde_json::from_str(&text).unwrap_or_else(|error| {
            tracing::warn!(file = %self.file.display(), %error, "the saved host settings are damaged: they are not restored");
            T::default()
        })
    }

    /// Replaces the file at once; the default value removes it.
    pub fn save(&self, value: &T) -> Result<()> {
        let context = || format!("save {}", self.file.display());
        if *value == T::default() {
            return match fs::remove_file(&self.file) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error).with_context(context),
                _ => Ok(()),
            };
        }
        let text = serde_json::to_string_pretty(value).with_context(context)?;
        files::replace(&self.file, &text, 0o600).with_context(context)
    }
}
