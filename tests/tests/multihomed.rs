//! A node with more than one interface to the network of its VIPs: the kernel answers on none of them, whatever becomes of
//! vipd, and what the node says by a MAC of its own is no conflict.

#![allow(clippy::disallowed_methods, reason = "tests measure")]

mod support;

use std::{
    io::ErrorKind,
    net::{IpAddr, TcpStream},
    thread::sleep,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use support::{
    frames::{PEER_MAC, arp},
    *,
};
use vipd_tests::{Mac, probe::ArpProber, wait_for};

const VIP6: &str = "2001:db8::3";
/// How long a phase is watched: some hundred questions.
const WATCH: Duration = Duration::from_millis(600);
/// For a machine that is too busy to hand an answer on.
const PACKET_DELAY: Duration = Duration::from_millis(200);
/// The interfaces of lb01 that vipd does not use, with their MACs; the macvlan comes when vipd is dead.
const SECOND: &str = "eth1";
const LATE: (&str, &str) = ("mv0", "02:00:00:00:77:01");

/// The `eth1` of lb01 is on the network of its `eth0`.
fn bed() -> Result<Option<Bed>> {
    let Some(bed) = Bed::two_lines()? else { return Ok(None) };
    let port = &bed.lb01().link(SECOND).port;
    let output =
        bed.lab.switch().command("ip").args(["link", "set", "dev", port, "master", "br0"]).output()?;
    ensure!(output.status.success(), "{output:?}");
    bed.lb01().exec(&["ip", "address", "add", "10.0.0.25/24", "dev", SECOND])?;
    Ok(Some(bed))
}

fn add_macvlan(bed: &Bed) -> Result<Mac> {
    let (name, mac) = LATE;
    bed.lb01().exec(&["ip", "link", "add", name, "link", SECOND, "address", mac, "type", "macvlan"])?;
    bed.lb01().exec(&["ip", "address", "add", "10.0.0.35/24", "dev", name])?;
    bed.lb01().exec(&["ip", "link", "set", "dev", name, "up"])?;
    mac.parse()
}

/// I4 and the lease, on interfaces where no program of vipd stands in front of the kernel: while a master lives, when it is
/// killed, and on an interface that is made after that.
#[test]
fn the_kernel_answers_on_no_other_interface() -> Result<()> {
    let Some(bed) = bed()? else { return Ok(()) };
    let (first, second) = (bed.lb01().mac(), bed.lb01().link(SECOND).mac);
    let prober = ArpProber::start(bed.client().ns(), "eth0", &[VIP], Duration::from_millis(2))?;
    let mut vipd = bed.start("lb01", &node_conf(HIGH, ""))?;
    bed.wait("lb01", "MASTER")?;
    sleep(WATCH);
    ensure!(prober.last_answer_by(first).is_some(), "the master has not answered");
    let killed = vipd.kill9()?;
    let late = add_macvlan(&bed)?;
    sleep(LEASE + PACKET_DELAY + WATCH);
    let allowed = killed + LEASE + PACKET_DELAY;
    let last = prober.last_answer_by(first).context("no answer")?;
    ensure!(last < allowed, "{:?} after the daemon's death, beyond the lease", last - killed);
    for mac in [second, late] {
        ensure!(prober.last_answer_by(mac).is_none(), "the kernel has answered with {mac}");
    }
    // It would, and it would have been seen.
    bed.lb01().ns().sysctl("net/ipv4/conf/all/arp_ignore", "0")?;
    for mac in [second, late] {
        wait_for(format_args!("an answer of {mac}"), SOON, || prober.last_answer_by(mac).is_some())?;
    }
    // A stop clears what was left, and then there is nothing to answer for.
    bed.lb01().ns().sysctl("net/ipv4/conf/all/arp_ignore", "1")?;
    vipd = bed.start("lb01", &node_conf(HIGH, ""))?;
    bed.lb01().stop_vipd(&bed.vipd)?;
    vipd.wait(SOON)?;
    for setting in ["net.ipv4.conf.all.arp_ignore", "net.ipv4.conf.all.arp_announce"] {
        let value = bed.lb01().exec(&["sysctl", "-n", setting])?;
        ensure!(value.trim() == "0", "{setting} is {value}");
    }
    prober.stop().map(drop)
}

/// The same of the interface below a macvlan that has the VIPs: it hears every question as well.
#[test]
fn the_kernel_answers_not_on_the_parent_of_a_macvlan() -> Result<()> {
    let Some(bed) = Bed::new()? else { return Ok(()) };
    let lb01 = bed.lb01();
    let (name, mac) = LATE;
    lb01.exec(&["ip", "link", "add", name, "link", "eth0", "address", mac, "type", "macvlan"])?;
    lb01.exec(&["ip", "address", "add", "10.0.0.35/24", "dev", name])?;
    lb01.exec(&["ip", "link", "set", "dev", name, "up"])?;
    let (parent, own) = (lb01.mac(), mac.parse()?);
    let prober = ArpProber::start(bed.client().ns(), "eth0", &[VIP], Duration::from_millis(2))?;
    let mut vipd = bed.start(
        "lb01",
        &("global_defs { xdp_mode auto }\n".to_owned() + &node_conf(HIGH, "").replace("eth0", name)),
    )?;
    bed.wait("lb01", "MASTER")?;
    sleep(WATCH);
    ensure!(prober.last_answer_by(own).is_some(), "the master has not answered");
    vipd.sigstop()?;
    sleep(LEASE + PACKET_DELAY + WATCH);
    ensure!(prober.last_answer_by(parent).is_none(), "the kernel has answered on the parent");
    lb01.ns().sysctl("net/ipv4/conf/all/arp_ignore", "0")?;
    wait_for("an answer of the parent", SOON, || prober.last_answer_by(parent).is_some())?;
    vipd.sigcont()?;
    prober.stop().map(drop)
}

/// IPv6 takes no setting for that: a VIP is an address of `lo`, and the kernel solicits for an interface's own addresses only.
#[test]
fn the_kernel_answers_no_solicitation_on_another_interface() -> Result<()> {
    let Some((lab, permit)) = lab(|lab| {
        let lab = lab.node("lb01", "2001:db8::5/64").link("2001:db8::25/64");
        lab.node("client", "2001:db8::64/64")
    })?
    else {
        return Ok(());
    };
    let vipd = vipd_tests::vipd_bin()?;
    let lb01 = lab.node("lb01");
    let (first, second) = (lb01.mac(), lb01.link(SECOND).mac);
    let port = &lb01.link(SECOND).port;
    ensure!(
        lab.switch().command("ip").args(["link", "set", "dev", port, "master", "br0"]).status()?.success()
    );
    lb01.write_vipd_conf(&node_conf(HIGH, "").replace(&VIP.to_string(), VIP6))?;
    let vip: IpAddr = VIP6.parse()?;
    let own: IpAddr = "2001:db8::25".parse()?;
    let prober = ArpProber::start(lab.node("client").ns(), "eth0", &[vip, own], PROBE_PERIOD)?;
    let mut daemon = lb01.start_vipd(&vipd)?;
    lb01.wait_state(&vipd, INSTANCE, "MASTER", SOON)?;
    sleep(WATCH);
    daemon.kill9()?;
    sleep(LEASE + PACKET_DELAY + WATCH);
    let probes = prober.stop()?;
    let owners = |target: IpAddr| {
        let mut owners: Vec<Mac> =
            probes.iter().filter(|probe| probe.target == target).flat_map(|p| p.owners()).collect();
        owners.sort();
        owners.dedup();
        owners
    };
    // Its own address proves that it hears and is heard there.
    ensure!(owners(own) == [second], "{:?}", owners(own));
    ensure!(owners(vip) == [first], "{:?}", owners(vip));
    let ignore = lb01.exec(&["sysctl", "-n", "net.ipv4.conf.all.arp_ignore"])?;
    ensure!(ignore.trim() == "0", "raised for VIPs of IPv6 alone: {ignore}");
    drop(permit);
    Ok(())
}

/// A claim by the MAC of another interface of the same host is no conflict, also of one that came later. One by the MAC of a
/// stranger is.
#[test]
fn what_the_node_says_by_another_mac_is_no_conflict() -> Result<()> {
    let Some(bed) = bed()? else { return Ok(()) };
    let _lb01 = bed.start("lb01", &node_conf(HIGH, "self_probe off"))?;
    bed.wait("lb01", "MASTER")?;
    let late = add_macvlan(&bed)?;
    // In the first interval a claim is taken for a former master's.
    sleep(INTERVAL * 2);
    let claims = [bed.lb01().link(SECOND).mac, late];
    for mac in claims {
        bed.client().inject(&arp(2, mac.0, VIP, VIP))?;
        // XDP tells of one claim in a second.
        sleep(Duration::from_millis(1_500));
    }
    let status = bed.status("lb01")?;
    ensure!(status["address_conflicts"] == 0, "{status}");
    ensure!(bed.events_named("lb01", "address_conflict")?.is_empty());
    bed.client().inject(&arp(2, PEER_MAC, VIP, VIP))?;
    let conflict = bed.wait_event("lb01", "address_conflict", |_| true)?;
    ensure!(conflict["fields"]["their_mac"] == Mac(PEER_MAC).to_string(), "{conflict}");
    Ok(())
}

/// What limits.md says: by ARP nobody is led to the other interface, but whoever sends there by a route of his own reaches a master that
/// was killed, until what it has left is removed.
#[test]
fn a_route_by_the_other_interface_reaches_a_killed_master() -> Result<()> {
    let Some(bed) = bed()? else { return Ok(()) };
    bed.client().exec(&["ip", "route", "add", "10.0.0.3/32", "via", "10.0.0.25"])?;
    // A port where nobody listens refuses at once.
    let reaches = || -> Result<bool> {
        let connect = || TcpStream::connect_timeout(&(VIP, 9).into(), WATCH);
        let refused = bed.client().ns().run(connect)?.err().map(|error| error.kind());
        Ok(refused == Some(ErrorKind::ConnectionRefused))
    };
    let mut vipd = bed.start("lb01", &node_conf(HIGH, ""))?;
    bed.wait("lb01", "MASTER")?;
    ensure!(reaches()?, "the master is not reached");
    vipd.kill9()?;
    sleep(LEASE * 2);
    ensure!(reaches()?, "a killed master is not reached any more: limits.md is to be changed");
    let mut cleanup = bed.ask("lb01", &["cleanup"]);
    let output = cleanup.arg("--bpffs-dir").arg(bed.lb01().bpffs_dir()).output()?;
    ensure!(output.status.success() && !reaches()?, "{output:?}");
    Ok(())
}
