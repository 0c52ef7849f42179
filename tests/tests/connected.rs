//! The ways from a node to the clients of its VIPs: the connected route of a VIP's prefix, and nodes whose addresses are no subnet's.

#![allow(clippy::disallowed_methods, reason = "tests measure")]

mod support;

use std::{
    net::{IpAddr, Ipv4Addr, UdpSocket},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use support::{echo::Echo, *};
use vipd_tests::{Node, wait_for};

const WAN: &str = "192.0.2.10";
const WAN6: &str = "2001:db8:1::10";
/// Behind the client, which is the gateway of the WAN.
const FAR: &str = "198.51.100.7";

/// lb01, lb02 and a client with a second network, in which the nodes have no address but link-local ones.
fn wan() -> Result<Option<Bed>> {
    let Some((lab, permit)) = lab(|lab| {
        let lab = lab.node("lb01", "10.0.0.5/24").link("10.9.0.5/24").node("lb02", "10.0.0.6/24");
        lab.link("10.9.0.6/24").node("client", "10.0.0.100/24").link("192.0.2.100/24")
    })?
    else {
        return Ok(None);
    };
    let bed = Bed::of(lab, permit)?;
    for node in [bed.lb01(), bed.lb02()] {
        run(node, "ip -4 address flush dev eth1")?;
    }
    let client = bed.client();
    // A host of that network alone, and one that answers nobody from outside of it, as routers do.
    run(client, "ip link set eth0 down")?;
    run(client, "ip address add 2001:db8:1::64/64 dev eth1 nodad")?;
    run(client, "ip address add 198.51.100.7/32 dev lo")?;
    client.ns().sysctl("net/ipv4/conf/eth1/rp_filter", "1")?;
    client.ns().sysctl("net/ipv4/conf/all/rp_filter", "1")?;
    Ok(Some(bed))
}

fn wan_conf(priority: u8) -> String {
    let extra = format!(
        "virtual_ipaddress_excluded {{\n        {WAN}/24 dev eth1\n        {WAN6}/64 dev eth1\n    }}\n    \
         virtual_routes {{\n        {FAR}/32 via 192.0.2.100 dev eth1\n    }}"
    );
    node_conf(priority, &extra)
}

fn run(node: &Node, command: &str) -> Result<()> {
    node.exec(&command.split(' ').collect::<Vec<_>>()).map(drop)
}

fn show(node: &Node, command: &str) -> Result<String> {
    node.exec(&command.split(' ').collect::<Vec<_>>())
}

#[test]
fn a_prefix_brings_its_connected_route_while_this_node_is_the_owner() -> Result<()> {
    let Some(bed) = wan()? else { return Ok(()) };
    let pair = pair_in(bed, &wan_conf(HIGH), &wan_conf(LOW))?;
    let bed = &pair.bed;
    let route = "192.0.2.0/24 dev eth1 proto 118 scope link src 192.0.2.10";
    let route6 = "2001:db8:1::/64 dev eth1 proto 118";
    let has = |node: &Node| {
        show(node, "ip -4 route").is_ok_and(|routes| routes.contains(route))
            && show(node, "ip -6 route").is_ok_and(|routes| routes.contains(route6))
    };
    let has_none = |node: &Node| {
        show(node, "ip -4 route").is_ok_and(|routes| !routes.contains("192.0.2.0"))
            && show(node, "ip -6 route").is_ok_and(|routes| !routes.contains("2001:db8:1::"))
            && show(node, "ip address show dev eth1").is_ok_and(|addresses| !addresses.contains(WAN))
    };
    ensure!(has(bed.lb01()) && has_none(bed.lb02()), "{}", show(bed.lb01(), "ip route")?);
    // Where an interface has an address of the subnet the kernel has the route.
    ensure!(!show(bed.lb01(), "ip route show dev eth0")?.contains("proto 118"));

    let (wan, wan6): (IpAddr, IpAddr) = (WAN.parse()?, WAN6.parse()?);
    let wire = bed.lab.sniff_link("client", "eth1")?;
    let mut echo = Echo::default();
    for node in [bed.lb01(), bed.lb02()] {
        echo.serve(node, wan)?;
        echo.serve(node, wan6)?;
    }
    let near = echo.ask(bed.client(), wan, None)?;
    let near6 = echo.ask(bed.client(), wan6, None)?;
    let far = echo.ask(bed.client(), wan, Some(FAR.parse()?))?;
    for answers in [&near, &near6, &far] {
        answers.wait("lb01")?;
    }
    // Who is no router's neighbour is not answered by routers.
    run(bed.lb01(), "ip neighbour flush dev eth1")?;
    near.wait("lb01")?;
    let asked = wire.arps().into_iter().map(|(_, arp)| arp);
    let asked: Vec<Ipv4Addr> = asked
        .filter(|arp| arp.sender_mac == bed.lb01().link("eth1").mac && arp.target_ip.octets()[3] == 100)
        .map(|arp| arp.sender_ip)
        .collect();
    ensure!(!asked.is_empty() && asked.iter().all(|sender| sender.to_string() == WAN), "{asked:?}");

    let since = Instant::now();
    bed.lb01().stop_vipd(&bed.vipd)?;
    bed.wait("lb02", "MASTER")?;
    for answers in [&near, &near6, &far] {
        answers.wait("lb02")?;
    }
    println!(
        "handover: no answer for {:?}, over IPv6 {:?}, by the gateway {:?}",
        near.longest_gap(since),
        near6.longest_gap(since),
        far.longest_gap(since)
    );
    ensure!(has(bed.lb02()) && has_none(bed.lb01()), "{}", show(bed.lb01(), "ip route")?);
    Ok(())
}

#[test]
fn a_connected_route_that_is_deleted_is_put_back_and_goes_for_an_address() -> Result<()> {
    let Some(bed) = wan()? else { return Ok(()) };
    let _vipd = bed.start("lb01", &wan_conf(HIGH))?;
    bed.wait("lb01", "MASTER")?;
    let lb01 = bed.lb01();
    let has = || show(lb01, "ip -4 route show proto 118").is_ok_and(|routes| routes.contains("192.0.2.0/24"));
    wait_for("the virtual route", SOON, || {
        show(lb01, "ip -4 route").is_ok_and(|routes| routes.contains(FAR))
    })?;
    run(lb01, "ip route del 192.0.2.0/24 dev eth1")?;
    wait_for("the route", SOON, has)?;
    run(lb01, "ip address del 192.0.2.10/24 dev eth1")?;
    let shows = || show(lb01, "ip address show dev eth1").is_ok_and(|addresses| addresses.contains(WAN));
    wait_for("the address", SOON, shows)?;
    for (kind, what) in [("route", "route 192.0.2.0/24"), ("address", WAN)] {
        bed.wait_event("lb01", "host_repaired", |fields| {
            fields["kind"] == kind && fields["what"].as_str().is_some_and(|text| text.contains(what))
        })?;
    }
    // The kernel has a route of its own by then.
    run(lb01, "ip address add 192.0.2.5/24 dev eth1")?;
    wait_for("the route to go", SOON, || !has() && !shows())?;
    run(lb01, "ip address del 192.0.2.5/24 dev eth1")?;
    wait_for("the route to be back", SOON, || has() && shows())?;
    lb01.stop_vipd(&bed.vipd)?;
    ensure!(!has() && !shows(), "something is left");
    Ok(())
}

/// L3 fabrics: each node has an address of its own, and the gateway is all that it reaches. What a backup sends to the VIP takes the way
/// that its main table has, and asks for nobody on a wire where nobody answers.
#[test]
fn a_backup_of_a_fabric_reaches_the_vip_by_its_gateway() -> Result<()> {
    let Some((lab, permit)) = lab(|lab| {
        let lab = lab.node("lb01", "10.0.0.5/32").node("lb02", "10.0.0.6/32");
        lab.node("gw", "10.0.0.1/24").node("client", "10.0.0.100/24")
    })?
    else {
        return Ok(());
    };
    let bed = Bed::of(lab, permit)?;
    for node in [bed.lb01(), bed.lb02()] {
        run(node, "ip route add default via 10.0.0.1 dev eth0 onlink")?;
    }
    let gw = bed.lab.node("gw");
    gw.ns().sysctl("net/ipv4/ip_forward", "1")?;
    gw.ns().sysctl("net/ipv4/conf/all/send_redirects", "0")?;
    gw.ns().sysctl("net/ipv4/conf/eth0/send_redirects", "0")?;
    let conf = |priority, peer| node_conf(priority, &format!("unicast_peer {{\n        {peer}\n    }}"));
    let pair = pair_in(bed, &conf(HIGH, LB02), &conf(LOW, LB01))?;
    let bed = &pair.bed;
    let wire = bed.lab.sniff_port("lb02")?;
    let mut echo = Echo::default();
    echo.serve(bed.lb01(), VIP.into())?;
    echo.serve(bed.lb02(), VIP.into())?;
    let way = show(bed.lb02(), "ip route get 10.0.0.3")?;
    ensure!(way.contains("via 10.0.0.1 dev eth0 src 10.0.0.6"), "{way}");
    let backup = echo.ask(bed.lb02(), VIP.into(), None)?;
    backup.wait("lb01")?;
    let master = echo.ask(bed.lb01(), VIP.into(), None)?;
    master.wait("lb01")?;
    sleep(INTERVAL * 4);
    let asked: Vec<_> = wire
        .arps()
        .into_iter()
        .filter(|(_, arp)| arp.sender_mac == bed.lb02().mac() && arp.target_ip == VIP && !arp.is_gratuitous())
        .collect();
    ensure!(asked.is_empty(), "{asked:?}");
    bed.wait("lb01", "MASTER")?;
    bed.wait("lb02", "BACKUP")
}

/// A socket that a host has connected to its own VIP has an address that it keeps when the VIP goes: over IPv6 too.
#[test]
fn a_connection_to_the_own_ipv6_vip_outlives_the_mastership() -> Result<()> {
    let Some(bed) = Bed::dual()? else { return Ok(()) };
    let extra = "virtual_ipaddress_excluded {\n        2001:db8::3\n    }";
    let pair = pair_in(bed, &node_conf(HIGH, extra), &node_conf(LOW, extra))?;
    let (bed, vip): (_, IpAddr) = (&pair.bed, "2001:db8::3".parse()?);
    let mut echo = Echo::default();
    for node in [bed.lb01(), bed.lb02()] {
        echo.serve(node, vip)?;
    }
    let client = bed.lb01().ns().run(|| UdpSocket::bind("[::]:0"))??;
    client.connect((vip, 7000))?;
    let source = client.local_addr()?.ip();
    ensure!(source.to_string() == "2001:db8::5", "{source}");
    client.set_read_timeout(Some(Duration::from_millis(200)))?;
    let reaches = |node: &str| {
        let mut name = [0; 16];
        client.send(b"?").is_ok()
            && client.recv(&mut name).is_ok_and(|length| &name[..length] == node.as_bytes())
    };
    wait_for("the own service", SOON, || reaches("lb01"))?;
    bed.lb01().stop_vipd(&bed.vipd)?;
    bed.wait("lb02", "MASTER")?;
    wait_for("the new owner's service", SOON, || reaches("lb02")).map(drop)
}
