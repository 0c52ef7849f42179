//! `virtual_server`: its addresses, how a server is chosen, and what becomes of it when servers fail.

use std::{collections::HashMap, net::Ipv4Addr, time::Duration};

use vipd_balance::{
    ForwardMethod, Persistence, Scheduler, SchedulerFlags, ServiceAddress, ServiceId, ServiceSettings,
    TargetId, TransportProtocol, VirtualServer,
};
use vipd_common::Family;

use super::{
    context::{BalanceContext, GroupMembers},
    faults::PlacedService,
    placed::{PlacedBlock, PlacedStatement},
    target::{ServicePort, TargetScope, family_of, notice},
};
use crate::{
    schema::{keyword::Block, value::Value, words},
    syntax::{diagnostic::Code, parser::title},
};

/// What stands behind `virtual_server`.
#[derive(Clone, Copy, Debug)]
enum ServiceHead<'p> {
    Socket(std::net::IpAddr, u16),
    Mark(u32),
    Group(&'p str),
}

impl<'b> BalanceContext<'b> {
    /// `None`: it is wrong, or serves nobody.
    pub fn service(&mut self, head: PlacedStatement<'b>) -> Option<PlacedService<'b>> {
        let name = title(head.node.map(|node| node.words.as_slice()).unwrap_or_default(), self.report);
        let block = head.inside(Some(Block::VirtualServer));
        let kind = match head.statement.values.as_slice() {
            [Value::Word("fwmark"), Value::Number(mark)] => ServiceHead::Mark(u32::try_from(*mark).ok()?),
            [Value::Word("group"), Value::Of(_, group)] => ServiceHead::Group(group),
            [Value::Address(address)] => ServiceHead::Socket(*address, 0),
            [Value::Address(address), Value::Number(port)] => {
                ServiceHead::Socket(*address, u16::try_from(*port).ok()?)
            }
            // Said already.
            _ => return None,
        };
        let has_server = block.all("real_server").next().is_some();
        if !has_server && !block.is_partial {
            let hint = "it serves nobody, but for a `sorry_server`";
            self.report.warning(Code::EmptyBlock, head.at(), format!("{name} has no `real_server`"), hint);
        }
        let protocol = self.protocol(&block, kind, head, &name);
        let forward = match block.find("lb_kind") {
            Some(method) => self.method(method)?,
            None => ForwardMethod::Nat,
        };
        let family = self.family(&block, kind, forward);
        let addresses = match kind {
            ServiceHead::Socket(address, port) => vec![ServiceAddress::Socket { protocol, address, port }],
            ServiceHead::Mark(mark) => vec![ServiceAddress::Mark { mark, family }],
            ServiceHead::Group(group) => {
                if !self.grouped.insert((group, protocol)) {
                    let message =
                        format!("a second {name} with protocol {}", protocol.name().to_ascii_uppercase());
                    let hint = "one virtual server serves a group by a protocol: put the servers into one";
                    self.report.error_hint(Code::Duplicate, head.value_at(1), message, hint);
                    return None;
                }
                let members = self.members(group, protocol, family);
                // A group that is not there, or that is empty, is named already.
                if members.is_empty() {
                    return None;
                }
                members
            }
        };
        let id = match (kind, addresses.first()) {
            (ServiceHead::Group(group), _) => {
                let next = self.ordinals.entry(group).or_default();
                let ordinal = *next;
                *next += 1;
                ServiceId::Group { name: group.to_owned(), ordinal }
            }
            (_, Some(address)) => ServiceId::Single(*address),
            (_, None) => return None,
        };
        let mut server = VirtualServer::new(id, addresses);
        server.settings = self.settings(&block, &server, head, family)?;
        let port = port_of(&server.addresses);
        let is_mark = server.addresses.iter().all(|address| address.address().is_none());
        let scope = TargetScope { service: &block, port, family, is_mark, forward };
        let targets = self.targets(&mut server, &scope);
        server.sorry = self.sorry(&scope);
        if server.targets.is_empty() && server.sorry.is_none() {
            // A virtual server without servers is ignored, as by keepalived; of servers that are wrong it is said already.
            return None;
        }
        self.quorum(&block, &mut server);
        server.omega = block.is_on("omega");
        server.ha_suspend = block.is_on("ha_suspend");
        server.mail = self.mails(&block, false);
        server.quorum_up = notice(&block, "quorum_up");
        server.quorum_down = notice(&block, "quorum_down");
        let seconds = |means: &str| block.find(means).and_then(|placed| placed.seconds());
        server.ramp = seconds("ramp").unwrap_or(Duration::ZERO);
        server.drain_timeout = seconds("drain_timeout");
        let min_alive = block.find("min_alive").and_then(|placed| placed.number());
        server.min_alive = min_alive.and_then(|percent| u8::try_from(percent).ok()).unwrap_or(0);
        Some(PlacedService { server, head, name, block, targets })
    }

    fn protocol(
        &mut self,
        block: &PlacedBlock<'b>,
        kind: ServiceHead<'b>,
        head: PlacedStatement<'b>,
        name: &str,
    ) -> TransportProtocol {
        let given = block.given("protocol");
        if let (ServiceHead::Mark(_), Some(placed)) = (kind, given) {
            self.ignored(placed, "a firewall mark has every protocol", "remove it");
        }
        let has_sockets = match kind {
            ServiceHead::Socket(..) => true,
            ServiceHead::Mark(_) => false,
            ServiceHead::Group(group) => self.groups.get(group).is_some_and(|group| {
                group.entries.iter().any(|entry| matches!(entry.members, GroupMembers::Addresses { .. }))
            }),
        };
        if given.is_none() && has_sockets && !block.is_partial {
            let message = format!("{name} has no `protocol`, and so is for UDP");
            let hint = "that is keepalived's default: write `protocol TCP` or `protocol UDP`";
            self.report.warning(Code::Implied, head.at(), message, hint);
        }
        match given.and_then(|placed| placed.choice()) {
            Some("TCP" | "tcp") => TransportProtocol::Tcp,
            Some("SCTP" | "sctp") => TransportProtocol::Sctp,
            _ => TransportProtocol::Udp,
        }
    }

    /// The family of the packets: as the addresses have it, as `ip_family` says, or as the servers have it.
    fn family(&mut self, block: &PlacedBlock<'b>, kind: ServiceHead<'b>, forward: ForwardMethod) -> Family {
        let own = match kind {
            ServiceHead::Socket(address, _) => Some(words::family_of(address)),
            ServiceHead::Mark(_) => None,
            ServiceHead::Group(group) => {
                let entries =
                    self.groups.get(group).map(|group| group.entries.as_slice()).unwrap_or_default();
                entries.iter().find_map(|entry| entry.members.family())
            }
        };
        let said = block.find("ip_family");
        let wanted = said.and_then(|placed| placed.choice()).map(|word| match word {
            "inet6" => Family::V6,
            _ => Family::V4,
        });
        if let (Some(own), Some(wanted), Some(placed)) = (own, wanted, said)
            && own != wanted
        {
            let message = format!("ip_family is not that of the addresses, which are {}", words::name(own));
            self.report.error_hint(Code::MixedFamilies, placed.value_at(0), message, "remove it");
        }
        own.or(wanted).or_else(|| family_of(block, forward.crosses_families())).unwrap_or(Family::V4)
    }

    fn settings(
        &mut self,
        block: &PlacedBlock<'b>,
        server: &VirtualServer,
        head: PlacedStatement<'b>,
        family: Family,
    ) -> Option<ServiceSettings> {
        let persistence = self.persistence(block, server, head, family)?;
        let has_tcp = server
            .addresses
            .iter()
            .any(|address| matches!(address, ServiceAddress::Socket { protocol, .. } if *protocol != TransportProtocol::Udp));
        let ops = block.find("ops");
        if let Some(ops) = ops.filter(|_| has_tcp) {
            let hint = "remove it: connections of TCP and SCTP are scheduled as a whole";
            self.ignored(ops, "it is for UDP and firewall marks", hint);
        }
        let one_packet = ops.is_some() && !has_tcp;
        let scheduler =
            block.find("lb_algo").and_then(|placed| placed.choice()).and_then(scheduler).unwrap_or_default();
        Some(ServiceSettings { scheduler, flags: self.flags(block), persistence, one_packet })
    }

    /// As keepalived: `sh-port` and its like count behind their scheduler only.
    fn flags(&mut self, block: &PlacedBlock<'b>) -> SchedulerFlags {
        let mut flags = SchedulerFlags::default();
        let mut before = None;
        for placed in block.iter() {
            let keyword = placed.statement.keyword;
            match keyword {
                "lb_algo" | "lvs_sched" => before = placed.choice(),
                "flag-1" => flags.first = true,
                "flag-2" => flags.second = true,
                "flag-3" => flags.third = true,
                "sh-port" | "sh-fallback" | "mh-port" | "mh-fallback" => {
                    let scheduler = keyword.split('-').next();
                    match keyword {
                        _ if before != scheduler => {
                            let scheduler = scheduler.unwrap_or_default();
                            let message =
                                format!("`{keyword}` is ignored: no `lb_algo {scheduler}` stands before it");
                            let hint = format!("write it behind `lb_algo {scheduler}`, or remove it");
                            self.report.warning(Code::Ignored, placed.at(), message, hint);
                        }
                        "sh-fallback" | "mh-fallback" => flags.first = true,
                        _ => flags.second = true,
                    }
                }
                _ => {}
            }
        }
        flags
    }

    /// `None`: what is said of it is wrong.
    fn persistence(
        &mut self,
        block: &PlacedBlock<'b>,
        server: &VirtualServer,
        head: PlacedStatement<'b>,
        family: Family,
    ) -> Option<Option<Persistence>> {
        let timeout = block.find("persistence_timeout");
        let granularity = block.find("persistence_granularity");
        let engine = block.find("persistence_engine");
        let every_port =
            server.addresses.iter().any(|address| matches!(address, ServiceAddress::Socket { port: 0, .. }));
        if every_port && timeout.is_none() && granularity.is_none() {
            let message = "a service of every port needs persistence: it lasts 360 s";
            let hint = "write a port, or `persistence_timeout`";
            self.report.warning(Code::Implied, head.value_at(0), message, hint);
        }
        if timeout.is_none() && granularity.is_none() && !every_port {
            if let Some(engine) = engine.filter(|engine| engine.choice().is_some()) {
                let hint = "write `persistence_timeout`, or remove it";
                self.ignored(engine, "the service has no persistence", hint);
            }
            return Some(None);
        }
        let seconds = timeout.and_then(|placed| placed.number()).unwrap_or(PERSISTENCE_S);
        let mut persistence = Persistence::new(seconds, family);
        persistence.sip = engine.is_some();
        if let Some(placed) = granularity
            && let Some(text) = placed.text()
        {
            let mask = text.parse::<Ipv4Addr>().ok();
            let length = words::whole(text, 1, 128).ok();
            persistence.granularity = match (family, mask, length) {
                (Family::V4, Some(mask), _) => mask.to_bits(),
                (Family::V6, None, Some(length)) => length,
                (Family::V4, ..) => {
                    let hint = match length.filter(|length| *length <= 32) {
                        Some(length) => {
                            let host = u32::MAX.checked_shr(length).unwrap_or(0);
                            format!("write `{}`", Ipv4Addr::from_bits(!host))
                        }
                        None => "write a mask as in `255.255.255.0`".to_owned(),
                    };
                    let message = "the clients are IPv4, for which keepalived takes a mask";
                    self.report.error_hint(Code::BadValue, placed.value_at(0), message, hint);
                    return None;
                }
                (Family::V6, ..) => {
                    let message = "the clients are IPv6, for which a mask is a prefix length";
                    self.report.error_hint(Code::BadValue, placed.value_at(0), message, "write 1 to 128");
                    return None;
                }
            };
        }
        Some(Some(persistence))
    }

    /// The statement of each target.
    fn targets(
        &mut self,
        server: &mut VirtualServer,
        scope: &TargetScope<'b, '_>,
    ) -> HashMap<TargetId, PlacedStatement<'b>> {
        let mut placed: HashMap<TargetId, PlacedStatement<'b>> = HashMap::new();
        for head in scope.service.all("real_server") {
            let Some(target) = self.target(head, scope) else { continue };
            let first = placed.get(&target.id).copied();
            if !self.is_again(target.id, head, first) {
                placed.insert(target.id, head);
                server.targets.push(target);
            }
        }
        placed
    }

    fn quorum(&mut self, block: &PlacedBlock<'b>, server: &mut VirtualServer) {
        let number = |means: &str| block.find(means).and_then(|placed| placed.number());
        server.quorum = number("quorum").unwrap_or(1);
        let total = server.total_weight();
        if let Some(at) =
            block.given("quorum").filter(|_| u64::from(server.quorum) > total && !server.targets.is_empty())
        {
            let message =
                format!("quorum {} is above the weight of all real servers, {total}", server.quorum);
            let hint = format!("it counts as {}: write that, or add servers", total.max(1));
            self.report.warning(Code::Conflict, at.at(), message, hint);
        }
        server.hysteresis = number("hysteresis").unwrap_or(0);
        if let Some(at) = block.given("hysteresis").filter(|_| server.hysteresis >= server.quorum) {
            let most = server.quorum - 1;
            let message = format!(
                "hysteresis {} is not below quorum {}: it is {most}",
                server.hysteresis, server.quorum
            );
            self.report.warning(Code::Conflict, at.value_at(0), message, format!("write at most {most}"));
            server.hysteresis = most;
        }
    }
}

/// The port that all addresses have.
fn port_of(addresses: &[ServiceAddress]) -> ServicePort {
    let port = |address: &ServiceAddress| match address {
        ServiceAddress::Socket { port, .. } => *port,
        ServiceAddress::Mark { .. } => 0,
    };
    let first = addresses.first().map_or(0, port);
    if addresses.iter().all(|address| port(address) == first) {
        ServicePort::One(first)
    } else {
        ServicePort::Several
    }
}

fn scheduler(name: &str) -> Option<Scheduler> {
    use Scheduler::{
        DestinationHash, Failover, LeastConnections, LocalityLeastConnections, LocalityReplicated,
        MaglevHash, NeverQueue, Overflow, RoundRobin, ShortestDelay, SourceHash, Twos,
        WeightedLeastConnections, WeightedRoundRobin,
    };
    let all = [
        RoundRobin,
        WeightedRoundRobin,
        LeastConnections,
        WeightedLeastConnections,
        LocalityLeastConnections,
        LocalityReplicated,
        SourceHash,
        MaglevHash,
        DestinationHash,
        Failover,
        Overflow,
        ShortestDelay,
        NeverQueue,
        Twos,
    ];
    all.into_iter().find(|scheduler| scheduler.name() == name)
}

/// Where `persistence_timeout` says nothing else.
const PERSISTENCE_S: u32 = 360;
