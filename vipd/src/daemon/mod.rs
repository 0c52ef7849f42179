//! The driver of everything: reads the configuration, puts the parts together, takes them down again.
//!
//! Two threads. The main thread has the signals, the control socket and the host's routes and rules; the engine thread
//! ([`driver`]) has the election, the data plane and the packet sockets.

mod attach;
pub mod clock;
mod conditions;
mod deferred;
mod detached;
mod detect;
mod drained;
mod driver;
mod effects;
mod fencing;
mod handover;
mod host_wishes;
pub mod journal;
mod least;
mod lines;
pub mod locks;
mod logging;
mod main_loop;
mod offloads;
mod own_macs;
mod realtime;
mod reload;
mod reports;
mod router;
pub mod runtime_dir;
mod service_manager;
mod setup;
mod sockets;
mod sources;
mod status;
mod timer;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::PathBuf,
    thread,
};

use anyhow::{Context, Result, anyhow, bail};
use tokio::{
    runtime,
    sync::{mpsc, oneshot, watch},
    task::{JoinSet, LocalSet},
};

use self::{
    conditions::Conditions,
    detached::Detached,
    drained::Drained,
    driver::{Driver, End, Parts, Wish, Wishes},
    fencing::Fences,
    host_wishes::HostWishes,
    locks::HostLock,
    main_loop::{MainLoop, Signals, links as links_of, tell_of_links},
    own_macs::OwnMacs,
    reload::Wanted,
    router::Router,
    runtime_dir::{PidFile, RuntimeDir},
    service_manager::ServiceManager,
    sockets::Sockets,
    sources::Sources,
};
use crate::{
    beside, capabilities, control,
    dataplane::{self, Dataplane, Events, Pages, Pinned, Predecessor, Refused},
    denial,
    events::{Collected, Journal},
    host::{Host, LinkChange, LinkEvents, multicast::Memberships},
    metrics,
    notify::Notifier,
    resources,
    scripts::Accounts,
    time::Instant,
    tracking::{LinkDelays, Tracker},
};

/// Messages waiting for the engine thread. It answers in microseconds; when it is frozen, the main thread waits.
const MESSAGES: usize = 64;

/// What `vipd run` is given.
#[derive(Clone, Debug)]
pub struct Options {
    pub source: crate::machine::Source,
    pub bpffs_dir: PathBuf,
    pub runtime_dir: PathBuf,
    /// For what is remembered over restarts and reboots.
    pub state_dir: PathBuf,
    /// Besides the one in the runtime directory.
    pub pid_file: Option<PathBuf>,
    /// Whether the start goes on without an interface that is missing or unfit, whatever the configuration says.
    pub wait_for_interfaces: bool,
    pub log_xdp: bool,
    /// How the program is attached where the configuration does not say it.
    pub xdp_mode: vipd_config::XdpMode,
    pub metrics_listen: Option<metrics::Listen>,
}

impl Options {
    /// How the program is to be attached to each interface.
    fn xdp_modes(&self, config: &vipd_config::Config) -> vipd_config::XdpModes {
        config.xdp_modes.or(self.xdp_mode)
    }
}

/// Runs until stopped. On return nothing of what was made is left, unless it was to be left to the next vipd.
///
/// # Errors
///
/// [`vipd_config::Failure`] if the configuration is refused; anything else is the environment's.
pub fn run(options: &Options) -> Result<()> {
    let loaded = options.source.load()?;
    let (_logging, collected) = logging::start();
    resources::raise_descriptors();
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    if loaded.config.instances.is_empty() {
        bail!("{} has no vrrp_instance: there is nothing to do", options.source.path.display());
    }
    let dir = RuntimeDir::lock(&options.runtime_dir)?;
    // Before `dir`, which a waiting successor takes first.
    let locked = HostLock::take().and_then(|lock| {
        let pid_file = options.pid_file.as_deref().map(PidFile::write).transpose()?;
        Ok((lock, pid_file))
    });
    let locks = match locked {
        Ok((host, pid_file)) => (pid_file, host),
        Err(error) => {
            dir.clean();
            return Err(error);
        }
    };
    let runtime = runtime::Builder::new_current_thread().enable_all().build().context("start the runtime")?;
    let local = LocalSet::new();
    let result = local.block_on(&runtime, serve(options, loaded.config, &dir, collected));
    // The pid file first.
    drop(locks);
    dir.clean();
    drop(dir);
    // With it end the connections of those who asked for the stop: now another vipd may start.
    drop(local);
    // A look-up of a mail server's name may go on for as long as the resolver likes.
    runtime.shutdown_background();
    result
}

/// What is taken down in the end.
#[derive(Debug)]
struct Made {
    host: Host,
    dataplane: Dataplane,
    /// Clients that wait for the stop. They are answered by the end of the connection, when everything is removed.
    stops: Vec<oneshot::Sender<()>>,
}

async fn serve(
    options: &Options,
    config: vipd_config::Config,
    dir: &RuntimeDir,
    collected: Collected,
) -> Result<()> {
    let journal = Journal::default();
    // Ends with the daemon's other tasks, when the runtime does.
    tokio::task::spawn_local(journal.clone().keep(collected));
    // From here on a signal stops in order, whenever it comes, and so does a request: it waits until the start is over.
    let signals = Signals::new()?;
    let (requests, requested) = mpsc::channel(MESSAGES);
    let mut servers = JoinSet::new();
    let listener = control::bind(&runtime_dir::socket(dir.path()))?;
    servers.spawn_local(control::serve(listener, requests.clone(), journal));
    let metrics = match &options.metrics_listen {
        Some(listen) => Some(metrics::Endpoint::new(listen).await?),
        None => None,
    };
    let (mut host, links) = Host::open(dir.path())?;
    let accounts = Accounts::new(&config.script_policy).context("script_user")?;
    let dynamic = options.wait_for_interfaces || config.dynamic_interfaces;
    let mut delays = LinkDelays::new(config.link_delays.clone());
    let routers =
        setup::routers(&options.source.path, &config, &options.xdp_modes(&config), &host, &delays, &|_| {
            dynamic
        })
        .await?;
    warn_of_addresses(&routers, &host).await?;
    beside::warn(&config);
    let mut tracker = Tracker::start(&config, &accounts);
    let tracked: BTreeSet<String> = tracker.interfaces().map(str::to_owned).collect();
    let used = routers.iter().flat_map(Router::present_ports).map(|port| port.name);
    for name in tracked.iter().map(String::as_str).chain(used) {
        look_at_link(name, &host, &mut tracker, &mut delays).await;
    }
    let notifier = Notifier::start(&config, &accounts);
    let (dataplane, events) = load(options, dir, &mut host).await?;
    let mut made = Made { host, dataplane, stops: Vec::new() };
    // Not before: nobody is to wait long for a scrape.
    if let Some(metrics) = metrics {
        servers.spawn_local(metrics.serve(requests));
    }
    let outside = Outside { links, events, signals, tracker, delays, notifier, accounts, servers, requested };
    let result = run_engine(options, (config, routers), outside, &mut made).await;
    let result = result.map_err(|error| keep_verifier_log(error, dir));
    if matches!(result, Ok(End::Left)) {
        // All of it is pinned or in the kernel: the next vipd finds it.
        return Ok(());
    }
    // The reverse of the start: while a route stands, XDP stands in front of it.
    let removed = made.host.remove_all().await.context("undo routes, rules and settings");
    let detached = removed.and_then(|()| made.dataplane.remove().context("detach XDP"));
    result.map(drop).and(detached)
}

/// Has the tracker know how a link is now.
async fn look_at_link(name: &str, host: &Host, tracker: &mut Tracker, delays: &mut LinkDelays) {
    match host.link(name).await {
        Ok(link) => {
            let change = delays.pass(LinkChange::State(link), tokio::time::Instant::now());
            drop(tracker.link(&change));
        }
        Err(error) => tracing::warn!(interface = name, %error, "a tracked interface counts as down"),
    }
}

async fn warn_of_addresses(routers: &[Router], host: &Host) -> Result<()> {
    for router in routers.iter().filter(|router| !router.spec.priority.is_owner()) {
        for link in router.present() {
            let state = host.link(&link.name).await?;
            for vip in link.vips.iter().filter(|vip| state.addresses.iter().any(|a| a.address == **vip)) {
                tracing::warn!(
                    instance = router.spec.name,
                    %vip,
                    interface = link.name,
                    "the VIP is an address of the interface; another program's leftover? vipd needs none there"
                );
            }
        }
    }
    Ok(())
}

/// Loads the XDP program, adopting what a predecessor left pinned if that fits. What the verifier says to a program that the
/// kernel refuses is kept in the runtime directory.
async fn load(options: &Options, dir: &RuntimeDir, host: &mut Host) -> Result<(Dataplane, Events)> {
    match dataplane::compare_clock(clock::now) {
        Ok(compared) => compared?,
        // If the kernel runs no program at all, the next one says so better.
        Err(error) => tracing::debug!(%error, "the clocks of vipd and of BPF programs are not compared"),
    }
    match Dataplane::inspect(&options.bpffs_dir)? {
        Pinned::Nothing => {}
        Pinned::Maps => tracing::info!("maps that an earlier vipd left are adopted"),
        Pinned::Misfits(reason) => {
            tracing::warn!("what is pinned does not fit and is removed: {reason:#}");
            // The program behind those pins still keeps the kernel from answering: the routes go first.
            host.remove_all().await.context("remove what an earlier vipd left")?;
            Dataplane::discard(&options.bpffs_dir)?;
        }
    }
    Dataplane::load(&options.bpffs_dir, options.log_xdp).map_err(|error| keep_verifier_log(error, dir))
}

/// Has the verifier's log, if there is one, put into a file of the runtime directory.
fn keep_verifier_log(error: anyhow::Error, dir: &RuntimeDir) -> anyhow::Error {
    match error.downcast::<Refused>() {
        Ok(refused) => refused.kept(|log| dir.keep(runtime_dir::VERIFIER_LOG, log)).into(),
        Err(error) => error,
    }
}

/// Fills the data plane and attaches it, then installs the host's part, then runs the election until it is over.
async fn run_engine(
    options: &Options,
    (config, mut routers): (vipd_config::Config, Vec<Router>),
    outside: Outside,
    made: &mut Made,
) -> Result<End> {
    let Outside { links, events, signals, tracker, delays, notifier, accounts, mut servers, requested } =
        outside;
    let dataplane = &mut made.dataplane;
    let pages = dataplane.pages().clone();
    setup::assign_slots(&mut routers, pages.instances(), pages.leases())?;
    for router in &routers {
        pages.instances().write(router.slot, &router.identity());
    }
    let plan = setup::plan(routers.iter());
    made.host.retire(&plan).await?;
    dataplane.replace_tables(&setup::contents(routers.iter()))?;
    // Not before: an earlier table of this version may have other VIPs in the same slots.
    let predecessors = dataplane.predecessors()?;
    let carried = carry_over(&predecessors, &routers, &pages);
    let xdp_modes = options.xdp_modes(&config);
    let mut attachments = HashMap::new();
    let mut wanted = Wanted::default();
    for (ifindex, error) in
        attach::attach(dataplane, &routers, &xdp_modes, &mut made.host, &mut attachments).await
    {
        if routers.iter().flat_map(|router| &router.links).any(|link| link.wire.ifindex == ifindex) {
            return Err(error);
        }
        tracing::error!(error = format!("{error:#}"), "a heartbeat line is not used");
        routers.iter_mut().for_each(|router| _ = router.gone(ifindex));
        wanted.again_soon();
    }
    let attached: Vec<u32> = attachments.keys().copied().collect();
    dataplane.detach_others(&attached)?;
    // Until now the predecessor's program may have revoked what was carried over.
    carried.into_iter().filter(|carried| !carried.stands()).for_each(|c| pages.leases().release(c.group));
    predecessors.into_iter().try_for_each(Predecessor::remove).context("remove an earlier version's pins")?;
    let mut wishes_at_start = Wishes::new();
    for router in &routers {
        // The mastership of the vipd before this one goes on: its VIPs stay local. An address owner waits for nobody.
        let master = pages.leases().read(router.group) > clock::now();
        let wish = Wish { master, takes_over: router.spec.priority.is_owner(), masters_heard: 0 };
        made.host.set(router.host_key(), wish.ownership()).await?;
        wishes_at_start.insert(router.id(), wish);
    }
    made.host.install(&plan).await?;

    let memberships = Memberships::join(setup::groups(&routers))
        .map_err(denial::of_raw_socket)
        .context("join the multicast groups of adverts and VIPs")?;
    let sockets = Sockets::open(&routers)?;

    let (messages, received) = mpsc::channel(MESSAGES);
    let (wishes, wished) = watch::channel(wishes_at_start.clone());
    let (notices, noticed) = mpsc::unbounded_channel();
    let (fences, fenced) = mpsc::unbounded_channel();
    let state = Drained::new(&options.state_dir);
    let drained = state.is_set()?;
    if drained {
        tracing::warn!("the node is drained: its instances rank last until `vipd undrain`");
    }
    tracing::info!(
        target: "vipd::event",
        event = "started",
        instances = routers.len(),
        config = %options.source.path.display(),
        "started"
    );
    tell_of_links(&BTreeMap::new(), &links_of(&routers));
    let (ended, mut end) = oneshot::channel();
    let standing: Vec<_> = routers.iter().cloned().zip(tracker.standings().iter().copied()).collect();
    let own_macs = OwnMacs::new(made.host.macs().await?);
    let macs_of_engine = own_macs.all();
    let attachments_of_engine = attachments.clone();
    let real_time_priority = config.real_time_priority;
    // The engine thread, and all that is started from now on, begins with what is left.
    if let Err(error) = capabilities::drop_unneeded() {
        tracing::warn!(%error, "capabilities that are not needed any more are kept");
    }
    let engine = thread::Builder::new()
        .name("engine".into())
        .spawn(move || {
            let granted = realtime::request(real_time_priority);
            for (router, _) in standing.iter().filter(|(router, _)| !granted.real_time && router.is_short()) {
                tracing::warn!(
                    instance = router.spec.name,
                    interval_ms = router.spec.advert_interval.as_millis(),
                    "so short an advert interval needs real-time scheduling: expect false failovers under load"
                );
            }
            let parts = Parts {
                pages,
                events,
                routers: standing,
                sockets,
                messages: received,
                wishes,
                notices,
                fences,
                drained,
                own_macs: macs_of_engine,
                attachments: attachments_of_engine,
                granted,
            };
            let result = runtime::Builder::new_current_thread()
                .enable_io()
                .build()
                .context("start the engine's runtime")
                .and_then(|runtime| runtime.block_on(async { Driver::new(parts)?.run().await }));
            // Nobody waits any more if the main thread has failed.
            let _ = ended.send(result);
        })
        .context("start the engine thread")?;

    let mut main = MainLoop {
        options,
        made,
        config,
        accounts,
        routers,
        attachments,
        memberships,
        hosted: HostWishes::new(plan, wishes_at_start),
        signals,
        messages,
        requested,
        links,
        own_macs,
        delays,
        wished,
        tracker,
        notices: noticed,
        notifier,
        fenced,
        fences: Fences::default(),
        drained: state,
        draining: None,
        conditions: Conditions::default(),
        detached: Detached::default(),
        sources: Sources::default(),
        manager: ServiceManager::new(),
        stopping: false,
        reload: None,
        wanted,
        retry_at: None,
    };
    let result = main.run(&mut end).await;
    if engine.join().is_err() {
        return Err(anyhow!("the engine thread panicked; leases run out by themselves"));
    }
    // Their sockets are closed before another vipd may start.
    servers.shutdown().await;
    let end = result?;
    main.finish().await;
    Ok(end)
}

/// What the daemon hears, and whom it tells.
struct Outside {
    links: LinkEvents,
    events: Events,
    signals: Signals,
    tracker: Tracker,
    delays: LinkDelays,
    notifier: Notifier,
    accounts: Accounts,
    /// The control socket and the metrics, and what they ask for.
    servers: JoinSet<()>,
    requested: mpsc::Receiver<control::Command>,
}

/// A lease that an earlier version's vipd held.
struct Carried<'a> {
    predecessor: &'a Predecessor,
    /// Where it was.
    from: u32,
    deadline: Instant,
    /// Where it is now.
    group: u32,
}

impl Carried<'_> {
    /// Whether the predecessor's program has left it alone until now.
    fn stands(&self) -> bool {
        self.predecessor.lease(self.from).is_ok_and(|deadline| deadline == self.deadline)
    }
}

/// Takes over the leases that another version's maps hold for the same virtual routers; that of a sync group if it is of all
/// its routers.
fn carry_over<'a>(predecessors: &'a [Predecessor], routers: &[Router], pages: &Pages) -> Vec<Carried<'a>> {
    let mut carried = Vec::new();
    let groups: BTreeSet<u32> = routers.iter().map(|router| router.group).collect();
    for predecessor in predecessors {
        let held = predecessor.leases().unwrap_or_else(|error| {
            tracing::warn!("leases of an earlier version are given up: {error:#}");
            Vec::new()
        });
        for group in &groups {
            let members = routers.iter().filter(|router| router.group == *group);
            let heads = members.map(|router| held.iter().find(|(head, _)| head.key == router.key()));
            let Some(heads) = heads.collect::<Option<Vec<_>>>() else { continue };
            let Some((first, deadline)) = heads.first() else { continue };
            let same = heads.iter().all(|(head, _)| head.lease_slot == first.lease_slot);
            if !same || *deadline <= clock::now() || pages.leases().read(*group) >= *deadline {
                continue;
            }
            pages.leases().acquire(*group, *deadline);
            carried.push(Carried { predecessor, from: first.lease_slot, deadline: *deadline, group: *group });
        }
    }
    carried
}
