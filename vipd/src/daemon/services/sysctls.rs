//! `sloppy_tcp` of IPVS. With the schedulers `mh` and `sh` both directors choose the same server for a client, so a connection goes on over a
//! failover if the new director schedules it by any packet, and not by a SYN alone.

use std::{fs, io};

use vipd_balance::{BalanceConfig, Scheduler, ServiceAddress, TransportProtocol};

/// Of the network namespace of this thread.
pub const SLOPPY_TCP: &str = "/proc/sys/net/ipv4/vs/sloppy_tcp";

/// Whether a service needs it.
pub fn wants_sloppy_tcp(config: &BalanceConfig) -> bool {
    config.servers().iter().any(|server| {
        let is_hash = matches!(server.settings.scheduler, Scheduler::MaglevHash | Scheduler::SourceHash);
        let is_tcp = |address: &ServiceAddress| {
            !matches!(
                address,
                ServiceAddress::Socket { protocol: TransportProtocol::Udp | TransportProtocol::Sctp, .. }
            )
        };
        is_hash && server.addresses.iter().any(is_tcp)
    })
}

/// Sets it; returns what it was before, if that was something else.
pub fn set() -> io::Result<Option<String>> {
    let before = fs::read_to_string(SLOPPY_TCP)?.trim().to_owned();
    if before == ON {
        return Ok(None);
    }
    fs::write(SLOPPY_TCP, ON)?;
    Ok(Some(before))
}

/// Puts back what was there before, unless somebody has set something else since.
pub fn restore(before: &str) -> io::Result<()> {
    if fs::read_to_string(SLOPPY_TCP)?.trim() == ON { fs::write(SLOPPY_TCP, before) } else { Ok(()) }
}

/// As vipd sets it.
pub const ON: &str = "1";
