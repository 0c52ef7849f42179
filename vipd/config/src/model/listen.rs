//! Where metrics are served.

use std::{fmt, net::SocketAddr};

/// `metrics_listen`: where metrics are served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MetricsListen {
    Tcp(SocketAddr),
    /// The absolute path of a unix socket.
    Unix(String),
}

impl MetricsListen {
    /// What `IP:PORT` or `unix:PATH` means.
    pub fn parse(text: &str) -> Option<Self> {
        match text.strip_prefix("unix:") {
            Some(path) => path.starts_with('/').then(|| Self::Unix(path.to_owned())),
            None => text.parse().ok().map(Self::Tcp),
        }
    }
}

impl fmt::Display for MetricsListen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{path}"),
        }
    }
}
