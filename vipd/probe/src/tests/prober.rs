//! The prober: turns, limits, hung targets, and the way to the judge.

use std::{
    collections::{BTreeMap, HashMap},
    sync::atomic::{AtomicUsize, Ordering::SeqCst},
};

use nix::time::{ClockId, clock_gettime};
use tokio::{
    sync::mpsc::Receiver,
    time::{sleep, timeout},
};
use vipd_balance::{
    BalanceConfig, FIRST_PROBE_DELAY, ForwardMethod, Judge, JudgeEvent, ProbeId, ProbePause, ProbeUse,
    ServiceAddress, ServiceId, ServiceTarget, TargetId, TransportProtocol, VirtualServer,
};
use vipd_core::time::{Instant, nanos};

use super::*;
use crate::{ProbeReport, Prober, ProberSettings};

fn now() -> Instant {
    Instant::from_nanos(nanos(clock_gettime(ClockId::CLOCK_BOOTTIME).unwrap().into()))
}

/// A judge of services that have one target with these checks each.
fn judge(services: Vec<Vec<ProbeUse>>) -> Judge {
    let servers = (1..).zip(services).map(|(port, checks)| {
        let address =
            ServiceAddress::Socket { protocol: TransportProtocol::Tcp, address: [10, 9, 0, 1].into(), port };
        let mut target = ServiceTarget::new(TargetId::new([10, 0, 0, 1].into(), port), ForwardMethod::Direct);
        target.checks = checks;
        let mut server = VirtualServer::new(ServiceId::Single(address), vec![address]);
        server.targets.push(target);
        server
    });
    let mut judge = Judge::new([]);
    judge.handle(JudgeEvent::Reload(BalanceConfig::new(servers.collect(), false).unwrap()), now());
    judge
}

/// The identities that a judge gives to the probes of these checks, in this order.
pub(super) fn ids(checks: impl IntoIterator<Item = ProbeUse>) -> Vec<ProbeId> {
    judge(vec![checks.into_iter().collect()]).probes().map(|need| need.id).collect()
}

fn every(probe: ProbeSpec, period: Duration) -> ProbeUse {
    ProbeUse { delay_loop: period, warmup: Duration::ZERO, ..ProbeUse::new(probe) }
}

fn start(settings: ProberSettings) -> (Prober, Receiver<ProbeReport>) {
    Prober::start(settings, Arc::new(FakeScripts)).unwrap()
}

async fn next(reports: &mut Receiver<ProbeReport>) -> ProbeReport {
    timeout(Duration::from_secs(20), reports.recv()).await.expect("a report in time").expect("a prober")
}

const PERIOD: Duration = Duration::from_millis(100);

#[tokio::test]
async fn equal_probes_are_sent_once_and_in_turn() {
    let counted = Arc::new(AtomicUsize::new(0));
    let server = serve({
        let counted = counted.clone();
        move |_| {
            counted.fetch_add(1, SeqCst);
            async {}
        }
    })
    .await;
    let check = every(ProbeSpec::tcp(server), PERIOD);
    let judge = judge(vec![vec![check.clone()], vec![check.clone()], vec![check]]);
    let (prober, mut reports) = start(ProberSettings { jitter_percent: 0, ..ProberSettings::new(now) });
    let started = now();
    prober.set_probes(judge.probes());
    let first = next(&mut reports).await;
    assert_eq!(first.outcome, ProbeOutcome::Passed);
    assert_eq!((first.words.as_ref(), first.weight()), ("connected", None));
    assert!(first.latency < Duration::from_secs(1) && first.latency > Duration::ZERO);
    assert!(first.ended.saturating_since(started) >= FIRST_PROBE_DELAY);
    let mut before = first.ended;
    for _ in 0..5 {
        let report = next(&mut reports).await;
        let pause = report.ended.saturating_since(before);
        assert!(pause >= PERIOD, "{pause:?}");
        before = report.ended;
    }
    let load = prober.load();
    assert_eq!((load.probes, load.not_sent), (1, 0));
    assert!(load.runs >= 6 && load.running <= 1 && load.sockets <= 1, "{load:?}");
    assert!(now().saturating_since(load.turned) < Duration::from_secs(5));
    // Dropped, it ends: nobody is connected to any more, and the channel is closed.
    drop(prober);
    let mut told = 6;
    while reports.recv().await.is_some() {
        told += 1;
    }
    sleep(PERIOD * 5).await;
    // One for all three services; the last may have been given up.
    let sent = counted.load(SeqCst);
    assert!(sent == told || sent == told + 1, "{sent} sent, {told} told");
}

/// 1,000 targets whose handshake never ends, and hung servers of HTTP, hold up nobody else's verdict.
#[tokio::test]
async fn a_thousand_dead_targets_delay_no_other() {
    let (full, _held) = full_queue_everywhere().await;
    let good = serve(|_| async {}).await;
    let slow = |to| ProbeSpec::Tcp {
        peer: ProbePeer { connect_timeout: Duration::from_secs(20), ..ProbePeer::new(to) },
    };
    let dead = (0..1000).map(|n: u16| {
        let [high, low] = n.to_be_bytes();
        every(slow(SocketAddr::from(([127, 3, high, low], full.port()))), PERIOD)
    });
    let checks = std::iter::once(every(ProbeSpec::tcp(good), PERIOD)).chain(dead).collect();
    let judge = judge(vec![checks]);
    let good = judge.probes().find(|need| need.spec.peer().unwrap().to == good).unwrap().id;
    let (prober, mut reports) = start(ProberSettings::new(now));
    prober.set_probes(judge.probes());
    let mut before: Option<Instant> = None;
    for _ in 0..30 {
        let report = next(&mut reports).await;
        assert_eq!((report.probe, report.outcome), (good, ProbeOutcome::Passed));
        if let Some(before) = before {
            let pause = report.ended.saturating_since(before);
            // Behind one of the dead it would wait for 20 s.
            assert!(pause < Duration::from_secs(10), "{pause:?}");
        }
        before = Some(report.ended);
    }
    let load = prober.load();
    assert!(load.running >= 1000 && load.sockets >= 1000, "{load:?}");
    // They are given up without a report.
    let few = self::judge(vec![vec![every(ProbeSpec::tcp(closed_port().await), PERIOD)]]);
    prober.set_probes(few.probes());
    timeout(Duration::from_secs(10), async {
        while prober.load().running > 1 || prober.load().sockets > 1 {
            sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .unwrap();
}

/// Like [`full_queue`], with all addresses of the host.
async fn full_queue_everywhere() -> (SocketAddr, impl Sized) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)).into()).unwrap();
    socket.listen(0).unwrap();
    let port = socket.local_addr().unwrap().as_socket().unwrap().port();
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut held = Vec::new();
    for _ in 0..2 {
        held.extend(
            timeout(Duration::from_millis(300), TcpStream::connect(address)).await.into_iter().flatten(),
        );
    }
    (address, (socket, held))
}

#[tokio::test]
async fn a_forgiven_failure_is_tried_again_soon() {
    let target = closed_port().await;
    let mut check = every(ProbeSpec::tcp(target), Duration::from_secs(3600));
    (check.retry, check.delay_before_retry) = (3, PERIOD);
    // It has passed before, so that its first failure is not final.
    let mut judge = judge(vec![vec![check]]);
    let id = judge.probes().next().unwrap().id;
    judge
        .handle(JudgeEvent::Probed { probe: id, outcome: ProbeOutcome::Passed, took: Duration::ZERO }, now());
    let (prober, mut reports) = start(ProberSettings::new(now));
    prober.set_probes(judge.probes());
    for failures in 1..=4 {
        let report = next(&mut reports).await;
        assert_eq!(text(&report.outcome), "fail: connection refused");
        judge.handle(
            JudgeEvent::Probed { probe: report.probe, outcome: report.outcome, took: report.latency },
            report.ended,
        );
        let pause = judge.pause(id).unwrap();
        assert_eq!(matches!(pause, ProbePause::Retry(_)), failures < 4);
        prober.set_pause(id, pause);
    }
    assert!(judge.desired().services().values().all(|service| service.targets.is_empty()));
    // And now the period.
    assert!(timeout(Duration::from_millis(500), reports.recv()).await.is_err());
}

#[tokio::test]
async fn a_lack_of_sockets_is_told_and_passes() {
    let hung = full_queue().await;
    let good = serve(|_| async {}).await;
    let hangs = ProbePeer { connect_timeout: Duration::from_millis(700), ..ProbePeer::new(hung.0) };
    let judge = judge(vec![vec![
        every(ProbeSpec::Tcp { peer: hangs }, Duration::from_secs(3600)),
        every(ProbeSpec::tcp(good), PERIOD),
    ]]);
    let (prober, mut reports) = start(ProberSettings { sockets: 1, ..ProberSettings::new(now) });
    prober.set_probes(judge.probes());
    let mut seen = BTreeMap::<String, usize>::new();
    for _ in 0..15 {
        *seen.entry(text(&next(&mut reports).await.outcome)).or_default() += 1;
    }
    let none = "not sent: all 1 sockets for probes are in use";
    assert!(seen[none] >= 2 && seen["pass"] >= 2, "{seen:?}");
    assert_eq!(seen["fail: no connection within 0.7 s"], 1);
    assert_eq!(prober.load().not_sent, u64::try_from(seen[none]).unwrap());
}

#[tokio::test]
async fn reports_wait_for_the_daemon_and_none_is_lost() {
    let good = serve(|_| async {}).await;
    let checks = (1..=20).map(|n| {
        let peer = ProbePeer { from: Some([127, 0, 0, n].into()), ..ProbePeer::new(good) };
        every(ProbeSpec::Tcp { peer }, Duration::from_millis(10))
    });
    let judge = judge(vec![checks.collect()]);
    let (prober, mut reports) = start(ProberSettings { reports: 4, ..ProberSettings::new(now) });
    prober.set_probes(judge.probes());
    sleep(Duration::from_secs(2)).await;
    // All have run once, and wait.
    let load = prober.load();
    assert_eq!((load.runs, load.running), (24, 20), "{load:?}");
    let mut seen = HashMap::<ProbeId, usize>::new();
    for _ in 0..24 {
        *seen.entry(next(&mut reports).await.probe).or_default() += 1;
    }
    assert_eq!(seen.len(), 20);
}

/// A run that panics is no failure of the target, and the probe has its next turn.
#[tokio::test]
async fn a_panic_is_no_verdict() {
    // The fake runner has no second word to read.
    let misc = ProbeSpec::Misc { words: vec!["exit".to_owned()], account: None, timeout: PERIOD };
    let judge = judge(vec![vec![every(misc, PERIOD)]]);
    let (prober, mut reports) = start(ProberSettings::new(now));
    prober.set_probes(judge.probes());
    for _ in 0..2 {
        assert_eq!(text(&next(&mut reports).await.outcome), "not sent: a fault of vipd ended the probe");
    }
    assert!(prober.load().not_sent >= 2);
}

#[tokio::test]
async fn first_runs_are_spread() {
    let good = serve(|_| async {}).await;
    let checks = (1..=50).map(|n| {
        let peer = ProbePeer { from: Some([127, 0, 1, n].into()), ..ProbePeer::new(good) };
        let period = Duration::from_secs(2);
        ProbeUse {
            delay_loop: Duration::from_secs(60),
            warmup: period,
            ..ProbeUse::new(ProbeSpec::Tcp { peer })
        }
    });
    let judge = judge(vec![checks.collect()]);
    let mut seen = Vec::new();
    // A busy machine holds them up, and then they come together.
    for _ in 0..10 {
        let (prober, mut reports) = start(ProberSettings::new(now));
        let started = now();
        prober.set_probes(judge.probes());
        let mut quarters = [0; 4];
        for _ in 0..50 {
            let after = next(&mut reports).await.ended.saturating_since(started + FIRST_PROBE_DELAY);
            quarters[usize::try_from(after.as_millis() / 500).unwrap().min(3)] += 1;
        }
        if quarters.iter().all(|quarter| (8..=18).contains(quarter)) {
            return;
        }
        seen.push(quarters);
    }
    panic!("{seen:?}");
}

#[tokio::test]
async fn files_report_by_themselves_and_sessions_elsewhere() {
    let directory = std::env::temp_dir().join(format!("vipd-probe-prober-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let path = directory.join("weight");
    std::fs::write(&path, "3").unwrap();
    let file = ProbeUse::new(ProbeSpec::File { path: path.display().to_string() });
    let session = ProbeUse::new(ProbeSpec::Bfd { session: "a".to_owned() });
    let judge = judge(vec![vec![file, session]]);
    let (prober, mut reports) = start(ProberSettings::new(now));
    prober.set_probes(judge.probes());
    let first = next(&mut reports).await;
    assert_eq!((first.weight(), &first.outcome), (Some(3), &ProbeOutcome::Value(3)));
    // The same probes again: nothing new is told.
    prober.set_probes(judge.probes());
    std::fs::write(&path, "-4").unwrap();
    assert_eq!(next(&mut reports).await.weight(), Some(-4));
    drop(prober);
    std::fs::remove_dir_all(&directory).unwrap();
}
