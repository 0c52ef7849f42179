//! Timeouts of connections: SET_CONFIG and GET_CONFIG.

use netlink_packet_core::DefaultNla;

use crate::{
    attributes::{AttributeList, AttributeReader, MalformedReply, attribute},
    step::Unfit,
};

/// Timeouts of the connections of a network namespace, in seconds, 0 to 2,147,483. In a request 0 leaves a timeout as it is
/// (`ip_vs_set_timeout`).
///
/// The kernel's other timeouts, as of a TCP connection that is half open, cannot be set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IpvsTimeouts {
    /// Of an established TCP connection; the kernel starts with 900.
    pub tcp_s: u32,
    /// Of a TCP connection after a FIN; the kernel starts with 120.
    pub tcp_fin_s: u32,
    /// Of UDP; the kernel starts with 300.
    pub udp_s: u32,
}

impl IpvsTimeouts {
    /// Reads the attributes of an answer to GET_CONFIG.
    ///
    /// A kernel without TCP or without UDP in IPVS has no such timeout: 0.
    ///
    /// # Errors
    ///
    /// [`MalformedReply::Length`]
    pub fn parse(attributes: AttributeList<'_>) -> Result<Self, MalformedReply> {
        let seconds = |number| attributes.find(number).map_or(Ok(0), |value| CONFIG.u32(number, value));
        Ok(Self { tcp_s: seconds(TCP)?, tcp_fin_s: seconds(TCP_FIN)?, udp_s: seconds(UDP)? })
    }

    pub(crate) fn attributes(&self) -> Vec<DefaultNla> {
        [(TCP, self.tcp_s), (TCP_FIN, self.tcp_fin_s), (UDP, self.udp_s)]
            .map(|(number, seconds)| attribute(number, seconds.to_ne_bytes()))
            .into()
    }

    pub(crate) fn check(&self) -> Result<(), Unfit> {
        let seconds = self.tcp_s.max(self.tcp_fin_s).max(self.udp_s);
        if seconds > MAX_S { Err(Unfit::Timeout { seconds, max_s: MAX_S }) } else { Ok(()) }
    }

    /// Whether a kernel with these timeouts has what was asked for.
    pub const fn meets(&self, wanted: &Self) -> bool {
        const fn meets(present: u32, wanted: u32) -> bool {
            wanted == 0 || wanted == present
        }
        meets(self.tcp_s, wanted.tcp_s)
            && meets(self.tcp_fin_s, wanted.tcp_fin_s)
            && meets(self.udp_s, wanted.udp_s)
    }
}

const CONFIG: AttributeReader = AttributeReader("the timeouts");

/// The kernel multiplies by HZ, at most 1,000, in 31 bits.
const MAX_S: u32 = i32::MAX.cast_unsigned() / 1000;

// IPVS_CMD_ATTR_TIMEOUT_*
const TCP: u16 = 4;
const TCP_FIN: u16 = 5;
const UDP: u16 = 6;
