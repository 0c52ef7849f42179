//! The driver of everything: reads the configuration, puts the parts together, takes them down again.
//!
//! Two threads. The main thread has the signals, the control socket and the host's routes and rules; the engine thread
//! ([`driver`]) has the election, the data plane and the packet sockets.

mod clock;
mod driver;
mod effects;
mod logging;
mod main_loop;
mod realtime;
mod reports;
mod router;
pub mod runtime_dir;
mod setup;
mod sockets;
mod status;
mod timer;

use std::{
    collections::{BTreeMap, HashMap},
    path::PathBuf,
    thread,
};

use anyhow::{Context, Result, anyhow, bail};
use tokio::{
    runtime,
    sync::{mpsc, oneshot, watch},
    task::LocalSet,
};

use self::{
    driver::{Driver, End, Parts, Wish},
    main_loop::{HostWishes, MainLoop, Signals},
    router::Router,
    runtime_dir::RuntimeDir,
    sockets::Sockets,
};
use crate::{
    config, control,
    dataplane::{Attached, Dataplane, Events, Mode, Pinned, Predecessor},
    host::{Host, LinkChange, LinkEvents, multicast::Memberships},
    notify::Notifier,
    scripts::Accounts,
    time::Instant,
    tracking::Tracker,
};

/// Messages waiting for the engine thread. It answers in microseconds; when it is frozen, the main thread waits.
const MESSAGES: usize = 64;

/// What `vipd run` is given.
#[derive(Clone, Debug)]
pub struct Options {
    pub source: config::Source,
    pub bpffs_dir: PathBuf,
    pub runtime_dir: PathBuf,
    pub log_xdp: bool,
}

/// Runs until stopped. On return nothing of what was made is left, unless it was to be left to the next vipd.
///
/// # Errors
///
/// [`config::Failure`] if the configuration is refused; anything else is the environment's.
pub fn run(options: &Options) -> Result<()> {
    let loaded = options.source.load()?;
    let _logging = logging::start();
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    if loaded.config.instances.is_empty() {
        bail!("{} has no vrrp_instance: there is nothing to do", options.source.path.display());
    }
    let dir = RuntimeDir::lock(&options.runtime_dir)?;
    // Before `dir`, which a waiting successor takes first.
    let host_lock = runtime_dir::lock_host()?;
    let runtime = runtime::Builder::new_current_thread().enable_all().build().context("start the runtime")?;
    let local = LocalSet::new();
    let result = local.block_on(&runtime, serve(options, loaded.config, &dir));
    drop(host_lock);
    dir.clean();
    drop(dir);
    // With it end the connections of those who asked for the stop: now another vipd may start.
    drop(local);
    result
}

/// What is taken down in the end.
struct Made {
    host: Host,
    /// With the engine thread while that runs.
    dataplane: Option<Dataplane>,
    /// Clients that wait for the stop. They are answered by the end of the connection, when everything is removed.
    stops: Vec<oneshot::Sender<()>>,
}

async fn serve(options: &Options, config: config::Config, dir: &RuntimeDir) -> Result<()> {
    // From here on a signal stops in order, whenever it comes.
    let signals = Signals::new()?;
    let (mut host, links) = Host::open(dir.path())?;
    let accounts = Accounts::new(&config::ScriptPolicy::of(&config)).context("script_user")?;
    let mut tracker = Tracker::start(&config, &accounts);
    for name in tracker.interfaces().map(str::to_owned).collect::<Vec<_>>() {
        match host.link(&name).await {
            Ok(link) => drop(tracker.link(&LinkChange::State(link))),
            Err(error) => tracing::warn!(interface = name, %error, "a tracked interface counts as down"),
        }
    }
    let notifier = Notifier::start(&config, &accounts);
    let routers = routers(options, config, &host).await?;
    let (dataplane, events) = load(options, &mut host).await?;
    let mut made = Made { host, dataplane: Some(dataplane), stops: Vec::new() };
    let outside = Outside { links, events, signals, tracker, notifier };
    let result = run_engine(options, dir, routers, outside, &mut made).await;
    if matches!(result, Ok(End::Left)) {
        // All of it is pinned or in the kernel: the next vipd finds it.
        return Ok(());
    }
    // The reverse of the start: while a route stands, XDP stands in front of it.
    let removed = made.host.remove_all().await.context("undo routes, rules and settings");
    let detached = match made.dataplane {
        Some(dataplane) => removed.and_then(|()| dataplane.remove().context("detach XDP")),
        None => removed.and(Err(anyhow!("the engine thread has not given the data plane back"))),
    };
    result.map(drop).and(detached)
}

/// Looks at the interfaces of each instance.
async fn routers(options: &Options, config: config::Config, host: &Host) -> Result<Vec<Router>> {
    let mut routers = Vec::new();
    for instance in config.instances {
        let place =
            format!("{}:{}: instance {}", options.source.path.display(), instance.line, instance.name);
        let router = setup::router(instance, host).await.context(place)?;
        for link in router.links.iter().filter(|_| !router.spec.priority.is_owner()) {
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
        routers.push(router);
    }
    Ok(routers)
}

/// Loads the XDP program, adopting what a predecessor left pinned if that fits.
async fn load(options: &Options, host: &mut Host) -> Result<(Dataplane, Events)> {
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
    Dataplane::load(&options.bpffs_dir, options.log_xdp)
}

/// Fills the data plane and attaches it, then installs the host's part, then runs the election until it is over.
async fn run_engine(
    options: &Options,
    dir: &RuntimeDir,
    mut routers: Vec<Router>,
    outside: Outside,
    made: &mut Made,
) -> Result<End> {
    let Outside { links, events, signals, tracker, notifier } = outside;
    let standings = tracker.standings().to_vec();
    let dataplane = made.dataplane.as_mut().context("the data plane is loaded")?;
    setup::assign_slots(&mut routers, dataplane.instances(), dataplane.leases())?;
    for router in &routers {
        dataplane.instances().write(router.slot, &router.identity());
    }
    let plan = setup::plan(routers.iter());
    made.host.retire(&plan).await?;
    dataplane.replace_tables(&setup::contents(routers.iter()))?;
    // Not before: an earlier table of this version may have other VIPs in the same slots.
    let predecessors = dataplane.predecessors()?;
    let carried = carry_over(&predecessors, &routers, dataplane);
    let modes = attach(dataplane, &routers, &mut made.host).await?;
    // Until now the predecessor's program may have revoked what was carried over.
    carried.into_iter().filter(|carried| !carried.stands()).for_each(|c| dataplane.leases().release(c.group));
    predecessors.into_iter().try_for_each(Predecessor::remove).context("remove an earlier version's pins")?;
    let mut wishes_at_start = Vec::new();
    for router in &routers {
        let master = dataplane.leases().read(router.group()) > clock::now();
        if master {
            // The mastership of the vipd before this one goes on: its VIPs stay local.
            made.host.set_master(router.host_key(), true).await?;
        }
        let sources = router.links.iter().map(|link| (link.source_v4, link.source_v6)).collect();
        wishes_at_start.push(Wish { master, sources, masters_heard: 0 });
    }
    made.host.install(&plan).await?;

    let memberships = Memberships::join(setup::groups(&routers))
        .context("join the multicast groups of adverts and VIPs (CAP_NET_RAW)")?;
    let sockets = Sockets::open(&routers)?;
    let listener = control::bind(&runtime_dir::socket(dir.path()))?;
    let (requests, requested) = mpsc::channel(MESSAGES);
    let server = tokio::task::spawn_local(control::serve(listener, requests));

    let (messages, received) = mpsc::channel(MESSAGES);
    let (wishes, wished) = watch::channel(wishes_at_start.clone());
    let (notices, noticed) = mpsc::unbounded_channel();
    let dataplane = made.dataplane.take().context("the data plane is loaded")?;
    tracing::info!(instances = routers.len(), config = %options.source.path.display(), "started");
    let (ended, mut end) = oneshot::channel();
    let engine = thread::Builder::new()
        .name("engine".into())
        .spawn(move || {
            let granted = realtime::request();
            for router in routers.iter().filter(|router| !granted.real_time && router.is_short()) {
                tracing::warn!(
                    instance = router.spec.name,
                    interval_ms = router.spec.advert_interval.as_millis(),
                    "so short an advert interval needs real-time scheduling: expect false failovers under load"
                );
            }
            let parts = Parts { dataplane, events, routers, sockets, messages: received, wishes, notices, modes, granted, standings };
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
        signals,
        messages,
        requested,
        links,
        wished,
        tracker,
        notices: noticed,
        notifier,
        stops: Vec::new(),
        stopping: false,
    };
    let wishes = HostWishes::new(plan, wishes_at_start);
    let result = main.run(&mut made.host, wishes, &mut end).await;
    if engine.join().is_err() {
        return Err(anyhow!("the engine thread panicked; leases run out by themselves"));
    }
    server.abort();
    let (dataplane, end) = result?;
    made.dataplane = Some(dataplane);
    made.stops = std::mem::take(&mut main.stops);
    main.finish().await;
    drop(memberships);
    Ok(end)
}

/// What the daemon hears, and whom it tells.
struct Outside {
    links: LinkEvents,
    events: Events,
    signals: Signals,
    tracker: Tracker,
    notifier: Notifier,
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

/// Takes over the leases that another version's maps hold for the same virtual routers.
fn carry_over<'a>(
    predecessors: &'a [Predecessor],
    routers: &[Router],
    dataplane: &Dataplane,
) -> Vec<Carried<'a>> {
    let mut carried = Vec::new();
    for predecessor in predecessors {
        let held = predecessor.leases().unwrap_or_else(|error| {
            tracing::warn!("leases of an earlier version are given up: {error:#}");
            Vec::new()
        });
        for (head, deadline) in held.into_iter().filter(|(_, deadline)| *deadline > clock::now()) {
            if let Some(router) = routers.iter().find(|router| router.key() == head.key) {
                if dataplane.leases().read(router.group()) >= deadline {
                    continue;
                }
                dataplane.leases().acquire(router.group(), deadline);
                carried.push(Carried { predecessor, from: head.group, deadline, group: router.group() });
            }
        }
    }
    carried
}

/// Attaches the program to every interface in use, and reports how.
async fn attach(
    dataplane: &mut Dataplane,
    routers: &[Router],
    host: &mut Host,
) -> Result<HashMap<u32, String>> {
    let mut wires: BTreeMap<u32, WireUse<'_>> = BTreeMap::new();
    for router in routers {
        for (i, link) in router.links.iter().enumerate() {
            let wire = wires.entry(link.wire.ifindex).or_insert(WireUse::of(&link.wire.interface));
            wire.tagged |= link.wire.vlan != 0;
            wire.virtual_mac |= i == 0 && router.spec.use_vmac;
        }
    }
    let mut modes = HashMap::new();
    for (&ifindex, &WireUse { interface, tagged, virtual_mac }) in &wires {
        if tagged {
            // A NIC that strips tags shows XDP two VLANs that look alike.
            host.set_rx_vlan(interface, false)?;
        }
        let link = host.link(interface).await?;
        let present = link.xdp.map(|xdp| {
            let mode = if xdp.generic { Mode::Generic } else { Mode::Native };
            (mode, xdp.program_id)
        });
        let avoid_native = (virtual_mac && link.veth).then_some(VETH_AND_VIRTUAL_MAC);
        let (attached, mode) = dataplane.attach(interface, ifindex, link.mtu, present, avoid_native)?;
        match attached {
            Attached::New => tracing::info!(interface, %mode, "XDP attached"),
            Attached::Adopted => tracing::info!(interface, %mode, "XDP program replaced in the link found"),
            Attached::Fallback(reason) => {
                tracing::warn!(interface, %mode, "XDP runs in the stack, not in the driver: {reason:#}");
            }
        }
        modes.insert(ifindex, mode.to_string());
    }
    let ifindexes: Vec<u32> = modes.keys().copied().collect();
    dataplane.detach_others(&ifindexes)?;
    Ok(modes)
}

/// What an interface is used for.
struct WireUse<'a> {
    interface: &'a str,
    tagged: bool,
    virtual_mac: bool,
}

impl<'a> WireUse<'a> {
    fn of(interface: &'a str) -> Self {
        Self { interface, tagged: false, virtual_mac: false }
    }
}

/// drivers/net/veth.c marks a frame before its XDP program runs, and does not look again; other drivers make their socket
/// buffers afterwards, and generic mode looks again.
const VETH_AND_VIRTUAL_MAC: &str =
    "veth decides before XDP that a frame to the virtual MAC is for another host";
