//! Load balancing: the kernel's IPVS, forwarding, and the ways to the real servers as far as this host sees them.

use std::{collections::BTreeSet, net::IpAddr};

use vipd_balance::{ForwardMethod, ServiceAddress, VirtualServer};
use vipd_config::{Config, Instance};

use super::{Facts, Findings};
use crate::daemon::services::modules::IpvsPresence;

pub fn judge(facts: &Facts, findings: &mut Findings) {
    let Some(config) = facts.config().filter(|config| !config.balance.servers().is_empty()) else { return };
    kernel(facts, findings);
    forwarding(facts, config, findings);
    for server in config.balance.servers() {
        gateway(config, server, findings);
        neighbours(facts, server, findings);
        own(facts, server, findings);
    }
    served(facts, findings);
}

fn kernel(facts: &Facts, findings: &mut Findings) {
    const CHECK: &str = "ipvs";
    match facts.ipvs {
        IpvsPresence::Loaded => findings.ok("kernel", CHECK, "IPVS is there"),
        IpvsPresence::Loadable => {
            findings.ok("kernel", CHECK, "the module ip_vs is there, and is loaded when it is needed");
        }
        IpvsPresence::Missing => findings.problem(
            "kernel",
            CHECK,
            "this kernel has no IPVS and no module ip_vs: virtual servers cannot be served",
            "run a kernel with CONFIG_IP_VS, or serve the rest: vipd run --allow-unsupported=virtual_server",
        ),
        IpvsPresence::Unknown => findings.skipped(
            "kernel",
            CHECK,
            "IPVS is not loaded, and the modules of this kernel are not here (a container?): modprobe ip_vs on the host",
        ),
    }
}

fn is_nat(server: &VirtualServer) -> bool {
    server.targets.iter().any(|target| target.forward == ForwardMethod::Nat)
        || server.sorry.is_some_and(|sorry| sorry.forward == ForwardMethod::Nat)
}

fn forwarding(facts: &Facts, config: &Config, findings: &mut Findings) {
    const CHECK: &str = "forwarding";
    let families = [("ipv4", "net.ipv4.ip_forward", true), ("ipv6", "net.ipv6.conf.all.forwarding", false)];
    for ((family, sysctl, is_v4), on) in families.into_iter().zip(facts.forwarding) {
        let is_its = |server: &&VirtualServer| {
            is_nat(server) && server.targets.iter().any(|target| target.id.address.is_ipv4() == is_v4)
        };
        match (config.balance.servers().iter().find(is_its), on) {
            (Some(server), Some(false)) => findings.problem(
                "sysctls",
                CHECK,
                format!(
                    "{sysctl} is 0: the answers of {} servers by NAT do not come through ({})",
                    family, server.id
                ),
                format!("sysctl -w {sysctl}=1, and in /etc/sysctl.d"),
            ),
            (Some(_), Some(true)) => {
                findings.ok("sysctls", CHECK, format!("{family}: answers of servers by NAT are forwarded"));
            }
            (Some(_), None) => findings.skipped("sysctls", CHECK, format!("{sysctl} cannot be read")),
            (None, _) => {}
        }
    }
}

/// The VIPs of the instance that has an address of the service, and of its sync group.
fn lease<'c>(config: &'c Config, server: &VirtualServer) -> Option<(&'c Instance, BTreeSet<IpAddr>)> {
    let vips = |instance: &'c Instance| {
        instance.vips.iter().chain(&instance.excluded).map(|vip| vip.address).collect::<Vec<_>>()
    };
    let addresses: BTreeSet<IpAddr> = server.addresses.iter().filter_map(ServiceAddress::address).collect();
    let owner = config.instances.iter().find(|it| vips(it).iter().any(|vip| addresses.contains(vip)))?;
    let group = config.group_of(&owner.name);
    let members = config.instances.iter().filter(|instance| {
        instance.name == owner.name || group.is_some_and(|group| group.members.contains(&instance.name))
    });
    let all: BTreeSet<IpAddr> = members.flat_map(vips).collect();
    Some((owner, &all - &addresses))
}

/// With NAT the servers' gateway has to move with the VIP.
fn gateway(config: &Config, server: &VirtualServer, findings: &mut Findings) {
    const CHECK: &str = "servers-gateway";
    let Some((owner, others)) = lease(config, server).filter(|_| is_nat(server)) else { return };
    let about = server.id.to_string();
    let is_v4 = server.targets.first().is_none_or(|target| target.id.address.is_ipv4());
    if others.iter().any(|vip| vip.is_ipv4() == is_v4) {
        findings.ok(&about, CHECK, "another VIP moves with it: it can be the real servers' gateway");
    } else {
        findings.warning(
            &about,
            CHECK,
            format!("its servers answer by NAT through this node, and {} has no other VIP for their gateway", owner.name),
            "give the servers' network a VIP by a second vrrp_instance in one vrrp_sync_group with it, and make that VIP the servers' gateway",
        );
    }
}

/// Clients in the servers' network are answered past the director.
fn neighbours(facts: &Facts, server: &VirtualServer, findings: &mut Findings) {
    let Ok(survey) = &facts.survey else { return };
    let vips: Vec<IpAddr> = server.addresses.iter().filter_map(ServiceAddress::address).collect();
    let addresses = survey.links.iter().flat_map(|link| &link.state.addresses);
    for network in addresses {
        let holds = |address: IpAddr| is_within(address, network.address, network.prefix_len);
        let beside = server
            .targets
            .iter()
            .find(|target| target.forward == ForwardMethod::Nat && holds(target.id.address));
        if let (Some(target), Some(vip)) = (beside, vips.iter().find(|vip| holds(**vip))) {
            let what = format!(
                "{} is in the network of the VIP {vip}: clients of that network are answered past this node, and drop the answer",
                target.id
            );
            let fix = "put the servers into another network, or use DR";
            findings.warning(&server.id.to_string(), "servers-network", what, fix);
            return;
        }
    }
}

pub(super) fn is_within(address: IpAddr, network: IpAddr, length: u8) -> bool {
    match (address, network) {
        (IpAddr::V4(address), IpAddr::V4(network)) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(length.min(32))).unwrap_or(0);
            address.to_bits() & mask == network.to_bits() & mask
        }
        (IpAddr::V6(address), IpAddr::V6(network)) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(length.min(128))).unwrap_or(0);
            address.to_bits() & mask == network.to_bits() & mask
        }
        _ => false,
    }
}

/// A director that is a real server too: what another owner sends by DR or a tunnel is dropped.
fn own(facts: &Facts, server: &VirtualServer, findings: &mut Findings) {
    let Ok(survey) = &facts.survey else { return };
    let addresses: BTreeSet<IpAddr> =
        survey.links.iter().flat_map(|link| &link.state.addresses).map(|found| found.address).collect();
    let is_own = |address: &IpAddr| addresses.contains(address);
    let direct = |target: &&vipd_balance::ServiceTarget| {
        !matches!(target.forward, ForwardMethod::Nat) && is_own(&target.id.address)
    };
    if let Some(target) = server.targets.iter().find(direct) {
        let what = format!(
            "the real server {} is this node: while another node owns the VIP, what that node sends here is dropped, because vipd drops packets \
             for a VIP that it does not own",
            target.id
        );
        let fix = "use servers of their own, or NAT, or make each node serve itself alone as a sorry_server";
        findings.problem(&server.id.to_string(), "director-is-server", what, fix);
    }
}

/// What the running vipd says.
fn served(facts: &Facts, findings: &mut Findings) {
    const CHECK: &str = "services";
    let Some(balancing) = facts.running.as_ref().and_then(|status| status.balancing.as_ref()) else { return };
    if let Some(problem) = &balancing.problem {
        findings.problem(
            "services",
            CHECK,
            format!("not served as configured: {problem}"),
            "see the log of vipd",
        );
    }
    for service in &balancing.services {
        if let Some(refused) = &service.refused {
            let fix = "load the module that is named, or use another scheduler";
            findings.problem(&service.name, CHECK, format!("the kernel refuses a part: {refused}"), fix);
        }
        let (well, all) = (service.servers.iter().filter(|it| it.is_well()).count(), service.servers.len());
        if well == 0 && all > 0 {
            findings.problem(
                &service.name,
                CHECK,
                format!("none of {all} servers is up"),
                "vipd services says why",
            );
        } else if well < all {
            findings.warning(
                &service.name,
                CHECK,
                format!("{well} of {all} servers are up"),
                "vipd services says why",
            );
        } else if all > 0 {
            findings.ok(&service.name, CHECK, format!("{all} of {all} servers are up"));
        }
    }
}
