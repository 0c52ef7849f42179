//! The events on disk, so that they outlive the daemon: one JSON object a line, in two files of the state directory.
//!
//! A thread of its own writes, so nobody waits for a disk: events wait in a queue, and what finds no room there, or on the disk, is
//! counted and reported. Each batch is synced (fdatasync), so a power failure costs at most what was under way. A file that is
//! full (1,000 events, or 1 MiB) becomes the old one by rename, in the place of the former old one. A line that was cut off
//! is skipped when the files are read.

use std::{
    ffi::OsStr,
    fs::File,
    io::{self, Read, Seek, SeekFrom, Write},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{self, Receiver, RecvTimeoutError, SyncSender},
    },
    thread,
    time::Duration,
};

use anyhow::{Context, Result};
use nix::fcntl::{OFlag, RenameFlags};

use super::{KEPT, Record};
use vipd_system::files::Dir;

const CURRENT: &str = "events.jsonl";
const OLD: &str = "events.old.jsonl";
/// Octets of a file, but for its last event.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Octets of an event; a longer one is not written.
const EVENT_BYTES_MAX: usize = 64 << 10;
/// Events that wait for the disk.
const WAITING: usize = 1024;
/// At the end the disk has this long to take what is left.
const END_TIMEOUT: Duration = Duration::from_secs(2);
/// A larger number is none that vipd has given.
const SEQ_MAX: u64 = 1 << 53;

/// Writes events to disk until it is dropped.
#[derive(Debug)]
pub struct Store {
    writer: Writer,
    ended: Receiver<()>,
}

/// The end of the queue that events are put into.
#[derive(Clone, Debug)]
pub struct Writer {
    lines: SyncSender<String>,
    lost: Arc<AtomicU64>,
}

impl Store {
    /// Opens the files in a state directory, which is made if it does not exist. The events in them come first. The thread that
    /// writes begins with `prepare`.
    ///
    /// # Errors
    ///
    /// The directory cannot be made or read, or belongs to another user.
    pub fn open(dir: &Path, prepare: fn()) -> Result<(Vec<Record>, Self)> {
        let dir = Dir::private(dir, 0o755).context("open the state directory")?;
        let records = read(&dir);
        let files = Files::open(dir).context("open the file of events")?;
        let (lines, waiting) = mpsc::sync_channel(WAITING);
        let (ending, ended) = mpsc::channel();
        let lost = Arc::new(AtomicU64::new(0));
        let dropped = Arc::clone(&lost);
        thread::Builder::new().name("vipd-events".to_owned()).spawn(move || {
            prepare();
            write(files, &waiting, &dropped);
            drop(ending);
        })?;
        Ok((records, Self { writer: Writer { lines, lost }, ended }))
    }

    pub fn writer(&self) -> Writer {
        self.writer.clone()
    }

    /// Waits until what is in the queue is on the disk, but not for a disk that hangs.
    pub fn finish(self) {
        let Self { writer, ended } = self;
        drop(writer);
        if ended.recv_timeout(END_TIMEOUT) == Err(RecvTimeoutError::Timeout) {
            tracing::warn!("the last events are not on the disk, which does not answer");
        }
    }
}

impl Writer {
    /// Puts an event into the queue, if there is room.
    pub fn write(&self, record: &Record) {
        let line = serde_json::to_string(record).expect("an event has only string keys");
        if line.len() > EVENT_BYTES_MAX || self.lines.try_send(line).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The events of both files, oldest first: the last ones, each with a higher number than the one before.
fn read(dir: &Dir) -> Vec<Record> {
    let mut records: Vec<Record> = Vec::new();
    for name in [OLD, CURRENT] {
        let text = match tail(dir, name) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => {
                tracing::warn!(file = name, %error, "earlier events could not be read");
                continue;
            }
        };
        for record in text.split(|octet| *octet == b'\n').filter_map(|line| serde_json::from_slice(line).ok())
        {
            let Record { seq, .. } = record;
            if seq < SEQ_MAX && records.last().is_none_or(|last| seq > last.seq) {
                records.push(record);
            }
        }
    }
    records.drain(..records.len().saturating_sub(KEPT));
    records
}

/// The end of a file, of no more than what vipd writes.
fn tail(dir: &Dir, name: &str) -> io::Result<Vec<u8>> {
    let mut file = dir.open_at(OsStr::new(name), OFlag::O_RDONLY | OFlag::O_NONBLOCK, 0)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let limit = FILE_BYTES_MAX + EVENT_BYTES_MAX as u64 + 1;
    file.seek(SeekFrom::Start(metadata.len().saturating_sub(limit)))?;
    let mut text = Vec::new();
    file.take(limit).read_to_end(&mut text)?;
    Ok(text)
}

/// The file that is written to.
#[derive(Debug)]
struct Files {
    dir: Dir,
    current: File,
    bytes: u64,
    events: usize,
    /// The last line in it is cut off.
    torn: bool,
}

impl Files {
    fn open(dir: Dir) -> io::Result<Self> {
        let text = tail(&dir, CURRENT).or_else(|error| match error.kind() {
            io::ErrorKind::NotFound => Ok(Vec::new()),
            _ => Err(error),
        })?;
        let current = Self::append(&dir)?;
        let bytes = current.metadata()?.len();
        let events = text.iter().filter(|octet| **octet == b'\n').count();
        Ok(Self { dir, current, bytes, events, torn: text.last().is_some_and(|last| *last != b'\n') })
    }

    fn append(dir: &Dir) -> io::Result<File> {
        let flags = OFlag::O_WRONLY | OFlag::O_APPEND | OFlag::O_CREAT | OFlag::O_NONBLOCK;
        dir.open_at(OsStr::new(CURRENT), flags, 0o600)
    }

    fn add(&mut self, line: &str) -> io::Result<()> {
        if self.events >= KEPT || self.bytes >= FILE_BYTES_MAX {
            self.dir.rename(OsStr::new(CURRENT), OsStr::new(OLD), RenameFlags::empty())?;
            self.current = Self::append(&self.dir)?;
            (self.bytes, self.events, self.torn) = (0, 0, false);
        }
        let start = if self.torn { "\n" } else { "" };
        let line = format!("{start}{line}\n");
        // Until it is there as a whole.
        self.torn = true;
        self.current.write_all(line.as_bytes())?;
        self.torn = false;
        self.bytes += line.len() as u64;
        self.events += 1;
        Ok(())
    }
}

/// Writes until all senders are gone.
fn write(mut files: Files, waiting: &Receiver<String>, dropped: &AtomicU64) {
    // While the disk refuses: how many it has refused.
    let mut refused: Option<u64> = None;
    while let Ok(first) = waiting.recv() {
        let mut failure = None;
        let mut written = 0;
        for line in std::iter::once(first).chain(waiting.try_iter()) {
            match files.add(&line) {
                Ok(()) => written += 1,
                Err(error) => failure = Some((error, failure.map_or(1, |(_, count)| count + 1))),
            }
        }
        if let (None, Err(error)) = (&failure, files.current.sync_data()) {
            failure = Some((error, written));
        }
        refused = report(failure, refused, dropped.swap(0, Ordering::Relaxed));
    }
}

/// Says when the disk begins to refuse events, and when it takes them again; in between only counts.
fn report(failure: Option<(io::Error, u64)>, refused: Option<u64>, dropped: u64) -> Option<u64> {
    let Some((error, count)) = failure else {
        let count = refused.unwrap_or(0) + dropped;
        if count > 0 {
            tracing::warn!(
                target: "vipd::event",
                event = "events_not_stored",
                count,
                "events are missing in the files of the state directory"
            );
        }
        return None;
    };
    if refused.is_none() {
        tracing::warn!(
            target: "vipd::event",
            event = "events_not_stored",
            %error,
            "events cannot be stored: they do not outlive this vipd"
        );
    }
    Some(refused.unwrap_or(0) + count + dropped)
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, fs, os::unix::fs::PermissionsExt, path::PathBuf};

    use super::*;

    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let dir = std::env::temp_dir().join(format!("vipd-events-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&dir);
            Self(dir)
        }

        fn text(&self, name: &str) -> String {
            fs::read_to_string(self.0.join(name)).unwrap()
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn record(seq: u64, message: &str) -> Record {
        Record {
            seq,
            time_unix_ms: seq,
            level: "INFO".into(),
            event: "test".into(),
            message: message.into(),
            fields: BTreeMap::new(),
        }
    }

    fn seqs(records: &[Record]) -> (usize, Option<u64>, Option<u64>) {
        (records.len(), records.first().map(|first| first.seq), records.last().map(|last| last.seq))
    }

    #[test]
    fn events_are_there_again_and_the_files_are_bounded() {
        let dir = Scratch::new("bounded");
        let mut expect = 0;
        for round in 0..5u64 {
            let (records, store) = Store::open(&dir.0, || {}).unwrap();
            let last = round * 700;
            assert_eq!(seqs(&records).2, (round > 0).then_some(last), "numbers go on");
            assert_eq!(records.len(), expect);
            for seq in last + 1..=last + 700 {
                store.writer().write(&record(seq, "it has happened"));
                // Not more than the queue has room for.
                if seq % 500 == 0 {
                    thread::sleep(Duration::from_millis(50));
                }
            }
            store.finish();
            expect = (expect + 700).min(KEPT);
        }
        for (name, most) in [(CURRENT, KEPT), (OLD, KEPT)] {
            assert!(dir.text(name).lines().count() <= most, "{name}");
            let mode = fs::metadata(dir.0.join(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
        assert_eq!(seqs(&read(&Dir::open(&dir.0).unwrap())), (KEPT, Some(2501), Some(3500)));
    }

    #[test]
    fn long_events_fill_a_file_before_there_are_many() {
        let dir = Scratch::new("long");
        let (_, store) = Store::open(&dir.0, || {}).unwrap();
        for seq in 1..=100 {
            store.writer().write(&record(seq, &"x".repeat(30 << 10)));
        }
        store.writer().write(&record(101, &"x".repeat(EVENT_BYTES_MAX)));
        store.finish();
        for name in [CURRENT, OLD] {
            let length = dir.text(name).len() as u64;
            assert!(length <= FILE_BYTES_MAX + EVENT_BYTES_MAX as u64, "{name}: {length}");
        }
        let (_, first, last) = seqs(&read(&Dir::open(&dir.0).unwrap()));
        assert!(first > Some(1) && last == Some(100), "{first:?} to {last:?}");
    }

    #[test]
    fn what_was_cut_off_or_is_no_event_is_skipped() {
        let dir = Scratch::new("torn");
        fs::create_dir(&dir.0).unwrap();
        let line = |seq| serde_json::to_string(&record(seq, "it has happened")).unwrap();
        let torn = &line(4)[..20];
        let text = [&*line(1), "", "no event", &line(3), &line(2), &line(u64::MAX), torn].join("\n");
        fs::write(dir.0.join(CURRENT), text).unwrap();
        let (records, store) = Store::open(&dir.0, || {}).unwrap();
        assert_eq!(records.iter().map(|record| record.seq).collect::<Vec<_>>(), [1, 3]);
        store.writer().write(&record(4, "again"));
        store.finish();
        assert_eq!(
            dir.text(CURRENT).lines().last(),
            Some(&*serde_json::to_string(&record(4, "again")).unwrap())
        );
        assert_eq!(seqs(&read(&Dir::open(&dir.0).unwrap())), (3, Some(1), Some(4)));
    }

    #[test]
    fn a_link_in_the_place_of_a_file_is_not_followed() {
        let dir = Scratch::new("link");
        fs::create_dir(&dir.0).unwrap();
        fs::write(dir.0.join("precious"), "precious").unwrap();
        std::os::unix::fs::symlink(dir.0.join("precious"), dir.0.join(CURRENT)).unwrap();
        assert!(Store::open(&dir.0, || {}).is_err());
        assert_eq!(dir.text("precious"), "precious");
    }

    /// Every write to `/dev/full` fails as on a full disk.
    #[test]
    fn what_a_full_disk_refuses_is_counted_and_the_rest_goes_on() {
        let dir = Scratch::new("full");
        fs::create_dir(&dir.0).unwrap();
        let mut files = Files::open(Dir::open(&dir.0).unwrap()).unwrap();
        let current =
            std::mem::replace(&mut files.current, File::options().write(true).open("/dev/full").unwrap());
        let error = files.add("lost").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        let refused = report(Some((error, 1)), None, 2);
        assert_eq!(refused, Some(3));
        files.current = current;
        files.add("kept").unwrap();
        assert_eq!(dir.text(CURRENT), "\nkept\n", "behind what may have been cut off");
        assert_eq!(report(None, refused, 0), None);
    }
}
