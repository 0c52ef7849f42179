//! The ways to the real servers, as far as this host sees them: by NAT back through this node, by DR on a link of its own.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Duration,
};

use vipd_balance::{ForwardMethod, ServiceAddress, ServiceTarget, TargetId, VirtualServer};
use vipd_config::{Config, Instance, Vip};

use super::{Facts, Findings, balancing::by_nat};
use crate::{
    daemon::clock,
    host::{FirstHop, Survey, SurveyedLink, is_within},
    stations::{self, AskedLink, Stations, Until},
};

pub fn judge(facts: &Facts, findings: &mut Findings) {
    let Some(config) = facts.config() else { return };
    let networks = Networks::of(config, facts.survey.as_ref().ok(), &facts.first_hops);
    for server in config.balance.servers() {
        if !neighbours(&networks, server, findings) {
            gateway(facts, config, server, findings);
        }
        links(&networks, server, findings);
        answers(facts, server, findings);
        own(facts, server, findings);
    }
}

/// The real servers and sorry servers of all services.
pub fn addresses(config: &Config) -> BTreeSet<IpAddr> {
    let of = |server: &VirtualServer| {
        let targets = server.targets.iter().map(|target| target.id.address).collect::<Vec<_>>();
        targets.into_iter().chain(server.sorry.map(|sorry| sorry.id.address))
    };
    config.balance.servers().iter().flat_map(of).collect()
}

fn vips(server: &VirtualServer) -> BTreeSet<IpAddr> {
    server.addresses.iter().filter_map(ServiceAddress::address).collect()
}

/// The real servers, and the sorry server last.
fn servers(server: &VirtualServer) -> impl Iterator<Item = (TargetId, ForwardMethod)> {
    let targets = server.targets.iter().map(|target| (target.id, target.forward));
    targets.chain(server.sorry.map(|sorry| (sorry.id, sorry.forward)))
}

/// What is on the links of this host.
struct Networks<'f> {
    survey: Option<&'f Survey>,
    /// Of the VIPs that have a prefix: the connected route is there while this node is the owner.
    vips: Vec<(&'f SurveyedLink, (IpAddr, u8))>,
    first_hops: &'f BTreeMap<IpAddr, FirstHop>,
}

impl<'f> Networks<'f> {
    fn of(
        config: &'f Config,
        survey: Option<&'f Survey>,
        first_hops: &'f BTreeMap<IpAddr, FirstHop>,
    ) -> Self {
        let links = || survey.into_iter().flat_map(|survey| &survey.links);
        let network = |instance: &'f Instance, vip: &'f Vip| {
            let name = vip.interface.as_ref().unwrap_or(&instance.interface);
            Some((links().find(|link| link.state.name == *name)?, (vip.address, vip.prefix_len)))
        };
        let of = |instance: &'f Instance| {
            let vips = instance.vips.iter().chain(&instance.excluded);
            vips.filter_map(move |vip| network(instance, vip))
        };
        Self { survey, vips: config.instances.iter().flat_map(of).collect(), first_hops }
    }

    /// The networks, each with its link: those of the links' own addresses first.
    fn all(&self) -> impl Iterator<Item = (&'f SurveyedLink, (IpAddr, u8))> {
        let links = self.survey.into_iter().flat_map(|survey| &survey.links);
        let own = links.flat_map(|link| link.state.subnets().map(move |subnet| (link, subnet)));
        own.chain(self.vips.iter().copied())
    }

    /// The link that an address is on: by a network of it, or by a route without a gateway.
    fn link_to(&self, address: IpAddr) -> Option<&'f SurveyedLink> {
        let by_network = || self.all().find(|(_, subnet)| is_within(address, *subnet)).map(|(link, _)| link);
        let by_route = || {
            let hop = self.first_hops.get(&address).filter(|hop| !hop.by_gateway)?;
            self.survey?.links.iter().find(|link| link.state.ifindex == hop.ifindex)
        };
        by_network().or_else(by_route)
    }

    /// Whether it is this host's own, as a sorry server's may be.
    fn is_own(&self, address: IpAddr) -> bool {
        let mut links = self.survey.into_iter().flat_map(|survey| &survey.links);
        address.is_loopback()
            || links.any(|link| link.state.addresses.iter().any(|own| own.address == address))
    }
}

/// The instance that has an address of the service, and the other VIPs of it and its sync group.
fn lease<'c>(config: &'c Config, server: &VirtualServer) -> Option<(&'c Instance, Vec<&'c Vip>)> {
    let of = |instance: &'c Instance| instance.vips.iter().chain(&instance.excluded);
    let addresses = vips(server);
    let owner = config.instances.iter().find(|it| of(it).any(|vip| addresses.contains(&vip.address)))?;
    let group = config.group_of(&owner.name);
    let members = config.instances.iter().filter(|instance| {
        instance.name == owner.name || group.is_some_and(|group| group.members.contains(&instance.name))
    });
    Some((owner, members.flat_map(of).filter(|vip| !addresses.contains(&vip.address)).collect()))
}

/// With NAT the servers' gateway has to move with the VIP.
fn gateway(facts: &Facts, config: &Config, server: &VirtualServer, findings: &mut Findings) {
    const CHECK: &str = "servers-gateway";
    let networks = Networks::of(config, facts.survey.as_ref().ok(), &facts.first_hops);
    let nat: Vec<TargetId> = by_nat(server).filter(|id| !networks.is_own(id.address)).collect();
    let Some((owner, others)) = lease(config, server).filter(|_| !nat.is_empty()) else { return };
    let about = server.id.to_string();
    // A VIP may have no prefix: then a network of a link has both.
    let shares = |vip: &Vip, target: IpAddr| {
        let both = |subnet| is_within(target, subnet) && is_within(vip.address, subnet);
        is_within(target, (vip.address, vip.prefix_len)) || networks.all().any(|(_, subnet)| both(subnet))
    };
    match nat.iter().find(|id| !others.iter().any(|vip| shares(vip, id.address))) {
        None => {
            findings.ok(&about, CHECK, "a VIP in the real servers' network moves with it: it can be their gateway");
        }
        Some(id) => findings.warning(
            &about,
            CHECK,
            format!(
                "{id} answers by NAT through this node, and no other VIP that moves with {} is in its network, to be its gateway",
                owner.name
            ),
            "give the servers' network a VIP by a second vrrp_instance in one vrrp_sync_group with it, and make that VIP the servers' gateway",
        ),
    }
}

/// Clients in the servers' network are answered past the director; returns whether there may be such clients.
fn neighbours(networks: &Networks<'_>, server: &VirtualServer, findings: &mut Findings) -> bool {
    let vips = vips(server);
    for (_, subnet) in networks.all() {
        let holds = |address: IpAddr| is_within(address, subnet);
        let beside = by_nat(server).find(|id| holds(id.address) && !networks.is_own(id.address));
        if let (Some(id), Some(vip)) = (beside, vips.iter().find(|vip| holds(**vip))) {
            let what = format!(
                "{id} is in the network of the VIP {vip}: clients of that network are answered past this node, and drop the answer"
            );
            let fix = "put the servers into another network, or use DR";
            findings.warning(&server.id.to_string(), "servers-network", what, fix);
            return true;
        }
    }
    false
}

/// By DR frames go to the server's own MAC: it has to be on a link of this host.
fn links(networks: &Networks<'_>, server: &VirtualServer, findings: &mut Findings) {
    if networks.survey.is_none() {
        return;
    }
    let is_far = |(id, forward): &(TargetId, ForwardMethod)| {
        *forward == ForwardMethod::Direct
            && !networks.is_own(id.address)
            && networks.link_to(id.address).is_none()
    };
    if let Some((id, _)) = servers(server).find(is_far) {
        let what = format!(
            "no network of this host has {id}: DR sends frames to the server itself, and behind a router that is the router, which sends them back here"
        );
        let fix = "put the server on a link of this host, or use lb_kind TUN";
        findings.problem(&server.id.to_string(), "servers-link", what, fix);
    }
}

/// A server by DR or a tunnel has the VIP too, and must not answer for it.
fn answers(facts: &Facts, server: &VirtualServer, findings: &mut Findings) {
    const CHECK: &str = "servers-arp";
    let about = server.id.to_string();
    let Some(stations) = facts.stations.as_ref().ok().filter(|stations| !stations.is_empty()) else {
        let is_direct = |(_, forward)| forward == ForwardMethod::Direct;
        if let (Err(why), true) = (&facts.stations, servers(server).any(is_direct)) {
            findings.skipped(
                &about,
                CHECK,
                format!("whether a real server answers ARP for the VIP is not known: {why}"),
            );
        }
        return;
    };
    let hidden = servers(server).filter(|(_, forward)| *forward != ForwardMethod::Nat);
    let hidden = hidden.map(|(id, _)| id.address);
    let hidden: Vec<IpAddr> = hidden.filter(|address| stations.contains_key(address)).collect();
    let mut is_well = !hidden.is_empty();
    for vip in vips(server) {
        if is_owned(facts, vip) {
            // The eBPF program drops what others answer for it: a server that does is a conflict in the status.
            is_well = false;
            let why =
                format!("whether a real server answers for {vip} is seen on a node that does not own it");
            findings.skipped(&about, CHECK, why);
            continue;
        }
        let Some(of_vip) = stations.get(&vip) else { continue };
        let answers = |address: &&IpAddr| stations.get(address).is_some_and(|own| !own.is_disjoint(of_vip));
        if let Some(address) = hidden.iter().find(answers) {
            is_well = false;
            let what = format!(
                "the real server {address} answers ARP or Neighbor Discovery for the VIP {vip} itself: clients reach it past the director"
            );
            let fix = "on the server: the VIP on lo, and sysctl -w net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2";
            findings.problem(&about, CHECK, what, fix);
        } else if of_vip.len() > 1 {
            is_well = false;
            let macs: Vec<String> = of_vip.iter().map(ToString::to_string).collect();
            let what = format!("several stations answer for the VIP {vip}: {}", macs.join(", "));
            let fix =
                "see who has the VIP on an interface: ip neigh, or the table of the switch, has the MACs";
            findings.warning(&about, CHECK, what, fix);
        }
    }
    if is_well {
        findings.ok(&about, CHECK, "no real server answers for the VIP itself");
    }
}

/// Whether the vipd that runs here is the master of a VIP.
fn is_owned(facts: &Facts, vip: IpAddr) -> bool {
    let instances = facts.running.iter().flat_map(|status| &status.instances);
    instances
        .filter(|instance| instance.state == "MASTER")
        .any(|instance| instance.vips.contains(&vip) || instance.vips_excluded.contains(&vip))
}

/// A director that is a real server too: what another owner sends by DR or a tunnel is dropped.
fn own(facts: &Facts, server: &VirtualServer, findings: &mut Findings) {
    let Ok(survey) = &facts.survey else { return };
    let addresses: BTreeSet<IpAddr> =
        survey.links.iter().flat_map(|link| &link.state.addresses).map(|found| found.address).collect();
    let direct = |target: &&ServiceTarget| {
        !matches!(target.forward, ForwardMethod::Nat) && addresses.contains(&target.id.address)
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

/// Asks who answers for the VIPs and the servers of services by DR or tunnels; nobody without such a server on a link of this host.
pub fn ask(
    config: Option<&Config>,
    survey: Option<&Survey>,
    first_hops: &BTreeMap<IpAddr, FirstHop>,
) -> Result<Stations, String> {
    let Some(config) = config else { return Ok(Stations::new()) };
    let networks = Networks::of(config, survey, first_hops);
    let mut asked: BTreeMap<u32, (&SurveyedLink, BTreeSet<IpAddr>)> = BTreeMap::new();
    for server in config.balance.servers() {
        for (id, _) in servers(server).filter(|(_, forward)| *forward != ForwardMethod::Nat) {
            let link = networks.link_to(id.address).filter(|_| !networks.is_own(id.address));
            let Some(link) = link else { continue };
            let (_, addresses) = asked.entry(link.state.ifindex).or_insert_with(|| (link, BTreeSet::new()));
            let is_v4 = id.address.is_ipv4();
            addresses.extend(vips(server).into_iter().filter(|vip| vip.is_ipv4() == is_v4));
            addresses.insert(id.address);
        }
    }
    let mut stations = Stations::new();
    for (link, addresses) in asked.into_values().filter(|(link, _)| !link.state.no_arp) {
        let asked = AskedLink { index: link.state.ifindex, mac: link.state.mac };
        let addresses: Vec<IpAddr> = addresses.into_iter().take(ASKED_MOST).collect();
        let found = stations::ask(asked, &addresses, (ASK_FOR, Until::TimeIsOver), clock::unix_ms)
            .map_err(|error| format!("{}: {error}", link.state.name))?;
        for (address, of) in found {
            stations.entry(address).or_default().extend(of);
        }
    }
    Ok(stations)
}

/// For answers of a link.
const ASK_FOR: Duration = Duration::from_secs(1);
/// Addresses that are asked for on a link: one frame each.
const ASKED_MOST: usize = 512;
