//! One request to one target.

use std::{
    io,
    net::{IpAddr, SocketAddr, SocketAddrV6},
    time::Duration,
};

use nix::net::if_::if_nametoindex;
use tokio::{
    net::TcpStream,
    time::{Instant, timeout},
};
use vipd_config::Target;

use super::echo;
use crate::resources::is_shortage;

/// Why a target has not answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoAnswer {
    #[error("no answer within the timeout")]
    Late,
    /// A reply of this host itself says nothing about the network.
    #[error("the address is one of this host's own")]
    Own,
    #[error("there is no interface {0}")]
    NoInterface(String),
    #[error("{0}")]
    Failed(String),
    /// A shortage of this host, which says nothing about the target.
    #[error("the target cannot be asked now: {0}")]
    NotAsked(String),
}

impl From<io::Error> for NoAnswer {
    fn from(error: io::Error) -> Self {
        if is_shortage(&error) { Self::NotAsked(error.to_string()) } else { Self::Failed(error.to_string()) }
    }
}

/// Asks a target once, for at most `limit`; returns the round-trip time.
///
/// A station answers with an echo, a service by accepting a connection, which is closed at once. A refused connection is no
/// answer: a machine is there, but not the service.
pub async fn ask(target: &Target, limit: Duration) -> Result<Duration, NoAnswer> {
    let to = socket_address(target)?;
    let begin = Instant::now();
    let question = async {
        match target.port {
            None => echo::ask(to).await,
            Some(_) => connect(to).await,
        }
    };
    let answered = timeout(limit, question).await.map_err(|_| NoAnswer::Late)?;
    answered.map(|()| begin.elapsed())
}

async fn connect(to: SocketAddr) -> Result<(), NoAnswer> {
    let stream = TcpStream::connect(to).await?;
    if stream.local_addr()?.ip() == to.ip() { Err(NoAnswer::Own) } else { Ok(()) }
}

/// Where a target is asked.
///
/// # Errors
///
/// [`NoAnswer::NoInterface`] of a link-local address whose interface is not there.
pub fn socket_address(target: &Target) -> Result<SocketAddr, NoAnswer> {
    let port = target.port.unwrap_or(0);
    match (target.address, &target.zone) {
        (IpAddr::V6(address), Some(zone)) => {
            let no_interface = |_| NoAnswer::NoInterface(zone.clone());
            // Each time: it may have come, or be another one.
            let index = if_nametoindex(zone.as_str()).map_err(no_interface)?;
            Ok(SocketAddrV6::new(address, port, 0, index).into())
        }
        (address, _) => Ok(SocketAddr::new(address, port)),
    }
}
