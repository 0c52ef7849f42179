//! A vipd takes over from another one that runs: what the two say to each other over the control socket.
//!
//! The successor prepares everything beside the running vipd, then sends one request. The running vipd's engine thread renews its leases
//! once more and answers, with the descriptors of the locks: the answer is its last act. From then on the successor is alone:
//! at every moment one process holds the locks, and one engine writes leases.
//!
//! | what dies or hangs | what becomes of the VIPs |
//! |---|---|
//! | the successor, before its request | the running vipd knows nothing of it |
//! | the successor, before the answer | the answer meets a closed socket: the running vipd goes on |
//! | the running vipd, before the answer | as after kill -9: the leases run out, unless a vipd is started before |
//! | the running vipd hangs | the successor gives up in [`PATIENCE`], and the request is void |
//! | the successor, after the answer | as after kill -9 |
//! | the running vipd, after the answer | nothing: it was about to end |

use std::{
    io::{self, IoSlice, IoSliceMut},
    os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use nix::{
    cmsg_space,
    errno::Errno,
    sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, Shutdown, recvmsg, sendmsg, shutdown},
};
use tokio::{io::Interest, net::UnixStream, time::timeout};

use super::locks;
use crate::control::{self, ClientError, Request, Response};

/// How long a vipd that runs may take for its answer: it has nothing to do but to send its adverts.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long it may take to end after it; its last notify scripts have a second, and one more.
const END: Duration = Duration::from_secs(3);
/// The runtime directory's, and two of the network namespace.
const MOST_LOCKS: usize = 3;
/// More than an answer has.
const MOST_OCTETS: usize = 4096;

/// The vipd that is to be replaced.
#[derive(Debug)]
pub struct Incumbent {
    socket: PathBuf,
    stream: UnixStream,
    /// Its id, if it is one of this pid namespace.
    pid: Option<u32>,
}

impl Incumbent {
    /// Connects to its control socket; nothing is asked yet.
    pub fn connect(socket: &Path) -> Result<Self> {
        let (stream, pid) = control::connect(socket)?;
        stream.set_nonblocking(true).context("use the control socket")?;
        let stream = UnixStream::from_std(stream).context("watch the control socket")?;
        Ok(Self { socket: socket.to_owned(), stream, pid })
    }

    /// Its id, if it is known.
    pub fn pid(&self) -> Option<u32> {
        self.pid
    }

    /// Asks it to end, and returns its locks, which this process has from now on. Connects anew: it closes a connection without a request after a
    /// while, and loading the program may take longer.
    ///
    /// # Errors
    ///
    /// It goes on as if it had not been asked, and cannot do otherwise later.
    pub async fn take_over(&mut self, pins: String) -> Result<Vec<OwnedFd>> {
        *self = Self::connect(&self.socket)?;
        let mut line = serde_json::to_vec(&Request::Replace { pins })?;
        line.push(b'\n');
        // A new connection has room for a line, once this runtime has looked at it.
        let write = async {
            self.stream.writable().await?;
            self.stream.try_write(&line)
        };
        let sent = write.await.context("send the request to the running vipd")?;
        ensure!(sent == line.len(), "the control socket takes no request");
        let mut answer = SuccessionAnswer::default();
        match timeout(PATIENCE, self.read(&mut answer)).await {
            Ok(read) => read.context("read the answer of the running vipd")?,
            Err(_) => {
                // What it has not sent by now it never will.
                shutdown(self.stream.as_raw_fd(), Shutdown::Both)
                    .context("close the connection to the running vipd")?;
                while !answer.is_whole() && answer.receive(&self.stream).is_ok_and(|length| length > 0) {}
                if !answer.is_whole() {
                    return Err(ClientError::Unresponsive { pid: self.pid }.into());
                }
            }
        }
        match serde_json::from_slice(&answer.text) {
            Ok(Response::Replaced) => Ok(answer.locks),
            Ok(Response::Error { message }) if message.starts_with(control::NOT_A_REQUEST) => {
                bail!(
                    "the running vipd is of a version that cannot be replaced while it runs; restart it instead"
                )
            }
            Ok(Response::Error { message }) => bail!("the running vipd refuses to be replaced: {message}"),
            _ if answer.text.is_empty() => bail!("the running vipd has ended; start vipd without --replace"),
            _ => bail!("the running vipd gave an answer that makes no sense"),
        }
    }

    /// Waits until it has ended; not for long.
    pub async fn gone(self) {
        let mut answer = SuccessionAnswer::default();
        if timeout(END, self.read(&mut answer)).await.is_err() {
            tracing::warn!(pid = self.pid, "the replaced vipd has not ended yet");
        }
    }

    /// Reads up to the end of the line, or of the connection.
    async fn read(&self, answer: &mut SuccessionAnswer) -> io::Result<()> {
        while !answer.is_whole() {
            let received = self.stream.async_io(Interest::READABLE, || answer.receive(&self.stream)).await;
            match received {
                Ok(0) => break,
                Ok(_) => {}
                // It has ended with something unread.
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// An answer as far as it has come in.
#[derive(Debug, Default)]
struct SuccessionAnswer {
    text: Vec<u8>,
    locks: Vec<OwnedFd>,
}

impl SuccessionAnswer {
    fn is_whole(&self) -> bool {
        self.text.ends_with(b"\n") || self.text.len() >= MOST_OCTETS
    }

    fn receive(&mut self, stream: &UnixStream) -> io::Result<usize> {
        let mut buffer = [0; 512];
        let mut parts = [IoSliceMut::new(&mut buffer)];
        let mut space = cmsg_space!([RawFd; MOST_LOCKS]);
        let received =
            recvmsg::<()>(stream.as_raw_fd(), &mut parts, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC)?;
        for message in received.cmsgs()? {
            if let ControlMessageOwned::ScmRights(fds) = message {
                // SAFETY: the kernel has just made these descriptors, for this process.
                self.locks.extend(fds.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
            }
        }
        let length = received.bytes;
        self.text.extend_from_slice(&buffer[..length]);
        Ok(length)
    }
}

/// Who is to be answered when the leases are renewed for the last time.
#[derive(Debug)]
pub struct Successor {
    /// The control connection of its request.
    pub connection: OwnedFd,
    pub locks: Vec<OwnedFd>,
}

impl Successor {
    /// Has it take over. After a success nothing may be done any more that it does too.
    ///
    /// # Errors
    ///
    /// It is gone, or has given up: nothing has changed.
    pub fn pass_on(&self) -> io::Result<()> {
        let mut line = serde_json::to_vec(&Response::Replaced)?;
        line.push(b'\n');
        let fds: Vec<RawFd> = self.locks.iter().map(AsRawFd::as_raw_fd).collect();
        let rights = [ControlMessage::ScmRights(&fds)];
        let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
        let sent = loop {
            match sendmsg::<()>(self.connection.as_raw_fd(), &[IoSlice::new(&line)], &rights, flags, None) {
                Err(Errno::EINTR) => {}
                sent => break sent?,
            }
        };
        // The line is shorter than any socket's buffer, which is empty: it goes whole or not at all.
        if sent < line.len() {
            return Err(io::ErrorKind::WriteZero.into());
        }
        locks::note_passed_on();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{BufRead, BufReader, Read, Write},
        os::unix::net::UnixListener,
    };

    use super::*;

    /// The running vipd closes a connection that says nothing for 5 s; loading the program of another ABI took longer on a slow machine.
    #[test]
    fn a_first_connection_that_was_closed_prevents_no_takeover() {
        let dir = std::env::temp_dir().join(format!("vipd-succession-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let socket = dir.join("control");
        let listener = UnixListener::bind(&socket).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let _entered = runtime.enter();
        let mut incumbent = Incumbent::connect(&socket).unwrap();
        let running = std::thread::spawn(move || {
            drop(listener.accept().unwrap());
            let (mut stream, _) = listener.accept().unwrap();
            let mut line = String::new();
            BufReader::new(&stream).read_line(&mut line).unwrap();
            let answer = serde_json::to_string(&Response::Replaced).unwrap();
            stream.write_all(format!("{answer}\n").as_bytes()).unwrap();
            line
        });
        // Closed by now: that is the end of the connection.
        let mut octet = [0];
        let closed = std::os::fd::AsFd::as_fd(&incumbent.stream).try_clone_to_owned().unwrap();
        let mut closed = std::os::unix::net::UnixStream::from(closed);
        closed.set_nonblocking(false).unwrap();
        assert_eq!(closed.read(&mut octet).unwrap(), 0);
        closed.set_nonblocking(true).unwrap();
        let locks = runtime.block_on(incumbent.take_over("/sys/fs/bpf/vipd".into())).unwrap();
        assert_eq!(locks.len(), 0);
        assert!(running.join().unwrap().contains("/sys/fs/bpf/vipd"));
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
