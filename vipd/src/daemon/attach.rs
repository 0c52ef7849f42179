//! Which hook serves an interface, and attaching the program there.
//!
//! Native XDP is the first choice, and only where it sees every frame as the kernel will: on a NIC of its own that leaves VLAN
//! tags in the frame. Every other interface is served at tc ingress, by the same handlers.

use std::collections::{BTreeMap, HashMap};

use anyhow::{Result, bail};
use vipd_config::{XdpMode, XdpModes};

use super::router::Router;
use crate::{
    dataplane::{Attached, Attachment, Dataplane, Mode, Wanted},
    host::{Host, LinkState, SharedQueues},
};

/// How the program is attached, by the index of the interface.
pub type Attachments = HashMap<u32, Attachment>;

/// Attaches the program to every interface in use where it is not. Returns where it cannot be.
pub async fn attach(
    dataplane: &mut Dataplane,
    routers: &[Router],
    modes: &XdpModes,
    host: &mut Host,
    attachments: &mut Attachments,
) -> Vec<(u32, anyhow::Error)> {
    let mut wires: BTreeMap<u32, WireUse<'_>> = BTreeMap::new();
    for router in routers {
        for port in router.present_ports() {
            let wire = wires.entry(port.wire.ifindex).or_insert(WireUse::of(&port.wire.interface));
            wire.tagged |= port.wire.vlan != 0;
            wire.virtual_mac |= port.virtual_mac;
        }
    }
    let mut failed = Vec::new();
    for (&ifindex, wire) in &wires {
        match attach_to(dataplane, ifindex, wire, modes, host, attachments.get(&ifindex)).await {
            Ok(attachment) => _ = attachments.insert(ifindex, attachment),
            Err(error) => failed.push((ifindex, error)),
        }
    }
    failed
}

/// Attaches the program to one interface; returns how. `present` is how it is attached already.
async fn attach_to(
    dataplane: &mut Dataplane,
    ifindex: u32,
    wire: &WireUse<'_>,
    modes: &XdpModes,
    host: &mut Host,
    present: Option<&Attachment>,
) -> Result<Attachment> {
    let interface = wire.interface;
    let link = host.link(interface).await?;
    let mut wanted = wanted(&link, wire, modes.of_interface(interface))?;
    let mut falls_back = false;
    let present = present.filter(|_| dataplane.is_attached(ifindex));
    let stays_at_tc = wanted == Wanted::Any && present.is_some_and(|present| present.mode == Mode::Tc);
    if !matches!(wanted, Wanted::Tc(_))
        && !stays_at_tc
        && let Err(error) = host.set_rx_vlan(interface, false)
    {
        // A NIC that strips tags shows XDP two VLANs that look alike.
        match wanted {
            Wanted::Native => return Err(error),
            _ => (wanted, falls_back) = (Wanted::Tc(format!("{error:#}")), true),
        }
    }
    if let Some(present) = present {
        let fits = match wanted {
            Wanted::Any => true,
            Wanted::Native => present.mode == Mode::Native,
            Wanted::Tc(_) => present.mode == Mode::Tc,
        };
        if fits {
            return Ok(present.clone());
        }
    }
    let prefers_native = wanted == Wanted::Any || falls_back;
    // With a program attached the answer is another.
    let shared_queues = SharedQueues::of(interface, link.xdp.is_some_and(|xdp| !xdp.generic));
    let (attached, attachment) = dataplane.attach(interface, ifindex, link.mtu, link.xdp, wanted)?;
    let mode = attachment.mode.name();
    let reason = attachment.reason.as_deref();
    if prefers_native && attachment.mode == Mode::Tc {
        tracing::warn!(
            target: "vipd::event",
            event = "xdp_fallback",
            interface,
            mode,
            reason,
            "native XDP is not possible, so tc ingress serves the interface"
        );
    }
    match attached {
        Attached::New => tracing::info!(interface, mode, reason, "program attached"),
        Attached::Adopted => {
            tracing::info!(interface, mode, reason, "program replaced where it was attached")
        }
    }
    if attachment.mode == Mode::Tc {
        // tc sees tags that the NIC has removed.
        host.restore_rx_vlan(interface)?;
    } else if link.veth {
        tracing::warn!(interface, "{VETH}");
    } else if let Some(shared) = shared_queues {
        tracing::warn!(
            target: "vipd::event",
            event = "xdp_shared_queues",
            interface,
            reason = shared.what(),
            remedy = shared.remedy(interface),
            "XDP has no transmit queues of its own"
        );
    }
    Ok(attachment)
}

/// Which hook an interface wants.
fn wanted(link: &LinkState, wire: &WireUse<'_>, mode: XdpMode) -> Result<Wanted> {
    let stacked = link.kind.as_deref().filter(|kind| *kind != "veth");
    let unsuited = match stacked {
        Some("vlan") => Some("the tag of a VLAN interface is gone before XDP would see the frame".to_owned()),
        Some(kind) => Some(format!("native XDP does not see what a {kind} interface receives")),
        None if link.veth && wire.tagged => Some("on a veth native XDP sees no VLAN tag".to_owned()),
        None if link.veth && wire.virtual_mac => Some(VETH_AND_VIRTUAL_MAC.to_owned()),
        None => None,
    };
    let name = &link.name;
    match (mode, unsuited) {
        (XdpMode::Tc, _) if wire.tagged => {
            bail!("{name} cannot have xdp_mode tc: a VLAN interface on it has xdp_mode native")
        }
        (XdpMode::Tc, _) => Ok(Wanted::Tc("xdp_mode tc".to_owned())),
        (XdpMode::Auto, _) if !wire.tagged && link.veth => Ok(Wanted::Tc(VETH.to_owned())),
        (XdpMode::Auto, Some(reason)) if !wire.tagged => Ok(Wanted::Tc(reason)),
        (XdpMode::Auto, None) if !wire.tagged => Ok(Wanted::Any),
        // What is on the VLAN interface has xdp_mode native.
        (XdpMode::Native | XdpMode::Auto, Some(reason)) => {
            bail!("{name} cannot have xdp_mode native: {reason}; `xdp_mode auto` and `xdp_mode tc` work")
        }
        (XdpMode::Native | XdpMode::Auto, None) => Ok(Wanted::Native),
    }
}

/// What an interface is used for.
struct WireUse<'a> {
    interface: &'a str,
    tagged: bool,
    virtual_mac: bool,
}

impl<'a> WireUse<'a> {
    fn of(interface: &'a str) -> Self {
        Self { interface, tagged: false, virtual_mac: false }
    }
}

const VETH: &str = "on a veth native XDP sees no VLAN tag, and its answers are lost unless the other end has an XDP program too";

/// drivers/net/veth.c marks a frame before its XDP program runs, and does not look again; other drivers make their socket
/// buffers afterwards.
const VETH_AND_VIRTUAL_MAC: &str =
    "veth decides before XDP that a frame to the virtual MAC is for another host";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_gets_the_hook_that_sees_its_frames() {
        const ANY: &str = "any";
        for (kind, tagged, virtual_mac, auto, native) in [
            (None, false, false, ANY, "native"),
            (None, false, true, ANY, "native"),
            // A VLAN interface above it has xdp_mode native.
            (None, true, false, "native", "native"),
            (Some("veth"), false, false, "tc", "native"),
            (Some("veth"), false, true, "tc", "refused"),
            (Some("veth"), true, false, "refused", "refused"),
            (Some("bond"), false, false, "tc", "refused"),
            (Some("bond"), true, false, "refused", "refused"),
            (Some("bridge"), false, true, "tc", "refused"),
            (Some("vlan"), false, false, "tc", "refused"),
            (Some("macvlan"), false, false, "tc", "refused"),
        ] {
            let veth = kind == Some("veth");
            let link = LinkState { kind: kind.map(str::to_owned), veth, ..LinkState::absent("eth0") };
            let wire = WireUse { interface: "eth0", tagged, virtual_mac };
            let name = |mode| match wanted(&link, &wire, mode) {
                Ok(Wanted::Any) => ANY,
                Ok(Wanted::Native) => "native",
                Ok(Wanted::Tc(reason)) => {
                    assert!(!reason.is_empty());
                    "tc"
                }
                Err(error) => {
                    assert!(error.to_string().starts_with("eth0 cannot have xdp_mode "), "{error}");
                    "refused"
                }
            };
            let what = format!("{kind:?}, tagged {tagged}, virtual MAC {virtual_mac}");
            assert_eq!(name(XdpMode::Auto), auto, "{what}, auto");
            assert_eq!(name(XdpMode::Native), native, "{what}, native");
            assert_eq!(name(XdpMode::Tc), if tagged { "refused" } else { "tc" }, "{what}, tc");
        }
    }
}
