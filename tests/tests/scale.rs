//! Thousands of VIPs behind one lease, and hundreds of virtual routers on one interface.

#![allow(clippy::disallowed_methods, reason = "tests measure")]

mod support;

use std::{
    collections::{BTreeMap, HashSet},
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use support::*;
use vipd_tests::{
    Daemon, Mac, Node,
    probe::{
        Sniffer,
        capture::{Arp, Frame},
        packet::PacketSocket,
        question::{arp_request, solicitation},
    },
    wait_for,
};

const VIRTUAL: Mac = Mac([0, 0, 0x5e, 0, 1, 51]);

/// Of either family.
fn vip(family_v6: bool, n: u32) -> IpAddr {
    if family_v6 {
        Ipv6Addr::from_bits(0x2001_0db8_0000_0000_0000_0000_0001_0000 + u128::from(n)).into()
    } else {
        Ipv4Addr::from_bits(u32::from(Ipv4Addr::new(10, 0, 64, 0)) + n).into()
    }
}

fn vips(v4: u32, v6: u32) -> Vec<IpAddr> {
    (0..v4).map(|n| vip(false, n)).chain((0..v6).map(|n| vip(true, n))).collect()
}

/// One instance with all of them: an advert has room for few, the rest are excluded from it.
fn one_instance(priority: u8, lines: &str, vips: &[IpAddr]) -> String {
    let listed: String = vips[1..].iter().map(|vip| format!(" {vip}\n")).collect();
    format!(
        "vrrp_instance {INSTANCE} {{\n interface eth0\n version 3\n virtual_router_id 51\n priority {priority}\n advert_int \
         0.3\n {lines}\n virtual_ipaddress {{\n {}\n }}\n virtual_ipaddress_excluded {{\n{listed} }}\n}}\n",
        vips[0]
    )
}

/// Asks once for each VIP, as fast as the lab's rings of 256 frames take it.
fn ask(client: &Node, vips: &[IpAddr]) -> Result<()> {
    let (mac, ip, ip6) = (client.mac(), client.ip().context("IPv4")?, client.ip6().context("IPv6")?);
    client.ns().run(|| {
        let socket = PacketSocket::open("eth0", 0)?;
        for (i, vip) in vips.iter().enumerate() {
            let frame = match vip {
                IpAddr::V4(vip) => arp_request(mac, ip, *vip),
                IpAddr::V6(vip) => solicitation(mac, ip6, *vip),
            };
            socket.send(&frame)?;
            if i % 64 == 63 {
                sleep(Duration::from_millis(1));
            }
        }
        Ok(())
    })?
}

/// The VIPs that a station has answered for since `after`, with the last moment of each.
fn answered(port: &Sniffer, after: Instant) -> BTreeMap<IpAddr, Instant> {
    let mut answers = BTreeMap::new();
    for seen in port.seen().into_iter().filter(|seen| seen.at > after && !seen.outgoing) {
        let vip = match &seen.frame {
            Frame::Arp(arp) if arp.operation == Arp::REPLY && !arp.is_gratuitous() => arp.sender_ip.into(),
            Frame::NeighbourAdvert(advert) if advert.solicited => advert.target.into(),
            _ => continue,
        };
        answers.entry(vip).or_insert(seen.at);
    }
    answers
}

/// Asks for all until each was answered by the station behind `port`; returns the moment of the last.
fn all_answered(client: &Node, port: &Sniffer, vips: &[IpAddr], after: Instant) -> Result<Instant> {
    let mut missing = vips.to_vec();
    wait_for(format_args!("{} VIPs to be answered", vips.len()), SOON, || {
        let asked = ask(client, &missing).is_ok();
        sleep(Duration::from_millis(5));
        let answers = answered(port, after);
        missing.retain(|vip| !answers.contains_key(vip));
        asked && missing.is_empty()
    })
    .with_context(|| format!("{} missing, the first {:?}", missing.len(), missing.first()))?;
    answered(port, after).into_values().max().context("no VIP at all")
}

/// What the client's kernel knows of the VIPs.
fn cache(client: &Node, vips: &[IpAddr]) -> Result<BTreeMap<IpAddr, Option<Mac>>> {
    let vips: HashSet<_> = vips.iter().collect();
    let known = client.neighbours()?.into_iter().filter(|(address, _)| vips.contains(address));
    Ok(known.map(|(address, neighbour)| (address, neighbour.mac)).collect())
}

/// Has the client's kernel resolve the VIPs.
fn resolve(client: &Node, vips: &[IpAddr]) -> Result<()> {
    client.ns().run(|| {
        let (v4, v6) = (UdpSocket::bind("0.0.0.0:0")?, UdpSocket::bind("[::]:0")?);
        for (i, vip) in vips.iter().enumerate() {
            let socket = if vip.is_ipv4() { &v4 } else { &v6 };
            // An answer of "port unreachable" to an earlier one may come back as an error.
            let _ = socket.send_to(b"hello", (*vip, 9));
            if i % 32 == 31 {
                sleep(Duration::from_millis(2));
            }
        }
        Ok(())
    })?
}

fn memory(daemon: &Daemon) -> Result<String> {
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid()))?;
    let line =
        |name: &str| status.lines().find(|line| line.starts_with(name)).unwrap_or("").replace('\t', " ");
    Ok(format!("{} {}", line("VmRSS:"), line("VmHWM:")))
}

/// With the virtual MAC a takeover of 2,000 VIPs is one advert: each is answered by the new node, and no neighbour entry of
/// the client changes.
#[test]
fn two_thousand_vips_move_with_one_advert() -> Result<()> {
    for (v4, v6) in [(1, 0), (1000, 1000)] {
        let Some(bed) = Bed::dual()? else { return Ok(()) };
        let vips = vips(v4, v6);
        let mut lb01 = bed.start("lb01", &one_instance(HIGH, "use_vmac", &vips))?;
        bed.wait("lb01", "MASTER")?;
        let _lb02 = bed.start("lb02", &one_instance(LOW, "use_vmac", &vips))?;
        bed.wait("lb02", "BACKUP")?;
        wait_for("the client to know all of them", SOON, || {
            resolve(bed.client(), &vips).is_ok()
                && cache(bed.client(), &vips).is_ok_and(|c| c.values().flatten().count() == vips.len())
        })?;
        let before = cache(bed.client(), &vips)?;
        ensure!(before.values().all(|mac| *mac == Some(VIRTUAL)), "not the virtual MAC: {before:?}");

        let port = bed.lab.sniff_port("lb02")?;
        let killed = lb01.kill9()?;
        let first = wait_advert(&port, LB02, killed)?;
        let last = all_answered(bed.client(), &port, &vips, first)?;
        println!(
            "{} VIPs: all answered by the new node {:?} after its first advert",
            vips.len(),
            last - first
        );
        ensure!(bed.lab.fdb_port_of(VIRTUAL)?.as_deref() == Some("lb02"), "the switch has it elsewhere");
        let after = cache(bed.client(), &vips)?;
        ensure!(after == before, "the client's neighbour entries have changed");
        let announced = port.announcements().into_iter().filter(|a| a.at > first && a.at < last).count();
        println!("{announced} announcements meanwhile");
    }
    Ok(())
}

/// 10,000 VIPs load, fail over, are handed back and leave nothing behind.
#[test]
fn ten_thousand_vips_in_one_instance() -> Result<()> {
    let Some(bed) = Bed::dual()? else { return Ok(()) };
    let vips = vips(5000, 5000);
    let begun = Instant::now();
    let mut lb01 = bed.start("lb01", &one_instance(HIGH, "", &vips))?;
    println!("10,000 VIPs: answering on the control socket after {:?}, {}", begun.elapsed(), memory(&lb01)?);
    let mut lb02 = bed.start("lb02", &one_instance(LOW, "", &vips))?;
    bed.wait("lb01", "MASTER")?;
    bed.wait("lb02", "BACKUP")?;
    let sample: Vec<_> = vips.iter().step_by(10).copied().collect();
    let ports = [bed.lab.sniff_port("lb01")?, bed.lab.sniff_port("lb02")?];
    let elected = Instant::now();
    all_answered(bed.client(), &ports[0], &sample, elected)?;
    let killed = lb01.kill9()?;
    let first = wait_advert(&ports[1], LB02, killed)?;
    all_answered(bed.client(), &ports[1], &sample, first)?;
    bed.wait("lb02", "MASTER")?;

    let begun = Instant::now();
    bed.lb02().stop_vipd(&bed.vipd)?;
    println!("10,000 VIPs: stopped after {:?}", begun.elapsed());
    ensure!(lb02.wait(SOON)?.success(), "{}", lb02.log());
    for (family, what) in [("-4", "rule"), ("-6", "rule")] {
        let rules = bed.lb02().exec(&["ip", family, what])?;
        ensure!(!rules.contains("118"), "{rules}");
    }
    let left = bed.lb02().exec(&["ip", "route", "show", "table", "all", "proto", "118"])?;
    let lo = bed.lb02().exec(&["ip", "-6", "address", "show", "dev", "lo"])?;
    ensure!(
        left.is_empty() && !lo.contains("2001:db8"),
        "{} lines left",
        left.lines().count() + lo.lines().count()
    );
    Ok(())
}

/// As many virtual routers as there are, of both families, on one interface.
#[test]
fn all_virtual_routers_on_one_interface() -> Result<()> {
    let Some(bed) = Bed::dual()? else { return Ok(()) };
    let conf = |priority: u8| -> String {
        let instance = |n: u32, family: &str, vip: IpAddr| {
            format!(
                "vrrp_instance {family}{n} {{\n interface eth0\n version 3\n virtual_router_id {n}\n priority {priority}\n \
                 advert_int 0.5\n virtual_ipaddress {{\n {vip}\n }}\n}}\n"
            )
        };
        (1..=255).map(|n| instance(n, "A", vip(false, n)) + &instance(n, "B", vip(true, n))).collect()
    };
    let vips: Vec<_> = (1..=255).flat_map(|n| [vip(false, n), vip(true, n)]).collect();
    let begun = Instant::now();
    let mut lb01 = bed.start("lb01", &conf(HIGH))?;
    println!(
        "510 instances: answering on the control socket after {:?}, {}",
        begun.elapsed(),
        memory(&lb01)?
    );
    let lb02 = bed.start("lb02", &conf(LOW))?;
    let masters = |daemon: &Daemon| daemon.log().matches("to=MASTER").count();
    wait_for("510 masters", SOON, || masters(&lb01) >= 510)?;
    let ports = [bed.lab.sniff_port("lb01")?, bed.lab.sniff_port("lb02")?];
    all_answered(bed.client(), &ports[0], &vips, Instant::now())?;
    let before = masters(&lb02);
    let killed = lb01.kill9()?;
    wait_for("510 takeovers", SOON, || masters(&lb02) >= before + 510)?;
    all_answered(bed.client(), &ports[1], &vips, killed)?;
    bed.lb02().stop_vipd(&bed.vipd)?;
    Ok(())
}
