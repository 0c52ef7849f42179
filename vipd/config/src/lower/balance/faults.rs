//! What the judge does not take, placed at the statement that says it.

use std::collections::HashMap;

use vipd_balance::{BalanceConfig, ServiceAddress, ServiceFault, ServiceId, TargetId, VirtualServer};

use super::placed::{PlacedBlock, PlacedStatement};
use crate::syntax::{diagnostic::Code, report::Report, span::Span};

/// A service, and where the file has it.
#[derive(Debug)]
pub struct PlacedService<'p> {
    pub server: VirtualServer,
    pub head: PlacedStatement<'p>,
    /// As a message calls it.
    pub name: String,
    pub block: PlacedBlock<'p>,
    pub targets: HashMap<TargetId, PlacedStatement<'p>>,
}

/// The services without fault; the others are reported.
pub fn checked(services: Vec<PlacedService<'_>>, init_notices: bool, report: &mut Report) -> BalanceConfig {
    let mut ids: HashMap<ServiceId, Span> = HashMap::new();
    let mut addresses: HashMap<ServiceAddress, Span> = HashMap::new();
    let mut sound = Vec::new();
    for service in services {
        let alone = BalanceConfig::new(vec![service.server.clone()], init_notices);
        let taken = service.server.addresses.iter().find(|address| addresses.contains_key(address));
        let fault = match (alone, taken) {
            (Err((_, fault)), _) => Some((fault, None)),
            (Ok(_), _) if ids.contains_key(&service.server.id) => {
                Some((ServiceFault::Duplicate, ids.get(&service.server.id)))
            }
            (Ok(_), Some(address)) => Some((ServiceFault::AddressTwice(*address), addresses.get(address))),
            (Ok(_), None) => None,
        };
        if let Some((fault, first)) = fault {
            service.report(fault, first.copied(), report);
            continue;
        }
        ids.insert(service.server.id.clone(), service.head.at());
        addresses.extend(service.server.addresses.iter().map(|address| (*address, service.head.at())));
        sound.push(service.server);
    }
    BalanceConfig::new(sound, init_notices)
        .expect("each is sound by itself, and no identity or address stands twice")
}

impl PlacedService<'_> {
    fn report(&self, fault: ServiceFault, first: Option<Span>, report: &mut Report) {
        let (at, hint) = self.place(fault);
        let (code, message) = match (fault, first) {
            (ServiceFault::Duplicate, Some(first)) => {
                let line = report.line_of(first, at);
                (Code::Duplicate, format!("second {}; the first is on {line}", self.name))
            }
            (ServiceFault::AddressTwice(_), Some(first)) => {
                (Code::Duplicate, format!("{fault}, on {}", report.line_of(first, at)))
            }
            _ => (Code::Conflict, format!("{}: {fault}", self.name)),
        };
        report.error_hint(code, at, message, hint);
    }

    /// The statement that a fault is about, and what to do.
    fn place(&self, fault: ServiceFault) -> (Span, &'static str) {
        let head = self.head.value_at(0);
        let own = |means: &str| self.block.given(means).map_or(head, |placed| placed.value_at(0));
        let of_target = |id: TargetId| {
            let placed = self.targets.get(&id).copied().or_else(|| self.block.given("sorry_server"));
            placed.map_or(head, |placed| placed.value_at(0))
        };
        match fault {
            ServiceFault::Duplicate => (head, "put the servers into one virtual server"),
            ServiceFault::AddressTwice(_) => (head, "write another address, port or protocol"),
            ServiceFault::NoAddress => (head, "write an address, a firewall mark or a group"),
            ServiceFault::NoTarget => (head, "write `real_server` or `sorry_server`"),
            ServiceFault::TargetTwice(id) => (of_target(id), "remove one"),
            ServiceFault::NoQuorum => (own("quorum"), "write 1 or more"),
            ServiceFault::Hysteresis => (own("hysteresis"), "write less than the quorum"),
            ServiceFault::Weight(id) => (of_target(id), "write at most 2147483647"),
            ServiceFault::Thresholds(id) => (of_target(id), "write `uthreshold` above `lthreshold`"),
            ServiceFault::TargetFamily(id) => {
                (of_target(id), "only by `lvs_method TUN` the families may differ")
            }
            ServiceFault::Tunnel(id) => (of_target(id), "write `type gue port PORT`, or `csum` with gre"),
            ServiceFault::Check(id) => (of_target(id), "`rise` and `delay_loop` are above 0"),
            ServiceFault::Persistence => (own("persistence_timeout"), "write 1 to 2678400 seconds"),
            ServiceFault::AnyPort => (head, "write a port, or `persistence_timeout`"),
            ServiceFault::OnePacket => (own("ops"), "remove it, or write `protocol UDP`"),
            ServiceFault::MinAlive => (own("min_alive"), "write 0 to 100 percent"),
            ServiceFault::HaSuspend => (
                self.block.given("ha_suspend").map_or(head, |placed| placed.at()),
                "remove it: a firewall mark has no address",
            ),
        }
    }
}
