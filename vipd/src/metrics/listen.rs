//! Where metrics are served: a TCP address or a unix socket.

use std::{
    ffi::OsString,
    fmt, io,
    net::SocketAddr,
    os::fd::{AsFd, AsRawFd},
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use nix::{
    errno::Errno,
    sys::{
        socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket},
        stat::SFlag,
    },
    unistd::Uid,
};
use tokio::{
    net::{TcpListener, UnixListener},
    sync::mpsc,
    time::sleep,
};

use crate::control::Command;
use crate::files::{self, Dir};

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

impl From<vipd_config::MetricsListen> for Listen {
    fn from(listen: vipd_config::MetricsListen) -> Self {
        match listen {
            vipd_config::MetricsListen::Tcp(address) => Self::Tcp(address),
            vipd_config::MetricsListen::Unix(path) => Self::Unix(path.into()),
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
    Unix(UnixListener, #[expect(dead_code, reason = "held for its drop")] SocketFile),
}

/// The address for the metrics, and the socket if it could be bound.
#[derive(Debug)]
pub struct Endpoint {
    listen: Listen,
    bound: Option<Listener>,
}

/// Time between two attempts to bind a port that another process has.
const AGAIN: Duration = Duration::from_secs(5);

impl Endpoint {
    /// To be called on the runtime that serves it. A port that another process has is no error: any user can take a port, and must not
    /// keep vipd from starting.
    ///
    /// # Errors
    ///
    /// The address cannot be bound; the path is no socket, or another process listens on it.
    pub async fn new(listen: &Listen) -> Result<Self> {
        let bound = match Listener::bind(listen).await {
            Ok(listener) => Some(listener),
            Err(error) if is_taken(&error) => {
                tracing::error!(
                    target: "vipd::event",
                    event = "metrics_not_served",
                    listen = %listen,
                    "metrics are not served: another process has the port"
                );
                None
            }
            Err(error) => return Err(error),
        };
        Ok(Self { listen: listen.clone(), bound })
    }

    /// Serves scrapes as soon as the port is bound.
    pub async fn serve(self, commands: mpsc::Sender<Command>) {
        let listener = match self.bound {
            Some(listener) => listener,
            None => loop {
                sleep(AGAIN).await;
                if let Ok(listener) = Listener::bind(&self.listen).await {
                    tracing::info!(
                        target: "vipd::event",
                        event = "metrics_served",
                        listen = %self.listen,
                        "metrics are served: the port is free again"
                    );
                    break listener;
                }
            },
        };
        super::http::serve(listener, commands).await;
    }
}

/// Whether another process has the port.
fn is_taken(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::AddrInUse)
}

impl Listener {
    /// To be called on the runtime that serves it.
    ///
    /// # Errors
    ///
    /// The address is in use or cannot be bound; the path is no socket.
    pub async fn bind(listen: &Listen) -> Result<Self> {
        let bound = match listen {
            Listen::Tcp(address) => TcpListener::bind(address).await.map(Self::Tcp).map_err(Into::into),
            Listen::Unix(path) => bind_unix(path),
        };
        bound.with_context(|| format!("serve metrics on {listen}"))
    }
}

/// Binds a socket with permissions 0660, and replaces one that nobody listens on.
///
/// Other users may write to its directory: their files are replaced, so that they do not keep vipd from starting.
fn bind_unix(path: &Path) -> Result<Listener> {
    let me = Uid::effective().as_raw();
    let (dir, name) = Dir::of(path)?;
    // Through no link that others make on the way meanwhile.
    let held = Path::new("/proc/self/fd").join(dir.as_fd().as_raw_fd().to_string()).join(name);
    match dir.stat(name) {
        Ok(found) if found.st_uid == me && files::kind(found.st_mode) != SFlag::S_IFSOCK => {
            bail!("{} is not a socket", path.display())
        }
        Ok(found) if found.st_uid == me && is_listened_on(&held) => {
            bail!("another process listens on {}", path.display())
        }
        Ok(_) => dir.remove(name).with_context(|| format!("remove {}", path.display()))?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error).with_context(|| format!("look at {}", path.display())),
    }
    let listener = files::bind_socket(&held)?;
    let listener = UnixListener::from_std(listener)?;
    let file = SocketFile { name: name.to_owned(), dir };
    Ok(Listener::Unix(listener, file))
}

/// Whether a process listens on a socket. Does not wait, because with a full queue that could last for ever.
fn is_listened_on(path: &Path) -> bool {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let connected = socket(AddressFamily::Unix, SockType::Stream, flags, None)
        .and_then(|socket| connect(socket.as_raw_fd(), &UnixAddr::new(path)?));
    matches!(connected, Ok(()) | Err(Errno::EAGAIN))
}

/// The file of a unix socket; removed on drop.
#[derive(Debug)]
pub struct SocketFile {
    dir: Dir,
    name: OsString,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Somebody may have removed it.
        let _ = self.dir.remove(&self.name);
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
