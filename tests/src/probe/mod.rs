//! Observers of a lab: they look at the wire and at the service, never at a daemon's own account of itself.

pub mod capture;
pub mod decode;
pub mod http;
pub mod neighbour;
pub mod packet;
pub mod question;
pub mod ring;

use std::{fmt, str::FromStr};

use anyhow::{Context, Error, ensure};

pub use capture::Sniffer;
pub use http::HttpProber;
pub use neighbour::{ArpProber, NeighbourProber};

/// An Ethernet address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac(pub [u8; 6]);

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for Mac {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let bytes: Result<Vec<u8>, _> = text.split(':').map(|part| u8::from_str_radix(part, 16)).collect();
        let bytes = bytes.with_context(|| format!("{text:?} is no Ethernet address"))?;
        ensure!(bytes.len() == 6, "{text:?} is no Ethernet address");
        Ok(Self(std::array::from_fn(|i| bytes[i])))
    }
}
