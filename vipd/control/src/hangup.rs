//! Whether a client is still there.
//!
//! A request may wait for a daemon that is stopped. Who has ended the command meanwhile does not want it to be obeyed any more.

use std::{
    future::pending,
    io,
    os::fd::{AsFd, AsRawFd},
};

use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::socket::{MsgFlags, recv},
};
use tokio::{io::Interest, net::UnixStream};

/// Whether the client has closed its connection, in both directions: one that only sends no more waits for its answer.
pub(super) fn is_gone(stream: &impl AsFd) -> bool {
    let mut fds = [PollFd::new(stream.as_fd(), PollFlags::empty())];
    let is_closed = |fd: &PollFd<'_>| fd.revents().is_some_and(|events| events.contains(PollFlags::POLLHUP));
    poll(&mut fds, PollTimeout::ZERO).is_ok() && is_closed(&fds[0])
}

/// Waits until the client has closed its connection; for ever if it sends another request first, or only sends no more.
pub(super) async fn hung_up(stream: &UnixStream) {
    while stream.readable().await.is_ok() {
        let peek = || Ok(recv(stream.as_raw_fd(), &mut [0], MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT)?);
        match stream.try_io(Interest::READABLE, peek) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            _ if is_gone(stream) => return,
            _ => break,
        }
    }
    pending().await
}

#[cfg(test)]
mod tests {
    use std::net::Shutdown;

    use super::*;

    #[test]
    fn only_a_closed_connection_is_gone() {
        let (server, client) = std::os::unix::net::UnixStream::pair().unwrap();
        assert!(!is_gone(&server));
        client.shutdown(Shutdown::Write).unwrap();
        assert!(!is_gone(&server), "it still waits for an answer");
        drop(client);
        assert!(is_gone(&server));
    }
}
