//! What operators ask of the services' thread: drains, and the status.

use std::{collections::BTreeMap, time::Duration};

use vipd_balance::{DrainScope, JudgeEvent, ServiceId, TargetId};

use super::{
    super::{
        forwarder::Ipvs,
        scope,
        state::KeptDrain,
        status::{self, Counted},
    },
    ServiceLoop,
};
use crate::{
    control::{ServerDrain, model::BalancingStatus},
    daemon::clock,
};

impl<K: Ipvs> ServiceLoop<K> {
    /// `vipd drain-server`, `undrain-server`.
    pub(super) fn drain_server(&mut self, ServerDrain { service, server, drain, reply }: ServerDrain) {
        let now = clock::now();
        let scopes = scope::scopes(&self.config, &service, &server).and_then(|scopes| {
            let scopes: Vec<_> = scopes.into_iter().filter(|scope| self.judge.has_target(scope)).collect();
            if scopes.is_empty() { Err(format!("{service} has no real server {server}")) } else { Ok(scopes) }
        });
        let scopes = match scopes {
            Ok(scopes) => scopes,
            // Who asked may be gone.
            Err(why) => return drop(reply.send(Err(why))),
        };
        for scope in &scopes {
            self.remember(scope, drain);
        }
        if let Err(error) = self.ends.drains.write(&self.drained) {
            self.drained = self.ends.drains.read();
            return drop(reply.send(Err(format!("nothing is changed: {error:#}"))));
        }
        let until = drain.flatten().map(|limit| now + limit);
        for scope in scopes.clone() {
            let event = match drain {
                Some(_) => JudgeEvent::Drain { scope, until },
                None => JudgeEvent::Undrain { scope },
            };
            self.judge.handle(event, now);
        }
        while self.work() {}
        let what = self.drain_words(&scopes, drain);
        let _ = reply.send(Ok(what));
    }

    /// Takes note of a drain, or of its end.
    fn remember(&mut self, scope: &DrainScope, drain: Option<Option<Duration>>) {
        let covers = |target: TargetId| {
            scope.address == target.address && scope.port.is_none_or(|port| port == target.port)
        };
        for server in self.config.servers().iter().filter(|server| scope.service.as_ref() == Some(&server.id))
        {
            let service = server.id.to_string();
            for target in server.targets.iter().map(|target| target.id).filter(|target| covers(*target)) {
                self.drained.retain(|known| known.service != service || known.target() != target);
                if let Some(limit) = drain {
                    let millis = |limit: Duration| u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
                    let until_unix_ms = limit.map(|limit| clock::unix_ms().saturating_add(millis(limit)));
                    let (service, TargetId { address, port }) = (service.clone(), target);
                    self.drained.push(KeptDrain { service, address, port, until_unix_ms });
                }
            }
        }
    }

    fn drain_words(&mut self, scopes: &[DrainScope], drain: Option<Option<Duration>>) -> String {
        self.forwarder.refresh(Duration::ZERO, clock::now());
        let mut lines = Vec::new();
        for server in self.config.servers() {
            let of = |scope: &&DrainScope| scope.service.as_ref() == Some(&server.id);
            let Some(scope) = scopes.iter().find(of) else { continue };
            let counted = Counted::of(&server.addresses, self.forwarder.table().0);
            let is_its = |target: &TargetId| {
                target.address == scope.address && scope.port.is_none_or(|port| port == target.port)
            };
            for target in server.targets.iter().map(|target| target.id).filter(is_its) {
                let of = format!("{target} of {}", server.id);
                let left = counted.connections(target);
                lines.push(match drain {
                    None => format!("{of} gets new connections again, as its checks say"),
                    Some(limit) => {
                        let limit = limit.or(server.drain_timeout);
                        let end =
                            limit.map(|limit| format!(" for {} s", limit.as_secs())).unwrap_or_default();
                        format!(
                            "{of} gets no new connections; {left} {} left{end}",
                            if left == 1 { "is" } else { "are" }
                        )
                    }
                });
            }
        }
        lines.join("\n")
    }

    pub(super) fn keep_drains(&self) {
        if let Err(error) = self.ends.drains.write(&self.drained) {
            tracing::error!(error = format!("{error:#}"), "drained servers are not remembered");
        }
    }

    pub(super) fn status(&mut self) -> BalancingStatus {
        let now = clock::now();
        self.forwarder.refresh(COUNTS_FOR, now);
        let judged: BTreeMap<ServiceId, _> = self.judge.views().map(|view| (view.id.clone(), view)).collect();
        let (table, unix_now) = (self.forwarder.table().0, clock::unix_ms());
        let services = self.config.servers().iter().filter_map(|server| {
            let since = self.kept.since.get(&server.id.to_string());
            let since = |target: TargetId| {
                let at = since.and_then(|since| since.get(&target.to_string())).copied().unwrap_or(unix_now);
                (at, unix_now.saturating_sub(at))
            };
            let counted = Counted::of(&server.addresses, table);
            let refused = server.addresses.iter().find_map(|address| self.forwarder.refusal(address));
            let judged = judged.get(&server.id)?;
            Some(status::service(server, judged, &counted, refused, (&self.probes, now), since))
        });
        BalancingStatus {
            services: services.collect(),
            settled: self.forwarder.is_settled(),
            problem: self.forwarder.problem().map(str::to_owned),
            repairs: self.repairs,
            sync_daemons: table
                .daemons
                .iter()
                .map(|daemon| format!("{} on {}", daemon.role, daemon.interface))
                .collect(),
            probes: self.probes.status(now),
        }
    }
}

/// What the kernel has counted is not read more often.
const COUNTS_FOR: Duration = Duration::from_secs(1);
