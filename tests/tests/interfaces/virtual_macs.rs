//! The virtual MAC (`use_vmac`) on every kind of interface: frames to it arrive, or the configuration is refused.

use anyhow::{Result, ensure};

use crate::{bridges::BRIDGE, row::Row, support::SOON, tags};

const VIRTUAL: &str = "use_vmac";

#[test]
fn veth() -> Result<()> {
    Row::on("eth0").extra(VIRTUAL).serves()
}

#[test]
fn vlan() -> Result<()> {
    tags::vlan().extra(VIRTUAL).serves()
}

#[test]
fn bond() -> Result<()> {
    crate::bonds::active_backup_row().extra(VIRTUAL).serves()
}

#[test]
fn bridge() -> Result<()> {
    Row::on("br0").made(BRIDGE).nodes_only().extra(VIRTUAL).serves()
}

#[test]
fn vxlan() -> Result<()> {
    crate::vxlan_row().extra(VIRTUAL).serves()
}

/// A macvlan hears its own MAC and no other.
#[test]
fn macvlan_is_refused() -> Result<()> {
    let Some(served) = crate::macvlan_row().extra(VIRTUAL).build()? else { return Ok(()) };
    let (bed, lb01) = (&served.bed, served.bed.lb01());
    lb01.write_vipd_conf(&served.row.conf(150))?;
    let mut vipd = lb01.start_vipd(&bed.vipd)?;
    let ended = vipd.wait(SOON)?;
    ensure!(!ended.success(), "{}", vipd.log());
    for words in ["mv0", "macvlan", "use_vmac"] {
        ensure!(vipd.log().contains(words), "{words}: {}", vipd.log());
    }
    served.check_nothing_is_left(&[lb01])
}
