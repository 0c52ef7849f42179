//! The main thread while the engine runs: signals, commands, link changes, reloads, and the host's rules.
//!
//! What takes time is done here, so that the engine thread never waits for it.

mod attachments;
mod differences;
mod drain;
mod engine_handle;
mod fence;
mod host_warnings;
mod links;
mod misconfiguration;
mod own_macs;
mod rebuild_pace;
mod reload;
mod reports;
mod restart;
mod service_manager;
mod signals;
mod source_addresses;
mod sources;
mod status;
mod succession;
mod tracking;
mod upkeep;

use anyhow::{Context, Result};
use tokio::{sync::oneshot, time::Instant};

use self::{
    attachments::{DetachedEventLog, keep_rx_vlan_off},
    drain::Drain,
    fence::Fences,
    links::LinkEventLog,
    misconfiguration::MisconfigurationMonitor,
    rebuild_pace::{RebuildPace, RebuildTime},
    reload::{Begun, ReloadParts, RemovalReason, Reply},
    service_manager::ServiceManager,
    signals::SignalRequest,
    source_addresses::SourceAddresses,
    sources::{at, ticks},
    status::{ControlStatus, NodeIdentity, merge},
    tracking::{ChangedResults, DueChange},
};
pub use self::{
    drain::Drained, engine_handle::EngineHandle, own_macs::OwnMacs, reload::Reload, restart::AtStart,
    signals::Signals, sources::Sources, succession::Succession, tracking::TrackingResults, upkeep::Upkeep,
};
use super::{
    bfd::{BfdSessions, HeardInterfaces},
    logging::Levels,
    messages::{End, EngineMessage, FenceRequest},
    others_before::Precedence,
    reconcile::Installed,
    router::{Port, Router, spec_in_force},
    services::{Roles, Services},
    timed_script::TimedScript,
};
use crate::{
    cluster::Cluster,
    control::{PendingRequest, Stop, model::Status},
    coordinator::{InstanceId, StateName},
    dump,
    host::{LinkChange, LinkState, Repairs},
    notify::{Change, Notice, Notifier},
};

/// What the main thread has while the engine runs.
#[derive(Debug)]
pub struct Control<'m> {
    sources: Sources,
    engine: EngineHandle,
    installed: &'m mut Installed,
    reload: Reload,
    tracking: TrackingResults,
    notifier: Notifier,
    own_macs: OwnMacs,
    fences: Fences,
    drain: Drain,
    monitor: MisconfigurationMonitor,
    links: LinkEventLog,
    rebuild_pace: RebuildPace,
    detached: DetachedEventLog,
    source_addresses: SourceAddresses,
    upkeep: Upkeep,
    manager: ServiceManager,
    succession: Succession<'m>,
    cluster: Cluster,
    services: Services,
    bfd: BfdSessions,
    /// Whether the handover has begun.
    stopping: bool,
    /// Clients that wait for the stop. They are answered by the end of the connection, when everything is removed.
    stops: Vec<Stop>,
    /// The same for those who asked for a stop before a restart.
    leavers: Vec<oneshot::Sender<()>>,
    levels: Levels,
}

/// What is left when the engine has ended.
#[derive(Debug)]
pub struct Ended {
    pub end: Result<End>,
    /// To be dropped when everything is removed.
    pub stops: Stops,
    /// `shutdown_script` of the configuration that was in force last.
    pub shutdown: Option<TimedScript>,
    notifier: Notifier,
}

/// Clients that wait for the end; dropping it answers them.
#[derive(Debug, Default)]
pub struct Stops {
    stops: Vec<Stop>,
    _leavers: Vec<oneshot::Sender<()>>,
}

impl Stops {
    /// Tells them what is waited for.
    pub fn wait_for(&self, what: &str) {
        self.stops.iter().for_each(|stop| stop.waits_for(what));
    }
}

/// How a run has ended, who waits for the end, and what is run after it.
pub type Finish = (Result<End>, Stops, Option<TimedScript>);

impl Ended {
    /// Tells those who are to know, and ends what was started for it.
    pub async fn finish(self) -> Finish {
        let running = self.notifier.running();
        if !running.is_empty() {
            self.stops.wait_for(&format!("waiting for notify scripts: {}", running.join(", ")));
        }
        self.notifier.finish().await;
        (self.end, self.stops, self.shutdown)
    }
}

/// What the main thread has of its own.
type ControlState<'m> = (OwnMacs, Drained, Succession<'m>, Upkeep, Levels, Cluster, Services, BfdSessions);

impl<'m> Control<'m> {
    /// Nothing is served yet.
    pub fn new(
        sources: Sources,
        engine: EngineHandle,
        installed: &'m mut Installed,
        reload: Reload,
        tracking: TrackingResults,
        notifier: Notifier,
        (own_macs, drained, succession, upkeep, levels, cluster, services, bfd): ControlState<'m>,
    ) -> Self {
        let mut links = LinkEventLog::default();
        links.follow(installed.routers());
        Self {
            sources,
            engine,
            installed,
            reload,
            tracking,
            notifier,
            own_macs,
            fences: Fences::default(),
            drain: Drain::new(drained),
            monitor: MisconfigurationMonitor::default(),
            links,
            rebuild_pace: RebuildPace::default(),
            detached: DetachedEventLog::default(),
            source_addresses: SourceAddresses::default(),
            upkeep,
            manager: ServiceManager::new(),
            succession,
            cluster,
            services,
            bfd,
            stopping: false,
            stops: Vec::new(),
            leavers: Vec::new(),
            levels,
        }
    }

    /// Serves signals, commands, link changes and the host's rules until the engine has ended.
    pub async fn run(mut self) -> Ended {
        let end = self.serve().await;
        self.end_services(&end).await;
        while let Ok(notice) = self.sources.notices_rx.try_recv() {
            self.tell(notice);
        }
        let shutdown = &self.reload.config().startup.shutdown_script;
        let shutdown = TimedScript::resolve("shutdown_script", shutdown.as_ref(), self.reload.accounts());
        let stops = Stops { stops: self.stops, _leavers: self.leavers };
        Ended { end, stops, shutdown, notifier: self.notifier }
    }

    async fn serve(&mut self) -> Result<End> {
        self.follow_bfd();
        self.follow_roles();
        self.services.configure(self.reload.config(), self.reload.accounts()).await;
        // What a takeover has left to do.
        self.do_wanted().await;
        let mut counters = ticks(misconfiguration::PERIOD);
        let mut attachments = ticks(attachments::PERIOD);
        loop {
            tokio::select! {
                ended = &mut self.sources.end_rx => return ended.context(NO_WORD)?,
                request = self.sources.signals.next() => self.signal(request).await,
                Some(command) = self.sources.commands_rx.recv() => {
                    if let Some(end) = self.command(command).await {
                        return Ok(end);
                    }
                }
                reason = self.succession.failed() => self.succession.tell_failure(&reason),
                due = self.tracking.next() => self.tracked(due).await,
                Some(notice) = self.sources.notices_rx.recv() => self.tell(notice),
                Some(report) = self.sources.files_rx.recv() => self.upkeep.tell_of_files(report),
                Some(fence) = self.sources.fences_rx.recv() => self.fence(fence),
                notice = self.services.notice() => self.notifier.tell_service(notice),
                answer = self.drain.answer() => self.drain.finish(answer),
                message = self.manager.next() => self.engine.send(message).await,
                change = self.sources.links_rx.recv() => match change {
                    Some(change) => self.link(change).await,
                    None => {
                        tracing::error!("the kernel's link events have ended: stopping rather than running blind");
                        self.stop("loss of link events").await;
                        return (&mut self.sources.end_rx).await.context(NO_WORD)?;
                    }
                },
                Ok(()) = self.sources.host_states_rx.changed() => self.change_host().await,
                () = at(self.installed.retry_at()) => self.change_host().await,
                () = self.upkeep.due() => self.look_at_host().await,
                _ = counters.tick() => {
                    self.monitor.check(self.installed.routers(), self.installed.pages());
                    self.check_offloads(None).await;
                }
                _ = attachments.tick() => {
                    self.check_attachments().await;
                    self.check_sources().await;
                    self.cluster.follow(reports::plan(self.installed.routers(), self.reload.config()));
                    self.services.check(self.reload.config(), self.reload.accounts()).await;
                    self.check_bfd();
                }
                () = at(self.reload.again_at()) => {
                    self.reload.want_rebuild();
                    self.do_wanted().await;
                }
                handed_over = self.reload.handed_over() => self.handed_over(handed_over).await,
            }
        }
    }

    async fn signal(&mut self, request: SignalRequest) {
        match request {
            SignalRequest::Stop(why) => self.stop(why).await,
            SignalRequest::Leave(why) => self.leave(why).await,
            SignalRequest::Reload => self.want_reload(None).await,
            SignalRequest::Dump(kind) => self.dump(kind).await,
        }
    }

    /// Returns how the election has ended, if the command was its end.
    async fn command(&mut self, command: PendingRequest) -> Option<End> {
        if command.is_abandoned() {
            tracing::warn!("a request is not obeyed: its client has ended before vipd came to it");
            return None;
        }
        match command {
            PendingRequest::Status(reply) => {
                if let Some(status) = self.status().await {
                    // A client that has hung up wants no answer.
                    let _ = reply.send(status);
                }
            }
            PendingRequest::Reload(reply) => self.want_reload(Some(reply)).await,
            PendingRequest::Compare(reply) => {
                let (reload, parts) = self.parts();
                // Who asked may be gone.
                let _ = reply.send(reload.compare(&parts).await);
            }
            PendingRequest::HandOver { instance, to, reply } => {
                self.engine.send(EngineMessage::HandOver { instance, to, reply }).await;
            }
            PendingRequest::Drain(reply) => self.drain.begin(reply, &self.engine).await,
            PendingRequest::Undrain(reply) => self.drain.undo(reply, &self.engine).await,
            PendingRequest::DrainServer(drain) => self.services.drain(drain),
            PendingRequest::Stop(stop) => {
                stop.waits_for(&self.handover_words());
                self.stops.push(stop);
                self.stop("request").await;
            }
            PendingRequest::Leave(reply) => {
                self.leavers.push(reply);
                self.leave("request").await;
            }
            PendingRequest::Upgrade(reply) => {
                let busy = self.busy();
                self.succession.start(reply, busy);
            }
            PendingRequest::Replace(replacement) => {
                let (busy, Self { succession, installed, engine, manager, services, .. }) =
                    (self.busy(), self);
                // Who is refused finds everything going on.
                let (replacement, locks) = succession.admit(replacement, busy, installed)?;
                services.hold().await;
                let end = succession.pass_on((replacement, locks), engine, manager).await;
                if end.is_none() {
                    services.go_on().await;
                }
                return end;
            }
            PendingRequest::Log { level, reply } => {
                // Who asked may be gone.
                let _ = reply.send(self.levels.set(level));
            }
        }
        None
    }

    /// What has to be over before another vipd may take over.
    fn busy(&self) -> Option<&'static str> {
        if self.stopping {
            Some("vipd is stopping")
        } else if self.reload.is_under_way() {
            Some("a reload waits for removed instances to be handed over; try again")
        } else {
            None
        }
    }

    /// The whole status; `None` if the engine has ended.
    async fn status(&self) -> Option<Status> {
        let (reply, status) = oneshot::channel();
        self.engine.send(EngineMessage::Status(reply)).await;
        let engine = status.await.ok()?;
        let control =
            ControlStatus::of(self.installed, &self.tracking, &self.monitor, &self.notifier, &self.upkeep);
        let node = NodeIdentity::of(self.reload.source(), self.reload.config().router_id.as_deref());
        let mut status = merge(engine, control, node);
        status.restart_needed = self.reload.restart_needed();
        self.cluster.fill(&mut status);
        status.balancing = self.services.status().await;
        status.bfd_sessions = self.bfd.status().await;
        Some(status)
    }

    /// Writes the state where tools for keepalived look for it.
    async fn dump(&self, kind: dump::DumpKind) {
        let Some(status) = self.status().await else { return };
        let mut config = self.reload.config().clone();
        for router in self.installed.routers() {
            if let Some(instance) = config.instances.get_mut(router.position()) {
                *instance = spec_in_force(router);
            }
        }
        match dump::write(kind, &config, &status) {
            Ok(path) => tracing::info!(path = %path.display(), "state dump written"),
            Err(error) => tracing::error!(error = format!("{error:#}"), "state dump could not be written"),
        }
    }

    fn fence(&mut self, fence: FenceRequest) {
        let spec = self.installed.routers().iter().find(|router| router.id() == fence.instance);
        let wanted = spec.map(Router::spec).and_then(|spec| Some((spec, spec.fence.clone()?)));
        self.fences.start(fence, wanted, self.reload.accounts(), self.engine.clone());
    }

    /// Brings the host in line with what the election desires of it now.
    async fn change_host(&mut self) {
        let states = self.sources.host_states_rx.borrow_and_update().clone();
        self.follow_roles();
        self.installed.apply(&states).await;
        self.tell_unserved().await;
    }

    /// Has the sessions of BFD be those of the configuration.
    fn follow_bfd(&mut self) {
        let (installed, heard) = (&*self.installed, heard(self.installed));
        self.bfd.configure(self.reload.config(), heard, || installed.bfd());
    }

    fn check_bfd(&mut self) {
        let (installed, heard) = (&*self.installed, heard(self.installed));
        self.bfd.check(self.reload.config(), heard, || installed.bfd());
    }

    /// Has load balancing know which VIPs are owned here.
    fn follow_roles(&self) {
        let states = self.sources.host_states_rx.borrow();
        let mut roles = Roles::default();
        for router in self.installed.routers() {
            let vips = || router.links().iter().flat_map(|link| link.vips()).copied();
            roles.vips.extend(vips());
            if states.get(&router.id()).is_some_and(|state| state.master) {
                roles.owned.extend(vips());
                roles.masters.insert(router.name().to_owned());
            }
        }
        self.services.set_roles(roles);
    }

    /// The VIPs are another node's, or the next vipd's.
    async fn end_services(&mut self, end: &Result<End>) {
        match end {
            Ok(End::Left | End::Replaced) => {
                self.bfd.leave().await;
                self.services.leave().await;
            }
            Ok(End::Finished) | Err(_) => {
                self.bfd.stop().await;
                self.stops.iter().for_each(|stop| stop.waits_for("removing services"));
                self.services.stop().await;
            }
        }
        while let Some(notice) = self.services.try_notice() {
            self.notifier.tell_service(notice);
        }
    }

    /// Puts back what somebody has removed of what vipd made on this host.
    async fn look_at_host(&mut self) {
        let began = self.upkeep.begin();
        let states = self.sources.host_states_rx.borrow_and_update().clone();
        let repairs = self.installed.look(&states).await;
        let cost = began.cost();
        tracing::debug!(
            processor_us = u64::try_from(cost.as_micros()).unwrap_or(u64::MAX),
            "looked at the host"
        );
        let host = self.installed.host();
        let detours =
            host.detours().iter().map(|(interface, what)| upkeep::detour(interface, what)).collect();
        self.upkeep.looked((cost, Instant::now()), &repairs, host.deprived(), host.waits());
        self.upkeep.warn(upkeep::DETOURS, detours);
        self.tell_unserved().await;
    }

    /// Has the election know whose VIPs this host cannot serve: nobody is to be master of what nobody reaches.
    async fn tell_unserved(&mut self) {
        let problem = self.installed.problem();
        let refused = self.installed.refused();
        let is_served_elsewhere = |key| self.installed.hears_master(InstanceId(key));
        let unserved = self.upkeep.refused(problem, &refused, is_served_elsewhere, Instant::now());
        if let Some(unserved) = unserved {
            let why = |id| (id, self.upkeep.why_unserved(id).unwrap_or_default().to_owned());
            let unserved = unserved.into_iter().map(why).collect();
            self.engine.send(EngineMessage::Unserved(unserved)).await;
        }
        self.installed.try_to_serve(self.upkeep.to_be_tried());
    }

    async fn tracked(&mut self, due: DueChange) {
        match due {
            DueChange::News(news) => {
                let changed = self.tracking.take(news);
                self.tell_results(changed).await;
            }
            DueChange::Begin => {
                tracing::info!("the startup delay is over");
                let results = self.tracking.begin();
                self.tell_results(results).await;
            }
            DueChange::Link => {
                while let Some(change) = self.tracking.take_held() {
                    self.link_changed(change).await;
                }
            }
        }
    }

    async fn tell_results(&self, changed: ChangedResults) {
        for (position, result) in changed {
            if let Some(router) = self.installed.routers().get(position) {
                self.engine.send(EngineMessage::Tracked { instance: router.id(), result }).await;
            }
        }
    }

    async fn link(&mut self, change: LinkChange) {
        if self.own_macs.follow(&change) {
            self.engine.send(EngineMessage::OwnMacs(self.own_macs.all())).await;
        }
        let settled = self.tracking.pass(change.clone());
        self.link_changed(settled).await;
        // The kernel tells of another feature of an interface, and of some ways to detach a program, as of any other change.
        if let LinkChange::State(link) = &change {
            self.check_offloads(Some(&link.name)).await;
            if self.installed.attachment_modes().contains_key(&link.ifindex) {
                self.check_attachments().await;
            }
        }
    }

    /// A link has changed, for all who know of delays.
    async fn link_changed(&mut self, change: LinkChange) {
        let changed = self.tracking.link(&change);
        self.tell_results(changed).await;
        let ports = || self.installed.routers().iter().flat_map(Router::ports);
        let rebuilds = ports().any(|port| match &change {
            LinkChange::State(state) => port.is_another(state),
            LinkChange::Gone { ifindex } => port.ifindex == *ifindex || port.wire.ifindex == *ifindex,
        });
        // One that has another name now is gone, to those who know it by the old one.
        let is_renamed = |port: Port<'_>| matches!(&change, LinkChange::State(state) if port.ifindex == state.ifindex && port.name != state.name);
        let change = match &change {
            LinkChange::State(state) if ports().any(is_renamed) => {
                LinkChange::Gone { ifindex: state.ifindex }
            }
            _ => change,
        };
        let (LinkChange::State(LinkState { ifindex, .. }) | LinkChange::Gone { ifindex }) = change;
        // Containers come and go on busy hosts: only the interfaces in use are of interest.
        if self.installed.concerns(&change) || ports().any(|port| port.ifindex == ifindex) {
            self.follow(change).await;
        }
        if rebuilds {
            self.rebuild_in_time().await;
        }
    }

    /// Looks at the interfaces again, at once or a little later.
    async fn rebuild_in_time(&mut self) {
        match self.rebuild_pace.changed(Instant::now()) {
            RebuildTime::Now => {
                self.reload.want_rebuild();
                self.do_wanted().await;
            }
            RebuildTime::In(wait) => self.reload.want_rebuild_in(wait),
        }
    }

    async fn follow(&mut self, change: LinkChange) {
        if let Err(error) = self.installed.follow(&change).await {
            tracing::error!(
                error = format!("{error:#}"),
                "the tables of VIPs and peers could not be replaced and are unchanged; vipd tries again"
            );
            self.reload.want_rebuild_later();
        }
        self.links.follow(self.installed.routers());
        self.engine.send(EngineMessage::Link(change)).await;
        self.change_host().await;
    }

    /// Looks at every interface with the program, and attaches it again where it is gone.
    async fn check_attachments(&mut self) {
        let lost = self.installed.find_lost().await;
        self.detached.lost(&lost);
        for lost in &lost {
            let what = format!("program on {} ({})", lost.interface, lost.mode);
            self.upkeep.count("program", 1, &what);
            let is_there = |router: &&Router| router.present_ports().any(|port| port.ifindex == lost.ifindex);
            let without_it: Vec<u16> =
                self.installed.routers().iter().filter(is_there).map(|router| router.id().0).collect();
            self.upkeep.deprive(without_it, &what, Instant::now());
        }
        if !lost.is_empty() && (self.stopping || self.reload.is_under_way()) {
            self.attach_again().await;
        } else if !lost.is_empty() {
            let (reload, mut parts) = self.parts();
            let repairs = reload.repair(&mut parts).await;
            self.upkeep.tell(&repairs, attachments::PERIOD);
            self.tell_unserved().await;
        }
        self.detached.found(self.installed);
        self.check_precedence().await;
    }

    /// Looks at programs of others that come before vipd's.
    async fn check_precedence(&mut self) {
        let Precedence { moved, preceded, .. } = self.installed.look_before(Instant::now()).await;
        let mut repairs = Repairs::default();
        for (interface, others) in moved {
            repairs.note(
                "program",
                format!("first place of the program on {interface}, where {others} came before it"),
            );
        }
        self.upkeep.tell(&repairs, attachments::PERIOD);
        let warning = |(interface, others): (String, String)| attachments::preceded(interface, &others);
        self.upkeep.warn(attachments::PRECEDED, preceded.into_iter().map(warning).collect());
        self.tell_unserved().await;
    }

    /// Attaches the program for what runs, while a reload or a stop waits for successors: a handover takes seconds, in which the VIPs
    /// are answered for and adverts are heard, or nobody is heard to take over.
    async fn attach_again(&mut self) {
        let refusing = self.installed.attach_again(&self.reload.modes_in_force()).await;
        for ifindex in refusing {
            // Nobody is master of what nothing answers for.
            self.engine.send(EngineMessage::Link(LinkChange::Gone { ifindex })).await;
            self.reload.want_rebuild_later();
        }
    }

    /// Has the instances whose source address has come or gone follow it.
    async fn check_sources(&mut self) {
        for ifindex in self.source_addresses.changed(self.installed.routers()) {
            // One that is gone meanwhile is told of by the kernel.
            let Ok(link) = self.installed.host().link_by_index(ifindex).await else { continue };
            self.follow(LinkChange::State(link)).await;
        }
    }

    async fn check_offloads(&mut self, of: Option<&str>) {
        let (restored, is_lost) = keep_rx_vlan_off(self.installed, of);
        for interface in restored {
            self.upkeep.count("offload", 1, &format!("rxvlan off on {interface}"));
        }
        if is_lost {
            // Attaching looks at the setting: tc takes over, or the instances there are in fault.
            self.reload.want_rebuild();
            self.do_wanted().await;
        }
    }

    async fn want_reload(&mut self, reply: Option<Reply>) {
        self.reload.want_reload(reply);
        self.do_wanted().await;
    }

    /// Does what is wanted, unless something is under way; to be called again when that is over.
    async fn do_wanted(&mut self) {
        while !self.stopping
            && let Some(replies) = self.reload.take_wanted()
        {
            let is_reload = replies.is_some();
            if is_reload {
                self.manager.reloading();
            }
            let (reload, mut parts) = self.parts();
            match reload.begin(replies, &mut parts).await {
                Begun::Ready => self.finish_reload().await,
                Begun::Refused if is_reload => self.manager.reloaded(),
                Begun::Refused | Begun::Waits => {}
            }
        }
    }

    /// The engine has handed over what goes; or has ended, which is known elsewhere.
    async fn handed_over(&mut self, is_done: bool) {
        if is_done && !self.stopping {
            self.finish_reload().await;
        } else {
            self.reload.abandon();
        }
        self.do_wanted().await;
    }

    async fn finish_reload(&mut self) {
        // What instances have said last is said in the terms of the old configuration.
        while let Ok(notice) = self.sources.notices_rx.try_recv() {
            self.tell(notice);
        }
        let (reload, mut parts) = self.parts();
        let is_reload = reload.finish(&mut parts).await;
        self.follow_roles();
        if is_reload {
            self.follow_bfd();
            self.manager.reloaded();
        }
    }

    fn parts(&mut self) -> (&mut Reload, ReloadParts<'_>) {
        let parts = ReloadParts {
            installed: self.installed,
            tracking: &mut self.tracking,
            notifier: &mut self.notifier,
            engine: &self.engine,
            host_states: &self.sources.host_states_rx,
            links: &mut self.links,
            detached: &mut self.detached,
            services: &mut self.services,
        };
        (&mut self.reload, parts)
    }

    fn tell(&mut self, mut notice: Notice) {
        self.manager.changed();
        match (self.reload.removal_reason(&notice.instance), notice.change) {
            (Some(RemovalReason::Renewed), Change::State(StateName::Stopped)) => return,
            (Some(RemovalReason::Removed), Change::State(StateName::Stopped)) => {
                notice.change = Change::Deleted;
            }
            _ => {}
        }
        self.monitor.changed(&notice);
        self.notifier.tell(&notice);
    }

    async fn stop(&mut self, why: &str) {
        tracing::info!(target: "vipd::event", event = "stopping", why, "stopping: handing over");
        self.stopping = true;
        self.manager.stopping("handing over");
        self.engine.send(EngineMessage::Shutdown).await;
    }

    /// What a stop waits for, in words.
    fn handover_words(&self) -> String {
        let states = self.sources.host_states_rx.borrow();
        let is_master = |router: &&Router| states.get(&router.id()).is_some_and(|state| state.master);
        let masters: Vec<&Router> = self.installed.routers().iter().filter(is_master).collect();
        let bound = masters.iter().map(|router| router.settings().leaving_bound()).max();
        let names: Vec<&str> = masters.iter().map(|router| router.name()).collect();
        match bound {
            Some(bound) => format!(
                "handing over {}: waiting for a successor, at most {:.1} s",
                names.join(", "),
                bound.as_secs_f64()
            ),
            None => "removing programs, routes and settings".to_owned(),
        }
    }

    async fn leave(&mut self, why: &str) {
        if self.stopping {
            // Who asked for the stop was promised that nothing is left.
            tracing::warn!(why, "a stop is already in progress");
            return;
        }
        tracing::info!(
            target: "vipd::event",
            event = "leaving",
            why,
            "stopping: the VIPs are left to the next vipd"
        );
        self.manager.stopping("leaving the VIPs to the next vipd");
        self.engine.send(EngineMessage::Leave).await;
    }
}

const NO_WORD: &str = "the engine thread ended without a word";

/// Where the program hears which interface.
fn heard(installed: &Installed) -> HeardInterfaces {
    let modes = installed.attachment_modes();
    let mut heard: HeardInterfaces = modes.keys().map(|ifindex| (*ifindex, (*ifindex, 0))).collect();
    for port in installed.routers().iter().flat_map(Router::present_ports) {
        if modes.contains_key(&port.wire.ifindex) {
            heard.insert(port.ifindex, (port.wire.ifindex, port.wire.vlan));
        }
    }
    heard
}
