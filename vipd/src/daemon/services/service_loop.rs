//! The services' thread: events to the judge, its outputs to the kernel, to those who are told, and to the file that is kept.
//!
//! The kernel's table is changed before anybody is told. Nothing here waits for anybody but the kernel: a notice that finds no room at the main
//! thread is dropped, and that is told.

mod requests;

use std::{collections::BTreeSet, net::IpAddr, path::PathBuf, sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, oneshot, watch},
    time::sleep,
};
use vipd_balance::{
    BalanceConfig, BalanceNotice, DesiredTable, DrainScope, Judge, JudgeEvent, JudgeOutput, ServiceAddress,
};
use vipd_config::{FlushScope, LvsSettings};
use vipd_ipvs::IpvsTimeouts;
use vipd_probe::ProbeReport;

use super::{
    forwarder::{Forwarder, Ipvs},
    messages::{Beat, Roles, ServicesConfig, ServicesMessage},
    probes::ServerProbes,
    scripts::ProbeScripts,
    state::{KeptDrain, KeptDrains, KeptServices},
    sync::{self, WantedIpvs},
    sysctls, table, told,
};
use crate::{daemon::clock, time::Instant, tracking::BfdStatesRx};

/// Where it keeps what it remembers, and whom it tells.
#[derive(Debug)]
pub struct LoopEnds {
    pub runtime_dir: PathBuf,
    pub drains: KeptDrains,
    pub notices_tx: mpsc::Sender<BalanceNotice>,
    pub beat: Beat,
    /// How the sessions of BFD are.
    pub sessions: BfdStatesRx,
    /// Between two looks at the kernel's table.
    pub look: Duration,
}

/// All that the thread has.
pub struct ServiceLoop<K> {
    judge: Judge,
    config: BalanceConfig,
    lvs: LvsSettings,
    /// As the judge has put it out.
    desired: DesiredTable,
    forwarder: Forwarder<K>,
    scripts: Arc<ProbeScripts>,
    probes: ServerProbes,
    roles: Roles,
    kept: KeptServices,
    drained: Vec<KeptDrain>,
    is_saved: bool,
    saved_at: Instant,
    look_at: Instant,
    repairs: u64,
    /// Why `sloppy_tcp` cannot be set.
    sloppy_problem: Option<String>,
    /// Notices that wait for the kernel.
    waiting: Vec<BalanceNotice>,
    lost_notices: u64,
    ends: LoopEnds,
}

impl<K: Ipvs> ServiceLoop<K> {
    /// Begins with a configuration, what the vipd before has kept, and the kernel.
    pub fn new(
        ServicesConfig { balance, lvs, accounts }: ServicesConfig,
        kept: KeptServices,
        mut kernel: K,
        roles: Roles,
        ends: LoopEnds,
    ) -> Self {
        let mut own: BTreeSet<ServiceAddress> = kept.addresses().collect();
        if lvs.flush_at_start {
            // DEVIATION: keepalived empties the table. Here what is not configured goes, and what is goes on.
            match kernel.read() {
                Ok(table) => own.extend(table::present(&table).into_keys()),
                Err(error) => {
                    tracing::error!(%error, "lvs_flush: the table cannot be read, so only vipd's services are compared");
                }
            }
        }
        let now = clock::now();
        let scripts = Arc::new(ProbeScripts::new(accounts));
        let before = kept.clone();
        let mut this = Self {
            judge: Judge::new(kept.verdicts(&balance)),
            config: BalanceConfig::default(),
            lvs: LvsSettings::default(),
            desired: DesiredTable::default(),
            forwarder: Forwarder::new(kernel, own),
            probes: ServerProbes::new(Arc::clone(&scripts)),
            scripts,
            roles,
            kept,
            drained: ends.drains.read(),
            is_saved: false,
            saved_at: now,
            look_at: now + ends.look,
            repairs: 0,
            sloppy_problem: None,
            waiting: Vec::new(),
            lost_notices: 0,
            ends,
        };
        this.configure(balance, lvs, now);
        this.drain_again(now);
        this.take_outputs(Some(&before));
        this.tell_weights(&before);
        this
    }

    /// The file may give a target another weight than the vipd before has told.
    fn tell_weights(&mut self, before: &KeptServices) {
        for service in self.judge.views() {
            for target in service.targets.iter().filter(|target| target.alive) {
                let (to, id) = (target.full_weight, target.id);
                let Some(told) = before.told(service.id, &id).filter(|told| told.weight != to) else {
                    continue;
                };
                let service = service.id.clone();
                self.waiting.push(BalanceNotice::Weight { service, target: id, from: told.weight, to });
            }
        }
    }

    /// Runs until it is told to stop, or to leave everything to the next vipd.
    pub async fn run(
        mut self,
        mut messages_rx: mpsc::Receiver<ServicesMessage>,
        mut roles_rx: watch::Receiver<Roles>,
    ) {
        loop {
            let wait = if self.work() { Duration::ZERO } else { self.wait() };
            self.ends.beat.turn(clock::now());
            tokio::select! {
                message = messages_rx.recv() => match message {
                    Some(ServicesMessage::Configure(config)) => self.reload(*config),
                    Some(ServicesMessage::Drain(drain)) => self.drain_server(drain),
                    Some(ServicesMessage::Status(reply)) => {
                        // Who asked may be gone.
                        let _ = reply.send(self.status());
                    }
                    Some(ServicesMessage::Stop(reply)) => {
                        self.stop();
                        let _ = reply.send(());
                        return;
                    }
                    Some(ServicesMessage::Hold(reply)) => {
                        if !self.hold(reply, &mut messages_rx).await {
                            return;
                        }
                    }
                    Some(ServicesMessage::GoOn) => {}
                    // Without a word the daemon has gone: the next vipd is to find everything.
                    Some(ServicesMessage::Leave) | None => return self.leave(),
                },
                Ok(()) = roles_rx.changed() => {
                    self.roles = roles_rx.borrow_and_update().clone();
                    self.follow_roles(clock::now());
                }
                Ok(()) = self.ends.sessions.changed() => self.hear_sessions(),
                report = self.probes.next() => self.probed(report),
                () = sleep(wait) => {}
            }
        }
    }

    /// Does nothing from now on, for a vipd that is to take over: it reads what is kept here, and nothing is found out or changed behind its back.
    /// Returns whether this vipd goes on after all.
    async fn hold(
        &mut self,
        reply: oneshot::Sender<()>,
        messages_rx: &mut mpsc::Receiver<ServicesMessage>,
    ) -> bool {
        while !reply.is_closed() && self.work() {}
        // Who waits no more has let the next vipd begin: what is kept is that one's.
        if !reply.is_closed() {
            self.save();
        }
        let _ = reply.send(());
        // What is kept is the next vipd's to write: it may have begun.
        matches!(messages_rx.recv().await, Some(ServicesMessage::GoOn))
    }

    /// How long nothing is to be done.
    fn wait(&self) -> Duration {
        let save = (!self.is_saved).then(|| self.saved_at + SAVE_EVERY);
        let due = [self.judge.poll_timeout(), self.forwarder.due(), save, Some(self.look_at)];
        let due = due.into_iter().flatten().min();
        due.map_or(TURN, |due| due.saturating_since(clock::now())).min(TURN)
    }

    /// Takes a report and those that wait behind it.
    fn probed(&mut self, report: ProbeReport) {
        let mut next = Some(report);
        let mut left = REPORTS;
        while let Some(report) = next {
            let event = JudgeEvent::Probed {
                probe: report.probe,
                outcome: report.outcome.clone(),
                took: report.latency,
            };
            self.judge.handle(event, report.ended);
            self.probes.judged(report, &self.judge);
            left -= 1;
            next = if left > 0 { self.probes.try_next() } else { None };
        }
    }

    /// Has every BFD_CHECK be as its session is.
    fn hear_sessions(&mut self) {
        let states = self.ends.sessions.borrow_and_update().clone();
        for report in self.probes.of_sessions(&states, clock::now()) {
            self.probed(report);
        }
    }

    fn reload(&mut self, ServicesConfig { balance, lvs, accounts }: ServicesConfig) {
        self.scripts.set_accounts(accounts);
        self.configure(balance, lvs, clock::now());
    }

    fn configure(&mut self, balance: BalanceConfig, lvs: LvsSettings, now: Instant) {
        (self.config, self.lvs) = (balance.clone(), lvs);
        // Before the configuration: a service with `ha_suspend` begins as it is to be.
        self.tell_owned(now);
        self.judge.handle(JudgeEvent::Reload(balance), now);
        self.follow_config();
        self.want_rest();
    }

    /// What is kept of services that are gone goes too.
    fn follow_config(&mut self) {
        let since = std::mem::take(&mut self.kept.since);
        let now = clock::unix_ms();
        for server in self.config.servers() {
            let (service, known) = (server.id.to_string(), since.get(&server.id.to_string()));
            let targets = server.targets.iter().map(|target| {
                let id = target.id.to_string();
                let at = known.and_then(|known| known.get(&id)).copied().unwrap_or(now);
                (id, at)
            });
            self.kept.since.insert(service, targets.collect());
        }
        let since = &self.kept.since;
        self.kept.quorums.retain(|service, _| since.contains_key(service));
        let config = &self.config;
        let is_there = |drain: &KeptDrain| {
            let servers = config.servers().iter().filter(|server| server.id.to_string() == drain.service);
            servers.flat_map(|server| &server.targets).any(|target| target.id == drain.target())
        };
        let before = self.drained.len();
        self.drained.retain(is_there);
        if self.drained.len() != before {
            self.keep_drains();
        }
        self.is_saved = false;
    }

    /// The drains of before a restart.
    fn drain_again(&mut self, now: Instant) {
        let unix_now = clock::unix_ms();
        for drain in self.drained.clone() {
            let service = self.config.servers().iter().find(|server| server.id.to_string() == drain.service);
            let Some(service) = service.map(|server| server.id.clone()) else { continue };
            let scope = DrainScope { service: Some(service), address: drain.address, port: Some(drain.port) };
            let until =
                drain.until_unix_ms.map(|until| now + Duration::from_millis(until.saturating_sub(unix_now)));
            self.judge.handle(JudgeEvent::Drain { scope, until }, now);
        }
    }

    fn follow_roles(&mut self, now: Instant) {
        self.tell_owned(now);
        self.want_rest();
    }

    /// `ha_suspend` follows the lease; an address that is no VIP of vipd's is always here.
    fn tell_owned(&mut self, now: Instant) {
        let addresses: BTreeSet<IpAddr> = self
            .config
            .servers()
            .iter()
            .filter(|server| server.ha_suspend)
            .flat_map(|server| server.addresses.iter().filter_map(ServiceAddress::address))
            .collect();
        for address in addresses {
            let owned = self.roles.owned.contains(&address) || !self.roles.vips.contains(&address);
            self.judge.handle(JudgeEvent::Vip { address, owned }, now);
        }
    }

    /// Timeouts, sync daemons and `sloppy_tcp`.
    fn want_rest(&mut self) {
        let daemons =
            self.lvs.sync.as_ref().map(|sync| sync::daemons(sync, &self.roles.masters)).unwrap_or_default();
        if !daemons.is_empty() && !self.kept.syncs {
            self.kept.syncs = true;
            self.save();
        }
        let timeouts = &self.lvs.timeouts;
        let seconds = |given: Option<u32>| given.unwrap_or(0);
        let timeouts = IpvsTimeouts {
            tcp_s: seconds(timeouts.tcp_s),
            tcp_fin_s: seconds(timeouts.tcp_fin_s),
            udp_s: seconds(timeouts.udp_s),
        };
        self.forwarder.handle_wanted(WantedIpvs { timeouts, daemons, owns_daemons: self.kept.syncs });
        self.keep_sloppy_tcp(sysctls::wants_sloppy_tcp(&self.config));
    }

    fn keep_sloppy_tcp(&mut self, wanted: bool) {
        let before = self.kept.sloppy_tcp.clone();
        let set = match (wanted, &before) {
            // What was there first is to be put back.
            (true, Some(_)) => sysctls::set().map(drop),
            (true, None) => sysctls::set().map(|was| self.kept.sloppy_tcp = was),
            (false, Some(before)) => sysctls::restore(before).map(|()| self.kept.sloppy_tcp = None),
            (false, None) => return,
        };
        if before != self.kept.sloppy_tcp {
            self.is_saved = false;
        }
        let problem = set.err().map(|error| error.to_string());
        if let Some(error) = problem.as_ref().filter(|_| problem != self.sloppy_problem) {
            tracing::warn!(
                error,
                "sloppy_tcp of IPVS cannot be set: with mh and sh connections do not go on over a failover"
            );
        }
        self.sloppy_problem = problem;
    }

    /// Brings the kernel to what the judge says, then tells; returns whether there is more to do at once.
    fn work(&mut self) -> bool {
        let now = clock::now();
        if self.judge.poll_timeout().is_some_and(|due| due <= now) {
            self.judge.handle_timeout(now);
        }
        if self.look_at <= now {
            self.look(now);
        }
        self.take_outputs(None);
        let (kept, dir, is_saved) = (&mut self.kept, &self.ends.runtime_dir, &mut self.is_saved);
        let mut keep = |own: &BTreeSet<ServiceAddress>| {
            if !kept.has_addresses(own) {
                kept.set_addresses(own);
                write(kept, dir);
                *is_saved = false;
            }
        };
        let more = self.forwarder.work(&self.desired, OPERATIONS, clock::now, &mut keep);
        if !more {
            self.forget_daemons();
            self.tell_repairs();
            self.tell_notices();
        }
        if !self.is_saved && now.saturating_since(self.saved_at) >= SAVE_EVERY {
            self.save();
        }
        more
    }

    /// vipd's sync daemons are stopped: one that runs from now on is somebody else's.
    fn forget_daemons(&mut self) {
        if self.kept.syncs && self.lvs.sync.is_none() && self.forwarder.has_no_daemons() {
            self.kept.syncs = false;
            self.save();
            self.want_rest();
        }
    }

    fn look(&mut self, now: Instant) {
        self.forwarder.look();
        self.look_at = now + self.ends.look;
        // The module may have been loaded again.
        if sysctls::wants_sloppy_tcp(&self.config) {
            self.keep_sloppy_tcp(true);
        }
    }

    /// `before`: what the vipd before has told is not told again.
    fn take_outputs(&mut self, before: Option<&KeptServices>) {
        let mut probes = false;
        while let Some(output) = self.judge.poll_output() {
            match output {
                JudgeOutput::Change(change) => {
                    self.desired.apply(change);
                    self.forwarder.handle_desired();
                }
                JudgeOutput::Notice(notice) if before.is_some_and(|before| before.has_told(&notice)) => {}
                // From which weight, `tell_weights` knows better.
                JudgeOutput::Notice(BalanceNotice::Weight { service, target, .. })
                    if before.is_some_and(|before| before.told(&service, &target).is_some()) => {}
                JudgeOutput::Notice(notice) => {
                    self.note(&notice);
                    self.waiting.push(notice);
                }
                JudgeOutput::ProbesChanged => probes = true,
            }
            self.is_saved = false;
        }
        if probes {
            self.probes.follow(&self.judge, self.lvs.jitter_percent);
            // New checks are to know their sessions.
            self.ends.sessions.mark_changed();
        }
    }

    /// Takes note of when a target has changed, and of what is told of a quorum.
    fn note(&mut self, notice: &BalanceNotice) {
        match notice {
            BalanceNotice::Target { service, target, .. } => {
                let targets = self.kept.since.get_mut(&service.to_string());
                if let Some(at) = targets.and_then(|targets| targets.get_mut(&target.to_string())) {
                    *at = clock::unix_ms();
                }
            }
            BalanceNotice::Quorum { service, up, .. } => {
                self.kept.quorums.insert(service.to_string(), *up);
            }
            _ => {}
        }
    }

    fn tell_notices(&mut self) {
        for notice in std::mem::take(&mut self.waiting) {
            told::tell(&notice);
            if self.ends.notices_tx.try_send(notice).is_err() {
                self.lost_notices += 1;
            }
        }
        if self.lost_notices > 0 {
            let count = std::mem::take(&mut self.lost_notices);
            tracing::warn!(
                target: "vipd::event",
                event = "notify_skipped",
                to = "services",
                name = "services",
                count,
                "notices of services found no room: they run no command and send no mail"
            );
        }
    }

    fn tell_repairs(&mut self) {
        let repaired = self.forwarder.take_repaired();
        let Some(first) = repaired.first() else { return };
        let count = u64::try_from(repaired.len()).unwrap_or(u64::MAX);
        self.repairs = self.repairs.saturating_add(count);
        tracing::warn!(
            target: "vipd::event",
            event = "services_repaired",
            count,
            what = first,
            "somebody else had changed the table of services: vipd has put it back"
        );
    }
}

impl<K: Ipvs> ServiceLoop<K> {
    fn save(&mut self) {
        self.kept.set_verdicts(self.judge.known());
        self.kept.set_told(self.judge.views());
        write(&self.kept, &self.ends.runtime_dir);
        (self.is_saved, self.saved_at) = (true, clock::now());
    }

    /// Leaves the table as it is: the next vipd takes it over.
    fn leave(mut self) {
        self.save();
    }

    /// Removes what vipd has made, and tells of it where `omega` says so.
    fn stop(&mut self) {
        self.judge.handle(JudgeEvent::Stop, clock::now());
        self.take_outputs(None);
        let empty = WantedIpvs { owns_daemons: self.kept.syncs, ..WantedIpvs::default() };
        self.forwarder.handle_wanted(empty);
        let end = clock::now() + STOP;
        while self.work() && clock::now() < end {}
        let is_done = self.forwarder.is_settled();
        if self.lvs.flush_on_stop == Some(FlushScope::Table)
            && let Err(error) = self.forwarder.flush()
        {
            tracing::error!(error = format!("{error:#}"), "lvs_flush_on_stop: the table is not empty");
        }
        if self.kept.sloppy_tcp.is_some() {
            self.keep_sloppy_tcp(false);
        }
        self.tell_notices();
        let removed = if is_done {
            KeptServices::remove(&self.ends.runtime_dir)
        } else {
            tracing::error!(
                "services are left in the kernel: `vipd cleanup` removes them, and so does the next start"
            );
            self.save();
            Ok(())
        };
        if let Err(error) = removed {
            tracing::warn!(error = format!("{error:#}"), "the state of services is left");
        }
    }
}

fn write(kept: &KeptServices, dir: &std::path::Path) {
    if let Err(error) = kept.write(dir) {
        tracing::error!(
            error = format!("{error:#}"),
            "the state of services cannot be kept: a vipd after a crash does not know it"
        );
    }
}

/// Reports at a time, and things to do in the kernel at a time.
const REPORTS: usize = 1024;
const OPERATIONS: usize = 256;
/// The main thread looks whether the thread turns.
const TURN: Duration = Duration::from_secs(1);
const SAVE_EVERY: Duration = Duration::from_secs(1);
/// For removing everything.
const STOP: Duration = Duration::from_secs(5);
