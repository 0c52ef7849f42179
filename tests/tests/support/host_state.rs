//! What vipd changes on a host, as the usual tools show it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Result;
use serde_json::Value;
use vipd_tests::Node;

/// Two that are equal: nothing of vipd was added in between, or left.
#[derive(Debug, PartialEq, Eq)]
pub struct HostState {
    /// Of both families.
    pub routes: String,
    pub rules: String,
    pub settings: Vec<(PathBuf, String)>,
    /// Id of the program on `eth0`.
    pub xdp: Option<u64>,
}

impl HostState {
    pub fn of(node: &Node) -> Result<Self> {
        let settings = node.ns().run(|| {
            let interfaces = ["all", "default", "eth0", "lo"].iter();
            let paths = interfaces.flat_map(|interface| {
                ["arp_ignore", "arp_announce", "rp_filter", "accept_local"]
                    .map(|name| Path::new("/proc/sys/net/ipv4/conf").join(interface).join(name))
            });
            let bind = ["ipv4", "ipv6"]
                .map(|family| Path::new("/proc/sys/net").join(family).join("ip_nonlocal_bind"));
            let paths = paths.chain(bind);
            paths.map(|path| Ok((path.clone(), fs::read_to_string(path)?))).collect::<std::io::Result<_>>()
        })??;
        let link: Value =
            serde_json::from_str(&node.exec(&["ip", "-j", "-d", "link", "show", "dev", "eth0"])?)?;
        let both = |object: &[&str]| -> Result<String> {
            Ok(node.exec(&[&["ip", "-4"], object].concat())?
                + &node.exec(&[&["ip", "-6"], object].concat())?)
        };
        Ok(Self {
            routes: both(&["route", "show", "table", "all"])?,
            rules: both(&["rule"])?,
            settings,
            xdp: link[0]["xdp"]["prog"]["id"].as_u64(),
        })
    }
}
