//! The driver of everything: reads the configuration, puts the parts together, takes them down again.
//!
//! Two threads. The main thread has the signals, the control socket and the host's routes and rules; the engine thread
//! ([`driver`]) has the election, the data plane and the packet sockets.

mod clock;
mod driver;
mod logging;
mod main_loop;
mod realtime;
pub mod runtime_dir;
mod setup;
mod status;
mod timer;

use std::{
    collections::{HashMap, hash_map::Entry},
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
    driver::{Driver, Parts, Wish},
    main_loop::{HostWishes, MainLoop, Signals},
    runtime_dir::RuntimeDir,
    setup::Router,
};
use crate::{
    announce::PacketSocket,
    config, control,
    dataplane::{Attached, Dataplane, Events, Mode, Pinned},
    host::{Host, LinkEvents, multicast::Memberships},
};

/// Messages waiting for the engine thread. It answers in microseconds; when it is frozen, the main thread waits.
const MESSAGES: usize = 64;

/// What `vipd run` is given.
#[derive(Clone, Debug)]
pub struct Options {
    pub config: PathBuf,
    pub bpffs_dir: PathBuf,
    pub runtime_dir: PathBuf,
    pub log_xdp: bool,
}

/// Runs until stopped. On return nothing of what was made is left.
///
/// # Errors
///
/// [`config::Failure`] if the configuration is refused; anything else is the environment's.
pub fn run(options: &Options) -> Result<()> {
    let loaded = config::load(&options.config)?;
    let _logging = logging::start();
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    if loaded.config.instances.is_empty() {
        bail!("{} has no vrrp_instance: there is nothing to do", options.config.display());
    }
    let dir = RuntimeDir::lock(&options.runtime_dir)?;
    let runtime = runtime::Builder::new_current_thread().enable_all().build().context("start the runtime")?;
    let local = LocalSet::new();
    let result = local.block_on(&runtime, serve(options, loaded.config, &dir));
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
    let routers = routers(options, config, &host).await?;
    let (dataplane, events) = load(options, &mut host).await?;
    let mut made = Made { host, dataplane: Some(dataplane), stops: Vec::new() };
    let result = run_engine(options, dir, routers, links, events, signals, &mut made).await;
    // The reverse of the start: while a route stands, XDP stands in front of it.
    let removed = made.host.remove_all().await.context("undo routes, rules and settings");
    let detached = match made.dataplane {
        Some(dataplane) => removed.and_then(|()| dataplane.remove().context("detach XDP")),
        None => removed.and(Err(anyhow!("the engine thread has not given the data plane back"))),
    };
    result.and(detached)
}

/// Looks at the interface of each instance.
async fn routers(options: &Options, config: config::Config, host: &Host) -> Result<Vec<Router>> {
    let mut routers = Vec::new();
    for instance in config.instances {
        let link = host.link(&instance.interface).await.with_context(|| {
            format!("{}:{}: instance {}", options.config.display(), instance.line, instance.name)
        })?;
        for vip in instance.vips.iter().chain(&instance.excluded) {
            let configured = link.addresses.iter().any(|configured| configured.address == vip.address);
            if configured && !instance.priority.is_owner() {
                tracing::warn!(
                    instance = instance.name,
                    vip = %vip.address,
                    interface = link.name,
                    "the VIP is an address of the interface; another program's leftover? vipd needs none there"
                );
            }
        }
        routers.push(Router::new(instance, &link));
    }
    Ok(routers)
}

/// Loads the XDP program, adopting what a predecessor left pinned if that fits.
async fn load(options: &Options, host: &mut Host) -> Result<(Dataplane, Events)> {
    match Dataplane::inspect(&options.bpffs_dir)? {
        Pinned::Nothing => {}
        Pinned::Maps => tracing::info!("maps of a vipd that ended without cleaning up are adopted"),
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
    links: LinkEvents,
    events: Events,
    signals: Signals,
    made: &mut Made,
) -> Result<()> {
    let dataplane = made.dataplane.as_mut().context("the data plane is loaded")?;
    setup::assign_slots(&mut routers, dataplane.instances(), dataplane.leases())?;
    for router in &routers {
        dataplane.instances().write(router.slot, &router.identity());
    }
    let plan = setup::plan(&routers);
    made.host.retire(&plan).await?;
    dataplane.replace_tables(
        routers.iter().flat_map(Router::table),
        routers.iter().map(|router| (router.key(), router.slot)),
    )?;
    let modes = attach(dataplane, &routers, &made.host).await?;
    made.host.install(&plan).await?;

    let groups = routers.iter().map(|router| (router.ifindex, router.spec.group));
    let memberships = Memberships::join(groups).context("join the adverts' group (CAP_NET_RAW)")?;
    let mut sockets = HashMap::new();
    for router in &routers {
        if let Entry::Vacant(entry) = sockets.entry(router.ifindex) {
            let socket = PacketSocket::open(router.ifindex).with_context(|| {
                format!("open a packet socket on {} (CAP_NET_RAW)", router.spec.interface)
            })?;
            entry.insert(socket);
        }
    }
    let listener = control::bind(&runtime_dir::socket(dir.path()))?;
    let (requests, requested) = mpsc::channel(MESSAGES);
    let server = tokio::task::spawn_local(control::serve(listener, requests));

    let (messages, received) = mpsc::channel(MESSAGES);
    // As `install` has left it.
    let wishes_at_start: Vec<_> =
        routers.iter().map(|router| Wish { source: router.address, ..Wish::default() }).collect();
    let (wishes, wished) = watch::channel(wishes_at_start.clone());
    let dataplane = made.dataplane.take().context("the data plane is loaded")?;
    tracing::info!(instances = routers.len(), config = %options.config.display(), "started");
    let (ended, mut end) = oneshot::channel();
    let engine = thread::Builder::new()
        .name("engine".into())
        .spawn(move || {
            let granted = realtime::request();
            for router in routers.iter().filter(|router| !granted.real_time && setup::is_short(&router.spec)) {
                tracing::warn!(
                    instance = router.spec.name,
                    interval_ms = router.spec.advert_interval.as_millis(),
                    "so short an advert interval needs real-time scheduling: expect false failovers under load"
                );
            }
            let parts = Parts { dataplane, events, routers, sockets, messages: received, wishes, modes, granted };
            let result = runtime::Builder::new_current_thread()
                .enable_io()
                .build()
                .context("start the engine's runtime")
                .and_then(|runtime| runtime.block_on(async { Driver::new(parts)?.run().await }));
            // Nobody waits any more if the main thread has failed.
            let _ = ended.send(result);
        })
        .context("start the engine thread")?;

    let mut main = MainLoop { signals, messages, requested, links, wished, stops: Vec::new() };
    let wishes = HostWishes::new(plan, wishes_at_start);
    let result = main.run(&mut made.host, wishes, &mut end).await;
    if engine.join().is_err() {
        return Err(anyhow!("the engine thread panicked; leases run out by themselves"));
    }
    server.abort();
    made.dataplane = Some(result?);
    made.stops = main.stops;
    drop(memberships);
    Ok(())
}

/// Attaches the program to every interface in use, and reports how.
async fn attach(dataplane: &mut Dataplane, routers: &[Router], host: &Host) -> Result<HashMap<u32, String>> {
    let mut modes = HashMap::new();
    for router in routers {
        if modes.contains_key(&router.ifindex) {
            continue;
        }
        let interface = &router.spec.interface;
        let present = host.link(interface).await?.xdp.map(|xdp| {
            let mode = if xdp.generic { Mode::Generic } else { Mode::Native };
            (mode, xdp.program_id)
        });
        let (attached, mode) = dataplane.attach(interface, router.ifindex, present)?;
        match attached {
            Attached::New => tracing::info!(interface, %mode, "XDP attached"),
            Attached::Adopted => tracing::info!(interface, %mode, "XDP program replaced in the link found"),
            Attached::Fallback(reason) => {
                tracing::warn!(interface, %mode, "XDP runs in the stack, not in the driver, which refused: {reason:#}");
            }
        }
        modes.insert(router.ifindex, mode.to_string());
    }
    let ifindexes: Vec<u32> = modes.keys().copied().collect();
    dataplane.detach_others(&ifindexes)?;
    Ok(modes)
}
