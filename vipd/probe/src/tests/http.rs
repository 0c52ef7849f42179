//! HTTP_GET.

use tokio::{sync::mpsc, time::sleep};
use vipd_balance::{HttpProtocol, HttpUrl};

use super::*;

fn spec(peer: ProbePeer, urls: Vec<HttpUrl>) -> ProbeSpec {
    ProbeSpec::Http { peer, tls: None, protocol: HttpProtocol::V1_0, head: false, urls }
}

fn get(to: SocketAddr) -> ProbeSpec {
    spec(impatient(to), vec![HttpUrl::new("/")])
}

fn page(body: &str) -> Vec<u8> {
    format!("HTTP/1.0 200 OK\r\nServer: test\r\n\r\n{body}").into_bytes()
}

/// `keepalived --genhash -s 127.0.0.1 -p PORT -u /` (2.2.7) of a server with this body.
const GENHASH: (&str, &str) = ("<html>vipd</html>\n", "dce2f7597e2961d27c3a15e05db72836");

fn digest(hex: &str) -> [u8; 16] {
    std::array::from_fn(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap())
}

#[tokio::test]
async fn the_request_is_keepaliveds() {
    let (tx, mut requests) = mpsc::channel(1);
    let address = serve(move |mut stream| {
        let tx = tx.clone();
        async move {
            tx.send(read_request(&mut stream).await).await.unwrap();
            stream.write_all(b"HTTP/1.0 204 No Content\r\n\r\n").await.unwrap();
        }
    })
    .await;
    let host = HttpUrl { host: Some("www.example".to_owned()), ..HttpUrl::new("/a?b=c") };
    for (protocol, head, url, expect) in [
        (HttpProtocol::V1_0, false, HttpUrl::new("/"), format!("GET / HTTP/1.0\r\nUser-Agent: KeepAliveClient\r\nHost: {address}\r\n\r\n")),
        (HttpProtocol::V1_0, true, host.clone(), "HEAD /a?b=c HTTP/1.0\r\nUser-Agent: KeepAliveClient\r\nHost: www.example\r\n\r\n".to_owned()),
        (HttpProtocol::V1_0Close, false, host.clone(), "GET /a?b=c HTTP/1.0\r\nUser-Agent: KeepAliveClient\r\nHost: www.example\r\nConnection: close\r\n\r\n".to_owned()),
        (HttpProtocol::V1_1, false, host, "GET /a?b=c HTTP/1.1\r\nUser-Agent: KeepAliveClient\r\nHost: www.example\r\nConnection: close\r\n\r\n".to_owned()),
    ] {
        let spec = ProbeSpec::Http { peer: impatient(address), tls: None, protocol, head, urls: vec![url] };
        assert_eq!(run(&spec).await, (ProbeOutcome::Passed, "HTTP 204, 0 octets".to_owned()));
        assert_eq!(requests.recv().await.unwrap(), expect);
    }
}

#[tokio::test]
async fn status_digest_and_regex_are_judged() {
    let (body, hash) = GENHASH;
    let ok = page(body);
    let chunked = format!(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8\r\n<html>vi\r\n{:x};x=y\r\n{}\r\n0\r\nA: b\r\n\r\n",
        body.len() - 8,
        &body[8..]
    );
    let length = format!("HTTP/1.0 200 OK\r\nContent-Length: {}\r\n\r\n{body}more", body.len());
    let url = |change: &dyn Fn(&mut HttpUrl)| {
        let mut url = HttpUrl::new("/");
        change(&mut url);
        url
    };
    let regex = |pattern: &'static str| move |url: &mut HttpUrl| url.regex = Some(pattern.to_owned());
    let not = |pattern: &'static str| {
        move |url: &mut HttpUrl| (url.regex, url.regex_no_match) = (Some(pattern.to_owned()), true)
    };
    let offsets = |least, most| {
        move |url: &mut HttpUrl| (url.regex, url.regex_offsets) = (Some("vipd".to_owned()), (least, most))
    };
    let digested = |url: &mut HttpUrl| url.digest = Some(digest(hash));
    let lenient = b"HTTP/1.1 200\r\nBad header: x\r\nServer : x\r\n folded\r\n\r\n".to_vec();
    for (what, answer, change, expect) in [
        ("any 2xx", ok.clone(), &(|_: &mut HttpUrl| {}) as &dyn Fn(&mut HttpUrl), "pass"),
        ("500", b"HTTP/1.0 500 No\r\n\r\n".to_vec(), &|_| {}, "fail: status 500, expected 200-299"),
        (
            "wanted 500",
            b"HTTP/1.0 500 No\r\n\r\n".to_vec(),
            &|url| url.status = vec![(404, 404), (500, 599)],
            "pass",
        ),
        (
            "unwanted 200",
            ok.clone(),
            &|url| url.status = vec![(404, 404), (500, 599)],
            "fail: status 200, expected 404 500-599",
        ),
        ("genhash", ok.clone(), &digested, "pass"),
        ("of chunks", chunked.into_bytes(), &digested, "pass"),
        ("up to Content-Length", length.into_bytes(), &digested, "pass"),
        (
            "another digest",
            page("x"),
            &digested,
            &format!("fail: digest 9dd4e461268c8034f5c8564e155c67a6, expected {hash}"),
        ),
        ("regex", ok.clone(), &regex("v.pd</html>$"), "pass"),
        ("no match", ok.clone(), &regex("^vipd"), "fail: the body does not match \"^vipd\""),
        ("no match wanted", ok.clone(), &not("^vipd"), "pass"),
        ("unwanted match", ok.clone(), &not("vipd"), "fail: the body matches \"vipd\""),
        ("from offset 6", ok.clone(), &offsets(6, None), "pass"),
        ("from offset 7", ok.clone(), &offsets(7, None), "fail: the body does not match \"vipd\""),
        ("up to offset 6", ok.clone(), &offsets(0, Some(6)), "pass"),
        ("up to offset 5", ok.clone(), &offsets(0, Some(5)), "fail: the body does not match \"vipd\""),
        ("an odd header", lenient, &|_| {}, "pass"),
        (
            "digest is judged before regex",
            ok,
            &|url| (url.digest, url.regex) = (Some([0; 16]), Some("none".to_owned())),
            &format!("fail: digest {hash}, expected {}", "0".repeat(32)),
        ),
    ] {
        let address = serve_answer(&answer).await;
        assert_eq!(outcome(&spec(impatient(address), vec![url(change)])).await, expect, "{what}");
    }
}

#[tokio::test]
async fn every_url_is_asked_for_until_one_fails() {
    let (tx, mut asked) = mpsc::channel(10);
    let address = serve(move |mut stream| {
        let tx = tx.clone();
        async move {
            let path = read_request(&mut stream).await.split(' ').nth(1).unwrap().to_owned();
            let status = if path == "/bad" { 503 } else { 200 };
            tx.send(path).await.unwrap();
            stream.write_all(format!("HTTP/1.0 {status} X\r\n\r\nbody").as_bytes()).await.unwrap();
        }
    })
    .await;
    let urls = |paths: &[&str]| paths.iter().map(|path| HttpUrl::new(path)).collect();
    assert_eq!(
        run(&spec(impatient(address), urls(&["/a", "/b"]))).await,
        (ProbeOutcome::Passed, "2 URLs, 8 octets".to_owned())
    );
    let all = spec(impatient(address), urls(&["/c", "/bad", "/d"]));
    assert_eq!(outcome(&all).await, "fail: /bad: status 503, expected 200-299");
    for expect in ["/a", "/b", "/c", "/bad"] {
        assert_eq!(asked.recv().await.unwrap(), expect);
    }
    assert!(asked.try_recv().is_err(), "/d is not asked for");
}

#[tokio::test]
async fn answers_that_do_not_end_or_are_cut_fail() {
    let incomplete = "fail: the connection was closed before the answer was complete";
    for (what, answer, expect) in [
        ("nothing", &b""[..], incomplete),
        ("half a header", b"HTTP/1.0 200 OK\r\nServ", incomplete),
        ("half a body", b"HTTP/1.0 200 OK\r\nContent-Length: 10\r\n\r\nhalf", incomplete),
        ("half a chunk", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8\r\nhalf", incomplete),
        ("SSH", b"SSH-2.0-OpenSSH_9\r\n\r\n", "fail: no answer of HTTP: invalid HTTP version parsed"),
    ] {
        let address = serve_answer(answer).await;
        assert_eq!(outcome(&get(address)).await, expect, "{what}");
    }
    // The server's half is closed, and it goes on to read.
    let half = serve(|mut stream| async move {
        let _ = stream.shutdown().await;
        sleep(Duration::from_secs(60)).await;
    })
    .await;
    assert_eq!(outcome(&get(half)).await, incomplete);
    for after in ["", "HTTP/1.0 200 OK\r\n", "HTTP/1.0 200 OK\r\nContent-Length: 10\r\n\r\nhalf"] {
        let hung = serve(move |mut stream| async move {
            let _ = stream.write_all(after.as_bytes()).await;
            sleep(Duration::from_secs(60)).await;
        })
        .await;
        assert_eq!(outcome(&get(hung)).await, "fail: no answer within 0.5 s", "{after:?}");
    }
}

#[tokio::test]
async fn a_drip_ends_with_the_total_timeout() {
    let drip = serve(|mut stream| async move {
        let _ = stream.write_all(b"HTTP/1.0 200 OK\r\n\r\n").await;
        while stream.write_all(b"x").await.is_ok() {
            sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    let peer = ProbePeer { total_timeout: Some(Duration::from_millis(900)), ..impatient(drip) };
    assert_eq!(
        outcome(&spec(peer, vec![HttpUrl::new("/")])).await,
        "fail: the whole probe took longer than 0.9 s"
    );
    // Without one a drip would never end.
    assert_eq!(crate::run_limit(&get(drip)), Duration::from_secs(60));
    let slow = ProbePeer { connect_timeout: Duration::from_secs(10), ..impatient(drip) };
    assert_eq!(
        crate::run_limit(&spec(slow, vec![HttpUrl::new("/"), HttpUrl::new("/")])),
        Duration::from_secs(200)
    );
}

/// Sends a start, and then the same for ever.
async fn endless(start: &'static [u8], then: &'static [u8]) -> SocketAddr {
    serve(move |mut stream| async move {
        if stream.write_all(start).await.is_ok() {
            while stream.write_all(then).await.is_ok() {}
        }
    })
    .await
}

#[tokio::test]
async fn endless_answers_cost_bounded_memory_and_time() {
    const LINE: &[u8] = b"X-Endless: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n";
    static BLOCK: [u8; 65536] = [b'a'; 65536];
    let too_long = "fail: the header is longer than 16384 octets";
    for (what, start, then) in [
        ("header", &b"HTTP/1.0 200 OK\r\n"[..], LINE),
        ("header line", b"HTTP/1.0 200 OK\r\nX: ", &BLOCK),
        ("small header lines", b"HTTP/1.0 200 OK\r\n", b"A:\r\n"),
    ] {
        assert_eq!(outcome(&get(endless(start, then).await)).await, too_long, "{what}");
    }
    let body = endless(b"HTTP/1.0 200 OK\r\n\r\n", &BLOCK).await;
    // Nothing of the body is judged: the rest is not waited for.
    let (outcome_of, words) = run(&get(body)).await;
    assert_eq!(outcome_of, ProbeOutcome::Passed, "{words}");
    let mut url = HttpUrl { regex: Some("b".to_owned()), ..HttpUrl::new("/") };
    let why =
        "fail: the answer is longer than the 1048576 octets that a regular expression is matched against";
    assert_eq!(outcome(&spec(impatient(body), vec![url.clone()])).await, why);
    url.regex_no_match = true;
    assert_eq!(outcome(&spec(impatient(body), vec![url])).await, why);
    let url = HttpUrl { digest: Some([0; 16]), ..HttpUrl::new("/") };
    let peer = ProbePeer { total_timeout: Some(Duration::from_secs(60)), ..impatient(body) };
    assert_eq!(outcome(&spec(peer, vec![url])).await, "fail: the body is longer than 67108864 octets");
    let chunk = endless(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;", &BLOCK).await;
    let long_chunk = outcome(&get(chunk)).await;
    assert!(long_chunk.starts_with("fail: "), "{long_chunk}");
    let informed = endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n").await;
    let peer = ProbePeer { total_timeout: Some(Duration::from_secs(1)), ..impatient(informed) };
    assert_eq!(
        outcome(&spec(peer, vec![HttpUrl::new("/")])).await,
        "fail: the whole probe took longer than 1 s"
    );
}

#[tokio::test]
async fn without_room_for_its_body_a_probe_is_no_failure() {
    let context = context_with(10, 1, 32 * 1024);
    let address = serve_answer(&page(&"a".repeat(40_000))).await;
    let url = HttpUrl { regex: Some("a".to_owned()), ..HttpUrl::new("/") };
    let (outcome, _) = checkers::run(&spec(impatient(address), vec![url.clone()]), &context).await;
    assert_eq!(text(&outcome), "not sent: no room for an answer: too many at once");
    // What was taken is given back.
    let small = serve_answer(&page(&"a".repeat(30_000))).await;
    let (outcome, _) = checkers::run(&spec(impatient(small), vec![url]), &context).await;
    assert_eq!(outcome, ProbeOutcome::Passed);
}

/// keepalived reads what comes after its request, however early it was sent.
#[tokio::test]
async fn a_server_that_speaks_first_is_heard() {
    let early = serve(|mut stream| async move {
        let _ = stream.write_all(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
        read_request(&mut stream).await;
    })
    .await;
    for _ in 0..20 {
        assert_eq!(run(&get(early)).await, (ProbeOutcome::Passed, "HTTP 200, 2 octets".to_owned()));
    }
}

#[tokio::test]
async fn chunks_of_single_octets_are_too_small() {
    static CHUNKS: [u8; 6000] = {
        let (chunk, mut chunks, mut at) = (*b"1\r\na\r\n", [0; 6000], 0);
        while at < chunks.len() {
            chunks[at] = chunk[at % chunk.len()];
            at += 1;
        }
        chunks
    };
    let small = endless(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", &CHUNKS).await;
    let why = "fail: the body comes in pieces of less than 512 octets";
    assert_eq!(outcome(&get(small)).await, why);
    let url = HttpUrl { regex: Some("b".to_owned()), ..HttpUrl::new("/") };
    assert_eq!(outcome(&spec(impatient(small), vec![url])).await, why);
}
