//! Which hook serves an interface, and attaching the program there.
//!
//! Native XDP is the first choice, and only where it sees every frame as the kernel will: on a NIC of its own that leaves VLAN
//! tags in the frame. Every other interface is served at tc ingress, by the same handlers.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, bail};
use vipd_config::{XdpMode, XdpModes};

use super::{messages::AttachmentModes, router::Router};
use crate::{
    dataplane::{Attached, Attachment, Dataplane, Mode, WantedHook},
    host::{Host, LinkState, Repairs, SharedQueues},
    interface_names::name_of,
};

/// Where the program is attached, and where it was until somebody else detached it.
#[derive(Debug, Default)]
pub struct Attachments {
    modes: AttachmentModes,
    /// The names of interfaces where it is not attached again yet.
    lost: BTreeMap<u32, String>,
}

/// An interface that has lost the program: somebody else has detached it.
#[derive(Debug)]
pub struct Lost {
    pub ifindex: u32,
    pub interface: String,
    /// How it was attached.
    pub mode: &'static str,
}

impl Attachments {
    /// How the program is attached, by the index of the interface.
    pub fn modes(&self) -> &AttachmentModes {
        &self.modes
    }

    /// The interfaces where native XDP serves.
    pub fn native(&self, routers: &[Router]) -> BTreeSet<String> {
        let is_native = |ifindex| self.modes.get(&ifindex).is_some_and(|a| a.mode == Mode::Native);
        let ports = routers.iter().flat_map(Router::present_ports);
        ports.filter(|port| is_native(port.wire.ifindex)).map(|port| port.wire.interface.clone()).collect()
    }

    /// Attaches the program to every interface in use where it is not. Returns where it cannot be.
    pub async fn attach(
        &mut self,
        routers: &[Router],
        modes: &XdpModes,
        dataplane: &mut Dataplane,
        host: &mut Host,
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
            let mode = modes.of_interface(wire.interface);
            match attach_to(dataplane, ifindex, wire, mode, host, self.modes.get(&ifindex)).await {
                Ok(attachment) => _ = self.modes.insert(ifindex, attachment),
                Err(error) => failed.push((ifindex, error)),
            }
        }
        failed
    }

    /// Detaches the program from interfaces that are not among these, whoever has attached it.
    pub fn detach_others(&mut self, used: &BTreeSet<u32>, dataplane: &mut Dataplane) -> Result<()> {
        self.modes.retain(|ifindex, _| used.contains(ifindex));
        dataplane.detach_others(&used.iter().copied().collect::<Vec<_>>())
    }

    /// Looks whether the program is where it was attached. Where it is not, nobody counts on it any more until
    /// [`Self::attach`] has attached it again.
    pub async fn find_lost(&mut self, dataplane: &mut Dataplane, host: &Host) -> Vec<Lost> {
        let mut found = Vec::new();
        for ifindex in self.modes.keys().copied().collect::<Vec<_>>() {
            match dataplane.is_in_place(ifindex) {
                Ok(true) => continue,
                Ok(false) => {}
                Err(error) => {
                    // It is not known to be gone.
                    tracing::debug!(
                        ifindex,
                        error = format!("{error:#}"),
                        "an attachment cannot be looked at"
                    );
                    continue;
                }
            }
            // With an interface its program is gone, which the kernel's notice is about to say. The answer comes when a
            // removal that is under way is over.
            let Ok(link) = host.link_by_index(ifindex).await else { continue };
            dataplane.forget(ifindex);
            let mode = self.modes.remove(&ifindex).map_or("", |attachment| attachment.mode.name());
            self.lost.insert(ifindex, link.name.clone());
            found.push(Lost { ifindex, interface: link.name, mode });
        }
        found
    }

    /// Those that had lost the program and have it again, each once, with its name and how it is attached. One that is gone is
    /// forgotten.
    pub fn take_found(&mut self) -> Vec<(u32, String, &'static str)> {
        let Self { modes, lost } = self;
        let mut found = Vec::new();
        lost.retain(|ifindex, interface| match modes.get(ifindex) {
            Some(attachment) => {
                found.push((*ifindex, interface.clone(), attachment.mode.name()));
                false
            }
            None => !matches!(name_of(*ifindex), Ok(None)),
        });
        found
    }

    /// What to say of an interface where the program cannot be attached.
    pub fn why_unattached(&self, ifindex: u32, error: &anyhow::Error) -> String {
        match self.lost.get(&ifindex) {
            Some(interface) => format!(
                "the program was detached from {interface} by somebody else, and cannot be attached again: {error:#}"
            ),
            None => format!("{error:#}"),
        }
    }
}

/// Takes note of programs that were lost, as of repairs to come.
pub fn note_lost(lost: &[Lost], repairs: &mut Repairs) {
    for Lost { interface, mode, .. } in lost {
        repairs.note("program", format!("program on {interface} ({mode})"));
    }
}

/// Attaches the program to one interface; returns how. `present` is how it is attached already.
async fn attach_to(
    dataplane: &mut Dataplane,
    ifindex: u32,
    wire: &WireUse<'_>,
    mode: XdpMode,
    host: &mut Host,
    present: Option<&Attachment>,
) -> Result<Attachment> {
    let interface = wire.interface;
    let link = host.link(interface).await?;
    let mut wanted = wanted(&link, wire, mode)?;
    let mut falls_back = false;
    let present = present.filter(|_| dataplane.is_attached(ifindex));
    let stays_at_tc = wanted == WantedHook::Any && present.is_some_and(|present| present.mode == Mode::Tc);
    if !matches!(wanted, WantedHook::Tc(_))
        && !stays_at_tc
        && let Err(error) = host.set_rx_vlan(interface, false)
    {
        // A NIC that strips tags shows XDP two VLANs that look alike.
        match wanted {
            WantedHook::Native => return Err(error),
            _ => (wanted, falls_back) = (WantedHook::Tc(format!("{error:#}")), true),
        }
    }
    if let Some(present) = present.filter(|present| fits(present, &wanted)) {
        return Ok(present.clone());
    }
    let prefers_native = wanted == WantedHook::Any || falls_back;
    // With a program attached the answer is another.
    let shared_queues = SharedQueues::of(interface, link.xdp.is_some_and(|xdp| !xdp.generic));
    let (attached, attachment) = dataplane.attach(interface, ifindex, link.mtu, link.xdp, wanted)?;
    report(interface, attached, &attachment, prefers_native);
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

/// Whether what is attached is what is wanted.
fn fits(present: &Attachment, wanted: &WantedHook) -> bool {
    match wanted {
        WantedHook::Any => true,
        WantedHook::Native => present.mode == Mode::Native,
        WantedHook::Tc(_) => present.mode == Mode::Tc,
    }
}

fn report(interface: &str, attached: Attached, attachment: &Attachment, prefers_native: bool) {
    let mode = attachment.mode.name();
    let reason = attachment.reason.as_deref();
    if prefers_native && attachment.mode == Mode::Tc {
        tracing::warn!(
            target: "vipd::event",
            event = "xdp_fallback",
            interface,
            mode,
            reason,
            "native XDP is not possible: tc ingress serves the interface"
        );
    }
    match attached {
        Attached::New => tracing::info!(interface, mode, reason, "program attached"),
        Attached::Adopted => {
            tracing::info!(interface, mode, reason, "program replaced where it was attached")
        }
    }
}

/// Which hook an interface wants.
fn wanted(link: &LinkState, wire: &WireUse<'_>, mode: XdpMode) -> Result<WantedHook> {
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
        (XdpMode::Tc, _) => Ok(WantedHook::Tc("xdp_mode tc".to_owned())),
        (XdpMode::Auto, _) if !wire.tagged && link.veth => Ok(WantedHook::Tc(VETH.to_owned())),
        (XdpMode::Auto, Some(reason)) if !wire.tagged => Ok(WantedHook::Tc(reason)),
        (XdpMode::Auto, None) if !wire.tagged => Ok(WantedHook::Any),
        // What is on the VLAN interface has xdp_mode native.
        (XdpMode::Native | XdpMode::Auto, Some(reason)) => {
            bail!("{name} cannot have xdp_mode native: {reason}; `xdp_mode auto` and `xdp_mode tc` work")
        }
        (XdpMode::Native | XdpMode::Auto, None) => Ok(WantedHook::Native),
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
                Ok(WantedHook::Any) => ANY,
                Ok(WantedHook::Native) => "native",
                Ok(WantedHook::Tc(reason)) => {
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
