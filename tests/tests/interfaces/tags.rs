//! VLAN tags: interfaces that have one, and what frames with a tag may do on interfaces without.

use std::{net::Ipv4Addr, time::Duration};

use anyhow::{Context, Result, ensure};
use vipd_tests::{
    probe::{ArpProber, NeighbourProber, packet::PacketSocket},
    wait_for,
};

use crate::{
    row::{Row, ip, mac_of},
    support::{
        frames::{Ipv4, v3},
        served::*,
        *,
    },
};

pub fn vlan() -> Row {
    Row::on("eth0.100").made("link add link eth0 name eth0.100 type vlan id 100")
}

#[test]
#[ignore = "long tier: the matrix of interfaces"]
fn vlan_with_default_offloads() -> Result<()> {
    vlan().serves()
}

#[test]
#[ignore = "long tier: the matrix of interfaces"]
fn qinq() -> Result<()> {
    let row = Row::on("eth0.9.100").made(
        "link add link eth0 name eth0.9 type vlan proto 802.1ad id 9\nlink set eth0.9 up\n\
         link add link eth0.9 name eth0.9.100 type vlan id 100",
    );
    row.serves()
}

/// A VLAN that leaves its tag in the frames would look like a VLAN in that VLAN.
#[test]
#[ignore = "long tier: the matrix of interfaces"]
fn a_vlan_that_keeps_its_tag_is_refused() -> Result<()> {
    let lines = "link add link eth0 name eth0.100 type vlan id 100 reorder_hdr off";
    let words = ["eth0.100", "reorder_hdr off", "ip link set dev eth0.100 type vlan reorder_hdr on"];
    Row::on("eth0.100").made(lines).check_refused(&words)
}

const VIP_OF_8: Ipv4Addr = Ipv4Addr::new(10, 8, 0, 3);

/// Two VLANs of a cable, with the same VRID: either node is master of one of them, and answers there alone.
#[test]
#[ignore = "long tier: the matrix of interfaces"]
fn two_vlans_share_a_vrid() -> Result<()> {
    let lines = "link add link eth0 name eth0.7 type vlan id 7\nlink add link eth0 name eth0.8 type vlan id 8\n\
                 link set eth0.8 up\naddress add 10.8.0.{n}/16 dev eth0.8";
    let Some(served) = Row::on("eth0.7").made(lines).build()? else { return Ok(()) };
    let bed = &served.bed;
    let conf = |seven: u8, eight: u8| {
        let instance = |vlan: u8, priority: u8, vip: Ipv4Addr| {
            format!(
                "vrrp_instance V{vlan} {{\n state BACKUP\n interface eth0.{vlan}\n virtual_router_id 51\n \
                 priority {priority}\n advert_int 1\n virtual_ipaddress {{\n {vip}\n }}\n}}\n"
            )
        };
        format!(
            "global_defs {{\n vrrp_version 3\n xdp_mode auto\n}}\n{}{}",
            instance(7, seven, VIP),
            instance(8, eight, VIP_OF_8)
        )
    };
    let _lb01 = bed.start("lb01", &conf(HIGH, LOW))?;
    let _lb02 = bed.start("lb02", &conf(LOW, HIGH))?;
    for (node, seven, eight) in [("lb01", "MASTER", "BACKUP"), ("lb02", "BACKUP", "MASTER")] {
        bed.lab.node(node).wait_state(&bed.vipd, "V7", seven, SOON)?;
        bed.lab.node(node).wait_state(&bed.vipd, "V8", eight, SOON)?;
    }
    for (interface, owner, vip, other) in
        [("eth0.7", bed.lb01(), VIP, VIP_OF_8), ("eth0.8", bed.lb02(), VIP_OF_8, VIP)]
    {
        let prober = NeighbourProber::start(bed.client().ns(), interface, &[vip, other], ASK)?;
        check_answered_by(&prober, vip.into(), &[owner.mac()]).context(interface)?;
        let probes = prober.stop()?;
        let astray = probes.iter().find(|probe| probe.target == other && !probe.answers.is_empty());
        ensure!(astray.is_none(), "{interface} was answered for the other VLAN's VIP: {astray:?}");
    }
    Ok(())
}

/// A tag with identifier 0 names no VLAN: such frames are for the interface itself.
#[test]
#[ignore = "long tier: the matrix of interfaces"]
fn priority_tagged_questions_are_answered() -> Result<()> {
    let client = "link add link eth0 name eth0.0 type vlan id 0";
    let Some(served) = Row::on("eth0").client("eth0.0", client).build()? else { return Ok(()) };
    let _running = served.start()?;
    let prober = served.ask()?;
    check_answered_once(&prober, &owned_by(served.bed.lb01()))?;
    prober.stop().map(drop)
}

/// A port that is a trunk: what is said and asked in a VLAN is none of the untagged interface's business.
#[test]
#[ignore = "long tier: the matrix of interfaces"]
fn another_vlan_of_a_trunk_changes_nothing() -> Result<()> {
    let Some(served) = Row::on("eth0").build()? else { return Ok(()) };
    let bed = &served.bed;
    // If the kernel has them, tags are made by a VLAN interface, and are in the metadata of buffers.
    let line = "link add link eth0 name eth0.7 type vlan id 7";
    let output = bed.client().command("ip").args(line.split(' ')).output()?;
    if !output.status.success() {
        let error = String::from_utf8_lossy(&output.stderr);
        ensure!(error.contains("Unknown device type"), "{error}");
        vipd_tests::skip("no VLANs in this kernel");
        return Ok(());
    }
    ip(bed.client(), "link set eth0.7 up")?;
    let _running = served.start()?;
    check_foreign_vlan(&served, "eth0.7", "eth0")
}

/// Speaks and asks on an interface of the client that puts tags on, and watches the other one.
pub fn check_foreign_vlan(served: &crate::row::Served, tagged: &str, untagged: &str) -> Result<()> {
    let bed = &served.bed;
    let before = bed.status("lb01")?;
    let asked_in_vlan = ArpProber::start(bed.client().ns(), tagged, &[VIP], Duration::from_millis(50))?;
    let asked = ArpProber::start(bed.client().ns(), untagged, &[VIP], Duration::from_millis(50))?;
    let advert = Ipv4::advert(Ipv4Addr::new(10, 0, 0, 100), v3(51, 255, 100, &[VIP])).frame();
    bed.client().ns().run(|| -> Result<()> {
        let socket = PacketSocket::open(tagged, 0)?;
        for _ in 0..100 {
            socket.send(&advert)?;
            std::thread::sleep(Duration::from_millis(30));
        }
        Ok(())
    })??;
    let owner = mac_of(bed.lb01(), served.row.interface)?;
    wait_for("answers without a tag", SOON, || asked.current_owner(VIP).is_some_and(|a| a.mac == owner))?;
    let in_vlan: usize = asked_in_vlan.stop()?.iter().map(|probe| probe.answers.len()).sum();
    ensure!(in_vlan == 0, "{in_vlan} questions of another VLAN were answered");
    // A question finds its answer by the address it was asked from: an untagged answer would be one to this prober's.
    let probes = asked.stop()?;
    ensure!(probes.iter().all(|probe| probe.answers.len() <= 1), "more answers than questions");
    let status = bed.status("lb01")?;
    for field in ["state", "since_unix_ms", "became_master"] {
        ensure!(
            status[field] == before[field],
            "an advert of another VLAN has been heard: {before} then {status}"
        );
    }
    Ok(())
}
