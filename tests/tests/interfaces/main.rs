//! The interface matrix: on every kind of interface that vipd accepts, a pair is elected, each question has one answer, the
//! VIPs carry traffic, a killed master is replaced, and a stop leaves nothing. docs/operate/interfaces.md has the results.
//!
//! Cables are veths as the kernel makes them, with their offloads. The NICs of a guest are in `nics.rs`.

#![allow(clippy::disallowed_methods, reason = "tests measure")]

#[path = "../support/mod.rs"]
mod support;

mod bonds;
mod bridges;
mod nics;
mod row;
mod tags;
mod virtual_macs;

use anyhow::{Context, Result, ensure};
use row::{Row, Served, ip};
use support::{served::*, *};

#[test]
#[ignore = "long tier: the matrix of interfaces"]
fn veth() -> Result<()> {
    Row::on("eth0").serves()
}

fn macvlan_row() -> Row {
    Row::on("mv0").made("link add mv0 link eth0 address 02:00:00:00:77:{n} type macvlan mode bridge")
}

#[test]
#[ignore = "long tier: the matrix of interfaces"]
fn macvlan() -> Result<()> {
    macvlan_row().serves()
}

/// Frames of a vxlan come out of another interface's packets.
fn vxlan_row() -> Row {
    Row::on("vx0").made(
        "address add 10.77.0.{n}/24 dev eth0\n\
         link add vx0 type vxlan id 7 local 10.77.0.{n} group 239.1.1.1 dev eth0 dstport 4789",
    )
}

#[test]
#[ignore = "long tier: the matrix of interfaces"]
fn vxlan() -> Result<()> {
    vxlan_row().serves()
}

/// Nobody else is on a dummy: its VIPs are the host's own, and a stop takes them away.
#[test]
#[ignore = "long tier: the matrix of interfaces"]
fn dummy() -> Result<()> {
    let Some(served) = Row::on("dummy0").made("link add dummy0 type dummy").nodes_only().build()? else {
        return Ok(());
    };
    let Served { bed, row, .. } = &served;
    let _lb01 = bed.start("lb01", &row.conf(HIGH))?;
    wait_state(bed, bed.lb01(), "MASTER")?;
    let status = bed.status("lb01")?;
    ensure!(status["xdp_mode"] == "tc" && status["interface"] == "dummy0", "{status}");
    bed.told("lb01", &["stop"])?;
    served.check_nothing_is_left(&[bed.lb01()])
}

/// An interface that goes with the one below it, and comes back with it.
#[test]
#[ignore = "long tier: the matrix of interfaces"]
fn a_vlan_follows_its_parent() -> Result<()> {
    let Some(served) = tags::vlan().build()? else { return Ok(()) };
    let pair = served.start()?;
    // As whoever serves IPv6 on an interface that may go down has it.
    served.bed.lb01().ns().sysctl("net/ipv6/conf/all/keep_addr_on_down", "1")?;
    ip(served.bed.lb01(), "link set eth0 down")?;
    wait_state(&served.bed, served.bed.lb01(), "FAULT")?;
    wait_state(&served.bed, served.bed.lb02(), "MASTER")?;
    served.check_served_by("lb02").context("while the parent was down")?;
    ip(served.bed.lb01(), "link set eth0 up")?;
    wait_elected(&served.bed)?;
    served.check_served_by("lb01").context("when the parent was back")?;
    drop(pair);
    Ok(())
}
