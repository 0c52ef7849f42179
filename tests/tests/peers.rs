//! The other routers of the interop tests do in the lab what they do elsewhere: keepalived and FRR, without vipd.
//! What the probes report of them is what vipd is compared with.

#![allow(clippy::disallowed_methods, reason = "tests measure")]

use std::{
    io::ErrorKind,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpStream},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use vipd_common::Family;
use vipd_tests::{
    Lab, Mac, Node,
    frr::{VrrpSpec, virtual_mac},
    probe::{
        NeighbourProber, Sniffer,
        capture::{Advert, Announcement, AnnouncementKind, ChecksumForm, Seen},
        question::Form,
    },
    require_lab, wait_for,
};

const VRID: u8 = 51;
const VIP4: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 3);
const VIP6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 3);
const INTERVAL: Duration = Duration::from_millis(100);
const PERIOD: Duration = Duration::from_millis(5);
const SOON: Duration = Duration::from_secs(60);

fn lab() -> Result<Lab> {
    Lab::builder()
        .node("lb01", "10.0.0.5/24")
        .address("2001:db8::5/64")
        .node("lb02", "10.0.0.6/24")
        .address("2001:db8::6/64")
        .node("client", "10.0.0.100/24")
        .address("2001:db8::100/64")
        .build()
}

fn keepalived_conf(priority: u8, extra: &str, addresses: &[&str]) -> String {
    format!(
        "global_defs {{\n vrrp_version 3\n}}\nvrrp_instance VI_1 {{\n state BACKUP\n interface eth0\n {extra}\n \
         virtual_router_id {VRID}\n priority {priority}\n advert_int 0.1\n virtual_ipaddress {{\n {}\n }}\n}}\n",
        addresses.join("\n ")
    )
}

/// Whether one station alone has answered of late; two may have while the daemons were starting.
fn has_one_owner(prober: &NeighbourProber) -> bool {
    let now = Instant::now();
    prober.owners_seen_between(now - PERIOD * 20, now) == 1
}

/// Waits until one station, and only it, answers for an address.
fn wait_owner(prober: &NeighbourProber, vip: IpAddr, mac: Mac, since: Instant) -> Result<()> {
    wait_for(format_args!("{mac} to answer for {vip}"), SOON, || {
        prober.current_owner(vip).is_some_and(|answer| answer.mac == mac && answer.at > since)
    })?;
    Ok(())
}

/// Asserts that an address is reached: a port where nobody listens refuses at once.
fn assert_reaches(from: &Node, vip: IpAddr) -> Result<()> {
    let result = from.ns().run(|| TcpStream::connect_timeout(&(vip, 9).into(), SOON))?;
    assert_eq!(result.err().map(|e| e.kind()), Some(ErrorKind::ConnectionRefused), "{vip}");
    Ok(())
}

/// The last live advert over a family, once there is one.
fn an_advert(wire: &Sniffer, family: Family) -> Result<(Seen, Advert)> {
    let mut last = None;
    wait_for(format_args!("an advert over {family:?}"), SOON, || {
        last = last_advert(wire, family);
        last.is_some()
    })?;
    last.context("found, then lost")
}

/// The last live advert over a family.
fn last_advert(wire: &Sniffer, family: Family) -> Option<(Seen, Advert)> {
    let live = |(_, a): &(Seen, Advert)| a.priority > 0 && a.src.is_ipv4() == (family == Family::V4);
    wire.adverts().into_iter().rev().find(live)
}

#[test]
fn a_keepalived_pair_over_ipv6_has_one_master_and_the_prober_sees_it() -> Result<()> {
    let Some(()) = require_lab() else { return Ok(()) };
    let lab = lab()?;
    let (lb01, lb02, client) = (lab.node("lb01"), lab.node("lb02"), lab.node("client"));
    let (wire, prober) =
        (lab.sniff_port("client")?, NeighbourProber::start(client.ns(), "eth0", &[VIP6], PERIOD)?);
    let vips = ["fe80::ace", "2001:db8::3"];
    let mut master = lb01.start_keepalived(&keepalived_conf(150, "", &vips))?;
    let _backup = lb02.start_keepalived(&keepalived_conf(100, "", &vips))?;
    lb01.wait_keepalived("VI_1", "MASTER", SOON)?;
    lb02.wait_keepalived("VI_1", "BACKUP", SOON)?;
    wait_owner(&prober, VIP6.into(), lb01.mac(), Instant::now())?;

    let (seen, advert) = an_advert(&wire, Family::V6)?;
    assert_eq!(advert.src, IpAddr::V6(lb01.link_local()));
    assert_eq!(advert.dst, "ff02::12".parse::<IpAddr>()?);
    assert_eq!((seen.src_mac, seen.dst_mac), (lb01.mac(), "33:33:00:00:00:12".parse()?));
    assert_eq!((advert.version, advert.vrid, advert.priority, advert.ttl), (3, VRID, 150, 255));
    assert_eq!(advert.interval, INTERVAL);
    assert_eq!(advert.addresses, ["fe80::ace".parse::<IpAddr>()?, VIP6.into()]);
    assert_eq!(advert.checksum, ChecksumForm::PseudoHeader);
    // lb02 may have been the master for a moment.
    let ours = |a: &Announcement| a.address == VIP6 && a.mac == lb01.mac();
    let announced = wire.announcements().into_iter().find(ours).expect("it announces itself");
    assert_eq!(announced.kind, AnnouncementKind::NeighbourAdvert);

    let answer =
        prober.current_owner(VIP6).and_then(|a| a.neighbour_advert).expect("an answer to a solicitation");
    assert_eq!((answer.target, answer.hop_limit, answer.target_mac), (VIP6, 255, Some(lb01.mac())));
    assert!(answer.checksum_valid && answer.solicited && answer.overrides && !answer.router, "{answer:?}");
    wait_for("answers of one", SOON, || has_one_owner(&prober))?;

    // The master dies in order; the other takes over, and the client's kernel follows.
    let stopped = Instant::now();
    master.sigterm()?;
    lb02.wait_keepalived("VI_1", "MASTER", SOON)?;
    wait_owner(&prober, VIP6.into(), lb02.mac(), stopped)?;
    assert_reaches(client, VIP6.into())?;
    assert_eq!(client.neighbours()?[&IpAddr::V6(VIP6)].mac, Some(lb02.mac()));
    assert_eq!(lab.fdb_port_of(lb02.mac())?.as_deref(), Some("lb02"));

    // A station that would like to have the address is told too.
    let claim = NeighbourProber::start_as(Form::Claim, client.ns(), "eth0", &[VIP6], PERIOD)?;
    wait_owner(&claim, VIP6.into(), lb02.mac(), stopped)?;
    let answer = claim.current_owner(VIP6).and_then(|a| a.neighbour_advert).expect("an answer to DAD");
    assert!(answer.is_unsolicited() && answer.overrides && answer.checksum_valid, "{answer:?}");
    assert_eq!(wire.icmp_errors().len(), 0);
    Ok(())
}

#[test]
fn a_keepalived_pair_with_a_virtual_mac_moves_it_in_the_switch() -> Result<()> {
    let Some(()) = require_lab() else { return Ok(()) };
    let lab = lab()?;
    let (lb01, lb02, client) = (lab.node("lb01"), lab.node("lb02"), lab.node("client"));
    let (wire, prober) =
        (lab.sniff_port("client")?, NeighbourProber::start(client.ns(), "eth0", &[VIP4], PERIOD)?);
    let vmac = virtual_mac(VRID, Family::V4);
    for node in [lb01, lb02] {
        // Otherwise the master asks for the client's MAC from the VIP and its own MAC, and the client learns that one
        // (tried): the packets it sends leave by eth0, where the route is.
        node.ns().sysctl("net/ipv4/conf/eth0/arp_announce", "2")?;
    }
    let mut master = lb01.start_keepalived(&keepalived_conf(150, "use_vmac", &["10.0.0.3"]))?;
    let _backup = lb02.start_keepalived(&keepalived_conf(100, "use_vmac", &["10.0.0.3"]))?;
    lb01.wait_keepalived("VI_1", "MASTER", SOON)?;
    lb02.wait_keepalived("VI_1", "BACKUP", SOON)?;
    wait_owner(&prober, VIP4.into(), vmac, Instant::now())?;
    assert_eq!(prober.current_owner(VIP4).map(|a| a.src_mac), Some(vmac));
    let (seen, advert) = an_advert(&wire, Family::V4)?;
    assert_eq!((seen.src_mac, advert.src), (vmac, IpAddr::V4(lb01.ip().expect("it has one"))));
    // As keepalived 2.2.7 does, against RFC 9568 5.2.8.
    assert_eq!(advert.checksum, ChecksumForm::PseudoHeader);
    wait_for("the switch to know where the router is", SOON, || {
        lab.fdb_port_of(vmac).is_ok_and(|node| node.as_deref() == Some("lb01"))
    })?;
    master.sigterm()?;
    wait_for("the router to move", SOON, || {
        lab.fdb_port_of(vmac).is_ok_and(|node| node.as_deref() == Some("lb02"))
    })?;
    wait_owner(&prober, VIP4.into(), vmac, Instant::now())?;
    assert_reaches(client, VIP4.into())?;
    assert_eq!(client.neighbours()?[&IpAddr::V4(VIP4)].mac, Some(vmac));
    Ok(())
}

#[test]
fn an_frr_pair_has_one_master_in_each_family() -> Result<()> {
    let Some(()) = require_lab() else { return Ok(()) };
    let lab = lab()?;
    let (lb01, lb02, client) = (lab.node("lb01"), lab.node("lb02"), lab.node("client"));
    let wire = lab.sniff_port("client")?;
    let vips: [IpAddr; 2] = [VIP4.into(), VIP6.into()];
    let prober = NeighbourProber::start(client.ns(), "eth0", &vips, PERIOD)?;
    let spec = |priority| VrrpSpec {
        interface: "eth0",
        vrid: VRID,
        priority,
        advert_interval: INTERVAL,
        preempt: true,
        addresses: &vips,
    };
    let mut master = lb01.start_frr_vrrp(&spec(150))?;
    let backup = lb02.start_frr_vrrp(&spec(100))?;
    for (family, vip) in [(Family::V4, vips[0]), (Family::V6, vips[1])] {
        let vmac = virtual_mac(VRID, family);
        master.wait_state(VRID, family, "Master", SOON)?;
        backup.wait_state(VRID, family, "Backup", SOON)?;
        wait_owner(&prober, vip, vmac, Instant::now())?;
        let (seen, advert) = an_advert(&wire, family)?;
        assert_eq!((seen.src_mac, advert.vrid, advert.priority), (vmac, VRID, 150));
        assert_eq!((advert.interval, advert.ttl), (INTERVAL, 255));
        assert_eq!((advert.addresses, advert.checksum), (vec![vip], ChecksumForm::PseudoHeader));
        assert_eq!(lab.fdb_port_of(vmac)?.as_deref(), Some("lb01"));
    }
    wait_for("answers of one", SOON, || has_one_owner(&prober))?;

    // vrrpd dies without a word; its kernel goes on answering, the other router takes the adverts over.
    master.vrrpd.kill9()?;
    for family in [Family::V4, Family::V6] {
        backup.wait_state(VRID, family, "Master", SOON)?;
    }
    wait_for("adverts of lb02", SOON, || {
        [Family::V4, Family::V6]
            .iter()
            .all(|f| last_advert(&wire, *f).is_some_and(|(_, a)| a.priority == 100))
    })?;
    assert_eq!(wire.icmp_errors().len(), 0);

    // What FRR made can be made again.
    drop(master);
    lb01.start_frr_vrrp(&spec(200))?.wait_state(VRID, Family::V6, "Master", SOON)?;
    Ok(())
}
