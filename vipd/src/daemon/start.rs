//! The start: what is opened, in which order, and who is told of whom; and the end, its reverse.

use std::net::IpAddr;

use anyhow::{Context, Result, anyhow};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};

use super::{
    clock,
    control::{Control, Drained, EngineHandle, OwnMacs, Reload, Signals, Sources, Stops, TrackingResults},
    desired::Desired,
    engine,
    interfaces::LookUp,
    logging::Levels,
    messages::{End, MESSAGES},
    options::Options,
    outcome::OnRefusal,
    reconcile::{Installed, Masters},
    router::Router,
    runtime_dir::{self, RuntimeDir},
};
use crate::{
    beside, capabilities, cluster, control,
    dataplane::{self, Dataplane, Events, LoadRefused, Pinned},
    events::{Collected, Journal},
    host::{Host, LinkEvents},
    metrics,
    notify::Notifier,
    scripts::Accounts,
    tracking::LinkDelays,
};
use vipd_config::Config;

/// Runs the daemon until it is stopped. On return nothing of what was made is left, unless it was to be left to the next vipd.
pub async fn serve(
    options: &Options,
    config: Config,
    dir: &RuntimeDir,
    (collected, levels): (Collected, Levels),
) -> Result<()> {
    let journal = Journal::default();
    // Ends with the daemon's other tasks, when the runtime does.
    tokio::task::spawn_local(journal.clone().keep(collected));
    // From here on a signal stops in order, whenever it comes, and so does a request: it waits until the start is over.
    let signals = Signals::new()?;
    let (commands_tx, commands_rx) = mpsc::channel(MESSAGES);
    let mut servers = JoinSet::new();
    let listener = control::bind(&runtime_dir::socket(dir.path()))?;
    servers.spawn_local(control::serve(listener, commands_tx.clone(), journal));
    let metrics = match &options.metrics_listen {
        Some(listen) => Some(metrics::Endpoint::new(listen).await?),
        None => None,
    };
    let (mut host, links_rx) = Host::open(dir.path())?;
    let accounts = Accounts::new(&config.script_policy).context("script_user")?;
    let delays = LinkDelays::new(config.link_delays.clone());
    let desired = look_up(options, &config, &host, &delays).await?;
    warn_of_addresses(desired.routers(), &host).await?;
    beside::warn(&config);
    let used = desired.routers().iter().flat_map(Router::present_ports).map(|port| port.name).collect();
    let tracking = TrackingResults::start(&config, &accounts, delays, used, &host).await;
    let notifier = Notifier::start(&config, &accounts);
    let (dataplane, events) = load(options, dir, &mut host).await?;
    let (cluster, reporter) = cluster::new(commands_tx.clone(), clock::unix_us);
    servers.spawn_local(reporter.serve());
    // Not before: nobody is to wait long for a scrape.
    if let Some(metrics) = metrics {
        servers.spawn_local(metrics.serve(commands_tx));
    }
    let mut installed = Installed::new(host, dataplane)?;
    let parts = StartParts {
        config,
        accounts,
        tracking,
        notifier,
        signals,
        links_rx,
        commands_rx,
        events,
        levels,
        cluster,
    };
    let ended = run(options, desired, parts, servers, &mut installed).await;
    let (result, stops) = ended.unwrap_or_else(|error| (Err(error), Stops::default()));
    let result = result.map_err(|error| keep_verifier_log(error, dir));
    if matches!(result, Ok(End::Left)) {
        // All of it is pinned or in the kernel: the next vipd finds it.
        return Ok(());
    }
    // The reverse of the start.
    stops.wait_for("removing programs, routes and settings");
    let removed = installed.remove().await;
    // Now who asked for the stop is answered.
    drop(stops);
    result.map(drop).and(removed)
}

/// What was opened before anything was changed.
struct StartParts {
    config: Config,
    accounts: Accounts,
    tracking: TrackingResults,
    notifier: Notifier,
    signals: Signals,
    links_rx: LinkEvents,
    commands_rx: mpsc::Receiver<control::PendingRequest>,
    events: Events,
    cluster: cluster::Cluster,
    levels: Levels,
}

/// Installs what is desired, then runs the election until it is over.
async fn run(
    options: &Options,
    desired: Desired,
    parts: StartParts,
    mut servers: JoinSet<()>,
    installed: &mut Installed,
) -> Result<(Result<End>, Stops)> {
    let StartParts {
        config,
        accounts,
        tracking,
        notifier,
        signals,
        links_rx,
        commands_rx,
        events,
        levels,
        cluster,
    } = parts;
    let modes = options.xdp_modes(&config);
    let mut outcome = installed.reconcile(desired, &modes, Masters::Inherited, OnRefusal::Stop).await?;
    let (messages_tx, messages_rx) = mpsc::channel(MESSAGES);
    let (host_states_tx, host_states_rx) = watch::channel(outcome.host_states);
    let (notices_tx, notices_rx) = mpsc::unbounded_channel();
    let (fences_tx, fences_rx) = mpsc::unbounded_channel();
    let drained = Drained::new(&options.state_dir);
    let is_drained = drained.is_set()?;
    let own_macs = OwnMacs::new(installed.host().macs().await?);
    report_start(options, installed.routers(), is_drained);
    let engine_parts = engine::EngineParts {
        pages: installed.pages().clone(),
        events,
        routers: installed.routers().iter().cloned().zip(tracking.results().iter().cloned()).collect(),
        sockets: outcome.sockets.take().unwrap_or_default(),
        messages_rx,
        host_states_tx,
        notices_tx,
        fences_tx,
        drained: is_drained,
        own_macs: own_macs.all(),
        attachments: installed.attachment_modes().clone(),
    };
    // The engine thread, and all that is started from now on, begins with what is left.
    if let Err(error) = capabilities::drop_unneeded() {
        tracing::warn!(%error, "unneeded capabilities could not be dropped");
    }
    let (engine, end_rx) = engine::spawn(engine_parts, config.real_time_priority)?;
    let sources = Sources { signals, links_rx, commands_rx, host_states_rx, notices_rx, fences_rx, end_rx };
    let source = options.source.clone();
    let reload = Reload::new(source, options.xdp_mode, config, accounts, outcome.is_unattached);
    let handle = EngineHandle::new(messages_tx);
    let control = Control::new(
        sources,
        handle,
        installed,
        reload,
        tracking,
        notifier,
        (own_macs, drained, levels, cluster),
    );
    let ended = control.run().await;
    if engine.join().is_err() {
        return Err(anyhow!("the engine thread panicked; leases run out by themselves"));
    }
    // Their sockets are closed before another vipd may start.
    servers.shutdown().await;
    Ok(ended.finish().await)
}

fn report_start(options: &Options, routers: &[Router], is_drained: bool) {
    if is_drained {
        tracing::warn!("the node is drained: every instance has priority 1 until `vipd undrain`");
    }
    tracing::info!(
        target: "vipd::event",
        event = "started",
        instances = routers.len(),
        config = %options.source.path.display(),
        "started"
    );
}

/// The configuration on the interfaces as they are.
async fn look_up(options: &Options, config: &Config, host: &Host, delays: &LinkDelays) -> Result<Desired> {
    let dynamic = options.wait_for_interfaces || config.dynamic_interfaces;
    let modes = &options.xdp_modes(config);
    let look_up = LookUp { path: &options.source.path, modes, host, delays };
    Desired::new(config, look_up.all(config, &|_| dynamic).await?)
}

async fn warn_of_addresses(routers: &[Router], host: &Host) -> Result<()> {
    for router in routers.iter().filter(|router| !router.spec().priority.is_owner()) {
        for link in router.present() {
            let state = host.link(link.name()).await?;
            let is_there = |vip: &&IpAddr| state.addresses.iter().any(|a| a.address == **vip);
            for vip in link.vips().iter().filter(is_there) {
                tracing::warn!(
                    instance = router.name(),
                    %vip,
                    interface = link.name(),
                    "the VIP is configured on the interface, perhaps a leftover of another program; vipd needs no address there"
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
        Pinned::Maps => tracing::info!("adopted the maps of an earlier vipd"),
        Pinned::Misfits(reason) => {
            tracing::warn!("pinned state does not match and is removed: {reason:#}");
            // The program behind those pins still keeps the kernel from answering: the routes go first.
            host.remove_all().await.context("remove what an earlier vipd left")?;
            Dataplane::discard(&options.bpffs_dir)?;
        }
    }
    Dataplane::load(&options.bpffs_dir, options.log_xdp).map_err(|error| keep_verifier_log(error, dir))
}

/// Has the verifier's log, if there is one, put into a file of the runtime directory.
fn keep_verifier_log(error: anyhow::Error, dir: &RuntimeDir) -> anyhow::Error {
    match error.downcast::<LoadRefused>() {
        Ok(refused) => refused.kept(|log| dir.keep(runtime_dir::VERIFIER_LOG, log)).into(),
        Err(error) => error,
    }
}
