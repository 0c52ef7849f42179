//! Signatures of reports: HMAC-SHA256 with a key that the nodes share (`cluster_report_key`).
//!
//! The signature covers the addresses too, so that nobody sends a report on from another address. A report is believed for as long as
//! its time of sending is near, and once: each report of a node must be later than the one before.

use std::net::IpAddr;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use vipd_config::ReportKey;

use super::wire::{SIGNATURE, mapped};

/// The key, ready for use.
#[derive(Clone)]
pub struct SigningKey(Hmac<Sha256>);

/// From whom to whom a report is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReportPath {
    pub source: IpAddr,
    pub destination: IpAddr,
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(****)")
    }
}

impl SigningKey {
    pub fn new(key: &ReportKey) -> Self {
        Self(Hmac::new_from_slice(key.reveal()).expect("HMAC takes a key of any length"))
    }

    /// Appends the signature.
    pub fn sign(&self, path: ReportPath, datagram: &mut Vec<u8>) {
        let tag = self.over(path, datagram).finalize().into_bytes();
        datagram.extend(tag);
    }

    /// Whether the datagram ends in the signature of what is before it. Takes the same time for every wrong one.
    pub fn verifies(&self, path: ReportPath, datagram: &[u8]) -> bool {
        let Some(end) = datagram.len().checked_sub(SIGNATURE) else { return false };
        self.over(path, &datagram[..end]).verify_slice(&datagram[end..]).is_ok()
    }

    fn over(&self, path: ReportPath, octets: &[u8]) -> Hmac<Sha256> {
        let mut mac = self.0.clone();
        mac.update(b"vipd cluster report 1");
        mac.update(&mapped(path.source).octets());
        mac.update(&mapped(path.destination).octets());
        mac.update(octets);
        mac
    }
}
