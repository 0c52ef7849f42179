//! Bridges with a port, as hypervisors have them, and VLANs of a bridge.

use anyhow::Result;

use crate::row::Row;

pub const BRIDGE: &str = "link add br0 type bridge\nlink set eth0 master br0";

#[test]
#[ignore = "long tier: the matrix of interfaces"]
fn bridge() -> Result<()> {
    Row::on("br0").made(BRIDGE).nodes_only().serves()
}

#[test]
#[ignore = "long tier: the matrix of interfaces"]
fn vlan_of_a_bridge() -> Result<()> {
    let row = Row::on("br0.100").made(
        "link add br0 type bridge\nlink set eth0 master br0\nlink set br0 up\n\
         link add link br0 name br0.100 type vlan id 100",
    );
    row.client("eth0.100", "link add link eth0 name eth0.100 type vlan id 100").serves()
}
