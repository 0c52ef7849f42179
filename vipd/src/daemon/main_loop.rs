//! The main thread while the engine runs: signals, commands, link changes, reloads, and the host's rules.
//!
//! What takes time is done here, so that the engine thread never waits for it.

use std::collections::{BTreeMap, HashMap};

use anyhow::{Context, Result};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::{mpsc, oneshot, watch},
    time::{Instant, MissedTickBehavior, interval, sleep_until},
};
use vipd_config::Config;

use super::{
    Made, Options,
    attach::Attachments,
    conditions::{Conditions, LOOK},
    detached::{self, Detached},
    drained::Drained,
    driver::{End, Fence, Message, Wishes},
    fencing::Fences,
    handover::Reply,
    host_wishes::HostWishes,
    own_macs::OwnMacs,
    reload::{Farewell, Reload, Wanted},
    router::{Port, Router},
    service_manager::ServiceManager,
    setup,
    sources::Sources,
    status,
};
use crate::{
    control::{
        Command,
        model::{ArbiterStatus, Status},
    },
    dump,
    engine::StateName,
    host::{LinkChange, LinkEvents, LinkState, multicast::Memberships},
    notify::{Change, Notice, Notifier},
    scripts::Accounts,
    tracking::{LinkDelays, Standing, Tracker},
};

/// The signals that the daemon knows, caught from the moment this is made.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
    hangup: Signal,
    /// What each asks for is dumped.
    data: Signal,
    stats: Signal,
    json: Signal,
}

impl Signals {
    pub fn new() -> Result<Self> {
        let catch = |kind| signal(kind).context("catch signals");
        Ok(Self {
            terminate: catch(SignalKind::terminate())?,
            interrupt: catch(SignalKind::interrupt())?,
            quit: catch(SignalKind::quit())?,
            hangup: catch(SignalKind::hangup())?,
            data: catch(SignalKind::user_defined1())?,
            stats: catch(SignalKind::user_defined2())?,
            // keepalived's number.
            json: catch(SignalKind::from_raw(libc::SIGRTMIN() + 2))?,
        })
    }
}

/// What the main thread has while the engine runs.
#[derive(Debug)]
pub struct MainLoop<'m> {
    pub options: &'m Options,
    pub made: &'m mut Made,
    /// In force, or what the reload that is under way began with.
    pub config: Config,
    pub accounts: Accounts,
    /// In the order of the configuration.
    pub routers: Vec<Router>,
    pub attachments: Attachments,
    pub memberships: Memberships,
    pub hosted: HostWishes,
    pub signals: Signals,
    pub messages: mpsc::Sender<Message>,
    pub requested: mpsc::Receiver<Command>,
    pub links: LinkEvents,
    pub own_macs: OwnMacs,
    pub delays: LinkDelays,
    pub wished: watch::Receiver<Wishes>,
    pub tracker: Tracker,
    /// Changes of state, and who is told of them.
    pub notices: mpsc::UnboundedReceiver<Notice>,
    pub notifier: Notifier,
    /// Masters that are to be fenced, and those that are being.
    pub fenced: mpsc::UnboundedReceiver<Fence>,
    pub fences: Fences,
    pub drained: Drained,
    /// A drain that waits for successors: what comes of it, and who asked for it.
    pub draining: Option<(oneshot::Receiver<Result<String, String>>, Reply)>,
    /// What is looked at now and then.
    pub conditions: Conditions,
    /// Where the program was detached by others.
    pub detached: Detached,
    /// Source addresses that have come or gone.
    pub sources: Sources,
    pub manager: ServiceManager,
    /// Whether the handover has begun.
    pub stopping: bool,
    /// One that waits for instances to be handed over.
    pub reload: Option<Reload>,
    pub wanted: Wanted,
    /// When the host is to be asked again.
    pub retry_at: Option<Instant>,
}

pub type EngineEnd = oneshot::Receiver<Result<End>>;

impl MainLoop<'_> {
    /// Serves signals, commands, link changes and the host's rules until the engine has ended.
    pub async fn run(&mut self, end: &mut EngineEnd) -> Result<End> {
        // At once: a mastership that was inherited has its virtual routes and rules.
        self.retry_at = Some(Instant::now());
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut attachments = interval(detached::PERIOD);
        attachments.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                ended = &mut *end => return ended.context("the engine thread ended without a word")?,
                _ = self.signals.terminate.recv() => self.stop("SIGTERM").await,
                _ = self.signals.interrupt.recv() => self.stop("SIGINT").await,
                _ = self.signals.quit.recv() => self.leave("SIGQUIT").await,
                _ = self.signals.hangup.recv() => self.want_reload(None).await,
                _ = self.signals.data.recv() => self.dump(dump::Kind::Data).await,
                _ = self.signals.stats.recv() => self.dump(dump::Kind::Stats).await,
                _ = self.signals.json.recv() => self.dump(dump::Kind::Json).await,
                Some(command) = self.requested.recv() => self.command(command).await,
                Some(news) = self.tracker.next() => {
                    let changes = self.tracker.take(news);
                    self.stand(changes).await;
                }
                Some(notice) = self.notices.recv() => self.tell(notice),
                Some(fence) = self.fenced.recv() => self.fence(fence),
                answer = drain_answer(&mut self.draining) => self.drained(answer),
                message = self.manager.next() => self.send(message).await,
                change = self.links.recv() => match change {
                    Some(change) => self.link(change).await,
                    None => {
                        tracing::error!("the kernel's link events have ended: stopping rather than running blind");
                        self.stop("loss of link events").await;
                        return end.await.context("the engine thread ended without a word")?;
                    }
                },
                () = at(self.delays.next()) => {
                    while let Some(change) = self.delays.take_due(Instant::now()) {
                        self.link_changed(change).await;
                    }
                }
                Ok(()) = self.wished.changed() => self.apply_wishes().await,
                () = at(self.retry_at) => self.apply_wishes().await,
                _ = looks.tick() => {
                    self.look();
                    self.check_offloads().await;
                }
                _ = attachments.tick() => {
                    self.check_attachments().await;
                    self.check_sources().await;
                }
                () = at(self.wanted.again_at), if self.reload.is_none() => self.want_rebuild().await,
                handed_over = handed_over(&mut self.reload) => {
                    // A channel that is closed is that of an engine that has ended.
                    if handed_over.is_ok() && !self.stopping {
                        self.finish_reload().await;
                    } else {
                        self.reload = None;
                    }
                    self.do_wanted().await;
                }
            }
        }
    }

    /// The whole status; `None` if the engine has ended.
    async fn status(&self) -> Option<Status> {
        let (reply, status) = oneshot::channel();
        self.send(Message::Status(reply)).await;
        let mut status = status.await.ok()?;
        status::name_node(&mut status, &self.options.source, self.config.router_id.as_deref());
        status.tracked = self.tracker.healths().map(status::tracked).collect();
        let routers: HashMap<&str, &Router> =
            self.routers.iter().map(|router| (router.spec.name.as_str(), router)).collect();
        for instance in &mut status.instances {
            if let Some(router) = routers.get(instance.name.as_str()) {
                instance.vip_answers = status::vip_answers(router, &self.made.dataplane);
            }
        }
        self.conditions.complete(&mut status);
        for instance in &mut status.instances {
            if let Some(why) = routers.get(instance.name.as_str()).and_then(|router| router.refusal()) {
                status::name_refusal(instance, why);
            }
            if let Some(why) = routers.get(instance.name.as_str()).and_then(|router| router.missing_source())
            {
                status::name_source(instance, &why);
            }
        }
        status.arbiters =
            self.tracker.arbiters().map(|a| ArbiterStatus::of(a.arbiter, a.health, a.targets)).collect();
        for (position, router) in self.routers.iter().enumerate() {
            let names: Vec<&str> = self.tracker.isolated_by(position).collect();
            if names.is_empty() {
                continue;
            }
            if let Some(instance) = status.instances.iter_mut().find(|i| i.name == router.spec.name) {
                status::name_arbiters(instance, &names);
            }
        }
        Some(status)
    }

    /// Writes the state where tools for keepalived look for it.
    async fn dump(&self, kind: dump::Kind) {
        let Some(status) = self.status().await else { return };
        let mut config = self.config.clone();
        for router in &self.routers {
            if let Some(instance) = config.instances.get_mut(router.position) {
                *instance = router.spec_in_force();
            }
        }
        match dump::write(kind, &config, &status) {
            Ok(path) => tracing::info!(path = %path.display(), "the state is written"),
            Err(error) => tracing::error!(error = format!("{error:#}"), "the state is not written"),
        }
    }

    async fn command(&mut self, command: Command) {
        match command {
            Command::Status(reply) => {
                if let Some(status) = self.status().await {
                    // A client that has hung up wants no answer.
                    let _ = reply.send(status);
                }
            }
            Command::Reload(reply) => self.want_reload(Some(reply)).await,
            Command::HandOver { instance, to, reply } => {
                self.send(Message::HandOver { instance, to, reply }).await;
            }
            Command::Drain(reply) => self.drain(reply).await,
            Command::Undrain(reply) => self.undrain(reply).await,
            Command::Stop(reply) => {
                self.made.stops.push(reply);
                self.stop("request").await;
            }
            Command::Leave(reply) => {
                self.made.stops.push(reply);
                self.leave("request").await;
            }
        }
    }

    /// Begins to drain the node. It is remembered first: a node that cannot remember it hands nothing over.
    async fn drain(&mut self, reply: Reply) {
        if self.draining.is_some() {
            let _ = reply.send(Err("it is being drained".into()));
            return;
        }
        if let Err(error) = self.drained.set() {
            let _ = reply.send(Err(format!("nothing is handed over: {error:#}")));
            return;
        }
        let (drained, done) = oneshot::channel();
        self.send(Message::Drain(drained)).await;
        self.draining = Some((done, reply));
    }

    /// What has come of it: a node that is not drained is not remembered as such.
    fn drained(&mut self, answer: Result<String, String>) {
        let Some((_, reply)) = self.draining.take() else { return };
        let answer = answer.map_err(|why| match self.drained.unset() {
            Ok(()) => why,
            Err(error) => format!("{why}; but the next start is drained: {error:#}"),
        });
        // Who asked may be gone.
        let _ = reply.send(answer);
    }

    async fn undrain(&mut self, reply: Reply) {
        if let Some((_, reply)) = self.draining.take() {
            let _ = reply.send(Err("ended by `vipd undrain`".into()));
        }
        match self.drained.unset() {
            Ok(()) => self.send(Message::Undrain(reply)).await,
            Err(error) => _ = reply.send(Err(format!("{error:#}"))),
        }
    }

    fn fence(&mut self, fence: Fence) {
        let router = self.routers.iter().find(|router| router.id() == fence.instance);
        let spec = router.map(|router| &router.spec);
        let wanted = spec.and_then(|spec| Some((spec, spec.fence.clone()?)));
        self.fences.start(fence, wanted, &self.accounts, self.messages.clone());
    }

    /// Brings the host in line with what the engine wishes now.
    pub async fn apply_wishes(&mut self) {
        let wished = self.wished.borrow_and_update().clone();
        self.retry_at = self.hosted.apply(&mut self.made.host, &wished).await;
    }

    async fn link(&mut self, change: LinkChange) {
        if self.own_macs.follow(&change) {
            self.send(Message::OwnMacs(self.own_macs.all())).await;
        }
        let settled = self.delays.pass(change.clone(), Instant::now());
        self.link_changed(settled).await;
        self.check_offloads_of(&change).await;
        self.check_attachment_of(&change).await;
    }

    /// A link has changed, for all who know of delays.
    async fn link_changed(&mut self, change: LinkChange) {
        let changes = self.tracker.link(&change);
        self.stand(changes).await;
        let ports = || self.routers.iter().flat_map(Router::ports);
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
        if self.hosted.concern(&change) || ports().any(|port| port.ifindex == ifindex) {
            self.follow(&change);
            self.send(Message::Link(change)).await;
            self.apply_wishes().await;
        }
        if rebuilds {
            self.want_rebuild().await;
        }
    }

    /// Takes note of a link of ours: its MAC goes into the table of VIPs, its addresses into routes, and its subnets decide
    /// which unicast peers are on the link.
    pub fn follow(&mut self, change: &LinkChange) {
        let macs = |routers: &[Router]| {
            routers.iter().flat_map(|router| &router.links).map(|link| link.mac).collect::<Vec<_>>()
        };
        let peers = |routers: &[Router]| routers.iter().flat_map(Router::peers).collect::<Vec<_>>();
        let before = (macs(&self.routers), peers(&self.routers));
        let links_before = links(&self.routers);
        for router in &mut self.routers {
            match change {
                LinkChange::State(link) => _ = router.update(link),
                LinkChange::Gone { ifindex } => _ = router.gone(*ifindex),
            }
        }
        tell_of_links(&links_before, &links(&self.routers));
        let (macs, peers) = (macs(&self.routers), peers(&self.routers));
        if macs != before.0 {
            tracing::info!("a MAC has changed, answering with the new one");
        }
        if (macs, peers) != before
            && let Err(error) = self.made.dataplane.replace_tables(&setup::contents(self.routers.iter()))
        {
            tracing::error!(
                error = format!("{error:#}"),
                "the tables of VIPs and peers are as they were before; it is tried again"
            );
            self.wanted.again_soon();
        }
        // The kernel has dropped the routes that went out on the link, or came from its address.
        self.hosted.replan(setup::plan(self.routers.iter()));
    }

    async fn stand(&self, changes: Vec<(usize, Standing)>) {
        for (position, standing) in changes {
            if let Some(router) = self.routers.get(position) {
                self.send(Message::Standing { instance: router.id(), standing }).await;
            }
        }
    }

    pub fn tell(&mut self, mut notice: Notice) {
        self.manager.changed();
        let farewell = self.reload.as_ref().and_then(|reload| reload.farewell(&notice.instance));
        match (farewell, notice.change) {
            (Some(Farewell::Renewed), Change::State(StateName::Stopped)) => return,
            (Some(Farewell::Removed), Change::State(StateName::Stopped)) => notice.change = Change::Deleted,
            _ => {}
        }
        self.conditions.changed(&notice);
        self.notifier.tell(&notice);
    }

    /// The engine has ended: tells those who are to know, and ends what was started.
    pub async fn finish(mut self) {
        while let Ok(notice) = self.notices.try_recv() {
            self.tell(notice);
        }
        self.notifier.finish().await;
    }

    async fn stop(&mut self, why: &str) {
        tracing::info!(target: "vipd::event", event = "stopping", why, "stopping: handing over");
        self.stopping = true;
        self.manager.stopping("handing over");
        self.send(Message::Shutdown).await;
    }

    async fn leave(&mut self, why: &str) {
        if self.stopping {
            // Who asked for the stop was promised that nothing is left.
            tracing::warn!(why, "a stop is under way and goes on");
            return;
        }
        tracing::info!(
            target: "vipd::event",
            event = "leaving",
            why,
            "ending, and leaving the VIPs to the next vipd"
        );
        self.manager.stopping("leaving the VIPs to the next vipd");
        self.send(Message::Leave).await;
    }

    pub async fn send(&self, message: Message) {
        // An engine that has ended is noticed by `end`.
        let _ = self.messages.send(message).await;
    }
}

/// How the interface of an instance is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    exists: bool,
    up: bool,
    /// Why it cannot be used.
    refused: Option<String>,
}

/// The interfaces of instances by name.
pub fn links(routers: &[Router]) -> BTreeMap<String, Condition> {
    let links = routers.iter().flat_map(|router| &router.links);
    links
        .map(|link| {
            let refused = link.refused.clone();
            (link.name.clone(), Condition { exists: link.exists(), up: link.up, refused })
        })
        .collect()
}

/// Tells of the interfaces that are another way now.
pub fn tell_of_links(before: &BTreeMap<String, Condition>, now: &BTreeMap<String, Condition>) {
    for (interface, Condition { exists, up, refused }) in now {
        match (before.get(interface), refused) {
            (Some(Condition { refused: known, .. }), Some(_)) if known == refused => {}
            (_, Some(reason)) => tracing::warn!(
                target: "vipd::event",
                event = "interface_refused",
                interface,
                reason,
                "the interface cannot be used"
            ),
            (Some(Condition { exists: true, .. }), None) if !exists => {
                tracing::warn!(target: "vipd::event", event = "interface_lost", interface, "interface gone");
            }
            (Some(Condition { exists: false, .. }), None) if *exists => {
                tracing::info!(target: "vipd::event", event = "interface_found", interface, "interface there");
            }
            (Some(Condition { up: true, .. }), None) if !up => {
                tracing::warn!(target: "vipd::event", event = "link_down", interface, "link down");
            }
            (Some(Condition { up: false, .. }), None) if *up => {
                tracing::info!(target: "vipd::event", event = "link_up", interface, "link up");
            }
            _ => {}
        }
    }
}

/// Waits until then; for ever if there is no then.
async fn at(then: Option<Instant>) {
    match then {
        Some(then) => sleep_until(then).await,
        None => std::future::pending().await,
    }
}

/// What comes of a drain; never if there is none.
async fn drain_answer(
    draining: &mut Option<(oneshot::Receiver<Result<String, String>>, Reply)>,
) -> Result<String, String> {
    match draining {
        Some((done, _)) => done.await.unwrap_or_else(|_| Err("the daemon is stopping".into())),
        None => std::future::pending().await,
    }
}

async fn handed_over(reload: &mut Option<Reload>) -> Result<(), oneshot::error::RecvError> {
    match reload {
        Some(reload) => (&mut reload.handed_over).await,
        None => std::future::pending().await,
    }
}
