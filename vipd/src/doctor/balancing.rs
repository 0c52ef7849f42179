//! Load balancing: the kernel's IPVS and its modules, forwarding, and what the running vipd says of its services.

use std::{collections::BTreeSet, net::IpAddr};

use vipd_balance::{ForwardMethod, ServiceAddress, TargetId, VirtualServer};
use vipd_common::Family;
use vipd_config::Config;

use super::{Facts, Findings};
use crate::daemon::services::modules::IpvsPresence;

pub fn judge(facts: &Facts, findings: &mut Findings) {
    let Some(config) = facts.config().filter(|config| !config.balance.servers().is_empty()) else { return };
    kernel(facts, findings);
    forwarding(facts, config, findings);
    vips(config, findings);
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
    // Without IPVS there is no scheduler either.
    let missing = facts.missing_modules.iter().filter(|_| facts.ipvs != IpvsPresence::Missing);
    for module in missing {
        let what = format!("this kernel has no module {module}, which a virtual server needs");
        let fix = "use another lb_algo, or a kernel that has the module (Debian: linux-image-amd64, not one of its cloud images)";
        findings.problem("kernel", "ipvs-module", what, fix);
    }
}

/// The servers whose packets come back through this node; the sorry server is the last. One on loopback is this node.
pub fn by_nat(server: &VirtualServer) -> impl Iterator<Item = TargetId> {
    let targets = server.targets.iter().map(|target| (target.id, target.forward));
    let all = targets.chain(server.sorry.map(|sorry| (sorry.id, sorry.forward)));
    let by_nat = all.filter(|(_, forward)| *forward == ForwardMethod::Nat).map(|(id, _)| id);
    by_nat.filter(|id| !id.address.is_loopback())
}

/// Whether a server of this family answers through this node.
pub fn is_nat_of(server: &VirtualServer, family: Family) -> bool {
    by_nat(server).any(|id| id.address.is_ipv4() == (family == Family::V4))
}

fn forwarding(facts: &Facts, config: &Config, findings: &mut Findings) {
    const CHECK: &str = "forwarding";
    let families =
        [("ipv4", "net.ipv4.ip_forward", Family::V4), ("ipv6", "net.ipv6.conf.all.forwarding", Family::V6)];
    for ((family, sysctl, of), on) in families.into_iter().zip(facts.forwarding) {
        match (config.balance.servers().iter().find(|server| is_nat_of(server, of)), on) {
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

/// Modules of IPVS that a configuration needs besides `ip_vs`.
pub fn modules(config: &Config) -> BTreeSet<String> {
    let of = |server: &VirtualServer| {
        let engine = server.settings.persistence.filter(|it| it.sip).map(|_| "ip_vs_pe_sip".to_owned());
        engine.into_iter().chain([format!("ip_vs_{}", server.settings.scheduler.name())])
    };
    config.balance.servers().iter().flat_map(of).collect()
}

/// Who gets the packets to an address that is no VIP, forwards them: no lease decides.
fn vips(config: &Config, findings: &mut Findings) {
    const CHECK: &str = "service-vip";
    let vips: BTreeSet<IpAddr> = config
        .instances
        .iter()
        .flat_map(|instance| instance.vips.iter().chain(&instance.excluded))
        .map(|vip| vip.address)
        .collect();
    let mut are_vips = true;
    for server in config.balance.servers() {
        let mut addresses = server.addresses.iter().filter_map(ServiceAddress::address);
        if let Some(address) = addresses.find(|address| !vips.contains(address)) {
            are_vips = false;
            let what = format!(
                "{address} is no VIP of a vrrp_instance: each node forwards what it gets for it, also beside another"
            );
            let fix = "make it a VIP (virtual_ipaddress), or see that packets to it reach one node only";
            findings.warning(&server.id.to_string(), CHECK, what, fix);
        }
    }
    if are_vips {
        findings.ok(
            "services",
            CHECK,
            "the addresses of the services are VIPs, which only their owner forwards",
        );
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
