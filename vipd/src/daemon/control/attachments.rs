//! Tells of programs that were detached: anybody with CAP_NET_ADMIN can detach one, and the kernel tells nobody.
//!
//! Without it nothing answers for the VIPs and no advert is heard, while the election would go on as a master of nothing. It is
//! attached again; where that is refused, the instances there are in FAULT with the reason, and it is tried again and again.

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use super::super::{attach::Lost, clock, reconcile::Installed};
use crate::{control::model::HostWarning, detection::RateLimiter};

/// Between two looks. Each is one or two system calls for an interface.
pub const PERIOD: Duration = Duration::from_secs(1);

/// Kind of the warnings about programs that come before vipd's.
pub const PRECEDED: &str = "program_before";

/// What to say of an interface where others come first.
pub fn preceded(interface: String, others: &str) -> HostWarning {
    HostWarning {
        what: format!(
            "before vipd's program comes {others}: frames that it keeps or sends elsewhere never reach vipd"
        ),
        remedy: format!(
            "see `bpftool net show dev {interface}`, and have that program let ARP, Neighbor Discovery, VRRP and the VIPs' packets pass"
        ),
        kind: PRECEDED.to_owned(),
        about: interface,
    }
}

/// Who does it again and again is told of now and then, and so is the end of it.
#[derive(Debug, Default)]
pub struct DetachedEventLog {
    limiters: HashMap<u32, RateLimiter>,
    /// Interfaces whose loss was told, so that the end of it is.
    told: BTreeSet<u32>,
}

impl DetachedEventLog {
    /// Tells of interfaces that have lost the program.
    pub fn lost(&mut self, lost: &[Lost]) {
        for Lost { ifindex, interface, mode } in lost {
            let count = self.limiters.entry(*ifindex).or_default().note(1, clock::now());
            if let Some(count) = count {
                tracing::error!(
                    target: "vipd::event",
                    event = "program_detached",
                    interface,
                    mode,
                    count,
                    "another program detached the eBPF program: nothing answered for the VIPs there; vipd attaches it again"
                );
                self.told.insert(*ifindex);
            } else {
                self.told.remove(ifindex);
            }
        }
    }

    /// Tells of those that have it again.
    pub fn found(&mut self, installed: &mut Installed) {
        for (ifindex, interface, mode) in installed.take_found() {
            if self.told.remove(&ifindex) {
                tracing::info!(
                    target: "vipd::event",
                    event = "program_attached",
                    interface,
                    mode,
                    "the program is attached again"
                );
            }
        }
    }
}

/// Turns the stripping of VLAN tags off again where somebody has turned it on: returns those interfaces, and whether there is one where
/// it stays on, so that native XDP has to go.
///
/// A NIC that strips tags shows XDP the frames of all VLANs as untagged ones. Then an advert of one VLAN deposes the master of
/// another, or two masters do not hear each other.
pub fn keep_rx_vlan_off(installed: &mut Installed, of: Option<&str>) -> (Vec<String>, bool) {
    let (mut restored, mut any_lost) = (Vec::new(), false);
    let native = installed.native_interfaces();
    for interface in native.iter().filter(|name| of.is_none_or(|of| of == *name)) {
        match installed.keep_rx_vlan_off(interface) {
            Ok(false) => {}
            Ok(true) => {
                tracing::warn!(
                    target: "vipd::event",
                    event = "rx_vlan_restored",
                    interface,
                    "another program turned on the stripping of VLAN tags (rxvlan); vipd has turned it off again"
                );
                restored.push(interface.clone());
            }
            Err(error) => {
                tracing::error!(
                    target: "vipd::event",
                    event = "rx_vlan_lost",
                    interface,
                    error = format!("{error:#}"),
                    "another program turned on the stripping of VLAN tags (rxvlan), and vipd cannot turn it off"
                );
                any_lost = true;
            }
        }
    }
    (restored, any_lost)
}
