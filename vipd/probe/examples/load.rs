//! 10,000 targets, a TCP_CHECK each second of each: the prober's share of a core, and the latest verdict.
//!
//! `cargo run --release -p vipd-probe --example load [TARGETS] [SECONDS] [ADDRESS:PORT]`. The judge runs beside it, as in the daemon.
//!
//! The targets are on loopback, where the kernel does the servers' half of each connection in the prober's system calls, and charges the prober
//! with it. With an address they are elsewhere: as many addresses from this one on, all with this port.

use std::{
    collections::HashMap,
    error::Error,
    fs,
    net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener},
    sync::Arc,
    thread,
    time::Duration,
};

use nix::time::{ClockId, clock_gettime};
use socket2::{Domain, Socket, Type};
use vipd_balance::{
    BalanceConfig, ForwardMethod, Judge, JudgeEvent, ProbeId, ProbeOutcome, ProbePause, ProbeSpec, ProbeUse,
    ServiceAddress, ServiceId, ServiceTarget, TargetId, TransportProtocol, VirtualServer,
};
use vipd_core::time::{Instant, nanos};
use vipd_probe::{ProbeScript, Prober, ProberSettings, RunScript, ScriptEnd, ScriptFuture};

const PERIOD: Duration = Duration::from_secs(1);

struct NoScripts;

impl RunScript for NoScripts {
    fn run<'a>(&'a self, _: ProbeScript<'a>) -> ScriptFuture<'a> {
        Box::pin(async { ScriptEnd::NotRun("there are no commands here".to_owned()) })
    }
}

fn now() -> Instant {
    clock_gettime(ClockId::CLOCK_BOOTTIME)
        .map_or_else(|_| Instant::default(), |time| Instant::from_nanos(nanos(time.into())))
}

/// CPU time of the threads with this name, in user space and in the kernel.
fn cpu(name: &str) -> Result<[Duration; 2], Box<dyn Error>> {
    let mut ticks = [0, 0];
    for task in fs::read_dir("/proc/self/task")? {
        let stat = fs::read_to_string(task?.path().join("stat"))?;
        let (head, rest) = stat.rsplit_once(')').ok_or("no name")?;
        if head.ends_with(&format!("({name}")) {
            let fields: Vec<_> = rest.split_whitespace().collect();
            ticks[0] += fields[11].parse::<u64>()?;
            ticks[1] += fields[12].parse::<u64>()?;
        }
    }
    // USER_HZ is 100 wherever vipd runs.
    Ok(ticks.map(|ticks| Duration::from_millis(ticks * 10)))
}

/// Servers on all addresses of loopback; returns the first that is probed.
fn serve() -> Result<SocketAddrV4, Box<dyn Error>> {
    // With a queue for all: a server that is late would cost a second, the retransmission of SYN.
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    listener.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)).into())?;
    listener.listen(4096)?;
    let listener = Arc::new(TcpListener::from(listener));
    let port = listener.local_addr()?.port();
    for _ in 0..2 {
        let listener = listener.clone();
        thread::Builder::new()
            .name("server".to_owned())
            .spawn(move || while let Ok(_accepted) = listener.accept() {})?;
    }
    Ok(SocketAddrV4::new(Ipv4Addr::new(127, 1, 0, 0), port))
}

fn judge(first: SocketAddrV4, targets: u32) -> Result<Judge, Box<dyn Error>> {
    let mut servers = Vec::new();
    for (at, chunk) in (0..targets).collect::<Vec<_>>().chunks(100).enumerate() {
        let port_of_service = u16::try_from(at + 1)?;
        let address = ServiceAddress::Socket {
            protocol: TransportProtocol::Tcp,
            address: [10, 9, 0, 1].into(),
            port: port_of_service,
        };
        let mut server = VirtualServer::new(ServiceId::Single(address), vec![address]);
        for target in chunk {
            let to = SocketAddr::from((Ipv4Addr::from(u32::from(*first.ip()) + target), first.port()));
            let mut target = ServiceTarget::new(TargetId::from(to), ForwardMethod::Nat);
            target.checks.push(ProbeUse {
                delay_loop: PERIOD,
                warmup: PERIOD,
                ..ProbeUse::new(ProbeSpec::tcp(to))
            });
            server.targets.push(target);
        }
        servers.push(server);
    }
    let mut judge = Judge::new([]);
    let config = BalanceConfig::new(servers, false).map_err(|(_, fault)| format!("{fault:?}"))?;
    judge.handle(JudgeEvent::Reload(config), now());
    while judge.poll_output().is_some() {}
    Ok(judge)
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let targets = arguments.next().map_or(Ok(10_000), |targets| targets.parse::<u32>())?.min(60_000);
    let seconds = arguments.next().map_or(Ok(15), |seconds| seconds.parse::<u64>())?.clamp(1, 600);
    let first = arguments.next().map_or_else(serve, |first| Ok(first.parse()?))?;
    let mut judge = judge(first, targets)?;
    let (prober, mut reports) = Prober::start(ProberSettings::new(now), Arc::new(NoScripts))?;
    prober.set_probes(judge.probes());
    // Over the first runs, which are spread over a period.
    let (from, mut begun) = (now() + Duration::from_secs(4), None);
    let until = from + Duration::from_secs(seconds);
    let mut last: HashMap<ProbeId, Instant> = HashMap::new();
    let (mut gaps, mut latencies, mut failed) = (Vec::new(), Vec::new(), HashMap::<String, u64>::new());
    let mut slowest = Duration::ZERO;
    while let Some(report) = reports.blocking_recv() {
        let at = now();
        if at >= until {
            break;
        }
        if at >= from {
            if begun.is_none() {
                begun = Some((at, cpu("vipd-probe")?, cpu("load")?));
                prober.load();
            }
            latencies.push(report.latency);
            slowest = slowest.max(report.late + report.latency + at.saturating_since(report.ended));
            if let Some(before) = last.get(&report.probe) {
                gaps.push(at.saturating_since(*before));
            }
        }
        last.insert(report.probe, at);
        if report.outcome != ProbeOutcome::Passed {
            *failed.entry(format!("{:?}", report.outcome)).or_default() += 1;
        }
        judge.handle(
            JudgeEvent::Probed { probe: report.probe, outcome: report.outcome, took: report.latency },
            report.ended,
        );
        while judge.poll_output().is_some() {}
        if let Some(pause @ ProbePause::Retry(_)) = judge.pause(report.probe) {
            prober.set_pause(report.probe, pause);
        }
    }
    let (start, probe_cpu, judge_cpu) = begun.ok_or("no report came")?;
    let took = now().saturating_since(start);
    let share = |used: [Duration; 2], before: [Duration; 2]| {
        let [user, kernel] =
            [0, 1].map(|part| 100.0 * (used[part] - before[part]).as_secs_f64() / took.as_secs_f64());
        format!("{:.1} % of a core: {user:.1} % in user space, {kernel:.1} % in the kernel", user + kernel)
    };
    gaps.sort();
    latencies.sort();
    let part = |sorted: &[Duration], percent: usize| {
        sorted.get(sorted.len() * percent / 100).or(sorted.last()).copied().unwrap_or_default()
    };
    let load = prober.load();
    println!("targets                 {targets}, period {PERIOD:?}, jitter 10 %");
    println!(
        "verdicts                {} in {took:.1?}: {:.0} a second",
        latencies.len(),
        latencies.len() as f64 / took.as_secs_f64()
    );
    println!("CPU of the prober       {}", share(cpu("vipd-probe")?, probe_cpu));
    println!("CPU of judge and main   {}", share(cpu("load")?, judge_cpu));
    println!(
        "latency of a probe      median {:?}, 99 % {:?}, longest {:?}",
        part(&latencies, 50),
        part(&latencies, 99),
        part(&latencies, 100)
    );
    println!("late start, longest     {:?}", load.latest);
    println!("from due to verdict     longest {slowest:?}");
    println!(
        "between two verdicts    median {:?}, 99 % {:?}, longest {:?}",
        part(&gaps, 50),
        part(&gaps, 99),
        part(&gaps, 100)
    );
    println!("not passed              {failed:?}");
    Ok(())
}
