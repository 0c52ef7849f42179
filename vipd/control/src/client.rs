//! The client's side, blocking: used by `vipd status`, `vipd events`, `vipd stop` and others.

use std::{
    fs,
    io::{self, BufRead, BufReader, Read, Write},
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::{fs::MetadataExt, net::UnixStream},
    },
    path::{Path, PathBuf},
    time::Duration,
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        socket::{
            AddressFamily, SockFlag, SockType, UnixAddr, connect as connect_to, getsockopt, setsockopt,
            socket,
            sockopt::{PeerCredentials, SendTimeout},
        },
        time::{TimeVal, TimeValLike},
    },
    unistd::{Gid, Group},
};

use super::{Request, Response};
use vipd_system::processes::Process;

/// Longest wait for a connection, for the request to be taken, and for each part of a status; a stop takes up to two advert
/// intervals of up to 255 s, and is not bounded by it.
const STATUS_TIMEOUT: Duration = Duration::from_secs(10);
/// After this long a vipd that does nothing at all is not waited for. One that runs, or waits for the kernel, may be on a busy machine.
const IDLE_TIMEOUT: Duration = Duration::from_millis(1500);
/// A stop that takes longer says what it waits for.
const STOP_PATIENCE: Duration = Duration::from_secs(1);
/// Between two looks at a stop before that.
const STOP_LOOK: Duration = Duration::from_millis(100);
/// Looks at what it does, so far apart.
const LOOKS: u32 = 4;
const BETWEEN_LOOKS: Duration = Duration::from_millis(50);
/// Most octets of a reply. The status of 10,000 VIPs has a few million.
const MAX_ANSWER_BYTES: u64 = 64 << 20;

#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("no vipd is running with the control socket {}", .0.display())]
    NotRunning(PathBuf),
    /// It has taken the request, or not even that, and does nothing.
    #[error("vipd{} does not answer: stopped or hung", pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default())]
    Unresponsive { pid: Option<u32> },
    #[error("talk to vipd over {}", path.display())]
    Io {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// The socket is not for this user.
    #[error("you may not ask vipd over {}: Permission denied; {remedy}", path.display())]
    NotAllowed { path: PathBuf, remedy: String },
    #[error("{0}")]
    Refused(String),
    #[error("{message}\nreload rejected: {errors}; the running configuration is unchanged")]
    Unchanged { message: String, errors: String },
}

/// Sends one request and waits for its answer.
pub fn request(path: &Path, request: &Request) -> Result<Response, ClientError> {
    let mut stream = ask(path, request)?;
    if matches!(request, Request::Status | Request::Events { .. }) {
        wait_for_answer(path, &stream)?;
        stream.set_read_timeout(Some(STATUS_TIMEOUT)).map_err(|source| io_error(path, source))?;
    } else {
        not_while_frozen(path, &stream)?;
    }
    let answer = read_line(&mut BufReader::new(&mut stream)).map_err(|source| io_error(path, source))?;
    if answer.is_empty() && matches!(request, Request::Stop { .. } | Request::Leave) {
        // The daemon was gone before it could say so.
        return Ok(Response::Stopped);
    }
    if answer.is_empty() {
        let ended = "vipd has ended before it answered";
        return Err(io_error(path, io::Error::new(io::ErrorKind::UnexpectedEof, ended)));
    }
    read(path, &answer)
}

/// Connects, for what is more than one request; also returns the id of the vipd that listens, if it is known here.
pub fn connect(path: &Path) -> Result<(UnixStream, Option<u32>), ClientError> {
    let stream = connected_or_why(path, false)?;
    let pid = peer_pid(&stream);
    Ok((stream, pid))
}

/// Sends a stop, and waits for its end, however long that takes. After [`STOP_PATIENCE`] it tells what is waited for.
pub fn stop(path: &Path, request: &Request, tell: impl FnMut(&str)) -> Result<(), ClientError> {
    let stream = ask(path, request)?;
    let mut read_from = BufReader::new(&stream);
    let mut waiting = StopWait { tell, waits_for: None, patience: STOP_PATIENCE, is_frozen: false };
    loop {
        if read_from.buffer().is_empty() && !waiting.patience.is_zero() && !is_readable(&stream, STOP_LOOK) {
            waiting.goes_on(&stream);
            continue;
        }
        let line = read_line(&mut read_from).map_err(|source| io_error(path, source))?;
        // The daemon may be gone before it could say so.
        if line.is_empty() {
            return Ok(());
        }
        let Response::Waiting { what } = read(path, &line)? else { return Ok(()) };
        waiting.is_for(what);
    }
}

/// A stop that takes a while.
struct StopWait<F> {
    tell: F,
    waits_for: Option<String>,
    /// What is left of it.
    patience: Duration,
    /// The daemon did nothing at all.
    is_frozen: bool,
}

impl<F: FnMut(&str)> StopWait<F> {
    /// Nothing was heard for [`STOP_LOOK`].
    fn goes_on(&mut self, stream: &UnixStream) {
        self.patience = self.patience.saturating_sub(STOP_LOOK);
        if !self.patience.is_zero() {
            return;
        }
        if let Some(what) = &self.waits_for {
            return (self.tell)(what);
        }
        let frozen = peer_pid(stream).filter(|pid| does_nothing(*pid, |time| is_readable(stream, time)));
        self.is_frozen = frozen.is_some();
        match frozen {
            Some(pid) => (self.tell)(&format!(
                "vipd (pid {pid}) does not answer: stopped or hung. It stops when it goes on, unless this command is ended before"
            )),
            None => (self.tell)("vipd is busy, and has not come to the request yet"),
        }
    }

    /// The daemon says what it waits for.
    fn is_for(&mut self, what: String) {
        if std::mem::take(&mut self.is_frozen) {
            (self.tell)("vipd answers again");
        }
        if self.patience.is_zero() && self.waits_for.as_ref() != Some(&what) {
            (self.tell)(&what);
        }
        self.waits_for = Some(what);
    }
}

fn is_readable(stream: &UnixStream, timeout: Duration) -> bool {
    let mut fds = [PollFd::new(stream.as_fd(), PollFlags::POLLIN)];
    let timeout = PollTimeout::try_from(timeout).unwrap_or(PollTimeout::MAX);
    // A signal that comes meanwhile is as good as a look in vain.
    poll(&mut fds, timeout).is_ok_and(|count| count > 0)
}

/// Sends one request, and passes each line of the reply to `take`, until vipd ends or `take` fails.
pub fn follow(
    path: &Path,
    request: &Request,
    mut take: impl FnMut(Response) -> io::Result<()>,
) -> Result<io::Result<()>, ClientError> {
    let stream = ask(path, request)?;
    not_while_frozen(path, &stream)?;
    let mut stream = BufReader::new(stream);
    loop {
        let line = read_line(&mut stream).map_err(|source| io_error(path, source))?;
        if line.is_empty() {
            return Ok(Ok(()));
        }
        if let Err(error) = take(read(path, &line)?) {
            return Ok(Err(error));
        }
    }
}

/// Waits until there is something to read, for as long as the vipd at the other end does something.
fn wait_for_answer(path: &Path, stream: &UnixStream) -> Result<(), ClientError> {
    let is_there = |timeout: Duration| is_readable(stream, timeout);
    if is_there(IDLE_TIMEOUT) {
        return Ok(());
    }
    match peer_pid(stream) {
        // Whoever listens there is not seen from here.
        None => Ok(()),
        Some(pid) if does_nothing(pid, is_there) => Err(ClientError::Unresponsive { pid: Some(pid) }),
        Some(_) if is_there(STATUS_TIMEOUT.saturating_sub(IDLE_TIMEOUT)) => Ok(()),
        Some(_) => Err(io_error(path, no_answer())),
    }
}

/// Waits for the answer to a request that may take any time, and gives it up if the vipd at the other end is stopped, or is later on: it
/// does not obey who has ended.
fn not_while_frozen(path: &Path, stream: &UnixStream) -> Result<(), ClientError> {
    let is_stopped = |pid: &u32| {
        let states = Process::of(Some(*pid)).thread_states();
        !states.is_empty() && states.iter().all(|state| matches!(state, 'T' | 't'))
    };
    let Some(pid) = peer_pid(stream) else { return Ok(()) };
    // Its threads are stopped one by one. By a debugger it may be for a moment.
    let mut was_stopped = is_stopped(&pid);
    while !is_readable(stream, STATUS_TIMEOUT) {
        let is_still = is_stopped(&pid);
        if was_stopped && is_still {
            tracing::debug!(path = %path.display(), pid, "stopped");
            return Err(ClientError::Unresponsive { pid: Some(pid) });
        }
        was_stopped = is_still;
    }
    Ok(())
}

/// The id of the process that listens; `None` if it is not seen from here.
fn peer_pid(stream: &UnixStream) -> Option<u32> {
    let peer = getsockopt(stream, PeerCredentials).ok()?;
    u32::try_from(peer.pid()).ok().filter(|pid| *pid != 0)
}

/// Whether no thread of a process runs or waits for the kernel, at any of a few looks, and no answer comes meanwhile.
fn does_nothing(pid: u32, is_there: impl Fn(Duration) -> bool) -> bool {
    let process = Process::of(Some(pid));
    let is_idle = || {
        let states = process.thread_states();
        !states.is_empty() && states.iter().all(|state| !matches!(state, 'R' | 'D'))
    };
    (0..LOOKS).all(|_| is_idle() && !is_there(BETWEEN_LOOKS))
}

/// Reads one line; empty at the end. The listening process may not be vipd.
pub(super) fn read_line(stream: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    let mut limited = stream.take(MAX_ANSWER_BYTES);
    limited.read_line(&mut line).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => no_answer(),
        _ => error,
    })?;
    if limited.limit() == 0 {
        let text =
            format!("the reply has more than {MAX_ANSWER_BYTES} octets: the listening process is not vipd");
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    Ok(line)
}

fn no_answer() -> io::Error {
    let text = format!("no reply within {} s: the daemon is busy or stopped", STATUS_TIMEOUT.as_secs());
    io::Error::new(io::ErrorKind::TimedOut, text)
}

fn ask(path: &Path, request: &Request) -> Result<UnixStream, ClientError> {
    let mut stream = connected_or_why(path, request.only_shows()).map_err(|error| match error {
        ClientError::NotAllowed { path, remedy } => {
            ClientError::NotAllowed { path, remedy: only_for_root(request).map_or(remedy, str::to_owned) }
        }
        error => error,
    })?;
    let mut line = serde_json::to_vec(request).map_err(|error| io_error(path, error.into()))?;
    line.push(b'\n');
    stream.write_all(&line).map_err(|source| io_error(path, source))?;
    Ok(stream)
}

fn connected_or_why(path: &Path, shows: bool) -> Result<UnixStream, ClientError> {
    let stream = match connected(path) {
        // The socket beside it may be for this user.
        Err(Errno::EACCES) if shows => {
            connected(&super::status_socket(path)).map_err(|error| match error {
                // An earlier vipd has none.
                Errno::ENOENT | Errno::ECONNREFUSED => Errno::EACCES,
                error => error,
            })
        }
        stream => stream,
    };
    stream.map_err(|error| match error {
        Errno::EACCES | Errno::EPERM => not_allowed(path, shows),
        Errno::ENOENT | Errno::ECONNREFUSED => ClientError::NotRunning(path.to_owned()),
        // It has not taken the connections before this one.
        Errno::EAGAIN => match pid_beside(path) {
            Some(pid) if !does_nothing(pid, pause) => io_error(path, no_answer()),
            pid => ClientError::Unresponsive { pid },
        },
        _ => io_error(path, error.into()),
    })
}

/// Why a request that changes nothing is for root alone.
fn only_for_root(request: &Request) -> Option<&'static str> {
    match request {
        Request::Capture => Some("use sudo: only root may see the frames of this host"),
        Request::Compare => Some("use sudo: what a reload would change shows files that may be root's alone"),
        _ => None,
    }
}

fn not_allowed(path: &Path, shows: bool) -> ClientError {
    let remedy = match (shows, group_of(&super::status_socket(path))) {
        (false, _) => "use sudo: only root may change what vipd does".to_owned(),
        (true, Some(group)) if group != "root" => format!("join the group {group}, or use sudo"),
        (true, _) => "use sudo, or have root set `status_group` in global_defs".to_owned(),
    };
    ClientError::NotAllowed { path: path.to_owned(), remedy }
}

/// The name of the group of a file.
fn group_of(path: &Path) -> Option<String> {
    let gid = fs::symlink_metadata(path).ok()?.gid();
    Some(
        Group::from_gid(Gid::from_raw(gid))
            .ok()
            .flatten()
            .map_or_else(|| gid.to_string(), |group| group.name),
    )
}

/// Connects with a time limit, which std has not.
fn connected(path: &Path) -> nix::Result<UnixStream> {
    let socket: OwnedFd = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    let limit = TimeVal::milliseconds(i64::try_from(IDLE_TIMEOUT.as_millis()).unwrap_or(i64::MAX));
    setsockopt(&socket, SendTimeout, &limit)?;
    connect_to(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
    Ok(socket.into())
}

/// Lets some time pass, in which nothing comes.
fn pause(time: Duration) -> bool {
    std::thread::sleep(time);
    false
}

/// The process id that vipd has written beside its socket.
fn pid_beside(path: &Path) -> Option<u32> {
    fs::read_to_string(path.with_extension("pid")).ok()?.trim().parse().ok()
}

fn read(path: &Path, line: &str) -> Result<Response, ClientError> {
    match serde_json::from_str(line) {
        Ok(Response::Error { message }) => Err(ClientError::Refused(message)),
        Ok(Response::Refused { message, errors }) => Err(ClientError::Unchanged { message, errors }),
        Ok(response) => Ok(response),
        Err(error) => Err(io_error(path, error.into())),
    }
}

fn io_error(path: &Path, source: io::Error) -> ClientError {
    ClientError::Io { path: path.to_owned(), source }
}
