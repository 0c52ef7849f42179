//! The client's side, blocking: used by `vipd status`, `vipd events`, `vipd stop` and others.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::net::UnixStream,
    },
    path::{Path, PathBuf},
    time::Duration,
};

use nix::{
    errno::Errno,
    sys::{
        socket::{
            AddressFamily, SockFlag, SockType, UnixAddr, connect, setsockopt, socket, sockopt::SendTimeout,
        },
        time::TimeVal,
    },
};

use super::{Request, Response};

/// Longest wait for a connection, for the request to be taken, and for each part of a status; a stop takes up to two advert
/// intervals of up to 255 s, and is not bounded by it.
const STATUS_TIMEOUT: Duration = Duration::from_secs(10);
/// Most octets of a reply. The status of 10,000 VIPs has a few million.
const MAX_ANSWER_BYTES: u64 = 64 << 20;

#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("no vipd is running with the control socket {}", .0.display())]
    NotRunning(PathBuf),
    #[error("talk to vipd over {}", path.display())]
    Io {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{0}")]
    Refused(String),
    #[error("reload rejected; the running configuration is unchanged{separator}{0}", separator = if .0.contains('\n') { "\n" } else { ": " })]
    Unchanged(String),
}

/// Sends one request and waits for its answer.
pub fn request(path: &Path, request: &Request) -> Result<Response, ClientError> {
    let mut stream = ask(path, request)?;
    if matches!(request, Request::Status | Request::Events { .. }) {
        stream.set_read_timeout(Some(STATUS_TIMEOUT)).map_err(|source| io_error(path, source))?;
    }
    let answer = read_line(&mut BufReader::new(&mut stream)).map_err(|source| io_error(path, source))?;
    if answer.is_empty() && matches!(request, Request::Stop | Request::Leave) {
        // The daemon was gone before it could say so.
        return Ok(Response::Stopped);
    }
    if answer.is_empty() {
        let ended = "vipd has ended before it answered";
        return Err(io_error(path, io::Error::new(io::ErrorKind::UnexpectedEof, ended)));
    }
    read(path, &answer)
}

/// Sends one request, and passes each line of the reply to `take`, until vipd ends or `take` fails.
pub fn follow(
    path: &Path,
    request: &Request,
    mut take: impl FnMut(Response) -> io::Result<()>,
) -> Result<io::Result<()>, ClientError> {
    let mut stream = BufReader::new(ask(path, request)?);
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
    let mut stream = connected(path).map_err(|error| match error {
        Errno::ENOENT | Errno::ECONNREFUSED => ClientError::NotRunning(path.to_owned()),
        // It has not taken the connections before this one.
        Errno::EAGAIN => io_error(path, no_answer()),
        _ => io_error(path, error.into()),
    })?;
    let mut line = serde_json::to_vec(request).map_err(|error| io_error(path, error.into()))?;
    line.push(b'\n');
    stream.write_all(&line).map_err(|source| io_error(path, source))?;
    Ok(stream)
}

/// Connects with a time limit, which std has not.
fn connected(path: &Path) -> nix::Result<UnixStream> {
    let socket: OwnedFd = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    let limit = TimeVal::new(i64::try_from(STATUS_TIMEOUT.as_secs()).unwrap_or(i64::MAX), 0);
    setsockopt(&socket, SendTimeout, &limit)?;
    connect(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
    Ok(socket.into())
}

fn read(path: &Path, line: &str) -> Result<Response, ClientError> {
    match serde_json::from_str(line) {
        Ok(Response::Error { message }) => Err(ClientError::Refused(message)),
        Ok(Response::Refused { message }) => Err(ClientError::Unchanged(message)),
        Ok(response) => Ok(response),
        Err(error) => Err(io_error(path, error.into())),
    }
}

fn io_error(path: &Path, source: io::Error) -> ClientError {
    ClientError::Io { path: path.to_owned(), source }
}
