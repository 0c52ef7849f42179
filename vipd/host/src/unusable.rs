//! Interfaces that cannot carry VIPs: why, and what to use instead.

use super::links::{Controller, ETHERNET, LinkState};

/// Why an interface cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("interface {interface} {why}: {remedy}")]
pub struct UnusableInterface {
    pub interface: String,
    /// What is said of the interface.
    pub why: String,
    pub remedy: String,
}

impl LinkState {
    /// Whether VIPs can be on it: it carries Ethernet, and hands what comes in to the host itself.
    pub fn usable(&self) -> Result<(), UnusableInterface> {
        let Some((why, remedy)) = self.obstacle() else { return Ok(()) };
        Err(UnusableInterface { interface: self.name.clone(), why, remedy })
    }

    /// Whether it receives frames to a virtual MAC.
    pub fn takes_virtual_mac(&self) -> Result<(), UnusableInterface> {
        if !self.own_mac_only {
            return Ok(());
        }
        Err(UnusableInterface {
            interface: self.name.clone(),
            why: format!(
                "is a {}, which receives frames to its own MAC only, and so none to a virtual MAC (use_vmac)",
                self.kind.as_deref().unwrap_or("macvlan")
            ),
            remedy: "remove use_vmac, or use the interface below it".to_owned(),
        })
    }

    fn obstacle(&self) -> Option<(String, String)> {
        let kind = self.kind.as_deref();
        if self.arphrd != ETHERNET {
            let what = match (kind, self.arphrd) {
                (Some(kind), _) => kind.to_owned(),
                (None, libc::ARPHRD_LOOPBACK) => "loopback".to_owned(),
                (None, other) => format!("link type {other}"),
            };
            return Some((
                format!("carries no Ethernet ({what}), and so no ARP or Neighbor Discovery"),
                "use an Ethernet interface".to_owned(),
            ));
        }
        match kind {
            Some("ipvlan" | "ipvtap") => {
                return Some((
                    format!(
                        "is an {}, which gets only packets to its own addresses",
                        kind.unwrap_or_default()
                    ),
                    "use a macvlan, or a bridge".to_owned(),
                ));
            }
            Some("vrf") => {
                let remedy = "vipd serves no VRFs; use an interface that is in none";
                return Some(("is a VRF".to_owned(), remedy.to_owned()));
            }
            _ => {}
        }
        // A dummy has it from its making, and nobody behind it.
        if self.no_arp && kind != Some("dummy") {
            return Some((
                "has ARP and Neighbor Discovery turned off: this host could answer no client there"
                    .to_owned(),
                format!("ip link set dev {} arp on", self.name),
            ));
        }
        if self.keeps_tag {
            return Some((
                "is a VLAN with reorder_hdr off, which leaves the tag in the frames it receives".to_owned(),
                format!("ip link set dev {} type vlan reorder_hdr on", self.name),
            ));
        }
        self.controller.as_ref().map(|controller| enslaved(&self.name, controller))
    }
}

fn enslaved(name: &str, Controller { name: controller, kind, .. }: &Controller) -> (String, String) {
    let instead = format!("use {controller}");
    match kind.as_deref() {
        Some("vrf") => (
            format!("is in the VRF {controller}, and VIPs are in the main routing of the host"),
            format!(
                "vipd serves no VRFs; ip link set dev {name} nomaster, or use an interface that is in none"
            ),
        ),
        Some("bond") => (format!("is a slave of the bond {controller}, which gets what comes in"), instead),
        // The datapath itself is no interface to use.
        Some("openvswitch") => (
            "is a port of an Open vSwitch bridge, which gets what comes in".to_owned(),
            "use the bridge's own interface".to_owned(),
        ),
        Some(kind) => (format!("is a port of the {kind} {controller}, which gets what comes in"), instead),
        None => (format!("is a port of {controller}, which gets what comes in"), instead),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The kernels that run this have not every one of these.
    #[test]
    fn each_kind_is_named_with_its_remedy() {
        let enslaved = |kind: Option<&str>, name: &str| LinkState {
            controller: Some(Controller { ifindex: 9, name: name.to_owned(), kind: kind.map(str::to_owned) }),
            ..LinkState::absent("eth1")
        };
        let kind = |kind: &str, arphrd| LinkState {
            kind: Some(kind.to_owned()),
            arphrd,
            ..LinkState::absent("eth1")
        };
        let rows = [
            (
                kind("wireguard", libc::ARPHRD_NONE),
                "carries no Ethernet (wireguard), and so no ARP or Neighbor Discovery: use an Ethernet interface",
            ),
            (
                kind("gre", libc::ARPHRD_IPGRE),
                "carries no Ethernet (gre), and so no ARP or Neighbor Discovery: use an Ethernet interface",
            ),
            (
                LinkState { arphrd: libc::ARPHRD_LOOPBACK, ..LinkState::absent("eth1") },
                "carries no Ethernet (loopback), and so no ARP or Neighbor Discovery: use an Ethernet interface",
            ),
            (
                LinkState { arphrd: libc::ARPHRD_PPP, ..LinkState::absent("eth1") },
                "carries no Ethernet (link type 512), and so no ARP or Neighbor Discovery: use an Ethernet interface",
            ),
            (
                kind("ipvlan", ETHERNET),
                "is an ipvlan, which gets only packets to its own addresses: use a macvlan, or a bridge",
            ),
            (kind("vrf", ETHERNET), "is a VRF: vipd serves no VRFs; use an interface that is in none"),
            (
                enslaved(Some("vrf"), "blue"),
                "is in the VRF blue, and VIPs are in the main routing of the host: vipd serves no VRFs; ip link set dev eth1 nomaster, or use an interface that is in none",
            ),
            (
                enslaved(Some("bond"), "bond0"),
                "is a slave of the bond bond0, which gets what comes in: use bond0",
            ),
            (
                enslaved(Some("bridge"), "br0"),
                "is a port of the bridge br0, which gets what comes in: use br0",
            ),
            (
                enslaved(Some("team"), "team0"),
                "is a port of the team team0, which gets what comes in: use team0",
            ),
            (
                enslaved(Some("openvswitch"), "ovs-system"),
                "is a port of an Open vSwitch bridge, which gets what comes in: use the bridge's own interface",
            ),
            (
                LinkState { keeps_tag: true, ..kind("vlan", ETHERNET) },
                "is a VLAN with reorder_hdr off, which leaves the tag in the frames it receives: ip link set dev eth1 type vlan reorder_hdr on",
            ),
            (
                LinkState { no_arp: true, ..LinkState::absent("eth1") },
                "has ARP and Neighbor Discovery turned off: this host could answer no client there: ip link set dev eth1 arp on",
            ),
            (enslaved(None, "eth0"), "is a port of eth0, which gets what comes in: use eth0"),
        ];
        for (link, expected) in rows {
            let refused = link.usable().expect_err(expected).to_string();
            assert_eq!(refused, format!("interface eth1 {expected}"));
        }
        for usable in ["vlan", "bond", "bridge", "macvlan", "veth", "team", "vxlan", "dummy", "tun", "gretap"]
        {
            assert_eq!(kind(usable, ETHERNET).usable(), Ok(()), "{usable}");
        }
        let dummy = LinkState { no_arp: true, ..kind("dummy", ETHERNET) };
        assert_eq!(dummy.usable(), Ok(()));
    }
}
