//! The start: what is opened, in which order, and who is told of whom; and the end, its reverse.

use std::{
    net::IpAddr,
    rc::{Rc, Weak},
    thread::JoinHandle,
    time::Duration,
};

use anyhow::{Context, Result, anyhow};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinSet,
};

use super::{
    bfd::BfdSessions,
    captured_frames::CapturedFrames,
    clock,
    control::{
        AtStart, Control, Drained, EngineHandle, Finish, OwnMacs, Reload, Signals, Sources, Stops,
        Succession, TrackingResults, Upkeep,
    },
    desired::Desired,
    engine,
    event_log::EventLog,
    exclusive::Exclusive,
    interfaces::LookUp,
    kept_files::{FilesReport, KeptFiles},
    logging::Levels,
    messages::{DesiredHostStates, End, EngineMessage, FenceRequest, MESSAGES},
    options::Options,
    outcome::OnRefusal,
    phases::Phases,
    reconcile::{Installed, Masters},
    router::Router,
    runtime_dir::{self, RuntimeDir},
    services::{ServicePlaces, Services},
    sockets::Sockets,
    status_socket::StatusSocket,
    succession::Incumbent,
    timed_script::TimedScript,
};
use crate::{
    beside, capabilities, cluster,
    control::{self, capture::Captures},
    dataplane::{self, Dataplane, Events, LoadRefused, Pinned},
    events::Journal,
    host::{Host, LinkEvents},
    metrics,
    notify::{Notice, Notifier},
    scripts::Accounts,
    tracking::LinkDelays,
};
use vipd_config::{Config, Origins, Startup};

/// Runs the daemon until it is stopped. On return nothing of what was made is left, unless it was to be left to the next vipd.
pub async fn serve(
    options: &Options,
    (config, origins): (Config, Origins),
    exclusive: &Rc<Exclusive>,
    phases: &Phases,
    (log, levels): (&mut EventLog<'_>, Levels),
) -> Result<()> {
    let dir = exclusive.dir();
    let socket = runtime_dir::socket(dir.path());
    let status_socket = StatusSocket::beside(&socket);
    // From here on a signal stops in order, whenever it comes, and so does a request: it waits until the start is over.
    let signals = Signals::new()?;
    let (commands_tx, commands_rx) = mpsc::channel(MESSAGES);
    let (files_tx, files_rx) = mpsc::channel(MESSAGES);
    let mut servers = Servers {
        tasks: JoinSet::new(),
        commands_tx,
        captures: Captures::default(),
        exclusive: Rc::downgrade(exclusive),
        repairs: (files_tx, options.look_period),
    };
    let mut metrics = None;
    let incumbent = match exclusive.replaces() {
        Some(_) => Some(Incumbent::connect(&socket)?),
        None => {
            servers.listen(&status_socket, log.begin())?;
            status_socket.give(&config)?;
            metrics = endpoint(options, &config).await?;
            None
        }
    };
    let (host, links_rx) = Host::open(dir.path())?;
    let accounts = Accounts::new(&config.script_policy).context("script_user")?;
    let places = ServicePlaces {
        runtime_dir: dir.path().to_owned(),
        state_dir: options.state_dir.clone(),
        look_period: options.look_period,
    };
    let bfd = BfdSessions::default();
    let mut services = Services::new(places, &options.source.unsupported, bfd.states());
    services.prepare(&config).await?;
    // Who takes over from a vipd that runs does not start anew.
    let mut delay = Duration::ZERO;
    if incumbent.is_none() {
        let script = TimedScript::resolve("startup_script", config.startup.script.as_ref(), &accounts);
        if let Some(script) = script {
            script.run().await;
        }
        delay = startup_delay(&config.startup);
    }
    let delays = LinkDelays::new(config.link_delays.clone());
    let desired = look_up(options, &config, &host, &delays).await?;
    warn_of_addresses(desired.routers(), &host).await?;
    if incumbent.is_none() {
        beside::warn(&config);
    }
    let used = desired.routers().iter().flat_map(Router::present_ports).map(|port| port.name).collect();
    let watched = (&accounts, bfd.states());
    let tracking = TrackingResults::start(&config, watched, delays, used, &host, delay).await;
    let parts = StartParts {
        config,
        origins,
        status_socket,
        accounts,
        tracking,
        services,
        bfd,
        signals,
        links_rx,
        commands_rx,
        levels,
        files_rx,
    };
    phases.end("interfaces");
    let run = DaemonRun { options, exclusive, phases, parts };
    let ((result, stops, shutdown), installed) = match incumbent {
        Some(incumbent) => run.after(incumbent, desired, host, (servers, log)).await?,
        None => run.alone(desired, host, metrics, servers).await?,
    };
    // The task of the journal takes the last events meanwhile.
    tokio::task::yield_now().await;
    let result = result.map_err(|error| keep_verifier_log(error, dir));
    if matches!(result, Ok(End::Left | End::Replaced)) {
        // All of it is pinned or in the kernel: the next vipd finds it, or has it.
        return Ok(());
    }
    // The reverse of the start.
    stops.wait_for("removing programs, routes and settings");
    let removed = installed.remove().await;
    if let Some(script) = shutdown {
        script.run().await;
    }
    // Now who asked for the stop is answered.
    drop(stops);
    result.map(drop).and(removed)
}

/// What answers others: the control socket and the metrics.
struct Servers {
    tasks: JoinSet<()>,
    commands_tx: mpsc::Sender<control::PendingRequest>,
    captures: Captures,
    /// Whose files are kept.
    exclusive: Weak<Exclusive>,
    /// Who hears what was put back, and how often to look.
    repairs: (mpsc::Sender<FilesReport>, Duration),
}

impl Servers {
    /// Serves the sockets and keeps the files of the runtime directory. What cannot be made now is tried again.
    fn listen(&mut self, status_socket: &StatusSocket, journal: Journal) -> Result<()> {
        let answering = (self.commands_tx.clone(), journal, self.captures.clone());
        let mut kept = KeptFiles::new(self.exclusive.clone(), status_socket.clone(), answering);
        let made = kept.make();
        let (files_tx, period) = self.repairs.clone();
        self.tasks.spawn_local(kept.keep(files_tx, period));
        made.map(drop)
    }

    /// The program runs for this vipd alone.
    fn serve_captures(&self, installed: &Installed) {
        match installed.frames() {
            Ok(frames) => self.captures.set_source(Box::new(CapturedFrames::new(frames))),
            Err(error) => tracing::error!(error = format!("{error:#}"), "`vipd capture` is not served"),
        }
    }

    fn serve_metrics(&mut self, metrics: Option<metrics::Endpoint>) {
        if let Some(metrics) = metrics {
            self.tasks.spawn_local(metrics.serve(self.commands_tx.clone()));
        }
    }
}

async fn endpoint(options: &Options, config: &Config) -> Result<Option<metrics::Endpoint>> {
    match metrics_listen(options, config) {
        Some(listen) => metrics::Endpoint::new(&listen).await.map(Some),
        None => Ok(None),
    }
}

/// What was opened before anything was changed.
struct StartParts {
    config: Config,
    origins: Origins,
    status_socket: StatusSocket,
    accounts: Accounts,
    tracking: TrackingResults,
    services: Services,
    bfd: BfdSessions,
    signals: Signals,
    links_rx: LinkEvents,
    commands_rx: mpsc::Receiver<control::PendingRequest>,
    levels: Levels,
    files_rx: mpsc::Receiver<FilesReport>,
}

/// What has come of a run: how it has ended, who waits for the end, and what there is to be removed.
type Ran = (Finish, Installed);

/// A run that begins.
struct DaemonRun<'r> {
    options: &'r Options,
    exclusive: &'r Exclusive,
    phases: &'r Phases,
    parts: StartParts,
}

/// What the election begins with, beside [`StartParts`].
struct Beginning {
    sockets: Sockets,
    host_states: DesiredHostStates,
    events: Events,
    /// An interface did not take the program.
    is_unattached: bool,
    drained: Drained,
    own_macs: OwnMacs,
}

/// The main thread's ends of what the engine thread was given, and the thread.
struct BegunEngine {
    engine: (JoinHandle<()>, oneshot::Receiver<Result<End>>),
    messages_tx: mpsc::Sender<EngineMessage>,
    host_states_rx: watch::Receiver<DesiredHostStates>,
    notices_rx: mpsc::UnboundedReceiver<Notice>,
    fences_rx: mpsc::UnboundedReceiver<FenceRequest>,
    is_unattached: bool,
    drained: Drained,
    own_macs: OwnMacs,
}

impl DaemonRun<'_> {
    /// Installs what is desired, then runs the election until it is over: no other vipd runs.
    async fn alone(
        self,
        desired: Desired,
        mut host: Host,
        metrics: Option<metrics::Endpoint>,
        mut servers: Servers,
    ) -> Result<Ran> {
        let notifier = Notifier::start(&self.parts.config, &self.parts.accounts);
        let (dataplane, events) = load(self.options, self.exclusive.dir(), &mut host).await?;
        // Not before: nobody is to wait long for a scrape.
        servers.serve_metrics(metrics);
        self.phases.end("load");
        let mut installed = Installed::new(host, dataplane)?;
        let begun = match self.install(desired, &mut installed, events).await {
            Ok(begun) => begun,
            Err(error) => return Ok((failed(error), installed)),
        };
        let finish = self.control(begun, notifier, servers, &mut installed, false).await;
        Ok((finish, installed))
    }

    async fn install(
        &self,
        desired: Desired,
        installed: &mut Installed,
        events: Events,
    ) -> Result<BegunEngine> {
        let modes = self.options.xdp_modes(&self.parts.config);
        let mut outcome = installed.reconcile(desired, &modes, Masters::Inherited, OnRefusal::Stop).await?;
        self.phases.end_with(&outcome.phases);
        let beginning = Beginning {
            sockets: outcome.sockets.take().unwrap_or_default(),
            host_states: outcome.host_states,
            events,
            is_unattached: outcome.is_unattached,
            drained: Drained::new(&self.options.state_dir),
            own_macs: OwnMacs::new(installed.host().macs().await?),
        };
        let engine = self.engine()?;
        self.begin(engine, beginning, installed)
    }

    /// Prepares everything beside the vipd that runs, has it end, and runs the election from then on.
    ///
    /// # Errors
    ///
    /// The vipd that runs goes on as if nothing had been.
    async fn after(
        self,
        mut incumbent: Incumbent,
        mut desired: Desired,
        host: Host,
        (mut servers, log): (Servers, &mut EventLog<'_>),
    ) -> Result<Ran> {
        let dataplane =
            load_beside(self.options).map_err(|error| keep_verifier_log(error, self.exclusive.dir()))?;
        self.phases.end("load");
        let mut installed = Installed::new(host, dataplane)?;
        let begun = match self.take_over(&mut incumbent, &mut desired, &mut installed).await {
            Ok(begun) => begun,
            Err(Untaken::Before(error)) => {
                installed.withdraw();
                return Err(error);
            }
            Err(Untaken::After(error)) => return Ok((failed(error), installed)),
        };
        tracing::info!(target: "vipd::event", event = "took_over", pid = incumbent.pid(), "took over from a vipd that ran");
        let signed = self.exclusive.sign(self.options.pid_file.as_deref());
        // Two must not serve the same FIFOs and ports, or write the same file of events.
        incumbent.gone().await;
        let ready = servers.listen(&self.parts.status_socket, log.begin());
        let given = self.parts.status_socket.give(&self.parts.config);
        let ready = signed.and(ready).and(given).and_then(|()| installed.refresh());
        match endpoint(self.options, &self.parts.config).await {
            Ok(metrics) => servers.serve_metrics(metrics),
            Err(error) => tracing::error!(error = format!("{error:#}"), "metrics are not served"),
        }
        if let Err(error) = ready {
            // There is nobody to go back to.
            tracing::error!(error = format!("{error:#}"), "a part of the takeover was refused");
        }
        let notifier = Notifier::start(&self.parts.config, &self.parts.accounts);
        let finish = self.control(begun, notifier, servers, &mut installed, true).await;
        Ok((finish, installed))
    }

    async fn take_over(
        &self,
        incumbent: &mut Incumbent,
        desired: &mut Desired,
        installed: &mut Installed,
    ) -> Result<BegunEngine, Untaken> {
        let modes = self.options.xdp_modes(&self.parts.config);
        let drained = Drained::new(&self.options.state_dir);
        let before = Untaken::Before;
        let sockets = installed.prepare_takeover(desired).map_err(before)?;
        let own_macs = OwnMacs::new(installed.host().macs().await.map_err(before)?);
        let place = installed.place_of_pins().map_err(before)?;
        let engine = self.engine().map_err(before)?;
        self.phases.end("sockets");
        // From the answer on nobody sends adverts until the engine begins.
        let _urgent = engine::Urgent::begin();
        let locks = incumbent.take_over(place).await.map_err(before)?;
        self.phases.end("request");
        let after = Untaken::After;
        self.exclusive.take_over(locks).map_err(after)?;
        let host_states = installed.take_over(std::mem::take(desired)).map_err(after)?;
        let events = installed.events().map_err(after)?;
        let beginning = Beginning { sockets, host_states, events, is_unattached: false, drained, own_macs };
        let begun = self.begin(engine, beginning, installed).map_err(after)?;
        if let Err(error) = installed.follow_takeover(&modes).await {
            tracing::error!(
                error = format!("{error:#}"),
                "a part of the takeover was refused; vipd tries again"
            );
        }
        Ok(begun)
    }

    /// The engine thread, with nothing to do yet. It, and all that is started from now on, begins with the capabilities that are left.
    fn engine(&self) -> Result<engine::Waiting> {
        if let Err(error) = capabilities::drop_unneeded() {
            tracing::warn!(%error, "unneeded capabilities could not be dropped");
        }
        engine::spawn(self.parts.config.real_time_priority)
    }

    /// Has the engine thread begin the election.
    fn begin(
        &self,
        engine: engine::Waiting,
        beginning: Beginning,
        installed: &Installed,
    ) -> Result<BegunEngine> {
        let Beginning { sockets, host_states, events, is_unattached, drained, own_macs } = beginning;
        let (messages_tx, messages_rx) = mpsc::channel(MESSAGES);
        let (host_states_tx, host_states_rx) = watch::channel(host_states);
        let (notices_tx, notices_rx) = mpsc::unbounded_channel();
        let (fences_tx, fences_rx) = mpsc::unbounded_channel();
        let is_drained = drained.is_set()?;
        let results = self.parts.tracking.results();
        let with_result = |router: &Router| Some((router.clone(), results.get(router.position())?.clone()));
        // Before the election, whose first event comes at once.
        report_start(self.options, self.parts.config.instances.len(), is_drained, self.phases);
        let engine = engine.start(engine::EngineParts {
            pages: installed.pages().clone(),
            events,
            routers: installed.routers().iter().filter_map(with_result).collect(),
            sockets,
            messages_rx,
            host_states_tx,
            notices_tx,
            fences_tx,
            drained: is_drained,
            own_macs: own_macs.all(),
            attachments: installed.attachment_modes().clone(),
        });
        self.phases.end("engine");
        Ok(BegunEngine {
            engine,
            messages_tx,
            host_states_rx,
            notices_rx,
            fences_rx,
            is_unattached,
            drained,
            own_macs,
        })
    }

    /// Serves until the election has ended. `anew`: the program and the host are still as another vipd had them.
    async fn control(
        self,
        begun: BegunEngine,
        notifier: Notifier,
        mut servers: Servers,
        installed: &mut Installed,
        anew: bool,
    ) -> Finish {
        servers.serve_captures(installed);
        let Self { options, exclusive, parts, .. } = self;
        let StartParts {
            config,
            origins,
            status_socket,
            accounts,
            tracking,
            services,
            bfd,
            signals,
            links_rx,
            commands_rx,
            levels,
            files_rx,
        } = parts;
        let (cluster, reporter) = cluster::new(servers.commands_tx.clone(), clock::unix_us);
        servers.tasks.spawn_local(reporter.serve());
        let BegunEngine { host_states_rx, notices_rx, fences_rx, .. } = begun;
        let (thread, end_rx) = begun.engine;
        let sources = Sources {
            signals,
            links_rx,
            commands_rx,
            host_states_rx,
            notices_rx,
            fences_rx,
            files_rx,
            end_rx,
        };
        let at_start = AtStart::of(&config, options.metrics_listen.is_some());
        let mut reload = Reload::new(
            (options.source.clone(), options.xdp_mode, at_start),
            (config, origins),
            accounts,
            status_socket,
            begun.is_unattached,
        );
        if anew {
            reload.want_rebuild();
        }
        let handle = EngineHandle::new(begun.messages_tx);
        let succession = Succession::new(exclusive, options.invocation.clone());
        let upkeep = Upkeep::new(options.look_period);
        let state = (begun.own_macs, begun.drained, succession, upkeep, levels, cluster, services, bfd);
        let control = Control::new(sources, handle, installed, reload, tracking, notifier, state);
        let ended = control.run().await;
        if thread.join().is_err() {
            return failed(anyhow!("the engine thread panicked; leases run out by themselves"));
        }
        // Their sockets are closed before another vipd may start.
        servers.tasks.shutdown().await;
        ended.finish().await
    }
}

/// The end of a run that could not begin, or that broke off.
fn failed(error: anyhow::Error) -> Finish {
    (Err(error), Stops::default(), None)
}

/// A takeover that did not come about.
enum Untaken {
    /// The vipd that runs goes on.
    Before(anyhow::Error),
    /// It has ended.
    After(anyhow::Error),
}

/// Where metrics are served: the command line counts before the configuration.
fn metrics_listen(options: &Options, config: &Config) -> Option<metrics::Listen> {
    let configured = config.metrics_listen.clone().map(metrics::Listen::from);
    match (&options.metrics_listen, &configured) {
        (Some(option), Some(keyword)) if option != keyword => {
            tracing::warn!(
                used = %option,
                unused = %keyword,
                "metrics_listen has no effect beside --metrics-listen"
            );
        }
        _ => {}
    }
    options.metrics_listen.clone().or(configured)
}

/// How long the instances wait before they begin.
fn startup_delay(startup: &Startup) -> Duration {
    let since_boot = Duration::from_nanos(clock::now().as_nanos());
    let delay = startup.delay.max(startup.delay_after_boot.saturating_sub(since_boot));
    if !delay.is_zero() {
        tracing::info!(
            delay_ms = delay.as_millis(),
            "the startup delay: no instance begins before it is over"
        );
    }
    delay
}

fn report_start(options: &Options, instances: usize, is_drained: bool, phases: &Phases) {
    if is_drained {
        tracing::warn!("the node is drained: every instance has priority 1 until `vipd undrain`");
    }
    tracing::info!(
        target: "vipd::event",
        event = "started",
        instances,
        config = %options.source.path.display(),
        phases = %phases,
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

/// As [`load`], beside a vipd that runs, and without a change that it could notice.
fn load_beside(options: &Options) -> Result<Dataplane> {
    if let Pinned::Misfits(reason) = Dataplane::inspect(&options.bpffs_dir)? {
        return Err(reason.context("the pins of the running vipd do not match; restart it instead"));
    }
    Dataplane::load_beside(&options.bpffs_dir, options.log_xdp)
}

/// Has the verifier's log, if there is one, put into a file of the runtime directory.
fn keep_verifier_log(error: anyhow::Error, dir: &RuntimeDir) -> anyhow::Error {
    match error.downcast::<LoadRefused>() {
        Ok(refused) => refused.kept(|log| dir.keep(runtime_dir::VERIFIER_LOG, log)).into(),
        Err(error) => error,
    }
}
