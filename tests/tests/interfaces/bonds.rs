//! Bonds and teams of two cables: slaves that fail, change and leave.

use anyhow::{Context, Result, ensure};
use vipd_tests::wait_for;

use crate::{
    row::{Row, Served, ip, mac_of},
    support::*,
};

/// Both cables of each node lead to the same switch.
fn one_segment() -> &'static str {
    "link set eth1-lb01 master br0\nlink set eth1-lb02 master br0"
}

/// A bond of a mode, as lines for both nodes.
macro_rules! bond {
    ($mode:literal) => {
        concat!(
            "address flush dev eth1\nlink set eth0 down\nlink set eth1 down\nlink add bond0 type bond miimon 50 mode ",
            $mode,
            "\nlink set eth0 master bond0\nlink set eth1 master bond0"
        )
    };
}

fn bond(lines: &'static str) -> Row {
    Row::on("bond0").made(lines).nodes_only().switch(one_segment()).cables(Bed::two_cables)
}

/// The cable of a slave is pulled, then the other one's; the bond lives, and so does the master.
fn slaves_fail(served: &Served) -> Result<()> {
    let bed = &served.bed;
    let before = bed.status("lb01")?;
    for slave in ["eth0", "eth1"] {
        bed.lab.set_link("lb01", slave, false)?;
        wait_for("the bond to notice", SOON, || !slave_is_up(served, slave).unwrap_or(true))?;
        served.check_served_by("lb01").with_context(|| format!("{slave} failed"))?;
        bed.lab.set_link("lb01", slave, true)?;
        wait_for("the bond to notice", SOON, || slave_is_up(served, slave).unwrap_or(false))?;
        served.check_served_by("lb01").with_context(|| format!("{slave} was back"))?;
    }
    let status = bed.status("lb01")?;
    for field in ["state", "since_unix_ms", "became_master"] {
        ensure!(status[field] == before[field], "{field}: {before} then {status}");
    }
    Ok(())
}

/// A slave leaves, the one whose MAC the bond has, and is enslaved again.
fn slave_leaves(served: &Served) -> Result<()> {
    let lb01 = served.bed.lb01();
    ip(lb01, "link set eth0 nomaster")?;
    served.check_served_by("lb01").context("eth0 has left")?;
    ip(lb01, "link set eth0 down")?;
    ip(lb01, "link set eth0 master bond0")?;
    wait_for("the bond to use eth0", SOON, || slave_is_up(served, "eth0").unwrap_or(false))?;
    served.check_served_by("lb01").context("eth0 is back")
}

fn slave_is_up(served: &Served, slave: &str) -> Result<bool> {
    let link = served.bed.lb01().exec(&["ip", "-d", "link", "show", "dev", slave])?;
    Ok(link.contains("mii_status UP"))
}

pub fn active_backup_row() -> Row {
    bond(bond!("active-backup"))
}

#[test]
#[ignore = "long tier: the matrix of interfaces"]
fn active_backup() -> Result<()> {
    active_backup_row().serves_through(|served| {
        slaves_fail(served)?;
        slave_leaves(served)
    })
}

/// The bond takes the MAC of whichever slave is active.
#[test]
#[ignore = "long tier: the matrix of interfaces"]
fn active_backup_that_changes_its_mac() -> Result<()> {
    bond(bond!("active-backup fail_over_mac active")).serves_through(|served| {
        let lb01 = served.bed.lb01();
        let before = mac_of(lb01, "bond0")?;
        served.bed.lab.set_link("lb01", "eth0", false)?;
        wait_for("another MAC", SOON, || mac_of(lb01, "bond0").is_ok_and(|mac| mac != before))?;
        let prober = served.ask()?;
        let now = mac_of(lb01, "bond0")?;
        wait_for("answers with the new MAC", SOON, || {
            prober.current_owner(VIP).is_some_and(|answer| answer.mac == now)
        })?;
        prober.stop()?;
        served.check_served_by("lb01").context("eth0 failed")?;
        served.bed.lab.set_link("lb01", "eth0", true)
    })
}

#[test]
#[ignore = "long tier: the matrix of interfaces"]
fn balance_tlb() -> Result<()> {
    bond(bond!("balance-tlb")).serves_through(slaves_fail)
}

#[test]
#[ignore = "long tier: the matrix of interfaces"]
fn balance_alb() -> Result<()> {
    bond(bond!("balance-alb")).serves_through(slaves_fail)
}

/// With LACP at the switch.
#[test]
#[ignore = "long tier: the matrix of interfaces"]
fn lacp() -> Result<()> {
    let switch = "link add bo1 type bond mode 802.3ad miimon 50 lacp_rate fast\n\
                  link set port-lb01 nomaster\nlink set port-lb01 down\nlink set port-lb01 master bo1\n\
                  link set eth1-lb01 nomaster\nlink set eth1-lb01 down\nlink set eth1-lb01 master bo1\n\
                  link add bo2 type bond mode 802.3ad miimon 50 lacp_rate fast\n\
                  link set port-lb02 nomaster\nlink set port-lb02 down\nlink set port-lb02 master bo2\n\
                  link set eth1-lb02 nomaster\nlink set eth1-lb02 down\nlink set eth1-lb02 master bo2\n\
                  link set bo1 master br0\nlink set bo2 master br0\nlink set bo1 up\nlink set bo2 up";
    let row = bond(bond!("802.3ad lacp_rate fast")).switch(switch);
    row.serves_through(slaves_fail)
}

#[test]
#[ignore = "long tier: the matrix of interfaces"]
fn vlan_on_a_bond() -> Result<()> {
    let lines = concat!(
        bond!("active-backup"),
        "\nlink set bond0 up\nlink add link bond0 name bond0.100 type vlan id 100"
    );
    let row = Row::on("bond0.100")
        .made(lines)
        .client("eth0.100", "link add link eth0 name eth0.100 type vlan id 100");
    row.switch(one_segment()).cables(Bed::two_cables).serves_through(slaves_fail)
}

/// A team without its daemon, which would choose among several ports.
#[test]
#[ignore = "long tier: the matrix of interfaces"]
fn team() -> Result<()> {
    let lines = "link set eth0 down\nlink add team0 type team\nteamnl team0 setoption mode roundrobin\n\
                 link set eth0 master team0\nlink set eth0 up";
    Row::on("team0").made(lines).nodes_only().serves()
}
