//! What the kernel says of its IPVS: GET_INFO.

use std::fmt;

use crate::attributes::{AttributeList, AttributeReader, MalformedReply};

/// The kernel's IPVS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IpvsInfo {
    /// Major, minor and patch version. 1.2.1 since Linux 2.6.
    pub version: (u8, u8, u8),
    /// Buckets of the connection table: 2 to the power of the module's parameter `conn_tab_bits`.
    pub connection_table_size: u32,
}

impl IpvsInfo {
    /// Reads the attributes of the answer.
    ///
    /// # Errors
    ///
    /// [`MalformedReply::Length`], [`MalformedReply::Missing`]
    pub fn parse(attributes: AttributeList<'_>) -> Result<Self, MalformedReply> {
        let number = |number| {
            let value = attributes.find(number).ok_or(INFO.missing(number))?;
            INFO.u32(number, value)
        };
        let [_, major, minor, patch] = number(VERSION)?.to_be_bytes();
        Ok(Self { version: (major, minor, patch), connection_table_size: number(CONN_TAB_SIZE)? })
    }
}

impl fmt::Display for IpvsInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (major, minor, patch) = self.version;
        write!(f, "IPVS {major}.{minor}.{patch} with {} buckets", self.connection_table_size)
    }
}

const INFO: AttributeReader = AttributeReader("the information");

// IPVS_INFO_ATTR_*
const VERSION: u16 = 1;
const CONN_TAB_SIZE: u16 = 2;
