//! Sessions of BFD in the status.

use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A `bfd_instance`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct BfdSessionStatus {
    /// Name of the `bfd_instance` block.
    pub name: String,
    /// Address of the neighbor.
    pub neighbor: IpAddr,
    /// Address that packets come from; `null` while there is no route to the neighbor.
    pub local: Option<IpAddr>,
    /// Whether the session is one over several hops (UDP port 4784).
    pub multihop: bool,
    /// Whether it waits for the neighbor to speak first.
    pub passive: bool,
    /// `AdminDown`, `Down`, `Init` or `Up`.
    pub state: String,
    /// Diagnostic of RFC 5880 4.1: why it is in this state; 0: none.
    pub diagnostic: u8,
    /// The same in words; `null` while it is up.
    pub reason: Option<String>,
    /// When the state was entered, since 1970.
    pub since_unix_ms: u64,
    /// Time since the state was entered.
    pub in_state_ms: u64,
    /// Whether it has been up since it began.
    pub was_up: bool,
    /// Whether `track_bfd` and BFD_CHECK take the neighbor for reached: an AdminDown of the neighbor leaves that as it was.
    pub counts_as_up: bool,
    /// Times that it went from up to another state.
    pub downs: u64,
    /// State of the neighbor; `null` while nothing is heard.
    pub remote_state: Option<String>,
    /// Diagnostic of the neighbor.
    pub remote_diagnostic: u8,
    /// Discriminator of this end.
    pub local_discriminator: u32,
    /// Discriminator of the neighbor; `null` while nothing is heard.
    pub remote_discriminator: Option<u32>,
    /// Interval between packets that are sent, before jitter.
    pub transmit_interval_us: u64,
    /// Time without a packet after which the session goes down; `null` while nothing is heard.
    pub detection_time_us: Option<u64>,
    /// Detection multiplier of this end.
    pub multiplier: u8,
    /// Detection multiplier of the neighbor; `null` while nothing is heard.
    pub remote_multiplier: Option<u8>,
    /// Packets sent.
    pub packets_sent: u64,
    /// Valid packets received.
    pub packets_received: u64,
    /// Packets from the neighbor that failed a check.
    pub packets_refused: u64,
    /// Counter of the check that failed last; `null` if none has.
    pub refused_reason: Option<String>,
    /// TTL or hop limit of that packet.
    pub refused_hop_limit: Option<u8>,
    /// Least TTL or hop limit that packets may arrive with.
    pub min_hop_limit: u8,
    /// Time since the last valid packet; `null` if there was none.
    pub heard_ms_ago: Option<u64>,
    /// What hears the neighbor: `program`, `socket` or `program and socket`; `nothing` if the session does not run.
    pub hears_by: String,
    /// Why packets do not leave or are not heard; `null` if nothing is known of that.
    pub problem: Option<String>,
    /// What to do about `problem`, where that is known.
    pub remedy: Option<String>,
}

impl BfdSessionStatus {
    /// Whether the neighbor is reached.
    pub fn is_up(&self) -> bool {
        self.state == "Up"
    }
}
