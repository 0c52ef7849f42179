//! One question to one target.

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
pub enum Silence {
    #[error("no answer within its time")]
    Late,
    /// What a host says to itself says nothing of the network.
    #[error("it is an address of this host")]
    Own,
    #[error("there is no interface {0}")]
    NoInterface(String),
    #[error("{0}")]
    Failed(String),
    /// This host is short of something: that says nothing of the target.
    #[error("it cannot be asked at the moment: {0}")]
    NotAsked(String),
}

impl From<io::Error> for Silence {
    fn from(error: io::Error) -> Self {
        if is_shortage(&error) { Self::NotAsked(error.to_string()) } else { Self::Failed(error.to_string()) }
    }
}

/// Asks a target once, for `limit` at most; how long the answer took.
///
/// A station answers by an echo, a service by accepting a connection, which is closed at once. One that refuses does not
/// answer: a machine is there, but not what was asked for.
pub async fn ask(target: &Target, limit: Duration) -> Result<Duration, Silence> {
    let to = socket_address(target)?;
    let begin = Instant::now();
    let question = async {
        match target.port {
            None => echo::ask(to).await,
            Some(_) => connect(to).await,
        }
    };
    let answered = timeout(limit, question).await.map_err(|_| Silence::Late)?;
    answered.map(|()| begin.elapsed())
}

async fn connect(to: SocketAddr) -> Result<(), Silence> {
    let stream = TcpStream::connect(to).await?;
    if stream.local_addr()?.ip() == to.ip() { Err(Silence::Own) } else { Ok(()) }
}

fn socket_address(target: &Target) -> Result<SocketAddr, Silence> {
    let port = target.port.unwrap_or(0);
    match (target.address, &target.zone) {
        (IpAddr::V6(address), Some(zone)) => {
            let no_interface = |_| Silence::NoInterface(zone.clone());
            // Each time: it may have come, or be another one.
            let index = if_nametoindex(zone.as_str()).map_err(no_interface)?;
            Ok(SocketAddrV6::new(address, port, 0, index).into())
        }
        (address, _) => Ok(SocketAddr::new(address, port)),
    }
}
