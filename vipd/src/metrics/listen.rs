//! Where metrics are served: a TCP address or a unix socket.

use std::{
    fmt, fs, io,
    net::SocketAddr,
    os::{
        fd::AsRawFd,
        unix::fs::{FileTypeExt, MetadataExt},
    },
    path::{Path, PathBuf},
    str::FromStr,
};

use anyhow::{Context, Result, bail};
use nix::{
    errno::Errno,
    sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket},
    unistd::Uid,
};
use tokio::net::{TcpListener, UnixListener};

use crate::files;

/// What `--metrics-listen` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_prefix("unix:") {
            Some("") => Err("expected a path after unix:".into()),
            Some(path) => Ok(Self::Unix(path.into())),
            None => text
                .parse()
                .map(Self::Tcp)
                .map_err(|_| "expected IP:PORT, such as 127.0.0.1:9812 or [::1]:9812, or unix:PATH".into()),
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A bound socket.
#[derive(Debug)]
pub enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener, SocketFile),
}

impl Listener {
    /// To be called on the runtime that serves it.
    ///
    /// # Errors
    ///
    /// The address is in use, or cannot be had; the path is of something that is no socket.
    pub async fn bind(listen: &Listen) -> Result<Self> {
        let bound = match listen {
            Listen::Tcp(address) => TcpListener::bind(address).await.map(Self::Tcp).map_err(Into::into),
            Listen::Unix(path) => bind_unix(path),
        };
        bound.with_context(|| format!("serve metrics on {listen}"))
    }
}

/// Binds a socket with permissions 0660, in place of one that nobody listens on any more.
///
/// Others may write to its directory: what they have put there is replaced, so that it does not keep vipd from starting.
fn bind_unix(path: &Path) -> Result<Listener> {
    let me = Uid::effective().as_raw();
    match fs::symlink_metadata(path) {
        Ok(found) if found.uid() == me && !found.file_type().is_socket() => {
            bail!("{} is no socket", path.display())
        }
        Ok(found) if found.uid() == me && is_listened_on(path) => {
            bail!("another process listens on {}", path.display())
        }
        Ok(_) => fs::remove_file(path).with_context(|| format!("remove {}", path.display()))?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error).with_context(|| format!("look at {}", path.display())),
    }
    let listener = files::bind_socket(path)?;
    let listener = UnixListener::from_std(listener)?;
    let file = SocketFile(path.to_owned());
    Ok(Listener::Unix(listener, file))
}

/// Whether somebody listens on a socket. It is not waited for: with a queue that is full that could be for ever.
fn is_listened_on(path: &Path) -> bool {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let connected = socket(AddressFamily::Unix, SockType::Stream, flags, None)
        .and_then(|socket| connect(socket.as_raw_fd(), &UnixAddr::new(path)?));
    matches!(connected, Ok(()) | Err(Errno::EAGAIN))
}

/// The file of a unix socket; removed on drop.
#[derive(Debug)]
pub struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Somebody may have removed it.
        let _ = fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_metrics_are_served_is_read_and_written_alike() {
        for text in ["127.0.0.1:9812", "[::1]:9812", "0.0.0.0:1", "unix:/run/vipd/metrics.sock"] {
            assert_eq!(text.parse::<Listen>().map(|listen| listen.to_string()), Ok(text.to_owned()));
        }
        for text in ["", "9812", ":9812", "localhost:9812", "127.0.0.1", "unix:", "/run/vipd/metrics.sock"] {
            assert!(text.parse::<Listen>().is_err(), "{text:?}");
        }
    }
}
