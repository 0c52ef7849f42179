//! FILE_CHECK: the number in a file, told when it changes.
//!
//! One descriptor watches all directories. Each file has a task, and is read off the thread: a file system that hangs holds up no other.

use std::{
    collections::HashSet,
    io,
    os::fd::{AsFd, AsRawFd, RawFd},
    path::{Path, PathBuf},
    time::Duration,
};

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use tokio::{
    io::{Interest, unix::AsyncFd},
    sync::watch,
    task::{JoinSet, spawn_blocking},
    time::{sleep, timeout},
};
use vipd_balance::{ProbeId, ProbeOutcome};
use vipd_system::{files, resources::is_shortage};

use crate::fault::{error_text, seconds};

/// Watches files for ever, and tells each value: the first at once, the others when they change. Dropping the future ends it.
pub(crate) async fn watch<F: Future<Output = ()> + Send + 'static>(
    wanted: Vec<(ProbeId, String)>,
    tell: impl Fn(ProbeId, ProbeOutcome, String) -> F + Clone + Send + Sync + 'static,
) {
    let paths: HashSet<&str> = wanted.iter().map(|(_, path)| path.as_str()).collect();
    let (mut directories, all) = Directories::of(&paths);
    let changes = watch::Sender::new(());
    // Ended with this future.
    let mut readers = JoinSet::new();
    for (id, path) in wanted {
        let (tell, changes) = (tell.clone(), changes.subscribe());
        readers.spawn(follow(path, changes, move |outcome, words| tell(id, outcome, words)));
    }
    loop {
        let polled = !all || directories.is_none();
        let watched = directories.as_mut();
        let changed = async {
            match watched {
                Some(directories) => directories.changed().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = changed => if changed.is_err() { directories = None },
            () = sleep(POLL), if polled => {}
        }
        changes.send_replace(());
    }
}

/// Reads one file now and after each change.
async fn follow<F: Future<Output = ()>>(
    path: String,
    mut changes: watch::Receiver<()>,
    tell: impl Fn(ProbeOutcome, String) -> F,
) {
    let mut told = None;
    loop {
        let mut reading = spawn_blocking({
            let path = PathBuf::from(&path);
            move || read(&path)
        });
        let mut late = false;
        let value = loop {
            match timeout(READ_LIMIT, &mut reading).await {
                Ok(read) => break read.ok(),
                // Once. The read goes on: another one would hang too.
                Err(_) if !std::mem::replace(&mut late, true) => {
                    let why = format!("the file cannot be read within {}", seconds(READ_LIMIT));
                    tell(ProbeOutcome::NotSent(why.clone()), why).await;
                }
                Err(_) => {}
            }
        };
        if let Some((outcome, words)) = value
            && told.as_ref() != Some(&(outcome.clone(), words.clone()))
        {
            told = Some((outcome.clone(), words.clone()));
            tell(outcome, words).await;
        }
        if changes.changed().await.is_err() {
            return;
        }
    }
}

/// The first number in a file. Without a file it is 0, as in keepalived, and so it is of a file that has none.
fn read(path: &Path) -> (ProbeOutcome, String) {
    let zero = |why: String| (ProbeOutcome::Value(0), why);
    let octets = match files::read_regular(path, NUMBER_MOST) {
        Ok(read) => read.bytes,
        Err(error) if is_shortage(&error) => {
            let why = error_text(&error);
            return (ProbeOutcome::NotSent(why.clone()), why);
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return zero("value 0: there is no file".to_owned());
        }
        Err(error) => return zero(format!("value 0: the file cannot be read: {}", error_text(&error))),
    };
    let text = String::from_utf8_lossy(&octets);
    match text.split_whitespace().next().unwrap_or("0").parse::<i32>() {
        Ok(value) => (ProbeOutcome::Value(i64::from(value)), format!("value {value}")),
        // Its content is not told: it may be a link to somebody's secret.
        Err(_) => zero("value 0: the file does not start with a number".to_owned()),
    }
}

/// The directories of the files, watched with one descriptor: files are replaced as often as they are written.
struct Directories(AsyncFd<DirectoryWatch>);

struct DirectoryWatch(Inotify);

impl AsRawFd for DirectoryWatch {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

impl Directories {
    /// The watch, if any, and whether it sees all directories.
    fn of(paths: &HashSet<&str>) -> (Option<Self>, bool) {
        let Ok(inotify) = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC) else {
            return (None, false);
        };
        let events = AddWatchFlags::IN_CLOSE_WRITE
            | AddWatchFlags::IN_MOVED_TO
            | AddWatchFlags::IN_MOVED_FROM
            | AddWatchFlags::IN_DELETE;
        let mut all = true;
        for path in paths {
            let parent = Path::new(path).parent().filter(|parent| !parent.as_os_str().is_empty());
            let directory = parent.unwrap_or(Path::new("."));
            if let Err(error) = inotify.add_watch(directory, events) {
                all = false;
                let directory = directory.display();
                tracing::warn!(%directory, error = error.desc(), "cannot watch the directory of a file of FILE_CHECK: vipd reads it every second");
            }
        }
        // SAFETY: the descriptor is owned by what is registered, and never changed.
        let watch = unsafe { AsyncFd::register_with_interest(DirectoryWatch(inotify), Interest::READABLE) };
        match watch {
            Ok(watch) => (Some(Self(watch)), all),
            Err(_) => (None, false),
        }
    }

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

/// Wait between two reads of a file whose directory cannot be watched.
const POLL: Duration = Duration::from_secs(1);
/// Time for one read.
const READ_LIMIT: Duration = Duration::from_secs(5);
/// Most octets of a number.
const NUMBER_MOST: u64 = 128;
