//! Hostile servers: many probes of endless answers, in a process of its own whose memory is measured.
#![allow(clippy::unwrap_used, reason = "all of it is a test")]

use std::{
    collections::BTreeMap,
    fs,
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    sync::Arc,
    thread,
    time::Duration,
};

use nix::time::{ClockId, clock_gettime};
use vipd_balance::{
    BalanceConfig, ForwardMethod, HttpProtocol, HttpUrl, Judge, JudgeEvent, ProbeOutcome, ProbePeer,
    ProbeSpec, ProbeUse, ServiceAddress, ServiceId, ServiceTarget, TargetId, TlsSettings, TransportProtocol,
    VirtualServer,
};
use vipd_core::time::{Instant, nanos};
use vipd_probe::{ProbeScript, Prober, ProberSettings, RunScript, ScriptEnd, ScriptFuture};

struct NoScripts;

impl RunScript for NoScripts {
    fn run<'a>(&'a self, _: ProbeScript<'a>) -> ScriptFuture<'a> {
        Box::pin(async { ScriptEnd::NotRun("there are no commands here".to_owned()) })
    }
}

fn now() -> Instant {
    Instant::from_nanos(nanos(clock_gettime(ClockId::CLOCK_BOOTTIME).unwrap().into()))
}

/// Most memory of this process so far, in KiB.
fn peak_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

/// A server of all of 127.0.0.0/8: a start, then the same for ever.
fn endless(start: &'static [u8], then: &'static [u8]) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    // Much in a call: the servers share the processors with the prober.
    let then: Arc<[u8]> = then.repeat(100_000 / then.len() + 1).into();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let then = then.clone();
            thread::Builder::new()
                .stack_size(64 * 1024)
                .spawn(move || {
                    if stream.write_all(start).is_ok() {
                        while stream.write_all(&then).is_ok() {}
                    }
                })
                .unwrap();
        }
    });
    port
}

const EACH: u16 = 40;

#[test]
fn hostile_servers_cost_bounded_memory_and_delay_no_other() {
    static RECORD: [u8; 0x4005] = {
        let mut record = [0xa5; 0x4005];
        [record[0], record[1], record[2], record[3], record[4]] = [0x16, 3, 3, 0x40, 0];
        record
    };
    static BLOCK: [u8; 65536] = [b'a'; 65536];
    let good = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let good_at = good.local_addr().unwrap();
    thread::spawn(move || {
        for mut stream in good.incoming().flatten() {
            let mut request = [0; 1000];
            let _ = stream.read(&mut request);
            let _ = stream.write_all(b"HTTP/1.0 200 OK\r\n\r\ngood");
        }
    });
    let url = |regex: Option<&str>| HttpUrl { regex: regex.map(str::to_owned), ..HttpUrl::new("/") };
    let http = |to, tls: Option<TlsSettings>, url| ProbeSpec::Http {
        peer: ProbePeer { total_timeout: Some(Duration::from_secs(20)), ..ProbePeer::new(to) },
        tls,
        protocol: HttpProtocol::V1_1,
        head: false,
        urls: vec![url],
    };
    let text = |to| ProbeSpec::Text {
        peer: ProbePeer::new(to),
        udp: false,
        tls: None,
        send: Vec::new(),
        expect: Some("b".to_owned()),
    };
    let smtp = |to| ProbeSpec::Smtp { peer: ProbePeer::new(to), helo: "lb.example".to_owned() };
    let body = &b"HTTP/1.1 200 OK\r\n\r\n"[..];
    let ports = [
        endless(b"HTTP/1.1 200 OK\r\n", b"X-Endless: aaaaaaaaaaaaaaaa\r\n"),
        endless(body, &BLOCK),
        endless(&RECORD, &RECORD),
        endless(b"", &BLOCK),
        // Each piece costs a turn, and among so many each has to wait for its own: these seldom end in time.
        endless(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\na\r\n"),
    ];
    let mut target = ServiceTarget::new(TargetId::new([10, 0, 0, 1].into(), 80), ForwardMethod::Direct);
    let mut add = |probe| {
        let period = Duration::from_millis(200);
        target.checks.push(ProbeUse { delay_loop: period, warmup: period, ..ProbeUse::new(probe) });
    };
    add(http(good_at, None, url(Some("good"))));
    for n in 0..EACH {
        let [high, low] = n.to_be_bytes();
        let [header, body, tls, text_port, chunks] =
            ports.map(|port| SocketAddr::from(([127, 5, high, low], port)));
        add(http(header, None, url(None)));
        add(http(body, None, url(Some("b"))));
        add(http(tls, Some(TlsSettings::default()), url(None)));
        add(text(text_port));
        add(smtp(text_port));
        add(http(chunks, None, url(Some("b"))));
    }
    let address =
        ServiceAddress::Socket { protocol: TransportProtocol::Tcp, address: [10, 9, 0, 1].into(), port: 80 };
    let mut server = VirtualServer::new(ServiceId::Single(address), vec![address]);
    server.targets.push(target);
    let mut judge = Judge::new([]);
    judge.handle(JudgeEvent::Reload(BalanceConfig::new(vec![server], false).unwrap()), now());

    let settings = ProberSettings { answer_octets: 16 << 20, ..ProberSettings::new(now) };
    let (prober, mut reports) = Prober::start(settings, Arc::new(NoScripts)).unwrap();
    let before_kib = peak_kib();
    prober.set_probes(judge.probes());
    let good = judge.probes().find(|need| need.spec.peer().unwrap().to == good_at).unwrap().id;
    let (mut seen, mut goods) = (BTreeMap::<String, u32>::new(), Vec::new());
    let until = now() + Duration::from_secs(12);
    // Behind the others the good one would have a verdict in 20 s. How many it has in 12 s is the machine's.
    while now() < until || goods.len() < 4 && now() < until + Duration::from_secs(48) {
        let report = reports.blocking_recv().unwrap();
        let text = match report.outcome {
            ProbeOutcome::Passed => {
                assert_eq!(report.probe, good, "{}", report.words);
                goods.push(report.ended);
                "pass".to_owned()
            }
            ProbeOutcome::Failed(why) => why,
            // The only shortage that is planned.
            ProbeOutcome::NotSent(why) => {
                assert!(why.starts_with("no room for an answer"), "{why}");
                why
            }
            other => panic!("{other:?}"),
        };
        *seen.entry(text).or_default() += 1;
    }
    drop(prober);
    let grown_kib = peak_kib() - before_kib;
    println!("grown by {grown_kib} KiB: {seen:#?}");
    // 16 MiB of answers, at most 64 KiB for each of 240 probes and for each server's thread, and what the allocator keeps.
    assert!(grown_kib < 128 * 1024, "grown by {grown_kib} KiB");
    for why in ["the header is longer", "TLS handshake: ", "the answer is longer", "banner: a line is longer"]
    {
        assert!(
            seen.iter().any(|(text, count)| text.starts_with(why) && *count >= u32::from(EACH)),
            "{why}: {seen:#?}"
        );
    }
    let gaps = goods.windows(2).map(|pair| pair[1].saturating_since(pair[0]));
    let longest = gaps.max().expect("the good one has passed twice");
    println!("longest pause of the good one: {longest:?}, {} verdicts", goods.len());
    assert!(goods.len() > 3, "{} verdicts, {longest:?}", goods.len());
}
