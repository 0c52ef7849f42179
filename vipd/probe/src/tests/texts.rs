//! SMTP_CHECK, TEXT_CHECK, MISC_CHECK and FILE_CHECK.

use tokio::{net::UdpSocket, sync::mpsc, time::sleep};
use vipd_balance::{ProbeId, ProbeUse};

use super::{prober::ids, *};
use crate::files;

/// A server that sends each text after it has read a line; the first at once.
async fn dialogue(texts: &[&'static str]) -> (SocketAddr, mpsc::Receiver<String>) {
    let (tx, rx) = mpsc::channel(10);
    let texts = texts.to_vec();
    let address = serve(move |mut stream| {
        let (tx, texts) = (tx.clone(), texts.clone());
        async move {
            for (at, text) in texts.iter().enumerate() {
                let mut line = Vec::new();
                while at > 0 && !line.ends_with(b"\n") {
                    match stream.read_u8().await {
                        Ok(octet) => line.push(octet),
                        Err(_) => return,
                    }
                }
                tx.send(String::from_utf8(line).unwrap()).await.unwrap();
                let _ = stream.write_all(text.as_bytes()).await;
            }
            if texts.last() == Some(&"") {
                sleep(Duration::from_secs(60)).await;
            }
        }
    })
    .await;
    (address, rx)
}

#[tokio::test]
async fn smtp_says_helo_and_quit() {
    let texts = ["220-two\r\n220 lines\r\n", "250-mail\r\n250 hello you\r\n", "221 bye\r\n"];
    let (address, mut heard) = dialogue(&texts).await;
    let smtp = |to| ProbeSpec::Smtp { peer: impatient(to), helo: "lb.example".to_owned() };
    assert_eq!(run(&smtp(address)).await, (ProbeOutcome::Passed, "250 hello you".to_owned()));
    for expect in ["", "HELO lb.example\r\n", "QUIT\r\n"] {
        assert_eq!(heard.recv().await.unwrap(), expect);
    }
    for (texts, expect) in [
        (&["220 a\r\n", "250 b\r\n", "500 the answer to QUIT is not judged\r\n"][..], "pass"),
        (&["220 a\r\n", "250 b\r\n"], "pass"),
        (&["220 a\n", "250\n", ""], "pass"),
        (&["554 no\r\n"], "fail: banner: \"554 no\", expected 220"),
        (&["220 a\r\n", "502 what\r\n"], "fail: answer to HELO: \"502 what\", expected 250"),
        (&["22"], "fail: banner: the connection was closed"),
        (&["220 a\r\n", "250 b\r\n", ""], "pass"),
        (&[""], "fail: banner: no answer within 0.5 s"),
        (&["220 a\r\n", ""], "fail: answer to HELO: no answer within 0.5 s"),
    ] {
        let (address, _heard) = dialogue(texts).await;
        assert_eq!(outcome(&smtp(address)).await, expect, "{texts:?}");
    }
    for (endless, expect) in [
        ("220-a\r\n", "fail: banner: more than 100 lines"),
        ("220 a", "fail: banner: a line is longer than 1024 octets"),
    ] {
        let address =
            serve(
                move |mut stream| async move { while stream.write_all(endless.as_bytes()).await.is_ok() {} },
            )
            .await;
        assert_eq!(outcome(&smtp(address)).await, expect);
    }
}

#[tokio::test]
async fn a_text_is_matched_as_it_comes() {
    let text = |to, send: &str, expect: Option<&str>| ProbeSpec::Text {
        peer: impatient(to),
        udp: false,
        tls: None,
        send: send.as_bytes().to_vec(),
        expect: expect.map(str::to_owned),
    };
    let echo = serve(|mut stream| async move {
        let mut line = [0; 6];
        if stream.read_exact(&mut line).await.is_ok() {
            // In two pieces, and left open.
            let _ = stream.write_all(&line[..3]).await;
            sleep(Duration::from_millis(50)).await;
            let _ = stream.write_all(&line[3..]).await;
            sleep(Duration::from_secs(60)).await;
        }
    })
    .await;
    for (send, expect, result) in [
        ("PING\r\n", Some(r"^PING\r\n$"), "pass"),
        ("PING\r\n", None, "pass"),
        ("PING\r\n", Some("PONG"), r#"fail: the answer does not match: 6 octets: "PING\r\n""#),
        ("PIN", Some("PIN"), "fail: no answer within 0.5 s"),
    ] {
        assert_eq!(outcome(&text(echo, send, expect)).await, result, "{send:?} {expect:?}");
    }
    let banner = serve(|mut stream| async move { _ = stream.write_all(b"+OK ready\r\n").await }).await;
    assert_eq!(run(&text(banner, "", Some("^\\+OK"))).await.1, r#"11 octets: "+OK ready\r\n""#);
    let other = r#"fail: the answer does not match: 11 octets: "+OK ready\r\n""#;
    assert_eq!(outcome(&text(banner, "", Some("-ERR"))).await, other);
    let silent = serve(|_| async {}).await;
    assert_eq!(outcome(&text(silent, "", None)).await, "fail: the connection was closed without an answer");
    let endless =
        serve(|mut stream| async move { while stream.write_all(&[b'a'; 1000]).await.is_ok() {} }).await;
    let why = "fail: the answer is longer than the 16384 octets that a regular expression is matched against";
    assert_eq!(outcome(&text(endless, "", Some("b"))).await, why);
}

#[tokio::test]
async fn a_text_over_udp_is_one_datagram() {
    let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = server.local_addr().unwrap();
    tokio::spawn(async move {
        let mut buffer = [0; 100];
        while let Ok((length, peer)) = server.recv_from(&mut buffer).await {
            let _ = server.send_to(&buffer[..length], peer).await;
        }
    });
    let text = |to, expect: Option<&str>| ProbeSpec::Text {
        peer: impatient(to),
        udp: true,
        tls: None,
        send: b"hello".to_vec(),
        expect: expect.map(str::to_owned),
    };
    assert_eq!(outcome(&text(address, Some("^hello$"))).await, "pass");
    assert_eq!(outcome(&text(address, None)).await, "pass");
    assert_eq!(
        outcome(&text(address, Some("bye"))).await,
        r#"fail: the answer does not match: 5 octets: "hello""#
    );
    let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    assert_eq!(outcome(&text(silent.local_addr().unwrap(), None)).await, "fail: no answer within 0.5 s");
}

#[tokio::test]
async fn a_command_is_run_by_the_runner() {
    let misc = |words: &[&str]| ProbeSpec::Misc {
        words: words.iter().map(|word| (*word).to_owned()).collect(),
        account: None,
        timeout: Duration::from_millis(200),
    };
    for (words, expect) in [
        (&["exit", "0"][..], "Exited(0)"),
        (&["exit", "57"], "Exited(57)"),
        (&["signal"], "fail: ended by signal 9"),
        (&["hang"], "fail: timed out after 0.2 s"),
        (&["missing"], "fail: cannot be run: no such file or directory"),
        (&["shortage"], "not sent: resource temporarily unavailable"),
    ] {
        assert_eq!(outcome(&misc(words)).await, expect, "{words:?}");
    }
    let context = context_with(0, 1, 0);
    let (hanging, other) = (misc(&["hang"]), misc(&["exit", "0"]));
    let (first, second) = tokio::join!(checkers::run(&hanging, &context), checkers::run(&other, &context));
    assert_eq!(text(&first.0), "fail: timed out after 0.2 s");
    assert_eq!(text(&second.0), "not sent: 1 commands of MISC_CHECK run already");
}

#[tokio::test]
async fn a_file_is_told_when_it_changes() {
    let directory = std::env::temp_dir().join(format!("vipd-probe-files-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let path = |name: &str| directory.join(name).display().to_string();
    let missing = format!("{}/none/file", directory.display());
    let specs = [path("a"), path("b"), missing].map(|path| ProbeUse::new(ProbeSpec::File { path }));
    let ids: Vec<ProbeId> = ids(specs.iter().cloned());
    let wanted = ids.iter().zip(&specs).map(|(id, spec)| match &spec.probe {
        ProbeSpec::File { path } => (*id, path.clone()),
        other => panic!("{other:?}"),
    });
    let (tx, mut told) = mpsc::channel(10);
    let watch = tokio::spawn(files::watch(wanted.collect(), move |id, outcome, words| {
        let tx = tx.clone();
        async move { tx.send((id, outcome, words)).await.unwrap() }
    }));
    let zero = || (ProbeOutcome::Value(0), "value 0: there is no file".to_owned());
    let mut first = Vec::new();
    for _ in 0..3 {
        first.push(told.recv().await.unwrap());
    }
    first.sort_by_key(|(id, ..)| *id);
    assert_eq!(first.iter().map(|(id, ..)| *id).collect::<Vec<_>>(), ids);
    assert!(first.iter().all(|(_, outcome, words)| (outcome.clone(), words.clone()) == zero()));
    let mut next = async |id: usize, value: i64, words: &str| {
        let told = tokio::time::timeout(Duration::from_secs(10), told.recv()).await.unwrap().unwrap();
        assert_eq!(told, (ids[id], ProbeOutcome::Value(value), words.to_owned()));
    };
    std::fs::write(path("a"), "-7 and more\n").unwrap();
    next(0, -7, "value -7").await;
    std::fs::write(path("b.new"), "2147483648\n").unwrap();
    std::fs::rename(path("b.new"), path("b")).unwrap();
    next(1, 0, "value 0: the file does not start with a number").await;
    // The same again is not told.
    std::fs::write(path("a"), "-7\n").unwrap();
    std::fs::write(path("b"), "5").unwrap();
    next(1, 5, "value 5").await;
    std::fs::remove_file(path("a")).unwrap();
    next(0, 0, "value 0: there is no file").await;
    // Its directory cannot be watched: it is read every second.
    std::fs::create_dir(directory.join("none")).unwrap();
    std::fs::write(directory.join("none/file"), "9").unwrap();
    next(2, 9, "value 9").await;
    watch.abort();
    std::fs::remove_dir_all(&directory).unwrap();
}
