//! Small files in the runtime directory that outlive a crash: what the host was before vipd changed it, where the kernel
//! itself keeps no mark of ours.

use std::{
    collections::BTreeMap,
    error::Error,
    fs, io,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use anyhow::{Context, Result};
use serde::{Serialize, de::DeserializeOwned};

use vipd_system::{
    files,
    interface_names::{index_of, name_of},
    resources::is_shortage,
};

/// The name that an interface has now of which something was saved under this name; `None`: it is gone, and all of it with it.
///
/// An index of 0 is of a file that an earlier version wrote: then the name says which it is.
///
/// # Errors
///
/// If the host is short of descriptors or memory: it is not known to be gone.
pub(super) fn current_name(name: &str, ifindex: u32) -> Result<Option<String>> {
    const LOOK: &str = "look an interface up";
    if index_of(name).context(LOOK)?.is_some_and(|index| ifindex == 0 || index == ifindex) {
        return Ok(Some(name.to_owned()));
    }
    name_of(ifindex).context(LOOK)
}

/// What was saved of interfaces, by the names that they have now, without those that are gone.
///
/// # Errors
///
/// As [`current_name`].
pub(super) fn by_current_names<T>(
    saved: BTreeMap<String, T>,
    ifindex: impl Fn(&T) -> u32,
) -> Result<BTreeMap<String, T>> {
    let mut named = BTreeMap::new();
    for (name, value) in saved {
        named.extend(current_name(&name, ifindex(&value))?.map(|name| (name, value)));
    }
    Ok(named)
}

/// One file with one value; no file means the default one.
///
/// Somebody may remove the file while vipd runs: what this process has read or written last counts then.
#[derive(Debug)]
pub(super) struct Saved<T> {
    file: PathBuf,
    known: Mutex<Option<T>>,
    /// Why it could not be read, as was told last.
    told: Mutex<Option<String>>,
}

impl<T: Serialize + DeserializeOwned + Default + PartialEq + Clone> Saved<T> {
    pub fn new(state_dir: &Path, name: &str) -> Self {
        Self { file: state_dir.join(name), known: Mutex::new(None), told: Mutex::new(None) }
    }

    fn known(&self) -> MutexGuard<'_, Option<T>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes the file again if somebody has removed or damaged it; its name then. The first time it reads what a predecessor has saved.
    pub fn restore(&self) -> Result<Option<String>> {
        let known = self.known().clone();
        if known.is_none() {
            self.load()?;
        }
        let Some(value) = known.filter(|value| *value != T::default()) else { return Ok(None) };
        let is_there = match fs::read_to_string(&self.file) {
            Ok(text) => serde_json::from_str::<T>(&text).is_ok(),
            Err(error) => !is_absent(&error),
        };
        // The directory is put back first, by others.
        if is_there || self.file.parent().is_some_and(|dir| !dir.is_dir()) {
            return Ok(None);
        }
        self.save(&value)?;
        Ok(Some(format!("file {}", self.file.display())))
    }

    /// What was saved. A file that cannot be read is reported, and is as none: that must not keep a VIP from working.
    ///
    /// # Errors
    ///
    /// If the host is short of descriptors or memory. Whoever went on as with no file would write another, and forget what the host
    /// was.
    pub fn load(&self) -> Result<T> {
        let text = match fs::read_to_string(&self.file) {
            Ok(text) => text,
            Err(error) if is_absent(&error) => {
                return Ok(self.known().clone().unwrap_or_default());
            }
            Err(error) if is_shortage(&error) => {
                return Err(error).with_context(|| format!("read {}", self.file.display()));
            }
            Err(error) => {
                self.tell(Some((&error, "cannot read the saved host settings")));
                return Ok(self.known().clone().unwrap_or_default());
            }
        };
        let mut known = self.known();
        match serde_json::from_str::<T>(&text) {
            Ok(value) => {
                *known = Some(value);
                self.tell(None);
            }
            Err(error) => self.tell(Some((
                &error,
                "the saved host settings are damaged: what this vipd knows of them is restored",
            ))),
        }
        Ok(known.clone().unwrap_or_default())
    }

    /// Tells of what is wrong with the file when it is another thing than before: it is read with every look.
    fn tell(&self, problem: Option<(&dyn Error, &str)>) {
        let now = problem.map(|(error, _)| error.to_string());
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((error, what)) = problem.filter(|_| *told != now) {
            tracing::warn!(file = %self.file.display(), %error, "{what}");
        }
        *told = now;
    }

    /// Replaces the file at once; the default value removes it.
    pub fn save(&self, value: &T) -> Result<()> {
        let context = || format!("save {}", self.file.display());
        *self.known() = Some(value.clone());
        if *value == T::default() {
            return match fs::remove_file(&self.file) {
                Err(error) if !is_absent(&error) => Err(error).with_context(context),
                _ => Ok(()),
            };
        }
        let text = serde_json::to_string_pretty(value).with_context(context)?;
        files::replace(&self.file, &text, 0o600).with_context(context)
    }
}

/// Whether there is no such file, nor perhaps its directory: a file may be in the place of that.
fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use nix::sys::resource::{Resource, getrlimit, setrlimit};

    use super::*;

    /// At the limit of descriptors nothing was saved, it seemed, and the next save forgot what the host was.
    #[test]
    fn a_host_that_is_short_of_descriptors_forgets_nothing() {
        let this = "host::saved::tests::a_host_that_is_short_of_descriptors_forgets_nothing";
        // The limit is that of a process: one of the test's own.
        if std::env::var_os("VIPD_TEST_SHORT").is_none() {
            let mut again = Command::new(std::env::current_exe().unwrap());
            let output = again.args(["--exact", this]).env("VIPD_TEST_SHORT", "1").output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
            return;
        }
        let dir = std::env::temp_dir().join(format!("vipd-saved-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let saved = Saved::<BTreeMap<String, u32>>::new(&dir, "saved.json");
        let value = BTreeMap::from([("lo".to_owned(), 1)]);
        saved.save(&value).unwrap();
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        let soft = |limit| setrlimit(Resource::RLIMIT_NOFILE, limit, hard).unwrap();
        soft(3);
        let load = saved.load();
        let name = current_name("lo", 1);
        let local = crate::is_local([127, 0, 0, 1].into());
        soft(hard);
        assert!(load.is_err() && name.is_err() && local.is_err(), "{load:?} {name:?} {local:?}");
        assert_eq!(saved.load().unwrap(), value);
        assert_eq!(current_name("lo", 1).unwrap(), Some("lo".to_owned()));
        assert_eq!(current_name("vipd-none", u32::MAX >> 1).unwrap(), None, "it is gone");
        assert!(crate::is_local([127, 0, 0, 1].into()).unwrap());
        fs::remove_dir_all(dir).unwrap();
    }
}
