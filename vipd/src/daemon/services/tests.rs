//! The services' loop with a kernel that is made up, and servers that are real: sockets of this process.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr, TcpListener},
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    thread,
    time::Duration,
};

use tokio::sync::{mpsc, oneshot, watch};
use vipd_balance::{
    BalanceConfig, BalanceNotice, ForwardMethod, ProbeUse, ServiceAddress, ServiceId, ServiceTarget,
    SorryServer, TargetId, TransportProtocol, VirtualServer,
};
use vipd_config::{ConnectionSync, LvsSettings, LvsTimeouts, ScriptPolicy, Unsupported};
use vipd_ipvs::{
    DestinationKey, Existing, IpvsDestination, IpvsError, IpvsStep, IpvsTable, ServedDestination,
    ServedService, StepRefusal, StepResult, SyncRole, VirtualServiceKey,
};

use super::{
    forwarder::Ipvs,
    messages::{Beat, Roles, ServicesConfig, ServicesMessage},
    service_loop::{LoopEnds, ServiceLoop},
    state::{KeptDrain, KeptDrains, KeptServices, STATE_FILE},
    table, {RunningServices, ServicePlaces, Services},
};
use crate::{
    control::{ServerDrain, model::BalancingStatus},
    scripts::Accounts,
    tracking::BfdStates,
};

/// A kernel that does what IPVS does, without packets.
#[derive(Clone, Debug, Default)]
struct FakeIpvs {
    table: Arc<Mutex<IpvsTable>>,
    /// Steps that were applied.
    steps: Arc<AtomicUsize>,
    /// How often it was read.
    reads: Arc<AtomicUsize>,
}

impl FakeIpvs {
    /// The servers of a service with their weights; `None`: there is no such service.
    fn weights(&self, vip: SocketAddr) -> Option<BTreeMap<u16, u32>> {
        let key = table::key_of(address(vip)).unwrap();
        let table = self.table.lock().unwrap();
        let served = table.service(&key)?;
        Some(served.destinations.iter().map(|it| (it.destination.key.port, it.destination.weight)).collect())
    }
}

impl Ipvs for FakeIpvs {
    fn read(&mut self) -> Result<IpvsTable, IpvsError> {
        self.reads.fetch_add(1, SeqCst);
        Ok(self.table.lock().unwrap().clone())
    }

    fn apply(&mut self, step: &IpvsStep) -> Result<Result<StepResult, StepRefusal>, IpvsError> {
        let result = change(&mut self.table.lock().unwrap(), step);
        if matches!(result, Ok(StepResult::Done)) {
            self.steps.fetch_add(1, SeqCst);
        }
        Ok(result)
    }
}

fn change(table: &mut IpvsTable, step: &IpvsStep) -> Result<StepResult, StepRefusal> {
    let find = |table: &mut IpvsTable, key: &VirtualServiceKey| {
        table.services.iter().position(|served| served.service.key == *key).ok_or(StepRefusal::NoService)
    };
    let served = |destination: IpvsDestination| ServedDestination {
        destination,
        connections: Default::default(),
        stats: Default::default(),
    };
    match step {
        IpvsStep::NewService(service) => {
            if let Ok(at) = find(table, &service.key) {
                let there = table.services[at].service.clone();
                return Err(StepRefusal::Exists(Box::new(Existing::Service(there))));
            }
            let destinations = Vec::new();
            let service = service.clone();
            table.services.push(ServedService { service, stats: Default::default(), destinations });
        }
        IpvsStep::SetService(service) => {
            let at = find(table, &service.key)?;
            table.services[at].service = service.clone();
        }
        IpvsStep::DeleteService(key) => {
            let at = find(table, key)?;
            table.services.remove(at);
        }
        IpvsStep::NewDestination { service, destination }
        | IpvsStep::SetDestination { service, destination } => {
            let at = find(table, service)?;
            let destinations = &mut table.services[at].destinations;
            let there = destinations.iter().position(|it| it.destination.key == destination.key);
            match (there, step) {
                (Some(at), IpvsStep::NewDestination { .. }) => {
                    let there = destinations[at].destination;
                    return Err(StepRefusal::Exists(Box::new(Existing::Destination(there))));
                }
                (Some(at), _) => destinations[at].destination = *destination,
                (None, IpvsStep::NewDestination { .. }) => destinations.insert(0, served(*destination)),
                (None, _) => return Err(StepRefusal::NoDestination),
            }
        }
        IpvsStep::DeleteDestination { service, destination } => {
            let at = find(table, service)?;
            let destinations = &mut table.services[at].destinations;
            let is_it = |it: &ServedDestination| it.destination.key == *destination;
            let there = destinations.iter().position(is_it).ok_or(StepRefusal::NoDestination)?;
            destinations.remove(there);
        }
        IpvsStep::Zero(_) => {}
        IpvsStep::Flush => table.services.clear(),
        IpvsStep::SetTimeouts(timeouts) => table.timeouts = *timeouts,
        IpvsStep::StartDaemon(daemon) => table.daemons.push(daemon.clone()),
        IpvsStep::StopDaemon(role) => table.daemons.retain(|daemon| daemon.role != *role),
    }
    Ok(StepResult::Done)
}

fn address(vip: SocketAddr) -> ServiceAddress {
    ServiceAddress::Socket { protocol: TransportProtocol::Tcp, address: vip.ip(), port: vip.port() }
}

fn vip() -> SocketAddr {
    SocketAddr::from(([10, 9, 0, 1], 80))
}

/// A service of the loopback's ports, checked every 50 ms.
fn service(vip: SocketAddr, ports: &[u16]) -> VirtualServer {
    let mut server = VirtualServer::new(ServiceId::Single(address(vip)), vec![address(vip)]);
    for &port in ports {
        let to = SocketAddr::from(([127, 0, 0, 1], port));
        let mut target = ServiceTarget::new(TargetId::from(to), ForwardMethod::Nat);
        let mut check = ProbeUse::new(vipd_balance::ProbeSpec::tcp(to));
        (check.delay_loop, check.warmup, check.retry) = (Duration::from_millis(50), Duration::ZERO, 0);
        target.checks.push(check);
        server.targets.push(target);
    }
    server
}

/// A loop on a thread of its own, as the daemon has it.
struct Running {
    messages_tx: mpsc::Sender<ServicesMessage>,
    roles: watch::Sender<Roles>,
    notices_rx: mpsc::Receiver<BalanceNotice>,
    thread: thread::JoinHandle<()>,
}

/// A directory and a kernel that outlive a loop.
struct Bench {
    dir: PathBuf,
    kernel: FakeIpvs,
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

impl Bench {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("vipd-loop-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        Self { dir, kernel: FakeIpvs::default() }
    }

    fn start(&self, servers: Vec<VirtualServer>, lvs: LvsSettings) -> Running {
        let (messages_tx, messages_rx) = mpsc::channel(64);
        let (notices_tx, notices_rx) = mpsc::channel(1024);
        let (roles, roles_rx) = watch::channel(Roles::default());
        let ends = LoopEnds {
            sessions: watch::Sender::new(BfdStates::default()).subscribe(),
            runtime_dir: self.dir.clone(),
            drains: KeptDrains::new(&self.dir.join("state")),
            notices_tx,
            beat: Beat::default(),
            look: Duration::from_millis(100),
        };
        let (kernel, kept) = (self.kernel.clone(), KeptServices::read(&self.dir));
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let services =
                ServiceLoop::new(configuration(servers, lvs), kept, kernel, Roles::default(), ends);
            runtime.block_on(services.run(messages_rx, roles_rx));
        });
        Running { messages_tx, roles, notices_rx, thread }
    }

    fn has_state(&self) -> bool {
        self.dir.join(STATE_FILE).exists()
    }
}

fn configuration(servers: Vec<VirtualServer>, lvs: LvsSettings) -> ServicesConfig {
    let balance = BalanceConfig::new(servers, false).unwrap();
    let accounts = Arc::new(Accounts::new(&ScriptPolicy::default()).unwrap());
    ServicesConfig { balance, lvs, accounts }
}

impl Running {
    fn send(&self, message: ServicesMessage) {
        self.messages_tx.blocking_send(message).unwrap();
    }

    fn status(&self) -> BalancingStatus {
        let (reply, status) = oneshot::channel();
        self.send(ServicesMessage::Status(reply));
        status.blocking_recv().unwrap()
    }

    fn drain(&self, server: u16, drain: Option<Option<Duration>>) -> Result<String, String> {
        let (reply, answer) = oneshot::channel();
        let (service, server) = (vip().to_string(), format!("127.0.0.1:{server}"));
        self.send(ServicesMessage::Drain(ServerDrain { service, server, drain, reply }));
        answer.blocking_recv().unwrap()
    }

    fn stop(self) -> Vec<BalanceNotice> {
        let (reply, stopped) = oneshot::channel();
        self.send(ServicesMessage::Stop(reply));
        stopped.blocking_recv().unwrap();
        self.end()
    }

    fn leave(self) {
        self.send(ServicesMessage::Leave);
        self.end();
    }

    fn end(mut self) -> Vec<BalanceNotice> {
        self.thread.join().unwrap();
        std::iter::from_fn(|| self.notices_rx.try_recv().ok()).collect()
    }
}

/// Waits until it is so.
fn wait(what: &str, is_so: impl Fn() -> bool) {
    for _ in 0..600 {
        if is_so() {
            return;
        }
        thread::sleep(Duration::from_millis(50));
    }
    panic!("{what} has not come about");
}

fn listen() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

#[test]
fn a_server_that_fails_leaves_and_comes_back_and_the_sorry_server_serves_meanwhile() {
    let bench = Bench::new("fails");
    let ((first, one), (second, two)) = (listen(), listen());
    let mut server = service(vip(), &[one, two]);
    let sorry = TargetId::new(IpAddr::from([127, 0, 0, 1]), 1);
    server.sorry = Some(SorryServer { id: sorry, forward: ForwardMethod::Nat, inhibit: false });
    let running = bench.start(vec![server], LvsSettings::default());
    let served = |weights: &[(u16, u32)]| {
        let expect: BTreeMap<_, _> = weights.iter().copied().collect();
        wait(&format!("{expect:?}"), || bench.kernel.weights(vip()).as_ref() == Some(&expect));
    };
    served(&[(one, 1), (two, 1)]);
    drop(first);
    served(&[(two, 1)]);
    let status = running.status();
    let [down, up] = &status.services[0].servers[..] else { panic!("{status:?}") };
    assert_eq!((down.state.as_str(), down.weight, up.state.as_str()), ("down", None, "up"));
    assert!(down.reason.contains("connection refused"), "{down:?}");
    assert!(down.checks[0].passed == Some(false) && up.checks[0].passed == Some(true), "{status:?}");
    drop(second);
    served(&[(1, 1)]);
    assert!(running.status().services[0].sorry_serves);
    let _first = TcpListener::bind(("127.0.0.1", one)).unwrap();
    served(&[(one, 1)]);
    let told: Vec<_> = running
        .stop()
        .into_iter()
        .map(|notice| match notice {
            BalanceNotice::Target { target, up, .. } => format!("{} {up}", target.port == one),
            BalanceNotice::Quorum { up, .. } => format!("quorum {up}"),
            other => format!("{other:?}"),
        })
        .collect();
    let expect = ["quorum true", "true false", "false false", "quorum false", "true true", "quorum true"];
    assert_eq!(told, expect);
    assert_eq!(bench.kernel.weights(vip()), None, "a stop removes the service");
    assert!(!bench.has_state());
}

/// What vipd owns was written to the file after each service that went, and only a quarter of these was gone when the stop's time was over.
#[test]
fn a_stop_removes_a_thousand_services_in_time() {
    let bench = Bench::new("thousand");
    let of_number = |number| {
        let mut server = service(SocketAddr::from(([10, 9, 0, 1], number)), &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
        server.targets.iter_mut().for_each(|target| target.checks.clear());
        server
    };
    let running = bench.start((1..=1000).map(of_number).collect(), LvsSettings::default());
    wait("the services", || running.status().settled);
    let left = || bench.kernel.table.lock().unwrap().services.len();
    assert_eq!(left(), 1000);
    running.stop();
    assert_eq!(left(), 0);
    assert!(!bench.has_state());
}

#[test]
fn a_reload_touches_nothing_that_is_unchanged() {
    let bench = Bench::new("reload");
    let ((_first, one), (_, two)) = (listen(), listen());
    let servers = || vec![service(vip(), &[one, two])];
    let running = bench.start(servers(), LvsSettings::default());
    wait("the verdicts", || bench.kernel.weights(vip()) == Some([(one, 1)].into()));
    let steps = || bench.kernel.steps.load(SeqCst);
    let before = steps();
    running.send(ServicesMessage::Configure(Box::new(configuration(servers(), LvsSettings::default()))));
    assert_eq!(running.status().services[0].servers[1].state, "down", "its verdict stands");
    assert_eq!(steps(), before);
    // A server more is one step, and the verdict of the other stands.
    let (_third, three) = listen();
    let mut changed = vec![service(vip(), &[one, two, three])];
    changed.push(service(SocketAddr::from(([10, 9, 0, 2], 80)), &[two]));
    running.send(ServicesMessage::Configure(Box::new(configuration(changed, LvsSettings::default()))));
    wait("the new server", || bench.kernel.weights(vip()) == Some([(one, 1), (three, 1)].into()));
    // A known verdict holds for the new service too: the server that is known to be dead never enters.
    let other = SocketAddr::from(([10, 9, 0, 2], 80));
    wait("the new service", || bench.kernel.weights(other) == Some(BTreeMap::new()));
    assert_eq!(steps(), before + 2, "a destination and a service");
    running.stop();
}

#[test]
fn a_restart_takes_over_what_is_there_and_knows_who_was_dead() {
    let bench = Bench::new("restart");
    let ((_first, one), (_, two)) = (listen(), listen());
    let gone = SocketAddr::from(([10, 9, 0, 9], 80));
    let running =
        bench.start(vec![service(vip(), &[one, two]), service(gone, &[one])], LvsSettings::default());
    wait("the verdict", || bench.kernel.weights(vip()) == Some([(one, 1)].into()));
    running.drain(one, Some(None)).unwrap();
    running.leave();
    assert!(bench.has_state());
    // What a vipd that was killed may leave: a weight that is too old; and somebody else's service.
    {
        let mut table = bench.kernel.table.lock().unwrap();
        for served in &mut table.services {
            served.destinations.iter_mut().for_each(|it| it.destination.weight = 7);
        }
        let foreign = SocketAddr::from(([10, 9, 0, 77], 80));
        let key = table::key_of(address(foreign)).unwrap();
        let service = vipd_ipvs::VirtualService::new(key, vipd_ipvs::KernelName::new("rr").unwrap());
        change(&mut table, &IpvsStep::NewService(service)).unwrap();
    }
    let running = bench.start(vec![service(vip(), &[one, two])], LvsSettings::default());
    wait("the old weight to be corrected", || bench.kernel.weights(vip()) == Some([(one, 0)].into()));
    wait("what is not configured any more to go", || bench.kernel.weights(gone).is_none());
    let states =
        || running.status().services[0].servers.iter().map(|it| it.state.clone()).collect::<Vec<_>>();
    assert_eq!(states(), ["draining", "down"], "a verdict and a drain survive");
    running.drain(one, None).unwrap();
    wait("the undrained server", || bench.kernel.weights(vip()) == Some([(one, 1)].into()));
    running.stop();
    let foreign = SocketAddr::from(([10, 9, 0, 77], 80));
    assert!(bench.kernel.weights(foreign).is_some(), "what vipd has not made it leaves alone");
}

/// For a vipd that takes over: what this one knows is kept, it finds out nothing more, and the next one tells nothing twice.
#[test]
fn a_takeover_loses_no_verdict_and_tells_nothing_twice() {
    let bench = Bench::new("takeover");
    let ((first, one), (_, two)) = (listen(), listen());
    let servers = || vec![service(vip(), &[one, two])];
    let is = |weights: &[(u16, u32)]| bench.kernel.weights(vip()) == Some(weights.iter().copied().collect());
    let running = bench.start(servers(), LvsSettings::default());
    wait("the verdict", || is(&[(one, 1)]));
    let since = running.status().services[0].servers[1].since_unix_ms;
    let hold = |running: &Running| {
        let (reply, held) = oneshot::channel();
        running.send(ServicesMessage::Hold(reply));
        held.blocking_recv().unwrap();
    };
    hold(&running);
    drop(first);
    thread::sleep(Duration::from_millis(300));
    assert!(is(&[(one, 1)]), "a server was taken out behind the next vipd's back");
    // It came to nothing.
    running.send(ServicesMessage::GoOn);
    wait("the next verdict", || is(&[]));
    let _first = TcpListener::bind(("127.0.0.1", one)).unwrap();
    wait("the return", || is(&[(one, 1)]));
    hold(&running);
    let next = bench.start(servers(), LvsSettings::default());
    assert_eq!(next.status().services[0].servers[1].since_unix_ms, since, "it is down for as long as it was");
    running.leave();
    wait("the file of the next one", || !KeptServices::read(&bench.dir).since.is_empty());
    assert!(is(&[(one, 1)]));
    let told = next.stop();
    assert_eq!(told, [], "the first vipd has told all of it");
}

/// The kept weight is that of the old file: the new one is news, and only that.
#[test]
fn a_restart_with_another_file_tells_what_is_new() {
    let bench = Bench::new("edited");
    let ((_first, one), (_second, two)) = (listen(), listen());
    let servers = |weight: u32| {
        let mut server = service(vip(), &[one, two]);
        server.targets[0].weight = weight;
        vec![server]
    };
    let running = bench.start(servers(1), LvsSettings::default());
    wait("both", || bench.kernel.weights(vip()) == Some([(one, 1), (two, 1)].into()));
    running.leave();
    let running = bench.start(servers(5), LvsSettings::default());
    wait("the weight", || bench.kernel.weights(vip()) == Some([(one, 5), (two, 1)].into()));
    // An operator's word that the vipd before has not had.
    running.leave();
    let drained = |port: u16| KeptDrain {
        service: ServiceId::Single(address(vip())).to_string(),
        address: [127, 0, 0, 1].into(),
        port,
        until_unix_ms: None,
    };
    KeptDrains::new(&bench.dir.join("state")).write(&[drained(two)]).unwrap();
    let mut running = bench.start(servers(5), LvsSettings::default());
    wait("the drain", || bench.kernel.weights(vip()) == Some([(one, 5), (two, 0)].into()));
    assert!(matches!(
        running.notices_rx.blocking_recv(),
        Some(BalanceNotice::Draining { target, .. }) if target.port == two
    ));
    running.leave();
    let mut running = bench.start(servers(7), LvsSettings::default());
    wait("the next weight", || bench.kernel.weights(vip()) == Some([(one, 7), (two, 0)].into()));
    let told = running.notices_rx.blocking_recv();
    let is_weight =
        matches!(told, Some(BalanceNotice::Weight { target, from: 5, to: 7, .. }) if target.port == one);
    assert!(is_weight, "{told:?}");
    running.status();
    assert_eq!(running.notices_rx.try_recv().ok(), None, "the drain is known");
    running.stop();
}

/// Messages that wait leave no room: the takeover is not to begin before the thread stands still.
#[test]
fn a_full_queue_delays_a_hold_and_does_not_lose_it() {
    let (messages_tx, mut messages_rx) = mpsc::channel(1);
    let bench = Bench::new("full");
    let places = ServicePlaces {
        runtime_dir: bench.dir.clone(),
        state_dir: bench.dir.join("state"),
        look_period: Duration::from_secs(1),
    };
    let sessions = watch::Sender::new(BfdStates::default()).subscribe();
    let mut services = Services::new(places, &Unsupported::Refused, sessions);
    let thread = thread::spawn(move || {
        thread::sleep(Duration::from_millis(200));
        while let Some(message) = messages_rx.blocking_recv() {
            if let ServicesMessage::Hold(reply) = message {
                reply.send(()).unwrap();
                return;
            }
        }
        panic!("the hold was lost");
    });
    messages_tx.try_send(ServicesMessage::GoOn).unwrap();
    services.running = Some(RunningServices { messages_tx, thread, beat: Beat::default() });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(services.hold());
    services.running.take().unwrap().thread.join().unwrap();
}

#[test]
fn a_drain_says_what_is_wrong_and_ends_in_time() {
    let bench = Bench::new("drain");
    let ((_first, one), (_second, two)) = (listen(), listen());
    let running = bench.start(vec![service(vip(), &[one, two])], LvsSettings::default());
    wait("both", || bench.kernel.weights(vip()) == Some([(one, 1), (two, 1)].into()));
    assert!(running.drain(9, Some(None)).unwrap_err().contains("no real server 127.0.0.1:9"));
    let said = running.drain(one, Some(Some(Duration::from_secs(1)))).unwrap();
    assert!(said.ends_with("gets no new connections; 0 are left for 1 s"), "{said}");
    assert_eq!(bench.kernel.weights(vip()), Some([(one, 0), (two, 1)].into()));
    wait("the end of the drain", || bench.kernel.weights(vip()) == Some([(two, 1)].into()));
    assert_eq!(running.status().services[0].servers[0].state, "drained");
    running.stop();
}

#[test]
fn what_others_change_is_put_back() {
    let bench = Bench::new("repair");
    let (_first, one) = listen();
    let running = bench.start(vec![service(vip(), &[one])], LvsSettings::default());
    wait("the server", || bench.kernel.weights(vip()) == Some([(one, 1)].into()));
    let key = table::key_of(address(vip())).unwrap();
    let destination = DestinationKey { address: [127, 0, 0, 1].into(), port: one };
    for step in [IpvsStep::DeleteDestination { service: key, destination }, IpvsStep::DeleteService(key)] {
        change(&mut bench.kernel.table.lock().unwrap(), &step).unwrap();
        wait("the repair", || bench.kernel.weights(vip()) == Some([(one, 1)].into()));
    }
    wait("the count of repairs", || running.status().repairs >= 3);
    running.stop();
}

/// A service or sync daemon that somebody makes after vipd has removed its own is not vipd's: neither in this vipd, nor after a restart.
#[test]
fn what_vipd_has_removed_is_not_its_own_any_more() {
    let bench = Bench::new("forgets");
    let (_first, one) = listen();
    let former = SocketAddr::from(([10, 9, 0, 2], 80));
    let sync = ConnectionSync {
        interface: "eth1".into(),
        instance: None,
        id: 51,
        octets_max: None,
        port: None,
        ttl: None,
        group: None,
    };
    let lvs = LvsSettings { sync: Some(sync), ..LvsSettings::default() };
    let running = bench.start(vec![service(vip(), &[one]), service(former, &[one])], lvs);
    let daemons = || bench.kernel.table.lock().unwrap().daemons.len();
    let own = || {
        let kept = KeptServices::read(&bench.dir);
        (kept.addresses().collect::<Vec<_>>(), kept.syncs)
    };
    wait("both", || bench.kernel.weights(former).is_some() && daemons() == 2);
    wait("their names in the file", || own() == (vec![address(vip()), address(former)], true));
    let alone = || configuration(vec![service(vip(), &[one])], LvsSettings::default());
    running.send(ServicesMessage::Configure(Box::new(alone())));
    wait("the removal", || bench.kernel.weights(former).is_none() && daemons() == 0);
    wait("one name in the file", || own() == (vec![address(vip())], false));
    let by_hand = || {
        let key = table::key_of(address(former)).unwrap();
        let service = vipd_ipvs::VirtualService::new(key, vipd_ipvs::KernelName::new("rr").unwrap());
        let eth9 = vipd_ipvs::KernelName::new("eth9").unwrap();
        let daemon = vipd_ipvs::SyncDaemon::new(SyncRole::Backup, eth9, 7);
        for step in [IpvsStep::NewService(service), IpvsStep::StartDaemon(daemon)] {
            change(&mut bench.kernel.table.lock().unwrap(), &step).unwrap();
        }
    };
    by_hand();
    let looks = bench.kernel.reads.load(SeqCst);
    wait("some looks", || bench.kernel.reads.load(SeqCst) > looks + 2);
    running.leave();
    let running = bench.start(vec![service(vip(), &[one])], LvsSettings::default());
    wait("the start", || running.status().settled);
    running.stop();
    assert!(bench.kernel.weights(vip()).is_none() && bench.kernel.weights(former).is_some());
    assert_eq!(daemons(), 1, "somebody else's");
}

#[test]
fn timeouts_and_sync_daemons_follow_the_configuration_and_the_role() {
    let bench = Bench::new("sync");
    let (_first, one) = listen();
    let sync = ConnectionSync {
        interface: "eth1".into(),
        instance: Some("VI_1".into()),
        id: 51,
        octets_max: None,
        port: None,
        ttl: None,
        group: None,
    };
    let timeouts = LvsTimeouts { tcp_s: Some(90), tcp_fin_s: None, udp_s: Some(30) };
    let lvs = LvsSettings { timeouts, sync: Some(sync), ..LvsSettings::default() };
    let running = bench.start(vec![service(vip(), &[one])], lvs);
    let roles = || bench.kernel.table.lock().unwrap().daemons.iter().map(|it| it.role).collect::<Vec<_>>();
    wait("a backup", || roles() == [SyncRole::Backup]);
    assert_eq!(bench.kernel.table.lock().unwrap().timeouts.tcp_s, 90);
    let masters = ["VI_1".to_owned()].into();
    running.roles.send_modify(|roles| roles.masters = masters);
    wait("a master", || roles() == [SyncRole::Master]);
    running.roles.send_modify(|roles| roles.masters.clear());
    wait("a backup again", || roles() == [SyncRole::Backup]);
    running.stop();
    assert_eq!(roles(), []);
}

#[test]
fn ha_suspend_follows_the_lease() {
    let bench = Bench::new("suspend");
    let (first, one) = listen();
    let mut server = service(vip(), &[one]);
    server.ha_suspend = true;
    let running = bench.start(vec![server], LvsSettings::default());
    // It is no VIP of an instance yet: always here.
    wait("the server", || bench.kernel.weights(vip()) == Some([(one, 1)].into()));
    let own = |is_owned: bool| {
        running.roles.send_modify(|roles| {
            roles.vips = [vip().ip()].into();
            roles.owned = if is_owned { roles.vips.clone() } else { Default::default() };
        });
        wait("the role", || running.status().services[0].suspended != is_owned);
    };
    own(false);
    drop(first);
    thread::sleep(Duration::from_millis(300));
    assert_eq!(bench.kernel.weights(vip()), Some([(one, 1)].into()), "the last verdict stands");
    own(true);
    wait("the verdict", || bench.kernel.weights(vip()) == Some(BTreeMap::new()));
    running.stop();
}
