//! The last lines that a command prints.
//!
//! A command writes into a pipe, and vipd reads it while the command runs. Every command takes the same memory: a ring of the last
//! octets, and at the end a few lines of them. A flood is read up to a limit.
//!
//! What a command leaves running holds the pipe too, and a pipe that nobody reads would stop or end it. So whoever drops a [`Tail`]
//! before the end of the output leaves the rest to a `cat` of its own, which outlives vipd and ends with the last writer.

use std::{
    collections::VecDeque,
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::{fs::fchown, process::CommandExt},
    },
    process::{Command, Stdio},
};

use tokio::net::unix::pipe::{self, Receiver};

use super::{
    child::{RunAs, Setup},
    output::system_tool,
};
use crate::printable::printable_to;

/// Octets of the end that are kept while a command runs.
const RING_LEN: usize = 2048;
/// Lines kept of a command that has ended.
pub const LINES: usize = 5;
/// Characters kept of a line.
const LINE_LEN: usize = 200;
/// Octets read of one run. What comes after them is not kept.
const READ_MAX: usize = 1 << 20;
/// Octets read without a pause for others on this thread.
const READ_ONCE: usize = 64 << 10;

/// The output of a command, standard output and standard error in one.
#[derive(Debug)]
pub struct Tail {
    /// `None`: it has ended, or somebody else reads the rest.
    pipe: Option<Receiver>,
    ring: VecDeque<u8>,
    /// Octets read.
    count: usize,
}

impl Tail {
    /// A pipe, and the end to write to for a command that runs as `account`.
    pub fn new(account: Option<&RunAs>) -> io::Result<(Self, OwnedFd)> {
        let (sender, receiver) = pipe::pipe()?;
        let writer = sender.into_blocking_fd()?;
        if let Some(RunAs { uid, gid, .. }) = account {
            // A script may open /dev/stderr once more, as it may open /dev/null.
            if let Err(error) = fchown(writer.as_fd(), Some(uid.as_raw()), Some(gid.as_raw())) {
                tracing::debug!(%error, "a script cannot open its output by a path");
            }
        }
        Ok((Self { pipe: Some(receiver), ring: VecDeque::new(), count: 0 }, writer))
    }

    /// Reads for ever. May be dropped while it waits.
    pub async fn read(&mut self) {
        while let Some(pipe) = &self.pipe {
            if pipe.readable().await.is_err() {
                self.pipe = None;
                break;
            }
            self.take(READ_ONCE);
        }
        std::future::pending().await
    }

    /// The last lines, of which the last is the newest: control characters are escaped, long lines are cut.
    pub fn finish(mut self) -> Vec<String> {
        self.take(READ_MAX);
        let octets: Vec<u8> = self.ring.iter().copied().collect();
        let text = String::from_utf8_lossy(&octets);
        let mut lines: Vec<&str> = text.lines().collect();
        // The beginning of the first one may be lost.
        if self.count > RING_LEN && lines.len() > 1 {
            lines.remove(0);
        }
        let lines = lines.into_iter().map(str::trim_end).filter(|line| !line.is_empty());
        let mut lines: Vec<String> = lines.map(|line| printable_to(line, LINE_LEN)).collect();
        lines.drain(..lines.len().saturating_sub(LINES));
        lines
    }

    /// Takes what is there, up to so many octets.
    fn take(&mut self, most: usize) {
        let mut buffer = [0; 4096];
        let mut left = most;
        while let Some(pipe) = &self.pipe
            && left > 0
        {
            match pipe.try_read(&mut buffer) {
                Ok(0) => self.pipe = None,
                Ok(length) => {
                    left = left.saturating_sub(length);
                    self.count += length;
                    self.ring.extend(&buffer[..length]);
                    self.ring.drain(..self.ring.len().saturating_sub(RING_LEN));
                    if self.count > READ_MAX {
                        self.leave();
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => self.pipe = None,
            }
        }
    }

    /// Leaves the rest to a process that throws it away.
    fn leave(&mut self) {
        let Some(pipe) = self.pipe.take() else { return };
        let drained = pipe.into_blocking_fd().and_then(drain);
        if let Err(error) = drained {
            tracing::warn!(%error, "what a script has left running may end when it prints something");
        }
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        // It may have ended since.
        self.take(READ_MAX);
        self.leave();
    }
}

/// Has `cat` read a pipe to its end. It is no child of vipd, and needs nothing but the pipe.
fn drain(pipe: OwnedFd) -> io::Result<()> {
    let cat = system_tool("cat").ok_or_else(|| io::Error::other("there is no `cat`"))?;
    let mut command = Command::new(cat);
    command.current_dir("/").env_clear().stdin(pipe).stdout(Stdio::null()).stderr(Stdio::null());
    // SAFETY: all that it does is async-signal-safe.
    unsafe { command.pre_exec(Setup::outliving) };
    // It has ended by then, and what it has started has not.
    command.spawn()?.wait().map(drop)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::scripts::Executable;

    fn run(script: &str) -> Vec<String> {
        let arguments = vec!["-c".to_owned(), script.to_owned()];
        let executable = Executable { path: "/bin/sh".into(), arguments, account: None, secure: false };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(executable.run(Duration::from_secs(60))).output
    }

    #[test]
    fn the_last_lines_are_kept_of_both_outputs() {
        assert_eq!(run("echo one; echo two >&2; printf three"), ["one", "two", "three"]);
        assert_eq!(run("for n in 1 2 3 4 5 6 7; do echo $n; done; echo; echo"), ["3", "4", "5", "6", "7"]);
        assert!(run("true").is_empty());
        assert_eq!(run(r"printf 'a\033[2Jb\rc\n'"), ["a\\u{1b}[2Jb\\rc"]);
        // /dev/stderr is opened anew.
        assert_eq!(run("echo again >/dev/stderr"), ["again"]);
    }

    #[test]
    fn a_flood_takes_no_memory_and_is_no_failure() {
        let lines = run("head -c 3000000 /dev/zero | tr '\\0' x; echo; echo done");
        assert!(lines.iter().map(String::len).sum::<usize>() <= LINES * (LINE_LEN + 10), "{lines:?}");
        assert!(!lines.is_empty());
    }

    /// With a pipe that nobody reads it would be ended by its next line, or wait for ever.
    #[test]
    fn what_is_left_running_goes_on_to_print() {
        let file = std::env::temp_dir().join(format!("vipd-tail-{}", std::process::id()));
        let script = format!(
            "(sleep 0.3; head -c 300000 /dev/zero; echo line && echo done >{}) & echo begun",
            file.display()
        );
        assert_eq!(run(&script), ["begun"]);
        let is_done = || std::fs::read_to_string(&file).is_ok_and(|text| text == "done\n");
        vipd_tests::wait_for("what was left running to end", Duration::from_secs(60), is_done).unwrap();
        std::fs::remove_file(&file).unwrap();
    }
}
