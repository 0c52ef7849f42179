//! Watches a setting of NICs that native XDP depends on and that others may change: the stripping of VLAN tags.
//!
//! A NIC that strips tags shows XDP the frames of all VLANs as untagged ones. Then an advert of one VLAN deposes the master of
//! another, or two masters do not hear each other.

use std::collections::BTreeSet;

use super::{
    main_loop::MainLoop,
    router::{Port, Router},
};
use crate::{dataplane::Mode, host::LinkChange};

impl MainLoop<'_> {
    /// The kernel tells of another feature of an interface as it does of any other change.
    pub async fn check_offloads_of(&mut self, change: &LinkChange) {
        if let LinkChange::State(link) = change
            && self.native_interfaces().contains(&link.name)
        {
            self.check_rx_vlan(&link.name).await;
        }
    }

    pub async fn check_offloads(&mut self) {
        for interface in self.native_interfaces() {
            self.check_rx_vlan(&interface).await;
        }
    }

    /// Turns the stripping of tags off again if somebody has turned it on. Where it stays on, native XDP goes.
    async fn check_rx_vlan(&mut self, interface: &str) {
        match self.made.host.check_rx_vlan(interface) {
            Ok(false) => {}
            Ok(true) => tracing::warn!(
                target: "vipd::event",
                event = "rx_vlan_restored",
                interface,
                "another program turned on the stripping of VLAN tags (rxvlan); vipd has turned it off again"
            ),
            Err(error) => {
                tracing::error!(
                    target: "vipd::event",
                    event = "rx_vlan_lost",
                    interface,
                    error = format!("{error:#}"),
                    "another program turned on the stripping of VLAN tags (rxvlan), and vipd cannot turn it off"
                );
                // Attaching looks at the setting: tc takes over, or the instances there are in fault.
                self.want_rebuild().await;
            }
        }
    }

    /// Where native XDP serves.
    fn native_interfaces(&self) -> BTreeSet<String> {
        let is_native = |port: &Port<'_>| {
            self.attachments.get(&port.wire.ifindex).is_some_and(|attachment| attachment.mode == Mode::Native)
        };
        let ports = self.routers.iter().flat_map(Router::present_ports).filter(is_native);
        ports.map(|port| port.wire.interface.clone()).collect()
    }
}
