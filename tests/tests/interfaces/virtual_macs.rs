//! The virtual MAC (`use_vmac`) on every kind of interface: frames to it arrive, or the configuration is refused.

use anyhow::Result;

use vipd_tests::wait_for;

use crate::{
    bridges::BRIDGE,
    row::Row,
    support::{served::*, *},
    tags,
};

const VIRTUAL: &str = "use_vmac";

#[test]
#[ignore = "long tier: the matrix of interfaces"]
fn veth() -> Result<()> {
    Row::on("eth0").extra(VIRTUAL).serves()
}

#[test]
#[ignore = "long tier: the matrix of interfaces"]
fn vlan() -> Result<()> {
    tags::vlan().extra(VIRTUAL).serves()
}

#[test]
#[ignore = "long tier: the matrix of interfaces"]
fn bond() -> Result<()> {
    crate::bonds::active_backup_row().extra(VIRTUAL).serves()
}

#[test]
#[ignore = "long tier: the matrix of interfaces"]
fn bridge() -> Result<()> {
    Row::on("br0").made(BRIDGE).nodes_only().extra(VIRTUAL).serves()
}

/// A backup that comes later finds the virtual MAC in its bridge's table, learned from the master's adverts.
#[test]
#[ignore = "long tier: the matrix of interfaces"]
fn bridge_that_has_learned_it() -> Result<()> {
    let Some(served) = Row::on("br0").made(BRIDGE).nodes_only().extra(VIRTUAL).build()? else {
        return Ok(());
    };
    let (bed, row) = (&served.bed, &served.row);
    let mut lb01 = bed.start("lb01", &row.conf(HIGH))?;
    for mac in [VIRTUAL_V4, VIRTUAL_V6].map(|mac| mac.to_string()) {
        let learned = || bed.lb02().exec(&["bridge", "fdb", "show", "br", "br0"]);
        wait_for(format_args!("the bridge to learn {mac}"), SOON, || {
            learned().is_ok_and(|fdb| fdb.contains(&mac))
        })?;
    }
    let mut lb02 = bed.start("lb02", &row.conf(LOW))?;
    wait_elected(bed)?;
    lb01.kill9()?;
    wait_state(bed, bed.lb02(), "MASTER")?;
    served.check_served_by("lb02")?;
    bed.told("lb02", &["stop"])?;
    lb02.wait(SOON)?;
    served.check_nothing_is_left(&[bed.lb02()])
}

#[test]
#[ignore = "long tier: the matrix of interfaces"]
fn vxlan() -> Result<()> {
    crate::vxlan_row().extra(VIRTUAL).serves()
}

/// A macvlan hears its own MAC and no other.
#[test]
#[ignore = "long tier: the matrix of interfaces"]
fn macvlan_is_refused() -> Result<()> {
    crate::macvlan_row().extra(VIRTUAL).check_refused(&["mv0", "macvlan", "use_vmac", "interface below"])
}
