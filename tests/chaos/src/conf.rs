//! The configuration of a node: what vipd and keepalived both read, and vipd's own keywords where vipd reads it.

use std::{fmt::Write, net::IpAddr};

use vipd_tests::Node;

use crate::plan::{Family, Kind, Setup};

/// What a reload may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Variant {
    pub priority: u8,
    /// Another VIP of each family, which nobody asks for.
    pub more_vips: bool,
}

/// The configuration of a node whose peers have these addresses.
pub fn text(setup: &Setup, kind: Kind, node: &Node, peers: &[&Node], variant: Variant) -> String {
    let vipd = kind == Kind::Vipd;
    let mut text = format!("global_defs {{\n vrrp_version {}\n script_user root\n}}\n", setup.version);
    if vipd {
        let _ = write!(
            text,
            "vrrp_script chk {{\n script \"/usr/bin/test ! -e {}\"\n interval 1\n timeout 20\n fall 1\n rise 1\n}}\n",
            check_file(node).display()
        );
    }
    if setup.grouped {
        let members: String =
            setup.families.iter().map(|family| format!(" {}\n", family.instance())).collect();
        let _ = write!(text, "vrrp_sync_group ALL {{\n group {{\n{members} }}\n}}\n");
    }
    for family in &setup.families {
        text += &instance(setup, vipd, *family, node, peers, variant);
    }
    text
}

/// The `vrrp_script` fails while it is there.
pub fn check_file(node: &Node) -> std::path::PathBuf {
    node.dir().join("fails")
}

/// Every state that an instance was notified of, one `INSTANCE STATE` a line.
pub fn notify_log(node: &Node) -> std::path::PathBuf {
    node.dir().join("notified")
}

pub fn notify_script(node: &Node) -> std::path::PathBuf {
    node.dir().join("notify.sh")
}

fn instance(
    setup: &Setup,
    vipd: bool,
    family: Family,
    node: &Node,
    peers: &[&Node],
    variant: Variant,
) -> String {
    let interval = setup.interval.as_secs_f64();
    let mut text = format!(
        "vrrp_instance {} {{\n state BACKUP\n interface eth0\n virtual_router_id 51\n priority {}\n advert_int {interval}\n",
        family.instance(),
        variant.priority
    );
    if setup.vmac {
        text += " use_vmac\n";
    }
    if setup.unicast {
        let address = |node: &Node| match family {
            Family::V4 => node.ip().map(IpAddr::from),
            Family::V6 => node.ip6().map(IpAddr::from),
        };
        let say = |node: &Node| address(node).map_or_else(String::new, |address| address.to_string());
        let peers: String = peers.iter().map(|peer| format!("  {}\n", say(peer))).collect();
        let _ = write!(text, " unicast_src_ip {}\n unicast_peer {{\n{peers} }}\n", say(node));
    }
    if vipd {
        if setup.strict {
            text += " lease strict\n";
        }
        let _ = write!(text, " track_script {{\n  chk\n }}\n notify {}\n", notify_script(node).display());
    }
    text += " virtual_ipaddress {\n";
    if family == Family::V6 {
        text += "  fe80::3\n";
    }
    let _ = writeln!(text, "  {}", family.vip());
    if variant.more_vips {
        text += if family == Family::V4 { "  10.0.0.4\n" } else { "  2001:db8::4\n" };
    }
    text + " }\n}\n"
}
