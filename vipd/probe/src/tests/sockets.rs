//! TCP_CHECK, and the sockets of all.

use std::net::IpAddr;

use tokio::sync::mpsc;

use super::*;

#[tokio::test]
async fn a_handshake_passes_and_its_end_is_orderly() {
    let (tx, mut ends) = mpsc::channel(1);
    let address = serve(move |mut stream| {
        let tx = tx.clone();
        async move {
            // An end of file, and no reset.
            tx.send(stream.read(&mut [0; 1]).await.map_err(|error| error.kind())).await.unwrap();
        }
    })
    .await;
    assert_eq!(run(&ProbeSpec::tcp(address)).await, (ProbeOutcome::Passed, "connected".to_owned()));
    assert_eq!(ends.recv().await, Some(Ok(0)));
}

#[tokio::test]
async fn a_target_that_does_not_connect_fails() {
    assert_eq!(outcome(&ProbeSpec::tcp(closed_port().await)).await, "fail: connection refused");
    let (full, _held) = full_queue().await;
    assert_eq!(outcome(&ProbeSpec::Tcp { peer: impatient(full) }).await, "fail: no connection within 0.5 s");
    let mut peer = impatient(full);
    (peer.connect_timeout, peer.total_timeout) = (Duration::from_secs(5), Some(Duration::from_millis(200)));
    assert_eq!(outcome(&ProbeSpec::Tcp { peer }).await, "fail: the whole probe took longer than 0.2 s");
}

#[tokio::test]
async fn the_source_is_as_configured() {
    let (tx, mut peers) = mpsc::channel(1);
    let address = serve(move |stream| {
        let tx = tx.clone();
        async move { tx.send(stream.peer_addr().unwrap()).await.unwrap() }
    })
    .await;
    let from: IpAddr = [127, 9, 8, 7].into();
    let mut peer = ProbePeer { from: Some(from), ..ProbePeer::new(address) };
    assert_eq!(outcome(&ProbeSpec::Tcp { peer: peer.clone() }).await, "pass");
    assert_eq!(peers.recv().await.unwrap().ip(), from);
    let free = closed_port().await.port();
    peer.from_port = Some(free);
    // Twice: the first connection is in TIME-WAIT.
    for _ in 0..2 {
        assert_eq!(outcome(&ProbeSpec::Tcp { peer: peer.clone() }).await, "pass");
        assert_eq!(peers.recv().await.unwrap(), SocketAddr::new(from, free));
        // Until the server has closed its half too.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    peer.interface = Some("lo".to_owned());
    assert_eq!(outcome(&ProbeSpec::Tcp { peer: peer.clone() }).await, "pass");
    (peer.mark, peer.from_port) = (7, None);
    let marked = outcome(&ProbeSpec::Tcp { peer }).await;
    // Needs CAP_NET_ADMIN.
    assert!(
        marked == "pass" || marked == "not sent: cannot set fwmark 7: operation not permitted",
        "{marked}"
    );
}

#[tokio::test]
async fn a_socket_that_cannot_be_made_is_no_verdict() {
    let address = serve(|_| async {}).await;
    let peer = ProbePeer { from: Some([192, 0, 2, 1].into()), ..ProbePeer::new(address) };
    let why = "not sent: cannot bind to 192.0.2.1:0: cannot assign requested address";
    assert_eq!(outcome(&ProbeSpec::Tcp { peer: peer.clone() }).await, why);
    let udp = ProbeSpec::Udp { peer, payload: vec![1], reply: None, reply_octets: (0, 255) };
    assert_eq!(outcome(&udp).await, why);
    let peer = ProbePeer { interface: Some("vipd-none0".to_owned()), ..ProbePeer::new(address) };
    assert_eq!(
        outcome(&ProbeSpec::Tcp { peer }).await,
        "not sent: cannot bind to vipd-none0: no such device"
    );
    // An unreachable network is a failure, as with keepalived. Without a route to it that is so.
    let peer = ProbePeer::new("[2001:db8::1]:80".parse().unwrap());
    let unreachable =
        outcome(&ProbeSpec::Tcp { peer: ProbePeer { total_timeout: Some(Duration::from_secs(1)), ..peer } })
            .await;
    assert!(unreachable.starts_with("fail: ") || unreachable.contains("cannot assign"), "{unreachable}");
}

#[tokio::test]
async fn without_room_a_probe_says_so() {
    let context = context_with(1, 1, 1 << 20);
    let address = serve(|_| async {}).await;
    let held = context.limits.socket().unwrap();
    let (outcome, _) = checkers::run(&ProbeSpec::tcp(address), &context).await;
    assert_eq!(text(&outcome), "not sent: all 1 sockets for probes are in use");
    drop(held);
    assert_eq!(checkers::run(&ProbeSpec::tcp(address), &context).await.0, ProbeOutcome::Passed);
}
/// There may be 16,384 of them at once. The states of the other checkers come to 5 KB.
#[tokio::test]
async fn a_run_of_tcp_check_is_small() {
    let (context, spec) = (context(), ProbeSpec::tcp(closed_port().await));
    let octets = size_of_val(&checkers::run(&spec, &context));
    assert!(octets < 1024, "{octets}");
}
