//! DNS_CHECK, UDP_CHECK and PING_CHECK.

use std::{fs, net::Ipv6Addr, thread};

use nix::sched::{CloneFlags, unshare};
use tokio::net::UdpSocket;

use super::*;

/// A server that answers each datagram with what `answer` makes of it, in this order.
async fn datagrams(answer: impl Fn(&[u8]) -> Vec<Vec<u8>> + Send + 'static) -> SocketAddr {
    let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = server.local_addr().unwrap();
    tokio::spawn(async move {
        let mut buffer = [0; 2000];
        while let Ok((length, peer)) = server.recv_from(&mut buffer).await {
            for answer in answer(&buffer[..length]) {
                let _ = server.send_to(&answer, peer).await;
            }
        }
    });
    address
}

async fn silent() -> (SocketAddr, UdpSocket) {
    let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    (server.local_addr().unwrap(), server)
}

#[tokio::test]
async fn an_answer_of_dns_needs_its_id_and_no_error() {
    let dns = |to, expect: Option<&str>| ProbeSpec::Dns {
        peer: impatient(to),
        name: "www.example".to_owned(),
        record: 1,
        expect: expect.map(str::to_owned),
    };
    // The query, as an answer with this code and these records.
    let answer = |query: &[u8], code: u8, records: &[[u8; 4]]| {
        let mut answer = query.to_vec();
        (answer[2], answer[3], answer[7]) = (0x81, 0x80 | code, u8::try_from(records.len()).unwrap());
        for address in records {
            answer.extend(b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04");
            answer.extend(address);
        }
        answer
    };
    let good = datagrams(move |query| {
        assert!(query.ends_with(b"\x03www\x07example\x00\x00\x01\x00\x01"), "{query:?}");
        assert_eq!(query[2..12], [1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
        // Before it what is not the answer: the query itself, another id, nothing.
        let mut other = answer(query, 3, &[]);
        other[0] ^= 1;
        vec![query.to_vec(), other, vec![], answer(query, 0, &[[10, 0, 0, 1], [10, 0, 0, 10]])]
    })
    .await;
    assert_eq!(run(&dns(good, None)).await, (ProbeOutcome::Passed, "NOERROR, 2 records".to_owned()));
    assert_eq!(
        run(&dns(good, Some("10.0.0.10"))).await,
        (ProbeOutcome::Passed, "NOERROR, 10.0.0.10".to_owned())
    );
    let why = r#"fail: no record is "10.0.0.2", but ["10.0.0.1", "10.0.0.10"]"#;
    assert_eq!(outcome(&dns(good, Some("10.0.0.2"))).await, why);
    for (code, name) in
        [(1, "FORMERR"), (2, "SERVFAIL"), (3, "NXDOMAIN"), (4, "NOTIMP"), (5, "REFUSED"), (9, "RCODE 9")]
    {
        let bad = datagrams(move |query| vec![answer(query, code, &[])]).await;
        assert_eq!(outcome(&dns(bad, None)).await, format!("fail: the answer is {name}"));
    }
    let empty = datagrams(move |query| vec![answer(query, 0, &[])]).await;
    assert_eq!(outcome(&dns(empty, None)).await, "pass", "records are not looked at");
    let cut = datagrams(move |query| {
        let mut answer = answer(query, 0, &[[10, 0, 0, 1]]);
        answer[2] |= 2;
        vec![answer]
    })
    .await;
    let why = r#"fail: no record is "x", but ["10.0.0.1"]; the answer is truncated"#;
    assert_eq!(outcome(&dns(cut, Some("x"))).await, why);
    let malformed =
        datagrams(move |query| vec![answer(query, 0, &[[10, 0, 0, 1]])[..query.len() + 5].to_vec()]).await;
    assert_eq!(
        outcome(&dns(malformed, Some("10.0.0.1"))).await,
        "fail: the answer is malformed: a record is cut off"
    );
    let flood = datagrams(move |query| vec![query.to_vec(); 100]).await;
    assert_eq!(outcome(&dns(flood, None)).await, "fail: no answer within 0.5 s");
    let (to, _server) = silent().await;
    assert_eq!(outcome(&dns(to, None)).await, "fail: no answer within 0.5 s");
    assert_eq!(outcome(&dns(closed_port().await, None)).await, "fail: connection refused");
}

#[tokio::test]
async fn udp_wants_no_error_or_a_fitting_answer() {
    let udp = |to, reply: Option<Vec<(u8, u8)>>, reply_octets| ProbeSpec::Udp {
        peer: impatient(to),
        payload: vec![1, 2, 3, 0xff],
        reply,
        reply_octets,
    };
    let echo = datagrams(|payload| vec![payload.to_vec()]).await;
    let exact = |octets: &[u8]| Some(octets.iter().map(|octet| (*octet, 0xff)).collect::<Vec<_>>());
    for (what, reply, lengths, expect) in [
        ("any", Some(vec![]), (0, 255), "pass"),
        ("not asked for", None, (0, 255), "pass"),
        ("equal", exact(&[1, 2, 3, 0xff]), (4, 4), "pass"),
        ("up to the shorter", exact(&[1, 2]), (0, 255), "pass"),
        ("up to the shorter", exact(&[1, 2, 3, 0xff, 9]), (0, 255), "pass"),
        ("nibbles", Some(vec![(1, 0xff), (0x02, 0x0f), (0, 0), (0xf0, 0xf0)]), (0, 255), "pass"),
        ("another", exact(&[1, 2, 4]), (0, 255), "fail: octet 2 of the answer is 0x03, expected 0x04"),
        ("too short", Some(vec![]), (5, 255), "fail: the answer has 4 octets, expected 5 at least"),
        ("too long", Some(vec![]), (0, 3), "fail: the answer is longer than 3 octets"),
    ] {
        assert_eq!(outcome(&udp(echo, reply, lengths)).await, expect, "{what}");
    }
    let (to, server) = silent().await;
    assert_eq!(outcome(&udp(to, None, (0, 255))).await, "pass", "silence");
    assert_eq!(outcome(&udp(to, Some(vec![]), (0, 255))).await, "fail: no answer within 0.5 s");
    let hasty = ProbePeer { total_timeout: Some(Duration::from_millis(100)), ..impatient(to) };
    let hasty =
        ProbeSpec::Udp { peer: hasty, payload: vec![1, 2, 3, 4], reply: None, reply_octets: (0, 255) };
    assert_eq!(outcome(&hasty).await, "pass", "silence for as long as the whole run may last");
    let random = ProbeSpec::Udp { peer: impatient(to), payload: vec![], reply: None, reply_octets: (0, 255) };
    assert_eq!(outcome(&random).await, "pass");
    let mut buffer = [0; 100];
    let lengths: Vec<_> = std::iter::from_fn(|| server.try_recv(&mut buffer).ok()).collect();
    assert_eq!(lengths, [4, 4, 4, 32]);
    let closed = closed_port().await;
    assert_eq!(outcome(&udp(closed, None, (0, 255))).await, "fail: connection refused");
    assert_eq!(outcome(&udp(closed, Some(vec![]), (0, 255))).await, "fail: connection refused");
}

#[tokio::test]
async fn an_echo_passes() {
    for to in ["127.0.0.1:0", "[::1]:0"] {
        let ping = ProbeSpec::Ping { peer: impatient(to.parse().unwrap()) };
        assert_eq!(run(&ping).await, (ProbeOutcome::Passed, "echo reply".to_owned()), "{to}");
    }
    // Many at once: each finds its own.
    let pings = (0..100).map(|_| async {
        let peer =
            ProbePeer { from: Some([127, 0, 0, 5].into()), ..impatient("127.0.0.1:0".parse().unwrap()) };
        outcome(&ProbeSpec::Ping { peer }).await
    });
    let mut set = tokio::task::JoinSet::new();
    pings.for_each(|ping| _ = set.spawn(ping));
    assert!(set.join_all().await.iter().all(|outcome| outcome == "pass"));
}

/// In a network namespace of its own: with a group range for ping sockets, with none, and with a host that does not answer.
#[test]
fn an_echo_passes_with_either_kind_of_socket() {
    let run = || {
        unshare(CloneFlags::CLONE_NEWNET).expect("tests run as root");
        let up = std::process::Command::new("ip").args(["link", "set", "lo", "up"]).status().unwrap();
        assert!(up.success());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            for (range, raw) in [("1\t0", true), ("0\t0", false)] {
                // The file is of the thread's namespace.
                fs::write("/proc/thread-self/net/../../sys/net/ipv4/ping_group_range", range)
                    .or_else(|_| fs::write("/proc/sys/net/ipv4/ping_group_range", range))
                    .unwrap();
                for to in [SocketAddr::from(([127, 0, 0, 1], 0)), (Ipv6Addr::LOCALHOST, 0).into()] {
                    assert_eq!(crate::net::icmp(&impatient(to)).unwrap().1, raw, "{to} {range}");
                    assert_eq!(
                        outcome(&ProbeSpec::Ping { peer: impatient(to) }).await,
                        "pass",
                        "{to} {range}"
                    );
                }
                // A host that is not there: no route.
                let peer = impatient(SocketAddr::from(([192, 0, 2, 1], 0)));
                assert_eq!(outcome(&ProbeSpec::Ping { peer }).await, "fail: network is unreachable");
            }
            fs::write("/proc/sys/net/ipv4/icmp_echo_ignore_all", "1").unwrap();
            let peer = impatient(SocketAddr::from(([127, 0, 0, 1], 0)));
            assert_eq!(outcome(&ProbeSpec::Ping { peer }).await, "fail: no echo reply within 0.5 s");
        });
    };
    thread::spawn(run).join().unwrap();
}
