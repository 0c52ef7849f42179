//! `keepalived.stats`: the counters of each instance.

use std::fmt::Write;

use serde::Serialize;
use vipd_config::Config;

use super::shown;
use crate::control::model::{InstanceStatus, Status};

/// The counters of one instance; the names are those of the JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Stats {
    advert_rcvd: u64,
    advert_sent: u64,
    become_master: u64,
    release_master: u64,
    packet_len_err: u64,
    advert_interval_err: u64,
    ip_ttl_err: u64,
    invalid_type_rcvd: u64,
    addr_list_err: u64,
    invalid_authtype: u64,
    authtype_mismatch: u64,
    auth_failure: u64,
    pri_zero_rcvd: u64,
    pri_zero_sent: u64,
}

impl Stats {
    pub fn of(status: &InstanceStatus) -> Self {
        let discarded = |reasons: &[&str]| -> u64 {
            let counts = reasons.iter().filter_map(|reason| status.discards.get(*reason));
            counts.fold(0, |sum, count| sum.saturating_add(*count))
        };
        Self {
            advert_rcvd: status.adverts_received,
            advert_sent: status.adverts_sent,
            become_master: status.became_master,
            release_master: status.released_master,
            packet_len_err: discarded(LENGTH),
            advert_interval_err: discarded(INTERVAL),
            ip_ttl_err: discarded(TTL),
            invalid_type_rcvd: discarded(TYPE),
            addr_list_err: status.address_list_differs.saturating_add(discarded(ADDRESSES)),
            invalid_authtype: discarded(AUTH_TYPE),
            authtype_mismatch: discarded(AUTH_MISMATCH),
            auth_failure: discarded(AUTH_FAILURE),
            pri_zero_rcvd: status.priority_zero_received,
            pri_zero_sent: status.priority_zero_sent,
        }
    }
}

/// The text of `keepalived.stats`.
pub fn stats(config: &Config, status: &Status) -> String {
    let mut text = String::new();
    for instance in shown(config, status) {
        let stats = Stats::of(instance.status);
        let _ = write!(
            text,
            "VRRP Instance: {}
  Advertisements:
    Received: {}
    Sent: {}
  Became master: {}
  Released master: {}
  Packet Errors:
    Length: {}
    TTL: {}
    Invalid Type: {}
    Advertisement Interval: {}
    Address List: {}
  Authentication Errors:
    Invalid Type: {}
    Type Mismatch: {}
    Failure: {}
  Priority Zero:
    Received: {}
    Sent: {}
",
            instance.config.name,
            stats.advert_rcvd,
            stats.advert_sent,
            stats.become_master,
            stats.release_master,
            stats.packet_len_err,
            stats.ip_ttl_err,
            stats.invalid_type_rcvd,
            stats.advert_interval_err,
            stats.addr_list_err,
            stats.invalid_authtype,
            stats.authtype_mismatch,
            stats.auth_failure,
            stats.pri_zero_rcvd,
            stats.pri_zero_sent,
        );
    }
    text
}

/// vipd's discards by keepalived's counters. Each of the two has counters that the other lacks.
const LENGTH: &[&str] = &["packet_length_errors"];
const INTERVAL: &[&str] = &["interval_mismatch", "interval_zero"];
const TTL: &[&str] = &["ip_ttl_errors"];
const TYPE: &[&str] = &["invalid_type"];
const ADDRESSES: &[&str] = &["addr_count_zero"];
const AUTH_TYPE: &[&str] = &["invalid_auth_type"];
const AUTH_MISMATCH: &[&str] = &["auth_type_mismatch"];
const AUTH_FAILURE: &[&str] = &["auth_failures"];

#[cfg(test)]
mod tests {
    use vipd_common::abi::InstanceCounters;

    use super::*;

    #[test]
    fn every_reason_is_a_counter() {
        for reasons in [LENGTH, INTERVAL, TTL, TYPE, ADDRESSES, AUTH_TYPE, AUTH_MISMATCH, AUTH_FAILURE] {
            for reason in reasons {
                let known = &InstanceCounters::NAMES[InstanceCounters::FIRST_DISCARD..];
                assert!(known.contains(reason), "{reason}");
            }
        }
    }
}
