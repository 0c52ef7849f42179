//! Links, their addresses, and changes of both.

use std::net::Ipv4Addr;

use rtnetlink::packet_route::{
    address::{AddressAttribute, AddressFlags, AddressMessage},
    link::{InfoData, InfoKind, InfoVlan, LinkAttribute, LinkInfo, LinkMessage, VlanProtocol},
};

use super::{
    super::links::{address, without_addresses},
    *,
};

#[test]
fn links_are_read_and_changes_heard() {
    in_namespace("links", async |dir| {
        let (host, mut events) = Host::open(&dir).unwrap();
        let link = host.link("v0").await.unwrap();
        let address = |s, secondary| InterfaceAddress { address: addr(s), prefix_len: 24, secondary };
        // Its IPv6 address is still tentative.
        assert_eq!(link.addresses, [address("10.0.0.1", false), address("10.0.0.2", true)]);
        assert_eq!(link.primary_v4(), Some(Ipv4Addr::new(10, 0, 0, 1)));
        assert!(link.up && link.mtu == 1500);
        assert!(ip("link show v0").contains(&link.mac.to_string()));
        assert_eq!(host.link_by_index(link.ifindex).await.unwrap(), link);
        assert!(matches!(host.link("none").await, Err(LinkError::NotFound(name)) if name == "none"));

        let mut until = async |wanted: &dyn Fn(&LinkChange) -> bool| loop {
            let change = events.recv().await.expect("events go on");
            if wanted(&change) {
                break;
            }
        };
        let ifindex = link.ifindex;
        let state = |change: &LinkChange| match change {
            LinkChange::State(state) if state.ifindex == ifindex => Some(state.clone()),
            _ => None,
        };
        ip("addr add 10.0.1.1/24 dev v0");
        // The end of duplicate address detection is heard too, which comes first on a busy machine.
        let is_link_local =
            |a: &InterfaceAddress| matches!(a.address, IpAddr::V6(v6) if v6.is_unicast_link_local());
        let has_both = |s: &LinkState| {
            s.addresses.iter().any(|a| a.address == addr("10.0.1.1")) && s.addresses.iter().any(is_link_local)
        };
        until(&|c| state(c).is_some_and(|s| has_both(&s))).await;
        // The peer going down takes the carrier.
        ip("link set v1 down");
        until(&|c| state(c).is_some_and(|s| !s.up)).await;
        ip("link set v1 up");
        until(&|c| state(c).is_some_and(|s| s.up)).await;
        ip("link del v0");
        until(&|c| *c == LinkChange::Gone { ifindex }).await;
    });
}

#[test]
fn what_made_a_link_and_what_it_is_enslaved_to() {
    in_namespace("kinds", async |dir| {
        let (host, _events) = Host::open(&dir).unwrap();
        ip("link add br0 type bridge");
        ip("link set v0 master br0");
        ip("link add mv0 link v1 type macvlan");
        ip("tuntap add dev tun0 mode tun");
        let bridge = host.link("br0").await.unwrap();
        assert_eq!((bridge.kind.as_deref(), bridge.controller), (Some("bridge"), None));
        let port = host.link("v0").await.unwrap();
        assert_eq!((port.kind.as_deref(), port.arphrd, port.veth), (Some("veth"), ETHERNET, true));
        let controller =
            Controller { ifindex: bridge.ifindex, name: "br0".into(), kind: Some("bridge".into()) };
        assert_eq!(port.controller, Some(controller));
        for (name, kind, ethernet) in
            [("mv0", Some("macvlan"), true), ("tun0", Some("tun"), false), ("lo", None, false)]
        {
            let link = host.link(name).await.unwrap();
            assert_eq!((link.kind.as_deref(), link.arphrd == ETHERNET), (kind, ethernet), "{name}");
            assert_eq!(link.usable().is_ok(), ethernet, "{name}");
        }
        let refused = port.usable().unwrap_err().to_string();
        assert_eq!(refused, "interface v0 is a port of the bridge br0, which gets what comes in: use br0");
        ip("link set v0 nomaster");
        let link = host.link("v0").await.unwrap();
        assert_eq!((link.controller.as_ref(), link.usable()), (None, Ok(())));
    });
}

#[test]
fn vlan_sub_interfaces_are_recognised() {
    let message = |attributes: Vec<LinkAttribute>| {
        let mut message = LinkMessage::default();
        message.header.index = 7;
        message.attributes = attributes;
        without_addresses(&message).vlan
    };
    let info = |kind, protocol| {
        let data = InfoData::Vlan(vec![InfoVlan::Id(42), InfoVlan::Protocol(protocol)]);
        LinkAttribute::LinkInfo(vec![LinkInfo::Kind(kind), LinkInfo::Data(data)])
    };
    let tagged = || info(InfoKind::Vlan, VlanProtocol::Ieee8021Q);
    let vlan = VlanState { parent: 3, id: 42, stag: false };
    assert_eq!(message(vec![LinkAttribute::Link(3), tagged()]), Some(vlan));
    let service = info(InfoKind::Vlan, VlanProtocol::Ieee8021Ad);
    assert_eq!(message(vec![LinkAttribute::Link(3), service]), Some(VlanState { stag: true, ..vlan }));
    // The parent is in another namespace; a macvlan; and no sub-interface at all.
    assert_eq!(message(vec![LinkAttribute::Link(3), tagged(), LinkAttribute::LinkNetNsId(1)]), None);
    assert_eq!(
        message(vec![
            LinkAttribute::Link(3),
            LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::MacVlan)])
        ]),
        None
    );
    assert_eq!(message(vec![]), None);
}

#[test]
fn only_usable_addresses_are_listed() {
    let with = |flags| {
        let mut message = AddressMessage::default();
        message.header.prefix_len = 64;
        message.attributes =
            vec![AddressAttribute::Address(addr("2001:db8::1")), AddressAttribute::Flags(flags)];
        address(&message)
    };
    let usable = InterfaceAddress { address: addr("2001:db8::1"), prefix_len: 64, secondary: false };
    let rows = [
        (AddressFlags::Permanent, Some(usable)),
        (AddressFlags::Tentative, None),
        (AddressFlags::Tentative | AddressFlags::Optimistic, Some(usable)),
        (AddressFlags::Dadfailed | AddressFlags::Permanent, None),
        (AddressFlags::Secondary, Some(InterfaceAddress { secondary: true, ..usable })),
    ];
    for (flags, expected) in rows {
        assert_eq!(with(flags), expected, "{flags:?}");
    }
}

/// By the routes of this moment: on a link, behind a router, nowhere.
#[test]
fn the_first_hop_to_an_address() {
    in_namespace("hops", async |_| {
        ip("route add 10.9.0.0/24 dev v0");
        ip("route add 10.8.0.0/24 via 10.0.0.9 dev v0 onlink");
        let asked = ["10.0.0.9", "10.9.0.11", "10.8.0.11", "10.7.0.11", "10.0.0.1"].map(addr);
        let hops = first_hops(asked).await.unwrap();
        let by_gateway: Vec<_> = asked.iter().map(|to| hops.get(to).map(|hop| hop.by_gateway)).collect();
        assert_eq!(by_gateway, [Some(false), Some(false), Some(true), None, None]);
    });
}
