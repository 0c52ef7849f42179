//! What `global_defs` says about load balancing; the services are in [`Config::balance`](super::config::Config::balance).

use std::net::IpAddr;

use super::{mail::Mail, notify::Fifo};

/// What holds for all services.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LvsSettings {
    /// `lvs_timeouts`.
    pub timeouts: LvsTimeouts,
    /// `lvs_flush`: the kernel's table is emptied at start. Off unless given.
    pub flush_at_start: bool,
    /// `lvs_flush_on_stop`; `None`: vipd removes what it has made, one by one.
    pub flush_on_stop: Option<FlushScope>,
    /// `lvs_sync_daemon`.
    pub sync: Option<ConnectionSync>,
    /// `lvs_notify_fifo`.
    pub fifo: Option<Fifo>,
    /// Path of `notify_fifo`, one of [`Config::fifos`](super::config::Config::fifos), which gets the same lines.
    pub general_fifo: Option<String>,
    /// How mail about services is sent; `None`: nobody is to get any. Each service and server says whether there is any.
    pub mail: Option<Mail>,
    /// vipd's `jitter`: by up to how much of it the period of a check is shortened, 0 to 50 percent. 10 unless given.
    pub jitter_percent: u8,
}

impl Default for LvsSettings {
    fn default() -> Self {
        Self {
            timeouts: LvsTimeouts::default(),
            flush_at_start: false,
            flush_on_stop: None,
            sync: None,
            fifo: None,
            general_fifo: None,
            mail: None,
            jitter_percent: 10,
        }
    }
}

/// How long idle connections are kept, in whole seconds, up to 31 days; `None`: as the kernel has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LvsTimeouts {
    /// `tcp`: established.
    pub tcp_s: Option<u32>,
    /// `tcpfin`: after a FIN.
    pub tcp_fin_s: Option<u32>,
    /// `udp`.
    pub udp_s: Option<u32>,
}

/// What is removed when vipd stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlushScope {
    /// The whole table, whoever made it.
    Table,
    /// `VS`: vipd's services, each with its servers at once.
    Services,
}

/// `lvs_sync_daemon`: the kernel tells another director of its connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionSync {
    /// Interface of the multicast packets.
    pub interface: String,
    /// Sends while this instance is master, and receives otherwise; `None`: both all the time.
    pub instance: Option<String>,
    /// `id`, 0 to 255; the instance's `virtual_router_id` unless given, 0 without an instance.
    pub id: u8,
    /// `maxlen`, in octets; `None`: by the MTU.
    pub octets_max: Option<u16>,
    /// `port`; `None`: the kernel's, 8848.
    pub port: Option<u16>,
    /// `ttl`; `None`: the kernel's, 1.
    pub ttl: Option<u8>,
    /// `group`; `None`: the kernel's, 224.0.0.81.
    pub group: Option<IpAddr>,
}
