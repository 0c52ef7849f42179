//! The client's side, blocking: what `vipd status`, `vipd events` and `vipd stop` use.

use std::{
    io::{self, BufRead, BufReader, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{Request, Response};

/// Longest wait for an answer; a stop takes up to two advert intervals of up to 255 s, and is not bounded by it.
const STATUS_TIMEOUT: Duration = Duration::from_secs(10);

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
    #[error("the configuration stays as it is: {0}")]
    Unchanged(String),
}

/// Sends one request and waits for its answer.
pub fn request(path: &Path, request: &Request) -> Result<Response, ClientError> {
    let mut stream = ask(path, request)?;
    if matches!(request, Request::Status | Request::Events { .. }) {
        stream.set_read_timeout(Some(STATUS_TIMEOUT)).map_err(|source| io_error(path, source))?;
    }
    let mut answer = String::new();
    BufReader::new(&mut stream).read_line(&mut answer).map_err(|source| io_error(path, source))?;
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

/// Sends one request, and gives each line that comes back to `take`, until vipd ends or `take` fails.
pub fn follow(
    path: &Path,
    request: &Request,
    mut take: impl FnMut(Response) -> io::Result<()>,
) -> Result<io::Result<()>, ClientError> {
    for line in BufReader::new(ask(path, request)?).lines() {
        let response = read(path, &line.map_err(|source| io_error(path, source))?)?;
        if let Err(error) = take(response) {
            return Ok(Err(error));
        }
    }
    Ok(Ok(()))
}

fn ask(path: &Path, request: &Request) -> Result<UnixStream, ClientError> {
    let mut stream = UnixStream::connect(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            ClientError::NotRunning(path.to_owned())
        }
        _ => io_error(path, error),
    })?;
    let mut line = serde_json::to_vec(request).map_err(|error| io_error(path, error.into()))?;
    line.push(b'\n');
    stream.write_all(&line).map_err(|source| io_error(path, source))?;
    Ok(stream)
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
