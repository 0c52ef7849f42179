//! Links and their addresses: looking one up, and hearing of changes.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::{IpAddr, Ipv4Addr},
    pin::Pin,
};

use futures_util::{FutureExt, Stream, StreamExt, TryStreamExt};
use rtnetlink::{
    Handle, MulticastGroup,
    packet_core::{NetlinkMessage, NetlinkPayload},
    packet_route::{
        RouteNetlinkMessage,
        address::{AddressAttribute, AddressFlags, AddressMessage},
        link::{
            InfoData, InfoKind, InfoMacVlan, InfoMacVtap, InfoVlan, LinkAttribute, LinkFlags, LinkInfo,
            LinkMessage, LinkXdp, MacVlanMode, MacVtapMode, VlanFlags, VlanProtocol, XdpAttached,
        },
    },
};
use vipd_common::wire::eth::MacAddr;

use super::{
    netlink::{FAMILIES, LOOPBACK, address_family, errno, supported},
    visible::is_for_show,
};
use vipd_system::{XdpState, interface_names::name_of};

/// A link as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkState {
    pub name: String,
    pub ifindex: u32,
    /// All zero on links without an Ethernet address (loopback, tunnels).
    pub mac: MacAddr,
    pub mtu: u32,
    /// Administratively up, with carrier, and operational (IFF_UP, IFF_LOWER_UP, IFF_RUNNING).
    pub up: bool,
    /// Administratively up alone.
    pub enabled: bool,
    /// The kernel asks nobody for a MAC there (IFF_NOARP): it has no way to answer a client.
    pub no_arp: bool,
    /// IPv4, then IPv6, each in the kernel's order: its first primary IPv4 one is what routes take as source.
    pub addresses: Vec<InterfaceAddress>,
    /// Of a VLAN sub-interface whose parent is in this network namespace.
    pub vlan: Option<VlanState>,
    /// Link-layer type (ARPHRD_*): [`ETHERNET`], or one without Ethernet frames.
    pub arphrd: u16,
    /// Which driver of the kernel makes it, as IFLA_INFO_KIND names it: `vlan`, `bond`, `bridge`, `macvlan`, `veth` and so
    /// on. `None`: a NIC, physical or virtual, or `lo`.
    pub kind: Option<String>,
    /// What it is enslaved to: a bond, a bridge, a VRF or the like.
    pub controller: Option<Controller>,
    /// One end of a veth pair.
    pub veth: bool,
    /// A VLAN interface that leaves its tag in the frames it receives (`reorder_hdr off`).
    pub keeps_tag: bool,
    /// A macvlan or macvtap that receives frames to no other MAC than its own: any but one with `mode passthru`.
    pub own_mac_only: bool,
    pub xdp: Option<XdpState>,
}

/// What comes in at an interface, and what is below it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Arrivals {
    /// Frames that its driver has received, as it counts them.
    pub received: u64,
    pub xdp: Option<XdpState>,
    /// The index of the parent of a VLAN interface.
    pub parent: Option<u32>,
}

/// Whether an address is in a subnet, given by an address in it and the length of the prefix.
pub fn is_within(address: IpAddr, subnet: (IpAddr, u8)) -> bool {
    let (network, prefix_len) = subnet;
    let same = |a: u128, b: u128, width: u32| {
        let host = width.saturating_sub(prefix_len.into());
        a.checked_shr(host).unwrap_or(0) == b.checked_shr(host).unwrap_or(0)
    };
    match (address, network) {
        (IpAddr::V4(a), IpAddr::V4(b)) => same(a.to_bits().into(), b.to_bits().into(), 32),
        (IpAddr::V6(a), IpAddr::V6(b)) => same(a.to_bits(), b.to_bits(), 128),
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
    }
}

/// `LinkState::arphrd` of Ethernet (ARPHRD_ETHER).
pub const ETHERNET: u16 = libc::ARPHRD_ETHER;

/// The interface that another is enslaved to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Controller {
    pub ifindex: u32,
    pub name: String,
    /// As [`LinkState::kind`] of the controller; `None`: the kernel does not say.
    pub kind: Option<String>,
}

/// What a VLAN sub-interface is of its parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VlanState {
    /// Index of the parent.
    pub parent: u32,
    pub id: u16,
    /// A service tag (802.1ad) rather than a customer's (802.1Q).
    pub stag: bool,
}

/// An address of a link that can be used now: not one that is tentative, unless optimistically, or a duplicate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InterfaceAddress {
    pub address: IpAddr,
    pub prefix_len: u8,
    /// IPv6: a temporary one (RFC 8981).
    pub secondary: bool,
}

impl LinkState {
    /// The subnets that it connects to, by an address in each and the length of the prefix.
    pub fn subnets(&self) -> impl Iterator<Item = (IpAddr, u8)> {
        let link_local = |address: &IpAddr| matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local());
        self.addresses.iter().map(move |address| {
            let prefix_len = if link_local(&address.address) { 10 } else { address.prefix_len };
            (address.address, prefix_len)
        })
    }

    /// An interface that is not there.
    pub fn absent(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            ifindex: 0,
            mac: MacAddr::ZERO,
            mtu: 0,
            up: false,
            enabled: false,
            no_arp: false,
            addresses: Vec::new(),
            vlan: None,
            arphrd: ETHERNET,
            kind: None,
            controller: None,
            veth: false,
            keeps_tag: false,
            own_mac_only: false,
            xdp: None,
        }
    }

    /// The first address that is not a secondary one: the source of adverts.
    pub fn primary_v4(&self) -> Option<Ipv4Addr> {
        self.addresses.iter().filter(|a| !a.secondary).find_map(|a| match a.address {
            IpAddr::V4(address) => Some(address),
            IpAddr::V6(_) => None,
        })
    }
}

/// Why a link could not be looked up.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    #[error("interface {0} does not exist")]
    NotFound(String),
    #[error("interface {link}: {source}")]
    Netlink { link: String, source: rtnetlink::Error },
}

pub(super) async fn by_name(handle: &Handle, name: &str) -> Result<LinkState, LinkError> {
    let request = handle.link().get().match_name(name).execute();
    complete(handle, name.to_owned(), request).await
}

pub(super) async fn by_index(handle: &Handle, ifindex: u32) -> Result<LinkState, LinkError> {
    let request = handle.link().get().match_index(ifindex).execute();
    complete(handle, format!("index {ifindex}"), request).await
}

/// The MAC of every interface, by its index.
pub(super) async fn macs(handle: &Handle) -> Result<BTreeMap<u32, MacAddr>, rtnetlink::Error> {
    let links = handle.link().get().execute().map_ok(|message| without_addresses(&message));
    links.map_ok(|link| (link.ifindex, link.mac)).try_collect().await
}

/// The XDP program of every interface that has one: its id, by the interface's index.
pub(super) async fn xdp_programs(handle: &Handle) -> Result<BTreeMap<u32, u32>, rtnetlink::Error> {
    let links = handle.link().get().execute().map_ok(|message| without_addresses(&message));
    let programs =
        links.try_filter_map(|link| async move { Ok(link.xdp.map(|xdp| (link.ifindex, xdp.program_id))) });
    programs.try_collect().await
}

/// One message, without addresses.
pub(super) async fn arrivals(handle: &Handle, ifindex: u32) -> Result<Arrivals, LinkError> {
    let link = || format!("index {ifindex}");
    let mut request = std::pin::pin!(handle.link().get().match_index(ifindex).execute());
    let message = match request.next().await {
        Some(Ok(message)) => message,
        Some(Err(error)) if errno(&error) == Some(libc::ENODEV) => return Err(LinkError::NotFound(link())),
        Some(Err(source)) => return Err(LinkError::Netlink { link: link(), source }),
        None => return Err(LinkError::NotFound(link())),
    };
    let state = without_addresses(&message);
    let received = message.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Stats64(counters) => Some(counters.rx_packets),
        _ => None,
    });
    Ok(Arrivals {
        received: received.unwrap_or_default(),
        xdp: state.xdp,
        parent: state.vlan.map(|vlan| vlan.parent),
    })
}

async fn complete(
    handle: &Handle,
    link: String,
    request: impl Stream<Item = Result<LinkMessage, rtnetlink::Error>>,
) -> Result<LinkState, LinkError> {
    let mut request = std::pin::pin!(request);
    let message = match request.next().await {
        Some(Ok(message)) => message,
        Some(Err(error)) if errno(&error) == Some(libc::ENODEV) => return Err(LinkError::NotFound(link)),
        Some(Err(source)) => return Err(LinkError::Netlink { link, source }),
        None => return Err(LinkError::NotFound(link)),
    };
    let mut state = without_addresses(&message);
    for family in FAMILIES.into_iter().filter(|family| supported(*family)) {
        let mut get = handle.address().get();
        let family = address_family(family);
        // The kernel filters (strict checking is on): thousands of VIPs on `lo` stay out of this dump.
        get.message_mut().header.family = family;
        get.message_mut().header.index = state.ifindex;
        let mut addresses = std::pin::pin!(get.execute());
        while let Some(message) = addresses.next().await {
            match message {
                Ok(message) if message.header.family == family && message.header.index == state.ifindex => {
                    state.addresses.extend(address(&message));
                }
                Ok(_) => {}
                Err(error) if errno(&error) == Some(libc::ENODEV) => return Err(LinkError::NotFound(link)),
                Err(source) => return Err(LinkError::Netlink { link, source }),
            }
        }
    }
    Ok(state)
}

pub(super) fn without_addresses(message: &LinkMessage) -> LinkState {
    let needed = LinkFlags::Up | LinkFlags::Running | LinkFlags::LowerUp;
    let mut state = LinkState {
        name: String::new(),
        ifindex: message.header.index,
        mac: MacAddr::ZERO,
        mtu: 0,
        up: message.header.flags.contains(needed),
        enabled: message.header.flags.contains(LinkFlags::Up),
        no_arp: message.header.flags.contains(LinkFlags::Noarp),
        addresses: Vec::new(),
        vlan: vlan_state(&message.attributes),
        arphrd: message.header.link_layer_type.into(),
        kind: None,
        controller: None,
        veth: false,
        keeps_tag: false,
        own_mac_only: false,
        xdp: None,
    };
    let mut controller_kind = None;
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => state.name.clone_from(name),
            LinkAttribute::Mtu(mtu) => state.mtu = *mtu,
            LinkAttribute::Controller(0) => {}
            LinkAttribute::Controller(ifindex) => {
                let name = name_of(*ifindex).ok().flatten().unwrap_or_else(|| format!("index {ifindex}"));
                state.controller = Some(Controller { ifindex: *ifindex, name, kind: None });
            }
            LinkAttribute::LinkInfo(info) => {
                for attribute in info {
                    match attribute {
                        LinkInfo::Data(InfoData::Vlan(data)) => {
                            let reorders = |attribute: &InfoVlan| matches!(attribute, InfoVlan::Flags((flags, _)) if flags.contains(VlanFlags::ReorderHdr));
                            state.keeps_tag = !data.iter().any(reorders);
                        }
                        LinkInfo::Data(InfoData::MacVlan(data)) => {
                            state.own_mac_only = !data.contains(&InfoMacVlan::Mode(MacVlanMode::Passthrough));
                        }
                        LinkInfo::Data(InfoData::MacVtap(data)) => {
                            state.own_mac_only = !data.contains(&InfoMacVtap::Mode(MacVtapMode::Passthrough));
                        }
                        LinkInfo::Kind(kind) => state.kind = Some(kind.to_string()),
                        LinkInfo::PortKind(kind) => controller_kind = Some(kind.to_string()),
                        _ => {}
                    }
                }
            }
            LinkAttribute::Xdp(xdp) => state.xdp = xdp_state(xdp),
            LinkAttribute::Address(mac) => {
                state.mac = mac.as_slice().try_into().map_or(MacAddr::ZERO, MacAddr);
            }
            _ => {}
        }
    }
    state.veth = state.kind.as_deref() == Some("veth");
    if let Some(controller) = &mut state.controller {
        controller.kind = controller_kind;
    }
    state
}

fn xdp_state(attributes: &[LinkXdp]) -> Option<XdpState> {
    let generic = attributes.iter().find_map(|attribute| match attribute {
        LinkXdp::Attached(XdpAttached::Driver | XdpAttached::Hardware | XdpAttached::Multiple) => Some(false),
        LinkXdp::Attached(XdpAttached::SocketBuffer) => Some(true),
        _ => None,
    })?;
    let program_id = attributes.iter().find_map(|attribute| match attribute {
        LinkXdp::ProgId(id) | LinkXdp::DrvProgId(id) | LinkXdp::SkbProgId(id) | LinkXdp::HwProgId(id) => {
            Some(*id)
        }
        _ => None,
    })?;
    Some(XdpState { generic, program_id })
}

fn vlan_state(attributes: &[LinkAttribute]) -> Option<VlanState> {
    let (mut parent, mut info) = (None, None);
    for attribute in attributes {
        match attribute {
            LinkAttribute::Link(index) => parent = Some(*index),
            LinkAttribute::LinkInfo(attributes) => info = Some(attributes),
            // The parent's index is one of another namespace, where we can attach nothing.
            LinkAttribute::LinkNetNsId(_) => return None,
            _ => {}
        }
    }
    let info = info?;
    if !info.contains(&LinkInfo::Kind(InfoKind::Vlan)) {
        return None;
    }
    let data = info.iter().find_map(|attribute| match attribute {
        LinkInfo::Data(InfoData::Vlan(data)) => Some(data),
        _ => None,
    })?;
    let id = data.iter().find_map(|attribute| match attribute {
        InfoVlan::Id(id) => Some(*id),
        _ => None,
    })?;
    let stag = data.contains(&InfoVlan::Protocol(VlanProtocol::Ieee8021Ad));
    Some(VlanState { parent: parent?, id, stag })
}

pub(super) fn address(message: &AddressMessage) -> Option<InterfaceAddress> {
    // A VIP, perhaps another instance's: nobody's own address.
    if is_for_show(message) {
        return None;
    }
    let (mut local, mut address) = (None, None);
    let mut flags = AddressFlags::from_bits_retain(u32::from(message.header.flags.bits()));
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(ip) => local = Some(*ip),
            AddressAttribute::Address(ip) => address = Some(*ip),
            AddressAttribute::Flags(all) => flags = *all,
            _ => {}
        }
    }
    // RFC 4862 5.4: a tentative address is not assigned yet; RFC 4429 3.3: an optimistic one may be used meanwhile.
    let tentative = flags.contains(AddressFlags::Tentative) && !flags.contains(AddressFlags::Optimistic);
    if tentative || flags.contains(AddressFlags::Dadfailed) {
        return None;
    }
    Some(InterfaceAddress {
        // With a peer IFA_ADDRESS is the peer's; IFA_LOCAL is always ours, and missing on most IPv6 addresses.
        address: local.or(address)?,
        prefix_len: message.header.prefix_len,
        secondary: flags.contains(AddressFlags::Secondary),
    })
}

/// What became of a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkChange {
    /// The link, with its addresses, as it is now. Several changes in a row may come as one.
    State(LinkState),
    Gone {
        ifindex: u32,
    },
}

/// Changes of links, on all interfaces, and of their addresses, but for those of `lo`: the VIPs come and go there.
///
/// Notifications only mark an interface; its state is read afresh when it is reported. So nothing stale is reported,
/// and after an overrun of the socket it is enough to mark all.
pub struct LinkEvents {
    handle: Handle,
    messages: Pin<Box<dyn Stream<Item = NetlinkMessage<RouteNetlinkMessage>> + Send>>,
    /// Bounded by the number of interfaces.
    changed: BTreeSet<u32>,
    /// What existed at last, to report what vanished during an overrun.
    known: BTreeSet<u32>,
    resync: bool,
}

impl fmt::Debug for LinkEvents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LinkEvents").field("changed", &self.changed).finish_non_exhaustive()
    }
}

impl LinkEvents {
    /// Subscribes, and spawns the task that reads the socket; the task ends when this is dropped.
    pub(super) fn subscribe(handle: Handle) -> std::io::Result<Self> {
        let groups = [MulticastGroup::Link, MulticastGroup::Ipv4Ifaddr, MulticastGroup::Ipv6Ifaddr];
        let (connection, _, messages) = rtnetlink::new_multicast_connection(&groups)?;
        tokio::spawn(connection);
        let messages = Box::pin(messages.map(|(message, _)| message));
        Ok(Self { handle, messages, changed: BTreeSet::new(), known: BTreeSet::new(), resync: false })
    }

    /// Waits for the next change; `None` when the netlink socket is gone. Cancelling it loses nothing.
    pub async fn recv(&mut self) -> Option<LinkChange> {
        loop {
            while let Some(Some(message)) = self.messages.next().now_or_never() {
                self.mark(&message.payload);
            }
            if self.resync {
                self.mark_all().await;
            }
            let Some(&ifindex) = self.changed.first() else {
                let message = self.messages.next().await?;
                self.mark(&message.payload);
                continue;
            };
            let change = match by_index(&self.handle, ifindex).await {
                Ok(state) => {
                    self.known.insert(ifindex);
                    Some(LinkChange::State(state))
                }
                Err(LinkError::NotFound(_)) => {
                    self.known.remove(&ifindex);
                    Some(LinkChange::Gone { ifindex })
                }
                Err(LinkError::Netlink { source: rtnetlink::Error::RequestFailed, .. }) => return None,
                Err(error) => {
                    tracing::warn!(ifindex, %error, "cannot read the state of a changed link");
                    None
                }
            };
            self.changed.remove(&ifindex);
            if change.is_some() {
                return change;
            }
        }
    }

    fn mark(&mut self, payload: &NetlinkPayload<RouteNetlinkMessage>) {
        match payload {
            NetlinkPayload::InnerMessage(
                RouteNetlinkMessage::NewLink(link) | RouteNetlinkMessage::DelLink(link),
            ) => {
                self.changed.insert(link.header.index);
            }
            NetlinkPayload::InnerMessage(
                RouteNetlinkMessage::NewAddress(address) | RouteNetlinkMessage::DelAddress(address),
            ) if address.header.index != LOOPBACK && !is_for_show(address) => {
                self.changed.insert(address.header.index);
            }
            NetlinkPayload::Overrun(_) => self.resync = true,
            _ => {}
        }
    }

    async fn mark_all(&mut self) {
        let mut links = std::pin::pin!(self.handle.link().get().execute());
        while let Some(link) = links.next().await {
            match link {
                Ok(link) => {
                    self.changed.insert(link.header.index);
                }
                Err(error) => {
                    // `resync` stays set: the next call tries again.
                    tracing::warn!(%error, "cannot list links after lost notifications");
                    return;
                }
            }
        }
        self.changed.extend(&self.known);
        self.resync = false;
    }
}
