//! One `track_file`: reports its first number when it changes.

use std::{io, os::fd::AsRawFd, path::Path, time::Duration};

use anyhow::{Context, Result};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use tokio::{
    io::{Interest, unix::AsyncFd},
    time::sleep,
};
use vipd_config::TrackedFile;

use super::{NewsContent, result::Health};
use crate::{files, resources::is_shortage};

/// Wait between two reads of a file whose directory cannot be watched.
const POLL: Duration = Duration::from_secs(1);
/// Most octets of a number.
const LEN_MAX: u64 = 128;

/// Writes the initial value, if the configuration has one.
pub fn init(file: &TrackedFile) -> Result<()> {
    let Some(value) = file.init else { return Ok(()) };
    let path = Path::new(&file.path);
    if !file.overwrite && path.symlink_metadata().is_ok() {
        return Ok(());
    }
    // Others may write to its directory: it is what they have the priority follow.
    files::overwrite(path, &format!("{value}\n")).with_context(|| format!("cannot write {}", file.path))
}

/// Watches a file for ever.
pub async fn watch(file: TrackedFile, tell: impl Fn(NewsContent)) {
    let mut told = None;
    let mut complained = None;
    let mut look = || {
        // Without a descriptor for it nothing is known of it: what was told stands.
        let Some((value, wrong)) = read(&file) else { return };
        // Once: whoever may write to its directory can make us look as often as he likes.
        if complained != wrong {
            if let Some(wrong) = &wrong {
                tracing::warn!(file = file.name, path = file.path, wrong, "the tracked file counts as 0");
            }
            tell(NewsContent::Problem(wrong.clone()));
            complained = wrong;
        }
        if told.replace(value) != Some(value) {
            tracing::info!(
                target: "vipd::event",
                event = "tracked_file",
                file = file.name,
                value,
                "the value of the tracked file changed"
            );
            tell(NewsContent::Health(Health::Value(value)));
        }
    };
    let mut watched = Directory::of(Path::new(&file.path)).inspect_err(|error| {
        tracing::warn!(
            file = file.name,
            error = format!("{error:#}"),
            "cannot watch the tracked file: vipd reads it every second"
        );
    });
    loop {
        look();
        match &mut watched {
            Ok(directory) => {
                if let Err(error) = directory.changed().await {
                    tracing::warn!(file = file.name, %error, "cannot watch the tracked file any more: vipd reads it every second");
                    watched = Err(error.into());
                }
            }
            Err(_) => sleep(POLL).await,
        }
    }
}

/// The first number in the file; without one 0, as in keepalived, and the problem. `None`: a shortage of the host.
fn read(file: &TrackedFile) -> Option<(i32, Option<String>)> {
    let bytes = match files::read_regular(Path::new(&file.path), LEN_MAX) {
        Ok(read) => read.bytes,
        Err(error) if is_shortage(&error) => return None,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Some((0, None)),
        Err(error) => return Some((0, Some(format!("it cannot be read: {error}")))),
    };
    let text = String::from_utf8_lossy(&bytes);
    let first = text.split_whitespace().next().unwrap_or("0");
    Some(match first.parse() {
        Ok(value) => (value, None),
        // What is there is not told: it may be a link to somebody's secret.
        Err(_) => (0, Some("it does not start with a number".to_owned())),
    })
}

/// The directory of a file, watched: files are replaced as often as they are written.
struct Directory(AsyncFd<FileWatch>);

struct FileWatch(Inotify);

impl AsRawFd for FileWatch {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        use std::os::fd::AsFd;
        self.0.as_fd().as_raw_fd()
    }
}

impl Directory {
    fn of(file: &Path) -> Result<Self> {
        let dir = file.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
        let events = AddWatchFlags::IN_CLOSE_WRITE
            | AddWatchFlags::IN_MOVED_TO
            | AddWatchFlags::IN_MOVED_FROM
            | AddWatchFlags::IN_DELETE;
        inotify.add_watch(dir, events).with_context(|| format!("cannot watch {}", dir.display()))?;
        // SAFETY: the descriptor is owned by what is registered, and never changed.
        let watch = unsafe { AsyncFd::register_with_interest(FileWatch(inotify), Interest::READABLE) };
        Ok(Self(watch?))
    }

    /// Waits for a change in it.
    async fn changed(&mut self) -> io::Result<()> {
        loop {
            let mut ready = self.0.readable_mut().await?;
            match ready.try_io(|watch| Ok(watch.get_ref().0.read_events()?)) {
                Ok(events) => return events.map(drop),
                Err(_) => continue,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use nix::{sys::stat::Mode, unistd::mkfifo};

    use std::fs;

    use super::*;
    use vipd_config::Weight;

    /// A FIFO held up the main thread for ever, and a link to what has no end took all memory.
    #[test]
    fn what_is_no_file_or_has_no_end_holds_nothing_up() {
        let dir = std::env::temp_dir().join(format!("vipd-track-file-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let value = |name: &str| {
            let path = dir.join(name).display().to_string();
            let (name, weight) = (name.to_owned(), Weight { value: 1, reverse: false });
            read(&TrackedFile { name, path, init: None, overwrite: false, weight })
        };
        fs::write(dir.join("number"), "-5 and more\n").unwrap();
        fs::write(dir.join("long"), "7 ".to_owned() + &"x".repeat(1_000_000)).unwrap();
        mkfifo(&dir.join("fifo"), Mode::S_IRWXU).unwrap();
        std::os::unix::fs::symlink("/dev/zero", dir.join("endless")).unwrap();
        for (name, expect) in [("number", -5), ("long", 7), ("fifo", 0), ("endless", 0), ("missing", 0)] {
            assert_eq!(value(name).map(|(value, _)| value), Some(expect), "{name}");
            let complains = ["fifo", "endless"].contains(&name);
            assert_eq!(value(name).is_some_and(|(_, wrong)| wrong.is_some()), complains, "{name}");
        }
        fs::remove_dir_all(&dir).unwrap();
    }
}
