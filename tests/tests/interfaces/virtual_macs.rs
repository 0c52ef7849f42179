//! The virtual MAC (`use_vmac`) on every kind of interface: frames to it arrive, or the configuration is refused.

use anyhow::Result;

use crate::{bridges::BRIDGE, row::Row, tags};

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
fn macvlan_check_refused() -> Result<()> {
    crate::macvlan_row().extra(VIRTUAL).check_refused(&["mv0", "macvlan", "use_vmac", "interface below"])
}
