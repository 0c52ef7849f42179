//! Where a probe goes, and from where.

use std::net::{IpAddr, SocketAddr};

use vipd_balance::{ProbePeer, ProbeUse};

use super::{
    context::BalanceContext,
    placed::{PlacedBlock, PlacedStatement},
};
use crate::{schema::words, syntax::diagnostic::Code};

/// A check within its real server within its virtual server.
pub struct CheckScope<'p, 's> {
    pub head: PlacedStatement<'p>,
    pub check: PlacedBlock<'p>,
    pub server: &'s PlacedBlock<'p>,
    pub service: &'s PlacedBlock<'p>,
    pub address: IpAddr,
    /// As the real server has it, else as the virtual one has it; 0: neither.
    pub port: u16,
}

impl<'p> CheckScope<'p, '_> {
    /// The nearest statement: the check's own, the real server's, the virtual server's.
    pub fn nearest(&self, means: &str) -> Option<PlacedStatement<'p>> {
        self.check.find(means).or_else(|| self.server.find(means)).or_else(|| self.service.find(means))
    }

    /// A probe with its intervals and retries; `retries_slowly`: as DNS_CHECK, whose retries come with its period.
    pub fn uses(&self, probe: vipd_balance::ProbeSpec, retries_slowly: bool) -> ProbeUse {
        let mut uses = ProbeUse::new(probe);
        let seconds = |means: &str| self.nearest(means).and_then(|placed| placed.seconds());
        let number = |means: &str| self.nearest(means).and_then(|placed| placed.number());
        uses.alpha = self.nearest("alpha").is_some_and(|alpha| alpha.statement.is_on());
        if !uses.probe.is_scheduled() {
            return uses;
        }
        uses.delay_loop = seconds("delay_loop").unwrap_or(uses.delay_loop);
        let pause = if retries_slowly { uses.delay_loop } else { uses.delay_before_retry };
        uses.delay_before_retry = seconds("delay_before_retry").unwrap_or(pause);
        uses.warmup = seconds("warmup").unwrap_or(uses.delay_loop);
        uses.retry = number("retry").unwrap_or(uses.retry);
        uses.rise = number("rise").unwrap_or(uses.rise);
        uses
    }
}

impl<'b> BalanceContext<'b> {
    /// The peer of a check, or of a `host` in it; `default_port`: where neither it nor the server has one; `Some(0)`: it needs none.
    pub fn peer(
        &mut self,
        scope: &CheckScope<'b, '_>,
        host: Option<(PlacedStatement<'b>, &PlacedBlock<'b>)>,
        default_port: Option<u16>,
    ) -> Option<ProbePeer> {
        let own = |means: &str| {
            let of_host = host.and_then(|(_, block)| block.find(means));
            of_host.or_else(|| scope.check.find(means))
        };
        let head = host.map_or(scope.head, |(head, _)| head);
        let to = own("connect_ip").and_then(|placed| placed.address()).unwrap_or(scope.address);
        let port = match (own("connect_port").and_then(|placed| placed.port()), default_port) {
            (_, Some(0)) => 0,
            (Some(port), _) if port > 0 => port,
            _ if scope.port > 0 => scope.port,
            (_, Some(port)) => port,
            (_, None) => {
                let message = format!("`{}` has no port to connect to", scope.head.statement.keyword);
                self.report.error_hint(Code::MissingKeyword, head.at(), message, "write `connect_port`");
                return None;
            }
        };
        let mut peer = ProbePeer::new(SocketAddr::new(to, port));
        if let Some(bind) = own("bindto") {
            peer.from = bind.address();
            if let Some(from) = peer.from.filter(|from| from.is_ipv4() != to.is_ipv4()) {
                let message = format!("a check of {to} cannot come from {from}");
                let hint = format!("write an {} address", words::name(words::family_of(to)));
                self.report.error_hint(Code::MixedFamilies, bind.value_at(0), message, hint);
                return None;
            }
        }
        peer.from_port = own("bind_port").and_then(|placed| placed.port()).filter(|port| *port > 0);
        peer.interface = own("bind_if").and_then(|placed| placed.text()).map(str::to_owned);
        if words::is_link_local(to) && peer.interface.is_none() {
            let message = format!("`{}` of {to} has no interface", scope.head.statement.keyword);
            let hint = "a link-local address needs `bind_if`";
            self.report.error_hint(Code::MissingKeyword, head.at(), message, hint);
            return None;
        }
        peer.mark = own("fwmark").and_then(|placed| placed.number()).unwrap_or(0);
        let timeout = |means: &str| {
            let of_host = host.and_then(|(_, block)| block.find(means));
            of_host.or_else(|| scope.nearest(means)).and_then(|placed| placed.seconds())
        };
        peer.connect_timeout = timeout("connect_timeout").unwrap_or(peer.connect_timeout);
        peer.total_timeout = timeout("total_timeout");
        Some(peer)
    }
}
