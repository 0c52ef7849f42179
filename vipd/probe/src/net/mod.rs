//! Sockets of probes: made as `bindto`, `bind_port`, `bind_if` and `fwmark` ask, and with a limit on each wait.

mod socket;
mod stream;
mod tls;

pub(crate) use self::{
    socket::{connect, connect_to_read, datagram, icmp, within},
    stream::ProbeStream,
    tls::TlsConfigs,
};
