//! `real_server` and `sorry_server`.

use std::net::IpAddr;

use vipd_balance::{
    ForwardMethod, NoticeCommand, ProbeUse, ServiceTarget, SorryServer, TargetId, TunnelChecksum,
    TunnelEncapsulation,
};
use vipd_common::Family;

use super::{
    check,
    context::BalanceContext,
    peer::CheckScope,
    placed::{PlacedBlock, PlacedStatement},
};
use crate::{
    lower::notify,
    model::command::{Account, Command},
    schema::{keyword::Block, value::Value, words},
    syntax::{diagnostic::Code, report::fit},
};

/// The ports of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServicePort {
    /// All of its addresses have this one; 0: every port, and that of firewall marks.
    One(u16),
    /// The entries of its group differ.
    Several,
}

/// What real servers need to know of their virtual server.
pub struct TargetScope<'p, 's> {
    pub service: &'s PlacedBlock<'p>,
    pub port: ServicePort,
    pub family: Family,
    pub is_mark: bool,
    pub forward: ForwardMethod,
}

impl<'b> BalanceContext<'b> {
    /// `lvs_method` and its like; `None`: what it says is wrong.
    pub fn method(&mut self, placed: PlacedStatement<'b>) -> Option<ForwardMethod> {
        let values = &placed.statement.values;
        let has = |word: &str| placed.statement.has(word);
        match values.first()? {
            Value::Word("DR") => return Some(ForwardMethod::Direct),
            Value::Word("TUN") => {}
            Value::Word(_) => return Some(ForwardMethod::Nat),
            _ => return None,
        }
        let position = |word: &str| {
            values.iter().position(|value| matches!(value, Value::Word(known) if *known == word))
        };
        let sums: Vec<(usize, TunnelChecksum)> = [
            ("nocsum", TunnelChecksum::Off),
            ("csum", TunnelChecksum::On),
            ("remcsum", TunnelChecksum::Remote),
        ]
        .into_iter()
        .filter_map(|(word, sum)| Some((position(word)?, sum)))
        .collect();
        let port = placed.port().filter(|port| *port > 0);
        let checksum = sums.first().map_or(TunnelChecksum::Off, |(_, sum)| *sum);
        let kind = ["gue", "gre"].into_iter().find(|kind| has(kind)).unwrap_or("ipip");
        let problem = match (kind, sums.as_slice()) {
            (_, [_, (at, _), ..]) => {
                Some((*at, "one checksum option is enough", "write the one that the server expects"))
            }
            ("ipip", [(at, _)]) => Some((*at, "ipip has no checksum", "remove it, or write `type gue`")),
            ("gre", [(at, TunnelChecksum::Remote)]) => {
                Some((*at, "gre has no remote checksum offload", "write `csum` or `nocsum`"))
            }
            ("gue", _) if port.is_none() => Some((
                position("gue").unwrap_or(0),
                "gue needs a port",
                "write `port` with the UDP port of the server",
            )),
            (kind, _) if kind != "gue" && has("port") => {
                Some((position("port").unwrap_or(0), "only gue has a port", "remove it, or write `type gue`"))
            }
            _ => None,
        };
        if let Some((at, message, hint)) = problem {
            self.report.error_hint(Code::Conflict, placed.value_at(at), message, hint);
            return None;
        }
        Some(ForwardMethod::Tunnel(match (kind, port) {
            ("gue", Some(port)) => TunnelEncapsulation::Gue { port, checksum },
            ("gre", _) => TunnelEncapsulation::Gre { checksum },
            _ => TunnelEncapsulation::Ipip,
        }))
    }

    /// The identity of a server, and the port where its checks go; `None`: what is said of it is wrong.
    fn target_id(
        &mut self,
        head: PlacedStatement<'b>,
        forward: ForwardMethod,
        scope: &TargetScope<'b, '_>,
    ) -> Option<(TargetId, u16)> {
        let address = head.address()?;
        let own = head.port().filter(|port| *port > 0);
        if !forward.crosses_families() && words::family_of(address) != scope.family {
            let message = format!("`{address}` is of another family than its virtual server");
            let hint = "only by `lvs_method TUN` the families may differ";
            self.report.error_hint(Code::MixedFamilies, head.value_at(0), message, hint);
            return None;
        }
        let port = match (forward, scope.port, own) {
            (ForwardMethod::Nat, _, Some(own)) => own,
            (_, ServicePort::One(port), None) => port,
            (_, ServicePort::One(port), Some(own)) => {
                // Where every port goes to the same port, the check still needs one.
                if own != port && !(port == 0 && scope.is_mark) {
                    let message = format!("port {own} is ignored: only NAT changes the port");
                    let hint = match port {
                        0 => "remove it; `connect_port` says where a check goes".to_owned(),
                        port => format!("write {port}; `connect_port` says where a check goes"),
                    };
                    self.report.warning(Code::Ignored, head.value_at(1), message, hint);
                }
                port
            }
            (_, ServicePort::Several, _) => {
                let message =
                    format!("the entries of the group have several ports, `{address}` would have one");
                let hint =
                    "write a group and a virtual server for each port, or NAT with the port of the server";
                self.report.error_hint(Code::Conflict, head.value_at(0), message, hint);
                return None;
            }
        };
        let check_port = own.unwrap_or(match scope.port {
            ServicePort::One(port) => port,
            ServicePort::Several => 0,
        });
        Some((TargetId::new(address, port), check_port))
    }

    pub fn target(
        &mut self,
        head: PlacedStatement<'b>,
        scope: &TargetScope<'b, '_>,
    ) -> Option<ServiceTarget> {
        let inside = head.inside(Some(Block::RealServer));
        let forward = match inside.find("lb_kind") {
            Some(method) => self.method(method)?,
            None => scope.forward,
        };
        let (id, check_port) = self.target_id(head, forward, scope)?;
        let mut target = ServiceTarget::new(id, forward);
        let number = |means: &str| inside.find(means).and_then(|placed| placed.number());
        let weight = inside.find("weight").or_else(|| scope.service.find("weight"));
        target.weight = weight.and_then(|placed| placed.number()).unwrap_or(1);
        target.upper_threshold = number("uthreshold").unwrap_or(0);
        target.lower_threshold = number("lthreshold").unwrap_or(0);
        if let Some(lower) =
            inside.find("lthreshold").filter(|_| target.lower_threshold > target.upper_threshold)
        {
            let message = format!(
                "lthreshold {} is above uthreshold {}",
                target.lower_threshold, target.upper_threshold
            );
            let hint = match target.upper_threshold {
                0 => "write `uthreshold`: without it the server is never overloaded".to_owned(),
                upper => format!("write at most {upper}"),
            };
            self.report.error_hint(Code::Conflict, lower.value_at(0), message, hint);
            return None;
        }
        let inhibit = inside.find("inhibit_on_failure").or_else(|| scope.service.find("inhibit_on_failure"));
        target.inhibit = inhibit.is_some_and(|placed| placed.statement.is_on());
        target.mail = self.mails(&inside, true);
        target.notify_up = notice(&inside, "notify_up");
        target.notify_down = notice(&inside, "notify_down");
        for check in inside.iter() {
            let Some(block) = check::block_of(check.statement.keyword) else { continue };
            // What is ignored by itself checks nothing.
            if head.statement.served && !check.statement.served {
                continue;
            }
            let scope = CheckScope {
                head: check,
                check: check.inside(Some(block)),
                server: &inside,
                service: scope.service,
                address: id.address,
                port: check_port,
            };
            target.checks.extend(self.fit_checks(&scope));
        }
        Some(target)
    }

    /// The checks of a block; what can never be run is an error.
    fn fit_checks(&mut self, scope: &CheckScope<'b, '_>) -> Vec<ProbeUse> {
        let mut checks = self.check(scope);
        checks.retain(|check| {
            let unfit = self.outside.unfit_probe(&check.probe);
            if let Some(why) = &unfit {
                let message = format!("this `{}` can never be run: {why}", scope.head.statement.keyword);
                self.report.error(Code::BadValue, scope.head.at(), message);
            }
            unfit.is_none()
        });
        checks
    }

    /// `smtp_alert` of a block, else that of all services; `default`: where neither stands.
    pub fn mails(&self, inside: &PlacedBlock<'b>, default: bool) -> bool {
        match inside.find("smtp_alert") {
            Some(own) => own.statement.is_on(),
            None => self.mail.unwrap_or(default),
        }
    }

    pub fn sorry(&mut self, scope: &TargetScope<'b, '_>) -> Option<SorryServer> {
        let mut head = None;
        // As keepalived: what stands before the server is not about it.
        let (mut method, mut inhibit) = (None, false);
        for placed in scope.service.iter() {
            match placed.statement.keyword {
                "sorry_server" => (head, method, inhibit) = (Some(placed), None, false),
                keyword @ ("sorry_server_inhibit" | "sorry_server_lvs_method") if head.is_none() => {
                    let message = format!("`{keyword}` is ignored: no `sorry_server` stands before it");
                    let hint = "write it behind `sorry_server`";
                    self.report.warning(Code::Ignored, placed.at(), message, hint);
                }
                "sorry_server_inhibit" => inhibit = true,
                "sorry_server_lvs_method" => method = Some(placed),
                _ => {}
            }
        }
        let head = head?;
        let forward = match method {
            Some(method) => self.method(method)?,
            None => scope.forward,
        };
        let (id, _) = self.target_id(head, forward, scope)?;
        if forward == ForwardMethod::Nat && id.address.is_loopback() {
            let message = format!(
                "`{}` is never reached: Linux forwards nothing to a loopback address by NAT",
                id.address
            );
            let hint = "write `sorry_server_lvs_method DR` behind it, and have the service listen on all addresses, at the port of the virtual server";
            self.report.warning(Code::Conflict, head.value_at(0), message, hint);
        }
        // Of a mark, the port is no real server's, where a check would need it.
        if let Some(port) = head.port().filter(|port| *port > 0 && *port != id.port && scope.is_mark) {
            let message = format!("port {port} is ignored: only NAT changes the port");
            self.report.warning(Code::Ignored, head.value_at(1), message, "remove it");
        }
        Some(SorryServer { id, forward, inhibit })
    }

    /// Whether a server stands twice in its virtual server; says so.
    pub fn is_again(
        &mut self,
        id: TargetId,
        head: PlacedStatement<'b>,
        first: Option<PlacedStatement<'b>>,
    ) -> bool {
        let Some(first) = first else { return false };
        let line = self.report.line_of(first.at(), head.at());
        let message = format!("`real_server {}` stands twice: this one is ignored", fit(&id.to_string()));
        let hint = format!("remove it; the first is on {line}");
        self.report.warning(Code::Ignored, head.value_at(0), message, hint);
        true
    }
}

/// The command of a keyword.
pub fn notice(inside: &PlacedBlock<'_>, means: &str) -> Option<NoticeCommand> {
    let Command { words, account } = notify::command(inside.find(means)?.statement)?;
    Some(NoticeCommand { words, account: account.map(|Account { user, group }| (user, group)) })
}

/// The family of the first server that no tunnel leads to.
pub fn family_of<'p>(service: &PlacedBlock<'p>, is_tunnel: bool) -> Option<Family> {
    let family = |head: PlacedStatement<'p>| {
        let own =
            head.inside(Some(Block::RealServer)).find("lb_kind").map(|method| method.statement.has("TUN"));
        let address: IpAddr = head.address()?;
        (!own.unwrap_or(is_tunnel)).then(|| words::family_of(address))
    };
    service.all("real_server").find_map(family)
}
